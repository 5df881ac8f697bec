"""``kill``: a signal to a container's first process, or to all (runtime.md, Kill)."""

from __future__ import annotations

import os
from _signal import (  # type: ignore[import-not-found]  # signal imports enum
    SIGKILL,
    pidfd_send_signal,
)

from kokon.errors import RequestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.cgroup.manager import Manager
    from kokon.runtime.oci.record import Record


def manager_of(record: Record) -> Manager:
    """The container's control groups."""
    from kokon.kernel import cgroups

    paths, uid = record.values.get("groups", {}), record.values.get("scope")
    if uid is not None:
        from kokon.cgroup.scope import Scope

        return Scope.reopened(cgroups.read(), paths, uid)
    from kokon.cgroup.manager import Manager

    return Manager.reopen(cgroups.read(), paths)


def kill(record: Record, signal: int, *, everyone: bool = False) -> None:
    """Sends a signal.

    Where the container has no processes of its own, SIGKILL ends all that its control groups hold,
    also when its first process has gone.

    :raises RequestError: nothing of it runs.
    """
    shares = not record.values.get("own_pids", True)
    if everyone or (signal == SIGKILL and shares):
        manager = manager_of(record)
        if signal == SIGKILL:
            manager.kill()
            return
        _send_to_all(manager, signal)
        return
    if not send(record, signal):
        raise RequestError("container not running", where=record.identity)
    if signal == SIGKILL and record.is_frozen():
        # A frozen task of version 1 dies when it is thawed.
        manager_of(record).thaw()


def send(record: Record, signal: int) -> bool:
    """A signal to the first process, and to nobody who has its number now (row S4)."""
    pid = record.values.get("pid", 0)
    if not pid:
        return False
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if not record.pid:
            return False
        pidfd_send_signal(pidfd, signal)
    except ProcessLookupError:
        return False
    finally:
        os.close(pidfd)
    return True


AT_ONCE = 256
"""Descriptors that are open at a time."""


def _send_to_all(manager: Manager, signal: int) -> None:
    pids = [pid for pid in manager.processes() if pid]
    while pids:
        some, pids = pids[:AT_ONCE], pids[AT_ONCE:]
        held = []
        try:
            for pid in some:
                try:
                    held.append((pid, os.pidfd_open(pid)))
                except OSError:
                    continue  # it has ended
            # Who is still listed after we hold it is no stranger with its number (row S4).
            listed = set(manager.processes())
            for pid, fd in held:
                if pid in listed:
                    _send(fd, signal)
        finally:
            for _, fd in held:
                os.close(fd)


def _send(pidfd: int, signal: int) -> None:
    try:
        pidfd_send_signal(pidfd, signal)
    except ProcessLookupError:
        pass


def number_of(word: str) -> int:
    """A signal by its name, with or without SIG, or by its number.

    :raises RequestError: there is none.
    """
    import _signal

    if word.isascii() and word.isdecimal():
        number = int(word)
    else:
        name = word.upper()
        name = name if name.startswith("SIG") else f"SIG{name}"
        number = getattr(_signal, name, -1) if not name.startswith("SIG_") else -1
    if not 0 < number <= 64:
        raise RequestError(f"there is no signal {word!r}", where="SIGNAL", remedy="see signal(7)")
    return number
