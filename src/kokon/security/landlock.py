"""Landlock: what each version of its interface can hold, and the rules that hold it (landlock(7)).

A rule gives rights over a file, or over a directory and all that is beneath it; rights of several
rules add up, and nothing takes a part of a tree away again.  What is handled and in no rule is
refused.
"""

from __future__ import annotations

from struct import pack

from kokon.kernel.constants import (
    LANDLOCK_EXECUTE,
    LANDLOCK_IOCTL_DEV,
    LANDLOCK_MAKE_BLOCK,
    LANDLOCK_MAKE_CHAR,
    LANDLOCK_READ_DIR,
    LANDLOCK_READ_FILE,
    LANDLOCK_REFER,
    LANDLOCK_SCOPES,
    LANDLOCK_TCP,
    LANDLOCK_TRUNCATE,
    LANDLOCK_WRITE_FILE,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

FIRST = LANDLOCK_REFER - 1
"""The rights over files of version 1."""

WHOLE_FILES = 3
"""From this version on truncation is a right too; before it, a filter has to refuse it."""

SCOPES = 6
"""From this version on signals and abstract sockets can be kept inside."""

OF_FILES = (
    LANDLOCK_EXECUTE | LANDLOCK_WRITE_FILE | LANDLOCK_READ_FILE | LANDLOCK_TRUNCATE
    | LANDLOCK_IOCTL_DEV
)  # fmt: skip
"""What can be allowed of a file; the others are about what happens in a directory (EINVAL)."""

SEE = LANDLOCK_READ_FILE | LANDLOCK_READ_DIR | LANDLOCK_EXECUTE
NAMES = LANDLOCK_READ_DIR
RUN = LANDLOCK_EXECUTE
USE = LANDLOCK_READ_FILE | LANDLOCK_WRITE_FILE | LANDLOCK_TRUNCATE
"""Of a device such as /dev/null."""
CHANGE = (LANDLOCK_IOCTL_DEV - 1) & ~(LANDLOCK_MAKE_CHAR | LANDLOCK_MAKE_BLOCK)
"""Everything but making devices, and speaking to them."""
DEVICES = CHANGE | LANDLOCK_IOCTL_DEV

MAY_BE_MISSING = 1 << 63
"""A bit of init's own: a rule that is left out where its path cannot be reached."""


def files(version: int) -> int:
    """The rights over files that this version handles."""
    added = ((2, LANDLOCK_REFER), (3, LANDLOCK_TRUNCATE), (5, LANDLOCK_IOCTL_DEV))
    return (FIRST if version else 0) | sum(bit for since, bit in added if version >= since)


def network(version: int) -> int:
    """The rights over TCP ports: bind and connect."""
    return LANDLOCK_TCP if version >= 4 else 0


def scopes(version: int) -> int:
    """What cannot be reached outside: abstract sockets, processes by signals."""
    return sum(LANDLOCK_SCOPES.values()) if version >= SCOPES else 0


class Rules:
    """Rules being collected; the rights of one path add up.

    :param version: rights that it does not know are left out.
    """

    def __init__(self, version: int) -> None:
        self.handled = files(version)
        self._rights: dict[str, int] = {}

    def allow(self, path: str, rights: int, *, directory: bool = True) -> None:
        """Gives rights over a path; of a file only those that a file has."""
        rights &= self.handled & (-1 if directory else OF_FILES)
        self._rights[path] = self._rights.get(path, 0) | rights | MAY_BE_MISSING

    def allow_around(
        self, path: str, hidden: Iterable[str], listings: Mapping[str, Mapping[str, bool]]
    ) -> None:
        """Lets a tree be seen, but not what some paths in it hold: their names are seen.

        :param listings: for each directory on the way to a hidden one (see :func:`on_the_way`):
            name to whether it is a directory.
        """
        inside = {each for each in hidden if beneath(each, path)}
        if not inside:
            self.allow(path, SEE)
            return
        if path in inside:
            return
        self.allow(path, NAMES)
        ways = set(on_the_way(path, inside))
        for way in ways:
            for name, directory in listings.get(way, {}).items():
                child = f"{way.rstrip('/')}/{name}"
                if child not in ways and child not in inside:
                    self.allow(child, SEE, directory=directory)

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths, in order; ``accesses`` has the rights of each as init reads them."""
        return tuple(self._rights)

    @property
    def accesses(self) -> bytes:
        """An u64 for each path."""
        return pack(f"<{len(self._rights)}Q", *self._rights.values())


def beneath(path: str, directory: str) -> bool:
    """Whether a path is a directory or beneath it; both are absolute and normal."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def on_the_way(path: str, hidden: Iterable[str]) -> list[str]:
    """The directories from ``path`` to the hidden ones in it, these left out."""
    found: dict[str, None] = {}
    for each in hidden:
        above = each
        while above != path and beneath(above, path):
            above = above.rpartition("/")[0] or "/"
            found[above] = None
    return list(found)
