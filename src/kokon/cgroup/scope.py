"""A container that is a scope of systemd by itself: the OCI runtime's ``--systemd-cgroup``.

Its first process is in the scope's own group, as with runC: engines read usage and limits where
/proc/PID/cgroup says, containerd makes its statistics of that group, Podman and the kubelet of the
one that they name themselves.  (crun has a group ``container`` below, so that nobody but itself
writes the limits; we tell each to systemd as well, see ``unit.py``.)

Stage 1 is what the scope is made with.  Stage 2 is cloned when it is there and limited, and so is
in it from its first moment; no group has to be entered, which from a login session nobody may.
The scope ends by itself when its last process does.
"""

from __future__ import annotations

import os
from errno import EEXIST

from kokon.cgroup import tables, unit
from kokon.cgroup.bus import speak
from kokon.cgroup.manager import Manager, Placement
from kokon.cgroup.systemd import attach, group_of
from kokon.cgroup.usage import UNIFIED
from kokon.cgroup.v2 import GroupV2, lacks
from kokon.errors import HostError, KokonError, OutcomeUnknown
from kokon.kernel.cgroups import available

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from kokon.cgroup.bus import Bus
    from kokon.cgroup.group import Group
    from kokon.cgroup.write import Write
    from kokon.kernel.cgroups import CgroupLayout
    from kokon.spec.resources import Resources

OPTION = "--systemd-cgroup"
CGROUPFS = "leave it out: have the engine use cgroupfs"
LINGER = f"log in as that user (or `loginctl enable-linger`), or {CGROUPFS}"


class Scope(Manager):
    """The manager of such a container; ``name`` is the scope's, ``uid`` whose systemd has it."""

    __slots__ = ("made", "slice_name", "writes")

    made: bool  # systemd may have made it, for us: before, nothing of that name is ours to end
    slice_name: str
    writes: tuple[Write, ...]

    @classmethod
    def named(cls, layout: CgroupLayout, path: str, identity: str, uid: int) -> Scope:
        """The scope of a ``cgroupsPath``, which is not there yet.

        :param uid: whose systemd, as the machine numbers users: 0 is the system's.
        :raises SpecError: the path names none.
        :raises HostError: there is no systemd, or it has one of that name.
        """
        tree = layout.unified
        if layout.mode != "v2" or tree is None:
            raise HostError(
                "control groups of systemd need version 2 of control groups alone", where=OPTION,
                remedy=CGROUPFS,
            )  # fmt: skip
        default = "user.slice" if uid else "system.slice"
        slice_name, name = unit.scope_name(path, identity, default)
        below = unit.scope_path(slice_name, name)
        scope = cls(layout, name, None, True, uid)
        scope.made = False
        scope.slice_name = slice_name
        directory = tree.directory(scope.speak(_manager_group) + below)
        if directory is None:
            raise HostError(
                f"no mount shows the control group of {name}", where=OPTION, remedy=CGROUPFS
            )
        if os.path.isdir(directory):
            raise HostError(
                f"systemd has a unit {name} already", where=unit.WHERE, errno=EEXIST,
                remedy="choose another name, or delete the container that has it",
            )  # fmt: skip
        scope.groups[UNIFIED] = GroupV2(directory)
        return scope

    @classmethod
    def reopened(cls, layout: CgroupLayout, paths: Mapping[str, str], uid: int) -> Scope:
        """The scope of a container that is there, from :attr:`Placement.paths`."""
        directory = paths[UNIFIED]
        scope = cls(layout, os.path.basename(directory), None, True, uid)
        scope.made = True
        scope.groups[UNIFIED] = GroupV2(directory)
        return scope

    def place(self, resources: Resources, then: Callable[[], None]) -> Placement:
        """How the first process gets in: ``admit`` makes the scope with it.

        :param then: called when it is made, before anything is cloned there.
        :raises KokonError: a limit that is not possible.
        """
        self.writes = tables.writes(resources, self.layout)

        def admit(pid: int) -> None:
            self.open(pid)
            then()

        placement = Placement({key: group.path for key, group in self.groups.items()}, self.writes)
        placement.admit = admit
        return placement

    def open(self, pid: int) -> None:
        """Makes it, with a process in it and its limits set."""
        values = {
            "Description": f"kokon container {self.name}",
            "Slice": self.slice_name,
            "PIDs": [pid],
            "Delegate": True,
            # Nothing of the machine's start or end is waited for, nor ends it.
            "DefaultDependencies": False,
            "CollectMode": "inactive-or-failed",
        }
        sure = [write for write in self.writes if not write.alternatives]
        values.update(unit.limits(sure))

        def start(bus: Bus) -> None:
            if bus.our_pid() != os.getpid():
                raise HostError(
                    "systemd numbers processes otherwise than we do", where=OPTION,
                    remedy="run it in the machine's pid namespace",
                )  # fmt: skip
            self.made = True
            try:
                bus.start(self.name, unit.typed(values))
            except HostError:
                self.made = False
                raise

        self.speak(start)
        found = group_of(pid, self.name)
        if self._directory(found) != self._group.path:
            raise OutcomeUnknown(f"systemd made {self.name}, but process {pid} is in {found}")
        self._check(self.writes)
        self._tell([write for write in self.writes if write.alternatives])
        super()._apply(self.writes)

    def join(self, pid: int, below: str = "") -> None:
        """Has systemd move a process into the scope, or into a group below it."""
        attach(self._group.path, pid, self.uid, below)

    def remove(self) -> None:
        """As :meth:`Manager.remove`; when it returns the unit is gone, and its name is free."""
        if not self.made:
            return
        self.kill()

        def stop(bus: Bus) -> None:
            # A unit of that name in another slice is not ours.
            if self._directory(bus.group_of(self.name)) == self._group.path:
                bus.stop(self.name)

        try:
            self.speak(stop)
        except KokonError:
            pass  # it has nothing left, so it ends by itself; whoever removed jeepney may delete
        super().remove()

    def speak(self, work: Callable[[Bus], Any]) -> Any:
        """What ``work`` returns of the scope's systemd.

        :raises KokonError: as :func:`kokon.cgroup.bus.speak`.
        """
        try:
            return speak(self.uid, self.name, work, LINGER if self.uid else CGROUPFS)
        except KokonError as error:
            error.where = error.where or OPTION
            raise

    def _apply(self, writes: Sequence[Write]) -> None:
        """Files first, for the kernel's word; again when systemd has written its roundings."""
        self._check(writes)
        super()._apply(writes)
        if self._tell(writes):
            super()._apply(writes)

    def _check(self, writes: Sequence[Write]) -> None:
        given = ("cgroup", *available(self._group.path).split())
        for write in writes:
            if write.controller not in given and not write.may_lack:
                raise lacks(self._group.path, [write.controller], write.why)

    def _tell(self, writes: Sequence[Write]) -> bool:
        """Tells systemd of limits, for as long as the scope lives; whether any was its business."""
        path = self._group.path
        made = unit.known(writes, lambda file: os.path.exists(f"{path}/{file}"))
        values = unit.typed(unit.limits(made))
        if not values:
            return False

        def tell(bus: Bus) -> None:
            bus.call("SetUnitProperties", "sba(sv)", (self.name, True, values))
            # It writes the files before it answers once more.
            bus.property("ControlGroup")

        self.speak(tell)
        return True

    def _directory(self, group: str) -> str | None:
        tree = self.layout.unified
        return None if tree is None else tree.directory(group)

    @property
    def _group(self) -> Group:
        return self.groups[UNIFIED]


def _manager_group(bus: Bus) -> str:
    """The group of the manager itself; the system's is the root, which it calls nothing."""
    return str(bus.property("ControlGroup"))
