"""Device rules as an eBPF program: what the devices controller of version 1 is on version 2
(cgroup-v2.rst, Device controller; BPF_PROG_TYPE_CGROUP_DEVICE)."""

from __future__ import annotations

from struct import pack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from kokon.spec.resources import DeviceRule

TYPES = {"b": 1, "c": 2}
"""BPF_DEVCG_DEV_*, linux/bpf.h"""
ACCESSES = {"m": 1, "r": 2, "w": 4}
"""BPF_DEVCG_ACC_*"""
ALL = 7

# Opcodes (instruction-set.rst): class, operation, and an immediate operand.
LOAD_WORD, MOVE, SHIFT_RIGHT, AND = 0x61, 0xB7, 0x77, 0x57
COPY, JUMP, JUMP_UNLESS_EQUAL, JUMP_IF_ANY, EXIT = 0xBF, 0x05, 0x55, 0x45, 0x95

RESULT, CONTEXT, TYPE, ACCESS, MAJOR, MINOR = range(6)
"""Registers: r0 is the answer, 1 to allow; r1 the context."""


def device_program(rules: Sequence[DeviceRule]) -> bytes:
    """The instructions: of the rules that name an access to a device the last one decides, for
    each of mknod, reading and writing; what none names is denied.

    :param rules: ``a`` or no type is every type, no number is every number, no access is all.
    """
    code = [
        _instruction(LOAD_WORD, ACCESS, CONTEXT, 0),
        _instruction(COPY, TYPE, ACCESS),
        _instruction(AND, TYPE, value=0xFFFF),
        _instruction(SHIFT_RIGHT, ACCESS, value=16),
        _instruction(LOAD_WORD, MAJOR, CONTEXT, 4),
        _instruction(LOAD_WORD, MINOR, CONTEXT, 8),
    ]
    for rule in reversed(rules):
        tests = [
            (register, value)
            for register, value in (
                (TYPE, TYPES.get(rule.type or "a")), (MAJOR, _number(rule.major)),
                (MINOR, _number(rule.minor)),
            )
            if value is not None
        ]  # fmt: skip
        access = sum(ACCESSES[letter] for letter in set(rule.access or "rwm"))
        if not rule.allow and access == ALL and not tests:
            break  # what follows is never reached, which the kernel would refuse
        body = _allow(access) if rule.allow else _deny(access)
        for at, (register, value) in enumerate(tests):
            rest = len(tests) - at - 1 + len(body)
            code.append(_instruction(JUMP_UNLESS_EQUAL, register, offset=rest, value=value))
        code += body
    code += [_instruction(MOVE, RESULT, value=0), _instruction(EXIT)]
    return b"".join(code)


def _allow(access: int) -> list[bytes]:
    """What is left to be asked; allowed when that is nothing."""
    return [
        _instruction(AND, ACCESS, value=ALL & ~access),
        _instruction(MOVE, RESULT, value=1),
        _instruction(JUMP_UNLESS_EQUAL, ACCESS, offset=1, value=0),
        _instruction(EXIT),
    ]


def _deny(access: int) -> list[bytes]:
    return [
        _instruction(MOVE, RESULT, value=0),
        _instruction(JUMP_IF_ANY, ACCESS, offset=1, value=access),
        _instruction(JUMP, offset=1),
        _instruction(EXIT),
    ]


def _number(number: int | None) -> int | None:
    """-1 is every number too, as in cgroup-v1/devices.rst's callers."""
    return None if number is None or number < 0 else number


def _instruction(
    code: int, target: int = 0, source: int = 0, offset: int = 0, value: int = 0
) -> bytes:
    """One struct bpf_insn."""
    return pack("<BBhi", code, target | source << 4, offset, value)
