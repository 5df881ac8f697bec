"""A copy of a root for the container's own writes, where an overlay cannot be had."""

from __future__ import annotations

import os
from errno import EINVAL, ENODATA, ENOSYS, ENOTSUP, EPERM, EXDEV
from stat import S_ISDIR, S_ISLNK, S_ISREG

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Copied:
    """What was copied.

    :ivar files: regular files, :ivar bytes: in them.
    :ivar skipped: devices, sockets and FIFOs, which are left out.
    :ivar shift: what was added to owners.
    """

    __slots__ = ("bytes", "files", "shift", "skipped")

    def __init__(self, shift: int) -> None:
        self.shift = shift
        self.files = 0
        self.bytes = 0
        self.skipped = 0


def copy_tree(source: str, parent_fd: int, name: str, *, shift: int = 0) -> Copied:
    """Copies a directory with modes, times, links and (as root) owners; mounts below it are not
    entered.

    Everything is reached by descriptors and no link is followed: the source may be hostile.

    :param source: a directory of the host, named by the user.
    :param parent_fd: where the copy is made, as ``name``.
    :param shift: added to every owner and group (as root): the first id of the container's range.
    :raises OSError: the kernel refuses; what was copied so far is left.
    """
    os.mkdir(name, 0o700, dir_fd=parent_fd)
    copied = Copied(shift)
    seen: dict[tuple[int, int], tuple[int, str]] = {}
    top = os.open(source, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    made = os.open(name, _DIRECTORY, dir_fd=parent_fd)
    try:
        _copy_directory(top, made, os.fstat(top).st_dev, seen, copied)
    finally:
        for fd, _ in seen.values():
            os.close(fd)
        os.close(made)
        os.close(top)
    return copied


def _copy_directory(
    source: int,
    target: int,
    device: int,
    seen: dict[tuple[int, int], tuple[int, str]],
    copied: Copied,
) -> None:
    for name in os.listdir(source):
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        if S_ISDIR(status.st_mode):
            os.mkdir(name, 0o700, dir_fd=target)
            if status.st_dev != device:
                continue
            inner = os.open(name, _DIRECTORY, dir_fd=source)
            made = os.open(name, _DIRECTORY, dir_fd=target)
            try:
                _copy_directory(inner, made, device, seen, copied)
            finally:
                os.close(inner)
                os.close(made)
        elif S_ISLNK(status.st_mode):
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
            _own(status, name, copied.shift, target)
        elif S_ISREG(status.st_mode):
            _copy_file(source, target, name, status, seen, copied)
        else:
            copied.skipped += 1
    status = os.fstat(source)
    _own(status, target, copied.shift)
    os.fchmod(target, status.st_mode & 0o7777)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def _copy_file(
    source: int,
    target: int,
    name: str,
    status: os.stat_result,
    seen: dict[tuple[int, int], tuple[int, str]],
    copied: Copied,
) -> None:
    key = (status.st_dev, status.st_ino)
    if key in seen:
        directory, first = seen[key]
        os.link(first, name, src_dir_fd=directory, dst_dir_fd=target, follow_symlinks=False)
        return
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    read = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=source)
    try:
        write = os.open(name, flags, 0o600, dir_fd=target)
        try:
            copied.bytes += _copy_content(read, write)
            _attributes(read, write)
            _own(status, write, copied.shift)
            os.fchmod(write, status.st_mode & 0o7777)
            os.utime(write, ns=(status.st_atime_ns, status.st_mtime_ns))
        finally:
            os.close(write)
    finally:
        os.close(read)
    copied.files += 1
    if status.st_nlink > 1:
        seen[key] = (os.dup(target), name)


def _copy_content(read: int, write: int) -> int:
    """By reference where the file system can; between two of them in the kernel."""
    total = 0
    try:
        while count := os.copy_file_range(read, write, 1 << 30):
            total += count
    except OSError as error:
        if total or error.errno not in (EXDEV, EINVAL, ENOSYS, ENOTSUP):
            raise
        while count := os.sendfile(write, read, None, 1 << 30):
            total += count
    return total


def _attributes(read: int, write: int) -> None:
    """user.* and file capabilities, as the extractor keeps them (row U10)."""
    try:
        names = os.listxattr(read)
    except OSError:
        return
    for name in names:
        if name == "security.capability" or (
            name.startswith("user.") and not name.startswith("user.overlay.")
        ):
            try:
                os.setxattr(write, name, os.getxattr(read, name))
            except OSError as error:
                if error.errno not in (EPERM, ENOTSUP, ENODATA):
                    raise


def _own(status: os.stat_result, what: int | str, shift: int, directory: int | None = None) -> None:
    """The owner of the original, shifted; only root may give files away."""
    if os.geteuid() == 0:
        os.chown(
            what, status.st_uid + shift, status.st_gid + shift,
            dir_fd=directory, follow_symlinks=isinstance(what, int),
        )  # fmt: skip
