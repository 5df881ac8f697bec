"""A run that the launcher began by a saved run, and in which there is something to decide or say.

The launcher has become this process, so the container's processes are our children; signals that
came since it began are blocked and wait for us.
"""

from __future__ import annotations

import os
from marshal import loads

from kokon import paths
from kokon.engine import limits, owner, roots
from kokon.engine.run import Outcome, outcome
from kokon.engine.undo import Undo
from kokon.errors import OutcomeUnknown
from kokon.kernel import cgroups, facts
from kokon.plan import saved
from kokon.runtime.process import FirstProcess
from kokon.runtime.spawn import Spawned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class TakenOver:
    """The rest of a run: its process, and what is to be taken back.

    :param told: what the launcher says: descriptors of the saved run, of init's reports and of the
        token's lock, the pid of the first process, the mask of signals as it was, the token, the
        first id of the claimed range.
    :ivar blocked: the signals that our caller has blocked.
    :raises OutcomeUnknown: the saved run cannot be read any more; the container has been ended.
    """

    __slots__ = ("_limits", "_undo", "asked", "blocked", "process")

    def __init__(self, told: str) -> None:
        file, report, lock, pid, mask, token, *claim = told.split()
        self.blocked = [n + 1 for n in range(64) if int(mask) >> n & 1]
        for fd in (file, report, lock):
            os.set_inheritable(int(fd), False)
        spawned = Spawned()
        spawned.pid, spawned.report_fd = int(pid), int(report)
        self.process = FirstProcess(spawned)
        us = owner.adopt(token, int(lock))
        us.files += [f"{paths.state()}/ids/{first}" for first in claim]
        self._undo = Undo()
        self._limits = limits.Placed()
        try:
            self._remember(_read(int(file)), token)
        except (ValueError, EOFError, TypeError, KeyError, OSError) as error:
            us.leaves = True
            self.process.kill()
            raise OutcomeUnknown(
                f"the saved run cannot be read any more ({error}), so the container was ended",
                remedy="run it again",
            ) from None
        finally:
            os.close(int(file))

    def _remember(self, known: dict[str, Any], token: str) -> None:
        def closed(path: bytes) -> str:
            return os.fsdecode(path).replace(saved.TOKEN, token)

        self.asked: dict[str, str] = known["asked"]
        if known["upper"]:
            directory, _, name = closed(known["upper"]).rpartition("/")
            parent = os.open(directory, roots.PARENT)
            self._undo.push(lambda: roots.remove_writes(facts.current(), directory, name, parent))
        if known["groups"]:
            from kokon.cgroup.manager import Manager

            made = {key: closed(path) for key, path in known["groups"]}
            self._limits.manager = Manager.reopen(cgroups.read(), made)
            self._undo.push(self._limits.manager.remove)

    def finish(self) -> Outcome:
        """Waits for the end, reads what was used, and tells why it ended."""
        return outcome(self._limits, self.process.wait())

    def close(self) -> list[Exception]:
        """Takes back what the launcher made; it may have begun to."""
        return self._undo.run()


def _read(file: int) -> dict[str, Any]:
    with open(file, "rb", closefd=False) as stream:
        stream.seek(0)
        known: dict[str, Any] = loads(saved.rest_of(stream.read()))
    return known
