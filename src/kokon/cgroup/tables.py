"""From ``linux.resources`` to the files that are written, for v1, v2 and both (pure).

What is the same for both versions is decided here: which hierarchy answers a field, and which
values no kernel takes.  The rest is in ``table_v1`` and ``table_v2``.  A field is left out by
``None``; zero in a field that has no zero limit means the same, as the engines write it.
"""

from __future__ import annotations

from kokon.cgroup import table_v1, table_v2
from kokon.cgroup.write import Table, Write
from kokon.errors import SpecError
from kokon.spec.pointer import escaped
from kokon.spec.resources import LARGEST, index_ranges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from kokon.kernel.cgroups import CgroupLayout
    from kokon.spec.resources import (
        BlockIo,
        Cpu,
        HugepageLimit,
        Memory,
        Network,
        RdmaLimit,
        Resources,
    )

ROOT = "/linux/resources"

MOST_PIDS = 4_194_304
"""PID_MAX_LIMIT on 64 bits (include/linux/threads.h): pids.max takes no more."""

ACCOUNTS = {
    "memory": ("memory",),
    "cpu": ("cgroup", "cpuacct"),
    "pids": ("pids",),
    "freeze": ("cgroup", "freezer"),
    "processes": ("cgroup", "pids", "cpuacct", "memory"),
}
"""What a caller may want to know or do without a limit, and the controllers that can."""

EVERY = "every"
"""The wish for a group in each hierarchy, with all controllers that it has."""


def writes(
    resources: Resources, layout: CgroupLayout, asked: Mapping[str, str] | None = None
) -> tuple[Write, ...]:
    """The writes that make ``resources`` true in a fresh group, in order.

    :param asked: JSON pointer to the option that set it (``/linux/resources/memory/limit`` to
        ``--memory``); it becomes ``why``.
    :raises RequestError: a value that no kernel takes.
    :raises HostError: this machine lacks what is asked; null, 0, false and "no limit" are accepted.
    """
    table = Table(layout, asked or {})
    if resources.memory is not None:
        _memory(table, resources.memory)
    if resources.cpu is not None:
        _cpu(table, resources.cpu)
        _cpuset(table, resources.cpu)
    if resources.pids is not None:
        _pids(table, resources.pids.limit)
    if resources.block_io is not None:
        _block_io(table, resources.block_io)
    if resources.hugepage_limits:
        _hugepages(table, resources.hugepage_limits)
    if resources.rdma:
        _rdma(table, resources.rdma)
    if resources.network is not None:
        _network(table, resources.network)
    if resources.devices:
        _devices(table, resources)
    if resources.unified:
        table_v2.unified(table, resources.unified)
    return tuple(table.writes)


def accounting(wishes: tuple[str, ...], layout: CgroupLayout) -> tuple[str, ...]:
    """The controllers that give what is wished (keys of :data:`ACCOUNTS`), where there are any."""
    found = []
    if EVERY in wishes:
        trees = layout.hierarchies
        found = [name for tree in trees for name in tree.controllers]
        return tuple(dict.fromkeys([*found, *(("cgroup",) if layout.unified else ())]))
    for wish in wishes:
        for controller in ACCOUNTS[wish]:
            if layout.of(controller) or (controller == "cgroup" and layout.unified):
                found.append(controller)
                break
    return tuple(dict.fromkeys(found))


def group_path(path: str, where: str = "/linux/cgroupsPath") -> tuple[str, ...]:
    """The components of a ``cgroupsPath``.

    :param where: the JSON pointer or option for the error.
    :raises SpecError: a component is ``..``, a control file's name, or no plain word.
    """
    parts = tuple(part for part in path.split("/") if part)
    for part in parts:
        plain = part.isascii() and part.isprintable() and " " not in part
        # A name with one of these beginnings is, or may become, a file of the group above.
        if not plain or part in (".", "..", "tasks") or part.startswith(_FILES) or len(part) > 255:
            raise SpecError(
                f"{path[:80]!r} is no path of control groups, because of {part[:40]!r}",
                where=where,
                remedy="use plain names between slashes, such as /engine/container",
            )
    if not parts:
        raise SpecError(f"{path!r} names no control group", where=where)
    return parts


def _memory(table: Table, memory: Memory) -> None:
    root = f"{ROOT}/memory"
    sizes = {
        "limit": memory.limit,
        "reservation": memory.reservation,
        "swap": memory.swap,
        "kernel": memory.kernel,
        "kernelTCP": memory.kernel_tcp,
    }
    hierarchy = table.hierarchy(
        ("memory",),
        (
            *((f"{root}/{name}", value) for name, value in sizes.items()),
            (f"{root}/swappiness", memory.swappiness),
            (f"{root}/disableOOMKiller", memory.disable_oom_killer),
        ),
    )
    if hierarchy is None:
        return
    for name, value in sizes.items():
        if value is not None:
            table.within(f"{root}/{name}", value, -1, LARGEST)
    if memory.swappiness is not None:
        table.within(f"{root}/swappiness", memory.swappiness, 0, 100)
    limit, swap = memory.limit or 0, memory.swap or 0
    if swap > 0 and limit <= 0:
        raise table.wrong(
            f"{root}/swap", "swap cannot be limited without memory", "set a memory limit too"
        )
    if 0 < swap < limit:
        raise table.wrong(
            f"{root}/swap",
            f"{swap} is memory and swap together and less than the memory limit of {limit}",
            "give the sum of both, or -1 for no limit of swap",
        )
    if memory.kernel and memory.kernel != -1:
        raise table.lacks(
            f"{root}/kernel",
            "Linux has no limit of kernel memory alone since 5.16",
            "leave it out: the memory limit counts kernel memory",
        )
    (table_v1 if hierarchy.version == 1 else table_v2).memory(table, memory, root)


def _cpu(table: Table, cpu: Cpu) -> None:
    root = f"{ROOT}/cpu"
    fields = {
        "shares": cpu.shares,
        "quota": cpu.quota,
        "period": cpu.period,
        "burst": cpu.burst,
        "realtimeRuntime": cpu.realtime_runtime,
        "realtimePeriod": cpu.realtime_period,
        "idle": cpu.idle,
    }
    hierarchy = table.hierarchy(
        ("cpu",), tuple((f"{root}/{name}", value) for name, value in fields.items())
    )
    if hierarchy is None:
        return
    for name, low, high in (
        ("shares", 0, LARGEST),
        ("period", 1_000, 1_000_000),
        # MAX_BW of kernel/sched/core.c, in microseconds.
        ("quota", 1_000, (1 << 44) - 1),
        ("burst", 0, (1 << 44) - 1),
        ("realtimeRuntime", -1, 1 << 44),
        ("realtimePeriod", 0, 1 << 44),
        ("idle", 0, 1),
    ):
        value = fields[name]
        if value and not (name == "quota" and value == -1):
            table.within(f"{root}/{name}", value, low, high)
    if cpu.burst and cpu.quota and 0 < cpu.quota < cpu.burst:
        raise table.wrong(f"{root}/burst", f"{cpu.burst} is more than the quota of {cpu.quota}")
    (table_v1 if hierarchy.version == 1 else table_v2).cpu(table, cpu, root)


def _cpuset(table: Table, cpu: Cpu) -> None:
    root = f"{ROOT}/cpu"
    lists = tuple((f"{root}/{name}", getattr(cpu, name)) for name in ("cpus", "mems"))
    if table.hierarchy(("cpuset",), lists) is None:
        return
    for pointer, text in lists:
        if text:
            try:
                index_ranges(text)
            except ValueError as error:
                raise table.wrong(
                    pointer, f"{text[:60]!r} is no list of numbers: {error}", "write it like 0-3,7"
                ) from None
            table.add("cpuset", "cpuset." + pointer.rpartition("/")[2], text, pointer)


def _pids(table: Table, limit: int | None) -> None:
    pointer = f"{ROOT}/pids/limit"
    if table.hierarchy(("pids",), ((pointer, limit),)) is None or limit is None:
        return
    table.within(pointer, limit, -1, MOST_PIDS)
    table.add("pids", "pids.max", "max" if limit == -1 else limit, pointer)


def _block_io(table: Table, block_io: BlockIo) -> None:
    root = f"{ROOT}/blockIO"
    throttles = {
        "throttleReadBpsDevice": block_io.throttle_read_bps_device,
        "throttleWriteBpsDevice": block_io.throttle_write_bps_device,
        "throttleReadIOPSDevice": block_io.throttle_read_iops_device,
        "throttleWriteIOPSDevice": block_io.throttle_write_iops_device,
    }
    asked = {
        "weight": block_io.weight,
        "leafWeight": block_io.leaf_weight,
        "weightDevice": block_io.weight_device,
        **throttles,
    }
    hierarchy = table.hierarchy(
        ("blkio", "io"), tuple((f"{root}/{name}", value) for name, value in asked.items())
    )
    if hierarchy is None:
        return
    if block_io.leaf_weight or any(entry.leaf_weight for entry in block_io.weight_device or ()):
        raise table.lacks(
            f"{root}/leafWeight", "Linux has no leaf weights since 5.0", "leave them out"
        )
    if block_io.weight:
        table.within(f"{root}/weight", block_io.weight, 10, 1000)
    for at, entry in enumerate(block_io.weight_device or ()):
        _device(table, f"{root}/weightDevice/{at}", entry.major, entry.minor)
        if entry.weight:
            table.within(f"{root}/weightDevice/{at}/weight", entry.weight, 10, 1000)
    for name, rates in throttles.items():
        for at, rate in enumerate(rates or ()):
            _device(table, f"{root}/{name}/{at}", rate.major, rate.minor)
            table.within(f"{root}/{name}/{at}/rate", rate.rate, 0, LARGEST)
    (table_v1 if hierarchy.version == 1 else table_v2).block_io(table, block_io, throttles, root)


def _device(table: Table, pointer: str, major: int, minor: int) -> None:
    # 12 and 20 bits (include/linux/kdev_t.h).
    table.within(f"{pointer}/major", major, 0, 0xFFF)
    table.within(f"{pointer}/minor", minor, 0, 0xFFFFF)


def _hugepages(table: Table, limits: tuple[HugepageLimit, ...]) -> None:
    root = f"{ROOT}/hugepageLimits"
    asked = tuple((f"{root}/{at}/limit", entry.limit) for at, entry in enumerate(limits))
    hierarchy = table.hierarchy(("hugetlb",), asked)
    if hierarchy is None:
        return
    ending = "limit_in_bytes" if hierarchy.version == 1 else "max"
    for at, entry in enumerate(limits):
        number, unit = entry.page_size[:-2], entry.page_size[-2:]
        plain = number.isascii() and number.isdigit() and number[0] != "0" and len(number) < 8
        if not plain or unit not in ("KB", "MB", "GB"):
            raise table.wrong(
                f"{root}/{at}/pageSize", f"{entry.page_size[:40]!r} is no page size such as 2MB"
            )
        table.within(f"{root}/{at}/limit", entry.limit, 0, LARGEST)
        # Reservations are refused at mmap; a page fault over the plain limit is SIGBUS.
        table.add(
            "hugetlb",
            f"hugetlb.{entry.page_size}.rsvd.{ending}",
            entry.limit,
            f"{root}/{at}/limit",
            alternatives=((f"hugetlb.{entry.page_size}.{ending}", str(entry.limit)),),
        )


def _rdma(table: Table, rdma: Mapping[str, RdmaLimit]) -> None:
    root = f"{ROOT}/rdma"
    if table.hierarchy(("rdma",), ((root, rdma),)) is None:
        return
    for name, entry in rdma.items():
        pointer = f"{root}/{escaped(name)}"
        if not _is_device_name(name):
            raise table.wrong(pointer, f"{name[:40]!r} is no name of a device")
        words = [name]
        for key, value in (("hca_handle", entry.hca_handles), ("hca_object", entry.hca_objects)):
            if value is not None:
                words.append(f"{key}={table.within(pointer, value, 0, 0xFFFFFFFF)}")
        if len(words) > 1:
            table.add("rdma", "rdma.max", " ".join(words), pointer)


def _network(table: Table, network: Network) -> None:
    root = f"{ROOT}/network"
    if table.hierarchy(("net_cls",), ((f"{root}/classID", network.class_id),)) is not None:
        class_id = table.within(f"{root}/classID", network.class_id or 0, 0, 0xFFFFFFFF)
        table.add("net_cls", "net_cls.classid", class_id, f"{root}/classID")
    priorities = (f"{root}/priorities", network.priorities)
    if table.hierarchy(("net_prio",), (priorities,)) is not None:
        for at, entry in enumerate(network.priorities or ()):
            pointer = f"{root}/priorities/{at}"
            if not _is_device_name(entry.name):
                raise table.wrong(pointer, f"{entry.name[:40]!r} is no name of an interface")
            priority = table.within(pointer, entry.priority, 0, 0xFFFFFFFF)
            table.add("net_prio", "net_prio.ifpriomap", f"{entry.name} {priority}", pointer)


def _devices(table: Table, resources: Resources) -> None:
    root = f"{ROOT}/devices"
    if table.layout.of("devices") is None:
        raise table.lacks(
            root,
            "device rules on this machine are an eBPF program, which is not a control group's file",
            "leave them out",
        )
    for at, rule in enumerate(resources.devices or ()):
        table_v1.device_rule(table, rule, f"{root}/{at}")


def _is_device_name(name: str) -> bool:
    return 0 < len(name) < 64 and name.isascii() and name.isprintable() and " " not in name


_FILES = (
    "cgroup.", "cpu.", "cpuacct.", "cpuset.", "memory.", "pids.", "blkio.", "io.", "hugetlb.",
    "rdma.", "devices.", "freezer.", "net_cls.", "net_prio.", "perf_event.", "misc.", "dmem.",
    "notify_on_release", "release_agent",
)  # fmt: skip
