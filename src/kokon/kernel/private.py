"""Directories of our own that nobody else can look into or change, and files kept in them."""

from __future__ import annotations

import os
import stat

from kokon import paths
from kokon.errors import HostError


def private_directory(path: str) -> str:
    """A directory of ours, 0700, made where it is missing and never through a link (row U9).

    :raises HostError: it belongs to somebody else, is a link, or is open to others.
    """
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        parent = os.path.dirname(path)
        try:
            if not os.path.isdir(parent):
                make = private_directory if "kokon" in parent else os.makedirs
                make(parent)
            os.mkdir(path, 0o700)
        except FileExistsError:
            pass
        except OSError as error:
            raise HostError(
                f"{path} cannot be made", errno=error.errno or 0, remedy=_another_place(path)
            ) from error  # fmt: skip
        found = os.lstat(path)
    except NotADirectoryError:
        raise _not_private(os.path.dirname(path)) from None
    except OSError as error:
        raise HostError(
            f"{path} cannot be looked at", errno=error.errno or 0, remedy=_another_place(path)
        ) from error
    if not _private(found):
        raise _not_private(path, found)
    return path


def keep(directory: str, name: str, data: bytes, most: int) -> None:
    """Writes a file in one step; where a directory has more than so many the oldest go.

    :raises OSError: nothing is left of it.
    """
    path = f"{directory}/{name}"
    new = f"{path}.{os.getpid()}"
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.write(fd, data)
        os.rename(new, path)
    except OSError:
        os.unlink(new)
        raise
    finally:
        os.close(fd)
    names = os.listdir(directory)
    if len(names) > most:
        names.sort(key=lambda name: os.lstat(f"{directory}/{name}").st_mtime_ns)
        for old in names[:-most]:
            os.unlink(f"{directory}/{old}")


def _another_place(path: str) -> str:
    """What to do where kokon's own place cannot be at a path: by the word that has put it there."""
    for name, top in (("KOKON_STORE", paths.store()), ("XDG_RUNTIME_DIR", paths.state())):
        if f"{path}/".startswith(f"{top}/") or f"{top}/".startswith(f"{path}/"):
            return f"set {name} to a directory of your own"
    return "set KOKON_STORE and XDG_RUNTIME_DIR to directories of your own"


def is_private_directory(path: str) -> bool:
    """Whether a directory is there that :func:`private_directory` would return."""
    try:
        return _private(os.lstat(path))
    except OSError:
        return False


def _private(found: os.stat_result) -> bool:
    return (
        stat.S_ISDIR(found.st_mode)
        and found.st_uid == os.geteuid()
        and not stat.S_IMODE(found.st_mode) & 0o077
    )


def _not_private(path: str, found: os.stat_result | None = None) -> HostError:
    if found is not None and stat.S_ISDIR(found.st_mode) and found.st_uid != os.geteuid():
        # In a user namespace the host's root is nobody: ``unshare -Ur`` does not make us it.
        return HostError(
            f"{path} belongs to user {found.st_uid}, as seen from here, and we are user"
            f" {os.geteuid()}", remedy=_another_place(path),
        )  # fmt: skip
    return HostError(
        f"{path} is not a directory of ours that is closed to others",
        remedy="remove it, or make it yours with mode 0700",
    )
