"""The files of cgroup v1 (Documentation/admin-guide/cgroup-v1, pure).

The order within a controller is the kernel's: a value is written after the one that bounds it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from kokon.cgroup.write import Table
    from kokon.spec.resources import BlockIo, Cpu, DeviceRate, DeviceRule, Memory

THROTTLES = {
    "throttleReadBpsDevice": "blkio.throttle.read_bps_device",
    "throttleWriteBpsDevice": "blkio.throttle.write_bps_device",
    "throttleReadIOPSDevice": "blkio.throttle.read_iops_device",
    "throttleWriteIOPSDevice": "blkio.throttle.write_iops_device",
}


def memory(table: Table, memory: Memory, root: str) -> None:
    """Limits and switches; hierarchical accounting is always on since 5.11."""
    if memory.limit:
        table.add("memory", "memory.limit_in_bytes", memory.limit, f"{root}/limit")
    # After the limit, which may not be above memory and swap together.
    if memory.swap:
        table.add("memory", "memory.memsw.limit_in_bytes", memory.swap, f"{root}/swap")
    if memory.reservation:
        table.add("memory", "memory.soft_limit_in_bytes", memory.reservation, f"{root}/reservation")
    if memory.kernel_tcp:
        table.add(
            "memory", "memory.kmem.tcp.limit_in_bytes", memory.kernel_tcp, f"{root}/kernelTCP"
        )
    if memory.swappiness is not None:
        table.add("memory", "memory.swappiness", memory.swappiness, f"{root}/swappiness")
    if memory.disable_oom_killer:
        table.add("memory", "memory.oom_control", 1, f"{root}/disableOOMKiller")


def cpu(table: Table, cpu: Cpu, root: str) -> None:
    """Shares and bandwidth."""
    if cpu.shares:
        table.add("cpu", "cpu.shares", max(2, min(cpu.shares, 262_144)), f"{root}/shares")
    if cpu.period:
        table.add("cpu", "cpu.cfs_period_us", cpu.period, f"{root}/period")
    if cpu.quota:
        table.add("cpu", "cpu.cfs_quota_us", cpu.quota, f"{root}/quota")
    if cpu.burst is not None:
        table.add("cpu", "cpu.cfs_burst_us", cpu.burst, f"{root}/burst", may_lack=not cpu.burst)
    if cpu.realtime_period:
        table.add("cpu", "cpu.rt_period_us", cpu.realtime_period, f"{root}/realtimePeriod")
    if cpu.realtime_runtime:
        table.add("cpu", "cpu.rt_runtime_us", cpu.realtime_runtime, f"{root}/realtimeRuntime")
    if cpu.idle is not None:
        table.add("cpu", "cpu.idle", cpu.idle, f"{root}/idle", may_lack=not cpu.idle)


def block_io(
    table: Table,
    block_io: BlockIo,
    throttles: Mapping[str, tuple[DeviceRate, ...] | None],
    root: str,
) -> None:
    """Weights are the BFQ scheduler's since CFQ went; kernels of vendors keep the old name."""
    if block_io.weight:
        table.add(
            "blkio",
            "blkio.bfq.weight",
            block_io.weight,
            f"{root}/weight",
            alternatives=(("blkio.weight", str(block_io.weight)),),
        )
    for at, entry in enumerate(block_io.weight_device or ()):
        if entry.weight:
            value = f"{entry.major}:{entry.minor} {entry.weight}"
            table.add(
                "blkio",
                "blkio.bfq.weight_device",
                value,
                f"{root}/weightDevice/{at}",
                alternatives=(("blkio.weight_device", value),),
            )
    for name, rates in throttles.items():
        for at, rate in enumerate(rates or ()):
            value = f"{rate.major}:{rate.minor} {rate.rate}"
            table.add("blkio", THROTTLES[name], value, f"{root}/{name}/{at}")


def device_rule(table: Table, rule: DeviceRule, pointer: str) -> None:
    """One rule of the device white list: ``a`` for everything, else one line per type."""
    access = rule.access or "rwm"
    if not set(access) <= set("rwm") or rule.type not in (None, "a", "b", "c"):
        raise table.wrong(pointer, f"{rule.type!r} with access {access[:10]!r} is no device rule")
    file = "devices.allow" if rule.allow else "devices.deny"
    numbers = []
    for name, number in (("major", rule.major), ("minor", rule.minor)):
        if number is None or number == -1:
            numbers.append("*")
        else:
            numbers.append(str(table.within(f"{pointer}/{name}", number, 0, 0xFFFFFFFF)))
    everything = numbers == ["*", "*"] and set(access) == set("rwm")
    if rule.type in (None, "a") and everything:
        table.add("devices", file, "a *:* rwm", pointer)
        return
    # The kernel reads "a" as everything and ignores the rest of the line.
    for kind in (rule.type,) if rule.type in ("b", "c") else ("b", "c"):
        table.add("devices", file, f"{kind} {numbers[0]}:{numbers[1]} {access}", pointer)
