"""A program's environment: an entry that comes later wins, and HOME is never missing."""

from __future__ import annotations

import os

from kokon.compile.mounts import is_bind
from kokon.errors import KokonError
from kokon.kernel.accounts import lookup_user
from kokon.kernel.safe_paths import open_regular_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from kokon.spec.runtime import Process, Spec


def complete(process: Process, root: int | Mapping[str, bytes]) -> None:
    """Leaves each name once, and takes HOME from the root's passwd where it is unset or empty.

    :param root: a descriptor of the root's directory, or the contents of its files.
    """
    entries = {entry.partition("=")[0]: entry for entry in process.env}
    if entries.get("HOME", "HOME=") == "HOME=":
        try:
            home = lookup_user(root, str(process.user.uid)).home
        except (KokonError, OSError):
            home = "/"  # without a passwd that can be read, as without a line for the user
        entries["HOME"] = f"HOME={home}"
    process.env = tuple(entries.values())


LARGEST = 1 << 20
"""Bytes of a volume's passwd that are read."""


def complete_new(spec: Spec) -> None:
    """The same for a container that is not there yet: what its mounts will show at /etc/passwd."""
    mounts = [each for each in spec.mounts if each.destination in ("/etc", "/etc/passwd")]
    last = mounts[-1] if mounts else None
    if last is not None:
        files = {}
        if is_bind(last):
            try:
                files["etc/passwd"] = _content(last.source, last.destination == "/etc")
            except (KokonError, OSError):
                pass  # as in a root without one
        complete(spec.process, files)
        return
    root = os.open(spec.root.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        complete(spec.process, root)
    finally:
        os.close(root)


def _content(source: str, is_etc: bool) -> bytes:
    """The source is the caller's, with its links; those in it are the volume's (row M17)."""
    above, name = (source, "passwd") if is_etc else os.path.split(os.path.realpath(source))
    directory = os.open(above, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fd = open_regular_file(directory, name)
    finally:
        os.close(directory)
    try:
        return os.read(fd, LARGEST)
    finally:
        os.close(fd)
