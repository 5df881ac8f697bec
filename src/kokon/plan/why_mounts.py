"""Mounts and file systems as values, and where a path leads in them."""

from __future__ import annotations

from kokon.kernel import constants
from kokon.plan import ops
from kokon.plan.answer import Entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.plan.answer import Answer

MADE_UP = {"proc": 0o555, "sysfs": 0o555, "devpts": 0o755, "mqueue": 0o1777}
"""File systems whose files the kernel makes up, with the mode of their root."""


class Files:
    """A file system, or a tree of the host's.

    :ivar type: tmpfs, overlay, proc, …; ``host`` for what is taken from ``source``.
    :ivar made: what the plan itself makes in it, by path; ids are those outside.
    :ivar layers: of an overlay, the upper one first.
    :ivar foreign: it belongs to a new user namespace, where no device opens (SB_I_NODEV).
    """

    __slots__ = ("foreign", "layers", "made", "source", "type")

    def __init__(self, type: str, source: str = "", foreign: bool = False) -> None:
        self.type = type
        self.source = source
        self.foreign = foreign
        self.made: dict[str, Entry] = {}
        self.layers: tuple[Place, ...] = ()


class Mount:
    """One mount.

    :ivar base: the path in its file system that its root shows.
    :ivar set: MOUNT_ATTR_* that the plan sets on it, :ivar clear: and clears; ``set_below`` and
        ``clear_below`` for the host's mounts below it that were taken too (``recursive``).
    :ivar setters: flag to the step that set it.
    :ivar children: path below its root to the mount on it.
    :ivar step: the step that made it; :ivar attached: the one that put it in place.
    :ivar hides: it is a cover over something that is not to be seen.
    """

    __slots__ = (
        "attached", "base", "children", "clear", "clear_below", "files", "hides", "mapped",
        "recursive", "set", "set_below", "setters", "step",
    )  # fmt: skip

    def __init__(self, files: Files, step: int, base: str = "") -> None:
        self.files = files
        self.base = base
        self.step = self.attached = step
        self.set = self.clear = self.set_below = self.clear_below = 0
        self.setters: dict[int, int] = {}
        self.children: dict[str, Mount] = {}
        self.mapped = self.recursive = self.hides = False

    def copy(self, path: str, step: int, recursive: bool) -> Mount:
        """What open_tree(2) clones at a path below its root."""
        copy = Mount(self.files, step, join(self.base, path))
        for name in ("set", "clear", "set_below", "clear_below", "mapped"):
            setattr(copy, name, getattr(self, name))
        copy.setters = dict(self.setters)
        copy.recursive = self.recursive and recursive
        if recursive:
            for at, child in self.children.items():
                if at != path and (not path or at.startswith(path + "/")):
                    copy.children[at[len(path) :].lstrip("/")] = child.copy("", step, True)
        return copy

    def change(self, op: ops.MountAttributes, step: int) -> None:
        """mount_setattr(2)."""
        self.set = self.set & ~op.clear | op.set
        self.clear = self.clear & ~op.set | op.clear
        self.mapped = self.mapped or bool(op.set & constants.MOUNT_ATTR_IDMAP)
        for flag in constants.MOUNT_ATTRIBUTES.values():
            if op.set & flag == flag:
                self.setters[flag] = step
        if op.recursive:
            self.set_below = self.set_below & ~op.clear | op.set
            self.clear_below = self.clear_below & ~op.set | op.clear
            for child in self.children.values():
                child.change(op, step)

    def flags(self, entry: Entry) -> int:
        """The flags that hold for a file on it."""
        if entry.below:
            return entry.flags & ~self.clear_below | self.set_below
        return entry.flags & ~self.clear | self.set


Place = tuple[Mount, str]


class Walked:
    """Where a path leads.

    :ivar end: found, missing, hidden, unknown, loop (too many links, or none are followed), or
        what ``search`` refused with.
    :ivar way: the directories from the root to it, and itself.
    :ivar place: the last of them, as the mount and the path below its root: the file, or the last
        directory that is there; ``entry`` is what is there.
    :ivar rest: names that follow it, and are missing or not known.
    :ivar guessed: it went over a directory of which nothing is known to a mount below it.
    """

    __slots__ = ("end", "entry", "guessed", "place", "refusal", "rest", "way")

    def __init__(
        self, end: str, way: tuple[Place, ...], entry: Entry, rest: tuple[str, ...] = ()
    ) -> None:
        self.end = end
        self.way = way
        self.place = way[-1]
        self.entry = entry
        self.rest = rest
        self.guessed = False
        self.refusal: Answer | None = None


def join(base: str, name: str) -> str:
    """Two relative paths as one; either may be empty."""
    return f"{base}/{name}" if base and name else base or name


def top(mount: Mount, path: str) -> Place:
    """What is seen at a path: the mount that was put on it last, if any was."""
    while path in mount.children:
        mount, path = mount.children[path], ""
    return mount, path
