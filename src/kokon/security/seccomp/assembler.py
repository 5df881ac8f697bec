"""Classic BPF, written from the end to the beginning.

A BPF jump only goes forward, so a block is emitted after everything it jumps to: each distance is
known when it is needed, and a target farther away than the 255 instructions that fit a
conditional jump gets a copy (of a return) or a trampoline close by.
"""

from __future__ import annotations

from struct import pack

LD_ABS = 0x20
AND = 0x54
JA = 0x05
JEQ = 0x15
JGT = 0x25
JGE = 0x35
RET = 0x06

LIMIT = 4096
"""BPF_MAXINSNS: the kernel takes no longer program."""

REACH = 252
"""How far a conditional jump may go: 255, less what reaching its other target may put between."""


class Label:
    """A place in the program.

    ``at`` counts from the end.  ``word`` is what the accumulator must hold there, as offset into
    ``struct seccomp_data`` and mask, None when it does not matter.  ``value`` is what a return
    returns.
    """

    __slots__ = ("at", "entry", "value", "word")

    def __init__(self, at: int, word: tuple[int, int] | None, value: int | None = None) -> None:
        self.at = at
        self.word = word
        self.value = value
        self.entry: Label | None = None


class Assembler:
    """A program under construction; equal blocks are written once."""

    def __init__(self) -> None:
        self.backward: list[bytes] = []
        self.returns: dict[int, Label] = {}
        self.tests: dict[tuple[int, int, Label, Label, tuple[int, int]], Label] = {}

    def emit(self, code: int, k: int, true: int = 0, false: int = 0) -> int:
        """Put one instruction before all others; return its place."""
        self.backward.append(pack("<HBBI", code, true, false, k))
        return len(self.backward) - 1

    def distance(self, label: Label) -> int:
        """How many instructions the next one would have to skip to come to the label."""
        return len(self.backward) - label.at - 1

    def near(self, label: Label) -> Label:
        """Make sure that the next instruction reaches the label."""
        if self.distance(label) > REACH:
            if label.value is not None:
                label.at = self.emit(RET, label.value)
            else:
                label.at = self.emit(JA, self.distance(label))
        return label

    def give(self, value: int) -> Label:
        """Return ``value`` to the kernel."""
        label = self.returns.get(value)
        if label is None:
            label = self.returns[value] = Label(self.emit(RET, value), None, value)
        return label

    def load(self, target: Label) -> Label:
        """The place that loads what ``target`` expects and goes on there."""
        if target.word is None:
            return target
        if target.entry is None:
            offset, mask = target.word
            if self.distance(target):
                self.emit(JA, self.distance(target))
            if mask != 0xFFFFFFFF:
                self.emit(AND, mask)
            target.entry = Label(self.emit(LD_ABS, offset), None)
        return target.entry

    def test(self, code: int, k: int, true: Label, false: Label, word: tuple[int, int]) -> Label:
        """Compare the accumulator, which holds ``word``, with ``k``; go on at one of two places."""
        true, false = (side if side.word == word else self.load(side) for side in (true, false))
        if true is false:
            return true
        key = (code, k, true, false, word)
        label = self.tests.get(key)
        if label is None:
            self.near(true)
            self.near(false)
            at = self.emit(code, k, self.distance(true), self.distance(false))
            label = self.tests[key] = Label(at, word)
        return label

    def program(self) -> bytes:
        """The finished ``struct sock_filter`` array, in this machine's (little-endian) order."""
        return b"".join(reversed(self.backward))
