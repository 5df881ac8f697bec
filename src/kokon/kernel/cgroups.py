"""Which control group hierarchies this machine has, and where we are in each.

Decided from ``/proc/self/mountinfo`` and ``/proc/self/cgroup`` only: directories below
``/sys/fs/cgroup`` can carry a controller's name and be nothing but directories (cgroups(7)).
"""

from __future__ import annotations

import os

from kokon.kernel import mountinfo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any


class Hierarchy:
    """One mounted tree of control groups.

    :ivar version: 1 or 2.
    :ivar controllers: its controllers; on version 2 those its topmost visible group may use.
    :ivar mount_point: where it is mounted.
    :ivar root: the group that is seen at the mount point (field 4 of mountinfo).
    :ivar own: the group of this process (``/proc/self/cgroup``).
    """

    __slots__ = ("controllers", "mount_point", "own", "root", "version")

    def __init__(
        self, version: int, controllers: Sequence[str], mount_point: str, root: str, own: str
    ) -> None:
        self.version = version
        self.controllers = tuple(controllers)
        self.mount_point = mount_point
        self.root = root
        self.own = own

    def __repr__(self) -> str:
        return f"<Hierarchy v{self.version} {','.join(self.controllers)} on {self.mount_point}>"

    def directory(self, group: str | None = None) -> str | None:
        """The directory of a group (ours by default), or None when the mount does not show it."""
        group = self.own if group is None else group
        # Outside our cgroup namespace a path begins with "/..": no mount of ours shows that.
        if not _is_below(group, self.root) or ".." in group.split("/"):
            return None
        below = group if self.root == "/" else group[len(self.root) :]
        return (self.mount_point.rstrip("/") + below).rstrip("/") or "/"


class CgroupLayout:
    """All hierarchies of a machine.

    :ivar mode: ``v1``, ``v2``, ``hybrid`` (version 1 controllers beside a version 2 tree) or
        ``none``.
    :ivar hierarchies: the mounted trees, one each.
    """

    __slots__ = ("hierarchies", "mode")

    def __init__(self, mode: str, hierarchies: Sequence[Hierarchy]) -> None:
        self.mode = mode
        self.hierarchies = tuple(hierarchies)

    def __repr__(self) -> str:
        return f"<CgroupLayout {self.mode} {list(self.hierarchies)}>"

    def of(self, controller: str) -> Hierarchy | None:
        """The hierarchy that has a controller, or None."""
        for hierarchy in self.hierarchies:
            if controller in hierarchy.controllers:
                return hierarchy
        return None

    def showing(self, directory: str) -> Hierarchy | None:
        """The hierarchy whose mount point is a directory or above it, or None."""
        if os.path.normpath(directory) != directory:
            return None
        for hierarchy in self.hierarchies:
            if f"{directory}/".startswith(f"{hierarchy.mount_point}/"):
                return hierarchy
        return None

    @property
    def unified(self) -> Hierarchy | None:
        """The version 2 tree, with or without controllers, or None."""
        for hierarchy in self.hierarchies:
            if hierarchy.version == 2:
                return hierarchy
        return None

    def moved(self, cgroup_text: str) -> CgroupLayout:
        """The same machine seen from the groups of ``cgroup_text``: facts outlive a process."""
        groups = _own_groups(cgroup_text)
        return CgroupLayout(
            self.mode,
            [
                Hierarchy(
                    tree.version,
                    tree.controllers,
                    tree.mount_point,
                    tree.root,
                    groups.get("" if tree.version == 2 else tree.controllers[0], tree.own),
                )
                for tree in self.hierarchies
            ],
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {
            "mode": self.mode,
            "hierarchies": [
                {
                    "version": tree.version,
                    "controllers": list(tree.controllers),
                    "mountPoint": tree.mount_point,
                    "root": tree.root,
                    "own": tree.own,
                }
                for tree in self.hierarchies
            ],
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> CgroupLayout:
        """What :meth:`to_dict` gave."""
        return cls(
            value["mode"],
            [
                Hierarchy(
                    tree["version"],
                    tree["controllers"],
                    tree["mountPoint"],
                    tree["root"],
                    tree["own"],
                )
                for tree in value["hierarchies"]
            ],
        )


def layout(mountinfo_text: str, cgroup_text: str, unified_controllers: str = "") -> CgroupLayout:
    """The layout that the two files of ``/proc/self`` describe (pure).

    :param mountinfo_text: ``/proc/self/mountinfo``.
    :param cgroup_text: ``/proc/self/cgroup``.
    :param unified_controllers: ``cgroup.controllers`` at the version 2 mount point.
    """
    groups = _own_groups(cgroup_text)
    found: dict[str, Hierarchy] = {}
    for mount in mountinfo.parse(mountinfo_text, only=("cgroup", "cgroup2")):
        if mount.filesystem == "cgroup2":
            key, version, controllers = "", 2, tuple(unified_controllers.split())
        else:
            named = [option for option in mount.super_options if option in groups]
            if not named:
                continue
            key, version, controllers = named[0], 1, tuple(named)
        if key not in groups:
            continue
        tree = Hierarchy(version, controllers, mount.mount_point, mount.root, groups[key])
        # The same tree may be mounted more than once: the view that shows most, and shows us.
        if key not in found or _rank(tree) < _rank(found[key]):
            found[key] = tree
    trees = list(found.values())
    real = any(tree.version == 1 and not tree.controllers[0].startswith("name=") for tree in trees)
    unified = any(tree.version == 2 for tree in trees)
    mode = ("hybrid" if unified else "v1") if real else ("v2" if unified else "none")
    return CgroupLayout(mode, trees)


def read() -> CgroupLayout:
    """The layout of this machine as this process sees it.

    :raises OSError: ``/proc`` is not there.
    """
    text, cgroup = _text("/proc/self/mountinfo"), _text("/proc/self/cgroup")
    first = layout(text, cgroup)
    if first.unified is None:
        return first
    return layout(text, cgroup, available(first.unified.mount_point))


def read_moved(saved: CgroupLayout) -> CgroupLayout:
    """A saved layout with the groups that this process is in now."""
    return saved.moved(_text("/proc/self/cgroup"))


def available(directory: str) -> str:
    """The controllers a version 2 group may use (``cgroup.controllers``); empty when unreadable."""
    try:
        return _text(directory + "/cgroup.controllers")
    except OSError:
        return ""


def _own_groups(cgroup_text: str) -> dict[str, str]:
    """Controller (or ``name=…``; empty for version 2) to the group that holds this process."""
    groups = {}
    for line in cgroup_text.split("\n"):
        _, colon, rest = line.partition(":")
        controllers, colon, group = rest.partition(":")
        if not colon:
            continue
        # A group that was removed under a living process is shown with this ending.
        group = group.removesuffix(" (deleted)")
        for controller in controllers.split(","):
            groups[controller] = group
    return groups


def _is_below(group: str, root: str) -> bool:
    return root == "/" or group == root or group.startswith(root + "/")


def _rank(tree: Hierarchy) -> tuple[bool, int]:
    return tree.directory() is None, len(tree.root)


def _text(path: str) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        chunks = []
        while chunk := os.read(fd, 65536):
            chunks.append(chunk)
    finally:
        os.close(fd)
    return os.fsdecode(b"".join(chunks))
