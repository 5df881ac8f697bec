"""The one gate in Python for paths inside a container's root.

A path that comes from a container or an image is never joined to a host path and never resolved
by the host's rules: it is resolved below a descriptor of the root, where an absolute link starts
at that root and ``..`` stops there (``openat2(2)``, Linux 5.6).

Most paths hold no link at all.  For those a walk with ``O_NOFOLLOW`` gives the same answer, and
saves the import of ctypes, which costs more than everything else here; the first link hands the
whole path to ``openat2``.
"""

from __future__ import annotations

import os
from errno import EAGAIN, EINVAL, ELOOP, ENOTDIR
from stat import S_ISLNK, S_ISREG

from kokon.errors import RootError
from kokon.kernel.constants import (
    RESOLVE_BENEATH,
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    RESOLVE_NO_XDEV,
)

IN_ROOT = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
"""Links are followed, all of them inside the root."""

BENEATH = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS
"""No link is followed and nothing leaves: for directories that hold only what kokon wrote."""

SMALL_FILE = 10 << 20
"""Bytes that a file of an image may have when it is read whole (10 MiB)."""

_SYS_OPENAT2 = 437  # the same on every architecture
_RACES = 64


def open_in_root(
    root_fd: int, path: str | bytes, flags: int, mode: int = 0, *, resolve: int = IN_ROOT
) -> int:
    """Open ``path`` below ``root_fd`` and return a descriptor (close-on-exec).

    :param root_fd: a directory; ``O_PATH`` is enough.
    :param flags: as for ``open(2)``; with ``O_NOFOLLOW`` the last component is not followed.
    :param mode: permission bits of a file that ``O_CREAT`` makes.
    :param resolve: ``RESOLVE_*`` bits of ``openat2(2)``.
    :raises OSError: the kernel's word; ``ELOOP`` where a link or magic link is refused,
        ``EXDEV`` where the path would leave, ``EINVAL`` for a NUL byte.
    """
    path = os.fsencode(path)
    if b"\0" in path:
        raise OSError(EINVAL, os.strerror(EINVAL), path)
    names = [name for name in path.split(b"/") if name not in (b"", b".")]
    # A trailing slash, "..", a mount boundary or "beneath" with "/" are for the kernel to judge.
    walks = names and b".." not in names and path[-1:] not in (b"/", b".")
    if (
        walks
        and not resolve & RESOLVE_NO_XDEV
        and not (resolve & RESOLVE_BENEATH and path[:1] == b"/")
    ):
        fd = _open_without_links(root_fd, names, flags, mode)
        if fd >= 0:
            return fd
    return _openat2(root_fd, path, flags, mode, resolve)


def read_small_file(root_fd: int, path: str | bytes, limit: int = SMALL_FILE) -> bytes:
    """The content of a regular file below ``root_fd``, at most ``limit`` bytes.

    :raises RootError: the path names something else than a regular file, or more than ``limit``.
    :raises OSError: it cannot be opened or read (``FileNotFoundError`` where it is missing).
    """
    fd = open_regular_file(root_fd, path)
    try:
        parts, left = [], limit + 1
        while left and (part := os.read(fd, min(left, 1 << 20))):
            parts.append(part)
            left -= len(part)
    finally:
        os.close(fd)
    if not left:
        raise RootError(f"is larger than {limit} bytes", where=os.fsdecode(path))
    return b"".join(parts)


def open_regular_file(root_fd: int, path: str | bytes) -> int:
    """A descriptor to read a regular file below ``root_fd``.

    ``O_NONBLOCK`` because the open of a FIFO would wait for a writer that never comes.

    :raises RootError: the path names something else than a regular file.
    :raises OSError: as :func:`open_in_root`.
    """
    fd = open_in_root(root_fd, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    if not S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise RootError("is not a regular file", where=os.fsdecode(path))
    return fd


def _open_without_links(root_fd: int, names: list[bytes], flags: int, mode: int) -> int:
    """Walk without following anything; -1 when a link, or a file as directory, is met."""
    at = root_fd
    try:
        for name in names[:-1]:
            below = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY, dir_fd=at)
            if at != root_fd:
                os.close(at)
            at = below
        fd = os.open(names[-1], flags | os.O_NOFOLLOW, mode, dir_fd=at)
    except OSError as error:
        if error.errno in (ELOOP, ENOTDIR):
            return -1
        raise
    finally:
        if at != root_fd:
            os.close(at)
    # O_PATH opens the link itself, which is what was asked for only with O_NOFOLLOW.
    if flags & os.O_PATH and not flags & os.O_NOFOLLOW and S_ISLNK(os.fstat(fd).st_mode):
        os.close(fd)
        return -1
    return fd


def _openat2(root_fd: int, path: bytes, flags: int, mode: int, resolve: int) -> int:
    import ctypes

    how = (ctypes.c_uint64 * 3)(flags | os.O_CLOEXEC, mode if flags & os.O_CREAT else 0, resolve)
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    syscall.restype = ctypes.c_long
    arguments = (
        ctypes.c_long(_SYS_OPENAT2), ctypes.c_long(root_fd), ctypes.c_char_p(path),
        ctypes.byref(how), ctypes.c_size_t(ctypes.sizeof(how)),
    )  # fmt: skip
    for _ in range(_RACES):
        fd = int(syscall(*arguments))
        if fd >= 0:
            return fd
        # ".." met a rename that is going on: the kernel could not decide, and asks for a retry.
        if ctypes.get_errno() != EAGAIN:
            break
    error = ctypes.get_errno()
    raise OSError(error, os.strerror(error), path)
