"""File systems by what they can: id-mapped mounts, an overlay's upper layer."""

from __future__ import annotations

import os

from kokon.kernel import mountinfo
from kokon.kernel.kept import Kept

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.kernel.mountinfo import Mount

# The first Linux whose driver has FS_ALLOW_IDMAP (mount_setattr(2), NOTES).
MAPS_IDS = {
    "ext2": (5, 12), "ext3": (5, 12), "ext4": (5, 12), "xfs": (5, 12), "vfat": (5, 12),
    "btrfs": (5, 15), "ntfs3": (5, 15), "f2fs": (5, 18), "erofs": (5, 19), "tmpfs": (6, 3),
    "ceph": (6, 7), "squashfs": (6, 2), "bcachefs": (6, 7), "zfs": (5, 12),
}  # fmt: skip


UNFIT = frozenset(
    ("overlay", "nfs", "nfs4", "9p", "cifs", "smb3", "vfat", "exfat", "msdos", "ecryptfs",
     "squashfs", "iso9660", "erofs", "fuse", "virtiofs")
)  # fmt: skip
"""File systems that cannot hold an overlay's writes: they lack its extended attributes or
RENAME_WHITEOUT (Documentation/filesystems/overlayfs.rst)."""


class MountTable:
    """The mounts of a process, to ask which one a path is on.

    :param text: ``/proc/self/mountinfo``.
    """

    __slots__ = ("_by_point", "_mapping", "_mounts")

    def __init__(self, text: str) -> None:
        self._mounts = mountinfo.parse(text)
        # Of mounts on one point the last one is on top.
        self._by_point = {mount.mount_point: mount for mount in self._mounts}
        self._mapping: dict[tuple[str, tuple[int, int]], bool] = {}

    def of(self, path: str) -> Mount | None:
        """The mount that a path (links resolved) is on."""
        return self._of(os.path.realpath(path))

    def _of(self, at: str) -> Mount | None:
        while at not in self._by_point:
            if at == "/":
                return None
            at = os.path.dirname(at)
        return self._by_point[at]

    def maps_ids(self, path: str, kernel: tuple[int, int]) -> bool:
        """Whether a recursive clone of the path could be an id-mapped mount."""
        real = os.path.realpath(path)
        known = self._mapping.get((real, kernel))
        if known is None:
            mount, prefix = self._of(real), real.rstrip("/") + "/"
            below = (m for m in self._mounts if m.mount_point.startswith(prefix))
            known = self._mapping[real, kernel] = mount is not None and all(
                kernel >= MAPS_IDS.get(m.filesystem, (999, 0)) for m in (mount, *below)
            )
        return known


class _Watch:
    """A mount table and the open file that tells when it is out of date."""

    __slots__ = ("file", "key", "table")

    def __init__(self, key: tuple[int, str]) -> None:
        self.key = key
        self.file = Kept(os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC))
        text = b""
        while part := os.read(self.file.fd, 1 << 16):
            text += part
        self.table = MountTable(os.fsdecode(text))

    def __del__(self) -> None:
        # Once, whichever thread drops it last; a file object would warn at the end of Python.
        self.file.close()

    def is_over(self) -> bool:
        """Whether something was mounted or unmounted since; said only once."""
        if not self.file.is_there():
            return True
        import select

        poller = select.poll()
        poller.register(self.file.fd, select.POLLPRI)
        return bool(poller.poll(0))


_watch: _Watch | None = None


def mount_table() -> MountTable:
    """The mounts of this process now; the same value while they are the same.

    The file is kept open: poll(2) of mountinfo tells of changes (proc_pid_mounts(5)), for the
    namespace that it was opened in.
    """
    global _watch
    # A forked child shares the open file with its parent, and only one of them would be told.
    key = os.getpid(), os.readlink("/proc/self/ns/mnt")
    watch = _watch
    if watch is None or watch.key != key or watch.is_over():
        # The old file is closed first: a forked child's new one gets its number.
        _watch = watch = None
        _watch = watch = _Watch(key)
    return watch.table
