"""Starting init: descriptors at fixed numbers, an empty environment, and what it reports back."""

from __future__ import annotations

import os
from errno import EACCES, EAGAIN, EBADF, EPERM
from struct import Struct

from kokon.errors import HostError
from kokon.runtime import program
from kokon.runtime.spawner import spawned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# init/init.h has the same numbers.
REPORT_FD, PLAN_FD, REPLY_FD, FIRST_FD = 200, 201, 202, 203
REPORT_PID, REPORT_FAILED, REPORT_READY, REPORT_TERMINAL, REPORT_STARTED, REPORT_STATUS = range(
    1, 7
)
REPORT = Struct("<IIiiq")

_F_DUPFD_CLOEXEC = 1030


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
    """

    __slots__ = (
        "failed", "pid", "reply_fd", "report_fd", "stage1", "started", "status", "terminal",
    )  # fmt: skip

    def __init__(self) -> None:
        self.report_fd = -1
        self.reply_fd = -1
        self.pid = 0
        self.stage1 = 0
        self.failed: Report | None = None
        self.started = False
        self.status: int | None = None
        self.terminal = -1

    def take(self, record: bytes) -> Report:
        """Notes what one record says."""
        report = Report(*REPORT.unpack(record))
        if report.kind == REPORT_PID:
            self.pid = report.value
        elif report.kind == REPORT_FAILED:
            self.failed = self.failed or report
        elif report.kind == REPORT_STARTED:
            self.started = True
        elif report.kind == REPORT_STATUS:
            self.status = report.value
        return report

    def await_terminal(self) -> bool:
        """Waits for the terminal's master (socket reports only); False when init failed first."""
        import _socket

        channel = _socket.socket(fileno=self.report_fd)
        try:
            while self.terminal < 0 and not self.failed:
                record, extra, _, _ = channel.recvmsg(REPORT.size, _socket.CMSG_SPACE(4))
                if len(record) != REPORT.size:
                    return False
                self.take(record)
                for level, kind, data in extra:
                    if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
                        self.terminal = int.from_bytes(data[:4], "little")
                        os.set_inheritable(self.terminal, False)
        finally:
            channel.detach()
        return self.terminal >= 0

    def drain(self) -> None:
        """Reads every record until init has closed its end."""
        while record := _read_record(self.report_fd):
            self.take(record)

    def release(self) -> None:
        """Lets stage 1 end, and waits for that."""
        if self.reply_fd >= 0:
            os.close(self.reply_fd)
            self.reply_fd = -1
        if self.stage1:
            pid, self.stage1 = self.stage1, 0
            try:
                os.waitpid(pid, 0)
            except ChildProcessError:
                pass  # another wait of this process took it; what it had to say it has reported

    def close(self) -> None:
        """Lets everything go."""
        try:
            self.release()
        finally:
            if self.report_fd >= 0:
                os.close(self.report_fd)
                self.report_fd = -1


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
    terminal: bool = False,
    turns: Sequence[Callable[[int], None]] = (),
    linger: bool = False,
) -> Spawned:
    """Starts init on a plan and returns when stage 1 is done; stage 2 goes on.

    :param wire: the encoded plan.
    :param inherited: descriptors for the plan's inherited slots, in order.
    :param streams: what becomes 0, 1 and 2.
    :param terminal: a terminal will be sent back (the report is a socket then).
    :param turns: what kokon does at each AwaitParent of the plan, in order; called with the pid of
        stage 2, or of stage 1 while there is no stage 2.
    :param linger: stage 1 stays until ``Spawned.close`` (op Release).
    """
    opened: list[int] = []
    init = Spawned()
    try:
        init.report_fd, report_write = _channel(terminal)
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
        init.stage1 = _start({**passed, 0: streams[0], 1: streams[1], 2: streams[2]}, opened)
    except BaseException:
        init.close()
        raise
    finally:
        for fd in opened:
            os.close(fd)
    try:
        for turn in turns:
            _take_turn(init, turn)
        if not linger:
            init.release()
        while not init.pid and not init.failed and (record := _read_record(init.report_fd)):
            init.take(record)
    except BaseException:
        _abandon(init)
        raise
    return init


def _take_turn(init: Spawned, turn: Callable[[int], None]) -> None:
    """Waits until stage 1 waits for us, does our part, and lets it go on."""
    while not init.failed and (record := _read_record(init.report_fd)):
        if init.take(record).kind == REPORT_READY:
            turn(init.pid or init.stage1)
            os.write(init.reply_fd, b"\0")
            return


def _abandon(init: Spawned) -> None:
    """Ends and reaps what was started, after a failure of our own."""
    try:
        # Stage 1 that waits for us sees the end of the reply, ends stage 2 and itself.
        init.release()
        init.drain()
        if init.pid:
            os.waitpid(init.pid, 0)
    except OSError:
        pass
    finally:
        init.close()


def _channel(terminal: bool) -> tuple[int, int]:
    if not terminal:
        return os.pipe2(os.O_CLOEXEC)
    import _socket

    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0)
    return ours.detach(), theirs.detach()


def _start(passed: dict[int, int], opened: list[int]) -> int:
    """posix_spawn with each descriptor at its number."""
    executable = program.descriptor()
    top = FIRST_FD + len(passed)
    actions = []
    for target, source in passed.items():
        # A source that is itself a target would be overwritten before it is used.
        if source != target and source in passed:
            from fcntl import fcntl

            source = fcntl(source, _F_DUPFD_CLOEXEC, top)
            opened.append(source)
        # dup2 onto itself would leave close-on-exec set: init clears nothing for 0, 1, 2.
        actions.append((os.POSIX_SPAWN_DUP2, source, target))
    path = f"/proc/self/fd/{executable}"
    try:
        return spawned(
            lambda: os.posix_spawn(path, ("kokon-init",), {}, file_actions=actions, setsigmask=())
        )
    except OSError as error:
        remedy = {
            EBADF: f"allow more open files: ulimit -n {top + 64}",
            EAGAIN: "allow more processes: ulimit -u, or the pids limit of the cgroup around kokon",
            EACCES: "programs in memory may not be executed here: sysctl vm.memfd_noexec=1",
            EPERM: "programs in memory may not be executed here: sysctl vm.memfd_noexec=1",
        }.get(error.errno or 0, "")
        raise HostError("init cannot be started", errno=error.errno or 0, remedy=remedy) from None


def _read_record(fd: int) -> bytes:
    record = os.read(fd, REPORT.size)
    return record if len(record) == REPORT.size else b""


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
