"""A plan as bytes for init, and back.

    header   u32 magic, version, size, count of ops, offset of the first op, inherited, preserved, 0
    op       u16 code, u16 0, u32 size, then its fields of 8 bytes each (data has 16)
    heap     texts with their NUL, data aligned to 8, lists (count, offsets, two nulls)

Everything is little-endian and offsets count from the start.  ``init/plan.c`` reads it.
"""

from __future__ import annotations

from _operator import attrgetter
from struct import Struct, pack, unpack_from

from kokon.plan.op import Op
from kokon.plan.ops import OPS
from kokon.plan.plan import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAGIC = 0x4E4B4F4B
VERSION = 1
HEADER = Struct("<8I")
OP_HEADER = Struct("<HHI")
_WIDTH = {"s": 8, "n": 8, "t": 8, "d": 16, "l": 8}


def encoded(text: str) -> bytes:
    """A text on the wire: file names and arguments are bytes (os.fsencode, without os)."""
    return text.encode("utf-8", "surrogateescape")


class _Heap:
    """Where texts, data and lists go; ``base`` is its offset in the whole."""

    __slots__ = ("base", "bytes", "seen")

    def __init__(self, base: int) -> None:
        self.base = base
        self.bytes = bytearray()
        self.seen: dict[str, int] = {}

    def align(self) -> None:
        self.bytes += b"\0" * (-(self.base + len(self.bytes)) % 8)

    def text(self, value: str) -> int:
        offset = self.seen.get(value)
        if offset is None:
            data = encoded(value)
            if b"\0" in data:
                raise ValueError(f"a NUL byte in {value!r}")
            offset = self.seen[value] = self.base + len(self.bytes)
            self.bytes += data
            self.bytes.append(0)
        return offset

    def data(self, value: bytes) -> int:
        self.align()
        offset = self.base + len(self.bytes)
        self.bytes += value
        return offset

    def list(self, values: tuple[str | None, ...]) -> int:
        offsets = [0 if value is None else self.text(value) for value in values]
        self.align()
        offset = self.base + len(self.bytes)
        self.bytes += pack(f"<{len(offsets) + 3}Q", len(offsets), *offsets, 0, 0)
        return offset


class _Layout:
    """How ops of one class are packed.

    :ivar get: the fields of the wire, as attrgetter gives them.
    :ivar moved: index and letter of each field whose value goes to the heap.
    """

    __slots__ = ("get", "moved", "pack", "size")

    def __init__(self, kind: type[Op]) -> None:
        # A second name makes attrgetter give a tuple also for a class with one field or none.
        self.get = attrgetter(*(name for name, _ in kind.WIRE), "CODE", "CODE")
        letters = "".join(letter for _, letter in kind.WIRE)
        # Data become two values where they stand, and move those after them.
        self.moved = [
            (number + letters[:number].count("d"), letter)
            for number, letter in enumerate(letters)
            if letter in "tdl"
        ]
        fields = "".join({"s": "q", "d": "QQ"}.get(letter, "Q") for letter in letters)
        whole = Struct("<HHI" + fields)
        self.pack, self.size = whole.pack, whole.size

    def encode(self, op: Op, heap: _Heap) -> bytes:
        *values, code, _ = self.get(op)
        for index, letter in self.moved:
            value = values[index]
            if letter == "t":
                values[index] = heap.text(value)
            elif letter == "d":
                values[index : index + 1] = heap.data(value), len(value)
            else:
                values[index] = heap.list(value)
        return self.pack(code, 0, self.size, *values)


_layouts: dict[type[Op], _Layout] = {}


def _layout(kind: type[Op]) -> _Layout:
    layout = _layouts.get(kind)
    if layout is None:
        layout = _layouts[kind] = _Layout(kind)
    return layout


def op_size(kind: type[Op]) -> int:
    """Bytes of an op on the wire, without what is in the heap."""
    return _layout(kind).size


def field_offset(kind: type[Op], field: str) -> int:
    """Where a field of an op is, from the op's beginning."""
    at = OP_HEADER.size
    for name, letter in kind.WIRE:
        if name == field:
            return at
        at += _WIDTH[letter]
    raise KeyError(field)


class Template:
    """A plan on the wire without its last op, the only one that differs between runs of a kind.

    :param plan: a plan; of its last op only the class counts.
    :raises ValueError: a text has a NUL byte.
    """

    __slots__ = ("_heap", "_last", "_ops", "_plan")

    def __init__(self, plan: Plan) -> None:
        layouts = [_layout(type(op)) for op in plan.ops]
        self._plan = plan
        self._heap = _Heap(HEADER.size + sum([layout.size for layout in layouts]))
        self._last = layouts.pop()
        self._ops = b"".join(
            [
                layout.encode(op, self._heap)
                for op, layout in zip(plan.ops[:-1], layouts, strict=True)
            ]
        )

    def wire(self, last: Op) -> bytes:
        """The whole plan as init reads it.

        :raises ValueError: a text has a NUL byte.
        """
        before = self._heap
        heap = _Heap(before.base + len(before.bytes))
        encoded = self._last.encode(last, heap)
        # init wants the last byte to be NUL, so that no text runs off the end.
        heap.bytes.append(0)
        plan, size = self._plan, heap.base + len(heap.bytes)
        header = HEADER.pack(
            MAGIC,
            VERSION,
            size,
            len(plan.ops),
            HEADER.size,
            len(plan.inherited),
            plan.preserved,
            0,
        )
        return b"".join((header, self._ops, encoded, before.bytes, heap.bytes))


def encode(plan: Plan) -> bytes:
    """The plan as init reads it.  Raises ValueError for a text with a NUL byte."""
    return (plan.template or Template(plan)).wire(plan.ops[-1])


def decode(wire: bytes) -> tuple[tuple[Op, ...], int]:
    """The ops and the count of inherited descriptors: for tests and for reading saved plans.

    What is not on the wire (``why``, words) is empty.  Raises ValueError for other bytes.
    """
    magic, version, size, count, at, inherited, _, _ = HEADER.unpack_from(wire)
    if (magic, version, size) != (MAGIC, VERSION, len(wire)):
        raise ValueError("not a plan of this version")
    ops = []
    for _ in range(count):
        code, _, length = OP_HEADER.unpack_from(wire, at)
        kind = OPS[code - 1]
        arguments: dict[str, Any] = dict.fromkeys(kind.__slots__, "")
        field = at + OP_HEADER.size
        for name, letter in kind.WIRE:
            arguments[name] = _decode_field(wire, field, letter)
            field += _WIDTH[letter]
        ops.append(kind(**arguments, why=""))
        at += length
    return tuple(ops), inherited


def _decode_field(wire: bytes, at: int, letter: str) -> object:
    (value,) = unpack_from("<q" if letter == "s" else "<Q", wire, at)
    if letter == "t":
        return _text_at(wire, value)
    if letter == "d":
        (length,) = unpack_from("<Q", wire, at + 8)
        return wire[value : value + length]
    if letter == "l":
        (count,) = unpack_from("<Q", wire, value)
        offsets = unpack_from(f"<{count}Q", wire, value + 8)
        return tuple(_text_at(wire, offset) if offset else None for offset in offsets)
    return value


def _text_at(wire: bytes, offset: int) -> str:
    return wire[offset : wire.index(b"\0", offset)].decode("utf-8", "surrogateescape")
