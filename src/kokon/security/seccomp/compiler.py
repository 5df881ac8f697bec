"""A profile becomes a program: a search tree over ranges of system calls with equal outcome.

The cost of a filter is its load (the kernel checks, translates and hardens each instruction at each
start), so the aim is the smallest number of instructions.  The architecture is tested first, since
numbers mean nothing without it; then come the numbers; conditions are in the leaves.

The order of rules is libseccomp's.  A rule without conditions hides all those with conditions for
the same call, and the first of several holds.  Of those with conditions any may match; when two
that match disagree, it is :func:`rank` that decides, not their position.  Where libseccomp's tree
departs from its manual (overlapping rules that mix orders, or have several conditions), the manual
holds here.
"""

from __future__ import annotations

from kokon.errors import HostError, SpecError
from kokon.security.seccomp.assembler import JEQ, JGE, JGT, LIMIT, Assembler, Label
from kokon.security.seccomp.profile import ENOSYS, ERRNO, KILL_THREAD, Condition, Profile, Rule
from kokon.security.seccomp.syscalls import numbers

NR = 0
ARCH = 4
ARGUMENTS = 16
WHOLE = 0xFFFFFFFF

AUDIT = {"x86_64": 0xC000003E, "x86": 0x40000003, "aarch64": 0xC00000B7, "arm": 0x40000028}
"""AUDIT_ARCH_*: what ``struct seccomp_data`` has in ``arch`` (linux/audit.h)."""

SIBLINGS = {"x86_64": ("x86_64", "x86"), "aarch64": ("aarch64", "arm")}
"""The machine's own architecture and the ones its kernel can also run."""

X32_BIT = 0x40000000
"""__X32_SYSCALL_BIT: x32 shares x86_64's audit architecture and differs in this bit only."""

FOREIGN = KILL_THREAD
"""libseccomp's action for an architecture that the filter does not know."""

SOCKETCALL = {
    "socket": 1, "bind": 2, "connect": 3, "listen": 4, "accept": 5, "getsockname": 6,
    "getpeername": 7, "socketpair": 8, "send": 9, "recv": 10, "sendto": 11, "recvfrom": 12,
    "shutdown": 13, "setsockopt": 14, "getsockopt": 15, "sendmsg": 16, "recvmsg": 17,
    "accept4": 18, "recvmmsg": 19, "sendmmsg": 20,
}  # fmt: skip
"""The first argument of socketcall(2), linux/net.h."""

IPC = {
    "semop": 1, "semget": 2, "semctl": 3, "semtimedop": 4,
    "msgsnd": 11, "msgrcv": 12, "msgget": 13, "msgctl": 14,
    "shmat": 21, "shmdt": 22, "shmget": 23, "shmctl": 24,
}  # fmt: skip
"""The first argument of ipc(2), linux/ipc.h."""

RANKS = {"EQ": 3, "NE": 3, "MASKED_EQ": 3, "MASKED_NE": 3, "LE": 2, "LT": 2, "GE": 1, "GT": 1}

Decision = tuple[tuple[tuple[Condition, ...], int], ...]
"""What one call's rules come to: the first pair all of whose conditions hold gives the action."""

Outcome = int | tuple[object, ...]
"""An action, or a decision in a form that can be compared."""

Segment = tuple[int, Outcome]
"""Where a stretch of system call numbers begins, and its outcome."""

Block = tuple[int, Outcome, tuple[Segment, ...]]
"""A stretch, its outcome, and lone numbers in it that have another."""

Chain = tuple["Chain | None", bool, int, Outcome]
Way = tuple[int, "Chain | None"]


def program(profile: Profile, arch: str) -> bytes:
    """Compile a profile for a machine.

    :param arch: ``x86_64`` or ``aarch64``, as uname(2) has it.
    :return: an array of ``struct sock_filter`` (8 bytes each) for seccomp(2).
    :raises HostError: there is no table of system calls for this architecture.
    :raises SpecError: the program is longer than the kernel takes.
    """
    if arch not in SIBLINGS:
        raise HostError(
            f"kokon has no table of system calls for {arch}",
            remedy="run without a filter, or on x86_64 or aarch64",
        )
    native, compat = SIBLINGS[arch]
    assembler = Assembler()
    entry = assembler.give(FOREIGN)
    for name in (compat, native):
        if name == native or name in profile.architectures:
            tree = architecture(assembler, profile, name)
            entry = assembler.test(JEQ, AUDIT[name], tree, entry, (ARCH, WHOLE))
    assembler.load(entry)
    if len(assembler.backward) > LIMIT:
        raise SpecError(
            f"the filter comes to {len(assembler.backward)} instructions and the kernel takes"
            f" {LIMIT}",
            remedy="give fewer rules with arguments",
        )
    return assembler.program()


def architecture(assembler: Assembler, profile: Profile, arch: str) -> Label:
    """Everything for one architecture."""
    wide = arch in ("x86_64", "aarch64")
    outcomes: dict[int, Outcome] = {}
    leaves: dict[Outcome, Label] = {}
    top = -1
    for number, rules in calls(profile, arch).items():
        top = max(top, number)
        # A rule that says what the default says is no rule, to libseccomp and its callers.
        decision = decide([rule for rule in rules if rule.action != profile.default], wide)
        if not decision:
            continue
        key: Outcome
        if not decision[0][0]:
            key = decision[0][1]
            leaves[key] = assembler.give(key)
        else:
            key = tuple((*(c.key() for c in conditions), act) for conditions, act in decision)
            if key not in leaves:
                leaves[key] = leaf(assembler, decision, profile.default, wide)
        outcomes[number] = key
    above = profile.default if profile.beyond is None else profile.beyond
    ranges = segments(outcomes, profile.default, above, top)
    if arch == "x86_64":
        # -1 is what a tracer writes to skip a call (seccomp(2)): it is no x32 call.
        x32 = ERRNO | ENOSYS if "x32" in profile.architectures else FOREIGN
        ranges = merged([*ranges, (X32_BIT, x32), (0xFFFFFFFF, profile.default)])
    for _, outcome in ranges:
        if isinstance(outcome, int):
            leaves[outcome] = assembler.give(outcome)
    return assembler.load(tree(assembler, blocks(ranges), leaves))


def calls(profile: Profile, arch: str) -> dict[int, list[Rule]]:
    """The rules of each system call's number, in the order of the profile."""
    table = numbers(arch)
    found: dict[int, list[Rule]] = {}
    multiplexed = profile.multiplexed and arch == "x86"
    for rule in profile.rules:
        for name in rule.names:
            number = table.get(name)
            if multiplexed:
                for call, operations in (("socketcall", SOCKETCALL), ("ipc", IPC)):
                    if name in operations:
                        rest = [c for c in rule.conditions if c.index]
                        first = Condition(0, "EQ", operations[name])
                        found.setdefault(table[call], []).append(
                            Rule((call,), rule.action, (first, *rest))
                        )
            if number is not None:
                found.setdefault(number, []).append(rule)
    return found


def decide(rules: list[Rule], wide: bool) -> Decision:
    """Put the rules of one call in the order in which they hold."""
    matching: list[tuple[tuple[Condition, ...], int]] = []
    for rule in rules:
        conditions = tuple(
            sorted((c for c in rule.conditions if not vacuous(c, wide)), key=lambda c: c.index)
        )
        matching.append((conditions, rule.action))
    for conditions, action in matching:
        if not conditions:
            return (((), action),)
    nodes: dict[tuple[int, ...], int] = {}
    return tuple(sorted(matching, key=lambda pair: [rank(c, wide, nodes) for c in pair[0]]))


def vacuous(condition: Condition, wide: bool) -> bool:
    """Whether a condition holds whatever the argument is."""
    mask = condition.value & (0xFFFFFFFFFFFFFFFF if wide else WHOLE)
    return condition.operator == "MASKED_EQ" and not mask


def rank(condition: Condition, wide: bool, nodes: dict[tuple[int, ...], int]) -> list[int]:
    """Where libseccomp tests a condition, as a sort key.

    The last argument comes first, equality before order, and large numbers first except for "less
    than": of the upper halves, then, within one test of the upper half, of the lower ones.

    :param nodes: the tests of upper halves made so far for this call, in their order.
    """
    datum, bits = condition.value, 0xFFFFFFFFFFFFFFFF
    if condition.operator.startswith("MASKED"):
        datum, bits = condition.value & condition.masked, condition.value
    sign = 1 if condition.operator in ("LE", "LT") else -1
    high = sign * (datum >> 32) if wide else 0
    first = [-condition.index, -RANKS[condition.operator], high]
    node = nodes.setdefault((*first, bits >> 32 if wide else 0), len(nodes))
    return [*first, node, sign * (datum & WHOLE)]


def leaf(assembler: Assembler, decision: Decision, default: int, wide: bool) -> Label:
    """The tests of one call's arguments."""
    label = assembler.give(default)
    for conditions, action in reversed(decision):
        matched = assembler.give(action)
        for condition in reversed(conditions):
            matched = compare(assembler, condition, matched, label, wide)
        label = matched
    return assembler.load(label)


def compare(
    assembler: Assembler, condition: Condition, true: Label, false: Label, wide: bool
) -> Label:
    """One condition; the kernel's accumulator has 32 bits, so a wide one takes two steps."""
    operator = condition.operator
    if operator in ("NE", "LT", "LE", "MASKED_NE"):
        operator = {"NE": "EQ", "LT": "GE", "LE": "GT", "MASKED_NE": "MASKED_EQ"}[operator]
        true, false = false, true
    value, mask = condition.value, 0xFFFFFFFFFFFFFFFF
    if operator == "MASKED_EQ":
        value, mask = condition.masked & condition.value, condition.value
    offset = ARGUMENTS + 8 * condition.index
    low = (offset, mask & WHOLE)
    high = (offset + 4, mask >> 32)
    if operator == "GE" and not value:
        return true
    if operator in ("GE", "GT"):
        code = JGE if operator == "GE" else JGT
        label = assembler.test(code, value & WHOLE, true, false, low)
        if wide:
            label = assembler.test(JEQ, value >> 32, label, false, high)
            label = assembler.test(JGT, value >> 32, true, label, high)
        return label
    label = true
    if low[1]:
        label = assembler.test(JEQ, value & WHOLE, label, false, low)
    if wide and high[1]:
        label = assembler.test(JEQ, value >> 32, label, false, high)
    return label


def segments(outcomes: dict[int, Outcome], default: int, above: int, top: int) -> list[Segment]:
    """Cover all 32-bit numbers: where each stretch of equal outcome begins."""
    ranges: list[Segment] = [(0, default)]
    for number in sorted(outcomes):
        ranges += [(number, outcomes[number]), (number + 1, default)]
    if above != default:
        ranges.append((top + 1, above))
    return merged(ranges)


def merged(ranges: list[Segment]) -> list[Segment]:
    """Drop stretches that are empty and borders where nothing changes."""
    kept: list[Segment] = []
    for start, outcome in ranges:
        while kept and kept[-1][0] >= start:
            kept.pop()
        if not kept or kept[-1][1] != outcome:
            kept.append((start, outcome))
    return kept


def blocks(ranges: list[Segment]) -> list[Block]:
    """Choose between a border (two tests around a lone number) and an exception (one test).

    The least number of tests, by dynamic programming: ``best`` has, for each outcome, the cheapest
    way to cover what has been seen with a last block of that outcome.  A way is its cost and a
    chain of steps; a step opens a block or excepts a number.
    """
    best: dict[Outcome, Way] = {}
    for at, (start, outcome) in enumerate(ranges):
        cost, chain = min(best.values(), key=lambda way: way[0], default=(-1, None))
        opened: Way = (cost + 1, (chain, True, start, outcome))
        lone = at + 1 < len(ranges) and ranges[at + 1][0] == start + 1
        following: dict[Outcome, Way] = {
            base: (cost + 1, (chain, False, start, outcome))
            for base, (cost, chain) in best.items()
            if lone and base != outcome
        }
        following[outcome] = min(best.get(outcome, opened), opened, key=lambda way: way[0])
        best = following
    _, chain = min(best.values(), key=lambda way: way[0])
    found: list[Block] = []
    excepted: list[Segment] = []
    while chain is not None:
        chain, opens, start, outcome = chain
        if opens:
            found.append((start, outcome, tuple(excepted)))
            excepted = []
        else:
            excepted.append((start, outcome))
    return found[::-1]


def tree(assembler: Assembler, parts: list[Block], leaves: dict[Outcome, Label]) -> Label:
    """A balanced search for the block that a call's number is in."""
    if len(parts) == 1:
        _, outcome, excepted = parts[0]
        label = leaves[outcome]
        for number, other in excepted:
            label = assembler.test(JEQ, number, leaves[other], label, (NR, WHOLE))
        return label
    middle = len(parts) // 2
    right = tree(assembler, parts[middle:], leaves)
    left = tree(assembler, parts[:middle], leaves)
    return assembler.test(JGE, parts[middle][0], right, left, (NR, WHOLE))
