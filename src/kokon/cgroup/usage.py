"""What a container used, and which of its limits it met, read from its groups' files."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from kokon.cgroup.group import Group

UNIFIED = "unified"
"""The key of the version 2 group; others are controllers of version 1."""

NEAR = 2 << 20
"""Bytes below its limit at which a v1 group that lost a process has met it: a charge of a huge
page fails as a whole and leaves the peak that much lower."""


class Usage:
    """Amounts since the groups were made; None where the kernel or the layout keeps none.

    :ivar cpu_user: seconds in user mode.
    :ivar cpu_system: seconds in the kernel.
    :ivar throttled: seconds that the CPU quota held it back.
    :ivar memory: bytes now.
    :ivar peak_memory: most bytes at once (v2: since Linux 5.19).
    :ivar oom_kills: processes that the OOM killer ended.
    :ivar oom_events: times that its own memory limit left no way out (v2 only).
    :ivar pids: tasks now.
    :ivar pids_peak: most tasks at once (since Linux 6.1).
    :ivar pids_refused: forks that the pids limit refused.
    """

    __slots__ = (
        "cpu_system",
        "cpu_user",
        "memory",
        "oom_events",
        "oom_kills",
        "peak_memory",
        "pids",
        "pids_peak",
        "pids_refused",
        "throttled",
    )

    def __init__(self) -> None:
        self.cpu_user: float | None = None
        self.cpu_system: float | None = None
        self.throttled: float | None = None
        self.memory: int | None = None
        self.peak_memory: int | None = None
        self.oom_kills: int | None = None
        self.oom_events: int | None = None
        self.pids: int | None = None
        self.pids_peak: int | None = None
        self.pids_refused: int | None = None

    def __repr__(self) -> str:
        return f"<Usage {self.to_dict()}>"

    def to_dict(self) -> dict[str, float | int | None]:
        """As plain values."""
        return {name: getattr(self, name) for name in Usage.__slots__}


class Hit:
    """A limit that the container met.

    :ivar limit: ``memory`` or ``pids``.
    :ivar count: how often: processes killed, forks refused.
    :ivar amount: the limit, in bytes or tasks; None when it is not the container's own.
    :ivar own: whether it was the container's own limit, not one of a group above or the machine.
    """

    __slots__ = ("amount", "count", "limit", "own")

    def __init__(self, limit: str, count: int, amount: int | None, own: bool) -> None:
        self.limit = limit
        self.count = count
        self.amount = amount
        self.own = own

    def __repr__(self) -> str:
        return f"<Hit {self.limit} {self.amount} x{self.count}{'' if self.own else ' above'}>"


def usage(groups: Mapping[str, Group], unified: Group | None) -> Usage:
    """The usage that a container's groups tell.

    :param groups: version 1 groups by controller.
    :param unified: the version 2 group.
    """
    used = Usage()
    if unified is not None:
        stat = unified.keyed("cpu.stat")
        used.cpu_user = _scaled(stat.get("user_usec"), 1e-6)
        used.cpu_system = _scaled(stat.get("system_usec"), 1e-6)
        used.throttled = _scaled(stat.get("throttled_usec"), 1e-6)
        used.memory = unified.number("memory.current")
        used.peak_memory = unified.number("memory.peak")
        events = unified.keyed("memory.events")
        used.oom_kills, used.oom_events = events.get("oom_kill"), events.get("oom")
        _pids(used, unified)
    if "cpuacct" in groups:
        used.cpu_user = _scaled(groups["cpuacct"].number("cpuacct.usage_user"), 1e-9)
        used.cpu_system = _scaled(groups["cpuacct"].number("cpuacct.usage_sys"), 1e-9)
    if "cpu" in groups:
        used.throttled = _scaled(groups["cpu"].keyed("cpu.stat").get("throttled_time"), 1e-9)
    if "memory" in groups:
        memory = groups["memory"]
        used.memory = memory.number("memory.usage_in_bytes")
        used.peak_memory = memory.number("memory.max_usage_in_bytes")
        used.oom_kills = memory.keyed("memory.oom_control").get("oom_kill")
    if "pids" in groups:
        _pids(used, groups["pids"])
    return used


def hits(
    groups: Mapping[str, Group], used: Usage, above: Mapping[str, Group] | None = None
) -> tuple[Hit, ...]:
    """The limits that were met by a usage of these groups, worst first.

    :param above: the groups of a box around them; its limits are the program's too.
    """
    found = []
    circles = [groups, *([above] if above else [])]
    if used.oom_kills:
        met = next((limit for circle in circles if (limit := _memory_met(circle))), None)
        found.append(Hit("memory", used.oom_kills, met, met is not None))
    if used.pids_refused:
        met = next((limit for circle in circles if (limit := _pids_limit(circle))), None)
        found.append(Hit("pids", used.pids_refused, met, met is not None))
    return tuple(found)


def _pids_limit(groups: Mapping[str, Group]) -> int | None:
    group = groups.get("pids", groups.get(UNIFIED))
    return group.number("pids.max") if group is not None else None


def _memory_met(groups: Mapping[str, Group]) -> int | None:
    """The memory limit of groups, if it left no way out."""
    if "memory" in groups:
        # v1 counts the victim, not whose limit it was; the peak tells.
        memory = groups["memory"]
        amount = memory.number("memory.limit_in_bytes")
        peak = memory.number("memory.max_usage_in_bytes") or 0
        return amount if amount is not None and peak + NEAR >= amount else None
    unified = groups.get(UNIFIED)
    if unified is None or not unified.keyed("memory.events").get("oom"):
        return None
    return unified.number("memory.max")


def _pids(used: Usage, group: Group) -> None:
    used.pids = group.number("pids.current")
    used.pids_peak = group.number("pids.peak")
    used.pids_refused = group.keyed("pids.events").get("max")


def _scaled(value: int | None, unit: float) -> float | None:
    return None if value is None else value * unit
