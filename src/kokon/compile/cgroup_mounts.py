"""Mounts of type cgroup: the container's own groups (config-linux.md, Default Filesystems)."""

from __future__ import annotations

from kokon.compile import mount_options
from kokon.kernel.constants import (
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    MS_PRIVATE,
    RESOLVE_NO_SYMLINKS,
)
from kokon.plan.ops import Attach, CloneMount, Directory, Filesystem, Link, MountAttributes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.compile.builder import Builder
    from kokon.spec.runtime import Mount

LOCKED = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC


def take(plan: Builder) -> None:
    """The groups' directories, taken from the host's mounts: no other group is shown."""
    mount = next((each for each in plan.spec.mounts if each.type == "cgroup"), None)
    if mount is None:
        return
    index = plan.spec.mounts.index(mount)
    options = mount_options.parse("bind", mount.options, f"/mounts/{index}/options")
    read_only = options.set & MOUNT_ATTR_RDONLY
    for name, directory in plan.launch.cgroup_mounts:
        slot = plan.taken[f"cgroup:{name}"] = plan.slot()
        why = f"/mounts/{index}"
        plan.source(CloneMount(slot, -1, directory, why=why))
        plan.source(MountAttributes(
            slot, LOCKED | read_only, 0, MS_PRIVATE, 0, -1, about=f"the control group {name}",
            why=why,
        ))  # fmt: skip


def mount(plan: Builder, mount: Mount, why: str) -> None:
    """One directory on version 2; on version 1 one for each hierarchy, on a tmpfs."""
    shown = plan.launch.cgroup_mounts
    if [name for name, _ in shown] == [""]:
        plan.add(Attach(
            plan.taken["cgroup:"], plan.root_slot, mount.destination, 1, plan.resolve,
            about="the control group", why=why,
        ))  # fmt: skip
        return
    tree = plan.slot()
    plan.add(Filesystem(
        tree, "tmpfs", ("size", "64k", "mode", "755"), LOCKED, mount.destination, why=why,
    ))  # fmt: skip
    for name, _ in shown:
        plan.add(Directory(tree, name, 0o755, why=why))
        for part in name.split(",") if "," in name else ():
            plan.add(Link(tree, part, name, why=why))
    plan.add(Attach(
        tree, plan.root_slot, mount.destination, 1, plan.resolve, about="control groups",
        why=why,
    ))  # fmt: skip
    for name, _ in shown:
        plan.add(Attach(
            plan.taken[f"cgroup:{name}"], tree, name, 0, RESOLVE_NO_SYMLINKS,
            about=f"the control group {name}", why=why,
        ))  # fmt: skip
    plan.add(MountAttributes(
        tree, MOUNT_ATTR_RDONLY, 0, 0, 0, -1, about=mount.destination, why=why,
    ))  # fmt: skip
