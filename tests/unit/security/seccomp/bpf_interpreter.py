"""What the kernel does with a filter, and what a profile means, both as slowly as can be."""

from __future__ import annotations

import struct

from kokon.security.seccomp.compiler import AUDIT, SIBLINGS, rank
from kokon.security.seccomp.profile import Condition, Profile, Rule
from kokon.security.seccomp.syscalls import numbers


def run(program: bytes, nr: int, arch: int, args: tuple[int, ...] = (0,) * 6) -> int:
    """Interpret classic BPF over a struct seccomp_data."""
    data = struct.pack("<IIQ6Q", nr & 0xFFFFFFFF, arch, 0, *args)
    code = list(struct.iter_unpack("<HBBI", program))
    at = accumulator = 0
    while True:
        operation, true, false, k = code[at]
        at += 1
        if operation == 0x20:
            assert k % 4 == 0 and k < 64
            accumulator = int.from_bytes(data[k : k + 4], "little")
        elif operation == 0x54:
            accumulator &= k
        elif operation == 0x05:
            at += k
        elif operation == 0x06:
            return k
        else:
            met = {
                0x15: accumulator == k,
                0x25: accumulator > k,
                0x35: accumulator >= k,
                0x45: bool(accumulator & k),
            }[operation]
            at += true if met else false


def check(program: bytes) -> None:
    """The kernel's own checks: known instructions, jumps that stay inside, a return at the end."""
    code = list(struct.iter_unpack("<HBBI", program))
    assert 0 < len(code) <= 4096
    for at, (operation, true, false, k) in enumerate(code):
        assert operation in (0x20, 0x54, 0x05, 0x06, 0x15, 0x25, 0x35)
        if operation == 0x05:
            assert at + 1 + k < len(code)
        elif operation in (0x15, 0x25, 0x35):
            assert at + 1 + max(true, false) < len(code)
    assert code[-1][0] == 0x06


def holds(condition: Condition, value: int, wide: bool) -> bool:
    bits = 0xFFFFFFFFFFFFFFFF if wide else 0xFFFFFFFF
    value, datum = value & bits, condition.value & bits
    masked = value & datum == condition.masked & datum
    return {
        "EQ": value == datum,
        "NE": value != datum,
        "LT": value < datum,
        "LE": value <= datum,
        "GE": value >= datum,
        "GT": value > datum,
        "MASKED_EQ": masked,
        "MASKED_NE": not masked,
    }[condition.operator]


class Meaning:
    """A profile, read rule by rule for each question."""

    def __init__(self, profile: Profile, machine: str) -> None:
        self.profile = profile
        native, compat = SIBLINGS[machine]
        self.known = {AUDIT[native]: native}
        if compat in profile.architectures:
            self.known[AUDIT[compat]] = compat
        self.rules = {
            arch: [
                (table[call], rule)
                for table in (numbers(name),)
                for rule in profile.rules
                for call in rule.names
                if call in table
            ]
            for arch, name in self.known.items()
        }

    def action(self, nr: int, arch: int, args: tuple[int, ...]) -> int:
        if arch not in self.known:
            return 0
        profile, named = self.profile, self.rules[arch]
        wide = self.known[arch] in ("x86_64", "aarch64")
        if self.known[arch] == "x86_64" and nr >= 0x40000000:
            if nr == 0xFFFFFFFF:
                return profile.default
            return 0x00050026 if "x32" in profile.architectures else 0
        if profile.beyond is not None and nr > max((n for n, _ in named), default=-1):
            return profile.beyond
        rules = [rule for number, rule in named if number == nr and rule.action != profile.default]
        for rule in rules:
            if all(vacuous(c, wide) for c in rule.conditions):
                return rule.action
        nodes: dict[tuple[int, ...], int] = {}
        for rule in sorted(rules, key=lambda rule: order(rule, wide, nodes)):
            if all(holds(c, args[c.index], wide) for c in rule.conditions):
                return rule.action
        return profile.default


def vacuous(condition: Condition, wide: bool) -> bool:
    bits = 0xFFFFFFFFFFFFFFFF if wide else 0xFFFFFFFF
    return condition.operator == "MASKED_EQ" and not condition.value & bits


def order(rule: Rule, wide: bool, nodes: dict[tuple[int, ...], int]) -> list[list[int]]:
    told = sorted((c for c in rule.conditions if not vacuous(c, wide)), key=lambda c: c.index)
    return [rank(c, wide, nodes) for c in told]
