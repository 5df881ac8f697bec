"""What of /proc and /sys is hidden or read-only (config-linux.md, Masked and Readonly Paths)."""

from __future__ import annotations

from kokon.kernel.constants import (
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
)
from kokon.plan.ops import (
    AttachAnywhere,
    Directory,
    File,
    Filesystem,
    Mask,
    MountAttributes,
    ReadOnly,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.compile.builder import Builder

SMALL_FILE = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC
LOCKED = MOUNT_ATTR_RDONLY | SMALL_FILE

OUT_OF_THE_WAY = "/proc"
"""A directory that every machine has; what is mounted over it goes away with the old root."""


def prepare(plan: Builder) -> None:
    """One tmpfs holds our own small files and what covers a masked file or directory (row M5).

    It is mounted where the old root will take it away, because mounts can only be cloned from a
    place in the mount tree (before Linux 6.15).
    """
    linux, launch = plan.spec.linux, plan.launch
    assembly = plan.root.assembly
    if not (linux.masked_paths or launch.files or (assembly and assembly.empty)):
        return
    slot = plan.templates_slot = plan.slot()
    why = "/linux/maskedPaths"
    plan.add(Filesystem(
        slot, "tmpfs", ("size", "1m", "mode", "755"), SMALL_FILE, "covers and small files", why=why,
    ))  # fmt: skip
    plan.add(Directory(slot, "empty-directory", 0o555, why=why))
    plan.add(File(slot, "empty-file", b"", 0o444, why=why))
    if not assembly:
        for path, content in launch.files.items():
            plan.add(File(slot, template_name(path), content, 0o644, why=path))
    plan.add(AttachAnywhere(slot, OUT_OF_THE_WAY, "covers and small files", why=why))


def template_name(path: str) -> str:
    """The name of a small file on the tmpfs of covers."""
    return "for" + path.replace("/", "-")


def cover(plan: Builder) -> None:
    """Masks, then read-only paths."""
    linux = plan.spec.linux
    if plan.templates_slot < 0:
        prepare(plan)
    if linux.masked_paths:
        plan.add(MountAttributes(
            plan.templates_slot, LOCKED, 0, 0, 0, -1, about="the covers",
            why="/linux/maskedPaths",
        ))  # fmt: skip
    for index, path in enumerate(dict.fromkeys(linux.masked_paths)):
        root, skip = _mount_of(plan, path)
        plan.add(Mask(root, path, plan.templates_slot, skip, why=f"/linux/maskedPaths/{index}"))
    for index, path in enumerate(dict.fromkeys(linux.readonly_paths)):
        root, skip = _mount_of(plan, path)
        plan.add(ReadOnly(root, path, skip, why=f"/linux/readonlyPaths/{index}"))


def _mount_of(plan: Builder, path: str) -> tuple[int, int]:
    """The mount that a path is looked up in, and how much of the path leads to it: of what is at
    /proc and /sys the very mount, for the root's own directories may be exchanged (row M3)."""
    for at, mount in reversed(tuple(enumerate(plan.spec.mounts))):
        if mount.destination in ("/proc", "/sys") and path.startswith(mount.destination + "/"):
            # The last one is what is seen there.  A box's program has mounted its own just now.
            slot = plan.taken.get(f"/mounts/{at}", -1)
            return (slot, len(mount.destination)) if slot >= 0 else (plan.root_slot, 0)
    return plan.root_slot, 0
