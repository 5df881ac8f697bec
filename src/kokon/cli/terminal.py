"""The caller's terminal and the container's own (row E13): bytes to and fro, and its size."""

from __future__ import annotations

import os
from _signal import SIGINT, SIGQUIT  # type: ignore[import-not-found]  # signal imports enum
from errno import EIO
from fcntl import ioctl
from select import POLLIN, POLLOUT, poll
from struct import pack

from kokon.runtime.streams import LONGEST, wait_until

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from kokon.runtime.process import FirstProcess

TIOCSWINSZ, TIOCGPTPEER = 0x5414, 0x5441  # ioctl_tty(2)
CHUNK = 1 << 16


def size() -> tuple[int, int]:
    """Rows and columns of the first standard stream that is a terminal; (0, 0) without one."""
    for fd in range(3):
        try:
            columns, rows = os.get_terminal_size(fd)
        except OSError:
            continue
        return rows, columns
    return 0, 0


class Connection:
    """The container's terminal, connected with standard input (if it feeds) and output.

    :param feeds: what is typed goes in; the caller's terminal is raw until ``close``.
    :param signalled: told the number of each signal that a key sends, such as ^C, and the process
        group that the kernel sends it to (0 where that cannot be known).
    """

    __slots__ = (
        "_feeds", "_lost", "_master", "_peer", "_process", "_quoted", "_saved", "_signalled",
        "_typed",
    )  # fmt: skip

    def __init__(
        self, process: FirstProcess, *, feeds: bool, signalled: Callable[[int, int], object]
    ) -> None:
        self._process = process
        self._master = process.spawned.terminal
        self._peer = -1
        self._feeds = feeds
        self._lost = False
        self._typed = b""
        self._quoted = False
        self._signalled = signalled
        self._saved: list[Any] | None = None
        os.set_blocking(self._master, False)
        try:
            # While we hold the other end too, the program may close its own and open it again.
            self._peer = ioctl(self._master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            pass
        self.resize()
        if feeds:
            import termios
            import tty

            self._saved = termios.tcgetattr(0)
            tty.setraw(0, termios.TCSADRAIN)

    def resize(self) -> None:
        """Gives the container's terminal the size that ours has now."""
        rows, columns = size()
        if rows and self._master >= 0:
            ioctl(self._master, TIOCSWINSZ, pack("4H", rows, columns, 0, 0))

    def pump(self, deadline: float | None) -> str:
        """Moves bytes until the process has ended and all that it printed is out.

        :param deadline: of time.monotonic(); then the container is ended.
        :returns: ``exit`` or ``timeout``.
        """
        ended = "exit"
        while True:
            poller = poll()
            poller.register(self._process.pidfd, POLLIN)
            if self._master >= 0:
                poller.register(self._master, POLLIN | (POLLOUT if self._typed else 0))
            if self._feeds and not self._typed:
                poller.register(0, POLLIN)
            wait = wait_until(deadline)
            ready = dict(poller.poll(wait))
            if not ready and wait != LONGEST:
                ended, deadline = "timeout", None
                self._process.kill()
            if 0 in ready:
                self._read_typed()
            if self._typed:
                self._feed()
            if self._process.pidfd in ready:
                self._drain()
                return ended
            if ready.get(self._master, 0) & ~POLLOUT:
                self._print()

    def close(self) -> None:
        """Gives the caller's terminal its modes back, and lets the container's go."""
        self._hang_up()
        if self._saved is not None:
            import termios

            try:
                termios.tcsetattr(0, termios.TCSADRAIN, self._saved)
            except termios.error:
                pass  # it has gone
            self._saved = None

    def _hang_up(self) -> None:
        for fd in (self._master, self._peer):
            if fd >= 0:
                os.close(fd)
        self._master = self._peer = -1

    def _read_typed(self) -> None:
        """A terminal that has gone hangs up the program's too, as a closed window does."""
        try:
            self._typed = os.read(0, CHUNK)
        except BlockingIOError:
            return
        except OSError:
            self._typed = b""
        if not self._typed:
            self._feeds = False
            self._hang_up()
        elif self._master >= 0:
            # Before the program has them: what it does about a signal may end with the first.
            for number in self._signals_of(self._typed):
                self._signalled(number, self._foreground())

    def _signals_of(self, typed: bytes) -> list[int]:
        """What the container's terminal makes of keys that send a signal (termios(3))."""
        import termios

        try:
            _, _, _, modes, _, _, keys = termios.tcgetattr(self._master)
        except termios.error:
            return []
        sends = {}
        if modes & termios.ISIG:
            sends = {keys[termios.VINTR]: int(SIGINT), keys[termios.VQUIT]: int(SIGQUIT)}
            sends.pop(b"\0", None)  # no key at all
        quotes = bool(modes & termios.ICANON and modes & termios.IEXTEN)
        numbers = []
        for value in typed:
            key = bytes((value,))
            if key in sends and not self._quoted:
                numbers.append(sends[key])
            # ^V makes the next key a letter like others.
            self._quoted = quotes and key == keys[termios.VLNEXT] and not self._quoted
        return numbers

    def _foreground(self) -> int:
        """The process group that these signals go to, or 0."""
        try:
            return os.tcgetpgrp(self._master)
        except OSError:
            return 0

    def _feed(self) -> None:
        try:
            self._typed = self._typed[os.write(self._master, self._typed) :]
        except BlockingIOError:
            pass
        except OSError:
            self._typed = b""

    def _print(self) -> bool:
        """Moves what is there; False when there is nothing for now, or the other end is gone."""
        try:
            data = memoryview(os.read(self._master, CHUNK))
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno != EIO:
                raise
            self._hang_up()
            return False
        while data and not self._lost:
            try:
                data = data[os.write(1, data) :]
            except BlockingIOError:
                waiting = poll()
                waiting.register(1, POLLOUT)
                waiting.poll()
            except OSError:
                self._lost = True  # nobody reads any more: the program must not wait for us
        return True

    def _drain(self) -> None:
        """What a terminal holds is little; a process of the host that has it open may go on."""
        for _ in range(64):
            if self._master < 0 or not self._print():
                return
