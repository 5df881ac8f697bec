"""What a person writes for an amount, as numbers: ``100M``, ``1.5`` CPUs, ``5s`` (Docker's words).

Units of memory are binary, as in Docker: ``100M`` is 104857600 bytes.  Every function takes the
option's name for its error, which gives an example that works.
"""

from __future__ import annotations

from kokon.errors import OptionError
from kokon.kernel.constants import RESOURCE_LIMITS
from kokon.spec.resources import LARGEST, MOST_CPUS, index_ranges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

CPU_PERIOD = 100_000
"""Microseconds: the kernel's default period of a CPU quota."""

SMALLEST_QUOTA = 1_000
"""Microseconds: the kernel refuses a smaller CPU quota (kernel/sched/core.c)."""

_UNITS = {"b": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50}
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def memory_bytes(
    value: str | int, option: str = "--memory", *, minimum: int = 1, unlimited: bool = False
) -> int:
    """Bytes of a size: ``100M``, ``1.5g``, ``64KiB``, or an int of bytes.

    :param minimum: the least that is taken, in bytes.
    :param unlimited: whether -1 (no limit) is taken.
    :raises OptionError: no size, no unit, negative, too small, or beyond what the kernel takes.
    """
    example = "write for example 100M, or 1.5G"
    if isinstance(value, int) and not isinstance(value, bool):
        size = value
    elif not isinstance(value, str):
        _refuse(option, value, "is no size", example)
    elif unlimited and value.strip() == "-1":
        size = -1
    else:
        size = _parse_size(value, option, example)
    if size == -1 and unlimited:
        return size
    if size < 0:
        _refuse(option, value, "is negative", example)
    if size < minimum:
        _refuse(option, value, f"is less than the smallest possible, {minimum} bytes", example)
    if size > LARGEST:
        _refuse(option, value, "is more than the kernel takes", example)
    return size


def cpus(value: str | float, option: str = "--cpus") -> tuple[int, int]:
    """``(quota, period)`` in microseconds for a number of CPUs: ``1.5`` is (150000, 100000).

    :raises OptionError: no number, not above zero, below 0.01, or more CPUs than Linux can have.
    """
    example = "write for example 1.5 (one and a half CPUs)"
    number = _number(value)
    if number is None:
        _refuse(option, value, "is no number of CPUs", example)
    if number <= 0:
        _refuse(option, value, "is not above zero", example)
    if number > MOST_CPUS:
        _refuse(option, value, f"is more than {MOST_CPUS}, the most that Linux can have", example)
    quota = round(number * CPU_PERIOD)
    if quota < SMALLEST_QUOTA:
        _refuse(option, value, "is less than 0.01, the smallest share the kernel takes", example)
    return quota, CPU_PERIOD


def cpuset(value: str, option: str = "--cpuset-cpus") -> str:
    """A list of CPUs or memory nodes (``0-3,5``), as the kernel takes it.

    :raises OptionError: no such list, or an index that no Linux can have.
    """
    text = value.replace(" ", "")
    try:
        index_ranges(text)
    except ValueError as error:
        _refuse(option, value, f"is no list of numbers: {error}", "write for example 0-3,5")
    return text


def device_rate(value: str, option: str, *, operations: bool = False) -> tuple[str, int]:
    """``(path, rate)`` of ``/dev/sda:1mb`` (bytes a second) or ``/dev/sda:1000`` (operations).

    :raises OptionError: no absolute path of a device, or no rate.
    """
    example = f"write for example /dev/sda:{'1000' if operations else '1mb'}"
    path, colon, rate = value.rpartition(":")
    if not colon or not path.startswith("/") or "\0" in path:
        _refuse(option, value, "is no DEVICE:RATE with the device's absolute path", example)
    if not operations:
        return path, _parse_size(rate, option, example, ceiling=True)
    if not _is_whole(rate) or int(rate) > LARGEST:
        _refuse(option, value, "has no whole number of operations a second", example)
    return path, int(rate)


def duration(value: str | float, option: str = "--timeout") -> float:
    """Seconds of a duration: ``5s``, ``1m30s``, ``250ms``, ``1.5`` or a number of seconds.

    :raises OptionError: no duration, negative, or longer than a hundred years.
    """
    example = "write for example 5s, 1m30s or 250ms"
    seconds = _number(value)
    if seconds is None:
        seconds = _parse_duration(value) if isinstance(value, str) else None
    if seconds is None:
        _refuse(option, value, "is no duration", example)
    if seconds < 0:
        _refuse(option, value, "is negative", example)
    if seconds > 100 * 366 * 86400:
        _refuse(option, value, "is longer than a hundred years", example)
    return seconds


def ulimit(value: str, option: str = "--ulimit") -> tuple[str, int, int]:
    """``(name, soft, hard)`` of ``nofile=1024:2048``; -1 or ``unlimited`` is no limit, given as -1.

    :raises OptionError: unknown name, no number, or a soft limit above the hard one.
    """
    example = "write for example nofile=1024:2048"
    name, equals, rest = value.partition("=")
    name = name.strip().lower().removeprefix("rlimit_")
    if not equals:
        _refuse(option, value, "has no limit", example)
    if name not in RESOURCE_LIMITS:
        known = ", ".join(sorted(RESOURCE_LIMITS))
        _refuse(option, value, f"names no limit; Linux has {known}", example)
    words = rest.split(":")
    limits = [_limit(word.strip()) for word in words]
    if len(words) > 2 or None in limits:
        _refuse(option, value, "has no number for the limit", example)
    soft, hard = limits[0], limits[-1]
    assert soft is not None and hard is not None
    if hard != -1 and (soft == -1 or soft > hard):
        _refuse(option, value, "has a soft limit above the hard one", example)
    return name, soft, hard


def _parse_size(text: str, option: str, example: str, ceiling: bool = False) -> int:
    """A size with its unit; ``ceiling`` also keeps it above zero and within the kernel's range."""
    word = text.strip().lower()
    digits = word.rstrip("abcdefghijklmnopqrstuvwxyz").rstrip()
    unit = word[len(digits) :].strip()
    number = _number(digits)
    if number is None:
        _refuse(option, text, "is no size", example)
    if number < 0:
        _refuse(option, text, "is negative", example)
    if not unit:
        _refuse(option, text, "has no unit", f"write for example {digits}M, or {digits}B for bytes")
    letter = unit[0]
    if letter not in _UNITS or unit[1:] not in ("", "b", "ib") or unit in ("bb", "bib"):
        _refuse(option, text, f"has the unknown unit {unit!r}", "units are B, K, M, G and T")
    # Whole numbers stay whole: a float has 53 bits.
    if _is_whole(digits):
        size = int(digits) << _UNITS[letter]
    else:
        size = int(number * (1 << _UNITS[letter]))
    if ceiling and not 0 < size <= LARGEST:
        _refuse(option, text, "is not a rate the kernel takes", example)
    return size


def _parse_duration(text: str) -> float | None:
    total, rest = 0.0, text.strip().lower()
    if not rest:
        return None
    while rest:
        length = 0
        while length < len(rest) and (rest[length].isdigit() or rest[length] == "."):
            length += 1
        number, rest = _number(rest[:length]), rest[length:]
        unit = next((unit for unit in _SECONDS if rest.startswith(unit)), None)
        if number is None or unit is None:
            return None
        total += number * _SECONDS[unit]
        rest = rest[len(unit) :]
    return total


def _number(value: object) -> float | None:
    """A finite number from a number or from plain decimal digits; no ``1e3``, ``nan``, ``1_0``."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        text = value.strip()
        plain = text.removeprefix("-").replace(".", "", 1)
        if not plain.isascii() or not plain.isdigit() or len(text) > 40:
            return None
        return float(text)
    if isinstance(value, (int, float)) and abs(value) < 1e300:
        return float(value)
    return None


def _is_whole(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 20


def _limit(word: str) -> int | None:
    if word in ("-1", "unlimited"):
        return -1
    return int(word) if _is_whole(word) and int(word) <= LARGEST else None


def _refuse(option: str, value: object, what: str, remedy: str) -> NoReturn:
    shown = repr(value)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    raise OptionError(f"{shown} {what}", where=option, remedy=remedy)
