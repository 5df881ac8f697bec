"""The directories of a tree that is being unpacked: found by descriptors, finished at the end."""

from __future__ import annotations

import os
from errno import EACCES, EEXIST, ELOOP, ENOENT, ENOTDIR

from kokon.errors import ArchiveError
from kokon.image.tar_fields import escape
from kokon.kernel.safe_paths import open_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from kokon.image.tar import Entry

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class Metadata:
    """What a file gets when it is written, a directory when all below it is.

    :ivar path: the components it was named by.
    :ivar mtime: nanoseconds, or None to leave the time of unpacking.
    """

    __slots__ = ("gid", "mode", "mtime", "path", "uid", "xattrs")

    def __init__(
        self,
        path: tuple[bytes, ...],
        mode: int = 0o755,
        uid: int = 0,
        gid: int = 0,
        mtime: int | None = None,
        xattrs: dict[bytes, bytes] | None = None,
    ) -> None:
        self.path = path
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.mtime = mtime
        self.xattrs = xattrs

    @classmethod
    def of(cls, path: tuple[bytes, ...], entry: Entry) -> Metadata:
        """What an archive's entry says."""
        return cls(path, entry.mode, entry.uid, entry.gid, entry.mtime, entry.xattrs)


class Directories:
    """The way down to the directory that was used last, one descriptor for each level.

    Entries come in the order of a walk, so most of them open nothing.  A component that is a link
    is resolved inside the root by ``openat2``.  Until :meth:`finish` every directory is 0700 and
    the caller's: modes such as 0555 would stop an ordinary user from writing below.
    """

    __slots__ = ("_fds", "_kept", "_names", "_root_fd")

    def __init__(self, root_fd: int) -> None:
        self._root_fd = root_fd
        self._names: list[bytes] = []
        self._fds: list[int] = []
        self._kept: dict[int, Metadata] = {}

    def open(self, path: tuple[bytes, ...], *, make: bool = True) -> int:
        """The descriptor of a directory, valid until the next call.

        :param make: make what is missing, with the usual mode.
        :raises ArchiveError: a component is no directory, or a link that leads to none.
        :raises OSError: the kernel refuses.
        """
        names, fds = self._names, self._fds
        common = 0
        for name, wanted in zip(names, path, strict=False):
            if name != wanted:
                break
            common += 1
        self._forget(common)
        at = fds[-1] if fds else self._root_fd
        for depth in range(common, len(path)):
            name = path[depth]
            try:
                at = os.open(name, _OPEN, dir_fd=at)
            except OSError as error:
                at = self._make_or_follow(at, path[: depth + 1], make, error)
            names.append(name)
            fds.append(at)
        return at

    def enter(self, path: tuple[bytes, ...], metadata: Metadata) -> None:
        """Make ``path`` a directory, where it is none yet, and keep what it shall become."""
        fd = self.open(path)
        self._kept[os.fstat(fd).st_ino] = metadata

    def forget(self) -> None:
        """Close the way down: something on it may have been replaced."""
        self._forget(0)

    def finish(self, apply: Callable[[int, Metadata], None]) -> None:
        """Give every directory what was kept for it, the deepest first."""
        for inode, metadata in sorted(
            self._kept.items(), key=lambda kept: kept[1].path, reverse=True
        ):
            try:
                fd = self.open(metadata.path, make=False)
            except (ArchiveError, OSError):
                continue  # a later entry took its place
            if os.fstat(fd).st_ino == inode:
                apply(fd, metadata)
        self.forget()

    def _forget(self, depth: int) -> None:
        while len(self._fds) > depth:
            os.close(self._fds.pop())
            self._names.pop()

    def _make_or_follow(self, at: int, path: tuple[bytes, ...], make: bool, error: OSError) -> int:
        if error.errno == ENOENT and make:
            os.mkdir(path[-1], 0o700, dir_fd=at)
            fd = os.open(path[-1], _OPEN, dir_fd=at)
            self._kept[os.fstat(fd).st_ino] = Metadata(path)
            return fd
        if error.errno not in (ELOOP, ENOTDIR, ENOENT):
            raise error
        try:
            return open_in_root(self._root_fd, b"/".join(path), os.O_RDONLY | os.O_DIRECTORY)
        except OSError as refused:
            if refused.errno not in (ELOOP, ENOTDIR, ENOENT, EACCES, EEXIST):
                raise
            raise ArchiveError(
                f"lies below {escape(b'/'.join(path))}, which is no directory in the archive",
                errno=refused.errno or 0, remedy="name another root",
            ) from None  # fmt: skip
