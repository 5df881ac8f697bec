"""Removal of a tree that a container may have arranged: by descriptors, within one mount.

The kernel's own checks do the work.  ``rmdir(2)`` on a directory where something is mounted
answers EBUSY before it looks whether the directory is empty, so trying it first finds every
mount, binds of the same file system too, at the price of one system call that is needed anyway.
"""

from __future__ import annotations

import os
from errno import EACCES, EBUSY, EEXIST, EISDIR, ENOTDIR, ENOTEMPTY

from kokon.errors import HostError

_DEEPEST = 64
"""Levels walked with a descriptor each; what lies deeper is moved up to the top first."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def remove_tree(parent_fd: int, name: str | bytes) -> None:
    """Remove ``name`` below ``parent_fd``, whatever it is, with everything in it.

    Links are removed and never followed.  Directories without permissions are given them when
    they belong to the caller.  What is missing, or goes away meanwhile, is no error.

    :param name: one component (or a path that nobody but the caller could change).
    :raises HostError: something is mounted in the tree: nothing behind it is touched.
    :raises OSError: the kernel refuses (a file of another owner, an immutable one, …).
    """
    try:
        os.rmdir(name, dir_fd=parent_fd)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno == ENOTDIR:
            _unlink(parent_fd, os.fsencode(name))
        elif error.errno in (ENOTEMPTY, EEXIST):
            _remove_full(parent_fd, os.fsencode(name))
        else:
            raise _mounted(name) if error.errno == EBUSY else error from None


def _remove_full(parent_fd: int, name: bytes) -> None:
    fd = _open(parent_fd, name)
    try:
        device = os.fstat(fd).st_dev
        _empty(fd, fd, device, 0)
        # Moving deep directories up puts new entries behind those already seen.
        while os.listdir(fd):
            _empty(fd, fd, device, 0)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=parent_fd)


def _empty(fd: int, top_fd: int, device: int, depth: int) -> None:
    if os.fstat(fd).st_dev != device:
        raise _mounted("a directory in the tree")
    with os.scandir(fd) as entries:
        listed = [(os.fsencode(e.name), e.is_dir(follow_symlinks=False)) for e in entries]
    opened = False
    for name, is_directory in listed:
        for _ in range(2):
            try:
                if is_directory:
                    _remove_directory(fd, name, top_fd, device, depth)
                else:
                    _unlink(fd, name)
                break
            except PermissionError:
                if opened or os.fstat(fd).st_uid != os.geteuid():
                    raise
                os.fchmod(fd, 0o700)
                opened = True


def _remove_directory(fd: int, name: bytes, top_fd: int, device: int, depth: int) -> None:
    try:
        os.rmdir(name, dir_fd=fd)
        return
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno == EBUSY:
            raise _mounted(name) from None
        if error.errno == ENOTDIR:  # exchanged since it was listed
            _unlink(fd, name)
            return
        if error.errno not in (ENOTEMPTY, EEXIST):
            raise
    below = _open(fd, name)
    try:
        if depth < _DEEPEST:
            _empty(below, top_fd, device, depth + 1)
            os.rmdir(name, dir_fd=fd)
        else:
            _move_up(fd, name, below, top_fd)
    finally:
        os.close(below)


def _move_up(fd: int, name: bytes, below: int, top_fd: int) -> None:
    """Rename a deep directory to a free name directly below the top."""
    number = os.fstat(below).st_ino
    while True:
        try:
            os.rename(name, b".deep-%d" % number, src_dir_fd=fd, dst_dir_fd=top_fd)
            return
        except OSError as error:
            if error.errno not in (ENOTEMPTY, EEXIST, ENOTDIR, EISDIR):
                raise
            number += 1


def _open(parent_fd: int, name: bytes) -> int:
    try:
        return os.open(name, _DIRECTORY, dir_fd=parent_fd)
    except OSError as error:
        if error.errno != EACCES:
            raise
    # The mode is changed through /proc/self/fd because fchmod(2) refuses O_PATH descriptors and
    # fchmodat(2) by name would follow a link.
    path_fd = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent_fd)
    try:
        os.chmod(f"/proc/self/fd/{path_fd}", 0o700)
        return os.open(".", _DIRECTORY, dir_fd=path_fd)
    finally:
        os.close(path_fd)


def _unlink(fd: int, name: bytes) -> None:
    try:
        os.unlink(name, dir_fd=fd)
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno == EBUSY:
            raise _mounted(name) from None
        raise


def _mounted(name: str | bytes) -> HostError:
    return HostError(
        f"something is mounted on {os.fsdecode(name)!r}, and nothing behind it is removed",
        where="removal", errno=EBUSY, remedy="unmount it and try again",
    )  # fmt: skip
