"""A run that is ready: its plan, what it hands over, and how all of it is taken back."""

from __future__ import annotations

import os
from errno import ENOSYS

from kokon.engine import mappings
from kokon.errors import HostError, KokonError, refused
from kokon.kernel import facts
from kokon.plan import wire
from kokon.plan.ops import HandOver, Reap
from kokon.runtime.process import FirstProcess
from kokon.runtime.spawn import Spawned, spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from kokon.compile.inputs import RootFacts
    from kokon.config.container import Configuration
    from kokon.config.options import Options
    from kokon.engine import limits, roots
    from kokon.engine.undo import Undo
    from kokon.kernel.facts import HostFacts
    from kokon.plan.plan import Plan
    from kokon.runtime.spawn import Report
    from kokon.security.ladder import Guarantees

_without_clone3 = 0
"""The process in which clone3 was refused."""


def is_without_clone3() -> bool:
    """Whether clone3 was refused to this process: it will be again."""
    return _without_clone3 == os.getpid()


class Prepared:
    """A run that is ready: its plan, and what it has to hand over.

    ``close`` takes back all that was made for it.
    """

    __slots__ = (
        "again", "configuration", "found", "host", "limits", "mappings", "notes", "options", "plan",
        "root", "undo", "without",
    )  # fmt: skip

    def __init__(
        self,
        plan: Plan,
        configuration: Configuration,
        host: HostFacts,
        placed: limits.Placed,
        maps: mappings.Mappings | None,
        notes: tuple[str, ...],
        undo: Undo,
        found: roots.FoundRoot,
        options: Options,
        root: RootFacts,
        without: tuple[str, ...] = (),
    ) -> None:
        self.plan = plan
        self.configuration = configuration
        self.host = host
        self.limits = placed
        self.mappings = maps
        self.notes = notes
        self.undo = undo
        self.found = found
        self.options = options
        self.without = without
        self.root = root
        self.again: Callable[[], Prepared] | None = None

    @property
    def guarantees(self) -> Guarantees:
        """What holds in this run, and by what; before the start: what its plan would hold."""
        from kokon.engine import level

        return level.guarantees(self)

    def start(self, streams: tuple[int, int, int]) -> FirstProcess:
        """Performs the plan; returns when the container's first process is on its own.

        Below the level ``full`` it returns when the program runs, and goes without what is refused.

        :param streams: what becomes the program's 0, 1 and 2.
        :raises KokonError: a step outside was refused.
        """
        try:
            while True:
                failed: Report | None = None
                try:
                    spawned = self._spawn(streams)
                    if not spawned.pid and self._clone3_is_refused(spawned.failed):
                        spawned.close()
                        spawned = self._spawn(streams)
                    if spawned.pid:
                        process = self._first_process(spawned)
                        if not self.again or self._is_box() or self._runs(process):
                            return process
                    spawned.close()
                    failed = spawned.failed
                    error: KokonError = self.refused(failed)
                except mappings.MappingRefused as other:
                    error = self._with_advice(other, None)
                if not self.goes_without(failed, error):
                    raise error
        except OSError as error:
            raise refused(error) from error

    def _first_process(self, spawned: Spawned) -> FirstProcess:
        if any(isinstance(op, Reap) and op.all for op in self.plan.ops[-4:]):
            from kokon.engine.ground import ReapedProcess

            return ReapedProcess(spawned)
        return FirstProcess(spawned)

    def _runs(self, process: FirstProcess) -> bool:
        """Waits until the program runs; False when a step was refused, and all has ended."""
        from kokon.engine import level

        try:
            spec = self.configuration.spec
            failed = level.await_running(process.spawned, spec.process.terminal)
            if failed is None:
                return True
            process.wait()
        except BaseException:
            process.abandon()
            raise
        process.close()
        return False

    def _is_box(self) -> bool:
        """Whether namespaces are handed over: who takes them sees whether a step was refused."""
        return isinstance(self.plan.ops[-1], HandOver)

    def goes_without(self, failed: Report | None, error: KokonError) -> bool:
        """Takes the run back and prepares it again without what was refused, if that is possible
        and may be.

        :raises KokonError: the other way is not possible either.
        """
        from kokon.engine import level

        if self.again is None or not level.learn(self, failed, error):
            return False
        self.undo.run()
        fresh = self.again()
        for name in Prepared.__slots__:
            setattr(self, name, getattr(fresh, name))
        return True

    def _spawn(self, streams: tuple[int, int, int]) -> Spawned:
        turns: list[Callable[[int], None]] = []
        if self.limits.place_late:
            turns.append(self.limits.place_late)
        maps = self.mappings
        if maps and maps.by_parent:
            turns.append(lambda pid: mappings.write_by_helpers(self.host, maps, pid))
        spawned = Spawned()
        # Before it is started: an interrupt may come before anybody has it who would wait for it.
        self.undo.push(spawned.end)
        return spawn(
            wire.encode(self.plan),
            self.limits.descriptors,
            streams,
            receives=self.configuration.spec.process.terminal or self._is_box(),
            turns=turns,
            linger=bool(self.limits.place_late),
            init=spawned,
        )

    def _clone3_is_refused(self, report: Report | None) -> bool:
        """Whether to try again with clone: a filter around us answers ENOSYS to clone3."""
        if report is None or report.error != ENOSYS:
            return False
        from kokon.compile import lacks

        if not lacks.CLONE3.is_meant(self.plan.ops[report.op], self.plan):
            return False
        global _without_clone3
        _without_clone3 = os.getpid()
        self.plan = lacks.without(self.plan, (lacks.CLONE3.name,), self.host.architecture)
        return True

    def refused(self, report: Report | None) -> KokonError:
        """The error that a failed report stands for."""
        facts.forget()
        if report is None:
            return HostError(
                "init was ended before it could report",
                remedy="see the kernel's log (dmesg): memory may have run out",
            )
        from kokon.runtime.failure import failure

        error = failure(self.plan, report, self.host, self.configuration.asked)
        return self._with_advice(error, report)

    def _with_advice(self, error: KokonError, report: Report | None) -> KokonError:
        if self.options.level in (None, "full"):
            from kokon.engine import level

            level.advise(error, self.plan, report, self.found)
        return error

    def close(self) -> list[Exception]:
        """Takes back everything that was made."""
        return self.undo.run()
