"""The mounts of the spec, in its order: /proc, /sys, /dev and what is beneath, tmpfs, binds."""

from __future__ import annotations

from kokon.compile import devices, mount_options
from kokon.compile.masks import template_name
from kokon.compile.mounts import is_bind, is_machines
from kokon.errors import SpecError
from kokon.kernel.constants import MOUNT_ATTR_RDONLY, MS_SHARED, PROC_SUPER_MAGIC, SYSFS_MAGIC
from kokon.plan.ops import (
    Attach,
    CheckFilesystem,
    CloneMount,
    CopyUp,
    Filesystem,
    MountAttributes,
    TakeMode,
)
from kokon.security import idmap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.compile.builder import Builder
    from kokon.spec.runtime import Mount

OURS = frozenset(("tmpfs", "proc", "sysfs", "devpts", "mqueue"))
"""What a run may mount; an OCI document has whatever the kernel has."""

MAGIC = {"proc": PROC_SUPER_MAGIC, "sysfs": SYSFS_MAGIC}


def mount(plan: Builder) -> None:
    """Each mount of the spec, then the small files of the launch."""
    late: list[MountAttributes] = []
    if plan.dev_slot >= 0 and all(mount.destination != "/dev" for mount in plan.spec.mounts):
        attach_devices(plan, "/linux/devices")
    for index, mount in enumerate(plan.spec.mounts):
        why = f"/mounts/{index}"
        if mount.destination == "/dev" and plan.dev_slot >= 0:
            attach_devices(plan, why)
        elif is_bind(mount):
            source = plan.root.sources[mount.source]
            plan.add(Attach(
                plan.taken[why], plan.root_slot, mount.destination,
                1 if source.directory else 2, plan.resolve, about=mount.source, why=why,
            ))  # fmt: skip
            keep_apart(plan, index, mount)
        elif is_machines(plan, mount):
            plan.add(Attach(
                plan.taken[why], plan.root_slot, mount.destination, 1, plan.resolve,
                about=f"the machine's {mount.type}", why=why,
            ))  # fmt: skip
        elif mount.type == "cgroup":
            from kokon.compile import cgroup_mounts

            cgroup_mounts.mount(plan, mount, why)
        else:
            new_filesystem(plan, mount, why, late)
        if mount.destination == "/dev" and plan.dev_slot >= 0 and plan.launch.waits:
            asked = mount_options.parse(mount.type, mount.options, f"{why}/options").set
            late += read_only(plan.dev_slot, asked, "/dev", why)
    if plan.launch.waits:
        check_kernels_own(plan)
    small_files(plan)
    for op in late:
        plan.add(op)


def read_only(slot: int, asked: int, about: str, why: str) -> list[MountAttributes]:
    """For a tmpfs that is asked to be so: when its mode is set and all below it is mounted, whose
    mount points are made in it."""
    if not asked & MOUNT_ATTR_RDONLY:
        return []
    return [MountAttributes(
        slot, MOUNT_ATTR_RDONLY, 0, 0, 0, -1, about=about, why=f"{why}/options",
    )]  # fmt: skip


def keep_apart(plan: Builder, index: int, mount: Mount) -> None:
    """What is mounted onto a shared volume is shared with the machine too (mount_namespaces(7)),
    whatever it was before: it becomes again what it is to be (row M13)."""
    before = plan.spec.mounts[:index]
    if not any({"shared", "rshared"} & set(each.options) for each in before if is_bind(each)):
        return
    why = f"/mounts/{index}"
    options = mount_options.parse("bind", mount.options, f"{why}/options")
    if options.propagation != MS_SHARED:
        plan.add(MountAttributes(
            plan.taken[why], 0, 0, options.propagation, int(options.propagation_recursive), -1,
            about=mount.destination, why=f"{why}/options",
        ))  # fmt: skip


def check_kernels_own(plan: Builder) -> None:
    """What a document's mounts have left at /proc and /sys is still the kernel's: a later one may
    have come there through a link of the root (row M3)."""
    last = {mount.destination: at for at, mount in enumerate(plan.spec.mounts)}
    for destination, kind in (("/proc", "proc"), ("/sys", "sysfs")):
        at = last.get(destination, -1)
        if at >= 0 and (kind == "proc" or plan.spec.mounts[at].type == kind):
            plan.add(CheckFilesystem(
                plan.root_slot, destination, MAGIC[kind], kind, why=f"/mounts/{at}",
            ))  # fmt: skip


def attach_devices(plan: Builder, why: str) -> None:
    """The /dev of the container's own."""
    plan.add(Attach(
        plan.dev_slot, plan.root_slot, "/dev", 1, plan.resolve, about="our own devices", why=why,
    ))  # fmt: skip
    devices.attach_bound(plan)


def new_filesystem(plan: Builder, mount: Mount, why: str, late: list[MountAttributes]) -> None:
    """A file system of a container's own."""
    others = plan.launch.waits and mount.type
    if not others and mount.type not in OURS:
        raise SpecError(
            f"a mount of type {mount.type!r} is not possible",
            where=f"{why}/type",
            remedy="use one of bind, tmpfs, proc, sysfs, devpts, mqueue",
        )
    passes = mount.type not in OURS
    options = mount_options.parse(mount.type, mount.options, f"{why}/options", passes)
    if mount.type == "tmpfs":
        check_ids(plan, options.data, f"{why}/options")
    data = without_unmapped_ids(plan, mount, options.data)
    if plan.launch.waits and mount.source:
        data = ("source", mount.source, *data)  # what /proc/mounts shows
    slot = plan.taken[why] = plan.slot()
    if mount.type == "devpts":
        plan.devpts_slot = slot
    at_once = options.set
    if mount.type == "tmpfs":
        at_once &= ~MOUNT_ATTR_RDONLY
        late += read_only(slot, options.set, mount.destination, why)
    plan.add(Filesystem(slot, mount.type, data, at_once, mount.destination, why=why))
    if mount.type == "tmpfs" and plan.launch.waits and "mode" not in data[::2]:
        plan.add(TakeMode(slot, plan.root_slot, mount.destination, why=why))
    if options.copies:
        plan.add(CopyUp(slot, plan.root_slot, mount.destination, why=f"{why}/options"))
    plan.add(Attach(
        slot, plan.root_slot, mount.destination, 1, plan.resolve, about=mount.type, why=why,
    ))  # fmt: skip
    if not plan.launch.waits and mount.type in MAGIC and mount.destination in ("/proc", "/sys"):
        plan.add(CheckFilesystem(
            plan.root_slot, mount.destination, MAGIC[mount.type], mount.type, why=why,
        ))  # fmt: skip


def check_ids(plan: Builder, data: list[str | None], where: str) -> None:
    """An owner that is named has an id outside: else the kernel says EINVAL and no more."""
    linux = plan.spec.linux
    for key, value in zip(data[::2], data[1::2], strict=True):
        mappings = {"uid": linux.uid_mappings, "gid": linux.gid_mappings}.get(key or "")
        if mappings and value and idmap.to_host(mappings, int(value)) is None:
            raise SpecError(
                f"{key}={value} has no id on this machine",
                where=where,
                remedy="name one that is in the container's range of ids",
            )


def without_unmapped_ids(
    plan: Builder, mount: Mount, data: list[str | None]
) -> tuple[str | None, ...]:
    """Devpts refuses a group that is not mapped (EINVAL): with a single id there is no group 5."""
    if mount.type != "devpts" or not plan.user_namespace:
        return tuple(data)
    mappings = plan.spec.linux.gid_mappings
    kept: list[str | None] = []
    for key, value in zip(data[::2], data[1::2], strict=True):
        group = int(value) if key == "gid" and value and value.isdecimal() else None
        if group is not None and idmap.to_host(mappings, group) is None:
            continue
        kept += (key, value)
    return tuple(kept)


def small_files(plan: Builder) -> None:
    """/etc/hosts and the like: made by us and mounted; a link of the image is covered, not followed
    (row M17)."""
    if plan.root.assembly:
        return
    for path in plan.launch.files:
        slot = plan.slot()
        plan.add(CloneMount(slot, plan.templates_slot, template_name(path), why=path))
        plan.add(Attach(
            slot, plan.root_slot, path, 2, nofollow=1, about="our own file", why=path,
        ))  # fmt: skip
