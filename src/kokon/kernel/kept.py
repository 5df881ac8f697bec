"""A descriptor that is kept from run to run."""

from __future__ import annotations

import os


class Kept:
    """An open file and what it is known by.

    A caller may close what it did not open (closerange(3, ...), as daemons do) and open a file of
    its own, which gets the number.

    :param fd: the descriptor; :meth:`close` closes it.
    """

    __slots__ = ("_identity", "fd")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        found = os.fstat(fd)
        self._identity = found.st_dev, found.st_ino

    def is_there(self) -> bool:
        """Whether the number still stands for our file."""
        try:
            found = os.fstat(self.fd)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self._identity

    def close(self) -> None:
        """Closes our file, and never another's."""
        if self.is_there():
            os.close(self.fd)
        self.fd = -1
