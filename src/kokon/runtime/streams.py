"""Feeding and collecting a program's streams while it runs, with a ceiling and a deadline."""

from __future__ import annotations

import os
import select
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

CHUNK = 1 << 16
LONGEST = 1 << 30
"""Milliseconds of one poll(2): a later deadline takes several."""


class Exchange:
    """Moves bytes between us and a program.

    :ivar output: what was printed so far, by descriptor.
    :ivar dropped: whether some of it was beyond the ceiling.
    :param pidfd: of the process whose end is the end; -1 when that has come (:meth:`drain`).
    :param outputs: pipes to read.
    :param feed: a pipe and what to write to it; it is closed when all is written.
    :param ceiling: bytes of all outputs together that are kept.
    """

    __slots__ = (
        "_data",
        "_left",
        "_open",
        "_pidfd",
        "_poller",
        "_reading",
        "_sink",
        "dropped",
        "output",
    )

    def __init__(
        self,
        pidfd: int,
        outputs: tuple[int, ...] = (),
        feed: tuple[int, bytes] | None = None,
        ceiling: int | None = None,
    ) -> None:
        self.output = {fd: bytearray() for fd in outputs}
        self.dropped = False
        self._pidfd = pidfd
        self._reading = set(outputs)
        self._left = ceiling
        self._sink, data = feed if feed else (-1, b"")
        self._data = memoryview(data)
        # Not poll(2): an event loop can wait for the descriptor of an epoll(7).
        self._poller = select.epoll()
        self._open = list(outputs)
        if pidfd >= 0:
            self._poller.register(pidfd, select.EPOLLIN)
        for fd in outputs:
            self._poller.register(fd, select.EPOLLIN)
        if self._sink >= 0:
            os.set_blocking(self._sink, False)
            self._poller.register(self._sink, select.EPOLLOUT)

    def until(self, deadline: float | None, *, ends_full: bool = False) -> str:
        """Goes on until the process has ended (``exit``) or the time is over (``timeout``).

        :param deadline: of time.monotonic().
        :param ends_full: ends too (``output``) when more than the ceiling was printed; what is
            beyond it is dropped in any case.
        """
        while True:
            wait = wait_until(deadline)
            moved = self.step(None if wait is None else wait / 1000)
            if moved == "exit" or (moved == "output" and ends_full):
                return moved
            if moved == "nothing" and wait != LONGEST:
                return "timeout"

    def fileno(self) -> int:
        """A descriptor that is readable when :meth:`step` has something to do."""
        return self._poller.fileno()

    def step(self, seconds: float | None = 0) -> str:
        """Waits that long at most, and moves what is there.

        :returns: ``nothing`` was there, ``moved``, ``output`` when some of it was beyond the
            ceiling, ``exit`` when the process has ended and all is read.
        """
        ready = {fd for fd, _ in self._poller.poll(seconds)}
        if not ready:
            return "nothing"
        if self._sink in ready:
            self._write()
        readable = self._reading & ready
        if [fd for fd in readable if not self._read(fd)]:
            return "output"
        # The process is gone and what it left in the pipes is read: a process that shares
        # the host's pid namespace and holds a pipe open must not hold us.
        return "exit" if self._pidfd in ready and not readable else "moved"

    def drain(self) -> None:
        """Takes what is left in the pipes of a process that has ended, and waits for nothing."""
        while readable := self._reading & {fd for fd, _ in self._poller.poll(0)}:
            for fd in readable:
                self._read(fd)

    def take(self, fd: int) -> bytes:
        """What was printed since it was last taken."""
        part = bytes(self.output[fd])
        self.output[fd].clear()
        return part

    def _read(self, fd: int) -> bool:
        """Takes what is there; False when some of it was beyond the ceiling."""
        chunk = os.read(fd, CHUNK)
        if not chunk:
            self._poller.unregister(fd)
            self._reading.discard(fd)
            return True
        whole = len(chunk)
        if self._left is not None:
            chunk = chunk[: self._left]
            self._left -= len(chunk)
        self.output[fd] += chunk
        if len(chunk) == whole:
            return True
        self.dropped = True
        return False

    def _write(self) -> None:
        """Gives what the pipe takes; a reader that is gone takes no more."""
        try:
            self._data = self._data[os.write(self._sink, self._data[:CHUNK]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._data = self._data[:0]
        if not self._data:
            self._poller.unregister(self._sink)
            self._close_sink()

    def _close_sink(self) -> None:
        sink, self._sink = self._sink, -1
        if sink >= 0:
            os.close(sink)

    def close(self) -> None:
        """Closes every pipe.  May be called twice."""
        self._poller.close()
        self._close_sink()
        while self._open:
            os.close(self._open.pop())


def communicate(
    pidfd: int,
    kill: Callable[[], None],
    *,
    outputs: tuple[int, ...] = (),
    feed: tuple[int, bytes] | None = None,
    deadline: float | None = None,
    ceiling: int | None = None,
    ends_full: bool = True,
) -> tuple[str, dict[int, bytearray]]:
    """Moves bytes until the process of ``pidfd`` has ended; closes the pipes.

    :param kill: called when the deadline has passed, or, with ``ends_full``, when more than
        ``ceiling`` was printed.
    :returns: ``exit``, ``timeout`` or ``output``, and what was printed, by descriptor.
    """
    exchange = Exchange(pidfd, outputs, feed, ceiling)
    try:
        ended = exchange.until(deadline, ends_full=ends_full)
        if ended != "exit":
            kill()
            exchange.until(None)
        return ended, exchange.output
    finally:
        exchange.close()


def wait_until(deadline: float | None) -> float | None:
    """Milliseconds for poll(2), :data:`LONGEST` at most; None without a deadline.

    :param deadline: of time.monotonic().
    """
    return None if deadline is None else min(max(0.0, (deadline - monotonic()) * 1000), LONGEST)
