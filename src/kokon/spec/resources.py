"""``linux.resources`` of the OCI runtime specification as values (config-linux.md, Control groups).

Names are the document's in snake_case, units are the document's: bytes, microseconds, counts.
``None`` means that nothing was said.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

LARGEST = (1 << 63) - 1
"""Beyond this the kernel's own parsers of sizes wrap around (lib/cmdline.c, memparse)."""

MOST_CPUS = 8192
"""The largest CONFIG_NR_CPUS: no index of a CPU or memory node is at or above it."""


class Values:
    """Keyword arguments for the slots; what is not given is None."""

    __slots__: tuple[str, ...] = ()

    def __init__(self, **values: Any) -> None:
        for name in type(self).__slots__:
            setattr(self, name, values.pop(name, None))
        if values:
            raise TypeError(f"{type(self).__name__} has no {', '.join(sorted(values))}")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in type(self).__slots__)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        said = ((name, getattr(self, name)) for name in type(self).__slots__)
        inside = ", ".join(f"{name}={value!r}" for name, value in said if value is not None)
        return f"{type(self).__name__}({inside})"


class Memory(Values):
    """``memory``: sizes in bytes, -1 for no limit; ``swap`` is memory and swap together."""

    __slots__ = (
        "check_before_update",
        "disable_oom_killer",
        "kernel",
        "kernel_tcp",
        "limit",
        "reservation",
        "swap",
        "swappiness",
        "use_hierarchy",
    )
    limit: int | None
    reservation: int | None
    swap: int | None
    kernel: int | None
    kernel_tcp: int | None
    swappiness: int | None
    disable_oom_killer: bool | None
    use_hierarchy: bool | None
    check_before_update: bool | None


class Cpu(Values):
    """``cpu``: times in microseconds; ``cpus`` and ``mems`` are lists such as ``0-3,7``."""

    __slots__ = (
        "burst",
        "cpus",
        "idle",
        "mems",
        "period",
        "quota",
        "realtime_period",
        "realtime_runtime",
        "shares",
    )
    shares: int | None
    quota: int | None
    period: int | None
    burst: int | None
    realtime_runtime: int | None
    realtime_period: int | None
    cpus: str | None
    mems: str | None
    idle: int | None


class Pids(Values):
    """``pids``: the most tasks, -1 for no limit."""

    __slots__ = ("limit",)
    limit: int | None


class DeviceWeight(Values):
    """An entry of ``blockIO.weightDevice``."""

    __slots__ = ("leaf_weight", "major", "minor", "weight")
    major: int
    minor: int
    weight: int | None
    leaf_weight: int | None


class DeviceRate(Values):
    """An entry of a ``blockIO.throttle…Device``: bytes or operations per second."""

    __slots__ = ("major", "minor", "rate")
    major: int
    minor: int
    rate: int


class BlockIo(Values):
    """``blockIO``: weights from 10 to 1000, rates per device."""

    __slots__ = (
        "leaf_weight",
        "throttle_read_bps_device",
        "throttle_read_iops_device",
        "throttle_write_bps_device",
        "throttle_write_iops_device",
        "weight",
        "weight_device",
    )
    weight: int | None
    leaf_weight: int | None
    weight_device: tuple[DeviceWeight, ...] | None
    throttle_read_bps_device: tuple[DeviceRate, ...] | None
    throttle_write_bps_device: tuple[DeviceRate, ...] | None
    throttle_read_iops_device: tuple[DeviceRate, ...] | None
    throttle_write_iops_device: tuple[DeviceRate, ...] | None


class HugepageLimit(Values):
    """An entry of ``hugepageLimits``: ``page_size`` such as ``2MB``, ``limit`` in bytes."""

    __slots__ = ("limit", "page_size")
    page_size: str
    limit: int


class RdmaLimit(Values):
    """A value of ``rdma``."""

    __slots__ = ("hca_handles", "hca_objects")
    hca_handles: int | None
    hca_objects: int | None


class InterfacePriority(Values):
    """An entry of ``network.priorities``."""

    __slots__ = ("name", "priority")
    name: str
    priority: int


class Network(Values):
    """``network``: version 1 only."""

    __slots__ = ("class_id", "priorities")
    class_id: int | None
    priorities: tuple[InterfacePriority, ...] | None


class DeviceRule(Values):
    """An entry of ``devices``: ``type`` is a, b or c; no number means all of them."""

    __slots__ = ("access", "allow", "major", "minor", "type")
    allow: bool
    type: str | None
    major: int | None
    minor: int | None
    access: str | None


class Resources(Values):
    """``linux.resources``."""

    __slots__ = (
        "block_io",
        "cpu",
        "devices",
        "hugepage_limits",
        "memory",
        "network",
        "pids",
        "rdma",
        "unified",
    )
    memory: Memory | None
    cpu: Cpu | None
    pids: Pids | None
    block_io: BlockIo | None
    hugepage_limits: tuple[HugepageLimit, ...] | None
    rdma: Mapping[str, RdmaLimit] | None
    network: Network | None
    unified: Mapping[str, str] | None
    devices: tuple[DeviceRule, ...] | None


def index_ranges(text: str, most: int = MOST_CPUS) -> tuple[tuple[int, int], ...]:
    """The ranges of a list of CPUs or memory nodes (``0-3,7``), never expanded.

    :raises ValueError: it is no such list, or an index is not below ``most``: the kernel would
        answer so too, but a list such as ``1-999999999`` must cost nothing before it does.
    """
    ranges = []
    if len(text) > 8 * most:
        raise ValueError("it is too long")
    for part in text.split(","):
        first, dash, last = part.strip(" ").partition("-")
        if not _is_index(first) or (dash and not _is_index(last)):
            raise ValueError(f"{part[:40]!r} is neither a number nor a range")
        low = int(first)
        high = int(last) if dash else low
        if high < low:
            raise ValueError(f"the range {part[:40]!r} runs backwards")
        if high >= most:
            raise ValueError(f"{high} is beyond {most - 1}, the most that Linux can have")
        ranges.append((low, high))
    return tuple(ranges)


def _is_index(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 10
