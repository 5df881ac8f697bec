"""The store: roots that were unpacked once, found again by the digest of their tarball.

    STORE/                    0700, of the effective user
      known/NAME              a symbolic link whose text is the digest of the tarball that has the
                              device, inode, size and times in NAME
      staging/NAME/           being unpacked; its process holds a flock on it
      roots/sha256/DIGEST/
        root/                 the tree
        meta                  what came out, as lines of ``key value``
        settled               empty: the tree is on the disk for certain

The links in ``known`` are values that one system call reads; nobody follows them.  A root comes
into being by one rename of its staging directory, so it is there whole or not at all; a process
that was killed holds no lock any more, and the next command removes what it left.

Nothing waits for the disk: a root that was unpacked shortly before the machine went down may lack
data.  So a root of an earlier boot counts only if it was used at least five minutes after it was
made, when the kernel has long written it (``vm.dirty_expire_centisecs`` is 30 seconds); any other
is unpacked again.
"""

from __future__ import annotations

import os
import time
from errno import EACCES, EEXIST, ELOOP, ENOENT, ENOTDIR, ENOTEMPTY
from stat import S_ISFIFO, S_ISREG, S_ISSOCK

from kokon.errors import HostError, RootError
from kokon.image.stored_root import StoredRoot, decode, encode
from kokon.kernel.removal import remove_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from kokon.image.limits import Limits

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_SETTLED_AFTER = 300
_KNOWN_AT_MOST = 1000
_STEADY_AFTER = 2_000_000_000
"""Nanoseconds after a change before a file's times tell it from a later change of equal size; no
file system's clock is coarser."""


class Store:
    """A directory of roots that nobody but its user can enter.

    :param path: made where it is missing.
    :raises HostError: it is a link, belongs to somebody else, or others may enter it.
    """

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)
        self._fd = _open_private(self.path)

    def close(self) -> None:
        """Close the store's descriptor; roots that were found stay."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def root_from_tarball(
        self,
        path: str,
        *,
        progress: Callable[[int, int], object] | None = None,
        limits: Limits | None = None,
    ) -> StoredRoot:
        """The root that the tarball ``path`` unpacks to, unpacked now or found in the store.

        :param path: a regular file, a pipe, or ``-`` for standard input.
        :param progress: as for :func:`kokon.image.unpack.unpack`.
        :raises RootError: there is no such file, or it cannot be read.
        :raises ArchiveError: see :func:`kokon.image.unpack.unpack`; nothing is left behind.
        :raises HostError: the machine refuses; nothing is left behind.
        """
        fd = _open_tarball(path)
        try:
            self.remove_left_over()
            status = os.fstat(fd)
            if S_ISREG(status.st_mode):
                name = _name(status)
                found = self._known(name)
                if found is not None:
                    return found
            else:
                name = f"pipe-{os.getpid()}-{time.monotonic_ns()}"
            self._make_directories()
            while (lock := self._claim(name)) < 0:
                pass
            try:
                # Another process may have unpacked it while this one waited for the lock.
                return (
                    self._known(name)
                    or self._known_by_content(fd, status)
                    or self._unpack(fd, path, name, status, progress, limits)
                )
            finally:
                remove_tree(self._fd, f"staging/{name}")
                os.close(lock)
        except OSError as error:
            raise HostError(
                "cannot keep a root", where=self.path, errno=error.errno or 0,
                remedy="mend it or choose another directory for the store",
            ) from None  # fmt: skip
        finally:
            if fd:
                os.close(fd)

    def known(self, path: str) -> StoredRoot | None:
        """The root of a tarball that is in the store already; nothing is unpacked or read.

        :raises RootError: there is no such file, or it cannot be read.
        """
        fd = _open_tarball(path)
        try:
            status = os.fstat(fd)
            return self._known(_name(status)) if S_ISREG(status.st_mode) else None
        finally:
            if fd:
                os.close(fd)

    def remove_left_over(self) -> None:
        """Remove what killed processes have left in ``staging``."""
        for name in self._list("staging"):
            try:
                self._claim(name, abandoned=True)
            except (OSError, HostError):
                pass  # what cannot be removed now is no reason not to start

    def _claim(self, name: str, *, abandoned: bool = False) -> int:
        """Make ``staging/name`` and lock it: the lock's descriptor, or -1 to try again.

        :param abandoned: only remove it, if nobody has the lock.
        """
        from fcntl import LOCK_EX, LOCK_NB, flock

        path = f"staging/{name}"
        made = False
        try:
            if not abandoned:
                os.mkdir(path, 0o700, dir_fd=self._fd)
                made = True
        except FileExistsError:
            pass
        try:
            lock = os.open(path, _DIRECTORY, dir_fd=self._fd)
        except FileNotFoundError:
            return -1
        try:
            flock(lock, LOCK_EX | (LOCK_NB if abandoned else 0))
            there = os.stat(path, dir_fd=self._fd, follow_symlinks=False)
            if there.st_ino == os.fstat(lock).st_ino:
                if made:
                    return lock
                # Its maker is dead: the living keep the lock until the name is gone.
                remove_tree(self._fd, path)
        except (FileNotFoundError, BlockingIOError):
            pass
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)
        return -1

    def _make_directories(self) -> None:
        for name in ("known", "staging", "roots", "roots/sha256"):
            try:
                os.mkdir(name, 0o700, dir_fd=self._fd)
            except FileExistsError:
                pass

    def _list(self, name: str) -> list[str]:
        try:
            fd = os.open(name, _DIRECTORY, dir_fd=self._fd)
        except FileNotFoundError:
            return []
        try:
            return os.listdir(fd)
        finally:
            os.close(fd)

    def _known(self, name: str) -> StoredRoot | None:
        try:
            digest = os.readlink(f"known/{name}", dir_fd=self._fd)
        except OSError:
            return None
        return self._load(digest)

    def _known_by_content(self, fd: int, status: os.stat_result) -> StoredRoot | None:
        """Look for a copy of the tarball, or for one whose times have changed."""
        if not S_ISREG(status.st_mode) or not self._list("roots/sha256"):
            return None
        from hashlib import file_digest

        with open(fd, "rb", buffering=0, closefd=False) as file:
            digest = file_digest(file, "sha256").hexdigest()
        os.lseek(fd, 0, os.SEEK_SET)
        found = self._load(digest)
        if found is not None:
            self._remember(fd, status, digest)
        return found

    def _load(self, digest: str) -> StoredRoot | None:
        """The root of a digest, unless it is missing or may have lost data."""
        base = f"roots/sha256/{digest}"
        try:
            fd = os.open(f"{base}/meta", os.O_RDONLY | os.O_NOFOLLOW, dir_fd=self._fd)
        except OSError:
            return None
        try:
            found = decode(os.read(fd, 1 << 20), f"{self.path}/{base}/root", digest)
        finally:
            os.close(fd)
        if found is None:
            return None
        try:
            os.stat(f"{base}/settled", dir_fd=self._fd)
        except FileNotFoundError:
            if found.boot != _boot_id():
                return None
            if _uptime() - found.uptime > _SETTLED_AFTER:
                os.close(
                    os.open(f"{base}/settled", os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=self._fd)
                )
        return found

    def _unpack(
        self,
        fd: int,
        path: str,
        name: str,
        status: os.stat_result,
        progress: Callable[[int, int], object] | None,
        limits: Limits | None,
    ) -> StoredRoot:
        from kokon.image.unpack import unpack

        staging = f"staging/{name}"
        os.mkdir(f"{staging}/root", 0o700, dir_fd=self._fd)
        root_fd = os.open(f"{staging}/root", _DIRECTORY, dir_fd=self._fd)
        try:
            label = "standard input" if path == "-" else path
            unpacked = unpack(fd, root_fd, label, limits=limits, progress=progress)
        finally:
            os.close(root_fd)
        meta = os.open(
            f"{staging}/meta", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=self._fd
        )
        try:
            os.write(meta, encode(unpacked, _boot_id(), _uptime()))
        finally:
            os.close(meta)
        found = self._publish(staging, unpacked.digest)
        found.fresh = True
        if S_ISREG(status.st_mode):
            self._remember(fd, status, unpacked.digest)
        return found

    def _publish(self, staging: str, digest: str) -> StoredRoot:
        """Give the staged root its place, or use the one that another process has put there."""
        place = f"roots/sha256/{digest}"
        while True:
            try:
                os.rename(staging, place, src_dir_fd=self._fd, dst_dir_fd=self._fd)
            except OSError as error:
                if error.errno not in (EEXIST, ENOTEMPTY):
                    raise
            found = self._load(digest)
            if found is not None:
                return found
            # Of an earlier boot: nothing can be using it.
            remove_tree(self._fd, place)

    def _remember(self, fd: int, status: os.stat_result, digest: str) -> None:
        """Note that the tarball has this digest, if it cannot have changed meanwhile."""
        now, name = os.fstat(fd), _name(status)
        changed = max(now.st_mtime_ns, now.st_ctime_ns)
        if _name(now) != name or time.time_ns() - changed < _STEADY_AFTER:
            return
        try:
            names = self._list("known")
            for old in names:
                # It only saves reading a tarball again: all are forgotten when there are many.
                if len(names) >= _KNOWN_AT_MOST or old.startswith(f"{now.st_dev}-{now.st_ino}-"):
                    os.unlink(f"known/{old}", dir_fd=self._fd)
            os.symlink(digest, f"known/{name}", dir_fd=self._fd)
        except (FileNotFoundError, FileExistsError):
            pass  # another process does the same


def _name(status: os.stat_result) -> str:
    """What tells a tarball from every other, and from itself after a change."""
    return (
        f"{status.st_dev}-{status.st_ino}-{status.st_size}"
        f"-{status.st_mtime_ns}-{status.st_ctime_ns}"
    )


def _open_tarball(path: str) -> int:
    where = "standard input" if path == "-" else path
    try:
        fd = 0 if path == "-" else os.open(path, os.O_RDONLY | os.O_NOCTTY)
        mode = os.fstat(fd).st_mode
    except OSError as error:
        raise RootError(
            "cannot be opened", where=where, errno=error.errno or 0,
            remedy="name a directory, a tarball or a built-in root",
        ) from None  # fmt: skip
    if S_ISREG(mode) or S_ISFIFO(mode) or S_ISSOCK(mode):
        return fd
    if fd:
        os.close(fd)
    raise RootError(
        "is neither a file nor a pipe", where=where, remedy="name a tarball or send it by a pipe"
    )


def _open_private(path: str) -> int:
    made = False
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.mkdir(path, 0o700)
        made = True
    except FileExistsError:
        pass
    except OSError as error:
        raise HostError(
            "cannot be made", where=path, errno=error.errno or 0,
            remedy="choose another directory for the store",
        ) from None  # fmt: skip
    try:
        if made:
            os.chmod(path, 0o700)  # whatever the umask
        fd = os.open(path, _DIRECTORY)
    except OSError as error:
        if error.errno not in (ELOOP, ENOTDIR, EACCES, ENOENT):
            raise
        raise HostError(
            "is no directory that kokon may keep roots in", where=path, errno=error.errno,
            remedy="remove it or choose another directory for the store",
        ) from None  # fmt: skip
    status = os.fstat(fd)
    wrong = ""
    if status.st_uid != os.geteuid():
        wrong, remedy = f"belongs to user {status.st_uid}", "choose another directory for the store"
    elif status.st_mode & 0o077:
        wrong, remedy = "can be entered by other users", f"run: chmod 700 {path}"
    if wrong:
        os.close(fd)
        raise HostError(f"{wrong}, but holds setuid programs of images", where=path, remedy=remedy)
    return fd


def _boot_id() -> str:
    fd = os.open("/proc/sys/kernel/random/boot_id", os.O_RDONLY)
    try:
        return os.read(fd, 64).decode("ascii").strip()
    finally:
        os.close(fd)


def _uptime() -> int:
    return int(time.clock_gettime(time.CLOCK_BOOTTIME))
