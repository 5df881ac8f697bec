"""The roots that kokon brings along: ``@host`` and ``@python``.

They need no network and no files of their own.  What each shows is in docs/roots.md.
"""

from __future__ import annotations

import os

from kokon.compile.assembly import Assembly
from kokon.errors import OptionError, RootError

NAMES = ("@host", "@python")

HOME = "/home/user"

known: dict[tuple[str, bool, str], tuple[str, Assembly]] = {}
"""What was put together before in this process, with the state of the machine it holds for."""


def assemble(name: str, *, packages: bool = False, home: str = HOME) -> Assembly:
    """Put together a built-in root.  Files of this machine are read, nothing is executed.

    :param name: ``@host`` or ``@python``.
    :param packages: with ``@python``, show the packages that this interpreter can import.
    :param home: where the empty, writable home directory is.
    :returns: a value that is shared between calls: it is not to be changed.
    :raises RootError: there is no such root, or no interpreter to make one of.
    :raises OptionError: the home cannot be where it is wanted, or packages are asked of @host.
    """
    if name not in NAMES:
        raise RootError(
            f"there is no built-in root {name}",
            where="root",
            remedy=f"use {' or '.join(NAMES)}, or a path that begins with / or .",
        )
    if packages and name != "@python":
        raise OptionError(
            f"{name} has no packages of its own", where="packages", remedy="use @python"
        )
    now = state(name, packages, home)
    before, assembly = known.get((name, packages, home), ("", None))
    if assembly is None or before != now:
        assembly = build(name, packages, home)
        known[name, packages, home] = (now, assembly)
    return assembly


def build(name: str, packages: bool, home: str) -> Assembly:
    """Put it together anew."""
    if name == "@host":
        from kokon.storage.host_root import host_root

        return host_root(home)
    from kokon.storage.python_root import python_root

    return python_root(home, packages)


def state(name: str, packages: bool = False, home: str = HOME) -> str:
    """A text that changes when the root should be put together again, to key a cache with.

    It holds the dates of the files and directories that decide.  An assembly from a cache is a
    hint all the same: when one of its sources has gone, put it together anew and try once more.
    """
    if name == "@host":
        from kokon.storage.host_root import sources

        paths = sources()
    else:
        from kokon.storage.interpreter import sources as python_sources

        paths = python_sources(packages)
    library_path = os.environ.get("LD_LIBRARY_PATH", "")
    return "\n".join((name, f"{packages}", home, library_path, *map(dated, paths)))


def dated(path: str) -> str:
    """A path and when it was last changed, in nanoseconds; 0 when it is missing."""
    try:
        return f"{path} {os.stat(path).st_mtime_ns}"
    except OSError:
        return f"{path} 0"
