"""``linux.resources`` (config-linux.md, Control groups): of a config.json, and of ``update``.

What a number may be depends on the controller of this machine: ``kokon.cgroup.tables`` has that.
"""

from __future__ import annotations

from kokon.errors import SpecError
from kokon.spec.oci.json_text import load
from kokon.spec.oci.kinds import List, Map, Object, Text, Word, shown
from kokon.spec.oci.shapes import FILE_NAME, FILLED, FLAG, INT64, TEXT, UINT16, UINT32, UINT64
from kokon.spec.resources import (
    BlockIo,
    Cpu,
    DeviceRate,
    DeviceRule,
    DeviceWeight,
    HugepageLimit,
    InterfacePriority,
    Memory,
    Network,
    Pids,
    RdmaLimit,
    Resources,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

UNSET = (1 << 64) - 1
"""What engines write for a swappiness of -1: nothing was said."""


def _check_memory(memory: Memory, members: Mapping[str, Any]) -> None:
    if memory.swappiness == UNSET:
        memory.swappiness = None


def _check_weight(entry: DeviceWeight, members: Mapping[str, Any]) -> None:
    if entry.weight is None and entry.leaf_weight is None:
        raise SpecError("has neither weight nor leafWeight")


def _check_rdma(entry: RdmaLimit, members: Mapping[str, Any]) -> None:
    if entry.hca_handles is None and entry.hca_objects is None:
        raise SpecError("has neither hcaHandles nor hcaObjects")


def _check_rule(rule: DeviceRule, members: Mapping[str, Any]) -> None:
    for name in ("major", "minor"):
        number = getattr(rule, name)
        if number == -1:  # the engines' word for "all"
            setattr(rule, name, None)
        elif number is not None and number < 0:
            raise SpecError(f"{number} is no device number", where=f"/{name}")


def _check_page_size(value: str) -> None:
    number, unit = value[:-2], value[-2:]
    plain = number.isascii() and number.isdigit() and number[0] != "0"
    if not plain or unit not in ("KB", "MB", "GB"):
        raise SpecError(f"{shown(value)} is no page size", remedy="write it like 2MB")


def _check_access(value: str) -> None:
    if value.strip("rwm"):
        raise SpecError(f"{shown(value)} has more than the letters r, w and m")


RATES = List(
    Object(
        DeviceRate,
        (("major", "major", INT64), ("minor", "minor", INT64), ("rate", "rate", UINT64)),
        required=("major", "minor", "rate"),
    )
)

RESOURCES = Object(
    Resources,
    (
        ("memory", "memory", Object(
            Memory,
            (
                ("limit", "limit", INT64),
                ("reservation", "reservation", INT64),
                ("swap", "swap", INT64),
                ("kernel", "kernel", INT64),
                ("kernelTCP", "kernel_tcp", INT64),
                ("swappiness", "swappiness", UINT64),
                ("disableOOMKiller", "disable_oom_killer", FLAG),
                ("useHierarchy", "use_hierarchy", FLAG),
                ("checkBeforeUpdate", "check_before_update", FLAG),
            ),
            check=_check_memory,
        )),
        ("cpu", "cpu", Object(
            Cpu,
            (
                ("shares", "shares", UINT64),
                ("quota", "quota", INT64),
                ("burst", "burst", UINT64),
                ("period", "period", UINT64),
                ("realtimeRuntime", "realtime_runtime", INT64),
                ("realtimePeriod", "realtime_period", UINT64),
                ("cpus", "cpus", TEXT),
                ("mems", "mems", TEXT),
                ("idle", "idle", INT64),
            ),
        )),
        ("pids", "pids", Object(Pids, (("limit", "limit", INT64),))),
        ("blockIO", "block_io", Object(
            BlockIo,
            (
                ("weight", "weight", UINT16),
                ("leafWeight", "leaf_weight", UINT16),
                ("weightDevice", "weight_device", List(Object(
                    DeviceWeight,
                    (
                        ("major", "major", INT64),
                        ("minor", "minor", INT64),
                        ("weight", "weight", UINT16),
                        ("leafWeight", "leaf_weight", UINT16),
                    ),
                    required=("major", "minor"),
                    check=_check_weight,
                ))),
                ("throttleReadBpsDevice", "throttle_read_bps_device", RATES),
                ("throttleWriteBpsDevice", "throttle_write_bps_device", RATES),
                ("throttleReadIOPSDevice", "throttle_read_iops_device", RATES),
                ("throttleWriteIOPSDevice", "throttle_write_iops_device", RATES),
            ),
        )),
        ("hugepageLimits", "hugepage_limits", List(Object(
            HugepageLimit,
            (
                ("pageSize", "page_size", Text(_check_page_size)),
                ("limit", "limit", UINT64),
            ),
            required=("page_size", "limit"),
        ))),
        ("rdma", "rdma", Map(FILLED, Object(
            RdmaLimit,
            (("hcaHandles", "hca_handles", UINT32), ("hcaObjects", "hca_objects", UINT32)),
            check=_check_rdma,
        ))),
        ("network", "network", Object(
            Network,
            (
                ("classID", "class_id", UINT32),
                ("priorities", "priorities", List(Object(
                    InterfacePriority,
                    (("name", "name", FILLED), ("priority", "priority", UINT32)),
                    required=("name", "priority"),
                ))),
            ),
        )),
        ("unified", "unified", Map(FILE_NAME, TEXT)),
        ("devices", "devices", List(Object(
            DeviceRule,
            (
                ("allow", "allow", FLAG),
                ("type", "type", Word("kind of device", ("a", "b", "c"))),
                ("major", "major", INT64),
                ("minor", "minor", INT64),
                ("access", "access", Text(_check_access)),
            ),
            required=("allow",),
            check=_check_rule,
        ))),
    ),
)  # fmt: skip


def parse_resources(data: bytes) -> Resources:
    """What ``update --resources`` is given: a whole ``resources`` object.

    :raises SpecError: it breaks the specification; ``where`` is the JSON pointer.
    """
    resources: Resources = RESOURCES.read(load(data))
    return resources
