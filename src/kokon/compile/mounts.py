"""Binds: what a volume shows is taken from the host as a detached mount, then put in place."""

from __future__ import annotations

from kokon.compile import mount_options
from kokon.errors import HostError, SpecError
from kokon.kernel.constants import (
    MOUNT_ATTR_IDMAP,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    MS_PRIVATE,
    MS_SHARED,
    MS_SLAVE,
)
from kokon.plan.ops import CloneMount, Filesystem, MapNamespace, MountAttributes
from kokon.security import idmap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.compile.assembly import AssemblyBind
    from kokon.compile.builder import Builder
    from kokon.spec.runtime import Mount

BELOW_PROC = frozenset(
    ("cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg", "slabinfo",
     "net/dev", "sys/kernel/ns_last_pid", "sys/crypto/fips_enabled")
)  # fmt: skip
"""Files below /proc that may be covered: what shows a container its own share of the machine."""


def take_sources(plan: Builder) -> None:
    """Every bind of the spec and of an assembled root, as detached mounts with their attributes."""
    if plan.root.assembly:
        for bind in plan.root.assembly.binds:
            take_assembly_bind(plan, bind)
    for index, mount in enumerate(plan.spec.mounts):
        check_destination(mount, f"/mounts/{index}/destination")
        if is_bind(mount):
            take_bind(plan, mount, f"/mounts/{index}")
        elif is_machines(plan, mount):
            take_machines(plan, mount, f"/mounts/{index}")
    if plan.launch.cgroup_mounts:
        from kokon.compile import cgroup_mounts

        cgroup_mounts.take(plan)


def is_bind(mount: Mount) -> bool:
    """Whether a mount shows something of the host (config.md, Mounts: bind or rbind)."""
    return mount.type == "bind" or "bind" in mount.options or "rbind" in mount.options


def check_destination(mount: Mount, where: str) -> None:
    """No mount on the root, and none on or below /proc that could stand in for it (row M3)."""
    destination = mount.destination
    if not destination.startswith("/"):
        raise SpecError(
            f"{destination!r} is no absolute path", where=where, remedy="begin it with /"
        )
    parts = [part for part in destination.split("/") if part and part != "."]
    if ".." in parts:
        raise SpecError(f"{destination!r} has .. in it", where=where, remedy="name the real path")
    if not parts:
        raise SpecError(
            "a mount onto / would hide the root", where=where, remedy="name it as the root instead"
        )
    # The host's own /proc is what a container that shares its processes sees.
    shared = is_bind(mount) and mount.source == destination == "/proc"
    covers = parts[0] == "proc" and "/".join(parts[1:]) not in BELOW_PROC
    if covers and not (mount.type == "proc" and parts == ["proc"]) and not shared:
        raise SpecError(
            f"a {mount.type} mount onto {destination} could stand in for the kernel's own files",
            where=where,
            remedy="mount it elsewhere",
        )
    if parts == ["sys"] and mount.type != "sysfs" and not is_bind(mount):
        raise SpecError(
            f"a {mount.type} mount onto /sys hides the kernel's own files",
            where=where,
            remedy="mount it elsewhere",
        )


def take_bind(plan: Builder, mount: Mount, why: str) -> None:
    """One bind: cloned, then its attributes while it is detached (row M9, M14)."""
    options = mount_options.parse("bind", mount.options, f"{why}/options")
    source = plan.root.sources[mount.source]
    slot = plan.slot()
    plan.taken[why] = slot
    recursive = int(options.recursive)
    plan.source(CloneMount(slot, -1, mount.source, recursive, why=f"{why}/source"))
    mapped = MOUNT_ATTR_IDMAP if plan.maps_ids and plan.launch.maps_mounts else 0
    wanted = options.mapped or int(bool(mount.uid_mappings))
    if (mapped or wanted) and not source.maps_ids:
        raise HostError(
            f"the file system of {mount.source}, or of one mounted below it, cannot map ids",
            where=f"{why}/source",
            remedy="use --userns host, or a directory on ext4, xfs, btrfs or (Linux 6.3) tmpfs",
        )
    if wanted:
        plan.source(MountAttributes(
            slot, MOUNT_ATTR_IDMAP, 0, 0, wanted - 1, map_of(plan, mount, why),
            about=mount.destination, why=f"{why}/options",
        ))  # fmt: skip
    about = mount.destination
    tree = options.propagation
    if not options.propagation_recursive:
        # What is below would stay a peer of the host's mounts (row M13), unless that is the wish.
        tree = 0 if options.propagation == MS_SHARED else MS_SLAVE
    plan.source(MountAttributes(
        slot, options.recursive_set | mapped, options.recursive_clear, tree, 1,
        plan.user_namespace_slot if mapped else -1, about=about, why=f"{why}/options",
    ))  # fmt: skip
    top = 0 if options.propagation_recursive else options.propagation
    if options.set or options.clear or top:
        plan.source(MountAttributes(
            slot, options.set, options.clear, top, 0, -1, about=about, why=f"{why}/options",
        ))  # fmt: skip


MACHINES = {
    "proc": ("pid", "/proc"), "sysfs": ("network", "/sys"), "mqueue": ("ipc", "/dev/mqueue"),
}  # fmt: skip
"""File systems that show a namespace: which one, and where the machine has its own."""


def is_machines(plan: Builder, mount: Mount) -> bool:
    """Whether a new one may not be mounted, and the machine's is shown in its place."""
    kind = MACHINES.get(mount.type, ("", ""))[0]
    return bool(kind) and plan.launch.waits and not plan.owns(kind)


def take_machines(plan: Builder, mount: Mount, why: str) -> None:
    """The machine's own, with all below it, and never to be written."""
    slot = plan.taken[why] = plan.slot()
    if mount.type == "mqueue" and plan.host.may_mount:
        # It is mounted on few machines.
        plan.source(Filesystem(slot, mount.type, (), 0, mount.destination, why=why))
    else:
        plan.source(CloneMount(slot, -1, MACHINES[mount.type][1], 1, why=why))
    locked = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC
    plan.source(MountAttributes(
        slot, locked, 0, MS_PRIVATE, 1, -1, about=mount.destination, why=why,
    ))  # fmt: skip


def map_of(plan: Builder, mount: Mount, why: str) -> int:
    """The slot of the user namespace whose mappings a mount has: its own, or the container's.

    :raises HostError: we have no right to map.
    """
    if not plan.host.may_mount or not plan.host.maps_all_ids:
        raise HostError(
            "the ids of a mount are mapped by the host's root only", where=why,
            remedy="leave the mapping out",
        )  # fmt: skip
    if not mount.uid_mappings:
        return plan.user_namespace_slot
    users, groups = idmap.text(mount.uid_mappings), idmap.text(mount.gid_mappings)
    key = f"map:{users}:{groups}"
    if key not in plan.taken:
        plan.taken[key] = plan.slot()
        plan.source(MapNamespace(
            plan.taken[key], users, groups, mount.destination, why=f"{why}/uidMappings",
        ))  # fmt: skip
    return plan.taken[key]


def take_assembly_bind(plan: Builder, bind: AssemblyBind) -> None:
    """One piece of this machine for a built-in root.

    Its ids are never mapped: root of the container would own, and so read, what only the host's
    root may read in /usr.
    """
    slot = plan.slot()
    plan.taken[bind.destination] = slot
    why = f"{plan.spec.root.path}: {bind.why}" if bind.why else plan.spec.root.path
    plan.source(CloneMount(slot, -1, bind.source, 1, why=why))
    attributes = (
        (MOUNT_ATTR_RDONLY if bind.read_only else 0)
        | (MOUNT_ATTR_NOSUID if bind.nosuid else 0)
        | (MOUNT_ATTR_NODEV if bind.nodev else 0)
    )
    plan.source(MountAttributes(
        slot, attributes, 0, MS_PRIVATE, 1, -1, about=bind.destination, why=why,
    ))  # fmt: skip
