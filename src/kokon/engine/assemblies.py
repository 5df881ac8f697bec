"""Built-in roots, put together once: a file in the store remembers what a machine came to."""

from __future__ import annotations

import os

from kokon import paths
from kokon.compile.assembly import Assembly
from kokon.engine import owner
from kokon.kernel.private import private_directory
from kokon.storage import builtin

SEPARATOR = "\n--\n"
LARGEST = 1 << 20


def assemble(name: str, *, packages: bool = False) -> Assembly:
    """A built-in root, from this process's memory, from the store, or put together anew.

    :raises RootError: there is no such root.
    """
    if name not in builtin.NAMES or (name, packages, builtin.HOME) in builtin.known:
        return builtin.assemble(name, packages=packages)
    now = builtin.state(name, packages)
    path = f"{paths.store()}/assemblies/{name[1:]}{'-packages' if packages else ''}"
    assembly = _remembered(path, now)
    if assembly is None:
        assembly = builtin.assemble(name, packages=packages)
        _remember(path, now + SEPARATOR + assembly.to_text())
    builtin.known[name, packages, builtin.HOME] = (now, assembly)
    return assembly


def _remembered(path: str, now: str) -> Assembly | None:
    """What the file says, when it was written for a machine like this one now."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            text = os.read(fd, LARGEST).decode("utf-8", "surrogateescape")
        finally:
            os.close(fd)
        state, _, rest = text.partition(SEPARATOR)
        if state != now:
            return None
        assembly = Assembly.from_text(rest)
    except (OSError, ValueError):
        return None
    # A piece that has gone since is no piece: its directory's date need not have changed.
    if all(os.path.exists(bind.source) for bind in assembly.binds):
        return assembly
    return None


def _remember(path: str, text: str) -> None:
    """Written beside and renamed; a store that cannot be written to is no reason not to start."""
    try:
        private_directory(private_directory(paths.store()) + "/assemblies")
        fresh = f"{path}.{owner.current().token}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(fresh, flags, 0o600)
        try:
            os.write(fd, text.encode("utf-8", "surrogateescape"))
        finally:
            os.close(fd)
        os.rename(fresh, path)
    except OSError:
        pass
