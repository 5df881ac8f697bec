"""A saved run: conditions, steps outside, init and its plan, as bytes for the launcher.

A call of the OCI runtime has conditions and steps only.

    head      u32 magic, version, size, where Execute is in the plan, then seven regions
    region    u32 offset, size; what it names ends with a zero that its size leaves out
    record    u32 code, number, then two regions: a condition or a step
    hole      u32 kind, offset, u64 base: what differs between runs, and is filled by the launcher

Everything is little-endian and offsets count from the start.  ``launcher/saved.c`` reads it; what
it is for is told in docs/saved-runs.md.
"""

from __future__ import annotations

from struct import Struct

from kokon.plan import wire
from kokon.plan.op import Op
from kokon.plan.ops import Execute, Filesystem, IdMap, Node
from kokon.plan.plan import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

MAGIC, CALL_MAGIC = 0x52534B4B, 0x43534B4B
VERSION = 2
LARGEST = 512 << 10
HEAD = Struct("<18I")
RECORD = Struct("<6I")
HOLE = Struct("<IIQ")

# launcher/launcher.h has the same numbers.
(
    SAME_STATUS, SAME_TEXT, SAME_VARIABLE, SAME_DIRECTORY, SAME_IDENTITY, NO_TERMINAL,
    EMPTY, NOTE, CLAIM, DIRECTORY, WRITE, DESCRIPTOR, INPUT, HELPER, COUNTER,
    ENDED, START, GROUP, FORGET,
) = range(1, 20)  # fmt: skip
ABSENT, NO_FOLLOW = 1, 2
MAY_EXIST, EXACT, KEEP, TREE = 0o1000, 0o2000, 0o4000, 0o10000
HOLE_TOKEN, HOLE_RANGE_TEXT, HOLE_RANGE_NUMBER = 1, 2, 3

TOKEN = "\x01" * 8
"""Where the owner's token goes."""

RANGE_DIGITS = 10
"""Digits of the first id of a range: those of the documented gap all have as many."""

RANGE = 65536


class Unsaved(Exception):
    """This run cannot be saved; the message says why."""


class Record:
    """A condition or a step.

    :ivar number: flags, a mode, or whatever its code wants.
    :ivar a: a path or a name, :ivar b: what is compared or written.
    """

    __slots__ = ("a", "b", "code", "number")

    def __init__(self, code: int, a: bytes = b"", b: bytes = b"", number: int = 0) -> None:
        self.code = code
        self.a = a
        self.b = b
        self.number = number

    @property
    def has_holes(self) -> bool:
        """Whether names in it are made anew for each run: in steps, never in conditions."""
        return self.code in (DIRECTORY, WRITE, DESCRIPTOR, COUNTER)


class SavedPlan:
    """The wire of a plan without the program, and where it has holes.

    :param first: the first id of the run's private range, 0 for none.
    :raises Unsaved: a text of it looks like a hole.
    """

    __slots__ = ("bytes", "execute", "numbers")

    def __init__(self, plan: Plan, token: str, first: int) -> None:
        self.numbers: list[tuple[int, int]] = []
        texts: set[str] = set()
        ops: list[Op] = []
        at = wire.HEADER.size
        last = plan.ops[-1]
        assert isinstance(last, Execute)
        for op in plan.ops[:-1]:
            ops.append(opened := self._open(op, at, token, first))
            texts.update(_texts(opened))
            at += wire.op_size(type(op))
        self.execute = at
        ops.append(Execute((), (), _open_texts(last.environment, "\0"), why=last.why))
        self.bytes = wire.encode(Plan(tuple(ops), plan.inherited))
        # The wire has each text once; what only looks like a hole (in data) would be filled too.
        expected = sum(len(_holes(wire.encoded(text), 0)) for text in texts)
        if len(_holes(self.bytes, 0)) != expected:
            raise Unsaved("its data have bytes that mark a hole")

    def _open(self, op: Op, at: int, token: str, first: int) -> Op:
        """The op with holes; numbers are noted by their offset."""
        values = op.fields()
        for name, letter in op.WIRE:
            if letter == "t":
                (values[name],) = _open_texts((values[name],), token)
            elif letter == "l":
                values[name] = _open_texts(values[name], token)
        if first and isinstance(op, IdMap):
            values["content"] = op.content.replace(f" {first} ", f" {_range_text(0)} ")
        elif first and isinstance(op, Filesystem):
            values["options"] = tuple(_open_owners(op.options, first))
        elif first and isinstance(op, Node):
            for name in ("uid", "gid"):
                base = getattr(op, name) - first
                if 0 <= base < RANGE:
                    self.numbers.append((at + wire.field_offset(Node, name), base))
        return type(op)(**values, why=op.why)


def _texts(op: Op) -> list[str]:
    found: list[str] = []
    for name, letter in op.WIRE:
        value = getattr(op, name)
        found += [value] if letter == "t" else filter(None, value) if letter == "l" else ()
    return found


def _open_texts(texts: object, token: str) -> tuple[str | None, ...]:
    assert isinstance(texts, tuple)
    for text in texts:
        if text and ("\x01" in text or "\x02" in text):
            raise Unsaved(f"{text!r} has a byte that marks a hole")
    return tuple(text and text.replace(token, TOKEN) for text in texts)


def _open_owners(options: Sequence[str | None], first: int) -> list[str | None]:
    """The options of a file system, with the host's ids of its owner open."""
    opened = list(options)
    for at in range(0, len(opened) - 1, 2):
        value = opened[at + 1] or ""
        if opened[at] in ("uid", "gid") and value.isdigit() and 0 <= int(value) - first < RANGE:
            opened[at + 1] = _range_text(int(value) - first)
    return opened


def _range_text(base: int) -> str:
    return f"\x02{base:0{RANGE_DIGITS - 1}}"


def encode(
    words: bytes,
    records: Sequence[Record],
    plan: SavedPlan | None = None,
    program: bytes = b"",
    places: bytes = b"",
    rest: bytes = b"",
) -> bytes:
    """A saved run as the launcher reads it; without a plan a saved call.

    :param words: from the verb to ROOT, each with its zero; of a call all of them.
    :param program: init.
    :param places: what is put before a program's name, in order, each with its zero.
    :param rest: what Python wants to know of the run when it takes it over.
    :raises Unsaved: it is too large.
    """
    heap = bytearray(HEAD.size + RECORD.size * len(records) + 1)
    holes: list[tuple[int, int, int]] = []

    def put(value: bytes, has_holes: bool = False) -> tuple[int, int]:
        heap.extend(b"\0" * (-len(heap) % 8))
        at = len(heap)
        heap.extend(value + b"\0")
        if has_holes:
            holes.extend(_holes(value, at))
        return at, len(value)

    for number, record in enumerate(records):
        a, b = put(record.a, record.has_holes), put(record.b, record.has_holes)
        where = HEAD.size + RECORD.size * number
        RECORD.pack_into(heap, where, record.code, record.number, *a, *b)
    planned = put(plan.bytes if plan else b"", True)
    if plan:
        holes += [(HOLE_RANGE_NUMBER, planned[0] + at, base) for at, base in plan.numbers]
    rows = (HEAD.size, RECORD.size * len(records))
    regions = (
        put(words), rows, put(b"".join(HOLE.pack(*hole) for hole in holes)), put(program),
        planned, put(places), put(rest),
    )  # fmt: skip
    if len(heap) > LARGEST:
        raise Unsaved(f"it has {len(heap)} bytes")
    magic, execute = (MAGIC, plan.execute) if plan else (CALL_MAGIC, 0)
    HEAD.pack_into(
        heap, 0, magic, VERSION, len(heap), execute, *(n for pair in regions for n in pair)
    )
    return bytes(heap)


def key(words: Sequence[str]) -> bytes:
    """Words as they are compared, each with its zero."""
    return b"".join(word.encode("utf-8", "surrogateescape") + b"\0" for word in words)


def file_name(words: Sequence[str]) -> str:
    """The name of a file: FNV-1a of its words with their zeros, as in saved.c."""
    number = 0xCBF29CE484222325
    for byte in key(words):
        number = (number ^ byte) * 0x100000001B3 & (1 << 64) - 1
    return f"{number:016x}"


def _holes(value: bytes, start: int) -> list[tuple[int, int, int]]:
    """The holes of a text or a plan, by the marks that stand in them."""
    found = []
    at = value.find(b"\x01" * 8)
    while at >= 0:
        found.append((HOLE_TOKEN, start + at, 0))
        at = value.find(b"\x01" * 8, at + 8)
    at = value.find(b"\x02")
    while at >= 0:
        digits = value[at + 1 : at + RANGE_DIGITS]
        if len(digits) == RANGE_DIGITS - 1 and digits.isdigit():
            found.append((HOLE_RANGE_TEXT, start + at, int(digits)))
        at = value.find(b"\x02", at + 1)
    return found


def rest_of(data: bytes) -> bytes:
    """What :func:`encode` was given as ``rest``.

    :raises ValueError: it is no saved run of this version.
    """
    if len(data) < HEAD.size:
        raise ValueError("no saved run")
    magic, version, size, _, *regions = HEAD.unpack_from(data)
    at, length = regions[-2:]
    if (magic, version, size) != (MAGIC, VERSION, len(data)) or at + length >= size:
        raise ValueError("no saved run of this version")
    return data[at : at + length]
