"""The files of cgroup v2, and what v1's words mean there (admin-guide/cgroup-v2.rst, pure)."""

from __future__ import annotations

from kokon.spec.pointer import escaped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from kokon.cgroup.write import Table
    from kokon.spec.resources import BlockIo, Cpu, DeviceRate, Memory

THROTTLES = {
    "throttleReadBpsDevice": "rbps",
    "throttleWriteBpsDevice": "wbps",
    "throttleReadIOPSDevice": "riops",
    "throttleWriteIOPSDevice": "wiops",
}

# Files that limit the group and nothing else.  Not among them: what moves processes or delegates
# (cgroup.*), takes CPUs from others (cpuset.cpus.partition) or only acts once (memory.reclaim).
UNIFIED = {
    "cgroup": ("max.depth", "max.descendants", "pressure"),
    "cpu": ("idle", "max", "max.burst", "uclamp.max", "uclamp.min", "weight", "weight.nice"),
    "cpuset": ("cpus", "mems"),
    "dmem": ("low", "max", "min"),
    "hugetlb": (),
    "io": ("bfq.weight", "latency", "max", "prio.class", "weight"),
    "memory": (
        "high", "low", "max", "min", "oom.group", "swap.high", "swap.max",
        "zswap.max", "zswap.writeback",
    ),
    "misc": ("max",),
    "pids": ("max",),
    "rdma": ("max",),
}  # fmt: skip
BY_DEVICE = ("io.max", "io.latency", "io.weight", "io.bfq.weight", "rdma.max", "misc.max")
"""Files that take one line per device in a write of its own."""


def memory(table: Table, memory: Memory, root: str) -> None:
    """Limits; swap is counted alone here, so v1's sum becomes a difference."""
    limit = memory.limit or 0
    if memory.kernel_tcp and memory.kernel_tcp != -1:
        raise table.lacks(f"{root}/kernelTCP", "cgroup v2 has no limit of TCP buffers alone")
    if memory.disable_oom_killer:
        raise table.lacks(
            f"{root}/disableOOMKiller", "cgroup v2 cannot turn the OOM killer off", "leave it on"
        )
    if memory.swappiness:
        raise table.lacks(
            f"{root}/swappiness",
            "cgroup v2 has no swappiness",
            "leave it out, or give 0 for no swap at all",
        )
    if limit:
        table.add("memory", "memory.max", _or_max(limit), f"{root}/limit")
    if memory.swappiness == 0:
        table.add(
            "memory",
            "memory.swap.max",
            0,
            f"{root}/swappiness",
            may_lack=True,
            note="cgroup v2 has no swappiness: 0 is taken as no swap at all",
        )
    elif memory.swap:
        swap = -1 if memory.swap == -1 else memory.swap - limit
        table.add("memory", "memory.swap.max", _or_max(swap), f"{root}/swap", may_lack=swap <= 0)
    if memory.reservation:
        table.add("memory", "memory.low", _or_max(memory.reservation), f"{root}/reservation")


def cpu(table: Table, cpu: Cpu, root: str) -> None:
    """Weight and bandwidth."""
    for name, value in (
        ("realtimeRuntime", cpu.realtime_runtime),
        ("realtimePeriod", cpu.realtime_period),
    ):
        if value and value != -1:
            raise table.lacks(f"{root}/{name}", "cgroup v2 has no limits of real-time scheduling")
    if cpu.shares:
        table.add("cpu", "cpu.weight", cpu_weight(cpu.shares), f"{root}/shares")
    if cpu.quota or cpu.period:
        quota = _or_max(cpu.quota or -1)
        pointer = f"{root}/quota" if cpu.quota else f"{root}/period"
        # A quota alone keeps the period that is there.
        table.add("cpu", "cpu.max", f"{quota} {cpu.period}" if cpu.period else quota, pointer)
    if cpu.burst is not None:
        table.add("cpu", "cpu.max.burst", cpu.burst, f"{root}/burst", may_lack=not cpu.burst)
    # Last, because an idle group refuses a weight.
    if cpu.idle is not None:
        table.add("cpu", "cpu.idle", cpu.idle, f"{root}/idle", may_lack=not cpu.idle)


def block_io(
    table: Table,
    block_io: BlockIo,
    throttles: Mapping[str, tuple[DeviceRate, ...] | None],
    root: str,
) -> None:
    """Weights by BFQ where the kernel has it, else by the cost model; throttles in io.max."""
    if block_io.weight:
        table.add(
            "io",
            "io.bfq.weight",
            block_io.weight,
            f"{root}/weight",
            alternatives=(("io.weight", str(io_weight(block_io.weight))),),
        )
    for at, entry in enumerate(block_io.weight_device or ()):
        if entry.weight:
            device = f"{entry.major}:{entry.minor}"
            table.add(
                "io",
                "io.bfq.weight",
                f"{device} {entry.weight}",
                f"{root}/weightDevice/{at}",
                alternatives=(("io.weight", f"{device} {io_weight(entry.weight)}"),),
            )
    for name, rates in throttles.items():
        for at, rate in enumerate(rates or ()):
            value = f"{rate.major}:{rate.minor} {THROTTLES[name]}={rate.rate or 'max'}"
            table.add("io", "io.max", value, f"{root}/{name}/{at}")


def unified(table: Table, files: Mapping[str, str]) -> None:
    """Files by name, from the allow-list only: a key is a file name that somebody else chose."""
    for key, value in files.items():
        pointer = f"/linux/resources/unified/{escaped(key)}"
        controller, _, file = key.partition(".")
        if not _is_allowed(controller, file):
            raise table.wrong(
                pointer,
                f"{key[:60]!r} is no file of a limit on cgroup v2",
                "use one that is documented as a limit, such as memory.high",
            )
        tree = table.layout.unified
        if tree is None or (controller != "cgroup" and controller not in tree.controllers):
            raise table.lacks(pointer, f"this machine has no {controller} controller on cgroup v2")
        lines = value.strip().split("\n")
        if "\0" in value or not value.strip() or (len(lines) > 1 and key not in BY_DEVICE):
            raise table.wrong(pointer, f"{value[:60]!r} is no value for {key}")
        for line in lines:
            table.add(controller, key, line.strip(), pointer)


def cpu_weight(shares: int) -> int:
    """``cpu.weight`` for v1's shares: 2, 1024 and 262144 are 1, 100 and 10000.

    The quadratic in the logarithm through these three points, as crun and runC have it since
    2025; the straight line used before gave a default container a weight of 39.
    """
    from math import ceil, log2

    power = log2(max(2, min(shares, 262_144)))
    exponent = (power * power + 125 * power) / 612 - 7 / 34
    # The three points are whole but for the last bit of a float.
    return ceil(float(10**exponent) - 1e-6)


def io_weight(weight: int) -> int:
    """``io.weight`` (1 to 10000) for a weight from 10 to 1000, on a straight line."""
    return 1 + (weight - 10) * 9999 // 990


def _is_allowed(controller: str, file: str) -> bool:
    if controller == "hugetlb":
        size, _, ending = file.partition(".")
        plain = size.isascii() and size.isalnum() and len(size) < 12
        return plain and ending in ("max", "rsvd.max")
    return file in UNIFIED.get(controller, ())


def _or_max(value: int) -> str:
    return "max" if value == -1 else str(value)
