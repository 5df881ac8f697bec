"""A /dev of our own: a tmpfs with the default devices, the devices of the spec, and links.

Where stage 1 has the right, nodes are made on a tmpfs of the initial user namespace (a node on a
file system of any other would not open); else the host's nodes are bound onto empty files.
"""

from __future__ import annotations

from kokon.compile import mount_options
from kokon.kernel.capabilities import BITS
from kokon.kernel.constants import (
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    S_IFBLK,
    S_IFCHR,
    S_IFIFO,
    device_number,
)
from kokon.plan.ops import Attach, CloneMount, Directory, File, Filesystem, Link, Node
from kokon.security import idmap
from kokon.spec.runtime import Device

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.compile.builder import Builder
    from kokon.kernel.facts import HostFacts
    from kokon.spec.runtime import IdMapping, Spec

DEFAULT = (
    Device("/dev/null", "c", 1, 3),
    Device("/dev/zero", "c", 1, 5),
    Device("/dev/full", "c", 1, 7),
    Device("/dev/random", "c", 1, 8),
    Device("/dev/urandom", "c", 1, 9),
    Device("/dev/tty", "c", 5, 0),
)
"""config-linux.md, Default Devices; console and ptmx come with the terminal and devpts."""

LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
)
"""runtime-linux.md, Dev symbolic links."""

KINDS = {"c": S_IFCHR, "u": S_IFCHR, "b": S_IFBLK, "p": S_IFIFO}


def makes_nodes(spec: Spec, host: HostFacts) -> bool:
    """Whether devices are made by their numbers, and not binds of the machine's.

    mknod(2) needs CAP_MKNOD of the first user namespace, which is gone in one that is joined.
    """
    joins = any(each.type == "user" and each.path for each in spec.linux.namespaces)
    rights = host.may_mount and host.maps_all_ids and host.capabilities & BITS["MKNOD"]
    return bool(rights) and not joins


def make(plan: Builder) -> None:
    """The tmpfs for /dev, filled but for bound devices, when the spec mounts a tmpfs there.

    An OCI document that mounts nothing there has one too: some devices are in every container.
    What is bound there has the devices that it has, and no others, as in other runtimes.
    """
    mount = next((m for m in plan.spec.mounts if m.destination == "/dev"), None)
    if (mount is None and not plan.launch.waits) or (mount is not None and mount.type != "tmpfs"):
        return
    slot = plan.dev_slot = plan.slot()
    # Stage 1 makes the tmpfs where it makes nodes; its owner is root of the container.
    nodes, linux = makes_nodes(plan.spec, plan.host), plan.spec.linux
    put = plan.source if nodes else plan.add
    owner = host_id(linux.uid_mappings, 0) if nodes else 0
    group = host_id(linux.gid_mappings, 0) if nodes else 0
    options: tuple[str | None, ...] = ("mode", "755", "size", "64k")
    attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC
    if plan.launch.waits and mount is not None:
        where = f"/mounts/{plan.spec.mounts.index(mount)}/options"
        asked = mount_options.parse("tmpfs", mount.options, where)
        options, attributes = tuple(asked.data), asked.set & ~MOUNT_ATTR_RDONLY
        if mount.source:
            options = ("source", mount.source, *options)  # what /proc/mounts shows
    if owner or group:
        options += ("uid", str(owner), "gid", str(group))
    put(Filesystem(
        slot, "tmpfs", options, attributes, "/dev", why="/mounts",
    ))  # fmt: skip
    for name in ("pts", "shm", "mqueue"):
        if any(m.destination == f"/dev/{name}" for m in plan.spec.mounts):
            plan.add(Directory(slot, name, 0o755, why="/mounts"))
    for name, target in LINKS:
        # By stage 2, so that they are the container's root's.
        plan.add(Link(slot, name, target, why="/mounts"))
    for device in every(plan):
        name = device.path.removeprefix("/dev/")
        why = "/mounts" if device in DEFAULT else "/linux/devices"
        if nodes:
            put(Node(
                slot, name, KINDS[device.type] | device.file_mode,
                device_number(device.major, device.minor),
                host_id(linux.uid_mappings, device.uid),
                host_id(linux.gid_mappings, device.gid), why=why,
            ))  # fmt: skip
        elif device.type == "p":
            put(Node(slot, name, KINDS["p"] | device.file_mode, 0, device.uid, device.gid, why=why))
        else:
            put(File(slot, name, b"", 0o644, why=why))
            node = plan.slot()
            plan.source(CloneMount(node, -1, device.source, why=why))
            plan.bound_devices.append((device, node))


def every(plan: Builder) -> tuple[Device, ...]:
    """The default devices and those of the spec; the spec's win, but not over the links: engines
    that hand all devices on name the machine's ptmx too."""
    devices = {device.path: device for device in DEFAULT}
    devices.update((device.path, device) for device in plan.spec.linux.devices)
    for name, _ in LINKS:
        devices.pop(f"/dev/{name}", None)
    return tuple(devices.values())


def host_id(mappings: tuple[IdMapping, ...], inside: int) -> int:
    """The id outside of an id inside; itself without a mapping."""
    outside = idmap.to_host(mappings, inside)
    return inside if outside is None else outside


def attach_bound(plan: Builder) -> None:
    """Mounts of the host's nodes, on the /dev that is now in place."""
    for device, slot in plan.bound_devices:
        why = "/mounts" if device in DEFAULT else "/linux/devices"
        plan.add(Attach(
            slot, plan.dev_slot, device.path.removeprefix("/dev/"), 0, about=device.source,
            why=why,
        ))  # fmt: skip
