from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kokon.config import sizes
from kokon.errors import OptionError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("100M", 104_857_600),
        ("100m", 104_857_600),
        ("100MB", 104_857_600),
        ("100MiB", 104_857_600),
        ("1.5g", 1_610_612_736),
        ("64KiB", 65_536),
        ("512b", 512),
        (" 2 t ", 2 << 40),
        (4096, 4096),
    ],
)
def test_memory(text: str | int, value: int) -> None:
    assert sizes.memory_bytes(text) == value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("100", "no unit"),
        ("-100M", "negative"),
        (-1, "negative"),
        ("-1", "negative"),
        ("0M", "less than the smallest"),
        ("9999999999999999999T", "more than the kernel"),
        (1 << 63, "more than the kernel"),
        ("100X", "unknown unit"),
        ("100bb", "unknown unit"),
        ("1e3M", "is no size"),
        ("0x10M", "is no size"),
        ("nanM", "is no size"),
        ("", "is no size"),
        ("M", "is no size"),
        ("1 000M", "is no size"),
        ("١M", "is no size"),
        (True, "is no size"),
        (1.5, "is no size"),
        ("9" * 100_000 + "M", "is no size"),
    ],
)
def test_memory_that_cannot_be_meant(text: str | int, words: str) -> None:
    with pytest.raises(OptionError, match=words) as caught:
        sizes.memory_bytes(text)
    message = str(caught.value)
    assert message.startswith("--memory: ") and len(message) < 250
    assert caught.value.remedy


def test_the_missing_unit_is_suggested_with_the_number() -> None:
    with pytest.raises(OptionError, match="write for example 512M, or 512B for bytes"):
        sizes.memory_bytes("512", "--memory-swap")


def test_unlimited_only_where_it_is_a_value() -> None:
    assert sizes.memory_bytes("-1", "--memory-swap", unlimited=True) == -1
    assert sizes.memory_bytes(-1, "--memory-swap", unlimited=True) == -1
    with pytest.raises(OptionError):
        sizes.memory_bytes("-2", "--memory-swap", unlimited=True)


def test_minimum() -> None:
    with pytest.raises(OptionError, match="less than the smallest possible, 6291456 bytes"):
        sizes.memory_bytes("5M", minimum=6 << 20)


@given(st.integers(1, (1 << 63) - 1))
def test_whole_bytes_stay_whole(size: int) -> None:
    assert sizes.memory_bytes(f"{size}b") == size


@given(st.text(max_size=20) | st.floats() | st.integers())
def test_nothing_else_than_an_option_error(value: str | float) -> None:
    for parse in (sizes.memory_bytes, sizes.cpus, sizes.duration):
        try:
            parse(value)  # type: ignore[arg-type]
        except OptionError:
            pass
    for parse_text in (sizes.cpuset, sizes.ulimit):
        try:
            parse_text(str(value))
        except OptionError:
            pass


@pytest.mark.parametrize(
    ("value", "quota"), [("1.5", 150_000), (2, 200_000), (0.01, 1_000), ("8192", 819_200_000)]
)
def test_cpus(value: str | float, quota: int) -> None:
    assert sizes.cpus(value) == (quota, 100_000)


@pytest.mark.parametrize("value", ["0", -1, "8193", "0.001", "two", "", math.nan, math.inf, True])
def test_cpus_that_cannot_be_meant(value: str | float) -> None:
    with pytest.raises(OptionError, match=r"write for example 1\.5"):
        sizes.cpus(value)


def test_cpuset() -> None:
    assert sizes.cpuset("0-3, 5") == "0-3,5"
    for wrong in ("", "a", "3-1", "0-", "-1", "1-999999999", "8192", "1,,2", "0-3\n"):
        with pytest.raises(OptionError, match="write for example 0-3,5"):
            sizes.cpuset(wrong)


def test_device_rate() -> None:
    assert sizes.device_rate("/dev/sda:1mb", "--device-read-bps") == ("/dev/sda", 1 << 20)
    assert sizes.device_rate("/dev/disk/by-path/a:b:1k", "--x") == ("/dev/disk/by-path/a:b", 1024)
    assert sizes.device_rate("/dev/sda:1000", "--x", operations=True) == ("/dev/sda", 1000)
    for wrong in ("sda:1mb", "/dev/sda", "/dev/sda:", "/dev/sda:0b", "/dev/sda:-1m", "/dev/sda:5"):
        with pytest.raises(OptionError):
            sizes.device_rate(wrong, "--device-read-bps")
    with pytest.raises(OptionError, match="/dev/sda:1000"):
        sizes.device_rate("/dev/sda:1mb", "--device-read-iops", operations=True)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5s", 5.0), ("1m30s", 90.0), ("250ms", 0.25), ("1.5h", 5400.0), (2, 2.0), ("0.5", 0.5)],
)
def test_duration(text: str | float, seconds: float) -> None:
    assert sizes.duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "5x", "5s5", "-1s", -1, math.nan, "1000000d", "5 s 1"])
def test_duration_that_cannot_be_meant(text: str | float) -> None:
    with pytest.raises(OptionError, match="write for example 5s"):
        sizes.duration(text)


def test_ulimit() -> None:
    assert sizes.ulimit("nofile=1024:2048") == ("nofile", 1024, 2048)
    assert sizes.ulimit("core=0") == ("core", 0, 0)
    assert sizes.ulimit("memlock=-1:unlimited") == ("memlock", -1, -1)
    assert sizes.ulimit("RLIMIT_NPROC=10:-1") == ("nproc", 10, -1)
    for wrong in (
        "nofile",
        "nofile=",
        "nofile=a",
        "nofile=2:1",
        "nofile=-1:5",
        "files=1",
        "core=1:2:3",
    ):
        with pytest.raises(OptionError, match="write for example nofile=1024:2048"):
            sizes.ulimit(wrong)
