"""``linux`` (config-linux.md) but for its resources and seccomp, which have tables of their own."""

from __future__ import annotations

from kokon.errors import SpecError
from kokon.spec.oci.kinds import List, Map, Object, Text, Whole, Word, below, shown, wrong
from kokon.spec.oci.resources import RESOURCES
from kokon.spec.oci.seccomp import SECCOMP
from kokon.spec.oci.shapes import (
    ABSOLUTE,
    ABSOLUTE_OR_EMPTY,
    FILLED,
    FLAG,
    ID,
    INDICES,
    INT64,
    LINE,
    UINT32,
    WORDS,
)
from kokon.spec.oci.values import IntelRdt, MemoryPolicy, NetDevice, Personality
from kokon.spec.pointer import escaped
from kokon.spec.runtime import Device, IdMapping, Linux, Namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

NAMESPACES = ("mount", "pid", "network", "uts", "ipc", "user", "cgroup", "time")

PROPAGATIONS = (
    "private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable",
)  # fmt: skip
"""The specification has the four without r; engines write the others, which mean what is below the
root too.
"""

MODES = tuple(
    "MPOL_" + name
    for name in (
        "DEFAULT", "BIND", "INTERLEAVE", "WEIGHTED_INTERLEAVE", "PREFERRED", "PREFERRED_MANY",
        "LOCAL",
    )
)  # fmt: skip

MODE_FLAGS = ("MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES")

FILE_TYPES = {"c": 0o020000, "u": 0o020000, "b": 0o060000, "p": 0o010000}
"""mknod(1)'s letters, with the bits of inode(7) that engines leave in ``fileMode``."""

MOST_MAPPINGS = 340
"""The kernel takes as many lines in uid_map (user_namespaces(7))."""


class TimeOffset(Object):
    """A member of ``timeOffsets``; (seconds, nanoseconds) as a value."""

    __slots__ = ()

    def dump(self, value: Any) -> dict[str, Any]:
        """Both."""
        return {"secs": value[0], "nanosecs": value[1]}


def _time_offset(secs: int = 0, nanosecs: int = 0) -> tuple[int, int]:
    return secs, nanosecs


def _check_clock(name: str) -> None:
    if name not in ("monotonic", "boottime"):
        raise SpecError("is no clock of a time namespace", remedy="it has monotonic and boottime")


def _check_interface(name: str) -> None:
    """dev_valid_name of net/core/dev.c."""
    ok = 0 < len(name.encode()) < 16 and name not in (".", "..")
    if not ok or "/" in name or ":" in name or name.split() != [name]:
        raise SpecError(f"{shown(name)} is no name of a network device")


def _check_class(name: str) -> None:
    if name in (".", "..") or ("/" in name and name != "/") or "\n" in name:
        raise SpecError(f"{shown(name)} is no directory in resctrl", remedy="give a name, or /")


def _check_bandwidth(text: str) -> None:
    if text and ("\n" in text or not text.startswith("MB:")):
        raise SpecError(f"{shown(text)} is no line that begins with MB:")


def _check_cgroups_path(path: str) -> None:
    if ".." in path.split("/"):
        raise SpecError(f"{shown(path)} has .. in it", remedy="name the real path")


def _check_mapping(mapping: IdMapping, members: Mapping[str, Any]) -> None:
    if not mapping.size:
        raise SpecError("is none", where="/size")
    for name, first in (("containerID", mapping.container_id), ("hostID", mapping.host_id)):
        if first + mapping.size - 1 > ID.most:
            raise SpecError(
                f"{mapping.size} ids from {first} on end above {ID.most}, the largest",
                where=f"/{name}",
            )


def _check_device(device: Device, members: Mapping[str, Any]) -> None:
    kind = device.file_mode & 0o170000
    if kind and kind != FILE_TYPES[device.type]:
        raise SpecError(f"{device.file_mode} is the mode of another type", where="/fileMode")
    device.file_mode &= 0o7777
    for name, most in (("major", 0xFFF), ("minor", 0xFFFFF)):  # linux/kdev_t.h
        number = members.get(name)
        if number is None and device.type != "p":
            raise SpecError("is missing", where=f"/{name}")
        if number is not None and not 0 <= number <= most:
            raise below(wrong(f"from 0 to {most}", number), name)


def _check_policy(policy: MemoryPolicy, members: Mapping[str, Any]) -> None:
    """The rules of set_mempolicy(2), which answers EINVAL alone."""
    without = policy.mode in ("MPOL_DEFAULT", "MPOL_LOCAL")
    if without and policy.nodes:
        raise SpecError(f"{policy.mode} takes none", where="/nodes", remedy="remove it")
    if not policy.nodes and not without and policy.mode != "MPOL_PREFERRED":
        raise SpecError(f"{policy.mode} needs at least one", where="/nodes")
    if {"MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"} <= set(policy.flags or ()):
        raise SpecError("nodes are either static or relative", where="/flags")


def _check_personality(personality: Personality, members: Mapping[str, Any]) -> None:
    if personality.flags:
        raise SpecError(
            f"{shown(personality.flags[0])} is no flag of a personality: there are none",
            where="/flags/0",
        )


def check_mappings(mappings: tuple[IdMapping, ...], where: str) -> None:
    """No two may have an id in common, on either side (user_namespaces(7)).

    :raises SpecError: two have, or they are more than the kernel takes.
    """
    if len(mappings) > MOST_MAPPINGS:
        raise SpecError(f"has more than {MOST_MAPPINGS} entries, the most", where=where)
    for side, name in ((0, "containerID"), (1, "hostID")):
        ordered = sorted(enumerate(mappings), key=lambda entry: entry[1].key()[side])
        end = -1
        for at, mapping in ordered:
            if mapping.key()[side] <= end:
                raise SpecError(
                    f"has ids of another mapping, up to {end}", where=f"{where}/{at}/{name}"
                )
            end = mapping.key()[side] + mapping.size - 1


def _check_linux(linux: Linux, members: Mapping[str, Any]) -> None:
    found: dict[str, Namespace] = {}
    for at, namespace in enumerate(linux.namespaces):
        if namespace.type in found:
            raise SpecError(
                f"the {namespace.type} namespace is there twice", where=f"/namespaces/{at}/type"
            )
        found[namespace.type] = namespace
    _check_user_namespace(linux, found.get("user"))
    if linux.time_offsets:
        if "time" not in found:
            raise SpecError("there is no time namespace to have them", where="/timeOffsets")
        if found["time"].path:
            raise SpecError("a namespace that is joined has its own", where="/timeOffsets")
    inside = set[str]()
    for name, device in linux.net_devices.items():
        target = device.name or name
        if target in inside and "%d" not in target:
            raise SpecError(f"{target} is there twice inside", where=f"/netDevices/{escaped(name)}")
        inside.add(target)


def _check_user_namespace(linux: Linux, namespace: Namespace | None) -> None:
    for name, mappings in (("uid", linux.uid_mappings), ("gid", linux.gid_mappings)):
        where = f"/{name}Mappings"
        check_mappings(mappings, where)
        if mappings and namespace is None:
            raise SpecError("there is no user namespace to have them", where=where)
        if not mappings and namespace is not None and not namespace.path:
            raise SpecError("a new user namespace needs them", where=where)


MAPPINGS = List(
    Object(
        IdMapping,
        (
            ("containerID", "container_id", ID),
            ("hostID", "host_id", ID),
            ("size", "size", UINT32),
        ),
        required=("container_id", "host_id", "size"),
        check=_check_mapping,
    )
)

LINUX = Object(
    Linux,
    (
        ("namespaces", "namespaces", List(Object(
            Namespace,
            (
                ("type", "type", Word("kind of namespace", NAMESPACES)),
                ("path", "path", ABSOLUTE_OR_EMPTY),
            ),
            required=("type",),
        ))),
        ("uidMappings", "uid_mappings", MAPPINGS),
        ("gidMappings", "gid_mappings", MAPPINGS),
        ("timeOffsets", "time_offsets", Map(Text(_check_clock), TimeOffset(
            _time_offset,
            (("secs", "secs", INT64), ("nanosecs", "nanosecs", Whole(0, 999_999_999))),
        ))),
        ("devices", "devices", List(Object(
            Device,
            (
                ("path", "path", ABSOLUTE),
                ("type", "type", Word("type of device", tuple(FILE_TYPES))),
                ("major", "major", INT64),
                ("minor", "minor", INT64),
                ("fileMode", "file_mode", Whole(0, 0o177777)),
                ("uid", "uid", ID),
                ("gid", "gid", ID),
            ),
            required=("path", "type"),
            check=_check_device,
        ))),
        ("netDevices", "net_devices", Map(Text(_check_interface), Object(
            NetDevice, (("name", "name", Text(_check_interface)),)
        ))),
        ("cgroupsPath", "cgroups_path", Text(_check_cgroups_path)),
        ("resources", "resources", RESOURCES),
        ("rootfsPropagation", "rootfs_propagation", Word("mount propagation", PROPAGATIONS)),
        ("seccomp", "seccomp_document", SECCOMP),
        ("sysctl", "sysctl", WORDS),
        ("maskedPaths", "masked_paths", List(ABSOLUTE)),
        ("readonlyPaths", "readonly_paths", List(ABSOLUTE)),
        ("mountLabel", "mount_label", LINE),
        ("intelRdt", "intel_rdt", Object(
            IntelRdt,
            (
                ("closID", "clos_id", Text(_check_class)),
                ("l3CacheSchema", "l3_cache_schema", LINE),
                ("memBwSchema", "mem_bw_schema", Text(_check_bandwidth)),
                ("schemata", "schemata", List(LINE)),
                ("enableMonitoring", "enable_monitoring", FLAG),
            ),
        )),
        ("memoryPolicy", "memory_policy", Object(
            MemoryPolicy,
            (
                ("mode", "mode", Word("mode of memory policy", MODES)),
                ("nodes", "nodes", INDICES),
                ("flags", "flags", List(Word("flag of a memory policy", MODE_FLAGS))),
            ),
            required=("mode",),
            check=_check_policy,
        )),
        ("personality", "personality", Object(
            Personality,
            (
                ("domain", "domain", Word("execution domain", ("LINUX", "LINUX32"))),
                ("flags", "flags", List(FILLED)),
            ),
            required=("domain",),
            check=_check_personality,
        )),
    ),
    check=_check_linux,
)  # fmt: skip
