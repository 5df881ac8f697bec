"""Units of systemd as values: names from ``cgroupsPath``, properties from what is written (pure).

A scope's files are systemd's too: it writes them again when it is told of another property, and at
``systemctl daemon-reload``.  So each limit is told to it as well as written, and this is the
closed, typed list of what is told (org.freedesktop.systemd1(5), systemd.resource-control(5)).  What
is not in it systemd does not write: rates of single devices, huge pages, cpu.max.burst.
"""

from __future__ import annotations

from kokon.cgroup.tables import group_path
from kokon.cgroup.write import Write
from kokon.errors import SpecError
from kokon.spec.resources import index_ranges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

PROPERTIES = {
    "Description": "s",
    "Slice": "s",
    "PIDs": "au",
    "Delegate": "b",
    "DefaultDependencies": "b",
    "CollectMode": "s",
    "MemoryMin": "t",
    "MemoryLow": "t",
    "MemoryHigh": "t",
    "MemoryMax": "t",
    "MemorySwapMax": "t",
    "CPUWeight": "t",
    "CPUQuotaPerSecUSec": "t",
    "CPUQuotaPeriodUSec": "t",
    "AllowedCPUs": "ay",
    "AllowedMemoryNodes": "ay",
    "IOWeight": "t",
    "TasksMax": "t",
}
"""Every property that we ever set, with its D-Bus type; values are built here, by code."""

INFINITY = (1 << 64) - 1
"""No limit; of a weight that none is set."""

WHERE = "/linux/cgroupsPath"
FORM = "write SLICE:PREFIX:NAME, such as system.slice:kokon:web"
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\")


def scope_name(path: str, identity: str, default_slice: str) -> tuple[str, str]:
    """The slice and the scope that a ``cgroupsPath`` names: ``slice:prefix:name``.

    Without a path it is ``kokon-ID.scope``, as runC's is ``runc-ID.scope``.

    :param default_slice: where none is named.
    :raises SpecError: it has another form, or systemd allows no such name.
    """
    if not path:
        # The one character of an id that a unit's name may not have, as systemd-escape has it.
        return default_slice, f"kokon-{identity}.scope".replace("+", "\\x2b")
    parts = path.split(":")
    if len(parts) != 3 or not parts[2]:
        raise SpecError(f"{path[:80]!r} names no scope of systemd", where=WHERE, remedy=FORM)
    slice_name, prefix, name = parts
    unit = f"{prefix}-{name}.scope" if prefix else f"{name}.scope"
    slice_name = slice_name or default_slice
    for word in (unit, slice_name):
        # The first character as systemd leaves it when it names a group (cg_escape).
        if len(word) > 255 or word[0] in "_.:" or not _PLAIN.issuperset(word):
            raise SpecError(
                f"{path[:80]!r} is not possible, because systemd has no unit {word[:80]!r}",
                where=WHERE, remedy="use letters, digits and - _ . in each part",
            )  # fmt: skip
    if name.endswith(".slice"):
        raise SpecError(
            f"{path[:80]!r} names a slice, and a container is in a scope", where=WHERE, remedy=FORM
        )
    return slice_name, unit


def scope_path(slice_name: str, unit: str) -> str:
    """A scope's group below its manager's: ``/a.slice/a-b.slice/UNIT`` (systemd.slice(5)).

    :raises SpecError: it is no slice.
    """
    stem = slice_name.removesuffix(".slice")
    words = stem.split("-")
    if stem == slice_name or (stem != "-" and "" in words):
        raise SpecError(
            f"{slice_name[:80]!r} is no slice of systemd", where=WHERE,
            remedy="name one such as a.slice, or a-b.slice in a.slice",
        )  # fmt: skip
    above = [] if stem == "-" else ["-".join(words[: at + 1]) for at in range(len(words))]
    path = "".join(f"/{name}.slice" for name in above) + f"/{unit}"
    group_path(path)  # no name is that of a control file
    return path


def typed(values: dict[str, Any]) -> list[tuple[str, Any]]:
    """Properties as D-Bus takes them: ``(name, (type, value))``."""
    return [(name, (PROPERTIES[name], value)) for name, value in values.items()]


def limits(writes: Iterable[Write]) -> dict[str, Any]:
    """The properties that say what is written, for files that systemd may write as well.

    :raises SpecError: a list of CPUs or memory nodes is none.
    """
    values: dict[str, Any] = {}
    for write in writes:
        tell = FILES.get(write.file)
        if tell is not None:
            values.update(tell(write.value, write.why))
    return values


def _size(name: str) -> Callable[[str, str], dict[str, Any]]:
    def tell(value: str, why: str) -> dict[str, Any]:
        number = _bytes(value)
        return {} if number is None else {name: number}

    return tell


def _bytes(value: str) -> int | None:
    """As memparse() of the kernel; None for what it refuses when the file is written."""
    if value == "max":
        return INFINITY
    number, unit = (value[:-1], value[-1].upper()) if value[-1:].isalpha() else (value, "")
    if not (number.isascii() and number.isdigit()) or unit not in ("", *_UNITS):
        return None
    return min(int(number) << (10 * (_UNITS.index(unit) + 1) if unit else 0), INFINITY - 1)


_UNITS = ("K", "M", "G", "T", "P", "E")


def _number(value: str) -> int | None:
    return int(value) if value.isascii() and value.isdigit() else None


def _cpu_weight(value: str, why: str) -> dict[str, Any]:
    number = _number(value)
    return {} if number is None else {"CPUWeight": number}


def _cpu_idle(value: str, why: str) -> dict[str, Any]:
    # 0 is systemd's word for idle.
    return {"CPUWeight": 0 if value == "1" else INFINITY}


def _cpu_max(value: str, why: str) -> dict[str, Any]:
    words = value.split()
    period = _number(words[1]) if len(words) == 2 else 100_000
    quota = INFINITY if words[0] == "max" else _number(words[0])
    if not period or quota is None:
        return {}
    if quota != INFINITY:
        # systemd keeps whole percents, and the file says it exactly: never less than that.
        quota = -(-quota * 1_000_000 // period // 10_000) * 10_000
    return {"CPUQuotaPerSecUSec": quota, "CPUQuotaPeriodUSec": period}


def _index_mask(name: str) -> Callable[[str, str], dict[str, Any]]:
    def tell(value: str, why: str) -> dict[str, Any]:
        try:
            ranges = index_ranges(value)
        except ValueError as error:
            raise SpecError(f"{value[:60]!r} is no list of numbers: {error}", where=why) from None
        mask = 0
        for low, high in ranges:
            mask |= (1 << (high + 1)) - (1 << low)
        return {name: mask.to_bytes((mask.bit_length() + 7) // 8, "little")}

    return tell


def _io_weight(value: str, why: str) -> dict[str, Any]:
    number = _number(value.removeprefix("default").strip())
    return {} if number is None else {"IOWeight": number}


def _bfq_weight(value: str, why: str) -> dict[str, Any]:
    """The weight of which systemd makes this one again (BFQ_WEIGHT of its src/core/cgroup.c)."""
    number = _number(value.removeprefix("default").strip())
    if number is None:
        return {}
    return {"IOWeight": number if number <= 100 else 100 + (number - 100) * 11}


def _pids(value: str, why: str) -> dict[str, Any]:
    number = INFINITY if value == "max" else _number(value)
    # systemd takes no 0; with its one process a group of 1 can make no other either.
    return {} if number is None else {"TasksMax": max(number, 1)}


FILES: dict[str, Callable[[str, str], dict[str, Any]]] = {
    "memory.min": _size("MemoryMin"),
    "memory.low": _size("MemoryLow"),
    "memory.high": _size("MemoryHigh"),
    "memory.max": _size("MemoryMax"),
    "memory.swap.max": _size("MemorySwapMax"),
    "cpu.weight": _cpu_weight,
    "cpu.idle": _cpu_idle,
    "cpu.max": _cpu_max,
    "cpuset.cpus": _index_mask("AllowedCPUs"),
    "cpuset.mems": _index_mask("AllowedMemoryNodes"),
    "io.weight": _io_weight,
    "io.bfq.weight": _bfq_weight,
    "pids.max": _pids,
}
"""What systemd writes of a scope's files, and how it is told what to write there."""


def known(writes: Sequence[Write], has: Callable[[str], bool]) -> list[Write]:
    """The writes as they are made where ``has`` says which files there are."""
    found = []
    for write in writes:
        for file, value in ((write.file, write.value), *write.alternatives):
            if has(file):
                found.append(Write(write.controller, file, value, write.why))
                break
    return found
