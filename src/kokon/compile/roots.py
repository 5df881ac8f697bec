"""The root file system: made, put in place, sealed."""

from __future__ import annotations

from kokon.compile import masks
from kokon.errors import HostError
from kokon.kernel.constants import (
    MOUNT_ATTR_IDMAP,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    MS_PRIVATE,
    PROPAGATION,
    RESOLVE_NO_SYMLINKS,
)
from kokon.plan.ops import (
    Attach,
    AttachAnywhere,
    CloneMount,
    Directory,
    File,
    Filesystem,
    Link,
    MountAttributes,
    Pivot,
    WorkingDirectory,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.compile.assembly import Assembly
    from kokon.compile.builder import Builder

WHY = "/root/path"


def make(plan: Builder) -> None:
    """Takes what the root is made of from the host; an assembled root needs nothing yet."""
    root = plan.root
    if root.kind == "directory":
        plan.root_slot = take_layer(plan, root.path, "the root")
    elif root.kind == "overlay":
        for number, path in enumerate(root.lowers):
            plan.taken[f"lower{number}"] = take_layer(plan, path, "a layer")
        # One mount for both: overlayfs wants upper and work on the same one.
        plan.taken["writes"] = take_layer(plan, root.upper, "the container's own writes")


def take_layer(plan: Builder, path: str, about: str) -> int:
    """A directory as a detached mount whose files keep their owners inside."""
    maps = plan.maps_ids and not plan.root.shifted
    if maps and not plan.root.maps_ids:
        raise HostError(
            f"the file system of {path}, or of one mounted below it, cannot map ids",
            where=WHY,
            remedy="use --userns host, or put the root on ext4, xfs or btrfs",
        )
    slot = plan.slot()
    plan.source(CloneMount(slot, -1, path, 1, why=WHY))
    # An OCI container may open nodes that it makes, as far as its device rules allow.
    attributes = 0 if plan.launch.waits else MOUNT_ATTR_NODEV
    mapped = MOUNT_ATTR_IDMAP if maps else 0
    plan.source(MountAttributes(
        slot, attributes | mapped, 0, MS_PRIVATE, 1,
        plan.user_namespace_slot if mapped else -1, about=about, why=WHY,
    ))  # fmt: skip
    return slot


def attach(plan: Builder) -> None:
    """The root over the old "/": pivot_root wants it to be a mount in our own namespace."""
    root, place = plan.root, "/"
    if "createContainer" in plan.states:
        # Its hooks look for the root where the bundle has it, and use the machine's /proc.
        place = root.path
    else:
        masks.prepare(plan)
    if root.kind == "overlay":
        overlay(plan)
    elif root.assembly:
        fill(plan, root.assembly)
    plan.add(AttachAnywhere(plan.root_slot, place, "the root", why=WHY))
    if root.assembly:
        furnish(plan, root.assembly)


def overlay(plan: Builder) -> None:
    """Layers under short names of our own, so that no name of a path is part of an option."""
    root = plan.root
    # The place for layers: a directory each on a tmpfs that goes away with the old root.
    stage = plan.slot()
    plan.add(Filesystem(
        stage, "tmpfs", ("size", "64k", "mode", "700"), 0, "the layers' places", why=WHY,
    ))  # fmt: skip
    names = [f"lower{number}" for number in range(len(root.lowers))]
    for name in (*names, "writes"):
        plan.add(Directory(stage, name, 0o700, why=WHY))
    plan.add(AttachAnywhere(stage, STAGE, "the layers' places", why=WHY))
    for name in (*names, "writes"):
        plan.add(Attach(
            plan.taken[name], stage, name, resolve=RESOLVE_NO_SYMLINKS, about="a layer", why=WHY,
        ))  # fmt: skip
    options: list[str | None] = []
    if plan.host.kernel >= (6, 8):
        for name in names:
            options += ("lowerdir+", f"{STAGE}/{name}")
    else:
        options += ("lowerdir", ":".join(f"{STAGE}/{name}" for name in names))
    options += ("upperdir", f"{STAGE}/writes/upper", "workdir", f"{STAGE}/writes/work")
    if plan.user_namespace:
        # Without it overlayfs mounts in a user namespace and then fails to write (EIO).
        options += ("userxattr", None)
    if root.volatile:
        options += ("volatile", None)
    plan.root_slot = plan.slot()
    plan.add(Filesystem(
        plan.root_slot, "overlay", tuple(options), MOUNT_ATTR_NODEV, "the root", why=WHY,
    ))  # fmt: skip


STAGE = "/sys"
"""A directory that every machine has, for the layers' places; not the one masks use."""


def fill(plan: Builder, assembly: Assembly) -> None:
    """An empty tmpfs for a built-in root."""
    plan.root_slot = plan.slot()
    plan.add(Filesystem(
        plan.root_slot, "tmpfs", ("size", "1m", "mode", "755"),
        MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, "the root", why=assembly.name,
    ))  # fmt: skip


def furnish(plan: Builder, assembly: Assembly) -> None:
    """What it consists of, in the order of its fields: an interpreter may lie below the home."""
    root, why = plan.root_slot, assembly.name
    user = plan.spec.process.user
    for path, mode in assembly.writable:
        slot = plan.slot()
        options = ("mode", f"{mode:o}", "uid", str(user.uid), "gid", str(user.gid))
        plan.add(Filesystem(
            slot, "tmpfs", options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, path, why=why,
        ))  # fmt: skip
        plan.add(Attach(slot, root, path, 1, RESOLVE_NO_SYMLINKS, about="a tmpfs", why=why))
    for path, mode in assembly.directories:
        plan.add(Directory(root, path, mode, why=why))
    for path, target in assembly.links:
        plan.add(Link(root, path, target, why=why))
    for path, content, mode in assembly.files:
        plan.add(File(root, path, content, mode, why=why))
    for path, content in plan.launch.files.items():
        plan.add(File(root, path, content, 0o644, why=path))
    for bind in assembly.binds:
        plan.add(Attach(
            plan.taken[bind.destination], root, bind.destination, 1 if bind.directory else 2,
            RESOLVE_NO_SYMLINKS, about=bind.source, why=why,
        ))  # fmt: skip
    for path in assembly.empty:
        slot = plan.slot()
        plan.add(CloneMount(slot, plan.templates_slot, "empty-directory", why=why))
        plan.add(MountAttributes(slot, masks.LOCKED, 0, 0, 0, -1, about=path, why=why))
        plan.add(Attach(
            slot, root, path, 0, RESOLVE_NO_SYMLINKS, about="an empty directory", why=why,
        ))  # fmt: skip


def seal(plan: Builder) -> None:
    """Read-only where that is asked, with its propagation, and the old root gone."""
    spec = plan.spec
    read_only = MountAttributes(
        plan.root_slot, MOUNT_ATTR_RDONLY, 0, 0, 0, -1, about="the root", why="/root/readonly",
    )  # fmt: skip
    closed = spec.root.readonly or bool(plan.root.assembly)
    if closed and not plan.launch.waits:
        plan.add(read_only)
    plan.add(Pivot(plan.root_slot, why=WHY))
    if closed and plan.launch.waits:
        # While it can be made: images name working directories that nobody has made.
        plan.add(WorkingDirectory(spec.process.cwd, 1, why="/process/cwd"))
        plan.add(read_only)
    word = spec.linux.rootfs_propagation
    if word:
        # All of it is private but volumes that are to be shared, which rslave would undo.
        plan.add(MountAttributes(
            plan.root_slot, 0, 0, PROPAGATION[word.removeprefix("r")],
            int(word in ("rshared", "runbindable")), -1, about="the root",
            why="/linux/rootfsPropagation",
        ))  # fmt: skip
