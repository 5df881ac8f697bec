"""Ranges of ids."""

from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kokon.errors import HostError, OptionError
from kokon.security.idmap import (
    GAP,
    MOST,
    RANGE,
    IdMapping,
    check,
    entries,
    mapping,
    private_ranges,
    text,
    to_host,
)


def test_subid_lines() -> None:
    subid = (
        "ann:100000:65536\n\n# note\nbob:x:1\n7:5:0\n:1:1\n1000:300000:10\nz:4294967295:1\nann:5:2"
    )
    assert list(entries(subid)) == [
        ("ann", range(100000, 165536)),
        ("1000", range(300000, 300010)),
        ("ann", range(5, 7)),
    ]


def test_text_of_uid_map() -> None:
    assert (
        text([IdMapping(0, 1000, 1), IdMapping(1, 100000, 65535)]) == "0 1000 1\n1 100000 65535\n"
    )


def test_user_mapping() -> None:
    mappings = mapping(1000, [range(100000, 165536), range(999, 1001), range(7, 9)])
    assert mappings == (IdMapping(0, 1000, 1), IdMapping(1, 100000, 65536), IdMapping(65537, 7, 2))
    check(mappings)
    assert to_host(mappings, 0) == 1000
    assert to_host(mappings, 65538) == 8
    assert to_host(mappings, 65539) is None


@pytest.mark.parametrize(
    "mappings",
    [
        [],
        [IdMapping(0, 0, 0)],
        [IdMapping(0, -1, 1)],
        [IdMapping(0, MOST, 2)],
        [IdMapping(MOST, 0, 2)],
        [IdMapping(0, 0, 10), IdMapping(9, 100, 1)],
        [IdMapping(0, 5, 10), IdMapping(100, 0, 6)],
        [IdMapping(n, n, 1) for n in range(341)],
    ],
)
def test_mappings_that_the_kernel_refuses(mappings: list[IdMapping]) -> None:
    with pytest.raises(OptionError, match=r"^--uid-map: "):
        check(mappings, "--uid-map")


def test_largest_mappings() -> None:
    check([IdMapping(0, 0, MOST + 1)])
    check([IdMapping(n, n, 1) for n in range(340)])


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(1, 9)), max_size=6))
def test_check_is_the_definition(numbers: list[tuple[int, int, int]]) -> None:
    mappings = [IdMapping(*three) for three in numbers]
    inside = [c + n for c, _, size in numbers for n in range(size)]
    outside = [h + n for _, h, size in numbers for n in range(size)]
    distinct = len(set(inside)) == len(inside) and len(set(outside)) == len(outside)
    try:
        check(mappings)
    except OptionError:
        assert not numbers or not distinct
    else:
        assert numbers and distinct


def test_private_ranges_come_from_the_gap() -> None:
    assert list(private_ranges("", "")) == list(GAP)
    assert len(GAP) == 4096
    assert (GAP[0], GAP[-1]) == (0x70000000, 0x7FFF0000)
    taken = f"ann:{0x70000000 + 5}:1\n"
    subgid = f"bob:{0x70010000 - 1}:2\n{1000}:{0x6FFFFFFF}:1\n"
    assert next(private_ranges(taken, subgid)) == 0x70020000


def test_private_ranges_come_from_the_line_kokon() -> None:
    assert list(private_ranges("kokon:100000:131072", "kokon:100000:131072")) == [100000, 165536]
    assert list(private_ranges("kokon:100000:131072", "kokon:165536:131072")) == [165536]
    twice = "kokon:100000:65536\nkokon:500000:65536"
    assert list(private_ranges(twice, twice)) == [100000, 500000]


@pytest.mark.parametrize(
    ("subuid", "subgid"),
    [
        ("kokon:100000:65535", "kokon:100000:65535"),
        ("kokon:100000:65536", ""),
        (f"ann:{0x70000000}:{0x10000000}", ""),
    ],
)
def test_no_private_range(subuid: str, subgid: str) -> None:
    with pytest.raises(HostError, match="give the name kokon"):
        list(private_ranges(subuid, subgid))


@given(st.lists(st.tuples(st.integers(0, MOST), st.integers(1, 1 << 26)), max_size=5))
def test_private_ranges_collide_with_no_one(lines: list[tuple[int, int]]) -> None:
    subuid = "".join(f"ann:{start}:{count}\n" for start, count in lines)
    for start in islice(private_ranges(subuid, ""), 50):
        for _, ids in entries(subuid):
            assert start + RANGE <= ids.start or ids.stop <= start
