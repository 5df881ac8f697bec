"""The eBPF program of device rules, run by a small machine of the test's own."""

from __future__ import annotations

from struct import iter_unpack

import pytest

from kokon.security import devices
from kokon.security.device_program import ACCESSES, TYPES, device_program
from kokon.spec.resources import DeviceRule


def allowed(program: bytes, kind: str, major: int, minor: int, access: str) -> bool:
    """What the program answers (linux/bpf.h, struct bpf_cgroup_dev_ctx)."""
    asked = sum(ACCESSES[letter] for letter in access)
    context = {0: asked << 16 | TYPES[kind], 4: major, 8: minor}
    code = list(iter_unpack("<BBhi", program))
    registers = [0] * 11
    at = 0
    while True:
        opcode, operands, offset, value = code[at]
        target, source = operands & 15, operands >> 4
        at += 1
        if opcode == 0x95:
            return registers[0] == 1
        if opcode == 0x61:
            registers[target] = context[offset]
        elif opcode == 0xBF:
            registers[target] = registers[source]
        elif opcode == 0xB7:
            registers[target] = value
        elif opcode == 0x77:
            registers[target] >>= value
        elif opcode == 0x57:
            registers[target] &= value
        elif opcode == 0x05:
            at += offset
        elif opcode == 0x55:
            at += offset if registers[target] != value else 0
        elif opcode == 0x45:
            at += offset if registers[target] & value else 0
        else:
            raise AssertionError(f"{opcode:#x}")


def rule(allow: bool, words: str, access: str | None = None) -> DeviceRule:
    """``c 1:3`` with * for every number."""
    kind, _, numbers = words.partition(" ")
    major, _, minor = numbers.partition(":")
    number = {"*": None, "": None}
    return DeviceRule(
        allow=allow, type=kind, access=access,
        major=number[major] if major in number else int(major),
        minor=number[minor] if minor in number else int(minor),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("rules", "device", "access", "answer"),
    [
        ((), ("c", 1, 3), "r", False),
        ((rule(True, "a"),), ("b", 8, 0), "rwm", True),
        ((rule(True, "a"), rule(False, "b 8:*")), ("b", 8, 1), "r", False),
        ((rule(True, "a"), rule(False, "b 8:*")), ("c", 8, 1), "r", True),
        ((rule(False, "b 8:*"), rule(True, "a")), ("b", 8, 1), "r", True),
        ((rule(True, "c 1:3", "r"),), ("c", 1, 3), "r", True),
        ((rule(True, "c 1:3", "r"),), ("c", 1, 3), "rw", False),
        ((rule(True, "c 1:3", "r"), rule(True, "c 1:*", "w")), ("c", 1, 3), "rw", True),
        ((rule(True, "c 1:3"), rule(False, "c 1:3", "w")), ("c", 1, 3), "r", True),
        ((rule(True, "c 1:3"), rule(False, "c 1:3", "w")), ("c", 1, 3), "rw", False),
        ((rule(True, "c *:*", "m"),), ("c", 10, 200), "m", True),
        ((rule(True, "c *:*", "m"),), ("c", 10, 200), "r", False),
        ((rule(True, "c -1:-1", "m"),), ("c", 10, 200), "m", True),
        ((rule(True, "c 10:200"),), ("c", 10, 201), "r", False),
    ],
)
def test_the_last_rule_that_names_an_access_decides(
    rules: tuple[DeviceRule, ...], device: tuple[str, int, int], access: str, answer: bool
) -> None:
    for ruled in (rules, (devices.NOTHING, *rules)):
        assert allowed(device_program(ruled), *device, access) is answer


def test_what_every_container_needs() -> None:
    program = device_program(devices.rules((rule(False, "c 1:3"),)))
    assert allowed(program, "c", 1, 3, "rw")
    assert allowed(program, "b", 8, 0, "m")
    assert not allowed(program, "b", 8, 0, "r")
