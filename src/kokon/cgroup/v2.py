"""A group in the tree of cgroup v2.

A process is cloned into it (clone3 with CLONE_INTO_CGROUP and the directory's descriptor).

Where a group may be made is the question of v2: a group that holds processes cannot give
controllers to groups below it, and an ordinary user may move processes only below a group whose
``cgroup.procs`` is the user's (cgroups(7), "no internal processes" and "delegation").  So we look
from our own group upwards for the nearest that can be the parent: beside us, mostly, under
everything that limits the groups above.

Our groups lie in a group ``kokon`` there.  Whoever else manages the parent (systemd does) may turn
a controller off for its children at any time, and our limits would silently be gone; the kernel
refuses that while a child hands the controller on.
"""

from __future__ import annotations

import os
from errno import EBUSY, ENODEV, ENOENT
from time import monotonic, sleep

from kokon.cgroup.group import (
    DELEGATION,
    PATIENCE,
    Group,
    make,
    read_file,
    refused,
    write_file,
)
from kokon.errors import HostError, RetryError
from kokon.spec.resources import index_ranges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kokon.cgroup.write import Write
    from kokon.kernel.cgroups import Hierarchy

GUARD = "kokon"
"""The group between a parent and our groups."""


class GroupV2(Group):
    """A group of the version 2 tree."""

    __slots__ = ()

    version = 2

    def apply_one(self, write: Write) -> None:
        """As :meth:`Group.apply_one`; v2 takes CPUs that are not there and ignores them."""
        super().apply_one(write)
        if write.file in ("cpuset.cpus", "cpuset.mems"):
            effective = (self.read(write.file + ".effective") or "").strip()
            if not _covers(effective, write.value):
                raise HostError(
                    f"{write.file} {write.value} is not all there: this group can have {effective}",
                    where=write.why,
                    remedy=f"name some of {effective}",
                )

    def descriptor(self) -> int:
        """A descriptor of the directory, for CLONE_INTO_CGROUP."""
        return os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def kill(self) -> None:
        """As :meth:`Group.kill`, by ``cgroup.kill`` (5.14), which no fork can outrun."""
        try:
            write_file(self.path + "/cgroup.kill", "1")
        except FileNotFoundError:
            return
        deadline = monotonic() + PATIENCE
        pause = 0.0005
        while self.keyed("cgroup.events").get("populated"):
            if monotonic() > deadline:
                raise RetryError(f"the processes in {self.path} do not die")
            sleep(pause)
            pause = min(pause * 2, 0.02)

    def remove(self) -> None:
        """As :meth:`Group.remove`, and the guard when no group is left in it."""
        super().remove()
        parent = self.path.rpartition("/")[0]
        if parent.endswith("/" + GUARD):
            try:
                os.rmdir(parent)
            except OSError:
                pass

    def freeze(self) -> None:
        """As :meth:`Group.freeze`."""
        write_file(self.path + "/cgroup.freeze", "1")
        deadline = monotonic() + PATIENCE
        while not self.keyed("cgroup.events").get("frozen"):
            if monotonic() > deadline:
                self.thaw()
                raise RetryError(f"the processes in {self.path} do not freeze")
            sleep(0.002)

    def thaw(self) -> None:
        """As :meth:`Group.thaw`; one that is gone, as a scope after its last process, is thawed."""
        try:
            write_file(self.path + "/cgroup.freeze", "0")
        except FileNotFoundError:
            pass


def place(
    hierarchy: Hierarchy,
    name: str,
    controllers: tuple[str, ...],
    parent: tuple[str, ...] | None = None,
    why: str = "",
    note: Callable[[str], None] | None = None,
) -> GroupV2:
    """Make a group that has ``controllers``, where the module's text says, or below ``parent``.

    :param note: as of :func:`kokon.cgroup.group.make`.
    :raises HostError: no group can be its parent; nothing is left.
    """
    if parent is not None:
        base: str | None = hierarchy.mount_point
        above = parent
    else:
        base = find_parent(hierarchy, controllers)
        above = (GUARD,) if controllers else ()
    if base is None:
        raise _no_parent(hierarchy, controllers, why)
    return place_in(base, above, name, controllers, why, note)


def place_in(
    base: str,
    above: tuple[str, ...],
    name: str,
    controllers: tuple[str, ...],
    why: str = "",
    note: Callable[[str], None] | None = None,
) -> GroupV2:
    """Make ``name`` below ``base`` and ``above``, handing ``controllers`` down at every level.

    :raises HostError: refused; nothing is left.
    """
    group = GroupV2(base)
    for _ in range(5):
        group.path = base
        group.log.clear()
        try:
            for at, part in enumerate((*above, name)):
                if enabled := enable(group.path, controllers, why):
                    group.log.append((f"{group.path}/cgroup.subtree_control", enabled, False))
                group.path += "/" + part
                may_exist = at < len(above)
                if make(group.path, why, may_exist=may_exist, note=note):
                    group.made.append(group.path)
                group.log.append((group.path, None, may_exist))
            return group
        except (OSError, HostError) as error:
            group.undo()
            # Another kokon removes the guard when its last group goes, perhaps right now.
            if error.errno not in (ENOENT, ENODEV):
                raise
        except BaseException:
            group.undo()
            raise
    raise RetryError(f"the control group {group.path} vanishes", remedy="try again")


def find_parent(hierarchy: Hierarchy, controllers: tuple[str, ...]) -> str | None:
    """The directory of the nearest group that can be the parent of one with ``controllers``."""
    for directory in upwards(hierarchy):
        if not writable(directory):
            continue
        try:
            missing = _missing(directory, controllers)
            if missing and not set(missing) <= set(_words(directory, "cgroup.controllers")):
                continue
            if missing and not is_root(directory) and read_file(directory + "/cgroup.procs"):
                continue
            if not is_root(directory) and _words(directory, "cgroup.type") != ["domain"]:
                continue
        except OSError:
            continue
        return directory
    return None


def at_hand(
    hierarchy: Hierarchy, needed: tuple[str, ...], wished: tuple[str, ...]
) -> tuple[str, ...]:
    """What of ``wished`` there is where a group with ``needed`` can be made: a user's systemd was
    given some of the machine's controllers, never all."""
    parent = find_parent(hierarchy, needed)
    if parent is None:
        return needed
    given = _words(parent, "cgroup.controllers")
    some = tuple(word for word in wished if word in given or word in needed)
    return needed if find_parent(hierarchy, some) is None else some


def upwards(hierarchy: Hierarchy) -> Iterator[str]:
    """The directory of our own group and of each above it, to the mount point."""
    directory = hierarchy.directory()
    while directory is not None:
        yield directory
        if directory == hierarchy.mount_point:
            return
        directory = directory.rpartition("/")[0]


def writable(directory: str) -> bool:
    """Whether we may make groups here and move processes of our own group into them."""
    return os.access(directory, os.W_OK, effective_ids=True) and os.access(
        directory + "/cgroup.procs", os.W_OK, effective_ids=True
    )


def is_root(directory: str) -> bool:
    """Whether it is the root group, which alone has processes and children with controllers."""
    try:
        os.stat(directory + "/cgroup.type")
    except FileNotFoundError:
        return True
    return False


def enable(directory: str, controllers: tuple[str, ...], why: str = "") -> str:
    """Give controllers to the groups below.

    :returns: what was written for that, "" when they have them.
    :raises HostError: refused.
    """
    missing = _missing(directory, controllers)
    if not missing:
        return ""
    value = " ".join("+" + controller for controller in missing)
    try:
        write_file(directory + "/cgroup.subtree_control", value)
    except FileNotFoundError:
        # Also the kernel's word for a controller that this group does not have.
        if not set(missing) <= set(_words(directory, "cgroup.controllers")):
            raise lacks(directory, missing, why) from None
        raise
    except OSError as error:
        if error.errno == EBUSY:
            raise _holds_processes(directory, why) from error
        raise refused(directory, "cgroup.subtree_control", value, why, error) from error
    return value


def _missing(directory: str, controllers: tuple[str, ...]) -> list[str]:
    if not controllers:
        return []
    present = _words(directory, "cgroup.subtree_control")
    return [controller for controller in controllers if controller not in present]


def _words(directory: str, file: str) -> list[str]:
    return read_file(f"{directory}/{file}").split()


def _no_parent(hierarchy: Hierarchy, controllers: tuple[str, ...], why: str) -> HostError:
    """Why no group can be the parent, from the nearest that we may write."""
    if hierarchy.directory() is None:
        return HostError(
            f"no mount shows our own control group {hierarchy.own}",
            where=why,
            remedy="mount cgroup2 in this cgroup namespace",
        )
    ours = [directory for directory in upwards(hierarchy) if writable(directory)]
    if not ours:
        return HostError(
            f"limits need a control group, and {hierarchy.directory()} is not ours to divide",
            where=why,
            remedy=DELEGATION,
        )
    top = ours[-1]
    try:
        missing = [word for word in controllers if word not in _words(top, "cgroup.controllers")]
    except OSError:
        missing = []
    return lacks(top, missing, why) if missing else _holds_processes(top, why)


def lacks(directory: str, controllers: list[str], why: str) -> HostError:
    """The error for controllers that a group does not have."""
    return HostError(
        f"the control group {directory} was not given the controllers {' '.join(controllers)}",
        where=why,
        remedy="delegate them (`systemctl edit user@.service`, [Service],"
        " Delegate=cpu cpuset io memory pids, then log in again), or leave the limit out",
    )


def _holds_processes(directory: str, why: str) -> HostError:
    return HostError(
        f"the control group {directory} holds processes, so it cannot limit groups below it",
        where=why,
        errno=EBUSY,
        remedy=f"move them into a group of their own first (mkdir {directory}/init, and write"
        " each process to its cgroup.procs)",
    )


def _covers(available: str, asked: str) -> bool:
    """Whether every index of one list is in the other."""
    try:
        have, want = index_ranges(available), index_ranges(asked)
    except ValueError:
        return False
    return all(any(low <= first and last <= high for low, high in have) for first, last in want)
