"""``delete``: what a stopped container has left is removed (runtime.md, Delete)."""

from __future__ import annotations

import os
from _signal import SIGKILL  # type: ignore[import-not-found]  # signal imports enum
from time import monotonic, sleep

from kokon.errors import KokonError, RequestError, RetryError
from kokon.runtime.oci import hooks
from kokon.runtime.oci.kill import kill, manager_of
from kokon.runtime.oci.record import NOTED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.runtime.oci.record import Record

PATIENCE = 10.0
"""Seconds that processes have to die."""


def delete(record: Record, *, force: bool = False) -> list[str]:
    """Removes control groups and record, and calls the poststop hooks.

    :param force: end it first, whatever it does.
    :returns: sentences on hooks that failed, which are no error.
    :raises RequestError: it has not stopped.
    :raises RetryError: its processes do not die.
    """
    status = record.status
    if status == "created" or (force and status != "stopped"):
        try:
            kill(record, SIGKILL)
        except RequestError:
            pass
        _await_end(record)
    elif status != "stopped" and status != "creating":
        raise RequestError(
            f"cannot delete container that is not stopped: {status}", where=record.identity,
            remedy="kill it first, or use --force",
        )  # fmt: skip
    manager_of(record).remove()
    if "steps" not in record.values:
        _remove_noted(record)
    if "resctrl" in record.values:
        from kokon.runtime.oci import resctrl

        resctrl.remove(record)
    warnings = _poststop(record)
    record.remove()
    return warnings


def _await_end(record: Record) -> None:
    deadline = monotonic() + PATIENCE
    pid = record.values.get("pid", 0)
    while record.pid:
        if monotonic() > deadline:
            raise RetryError("its first process does not die", where=record.identity)
        sleep(0.001)
    try:
        os.waitpid(pid, 0)  # where it is our own child
    except ChildProcessError:
        pass


def _remove_noted(record: Record) -> None:
    """Control groups of a container whose maker was killed; what waits in them is ended.

    :raises RetryError: a process does not die.
    """
    from kokon.cgroup.v1 import GroupV1
    from kokon.cgroup.v2 import GroupV2
    from kokon.kernel import cgroups

    try:
        noted = record.kept(NOTED).decode("utf-8", "surrogateescape").splitlines()
    except FileNotFoundError:
        return
    layout = cgroups.read()
    for path in noted:
        tree = layout.showing(path)
        if tree is not None and os.path.isdir(path):
            (GroupV2 if tree.version == 2 else GroupV1)(path).remove()


def _poststop(record: Record) -> list[str]:
    from kokon.spec.oci.config import HOOKS

    if not record.values.get("hooks", {}).get("poststop"):
        return []
    warnings = []
    state = record.state("stopped")
    for hook in HOOKS.read(record.values["hooks"]).poststop:
        try:
            hooks.run("poststop", (hook,), state)
        except KokonError as error:
            warnings.append(str(error))
    return warnings
