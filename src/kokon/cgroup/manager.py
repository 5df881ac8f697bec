"""The control groups of one container on any machine, behind one class."""

from __future__ import annotations

import os
from errno import EEXIST

from kokon.cgroup import tables
from kokon.cgroup.group import Group
from kokon.cgroup.usage import UNIFIED, Hit, Usage, hits, usage
from kokon.errors import HostError, KokonError, SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from kokon.cgroup.write import Write
    from kokon.kernel.cgroups import CgroupLayout, Hierarchy
    from kokon.spec.resources import Resources

PREFIX = "kokon-"
"""How the names of our groups begin; the container's id follows."""

CONTAINER = "container"
"""The name of the container's group below a scope of systemd."""


class Placement:
    """Where a container's first process belongs; it holds descriptors until :meth:`close`.

    :ivar tasks_fds: version 1: open ``tasks`` files; the process writes ``0`` to each.
    :ivar directory_fd: version 2: the group's directory for CLONE_INTO_CGROUP, or None.
    :ivar paths: controller, or ``unified``, to directory; what :meth:`Manager.reopen` takes.
    :ivar writes: what was written; their notes are for the person who asked.
    :ivar admit: instead of descriptors, systemd moves stage 1 there first: called with its pid.
    """

    __slots__ = ("admit", "directory_fd", "paths", "tasks_fds", "writes")

    def __init__(self, paths: dict[str, str], writes: Sequence[Write]) -> None:
        self.paths = paths
        self.writes = tuple(writes)
        self.tasks_fds: list[int] = []
        self.directory_fd: int | None = None
        self.admit: Callable[[int], None] | None = None

    @property
    def descriptors(self) -> list[int]:
        """Of the directory and of the ``tasks`` files, in the order of a plan's slots."""
        first = [] if self.directory_fd is None else [self.directory_fd]
        return [*first, *self.tasks_fds]

    @property
    def tasks(self) -> tuple[str, ...]:
        """A controller for each of ``tasks_fds``: those mounted together have one group."""
        seen: dict[str, str] = {}
        for key, path in self.paths.items():
            if key != UNIFIED:
                seen.setdefault(path, key)
        return tuple(seen.values())

    @property
    def notes(self) -> tuple[str, ...]:
        """What was taken in another sense than it was said."""
        return tuple(write.note for write in self.writes if write.note)

    def close(self) -> None:
        """Close the descriptors; may be called twice."""
        while self.tasks_fds:
            os.close(self.tasks_fds.pop())
        if self.directory_fd is not None:
            os.close(self.directory_fd)
            self.directory_fd = None


class Manager:
    """The groups of one container.

    :meth:`create` makes them, only in the hierarchies that are asked for, below our own group in
    each.  Every other method works on what was made, or on what :meth:`reopen` was told.
    """

    __slots__ = ("above", "groups", "layout", "name", "note", "parent", "systemd", "uid")

    def __init__(
        self,
        layout: CgroupLayout,
        name: str,
        parent: tuple[str, ...] | None,
        systemd: bool | None,
        uid: int,
        note: Callable[[str], None] | None = None,
    ) -> None:
        self.layout = layout
        self.name = name
        self.parent = parent
        self.systemd = systemd
        self.uid = uid
        self.note = note
        self.groups: dict[str, Group] = {}
        self.above: Mapping[str, Group] | None = None

    @classmethod
    def for_host(
        cls,
        layout: CgroupLayout,
        *,
        name: str,
        parent: str | None = None,
        systemd: bool | None = None,
        uid: int | None = None,
        note: Callable[[str], None] | None = None,
    ) -> Manager:
        """A manager for a container that has no groups yet.

        :param name: the group's name, ``kokon-ID`` for containers of ours.
        :param parent: a path from the top of each hierarchy (OCI ``cgroupsPath``), else the groups
            lie below (v2: beside) our own.
        :param systemd: whether a scope of systemd is wanted; None where nothing else is possible.
        :param uid: whose manager of systemd, our own by default.
        :param note: called with what ``leftovers.remove_left`` will want to know, before it is
            made.
        :raises SpecError: a name that is no plain component, or a parent with ``..``.
        """
        if "/" in name:
            raise SpecError(f"{name[:80]!r} is no name of one control group")
        tables.group_path(name)
        above = None if parent is None else (tables.group_path(parent) if parent != "/" else ())
        return cls(layout, name, above, systemd, os.geteuid() if uid is None else uid, note)

    @classmethod
    def reopen(cls, layout: CgroupLayout, paths: Mapping[str, str]) -> Manager:
        """A manager for groups that exist, from :attr:`Placement.paths`."""
        from kokon.cgroup.v1 import GroupV1
        from kokon.cgroup.v2 import GroupV2

        manager = cls(layout, "", None, False, os.geteuid())
        for key, path in paths.items():
            manager.groups[key] = GroupV2(path) if key == UNIFIED else GroupV1(path)
        return manager

    def below(self, name: str) -> Manager:
        """A manager for groups below these, one in each hierarchy; theirs limit it too."""
        manager = Manager(self.layout, name, None, False, self.uid, self.note)
        manager.above = dict(self.groups)
        return manager

    def admit(self, pid: int) -> None:
        """Has systemd move a process to where it may be cloned into groups below these.

        :raises HostError: it refused.
        """
        from kokon.cgroup.systemd import attach

        attach(self.groups[UNIFIED].path.rpartition("/")[0], pid, self.uid)

    def needs_pid(self, resources: Resources) -> bool:
        """Whether :meth:`create` wants stage 1's pid, because systemd must place it first.

        :raises KokonError: as :func:`kokon.cgroup.tables.writes`.
        """
        tree = self.layout.unified
        if self.layout.mode != "v2" or tree is None or self.parent is not None:
            return False
        if self.systemd is not None:
            return self.systemd
        controllers = _on_v2(self.layout, tables.writes(resources, self.layout))
        if not controllers:
            return False
        from kokon.cgroup.bus import bus_path
        from kokon.cgroup.v2 import find_parent

        return find_parent(tree, controllers) is None and bus_path(self.uid) is not None

    def create(
        self,
        resources: Resources,
        *,
        account: tuple[str, ...] = (),
        asked: Mapping[str, str] | None = None,
        pid: int | None = None,
    ) -> Placement:
        """Make the groups and set the limits.

        :param account: what is wanted without a limit, where the machine has it: keys of
            :data:`kokon.cgroup.tables.ACCOUNTS`.
        :param asked: JSON pointer to option, for errors.
        :param pid: stage 1, see :meth:`needs_pid`; it must live until the usage has been read.
        :raises RequestError: a value that no kernel takes.
        :raises HostError: a limit that cannot be set.  Whatever is raised, nothing is left.
        """
        if self.systemd and self.layout.mode == "v2" and pid is None:
            raise ValueError("a scope of systemd needs a process: see needs_pid")
        writes = tables.writes(resources, self.layout, asked)
        wished = tables.accounting(account, self.layout)
        try:
            if self.above is not None:
                self._make_below(self.above)
            else:
                self._make_v1(writes, wished)
                self._make_v2(writes, wished, pid)
            self._apply(writes)
            return self._placement(writes)
        except BaseException:
            for group in self.groups.values():
                group.undo()
            self.groups.clear()
            raise

    def update(
        self, resources: Resources, *, asked: Mapping[str, str] | None = None
    ) -> tuple[Write, ...]:
        """Set limits of groups that exist; what was written.

        :raises HostError: a limit cannot be set, or the container has no group for it.
        """
        writes = tables.writes(resources, self.layout, asked)
        memory, unified = resources.memory, self.groups.get(UNIFIED)
        if memory is not None and memory.check_before_update and memory.limit and unified:
            used = unified.number("memory.current") or 0
            if 0 < memory.limit <= used:
                raise HostError(
                    f"the container uses {used} bytes now, so {memory.limit} would kill it",
                    where="/linux/resources/memory/limit",
                    remedy="give more, or leave checkBeforeUpdate out",
                )
        self._apply(writes)
        return writes

    def placement(self) -> Placement:
        """What one more process needs to get in.

        :raises KokonError: a group cannot be opened.
        """
        return self._placement(())

    def usage(self) -> Usage:
        """What was used so far; also after the last process has gone, until :meth:`remove`."""
        return usage(self.groups, self.groups.get(UNIFIED))

    def limits_hit(self, used: Usage | None = None) -> tuple[Hit, ...]:
        """The limits that were met so far.

        :param used: what :meth:`usage` has just told, to save reading it again.
        """
        return hits(self.groups, used or self.usage(), self.above)

    def processes(self) -> list[int]:
        """The processes of the container, as our /proc names them; 0 is one that it cannot."""
        group = self.groups.get(UNIFIED) or next(iter(self.groups.values()), None)
        return [] if group is None else group.processes()

    def kill(self) -> None:
        """SIGKILL every process; returns when none is left.  Without groups nothing is done.

        :raises RetryError: some do not die.
        """
        # The version 2 group first: it needs no rounds.
        for group in sorted(self._distinct(), key=lambda group: -group.version):
            group.kill()

    def freeze(self) -> None:
        """Stop every process.

        :raises HostError: the groups were made without ``account=("freeze",)``.
        :raises RetryError: some do not stop.
        """
        self._freezer().freeze()

    def thaw(self) -> None:
        """Let the processes run again.

        :raises HostError: the groups were made without ``account=("freeze",)``.
        """
        self._freezer().thaw()

    def remove(self) -> None:
        """Remove the groups; left-over processes are killed.  May be called twice.

        :raises RetryError: the kernel still holds one; the others are gone.
        """
        failed: KokonError | None = None
        for group in self._distinct():
            try:
                group.remove()
            except KokonError as error:
                failed = failed or error
        if failed is not None:
            raise failed

    def _make_below(self, above: Mapping[str, Group]) -> None:
        from kokon.cgroup import v1, v2

        made: dict[str, Group] = {}
        for key, group in above.items():
            base = group.path
            if base not in made:
                if key == UNIFIED:
                    given = tuple((group.read("cgroup.controllers") or "").split())
                    made[base] = v2.place_in(base, (), self.name, given, note=self.note)
                else:
                    tree = self.layout.of(key)
                    cpuset = tree is not None and "cpuset" in tree.controllers
                    made[base] = v1.place_in(base, (), self.name, "", cpuset, self.note)
            self.groups[key] = made[base]

    def _make_v1(self, writes: Sequence[Write], wished: Sequence[str]) -> None:
        """One group in each version 1 hierarchy that is asked for."""
        from kokon.cgroup.v1 import place

        made: dict[str, Group] = {}
        whys = {write.controller: write.why for write in reversed(writes)}
        for controller in dict.fromkeys([*(write.controller for write in writes), *wished]):
            tree = self.layout.of(controller)
            if tree is None or tree.version != 1:
                continue
            # Controllers that are mounted together share the group.
            if tree.mount_point not in made:
                try:
                    why = whys.get(controller, "")
                    group = place(tree, self.name, self.parent, why, self.note)
                except HostError as error:
                    # In a group that is somebody else's it would not be, nor outside of it.
                    if controller in whys or error.errno == EEXIST:
                        raise
                    continue
                made[tree.mount_point] = group
            self.groups[controller] = made[tree.mount_point]

    def _make_v2(self, writes: Sequence[Write], wished: Sequence[str], pid: int | None) -> None:
        """The version 2 group: with all that is wished, else with what the limits need."""
        tree = self.layout.unified
        if tree is None:
            return
        needed = _on_v2(self.layout, writes)
        all_of_it = tuple(
            dict.fromkeys([*needed, *(word for word in wished if word in tree.controllers)])
        )
        asked = any(self._key(write.controller) == UNIFIED for write in writes)
        if not asked and not all_of_it and "cgroup" not in wished and pid is None:
            return
        why = next((write.why for write in writes if write.controller in needed), "")
        if pid is not None:
            self.groups[UNIFIED] = self._in_scope(tree, needed, all_of_it, pid, why)
            return
        from kokon.cgroup.v2 import at_hand, place

        try:
            self.groups[UNIFIED] = place(tree, self.name, all_of_it, self.parent, why, self.note)
        except HostError as error:
            if error.errno == EEXIST:
                raise
            if needed == all_of_it:
                if asked:
                    raise
                return
            some = needed if self.parent is not None else at_hand(tree, needed, all_of_it)
            try:
                self.groups[UNIFIED] = place(tree, self.name, some, self.parent, why, self.note)
            except HostError:
                if asked:
                    raise

    def _in_scope(
        self,
        tree: Hierarchy,
        needed: tuple[str, ...],
        all_of_it: tuple[str, ...],
        pid: int,
        why: str,
    ) -> Group:
        from kokon.cgroup.systemd import open_scope
        from kokon.cgroup.v2 import place_in
        from kokon.kernel.cgroups import available

        scope = open_scope(self.name, pid, tree.mount_point, self.uid)
        given = available(scope).split()
        controllers = [word for word in all_of_it if word in given or word in needed]
        if self.note is not None:
            self.note(scope.rpartition("/")[0])
        return place_in(scope, (), CONTAINER, tuple(controllers), why)

    def _apply(self, writes: Sequence[Write]) -> None:
        by_key: dict[str, list[Write]] = {}
        for write in writes:
            by_key.setdefault(self._key(write.controller), []).append(write)
        for key, some in by_key.items():
            if key not in self.groups:
                raise HostError(
                    f"the container has no {key} group",
                    where=some[0].why,
                    remedy="make it anew with this limit",
                )
            self.groups[key].apply(some)

    def _placement(self, writes: Sequence[Write]) -> Placement:
        placement = Placement({key: group.path for key, group in self.groups.items()}, writes)
        try:
            for group in self._distinct():
                if group.version == 2:
                    placement.directory_fd = group.descriptor()
                else:
                    placement.tasks_fds.append(group.descriptor())
        except BaseException:
            placement.close()
            raise
        return placement

    def _key(self, controller: str) -> str:
        """The key in ``groups`` of a controller's group."""
        tree = self.layout.of(controller)
        return controller if tree is not None and tree.version == 1 else UNIFIED

    def _freezer(self) -> Group:
        group = self.groups.get(UNIFIED) or self.groups.get("freezer")
        if group is None:
            raise HostError("the container has no group that can be frozen")
        return group

    def _distinct(self) -> list[Group]:
        return list({group.path: group for group in self.groups.values()}.values())


def _on_v2(layout: CgroupLayout, writes: Sequence[Write]) -> tuple[str, ...]:
    """The controllers of version 2 that the writes need."""
    tree = layout.unified
    controllers = tree.controllers if tree is not None else ()
    return tuple(
        dict.fromkeys(write.controller for write in writes if write.controller in controllers)
    )
