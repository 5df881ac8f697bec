"""Removal of what kokon made for a container: known by its record, never by a path alone."""

from __future__ import annotations

import os

from kokon.kernel.removal import remove_tree

__all__ = ["identity", "remove_recorded", "remove_tree"]


def identity(fd: int) -> tuple[int, int]:
    """Device and inode of what ``fd`` holds: the record to keep of a directory that was made."""
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def remove_recorded(parent_fd: int, name: str | bytes, recorded: tuple[int, int]) -> bool:
    """Remove ``name`` below ``parent_fd`` if it is still what the record says.

    :param recorded: as :func:`identity` gave it when the directory was made.
    :returns: False where something else, or nothing, has the name: that is left alone.
    :raises HostError: something is mounted in the tree (see :func:`remove_tree`).
    :raises OSError: the kernel refuses.
    """
    try:
        status = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    if (status.st_dev, status.st_ino) != recorded:
        return False
    remove_tree(parent_fd, name)
    return True
