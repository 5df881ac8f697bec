"""Signals that reach kokon, or are typed at its terminal, are the container's.

Before the program runs, one of them takes back what was made; then each is forwarded to the
container's first process through its pidfd.

Process 1 of a pid namespace has no default actions: a signal that it does not handle is dropped by
the kernel (pid_namespaces(7)), so ``kokon run ROOT sleep 60`` would not hear ^C.  What the signal
would do to it outside, it does here: kokon ends the container.  A program that handles, ignores or
blocks the signal is left to do so; three SIGINT or SIGTERM within a second end it all the same,
typed ones unless it handles them, as a shell and an interpreter do.
"""

from __future__ import annotations

from _signal import (  # type: ignore[import-not-found]  # signal imports enum, for every start
    SIG_IGN,
    SIGALRM,
    SIGCONT,
    SIGHUP,
    SIGINT,
    SIGIO,
    SIGPWR,
    SIGQUIT,
    SIGRTMAX,
    SIGRTMIN,
    SIGTERM,
    SIGUSR1,
    SIGUSR2,
    SIGWINCH,
    getsignal,
    signal,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from kokon.runtime.process import FirstProcess

FORWARDED = (
    SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGTERM, SIGCONT, SIGWINCH, SIGIO, SIGPWR,
    *range(SIGRTMIN, SIGRTMAX + 1),
)  # fmt: skip
HARMLESS = (SIGCONT, SIGWINCH)
"""They end nothing (signal(7))."""


SIGNAL_WAITS = ("128", "137", "177", "421")
"""rt_sigtimedwait of x86-64, of aarch64, and of 32-bit programs with either time."""


class Interrupted(BaseException):
    """A signal came before the program ran.

    :ivar number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Signals:
    """From its making on, every signal that can be forwarded comes here.

    One that our caller wants ignored (nohup) stays ignored.

    :ivar ended_by: the signal for which kokon ended the container, or 0.
    :ivar resized: called in place of forwarding SIGWINCH.
    """

    __slots__ = ("_moments", "_process", "_take", "ended_by", "resized")

    def __init__(self) -> None:
        self.ended_by = 0
        self.resized: Callable[[], object] | None = None
        self._process: FirstProcess | None = None
        self._moments: list[float] = []
        self._take: Callable[[int], object] = self._interrupt
        for number in FORWARDED:
            if getsignal(number) != SIG_IGN:
                signal(number, lambda number, _: self._take(number))

    def hold(self) -> list[int]:
        """Keeps what comes from now on: what is being started cannot be taken back halfway."""
        held: list[int] = []
        self._take = held.append
        return held

    def forward_to(self, process: FirstProcess, held: list[int]) -> None:
        """Forwards from now on, beginning with what was held."""
        self._process = process
        self._take = self._forward
        for number in held:
            self._forward(number)

    def drop(self) -> None:
        """Nobody is there any more; what is being taken back must not be interrupted."""
        self._take = _nothing

    def _interrupt(self, number: int) -> None:
        if number not in HARMLESS:
            self.drop()
            raise Interrupted(number)

    def _forward(self, number: int) -> None:
        process = self._process
        assert process is not None
        if number == SIGWINCH and self.resized:
            self.resized()
        elif not self._ends(number, number not in HARMLESS):
            process.kill(number)

    def typed(self, number: int, group: int) -> None:
        """A key at the container's terminal, for which the kernel sends a signal there.

        A shell at its prompt or an interpreter takes ^C as often as it is typed.

        :param group: the process group that it is sent to; process 1's own begins with it.
        """
        process = self._process
        assert process is not None
        if not _is_caught(group, number):
            self._ends(number, group == process.pid)

    def _ends(self, number: int, reaches_first: bool) -> bool:
        """Ends the container if process 1 would drop the signal, or somebody insists."""
        process = self._process
        assert process is not None
        if not (self._insists(number) or (reaches_first and _is_dropped(process.pid, number))):
            return False
        self.ended_by = number
        process.kill()
        return True

    def _insists(self, number: int) -> bool:
        from time import monotonic

        if number in (SIGINT, SIGTERM):
            self._moments = [*self._moments[-2:], monotonic()]
        return len(self._moments) == 3 and self._moments[-1] - self._moments[0] < 1


def drops(status: str, number: int) -> bool:
    """Whether the kernel drops a signal: to process 1 of a namespace that does nothing about it.

    :param status: the text of /proc/PID/status (proc(5)).
    """
    fields = _fields(status)
    numbers = fields.get("NSpid", "").split()
    if len(numbers) < 2 or numbers[-1] != "1":
        return False
    return not any(_has(fields, mask, number) for mask in ("SigBlk", "SigIgn", "SigCgt"))


def _fields(status: str) -> dict[str, str]:
    return dict(line.partition(":")[::2] for line in status.splitlines())


def _has(fields: dict[str, str], mask: str, number: int) -> bool:
    return bool(int(fields.get(mask, "0"), 16) >> (number - 1) & 1)


def _is_dropped(pid: int, number: int) -> bool:
    try:
        status = _read(f"/proc/{pid}/status")
        if not drops(status, number):
            return False
        if status.startswith("Name:\tkokon-init\n"):
            # It is making the container, or reaps: then it has a child, and forwards.
            return not _read(f"/proc/{pid}/task/{pid}/children")
        # sigtimedwait(2) takes what it waits for, and SigBlk does not show that while it does.
        return _read(f"/proc/{pid}/syscall").partition(" ")[0] not in SIGNAL_WAITS
    except OSError:
        return False  # gone, or not ours to look into: it is left alone


def _is_caught(pid: int, number: int) -> bool:
    try:
        return _has(_fields(_read(f"/proc/{pid}/status")), "SigCgt", number)
    except OSError:
        return False


def _read(path: str) -> str:
    with open(path) as file:
        return file.read()


def _nothing(number: int) -> None:
    pass
