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


class Collected:
    """What came of it.

    :ivar output: bytes by descriptor.
    :ivar ended: ``exit``, ``timeout`` or ``output`` (more than the ceiling was printed).
    """

    __slots__ = ("ended", "output")

    def __init__(self) -> None:
        self.output: dict[int, bytearray] = {}
        self.ended = "exit"


def communicate(
    pidfd: int,
    kill: Callable[[], None],
    *,
    outputs: tuple[int, ...] = (),
    feed: tuple[int, bytes] | None = None,
    deadline: float | None = None,
    ceiling: int | None = None,
) -> Collected:
    """Moves bytes until the process of ``pidfd`` has ended, and returns what it printed.

    :param outputs: pipes to read; they are closed before this returns.
    :param feed: a pipe and what to write to it; it is closed when all is written.
    :param deadline: of time.monotonic(); ``kill`` is called when it has passed.
    :param ceiling: bytes that all outputs together may have; ``kill`` is called beyond it.
    """
    result = Collected()
    result.output = {fd: bytearray() for fd in outputs}
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    reading, left = set(outputs), ceiling
    for fd in outputs:
        poller.register(fd, select.POLLIN)
    sink, data = feed if feed else (-1, b"")
    view = memoryview(data)
    if sink >= 0:
        os.set_blocking(sink, False)
        poller.register(sink, select.POLLOUT)
    try:
        while True:
            wait = wait_until(deadline if result.ended == "exit" else None)
            ready = dict(poller.poll(wait))
            if not ready:
                if wait != LONGEST:
                    result.ended = "timeout"
                    kill()
                continue
            if sink in ready:
                view = _feed(sink, view)
                if not view:
                    poller.unregister(sink)
                    os.close(sink)
                    sink = -1
            for fd in [fd for fd in reading if fd in ready]:
                chunk = os.read(fd, CHUNK)
                if not chunk:
                    poller.unregister(fd)
                    reading.discard(fd)
                    continue
                if left is not None and len(chunk) > left:
                    chunk = chunk[:left]
                    if result.ended == "exit":
                        result.ended = "output"
                        kill()
                if left is not None:
                    left -= len(chunk)
                result.output[fd] += chunk
            # The process is gone and what it left in the pipes is read: a process that shares
            # the host's pid namespace and holds a pipe open must not hold us.
            if pidfd in ready and not any(fd in ready for fd in reading):
                return result
    finally:
        if sink >= 0:
            os.close(sink)
        for fd in outputs:
            os.close(fd)


def wait_until(deadline: float | None) -> float | None:
    """Milliseconds for poll(2), :data:`LONGEST` at most; None without a deadline.

    :param deadline: of time.monotonic().
    """
    return None if deadline is None else min(max(0.0, (deadline - monotonic()) * 1000), LONGEST)


def _feed(sink: int, view: memoryview) -> memoryview:
    """Writes what the pipe takes; a reader that is gone takes no more."""
    try:
        return view[os.write(sink, view[:CHUNK]) :]
    except BlockingIOError:
        return view
    except BrokenPipeError:
        return view[:0]
