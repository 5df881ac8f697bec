"""A group in a hierarchy of cgroup v1.

A process attaches itself by writing ``0`` to an inherited descriptor of ``tasks``: a write to
``cgroup.procs`` waits for an RCU grace period, some 12 ms.
"""

from __future__ import annotations

import os
from errno import EINVAL, ESRCH
from time import monotonic, sleep

from kokon.cgroup.group import PATIENCE, Group, make, read_file, refused, write_file
from kokon.errors import HostError, RetryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from kokon.cgroup.write import Write
    from kokon.kernel.cgroups import Hierarchy

SIGKILL = 9

PERMISSION = (
    "run it as root, or with --limits best-effort: version 1 of control groups, which this"
    " machine uses, cannot be delegated"
)
"""What to do where an ordinary user may not make groups."""


class GroupV1(Group):
    """A group of one version 1 hierarchy."""

    __slots__ = ()

    version = 1

    def apply(self, writes: Iterable[Write]) -> None:
        """As :meth:`Group.apply`; memory and swap in the order that the present limits allow."""
        pending = list(writes)
        files = [write.file for write in pending]
        if "memory.limit_in_bytes" in files and "memory.memsw.limit_in_bytes" in files:
            low = files.index("memory.limit_in_bytes")
            both = files.index("memory.memsw.limit_in_bytes")
            present = self.number("memory.memsw.limit_in_bytes")
            wanted = int(pending[low].value)
            if present is not None and (wanted < 0 or wanted > present):
                pending[low], pending[both] = pending[both], pending[low]
        super().apply(pending)

    def descriptor(self) -> int:
        """A descriptor of ``tasks``, to be inherited by the process that attaches itself.

        :raises HostError: it cannot be opened.
        """
        try:
            return os.open(self.path + "/tasks", os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            raise refused(self.path, "tasks", "0", "", error) from error

    def kill(self) -> None:
        """As :meth:`Group.kill`: in rounds, because v1 cannot kill a group at once."""
        if self.read("freezer.state") not in (None, "THAWED\n"):
            # SIGKILL to a frozen task waits for the thaw.
            self.thaw()
        deadline = monotonic() + PATIENCE
        pause = 0.0005
        while pids := [pid for pid in self.processes() if pid]:
            held = _hold(pids)
            # Who is still listed after we hold it is what we hold, not a stranger with its pid.
            listed = set(self.processes())
            for pid, fd in held.items():
                if pid in listed:
                    _send(fd)
                os.close(fd)
            if monotonic() > deadline:
                raise RetryError(f"processes {pids[:5]} in {self.path} do not die")
            sleep(pause)
            pause = min(pause * 2, 0.02)

    def freeze(self) -> None:
        """As :meth:`Group.freeze`."""
        write_file(self.path + "/freezer.state", "FROZEN")
        deadline = monotonic() + PATIENCE
        while self.read("freezer.state") != "FROZEN\n":
            if monotonic() > deadline:
                self.thaw()
                raise RetryError(f"the processes in {self.path} do not freeze")
            sleep(0.002)

    def thaw(self) -> None:
        """As :meth:`Group.thaw`."""
        write_file(self.path + "/freezer.state", "THAWED")


def place(
    hierarchy: Hierarchy,
    name: str,
    parent: tuple[str, ...] | None,
    why: str = "",
    note: Callable[[str], None] | None = None,
) -> GroupV1:
    """Make a group below our own, or below ``parent`` from the top of the mount.

    :param note: as of :func:`kokon.cgroup.group.make`.
    :raises HostError: it cannot be made; nothing is left.
    """
    base = hierarchy.mount_point if parent is not None else hierarchy.directory()
    controllers = ",".join(hierarchy.controllers)
    if base is None:
        raise HostError(
            f"no mount shows our own group {hierarchy.own} of {controllers}",
            where=why,
            remedy="mount the hierarchy of this cgroup namespace",
        )
    return place_in(base, parent or (), name, why, "cpuset" in hierarchy.controllers, note)


def place_in(
    base: str,
    above: tuple[str, ...],
    name: str,
    why: str,
    cpuset: bool,
    note: Callable[[str], None] | None = None,
) -> GroupV1:
    """Make ``name`` below ``base`` and ``above``, which may be there already.

    :param cpuset: the hierarchy has that controller.
    :raises HostError: refused; nothing is left.
    """
    group = GroupV1(base)
    try:
        for at, part in enumerate((*above, name)):
            parent, group.path = group.path, f"{group.path}/{part}"
            may_exist = at < len(above)
            group.log.append((group.path, None, may_exist))
            if make(group.path, why, may_exist=may_exist, permission=PERMISSION, note=note):
                group.made.append(group.path)
                if cpuset:
                    _inherit(parent, group.path)
    except BaseException:
        group.undo()
        raise
    return group


def _inherit(above: str, path: str) -> None:
    """A new cpuset is empty and takes no process until it has CPUs and memory nodes."""
    for file in ("cpuset.cpus", "cpuset.mems"):
        value = read_file(f"{above}/{file}").strip()
        try:
            write_file(f"{path}/{file}", value)
        except OSError as error:
            raise refused(path, file, value, "", error) from error


def _hold(pids: list[int]) -> dict[int, int]:
    """A pidfd for every process that is still there."""
    held = {}
    for pid in pids[:512]:
        try:
            held[pid] = os.pidfd_open(pid)
        except OSError as error:
            # EINVAL: the leader of the thread group has gone; the rest follows.
            if error.errno not in (ESRCH, EINVAL):
                for fd in held.values():
                    os.close(fd)
                raise
    return held


def _send(fd: int) -> None:
    # Not through signal, which imports enum.
    from _signal import pidfd_send_signal  # type: ignore[import-not-found]

    try:
        pidfd_send_signal(fd, SIGKILL)
    except ProcessLookupError:
        pass
