"""What ``events`` tells of a container's usage, under the names that engines know from runC."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from kokon.cgroup.group import Group
    from kokon.cgroup.manager import Manager

UNLIMITED = (1 << 64) - 1
"""Engines' word for a memory limit of ``max``."""

BLKIO = {
    "ioServiceBytesRecursive": ("blkio.throttle.io_service_bytes_recursive",
                                "blkio.throttle.io_service_bytes"),
    "ioServicedRecursive": ("blkio.throttle.io_serviced_recursive", "blkio.throttle.io_serviced"),
    "ioQueueRecursive": ("blkio.io_queued_recursive",),
    "ioServiceTimeRecursive": ("blkio.io_service_time_recursive",),
    "ioWaitTimeRecursive": ("blkio.io_wait_time_recursive",),
    "ioMergedRecursive": ("blkio.io_merged_recursive",),
    "ioTimeRecursive": ("blkio.time_recursive",),
    "sectorsRecursive": ("blkio.sectors_recursive",),
}  # fmt: skip
"""Member to the files of version 1 that have it, the newest first."""

IO_STAT = {
    "rbytes": ("ioServiceBytesRecursive", "Read"),
    "wbytes": ("ioServiceBytesRecursive", "Write"),
    "rios": ("ioServicedRecursive", "Read"),
    "wios": ("ioServicedRecursive", "Write"),
}
"""Keys of version 2's io.stat, as the member and the kind of operation that they are there."""


def statistics(manager: Manager) -> dict[str, Any]:
    """The ``data`` of an event of type stats: bytes, nanoseconds, counts."""
    groups, unified = manager.groups, manager.groups.get("unified")
    return {
        "cpu": _cpu(groups, unified),
        "memory": _memory(groups.get("memory"), unified),
        "pids": _pids(groups.get("pids", unified)),
        "blkio": _blkio(groups.get("blkio"), unified),
        "hugetlb": _hugetlb(groups.get("hugetlb"), unified),
    }


def oom_kills(manager: Manager) -> int:
    """Processes that the kernel has ended for want of memory so far."""
    return manager.usage().oom_kills or 0


def _cpu(groups: dict[str, Group], unified: Group | None) -> dict[str, Any]:
    usage: dict[str, Any] = {"total": 0, "kernel": 0, "user": 0}
    throttling = {}
    account, cpu = groups.get("cpuacct"), groups.get("cpu")
    if account is not None:
        usage = {
            "total": account.number("cpuacct.usage") or 0,
            "percpu": [int(w) for w in (account.read("cpuacct.usage_percpu") or "").split()],
            "kernel": account.number("cpuacct.usage_sys") or 0,
            "user": account.number("cpuacct.usage_user") or 0,
        }
    elif unified is not None:
        found = unified.keyed("cpu.stat")
        names = {"total": "usage_usec", "kernel": "system_usec", "user": "user_usec"}
        usage = {name: found.get(key, 0) * 1000 for name, key in names.items()}
    if cpu is not None:
        found = cpu.keyed("cpu.stat")
        throttling = {"throttledTime": found.get("throttled_time", 0)}
    elif unified is not None:
        found = unified.keyed("cpu.stat")
        throttling = {"throttledTime": found.get("throttled_usec", 0) * 1000}
    if throttling:
        throttling["periods"] = found.get("nr_periods", 0)
        throttling["throttledPeriods"] = found.get("nr_throttled", 0)
    return {"usage": usage, "throttling": throttling}


def _memory(group: Group | None, unified: Group | None) -> dict[str, Any]:
    if group is not None:
        raw = group.keyed("memory.stat")

        def entry(prefix: str) -> dict[str, int]:
            names = {"limit": "limit_in_bytes", "usage": "usage_in_bytes",
                     "max": "max_usage_in_bytes", "failcnt": "failcnt"}  # fmt: skip
            return {name: group.number(f"{prefix}.{file}") or 0 for name, file in names.items()}

        return {
            "cache": raw.get("cache", 0),
            "usage": entry("memory"),
            "swap": entry("memory.memsw"),
            "kernel": entry("memory.kmem"),
            "kernelTCP": entry("memory.kmem.tcp"),
            "raw": raw,
        }
    if unified is None or unified.read("memory.current") is None:
        return {}
    raw = unified.keyed("memory.stat")
    used = unified.number("memory.current") or 0
    limit = unified.number("memory.max")
    usage = {
        "limit": UNLIMITED if limit is None else limit,
        "usage": used,
        "max": unified.number("memory.peak") or 0,
        "failcnt": unified.keyed("memory.events").get("max", 0),
    }
    more, most = unified.number("memory.swap.current") or 0, unified.number("memory.swap.max")
    together = UNLIMITED if limit is None or most is None else limit + most
    return {
        "cache": raw.get("file", 0),
        "usage": usage,
        "swap": {"limit": together, "usage": used + more, "failcnt": 0},
        "raw": raw,
    }


def _pids(group: Group | None) -> dict[str, int]:
    if group is None or group.read("pids.current") is None:
        return {}
    return {"current": group.number("pids.current") or 0, "limit": group.number("pids.max") or 0}


def _blkio(group: Group | None, unified: Group | None) -> dict[str, Any]:
    if group is not None:
        return {
            name: next((rows for file in files if (rows := _entries(group.read(file)))), [])
            for name, files in BLKIO.items()
        }
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in BLKIO}
    text = unified.read("io.stat") if unified is not None else None
    for line in (text or "").splitlines():
        device, *pairs = line.split()
        major, _, minor = device.partition(":")
        for pair in pairs:
            key, _, value = pair.partition("=")
            if key in IO_STAT and major.isdigit():
                name, kind = IO_STAT[key]
                found[name].append(_entry(major, minor, kind, value))
    return found


def _entries(text: str | None) -> list[dict[str, Any]]:
    """``8:0 Read 4096`` and ``8:0 4096``; the sum at the end is left out."""
    found = []
    for line in (text or "").splitlines():
        device, *words = line.split()
        major, colon, minor = device.partition(":")
        if colon and words:
            found.append(_entry(major, minor, words[0] if len(words) > 1 else "", words[-1]))
    return found


def _entry(major: str, minor: str, kind: str, value: str) -> dict[str, Any]:
    return {"major": int(major), "minor": int(minor), "op": kind, "value": int(value)}


def _hugetlb(group: Group | None, unified: Group | None) -> dict[str, Any]:
    owner = group or unified
    if owner is None:
        return {}
    now = "usage_in_bytes" if group is not None else "current"
    found = {}
    for name in sorted(os.listdir(owner.path)) if os.path.isdir(owner.path) else ():
        words = name.split(".")
        if len(words) == 3 and words[0] == "hugetlb" and words[2] == now:
            size = words[1]
            peak = owner.number(f"hugetlb.{size}.max_usage_in_bytes") or 0
            failed = owner.number(f"hugetlb.{size}.failcnt")
            if group is None:
                failed = owner.keyed(f"hugetlb.{size}.events").get("max", 0)
            found[size] = {"usage": owner.number(name) or 0, "max": peak, "failcnt": failed or 0}
    return found
