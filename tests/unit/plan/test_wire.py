"""What is encoded is decoded as it was, for every op and any values; what cannot be is refused."""

from __future__ import annotations

from struct import error as struct_error
from struct import unpack_from
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kokon.plan import ops, wire
from kokon.plan.op import Op
from kokon.plan.plan import Plan
from kokon.plan.table import TABLE

# What Python's file names can hold: no NUL, and surrogates for single bytes that are no UTF-8.
BYTES = st.lists(st.integers(1, 255), max_size=20).map(bytes)
TEXT = BYTES.map(lambda raw: raw.decode("utf-8", "surrogateescape"))
KINDS: dict[str, st.SearchStrategy[Any]] = {
    "slot": st.integers(-1, 2047),
    "num": st.integers(0, 2**64 - 1),
    "text": TEXT,
    "data": st.binary(max_size=40),
    "list": st.lists(st.none() | TEXT, max_size=6).map(tuple),
    "words": st.just(""),
}


def op(name: str) -> st.SearchStrategy[Op]:
    """Any op of one class, as it comes back from the wire: without words and why."""
    row = next(row for row in TABLE if row.name == name)
    fields = {field.name: KINDS[field.kind] for field in row.fields}
    return st.builds(getattr(ops, name), why=st.just(""), **fields)


@pytest.mark.parametrize("name", [row.name for row in TABLE])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_every_op_comes_back(name: str, data: st.DataObject) -> None:
    plan = (data.draw(op(name)), data.draw(op(name)))
    assert wire.decode(wire.encode(Plan(plan, ("a", "b")))) == (plan, 2)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([row.name for row in TABLE]).flatmap(op), min_size=1, max_size=12))
def test_a_whole_plan_comes_back(steps: list[Op]) -> None:
    encoded = wire.encode(Plan(tuple(steps)))
    assert wire.decode(encoded) == (tuple(steps), 0)
    assert encoded[-1] == 0
    assert unpack_from("<5I", encoded) == (wire.MAGIC, wire.VERSION, len(encoded), len(steps), 32)


@pytest.mark.parametrize(
    "step",
    [
        ops.Hostname("a\0b", why=""),
        ops.Execute(("/bin/sh",), ("sh", "-c", "\0"), (), why=""),
        ops.Filesystem(0, "tmpfs", ("mode", "\0"), 0, "x", why=""),
    ],
)
def test_a_nul_byte_is_refused(step: Op) -> None:
    with pytest.raises(ValueError, match="a NUL byte in"):
        wire.encode(Plan((step,)))


def test_what_no_file_name_can_hold_is_refused() -> None:
    with pytest.raises(ValueError):
        wire.encode(Plan((ops.Hostname("\ud800", why=""),)))


def test_a_number_that_does_not_fit_is_refused() -> None:
    for number in (-1, 2**64):
        with pytest.raises((ValueError, struct_error)):
            wire.encode(Plan((ops.Umask(number, why=""),)))


def test_long_paths_and_many_entries(path_length: int = 70_000) -> None:
    """Row E14: lengths that do not fit 16 bits."""
    path = "/" + "x" * path_length
    entries = tuple(f"V{number}={number}" for number in range(70_000))
    steps = (
        ops.CloneMount(0, -1, path, why=""),
        ops.Execute((path, path), (path,), entries, why=""),
        ops.Groups(bytes(4 * 70_000), why=""),
    )
    assert wire.decode(wire.encode(Plan(steps)))[0] == steps


def test_many_steps() -> None:
    steps = tuple(ops.Umask(number % 512, why="") for number in range(70_000))
    assert wire.decode(wire.encode(Plan(steps)))[0] == steps


@pytest.mark.parametrize(
    ("at", "value"), [(0, b"X"), (4, b"\2"), (8, b"\0")], ids=["magic", "version", "size"]
)
def test_other_bytes_are_no_plan(at: int, value: bytes) -> None:
    encoded = bytearray(wire.encode(Plan((ops.Session(why=""),))))
    encoded[at : at + 1] = value
    with pytest.raises(ValueError):
        wire.decode(bytes(encoded))
