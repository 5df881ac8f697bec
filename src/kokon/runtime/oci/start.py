"""``start``: the program of a created container runs (runtime.md, Start)."""

from __future__ import annotations

import os
from errno import ECHILD, ENOENT, ENOTDIR

from kokon.errors import HostError, RequestError
from kokon.runtime.oci import hooks
from kokon.runtime.oci.record import SOCKET
from kokon.runtime.spawn import REPORT, REPORT_FAILED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.runtime.oci.record import Record


PATIENCE = 10
"""Seconds that init has to end after a step that failed."""


def start(record: Record) -> None:
    """Lets init go on, and returns when the program runs.

    :param record: locked.
    :raises RequestError: it is not created.
    :raises KokonError: the program cannot be executed; the container has stopped then.
    """
    status = record.status
    if status != "created":
        raise RequestError(
            f"cannot start a container that is {status}"
            if status != "stopped"
            else "cannot start a container that has stopped",
            where=record.identity,
        )
    import _socket

    channel = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    try:
        channel.connect(f"/proc/self/fd/{record.directory}/{SOCKET}")
        os.unlink(SOCKET, dir_fd=record.directory)
    except OSError as error:
        channel.close()
        raise _silent(record, error) from error
    hear(record, channel.detach())
    _poststart(record)


def hear(record: Record, channel: int) -> None:
    """Returns when the program runs.

    :param channel: the connection to init; it is closed.
    :raises KokonError: as :func:`start`.
    """
    try:
        said = os.read(channel, REPORT.size)
    except OSError as error:
        raise _silent(record, error) from error
    finally:
        os.close(channel)
    if said:
        kind, step, number, detail, _ = REPORT.unpack(said)
        if kind == REPORT_FAILED:
            _await_end(record)
            raise _refused(record, step, number, detail)


def _silent(record: Record, error: OSError) -> HostError:
    return HostError("the container does not answer", where=record.identity, errno=error.errno or 0)


def _await_end(record: Record) -> None:
    """It has said that it ends: who is told of the failure finds a container that has stopped."""
    import select

    try:
        pidfd = os.pidfd_open(record.values["pid"])
    except ProcessLookupError:
        return
    try:
        if record.pid:
            poller = select.poll()
            poller.register(pidfd, select.POLLIN)
            poller.poll(PATIENCE * 1000)
    finally:
        os.close(pidfd)


def _refused(record: Record, step: int, error: int, detail: int) -> HostError:
    """The step in words; for the program itself those that engines look for."""
    steps = record.values.get("steps", {})
    # One that an older kokon has made has no kind.
    what, why, kind = [*steps.get(str(step), ("a step of init", "")), "Op"][:3]
    program = record.values["args"][0]
    if str(step) == max(steps, key=int, default=""):
        return cannot_execute(program, error, detail, record.identity)
    if error == ECHILD:
        from kokon.runtime.failure import hook_status

        what, error = f"{what}: {hook_status(detail)}", 0
    from kokon.kernel import facts
    from kokon.plan import ops
    from kokon.plan.remedies import remedy

    return HostError(
        what, where=f"{record.identity}: {why}" if why else record.identity, errno=error,
        remedy=remedy(getattr(ops, kind), error, facts.current()),
    )  # fmt: skip


def cannot_execute(program: str, error: int, detail: int, identity: str) -> HostError:
    """The words that engines look for where a program is not there, or cannot run.

    :param detail: as init reports it: odd where the file exists.
    """
    # Docker reads Go's words for errors, in lower case.
    if error in (ENOENT, ENOTDIR) and not detail & 1:
        missing = f"stat {program}: no such file or directory"
        words = missing if "/" in program else "executable file not found in $PATH"
    else:
        words = os.strerror(error).lower()
    return HostError(f'exec: "{program}": {words}', where=identity)


def _poststart(record: Record) -> None:
    """Hooks after the start; when one fails the container is ended."""
    from kokon.spec.oci.config import HOOKS

    found = record.values.get("hooks", {}).get("poststart")
    if not found:
        return
    read = HOOKS.read(record.values["hooks"])
    try:
        hooks.run("poststart", read.poststart, record.state("running"))
    except HostError:
        from kokon.runtime.oci.kill import kill

        kill(record, 9)
        raise
