"""The entries of a tarball become files below a directory's descriptor.

No name from the archive ever meets a path of the host.  Names are split into components and
``..`` is refused; parents are opened one by one (:mod:`kokon.image.directories`); the last
component is made with ``O_EXCL`` and never followed, and what it replaces is removed first; owner,
mode, time and attributes are set through the descriptor that made the file.
"""

from __future__ import annotations

import os
from errno import EACCES, EINVAL, EOPNOTSUPP, EPERM
from stat import S_ISDIR, S_ISREG

from kokon.errors import ArchiveError, HostError
from kokon.image import tar
from kokon.image.attributes import allowed_xattrs
from kokon.image.compression import too_large
from kokon.image.directories import Directories, Metadata
from kokon.image.tar_fields import escape, padding
from kokon.kernel.constants import RESOLVE_NO_XDEV
from kokon.kernel.removal import remove_tree
from kokon.kernel.safe_paths import IN_ROOT, open_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.image.byte_stream import ByteStream
    from kokon.image.limits import Limits

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
_LISTED = 100
"""How many skipped things are named; the rest is only counted."""


def components(name: bytes, limits: Limits) -> tuple[bytes, ...]:
    """A name from an archive as path components below the root; () is the root itself.

    :raises ArchiveError: it climbs, or is too deep.
    """
    parts = tuple([part for part in name.split(b"/") if part and part != b"."])
    if b".." in parts:
        raise ArchiveError("climbs out of its directory by '..'", remedy="do not trust it")
    if len(parts) > limits.depth:
        raise too_large(f"lies deeper than {limits.depth} directories")
    return parts


class Extractor:
    """Makes one entry after the other; a policy for whiteouts would stand in :meth:`add`.

    :ivar entries: how many were added.
    :ivar bytes: of all files, holes included.
    :ivar squashed: entries of another owner than 0:0 that were given to the caller.
    :ivar skipped: (path, reason) of the first things left out; ``skips`` counts all.
    """

    def __init__(self, root_fd: int, stream: ByteStream, limits: Limits, squash: bool) -> None:
        self._root_fd = root_fd
        self._stream = stream
        self._limits = limits
        self._squash = squash
        self._directories = Directories(root_fd)
        self._left_out: set[tuple[bytes, ...]] = set()
        self.skipped: list[tuple[str, str]] = []
        self.skips = self.squashed = self.entries = self.bytes = 0

    def add(self, entry: tar.Entry) -> None:
        """Make ``entry``, taking its content from the stream.

        :raises ArchiveError: hostile or beyond the limits.
        :raises HostError: its owner cannot be had here.
        :raises OSError: the kernel refuses.
        """
        self.entries += 1
        path = components(entry.name, self._limits)
        if self._squash and (entry.uid or entry.gid):
            self.squashed += 1
        kind = entry.kind
        if not path and kind != tar.DIRECTORY:
            raise ArchiveError("is the root itself, but no directory", remedy="do not trust it")
        if kind == tar.FILE:
            self._file(path, entry)
        elif kind == tar.DIRECTORY:
            self._directory(path, entry)
        elif kind == tar.SYMLINK:
            self._symlink(path, entry)
        elif kind == tar.HARD_LINK:
            self._hard_link(path, entry)
        else:
            # A device of the image's choice opens the host's hardware, a character device 0:0 is
            # a whiteout to overlayfs, and an open of a FIFO waits.
            self._leave_out(path, "FIFO" if kind == tar.FIFO else "device")

    def finish(self) -> None:
        """Give the directories their metadata: nothing more will be written below them."""
        self._directories.finish(self._set_metadata)

    def close(self) -> None:
        """Close every descriptor."""
        self._directories.forget()

    def _file(self, path: tuple[bytes, ...], entry: tar.Entry) -> None:
        self.bytes += entry.length
        if self.bytes > self._limits.bytes:
            raise too_large(f"holds more than {self._limits.bytes} bytes")
        parent = self._directories.open(path[:-1])
        try:
            fd = os.open(path[-1], _NEW_FILE, 0o600, dir_fd=parent)
        except FileExistsError:
            fd = os.open(path[-1], _NEW_FILE, 0o600, dir_fd=self._clear(path))
        try:
            if entry.sparse is not None:
                self._write_sparse(fd, entry)
            else:
                for piece in self._stream.pieces(entry.size):
                    _write(fd, piece)
            self._stream.skip(padding(entry.size))
            self._set_metadata(fd, Metadata.of(path, entry))
        finally:
            os.close(fd)

    def _write_sparse(self, fd: int, entry: tar.Entry) -> None:
        os.ftruncate(fd, entry.length)
        for offset, length in entry.sparse or ():
            os.lseek(fd, offset, os.SEEK_SET)
            for piece in self._stream.pieces(length):
                _write(fd, piece)

    def _directory(self, path: tuple[bytes, ...], entry: tar.Entry) -> None:
        if path:
            parent = self._directories.open(path[:-1])
            try:
                os.mkdir(path[-1], 0o700, dir_fd=parent)
            except FileExistsError:
                status = os.stat(path[-1], dir_fd=parent, follow_symlinks=False)
                if not S_ISDIR(status.st_mode):
                    os.mkdir(path[-1], 0o700, dir_fd=self._clear(path))
        self._directories.enter(path, Metadata.of(path, entry))

    def _symlink(self, path: tuple[bytes, ...], entry: tar.Entry) -> None:
        if not entry.target:
            raise ArchiveError("is a link to nothing", remedy="name another root")
        parent = self._directories.open(path[:-1])
        name = path[-1]
        try:
            os.symlink(entry.target, name, dir_fd=parent)
        except FileExistsError:
            parent = self._clear(path)
            os.symlink(entry.target, name, dir_fd=parent)
        if not self._squash:
            try:
                os.chown(name, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
            except OSError as error:
                raise _owner(error, entry.uid, entry.gid) from None
        os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=parent, follow_symlinks=False)
        for xattr in entry.xattrs:
            self._skip(path, f"{escape(xattr)}: extended attribute of a link")

    def _hard_link(self, path: tuple[bytes, ...], entry: tar.Entry) -> None:
        target = components(entry.target, self._limits)
        # On one mount, and the inode itself: a link's target would be looked up on the host.
        try:
            source = open_in_root(
                self._root_fd, b"/".join(target), os.O_PATH | os.O_NOFOLLOW,
                resolve=IN_ROOT | RESOLVE_NO_XDEV,
            )  # fmt: skip
        except OSError as error:
            if target in self._left_out:
                return self._leave_out(path, "link to something left out")
            raise ArchiveError(
                f"is a hard link to {escape(entry.target)}, which the archive does not have",
                errno=error.errno or 0, remedy="name another root",
            ) from None  # fmt: skip
        try:
            status = os.fstat(source)
            if not S_ISREG(status.st_mode):
                raise ArchiveError(
                    f"is a hard link to {escape(entry.target)}, which is no regular file",
                    remedy="name another root",
                )
            parent = self._directories.open(path[:-1])
            try:
                # linkat(2) by AT_EMPTY_PATH would want CAP_DAC_READ_SEARCH.
                os.link(f"/proc/self/fd/{source}", path[-1], dst_dir_fd=parent)
            except FileExistsError:
                old = os.stat(path[-1], dir_fd=parent, follow_symlinks=False)
                if old.st_ino != status.st_ino:
                    parent = self._clear(path)
                    os.link(f"/proc/self/fd/{source}", path[-1], dst_dir_fd=parent)
        finally:
            os.close(source)

    def _clear(self, path: tuple[bytes, ...]) -> int:
        """Remove what has the name ``path``; the descriptor of its parent, opened anew."""
        remove_tree(self._directories.open(path[:-1]), path[-1])
        # It may have been a directory on the way down, or a link to one.
        self._directories.forget()
        return self._directories.open(path[:-1])

    def _set_metadata(self, fd: int, metadata: Metadata) -> None:
        # In this order: chown(2) clears setuid and file capabilities, user.* wants a writable file.
        if not self._squash:
            try:
                os.fchown(fd, metadata.uid, metadata.gid)
            except OSError as error:
                raise _owner(error, metadata.uid, metadata.gid) from None
        if metadata.xattrs:
            self._set_xattrs(fd, metadata.path, metadata.xattrs)
        os.fchmod(fd, metadata.mode)
        if metadata.mtime is not None:
            os.utime(fd, ns=(metadata.mtime, metadata.mtime))

    def _set_xattrs(self, fd: int, path: tuple[bytes, ...], xattrs: dict[bytes, bytes]) -> None:
        kept, left_out = allowed_xattrs(xattrs)
        for name, value in kept.items():
            try:
                os.setxattr(fd, name, value)
            except OSError as error:
                if error.errno not in (EPERM, EACCES, EOPNOTSUPP):
                    raise
                left_out.append((name, os.strerror(error.errno)))
        for name, reason in left_out:
            self._skip(path, f"{escape(name)}: {reason}")

    def _leave_out(self, path: tuple[bytes, ...], reason: str) -> None:
        self._clear(path)
        self._left_out.add(path)
        self._skip(path, reason)

    def _skip(self, path: tuple[bytes, ...], reason: str) -> None:
        self.skips += 1
        if len(self.skipped) < _LISTED:
            self.skipped.append((escape(b"/" + b"/".join(path))[1:-1], reason))


def _write(fd: int, piece: memoryview) -> None:
    written = os.write(fd, piece)
    while written < len(piece):
        piece = piece[written:]
        written = os.write(fd, piece)


def _owner(error: OSError, uid: int, gid: int) -> Exception:
    if error.errno not in (EINVAL, EPERM):
        return error
    return HostError(
        f"belongs to {uid}:{gid}, ids that this user namespace does not have", errno=error.errno,
        remedy="unpack where they are mapped, or as an ordinary user",
    )  # fmt: skip
