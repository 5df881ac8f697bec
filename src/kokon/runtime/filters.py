"""Filters of seccomp documents, compiled once and kept until the next boot."""

from __future__ import annotations

import os
from marshal import dumps

from kokon import paths
from kokon.errors import HostError
from kokon.kernel.private import keep, private_directory
from kokon.runtime.program import sha256_of
from kokon.spec.oci.seccomp import SECCOMP
from kokon.spec.runtime import Seccomp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from kokon.spec.oci.values import SeccompDocument

MOST = 64
"""Filters that are kept; the oldest go."""

FLAGS = 8
"""Bytes before the program: the flags of seccomp(2)."""


def compiled(document: SeccompDocument, architecture: str) -> Seccomp:
    """The filter of a document, with libseccomp's meaning.

    :raises SpecError: it asks for what is not possible; with the JSON pointer.
    """
    fields = SECCOMP.dump(document)
    try:
        directory = private_directory(private_directory(paths.state()) + "/filters")
    except HostError:
        return _compile(fields, architecture)
    name = _name(fields, architecture)
    found = _read(f"{directory}/{name}")
    if found is None:
        found = _compile(fields, architecture)
        try:
            keep(directory, name, found.flags.to_bytes(FLAGS, "little") + found.program, MOST)
        except OSError:
            pass  # the next start compiles it again
    return found


def _compile(fields: Any, architecture: str) -> Seccomp:
    from kokon.security import seccomp

    profile = seccomp.parse_oci(fields, "/linux/seccomp", newer_enosys=True)
    return Seccomp(seccomp.program(profile, architecture), profile.loading_flags())


def _name(fields: Any, architecture: str) -> str:
    """By all that the program is made from: the document, and what compiles it."""
    package = f"{paths.PACKAGE}/security/seccomp"
    sources = []
    for name in sorted(os.listdir(package)):
        if name.endswith(".py"):
            status = os.stat(f"{package}/{name}")
            sources.append((name, status.st_size, status.st_mtime_ns))
    return sha256_of(dumps((fields, architecture, sources), 2))


def _read(path: str) -> Seccomp | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    with open(fd, "rb") as file:
        data = file.read()
    return Seccomp(data[FLAGS:], int.from_bytes(data[:FLAGS], "little"))
