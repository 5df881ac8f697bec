"""File systems by what they can: id-mapped mounts, an overlay's upper layer."""

from __future__ import annotations

import os

from kokon.kernel import mountinfo

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
    """The mounts of this process, to ask which one a path is on."""

    __slots__ = ("_by_point", "_mounts")

    def __init__(self) -> None:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            self._mounts = mountinfo.parse(file.read())
        # Of mounts on one point the last one is on top.
        self._by_point = {mount.mount_point: mount for mount in self._mounts}

    def of(self, path: str) -> Mount | None:
        """The mount that a path (links resolved) is on."""
        at = os.path.realpath(path)
        while True:
            if at in self._by_point:
                return self._by_point[at]
            if at == "/":
                return None
            at = os.path.dirname(at)

    def below(self, path: str) -> tuple[Mount, ...]:
        """The mounts below a path."""
        prefix = os.path.realpath(path).rstrip("/") + "/"
        return tuple(m for m in self._mounts if m.mount_point.startswith(prefix))

    def maps_ids(self, path: str, kernel: tuple[int, int]) -> bool:
        """Whether a recursive clone of the path could be an id-mapped mount."""
        mount = self.of(path)
        return mount is not None and all(
            kernel >= MAPS_IDS.get(m.filesystem, (999, 0)) for m in (mount, *self.below(path))
        )
