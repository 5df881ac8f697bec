"""One line that says how far the unpacking of a tarball is; only ever on a terminal."""

from __future__ import annotations

import os
from time import monotonic

FIRST, EACH = 0.3, 0.1
"""Seconds until the line appears, and between two of its states."""


class Progress:
    """Called with bytes done and in all (0 when nobody knows); ``clear`` removes the line.

    :param name: of what is unpacked.
    """

    __slots__ = ("_name", "_next", "_shown")

    def __init__(self, name: str) -> None:
        name = os.path.basename(name)
        self._name = name if name.isprintable() else ascii(name)
        self._next = monotonic() + FIRST
        self._shown = False

    def __call__(self, done: int, total: int) -> None:
        """Shows it, when it is time."""
        now = monotonic()
        if now < self._next:
            return
        self._next = now + EACH
        self._shown = True
        amount = f"{done >> 20} MiB"
        if total:
            amount = f"{100 * done // total:3} % of {total >> 20} MiB"
        _write(f"\r\x1b[Kkokon: unpacking {self._name}: {amount}")

    def clear(self) -> None:
        """Leaves the line empty."""
        if self._shown:
            self._shown = False
            _write("\r\x1b[K")


def _write(text: str) -> None:
    try:
        os.write(2, text.encode("utf-8", "backslashreplace"))
    except OSError:
        pass
