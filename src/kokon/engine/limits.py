"""Limits of a run: its cgroups made, handed over, read and removed."""

from __future__ import annotations

import os

from kokon.engine import owner
from kokon.errors import HostError, OptionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from kokon.cgroup.manager import Manager, Placement
    from kokon.cgroup.usage import Hit, Usage
    from kokon.config.container import Configuration
    from kokon.config.options import Options
    from kokon.engine.undo import Undo
    from kokon.kernel.facts import HostFacts
    from kokon.spec.resources import Resources


class Placed:
    """The cgroups of a run, if it has any.

    :ivar descriptors: for the plan's inherited slots.
    :ivar tasks: names of the v1 groups, :ivar directory: whether the first is a v2 directory.
    :ivar resource_limits: what stands in for them where they cannot be had, for the launch.
    :ivar place_late: makes them once stage 1 lives, from its pid: systemd moves it first.
    :ivar late_path: where stage 1 finds the directory that was made then.
    """

    __slots__ = (
        "descriptors", "directory", "late_path", "manager", "notes", "place_late",
        "resource_limits", "tasks",
    )  # fmt: skip

    def __init__(self) -> None:
        self.descriptors: list[int] = []
        self.tasks: tuple[str, ...] = ()
        self.directory = False
        self.manager: Manager | None = None
        self.notes: tuple[str, ...] = ()
        self.resource_limits: tuple[tuple[str, int], ...] = ()
        self.place_late: Callable[[int], None] | None = None
        self.late_path = ""

    def read(self) -> tuple[Usage | None, tuple[Hit, ...]]:
        """What was used, and which limits were met."""
        if self.manager is None:
            return None, ()
        used = self.manager.usage()
        return used, self.manager.limits_hit(used)


def place(options: Options, configuration: Configuration, host: HostFacts, undo: Undo) -> Placed:
    """Makes the cgroups that the limits need; none without limits.

    A container that shares the host's processes gets one too: nothing else ends what its program
    leaves behind.

    :raises HostError: they cannot be had, with the way to get them.
    """
    placed = Placed()
    resources = configuration.spec.linux.resources
    if options.limits not in (None, "enforce", "best-effort"):
        raise OptionError(
            f"{options.limits!r} is unknown", where="--limits", remedy="give enforce or best-effort"
        )
    shares_processes = all(n.type != "pid" for n in configuration.spec.linux.namespaces)
    if resources is None and not shares_processes:
        return placed
    from kokon.cgroup.manager import Manager
    from kokon.kernel import cgroups
    from kokon.spec.resources import Resources

    manager = Manager.for_host(
        cgroups.read_moved(host.cgroups),
        name=f"kokon-{owner.current().name()}",
        parent=options.cgroup_parent,
        note=owner.current().note,
    )
    if resources is None:
        account: tuple[str, ...] = ("processes",)
    else:
        # On v2 one directory counts everything; on v1 each controller costs its own.
        account = ("memory", "cpu", "pids") if host.cgroups.mode == "v2" else ()
    if resources is not None and manager.needs_pid(resources):
        _later(placed, manager, resources, configuration, undo)
        return placed
    try:
        placement = manager.create(
            resources or Resources(), account=account, asked=configuration.asked
        )
    except HostError as error:
        if resources is None:
            placed.notes = (SURVIVORS,)
            return placed
        if options.limits != "best-effort" and options.level in (None, "full"):
            raise
        own = any(n.type == "user" for n in configuration.spec.linux.namespaces)
        _by_rlimits(placed, resources, error, own)
        return placed
    if not placement.paths:
        placed.notes = (SURVIVORS,)
        return placed
    undo.push(manager.remove)
    undo.push(placement.close)
    placed.manager = manager
    placed.notes = placement.notes
    _hand_over(placed, placement)
    return placed


def place_below(
    above: Placed, options: Options, configuration: Configuration, undo: Undo
) -> Placed:
    """Groups for one program below those of its box; what stands in for them where it has none.

    :raises HostError: a limit that the box has no controller for.
    """
    placed = Placed()
    asked = {name: getattr(options, name) for name in ("memory", "cpus", "pids")}
    manager = above.manager
    if manager is None:
        limited = next((name for name, value in asked.items() if value is not None), None)
        if limited:
            what, remedy = "it has no limits", "give the box a limit too, of memory or processes"
            if above.notes:
                what, remedy = above.notes[0], "give it to the box, for each of its programs"
            raise HostError(
                f"the box has no control groups: {what}",
                where=options.words(limited),
                remedy=remedy,
            )
        placed.resource_limits = above.resource_limits
        return placed
    from kokon.spec.resources import Resources

    below = manager.below(f"kokon-{owner.current().name()}")
    placement = below.create(
        configuration.spec.linux.resources or Resources(), asked=configuration.asked
    )
    undo.push(below.remove)
    undo.push(placement.close)
    placed.manager = below
    placed.notes = placement.notes
    if above.place_late:
        placed.place_late = manager.admit
    _hand_over(placed, placement)
    return placed


def _hand_over(placed: Placed, placement: Placement) -> None:
    placed.directory = placement.directory_fd is not None
    placed.descriptors = placement.descriptors
    placed.tasks = placement.tasks


SURVIVORS = (
    "without a control group, processes that the program leaves behind go on: it shares the"
    " host's processes"
)


def _by_rlimits(placed: Placed, resources: Resources, error: HostError, own: bool) -> None:
    """Limits of setrlimit(2) in place of a control group's, and what they are worth.

    :param own: there is a user namespace; else RLIMIT_NPROC counts what the user runs elsewhere.
    """
    stand_ins = []
    notes = [f"limits are not held by a control group: {error.what}"]
    memory = resources.memory.limit if resources.memory else None
    pids = resources.pids.limit if resources.pids and own else None
    for limit, name, worth in (
        (memory, "as", "address space of each process"),
        (pids, "nproc", "processes of the same user here"),
    ):
        if limit is not None and limit > 0:
            stand_ins.append((name, limit))
            notes.append(
                f"RLIMIT_{name.upper()} {limit} stands in for one of them: it counts the {worth}"
            )
    placed.resource_limits = tuple(stand_ins)
    placed.notes = (*notes, "every other limit is not real")


def _later(
    placed: Placed,
    manager: Manager,
    resources: Resources,
    configuration: Configuration,
    undo: Undo,
) -> None:
    """The cgroup is made when stage 1 lives; it is found at a descriptor that is kept free."""
    kept = os.open("/", os.O_PATH | os.O_CLOEXEC)
    undo.push(lambda: os.close(kept))

    def place_late(pid: int) -> None:
        placement = manager.create(resources, asked=configuration.asked, pid=pid)
        undo.push(manager.remove)
        try:
            if placement.directory_fd is not None:
                os.dup2(placement.directory_fd, kept, inheritable=False)
        finally:
            placement.close()

    placed.manager = manager
    placed.place_late = place_late
    placed.late_path = f"/proc/{os.getpid()}/fd/{kept}"
