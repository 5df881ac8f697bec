"""A plan's mounts as the program will see them, made by replaying its ops on values."""

from __future__ import annotations

from kokon.kernel import constants
from kokon.plan import ops
from kokon.plan.answer import Entry
from kokon.plan.why_mounts import MADE_UP, Files, Mount, Place, Walked, join, top

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from kokon.plan.answer import Answer, Known
    from kokon.plan.op import Op
    from kokon.plan.plan import Plan
    from kokon.plan.why_rights import Rights

MOST_LINKS = 40
"""path_resolution(7)."""


class Tree:
    """All mounts of a plan.

    :ivar root: the program's root: this machine's own where the plan makes none.
    """

    def __init__(self, plan: Plan, rights: Rights, known: Known) -> None:
        self.rights = rights
        self.known = known
        self.root = Mount(Files("host", "/"), 0)
        self.root.recursive = True
        self._slots: dict[int, Mount] = {}
        self._anywhere: dict[str, Mount] = {}
        self._inside = False
        for number, op in enumerate(plan.ops, 1):
            self._replay(op, number)
            self._inside = self._inside or isinstance(op, ops.Release)

    def _replay(self, op: Op, step: int) -> None:
        slots = self._slots
        if isinstance(op, ops.Filesystem):
            slots[op.slot] = self._filesystem(op, step)
        elif isinstance(op, ops.CloneMount):
            self._clone(op, step)
        elif isinstance(op, ops.CloneDescriptor):
            slots[op.slot] = self._unknown("it is the terminal", step)
        elif isinstance(op, ops.MountAttributes):
            slots[op.slot].change(op, step)
        elif isinstance(op, ops.AttachAnywhere):
            self._anywhere[op.path] = slots[op.slot]
            slots[op.slot].attached = step
        elif isinstance(op, ops.Attach):
            create = ("", "directory", "file")[op.create]
            mount, path = self._locate(slots[op.root], op.target, create, not op.nofollow)
            mount.children[path] = slots[op.slot]
            slots[op.slot].attached = step
        elif isinstance(op, ops.Mask):
            self._mask(op, step)
        elif isinstance(op, ops.ReadOnly):
            self._read_only(op, step)
        elif isinstance(op, ops.Pivot):
            self.root = slots[op.root]
        elif isinstance(op, ops.Directory | ops.Link | ops.File | ops.Node):
            self._make(op)
        elif isinstance(op, ops.WorkingDirectory) and op.create:
            self._locate(self.root, op.path, "directory")

    def _filesystem(self, op: ops.Filesystem, step: int) -> Mount:
        new = self._inside and self.rights.user_namespace
        files = Files(op.type, foreign=new)
        options = tuple(zip(op.options[::2], op.options[1::2], strict=True))
        values = {key: value for key, value in options if value is not None}
        if op.type == "overlay":
            lowers = [value for key, value in options if key == "lowerdir+" and value]
            lowers = lowers or values.get("lowerdir", "").split(":")
            files.layers = tuple(self._staged(path) for path in (values["upperdir"], *lowers))
        else:
            uid, gid = int(values.get("uid", 0)), int(values.get("gid", 0))
            mode = MADE_UP.get(op.type, int(values.get("mode", "1777"), 8))
            files.made[""] = Entry("directory", mode, *self._ids(uid, gid))
        mount = Mount(files, step)
        mount.set = op.attributes
        for flag in constants.MOUNT_ATTRIBUTES.values():
            if op.attributes & flag == flag:
                mount.setters[flag] = step
        return mount

    def _ids(self, uid: int, gid: int) -> tuple[int | None, int | None]:
        """Ids outside of those that an op names: stage 1 counts as the host does."""
        if not self._inside:
            return uid, gid
        return self.rights.kernel_uid(uid), self.rights.kernel_gid(gid)

    def _unknown(self, why: str, step: int) -> Mount:
        files = Files("unknown")
        files.made[""] = Entry("unknown", target=why)
        return Mount(files, step)

    def _clone(self, op: ops.CloneMount, step: int) -> None:
        if op.base < 0:
            mount = Mount(Files("host", op.path), step)
            mount.recursive = bool(op.recursive)
        else:
            at, path = self._locate(self._slots[op.base], op.path)
            mount = at.copy(path, step, bool(op.recursive))
        self._slots[op.slot] = mount

    def _staged(self, path: str) -> Place:
        """A path of the plan below what it attached out of the way."""
        for attached, mount in self._anywhere.items():
            if attached != "/" and path.startswith(attached + "/"):
                return self._locate(mount, path[len(attached) :])
        return self._unknown("the plan does not say what is there", 0), ""

    def _mask(self, op: ops.Mask, step: int) -> None:
        walked = self.walk(op.target[op.skip :], self._slots[op.root])
        if walked.end == "missing":
            return
        kind = "file" if walked.entry.kind not in ("directory", "kernel") else "directory"
        cover = self._slots[op.templates].copy(f"empty-{kind}", step, False)
        cover.hides = True
        mount, path = walked.place
        mount.children[join(path, "/".join(walked.rest))] = cover

    def _read_only(self, op: ops.ReadOnly, step: int) -> None:
        walked = self.walk(op.target[op.skip :], self._slots[op.root])
        if walked.end == "missing":
            return
        mount, path = walked.place
        path = join(path, "/".join(walked.rest))
        copy = mount.copy(path, step, True)
        flags = constants.MOUNT_ATTR_RDONLY
        copy.change(ops.MountAttributes(0, flags, 0, 0, 1, -1, about="", why=""), step)
        mount.children[path] = copy

    def _make(self, op: ops.Directory | ops.Link | ops.File | ops.Node) -> None:
        mount, path = self._locate(self._slots[op.root], op.path.rpartition("/")[0], "directory")
        path = join(path, op.path.rpartition("/")[2])
        ids = self._ids(0, 0)
        made = mount.files.made
        at = join(mount.base, path)
        if isinstance(op, ops.Directory):
            # One that is there already keeps its mode.
            made.setdefault(at, Entry("directory", op.mode, *ids))
        elif isinstance(op, ops.Link):
            made[at] = Entry("link", 0o777, *ids, target=op.target)
        elif isinstance(op, ops.File):
            made[at] = Entry("file", op.mode, *ids)
        else:
            kinds = {constants.S_IFCHR: "character", constants.S_IFBLK: "block"}
            kind = kinds.get(op.mode & 0o170000, "fifo")
            number = op.device >> 8 & 0xFFF, op.device & 0xFF | op.device >> 12 & ~0xFF
            made[at] = Entry(kind, op.mode & 0o7777, op.uid, op.gid, device=number)

    def _locate(self, root: Mount, path: str, create: str = "", follow: bool = True) -> Place:
        """Where an op's path leads; what is missing on the way is made where the op makes it."""
        walked = self.walk(path, root, follow=follow)
        mount, at = walked.place
        if walked.end == "missing" and create:
            for number, name in enumerate(walked.rest, 1):
                at = join(at, name)
                kind = create if number == len(walked.rest) else "directory"
                mode = 0o755 if kind == "directory" else 0o644
                mount.files.made[join(mount.base, at)] = Entry(kind, mode, *self._ids(0, 0))
            return mount, at
        for name in walked.rest:
            mount, at = top(mount, join(at, name))
        return mount, at

    def entry(self, mount: Mount, path: str) -> Entry | None:
        """What is there, its ids as the kernel counts them; None where nothing is."""
        files, path = mount.files, join(mount.base, path)
        if path in files.made:
            return files.made[path]
        if files.type == "host":
            if self.known.look is None:
                return Entry("unknown", target="what the root holds is not known")
            found = self.known.look(files.source, path)
            if found is None:
                return None
            if found.below and not mount.recursive:
                return Entry("unknown", target="the host has another mount there")
            if not mount.mapped:
                return found
            return found.owned_by(
                None if found.uid is None else self.rights.kernel_uid(found.uid),
                None if found.gid is None else self.rights.kernel_gid(found.gid),
            )
        if files.type == "overlay":
            return self._layered(files, path)
        return Entry("kernel") if files.type in MADE_UP else None

    def _layered(self, files: Files, path: str) -> Entry | None:
        (upper, base), *lowers = files.layers
        found = self.entry(upper, join(base, path))
        if found is not None:
            kept = bool(path) and found.kind != "unknown"
            return Entry("unknown", target="an earlier run has changed it") if kept else found
        for lower, base in lowers:
            found = self.entry(lower, join(base, path))
            if found is not None:
                # The layer's own flags hold for the layer: the overlay has its own.
                found = found.owned_by(found.uid, found.gid)
                found.flags, found.below = 0, False
                return found
        return None

    def walk(
        self,
        path: str,
        root: Mount | None = None,
        *,
        follow: bool = True,
        search: Callable[[Entry], Answer | None] | None = None,
    ) -> Walked:
        """Resolves a path as the kernel does, links inside the root.

        :param root: where it begins; the program's root by default.
        :param follow: also a link at its end.
        :param search: called with each directory on the way; what it returns, if not None, ends
            the walk.
        """
        stack: list[Place] = [top(root or self.root, "")]
        names = _names(path)
        links, guessed, refusal = 0, False, None
        entry = self.entry(*stack[0]) or NOTHING

        def ended(end: str, entry: Entry, rest: tuple[str, ...] = ()) -> Walked:
            walked = Walked(end, tuple(stack), entry, rest)
            walked.guessed, walked.refusal = guessed, refusal
            return walked

        while True:
            mount, at = stack[-1]
            rest = tuple(reversed(names))
            if mount.hides:
                return ended("hidden", entry, rest)
            if entry.kind in ("unknown", "kernel"):
                # A mount below was put there by a path without links, so it is there.
                guessed = guessed or (bool(names) and entry.kind == "unknown")
                count = _mounted_below(mount, at, rest)
                if not count:
                    return ended("unknown" if entry.kind == "unknown" else "found", entry, rest)
                stack.append(top(mount, join(at, "/".join(rest[:count]))))
                del names[-count:]
                entry = self.entry(*stack[-1]) or NOTHING
                continue
            if not names:
                return ended("found", entry)
            if entry.kind != "directory":
                return ended("missing", entry, rest)
            refusal = search(entry) if search else None
            if refusal is not None:
                return ended("refused", entry, rest)
            name = names.pop()
            if name == "..":
                del stack[max(1, len(stack) - 1) :]
                entry = self.entry(*stack[-1]) or NOTHING
                continue
            below = top(mount, join(at, name))
            found = self.entry(*below)
            if found is None:
                return ended("missing", entry, rest)
            if found.kind != "link" or not (names or follow):
                stack.append(below)
                entry = found
                continue
            links += 1
            if links > MOST_LINKS or mount.flags(found) & constants.MOUNT_ATTR_NOSYMFOLLOW:
                return ended("loop", found, rest)
            if search and entry.mode & 0o1002 == 0o1002 and found.uid != entry.uid:
                return ended("unknown", PROTECTED, rest)
            names += _names(found.target)
            if found.target.startswith("/"):
                del stack[1:]
                entry = self.entry(*stack[0]) or NOTHING


NOTHING = Entry("unknown", target="there is nothing there now")
PROTECTED = Entry("unknown", target="fs.protected_symlinks decides on a link in such a directory")


def _mounted_below(mount: Mount, at: str, names: tuple[str, ...]) -> int:
    """How many of the names lead to a mount below a directory whose files are not known."""
    for count, name in enumerate(names, 1):
        if name == "..":
            break
        if join(at, "/".join(names[:count])) in mount.children:
            return count
    return 0


def _names(path: str) -> list[str]:
    """The parts of a path, the last one first."""
    return [name for name in reversed(path.split("/")) if name and name != "."]
