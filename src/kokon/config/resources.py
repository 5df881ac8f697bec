"""The limits that a person asks for, as ``linux.resources``."""

from __future__ import annotations

from kokon.config import sizes
from kokon.errors import OptionError
from kokon.spec.resources import (
    BlockIo,
    Cpu,
    DeviceRate,
    HugepageLimit,
    Memory,
    Pids,
    RdmaLimit,
    Resources,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from kokon.config.options import Options

SMALLEST_MEMORY = 512 * 1024
"""Bytes: below this not even the set-up of a container fits."""

RESOURCE_OPTIONS = (
    "memory", "memory_swap", "memory_swappiness", "memory_reservation", "memory_high", "cpus",
    "cpu_shares", "cpuset_cpus", "cpuset_mems", "pids", "blkio_weight", "device_read_bps",
    "device_write_bps", "device_read_iops", "device_write_iops", "hugetlb", "rdma", "cgroup_conf",
)  # fmt: skip


def device_paths(options: Options) -> tuple[tuple[str, str], ...]:
    """The devices of the host that limits name, each with the words that name it: the engine
    looks up their numbers.

    :raises OptionError: a device without a rate.
    """
    paths = []
    for name in ("device_read_bps", "device_write_bps", "device_read_iops", "device_write_iops"):
        for entry in getattr(options, name):
            words = f"--{name.replace('_', '-')} {entry}"
            path, colon, _ = entry.rpartition(":")
            if not colon or not path:
                raise OptionError(
                    "is not DEVICE:RATE", where=words, remedy="write for example /dev/sda:1M"
                )
            paths.append((path, words))
    return tuple(paths)


def resources(
    options: Options, devices: Mapping[str, tuple[str, int, int, int]], *, swap: bool = False
) -> tuple[Resources | None, dict[str, str]]:
    """The limits, and which option set which part (JSON pointer to words).

    :param devices: type, numbers and mode of every device that :func:`device_paths` named.
    :param swap: the machine has swap, so that a memory limit without one for swap would not hold:
        as in Docker, as much swap as memory is allowed.
    :raises OptionError: a value that cannot be meant.
    """
    if not any(getattr(options, name) not in (None, ()) for name in RESOURCE_OPTIONS):
        return None, {}
    asked: dict[str, str] = {}
    result = Resources(
        memory=_memory(options, swap, asked),
        cpu=_cpu(options, asked),
        pids=_pids(options, asked),
        block_io=_block_io(options, devices, asked),
        hugepage_limits=_hugetlb(options, asked),
        rdma=_rdma(options, asked),
        unified=_unified(options, asked),
    )
    return result, asked


def _ask(asked: dict[str, str], options: Options, name: str, pointer: str) -> None:
    if getattr(options, name) not in (None, ()):
        asked[f"/linux/resources/{pointer}"] = options.words(name)
        # Its part as a whole belongs to whoever named it first.
        asked.setdefault(f"/linux/resources/{pointer.partition('/')[0]}", options.words(name))


def _memory(options: Options, swap: bool, asked: dict[str, str]) -> Memory | None:
    fields: dict[str, Any] = {}
    if options.memory is not None:
        fields["limit"] = sizes.memory_bytes(options.memory, "--memory", minimum=SMALLEST_MEMORY)
    if options.memory_swap is not None:
        fields["swap"] = sizes.memory_bytes(options.memory_swap, "--memory-swap", unlimited=True)
        if "limit" not in fields:
            raise OptionError(
                "is memory and swap together, and says nothing alone",
                where="--memory-swap",
                remedy="give --memory too",
            )
        if fields["swap"] != -1 and fields["swap"] < fields["limit"]:
            raise OptionError(
                "is memory and swap together, so it cannot be less than --memory",
                where=options.words("memory_swap"),
                remedy="give at least what --memory says",
            )
    elif swap and "limit" in fields:
        fields["swap"] = 2 * fields["limit"]
        asked["/linux/resources/memory/swap"] = options.words("memory")
    if options.memory_swappiness is not None:
        fields["swappiness"] = number(options.memory_swappiness, "--memory-swappiness", 0, 100)
    if options.memory_reservation is not None:
        fields["reservation"] = sizes.memory_bytes(
            options.memory_reservation, "--memory-reservation"
        )
        if fields["reservation"] > fields.get("limit", fields["reservation"]):
            raise OptionError(
                "is left to it under pressure, so it cannot be more than --memory",
                where=options.words("memory_reservation"),
                remedy="give at most what --memory says",
            )
    for name, pointer in (
        ("memory", "memory/limit"),
        ("memory_swap", "memory/swap"),
        ("memory_swappiness", "memory/swappiness"),
        ("memory_reservation", "memory/reservation"),
    ):
        _ask(asked, options, name, pointer)
    return Memory(**fields) if fields else None


def _cpu(options: Options, asked: dict[str, str]) -> Cpu | None:
    fields: dict[str, Any] = {}
    if options.cpus is not None:
        fields["quota"], fields["period"] = sizes.cpus(options.cpus)
    if options.cpu_shares is not None:
        fields["shares"] = number(options.cpu_shares, "--cpu-shares", 2, 262144)
    if options.cpuset_cpus is not None:
        fields["cpus"] = sizes.cpuset(options.cpuset_cpus)
    if options.cpuset_mems is not None:
        fields["mems"] = sizes.cpuset(options.cpuset_mems, "--cpuset-mems")
    for name, pointer in (
        ("cpus", "cpu/quota"),
        ("cpus", "cpu/period"),
        ("cpu_shares", "cpu/shares"),
        ("cpuset_cpus", "cpu/cpus"),
        ("cpuset_mems", "cpu/mems"),
    ):
        _ask(asked, options, name, pointer)
    return Cpu(**fields) if fields else None


def _pids(options: Options, asked: dict[str, str]) -> Pids | None:
    if options.pids is None:
        return None
    _ask(asked, options, "pids", "pids/limit")
    limit = number(options.pids, "--pids-limit", -1, 2**22)
    # Docker: 0 and -1 are no limit.
    return Pids(limit=limit if limit > 0 else -1)


def _block_io(
    options: Options, devices: Mapping[str, tuple[str, int, int, int]], asked: dict[str, str]
) -> BlockIo | None:
    fields: dict[str, Any] = {}
    if options.blkio_weight is not None:
        fields["weight"] = number(options.blkio_weight, "--blkio-weight", 10, 1000)
        _ask(asked, options, "blkio_weight", "blockIO/weight")
    for name, field, pointer, operations in (
        ("device_read_bps", "throttle_read_bps_device", "throttleReadBpsDevice", False),
        ("device_write_bps", "throttle_write_bps_device", "throttleWriteBpsDevice", False),
        ("device_read_iops", "throttle_read_iops_device", "throttleReadIOPSDevice", True),
        ("device_write_iops", "throttle_write_iops_device", "throttleWriteIOPSDevice", True),
    ):
        rates = []
        for entry in getattr(options, name):
            path, rate = sizes.device_rate(
                entry, "--" + name.replace("_", "-"), operations=operations
            )
            _, major, minor, _ = devices[path]
            rates.append(DeviceRate(major=major, minor=minor, rate=rate))
        if rates:
            fields[field] = tuple(rates)
            _ask(asked, options, name, f"blockIO/{pointer}")
    return BlockIo(**fields) if fields else None


def _hugetlb(options: Options, asked: dict[str, str]) -> tuple[HugepageLimit, ...] | None:
    limits = []
    for entry in options.hugetlb:
        page, equals, size = entry.partition("=")
        if not equals or not page.endswith(("KB", "MB", "GB")):
            raise OptionError(
                "is not PAGESIZE=BYTES",
                where=f"--hugetlb {entry}",
                remedy="write for example 2MB=64M",
            )
        limits.append(HugepageLimit(page_size=page, limit=sizes.memory_bytes(size, "--hugetlb")))
    _ask(asked, options, "hugetlb", "hugepageLimits")
    return tuple(limits) or None


def _rdma(options: Options, asked: dict[str, str]) -> dict[str, RdmaLimit] | None:
    limits = {}
    for entry in options.rdma:
        device, equals, rest = entry.partition("=")
        pairs = dict(part.partition("=")[::2] for part in rest.split(","))
        if not equals or not set(pairs) <= {"hca_handle", "hca_object"}:
            raise OptionError(
                "is not DEVICE=hca_handle=N,hca_object=N",
                where=f"--rdma {entry}",
                remedy="write for example mlx5_0=hca_handle=2,hca_object=2000",
            )
        limits[device] = RdmaLimit(
            hca_handles=_optional(pairs.get("hca_handle"), "--rdma"),
            hca_objects=_optional(pairs.get("hca_object"), "--rdma"),
        )
    _ask(asked, options, "rdma", "rdma")
    return limits or None


def _unified(options: Options, asked: dict[str, str]) -> dict[str, str] | None:
    values: dict[str, str] = {}
    if options.memory_high is not None:
        values["memory.high"] = str(sizes.memory_bytes(options.memory_high, "--memory-high"))
        _ask(asked, options, "memory_high", "unified/memory.high")
    for entry in options.cgroup_conf:
        key, equals, value = entry.partition("=")
        if not equals or not key or not value:
            raise OptionError(
                "is not KEY=VALUE",
                where=f"--cgroup-conf {entry}",
                remedy="write for example memory.high=1073741824",
            )
        values[key] = value
        asked[f"/linux/resources/unified/{key}"] = f"--cgroup-conf {entry}"
    return values or None


def number(value: Any, option: str, least: int, most: int) -> int:
    """A whole number within bounds, from text or an int.  Raises OptionError."""
    text = str(value).strip()
    digits = text.removeprefix("-")
    if isinstance(value, bool) or not digits.isascii() or not digits.isdigit() or len(digits) > 18:
        raise OptionError(
            f"{value!r} is no whole number", where=option, remedy=f"give {least} to {most}"
        )
    result = int(text)
    if not least <= result <= most:
        raise OptionError(
            f"{result} is not between {least} and {most}", where=option, remedy="give another"
        )
    return result


def _optional(value: str | None, option: str) -> int | None:
    return None if value is None else number(value, option, 0, 2**31 - 1)
