"""Starting init: descriptors at fixed numbers, an empty environment, and what it reports back."""

from __future__ import annotations

import os
from _functools import partial  # type: ignore[import-not-found]  # functools costs a start
from _signal import SIGKILL  # type: ignore[import-not-found]  # signal imports enum
from errno import EACCES, EAGAIN, EBADF, EPERM
from struct import Struct, unpack

from kokon.errors import HostError
from kokon.runtime import program
from kokon.runtime.spawner import in_lasting_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

# init/init.h has the same numbers.
REPORT_FD, PLAN_FD, REPLY_FD, FIRST_FD = 200, 201, 202, 203
(
    REPORT_PID, REPORT_FAILED, REPORT_READY, REPORT_TERMINAL, REPORT_STARTED, REPORT_STATUS,
    REPORT_NAMESPACES, REPORT_CREATED,
) = range(1, 9)  # fmt: skip
REPORT = Struct("<IIiiq")

MOST_DESCRIPTORS = 16
"""Of one message; MAX_SENT of init/init.h."""

_F_DUPFD_CLOEXEC = 1030
_MSG_CMSG_CLOEXEC = 0x40000000


class Report:
    """One record of init: what happened, at which op, with the kernel's number."""

    __slots__ = ("detail", "error", "kind", "op", "value")

    def __init__(self, kind: int, op: int, error: int, detail: int, value: int) -> None:
        self.kind = kind
        self.op = op
        self.error = error
        self.detail = detail
        self.value = value


class Spawned:
    """An init that was started.

    :ivar pid: the container's first process, 0 when there is none.
    :ivar stage1: the pid of stage 1 until it has been waited for, then 0.
    :ivar failed: the report of the step that failed, if one did so far.
    :ivar status: what the reaper reported of the program (a wait status), or None.
    :ivar terminal: the master of the container's terminal, or -1.
    :ivar received: other descriptors that init has sent; who wants them takes them out.
    """

    __slots__ = (
        "_records", "failed", "pid", "received", "reply_fd", "report_fd", "stage1", "status",
        "terminal",
    )  # fmt: skip

    def __init__(self) -> None:
        self._records: list[bytes] = []
        self.report_fd = -1
        self.reply_fd = -1
        self.pid = 0
        self.stage1 = 0
        self.failed: Report | None = None
        self.status: int | None = None
        self.terminal = -1
        self.received: list[int] = []

    def take(self, record: bytes) -> Report:
        """Notes what one record says."""
        report = Report(*REPORT.unpack(record))
        if report.kind == REPORT_PID:
            self.pid = self.pid or report.value
        elif report.kind == REPORT_FAILED:
            self.failed = self.failed or report
        elif report.kind == REPORT_STATUS:
            self.status = report.value
        return report

    def await_terminal(self) -> bool:
        """Waits for the terminal's master (socket reports only); False when init failed first."""
        if self.terminal < 0:
            self.await_descriptors()
            if self.received:
                self.terminal = self.received.pop()
        return self.terminal >= 0

    def await_descriptors(self) -> None:
        """Waits for descriptors (socket reports only), in ``received`` then; none when init failed
        first."""
        import _socket

        messages: list[tuple[bytes, list[tuple[int, int, bytes]], int, Any]] = []
        # Of a copy: an interrupt may have the object collected, which closes what it has.
        channel = _socket.socket(fileno=os.dup(self.report_fd))
        space = _socket.CMSG_SPACE(4 * MOST_DESCRIPTORS)
        receive = partial(channel.recvmsg, REPORT.size, space)
        try:
            while not self.received and not self.failed:
                # One call for Python: no signal handler raises before the descriptors are kept.
                messages.extend(map(receive, (_MSG_CMSG_CLOEXEC,)))
                record, extra, _, _ = messages[-1]
                if len(record) != REPORT.size:
                    break
                self.received.extend(_sent(extra))
                self.take(record)
        except BaseException:
            for fd in _sent(messages[-1][1]) if messages and not self.received else ():
                os.close(fd)
            raise
        finally:
            channel.close()

    def drain(self) -> None:
        """Reads the records that are left when init is gone.

        Not until the pipe ends: a child that another thread forks has its writing end too.
        """
        os.set_blocking(self.report_fd, False)
        try:
            while self.read():
                pass
        except BlockingIOError:
            pass

    def release(self) -> None:
        """Lets stage 1 end, and waits for that."""
        # Forgotten before it is closed: an interrupt in between must not have it closed twice.
        reply, self.reply_fd = self.reply_fd, -1
        if reply >= 0:
            os.close(reply)
        if self.stage1:
            try:
                os.waitpid(self.stage1, 0)
            except ChildProcessError:
                pass  # another wait of this process took it; what it had to say it has reported
            self.stage1 = 0  # only now: an interrupt of the wait must not lose it

    def end(self) -> None:
        """Ends and reaps what was started, unless all is closed: for when we cannot go on."""
        if self.report_fd < 0:
            return
        try:
            # Stage 1 that waits for us sees the end of the reply, ends stage 2 and itself.
            self.release()
            for record in self._records:
                if record:
                    self.take(record)
            self.await_pid()
            if self.pid:
                # One that is no child of ours any more may have given its number to another.
                os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                os.kill(self.pid, SIGKILL)
                os.waitpid(self.pid, 0)
        except OSError:
            pass
        finally:
            self.close()

    def await_pid(self) -> None:
        """Reads records until the first process is known, or that there is none."""
        while not self.pid and not self.failed and self.read():
            pass

    def read(self) -> Report | None:
        """Waits for one record and notes what it says; None when init has closed its end."""
        # One call for Python: a signal handler that raises cannot come before the record is kept.
        self._records.extend(map(os.read, (self.report_fd,), (REPORT.size,)))
        record = self._records[-1]
        return self.take(record) if record else None

    def close(self) -> None:
        """Lets everything go."""
        try:
            self.release()
        finally:
            report, self.report_fd = self.report_fd, -1
            if report >= 0:
                os.close(report)
            while self.received:
                os.close(self.received.pop())


def _sent(extra: Sequence[tuple[int, int, bytes]]) -> list[int]:
    """The descriptors of a message (unix(7))."""
    import _socket

    sent: list[int] = []
    for level, kind, data in extra:
        if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
            sent += unpack(f"<{len(data) // 4}i", data)
    return sent


def occupy_standard_numbers() -> None:
    """Puts /dev/null where 0, 1 or 2 is closed in this process.

    The next descriptor that kokon opens would get the number otherwise, and a program that
    inherits standard streams would get that descriptor: a directory of the host (row E3).
    """
    while (fd := os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)) <= 2:
        pass
    os.close(fd)


def spawn(
    wire: bytes,
    inherited: Sequence[int],
    streams: tuple[int, int, int],
    *,
    preserved: int = 0,
    receives: bool = False,
    turns: Sequence[Callable[[int], None]] = (),
    linger: bool = False,
    init: Spawned | None = None,
) -> Spawned:
    """Starts init on a plan and returns when stage 1 is done; stage 2 goes on.

    :param wire: the encoded plan.
    :param inherited: descriptors for the plan's inherited slots, in order.
    :param streams: what becomes 0, 1 and 2.
    :param preserved: how many descriptors from 3 on the program gets as they are.
    :param receives: descriptors will be sent back (the report is a socket then).
    :param turns: what kokon does at each AwaitParent of the plan, in order; called with the pid of
        stage 2, or of stage 1 while there is no stage 2.
    :param linger: stage 1 stays until ``Spawned.close`` (op Release).
    :param init: what is returned, for a caller who has to know it before it is started.
    """
    opened: list[int] = []
    init = init or Spawned()
    try:
        try:
            init.report_fd, report_write = _channel(receives)
            opened.append(report_write)
            plan_fd = os.memfd_create("kokon-plan", os.MFD_CLOEXEC)
            opened.append(plan_fd)
            _write_all(plan_fd, wire)
            passed = {REPORT_FD: report_write, PLAN_FD: plan_fd}
            if turns or linger:
                reply_read, init.reply_fd = os.pipe2(os.O_CLOEXEC)
                opened.append(reply_read)
                passed[REPLY_FD] = reply_read
            passed.update(enumerate(inherited, FIRST_FD))
            passed.update(enumerate(streams))
            passed.update((fd, fd) for fd in range(3, 3 + preserved))
            _start(init, passed, opened)
        except Exception:
            init.close()  # nothing was started; an interrupt does not tell
            raise
        finally:
            for fd in opened:
                os.close(fd)
        for turn in turns:
            _take_turn(init, turn)
        if not linger:
            init.release()
        init.await_pid()
    except BaseException:
        init.end()
        raise
    return init


def _take_turn(init: Spawned, turn: Callable[[int], None]) -> None:
    """Waits until stage 1 waits for us, does our part, and lets it go on."""
    while not init.failed and (report := init.read()):
        if report.kind == REPORT_READY:
            turn(init.pid or init.stage1)
            os.write(init.reply_fd, b"\0")
            return


def _channel(receives: bool) -> tuple[int, int]:
    if not receives:
        return os.pipe2(os.O_CLOEXEC)
    import _socket

    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0)
    return ours.detach(), theirs.detach()


def _start(init: Spawned, passed: dict[int, int], opened: list[int]) -> None:
    """posix_spawn with each descriptor at its number."""
    executable = program.descriptor()
    top = FIRST_FD + len(passed)
    if executable in passed:
        executable = _above(executable, top, opened)
    actions = []
    for target, source in passed.items():
        # A source that is itself a target would be overwritten before it is used.
        if source != target and source in passed:
            source = _above(source, top, opened)
        # dup2 onto itself would leave close-on-exec set: init clears nothing for 0, 1, 2.
        actions.append((os.POSIX_SPAWN_DUP2, source, target))
    path = f"/proc/self/fd/{executable}"
    pids: list[int] = []
    try:
        spawn_init = partial(os.posix_spawn, file_actions=actions, setsigmask=())
        # One call for Python: a signal handler that raises cannot come before the pid is noted.
        in_lasting_thread(lambda: pids.extend(map(spawn_init, (path,), (("kokon-init",),), ({},))))
    except OSError as error:
        remedy = {
            EBADF: f"allow more open files: ulimit -n {top + 64}",
            EAGAIN: "allow more processes: ulimit -u, or the pids limit of the cgroup around kokon",
            EACCES: "programs in memory may not be executed here: sysctl vm.memfd_noexec=1",
            EPERM: "programs in memory may not be executed here: sysctl vm.memfd_noexec=1",
        }.get(error.errno or 0, "")
        raise HostError("init cannot be started", errno=error.errno or 0, remedy=remedy) from None
    finally:
        if pids:
            init.stage1 = pids[0]


def _above(fd: int, top: int, opened: list[int]) -> int:
    """A second descriptor of the same file, with a number that no target has."""
    from fcntl import fcntl

    opened.append(fcntl(fd, _F_DUPFD_CLOEXEC, top))
    return opened[-1]


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
