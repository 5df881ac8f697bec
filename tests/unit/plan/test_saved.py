"""A saved run as bytes: with its holes filled, the plan in it is the plan that was saved."""

from __future__ import annotations

import pytest

from kokon.plan import ops, saved, wire
from kokon.plan.op import Op
from kokon.plan.plan import Plan
from kokon.plan.saved import Record, SavedPlan, Unsaved

TOKEN, FIRST = "01234567", 1879048192
ENVIRONMENT = ("PATH=/bin", f"NUMBER={FIRST}")


def steps(token: str = TOKEN, first: int = FIRST) -> tuple[Op, ...]:
    """What a run has that is another one's another time, and what only looks so."""
    return (
        ops.IdMap("uid_map", f"0 {first} 65536\n", why=""),
        ops.Filesystem(
            1, "tmpfs", ("uid", str(first), "gid", str(first + 5), "nr", str(FIRST)), 0, "", why=""
        ),
        ops.Node(1, "null", 0o20666, 259, first, first + 5, why=""),
        ops.Node(1, "zero", 0o20666, 261, 0, 0, why=""),
        ops.CloneMount(2, -1, f"/store/writes/{token}-1", why=""),
        ops.ResourceLimit(1, FIRST, FIRST, "", why=""),
        ops.Seccomp(b"\x01\x02" * 40 + b"\x02123", 0, why=""),
        ops.Execute((), (), ENVIRONMENT, why=""),
    )  # fmt: skip


def parts(data: bytes) -> tuple[int, list[bytes]]:
    """Where Execute is, and the regions of a saved run."""
    magic, version, size, execute, *numbers = saved.HEAD.unpack_from(data)
    assert (magic, version, size) == (saved.MAGIC, saved.VERSION, len(data))
    pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
    for at, length in pairs:
        assert data[at + length] == 0
    return execute, [data[at : at + length] for at, length in pairs]


def filled(data: bytes, token: str, first: int) -> bytes:
    """As launcher/steps.c does it."""
    out = bytearray(data)
    for kind, at, base in saved.HOLE.iter_unpack(parts(data)[1][2]):
        value = {
            saved.HOLE_TOKEN: token.encode(),
            saved.HOLE_RANGE_TEXT: str(first + base).encode(),
            saved.HOLE_RANGE_NUMBER: (first + base).to_bytes(8, "little"),
        }[kind]
        out[at : at + len(value)] = value
    return bytes(out)


def on_the_wire(op: Op) -> tuple[object, ...]:
    """An op without its words, which stay with Python."""
    return type(op), *(getattr(op, name) for name, _ in op.WIRE)


def encoded(*records: Record, first: int = FIRST) -> bytes:
    plan = SavedPlan(Plan(steps(first=first or FIRST), ("cgroup",)), TOKEN, first)
    return saved.encode(b"run\0/root\0", records, plan, b"init", b"/bin/\0", b"rest")


@pytest.mark.parametrize(("token", "first"), [(TOKEN, FIRST), ("89abcdef", FIRST + 65536)])
def test_with_its_holes_filled_it_is_the_plan(token: str, first: int) -> None:
    execute, (_, _, _, _, plan, _, _) = parts(filled(encoded(), token, first))
    ops_, inherited = wire.decode(plan)
    assert inherited == 1
    assert [on_the_wire(op) for op in ops_] == [on_the_wire(op) for op in steps(token, first)]
    assert plan[execute:].startswith(wire.OP_HEADER.pack(ops.Execute.CODE, 0, 32))


def test_without_a_range_nothing_of_it_is_open() -> None:
    kinds = [kind for kind, _, _ in saved.HOLE.iter_unpack(parts(encoded(first=0))[1][2])]
    assert kinds == [saved.HOLE_TOKEN]


def test_regions() -> None:
    _, (words, _, _, program, _, places, rest) = parts(encoded())
    assert (words, program, places, rest) == (b"run\0/root\0", b"init", b"/bin/\0", b"rest")
    assert saved.rest_of(encoded()) == b"rest"


def test_steps_have_holes_and_conditions_have_none() -> None:
    name = b"/x/" + saved.TOKEN.encode()
    plain = len(parts(encoded())[1][2])
    assert len(parts(encoded(Record(saved.DIRECTORY, name)))[1][2]) == plain + saved.HOLE.size
    assert len(parts(encoded(Record(saved.SAME_STATUS, name)))[1][2]) == plain


@pytest.mark.parametrize(
    "op",
    [
        ops.Hostname("\x01" * 8, why=""),
        ops.Hostname("\x02123456789", why=""),
        ops.Seccomp(b"\x02123456789", 0, why=""),
        ops.File(1, "file", b"\x01" * 8, why=""),
        ops.Execute((), (), ("A=\x01",), why=""),
    ],
)
def test_what_looks_like_a_hole_is_not_saved(op: Op) -> None:
    last = op if isinstance(op, ops.Execute) else steps()[-1]
    with pytest.raises(Unsaved):
        SavedPlan(Plan((op, last)), TOKEN, FIRST)


def test_what_is_too_large_is_not_saved() -> None:
    with pytest.raises(Unsaved):
        encoded(Record(saved.SAME_TEXT, b"/x", b"x" * saved.LARGEST))


@pytest.mark.parametrize("length", [0, 10, 71, 100, -1])
def test_other_bytes_have_no_rest(length: int) -> None:
    with pytest.raises(ValueError, match="saved run"):
        saved.rest_of(encoded()[:length])
