"""What a SIGKILL left: removed by the next command of the same user."""

from __future__ import annotations

import os

from kokon import paths
from kokon.engine import mappings, owner
from kokon.kernel.private import is_private_directory

_swept = -1


def once() -> None:
    """Sweeps at the first run of a process."""
    global _swept
    if _swept != os.getpid():
        _swept = os.getpid()
        sweep()


def sweep() -> None:
    """Removes the cgroups, writes and claims of owners that are gone, and half-unpacked roots."""
    directory = paths.state() + "/owners"
    # Where another made these first, the tokens could be any files of ours (row S3).
    if is_private_directory(paths.state()) and is_private_directory(directory):
        owner.bury(directory, _remove)
    _remove_staging()


def _remove_staging() -> None:
    """What was being unpacked by a process that is gone: the store knows it by its locks."""
    roots = paths.store() + "/roots"
    try:
        if not os.listdir(roots + "/staging"):
            return
    except OSError:
        return
    from kokon.image.store import Store

    with Store(roots) as store:
        store.remove_left_over()


def _remove(token: str, places: list[str]) -> None:
    from kokon.cgroup.leftovers import remove_left
    from kokon.kernel import cgroups

    # A container that is still about to die with its caller is ended here.
    for directory in remove_left(cgroups.read(), token, places):
        _remove_writes(token, directory)
    mappings.release_claims({token})


def _remove_writes(token: str, directory: str) -> None:
    from kokon.kernel.removal import remove_tree

    try:
        parent = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        for name in os.listdir(parent):
            if name.partition("-")[0] == token:
                try:
                    remove_tree(parent, name)
                except PermissionError:
                    from kokon.engine import worker
                    from kokon.kernel import facts

                    worker.remove(facts.read(), directory, name)
    finally:
        os.close(parent)
