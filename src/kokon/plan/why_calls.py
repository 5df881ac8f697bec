"""What a plan's own system call filter says to a call: its program is run, not its rules read."""

from __future__ import annotations

from struct import iter_unpack

from kokon.errors import OptionError, nearest
from kokon.plan import ops
from kokon.plan.answer import ALLOWED, DENIED, UNDECIDED, Answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from kokon.plan.answer import Known
    from kokon.plan.plan import Plan

WHOLE = 0xFFFFFFFF
NR, ARCH, ARGUMENTS = 0, 4, 16
"""Offsets in struct seccomp_data (seccomp(2))."""

LOAD, LOAD_NUMBER, JUMP, RETURN = 0x20, 0x00, 0x05, 0x06
JUMPS = {0x15: "==", 0x25: ">", 0x35: ">=", 0x45: "&"}
ARITHMETIC = {0x04: "+", 0x14: "-", 0x44: "|", 0x54: "&", 0x64: "<<", 0x74: ">>", 0xA4: "^"}
"""linux/bpf_common.h, with a constant as the other operand."""

ALLOW, LOG, ERRNO, TRACE, NOTIFY = 0x7FFF0000, 0x7FFC0000, 0x00050000, 0x7FF00000, 0x7FC00000
ACTIONS = {
    0x80000000: "ends the container",
    0x00000000: "ends the thread",
    0x00030000: "sends SIGSYS",
    TRACE: "asks a tracer",
    NOTIFY: "asks a supervisor",
}


class UnknownInstruction(Exception):
    """The program has an instruction that is not run here."""


def results(program: bytes, words: Mapping[int, int]) -> set[int]:
    """Every value that the filter may return.

    :param words: the words of struct seccomp_data that are known, by offset; where one that is
        not decides, both ways are gone.
    :raises UnknownInstruction: an instruction that filters for seccomp(2) hardly have.
    """
    code = list(iter_unpack("<HBBI", program))
    found: set[int] = set()
    seen: set[tuple[int, int | None]] = set()
    ways: list[tuple[int, int | None]] = [(0, 0)]
    while ways:
        at, value = way = ways.pop()
        if way in seen:
            continue
        seen.add(way)
        operation, true, false, number = code[at]
        if operation == RETURN:
            found.add(number)
        elif operation == JUMP:
            ways.append((at + 1 + number, value))
        elif operation in JUMPS:
            if value is None or _holds(JUMPS[operation], value, number):
                ways.append((at + 1 + true, value))
            if value is None or not _holds(JUMPS[operation], value, number):
                ways.append((at + 1 + false, value))
        elif operation == LOAD:
            ways.append((at + 1, words.get(number)))
        elif operation == LOAD_NUMBER:
            ways.append((at + 1, number))
        elif operation in ARITHMETIC:
            ways.append((at + 1, _result(ARITHMETIC[operation], value, number)))
        else:
            raise UnknownInstruction(hex(operation))
    return found


def _holds(operator: str, value: int, number: int) -> bool:
    if operator == "==":
        return value == number
    if operator == ">":
        return value > number
    return value >= number if operator == ">=" else bool(value & number)


def _result(operator: str, value: int | None, number: int) -> int | None:
    if value is None:
        return 0 if operator == "&" and not number else None
    if operator in ("<<", ">>"):
        return (value << number if operator == "<<" else value >> number) & WHOLE
    if operator in ("+", "-"):
        return (value + number if operator == "+" else value - number) & WHOLE
    if operator == "&":
        return value & number
    return value | number if operator == "|" else value ^ number


def call(
    plan: Plan, known: Known, name: str, arguments: tuple[int | None, ...] = (), arch: str = ""
) -> Answer:
    """Whether the filter lets a system call through; what the call then meets is another question.

    :param arguments: None for one that is not known; those that are left out are not known either.
    :param arch: of the program; the machine's own where it is empty.
    :raises OptionError: there is no such call, or no such architecture.
    """
    arch = arch or known.architecture
    if arch not in known.calls:
        raise OptionError(
            f"there is no table of system calls for {arch or 'this machine'}",
            where="why call", remedy=f"name one of {', '.join(known.calls)}" if known.calls else "",
        )  # fmt: skip
    audit, numbers = known.calls[arch]
    if name not in numbers:
        near = nearest(name, numbers)
        raise OptionError(
            f"{arch} has no system call {name!r}", where="why call",
            remedy=f"did you mean {near}?" if near else "see syscalls(2)",
        )  # fmt: skip
    words = {NR: numbers[name], ARCH: audit}
    for index, value in enumerate(arguments):
        if value is not None:
            words[ARGUMENTS + 8 * index] = value & WHOLE
            words[ARGUMENTS + 8 * index + 4] = value >> 32 & WHOLE
    answer = Answer(ALLOWED, "no system call filter is loaded")
    # All filters are asked, and the hardest answer counts (seccomp(2)).
    for number, op in enumerate(plan.ops, 1):
        if isinstance(op, ops.Seccomp):
            other = _by(op.program, words, number)
            if answer.allowed or other.verdict == DENIED:
                answer = other
    if answer.allowed and known.filtered:
        return Answer(UNDECIDED, "the filter around kokon itself decides too")
    return answer


def _by(program: bytes, words: Mapping[int, int], step: int) -> Answer:
    try:
        found = results(program, words)
    except UnknownInstruction as error:
        return Answer(UNDECIDED, f"the filter has an instruction that is not understood ({error})")
    passes = {value for value in found if value & 0xFFFF0000 in (ALLOW, LOG)}
    asks = {value for value in found if value & 0xFFFF0000 in (TRACE, NOTIFY)}
    if passes == found:
        return Answer(ALLOWED, "the system call filter lets it through", step)
    refused = " or ".join(sorted({_words(value) for value in found - passes}))
    if passes or asks:
        by = "the call's arguments" if passes else "another process"
        return Answer(UNDECIDED, f"{by} decide: else the filter {refused}", step)
    return Answer(DENIED, f"the system call filter {refused}", step)


def _words(value: int) -> str:
    action = value & 0xFFFF0000
    if action != ERRNO:
        return ACTIONS.get(action, "ends the container")
    from errno import errorcode

    number = value & 0xFFFF
    return f"answers {errorcode.get(number, number)}"


def needed(plan: Plan, known: Known, *calls: tuple[str, tuple[int | None, ...]]) -> Answer | None:
    """Whether the filter stands in the way of what needs these calls; None where it does not."""
    if not any(isinstance(op, ops.Seccomp) for op in plan.ops):
        if known.filtered:
            return Answer(UNDECIDED, "the filter around kokon itself decides")
        return None
    if known.architecture not in known.calls:
        return Answer(UNDECIDED, "the system call filter decides")
    for name, arguments in calls:
        answer = call(plan, known, name, arguments)
        if not answer.allowed:
            verdict = DENIED if answer.verdict == DENIED else UNDECIDED
            return Answer(verdict, f"{name}(2): {answer.sentence}", *answer.numbers)
    return None
