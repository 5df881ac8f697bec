"""The compiler against a slow reading of the profile, and against libseccomp."""

from __future__ import annotations

import libseccomp_oracle
import pytest
from bpf_interpreter import Meaning, check, run
from hypothesis import given, settings
from hypothesis import strategies as st

from kokon.errors import HostError, SpecError
from kokon.security.seccomp import program
from kokon.security.seccomp.compiler import AUDIT
from kokon.security.seccomp.profile import (
    ALLOW,
    ENOSYS,
    ERRNO,
    KILL_PROCESS,
    LOG,
    NOTIFY,
    OPERATORS,
    TRACE,
    TRAP,
    Condition,
    Profile,
    Rule,
)
from kokon.security.seccomp.syscalls import numbers

ACTIONS = (ALLOW, ERRNO | 1, ERRNO | 38, TRACE | 7, TRAP, LOG, KILL_PROCESS)
CALLS = ("read", "write", "ioctl", "clone", "socket", "openat", "semget", "no_such_call", "accept")
EDGES = (0, 1, 2, 0xFFFFFFFF, 0x100000000, 0x100000001, 0x7E02000000000001, (1 << 64) - 1)

SAFE = [
    name
    for name in sorted(numbers("x86_64"))
    if libseccomp_oracle.library is None or libseccomp_oracle.knows(name)
]

values = st.sampled_from(EDGES) | st.integers(0, 5) | st.integers(0, (1 << 64) - 1)
conditions = st.builds(
    Condition, st.integers(0, 5), st.sampled_from((*OPERATORS, "MASKED_NE")), values, values
)


def rules(
    actions: st.SearchStrategy[int], told: st.SearchStrategy[Condition] = conditions
) -> st.SearchStrategy[list[Rule]]:
    names = st.lists(st.sampled_from(CALLS) | st.sampled_from(SAFE), max_size=9)
    distinct = st.lists(told, max_size=3, unique_by=lambda c: c.index)
    return st.lists(st.builds(Rule, names, actions, distinct), max_size=8)


def questions(profile: Profile) -> list[tuple[int, int, tuple[int, ...]]]:
    """Calls worth asking about: every border, and every constant in every argument."""
    constants = {0, 1, 1 << 32}
    for rule in profile.rules:
        for c in rule.conditions:
            for value in (c.value, c.masked, c.masked & c.value, c.value ^ (1 << 63)):
                constants |= {value, (value + 1) % (1 << 64), (value - 1) % (1 << 64)}
    asked = []
    for name, arch in AUDIT.items():
        table = numbers(name)
        named = {table[call] for rule in profile.rules for call in rule.names if call in table}
        for nr in named | {102, 117}:
            asked += [(nr, arch, (value,) * 6) for value in constants]
            asked += [(n, arch, (0,) * 6) for n in (nr - 1 if nr else 0, nr + 1)]
        asked += [(n, arch, (0,) * 6) for n in (5000, 0x3FFFFFFF, 0x40000000, 0x40000001)]
        asked += [(n, arch, (0,) * 6) for n in (0xFFFFFFFE, 0xFFFFFFFF)]
    return [*asked, (0, 0xDEAD, (0,) * 6)]


@settings(max_examples=80, deadline=None)
@given(
    st.builds(
        Profile,
        st.sampled_from(ACTIONS),
        rules(st.sampled_from(ACTIONS)),
        st.lists(st.sampled_from(("x86", "x32", "arm", "mips")), unique=True),
        st.just(0),
        st.sampled_from((None, ERRNO | ENOSYS)),
        st.just(False),
    ),
    st.sampled_from(("x86_64", "aarch64")),
    st.data(),
)
def test_program_is_the_profile(profile: Profile, machine: str, data: st.DataObject) -> None:
    code = program(profile, machine)
    meaning = Meaning(profile, machine)
    check(code)
    assert code == program(profile, machine)
    random_arguments = st.tuples(*(values for _ in range(6)))
    for nr, arch, args in [
        *questions(profile),
        *(
            (numbers("x86_64").get(call, 0), AUDIT["x86_64"], data.draw(random_arguments))
            for call in CALLS
        ),
    ]:
        assert run(code, nr, arch, args) == meaning.action(nr, arch, args)


def peer_rules() -> st.SearchStrategy[list[Rule]]:
    """Rules on which libseccomp keeps its own manual.

    It does not for overlapping rules with several conditions or with "less than" beside "greater
    than", nor for LE after another condition on a 32-bit architecture, nor for a second
    architecture with one call only (it compares the architecture with the call's number).
    """
    ordered = [operator for operator in OPERATORS if operator != "LE"]
    told = st.builds(Condition, st.integers(0, 5), st.sampled_from(ordered), values, values)
    one = st.lists(told, max_size=3, unique_by=lambda c: c.index).map(lambda found: [found])
    equal = st.builds(Condition, st.just(2), st.just("EQ"), values)
    several = st.lists(equal.map(lambda c: [c]), max_size=4)
    several = st.tuples(several, st.just("NE") | st.just("LE") | st.just("GT"), values).map(
        lambda t: [*t[0], [Condition(2, t[1], t[2])]]
    )
    per_call = st.dictionaries(
        st.sampled_from(CALLS) | st.sampled_from(SAFE), one | several, max_size=8
    )
    return per_call.map(
        lambda calls: [
            Rule(("exit", "getpid", "uname"), ALLOW),
            *(Rule((name,), ALLOW, c) for name, found in calls.items() for c in found),
        ]
    )


peer = pytest.mark.skipif(libseccomp_oracle.library is None, reason="libseccomp.so.2 is not here")


@peer
@settings(max_examples=60, deadline=None, derandomize=True)
@given(peer_rules())
def test_program_is_libseccomps(rules: list[Rule]) -> None:
    profile = Profile(ERRNO | 1, rules, ("x86",))
    code = program(profile, "x86_64")
    theirs = libseccomp_oracle.program(profile, "x86_64")
    for nr, arch, args in questions(profile):
        if arch in (AUDIT["x86_64"], AUDIT["x86"], 0xDEAD):
            assert run(code, nr, arch, args) == run(theirs, nr, arch, args), (nr, hex(arch), args)


@peer
def test_order_of_rules_that_disagree_is_libseccomps() -> None:
    """As in Podman's rules for socket(2)."""
    rules = [
        Rule(("socket",), ERRNO | 2, [Condition(0, "EQ", 40)]),
        Rule(("socket",), ERRNO | 3, [Condition(0, "EQ", 16), Condition(2, "EQ", 9)]),
        Rule(("socket",), ALLOW, [Condition(0, "EQ", 16), Condition(2, "NE", 9)]),
        Rule(("socket",), ALLOW, [Condition(0, "NE", 16)]),
        Rule(("ioctl",), ALLOW, [Condition(0, "EQ", 1)]),
        Rule(("ioctl",), ERRNO | 4, [Condition(1, "EQ", 2)]),
        Rule(("read",), ALLOW, [Condition(1, "NE", 5)]),
        Rule(("read",), LOG),
        Rule(("read",), TRAP),
    ]
    profile = Profile(ERRNO | 1, rules)
    code = program(profile, "x86_64")
    theirs = libseccomp_oracle.program(profile, "x86_64")
    arch = AUDIT["x86_64"]
    for name in ("socket", "ioctl", "read"):
        for first in (1, 2, 16, 40, 1 << 32):
            for second in (1, 2):
                for third in (8, 9, (1 << 32) + 9):
                    args = (first, second, third, 0, 0, 0)
                    nr = numbers("x86_64")[name]
                    assert run(code, nr, arch, args) == run(theirs, nr, arch, args), (name, args)
    assert run(code, numbers("x86_64")["read"], arch) == LOG


def test_far_jumps() -> None:
    """More tests than a conditional jump of 255 spans, and each call still finds its own."""
    rules = [Rule(("ioctl",), ERRNO | n, [Condition(1, "EQ", n << 20)]) for n in range(2, 400)]
    table = numbers("x86_64")
    calls = sorted(table, key=lambda name: table[name])[20:300:3]
    rules += [Rule((name,), ERRNO | (700 + n)) for n, name in enumerate(calls)]
    code = program(Profile(ALLOW, rules, ("x86",)), "x86_64")
    check(code)
    for n in (2, 300, 399):
        args = (0, n << 20, 0, 0, 0, 0)
        assert run(code, 16, AUDIT["x86_64"], args) == ERRNO | n
        assert run(code, 54, AUDIT["x86"], args) == ERRNO | n
    for n, name in enumerate(calls):
        assert run(code, table[name], AUDIT["x86_64"]) == ERRNO | (700 + n)


def test_too_long() -> None:
    rules = [Rule(("ioctl",), ERRNO | n, [Condition(1, "EQ", n << 30)]) for n in range(2, 2000)]
    with pytest.raises(SpecError, match="the kernel takes 4096"):
        program(Profile(ALLOW, rules), "x86_64")


def test_every_action() -> None:
    names = sorted(numbers("aarch64"))
    actions = (*ACTIONS, NOTIFY, 0)
    rules = [Rule((name,), act) for name, act in zip(names, actions, strict=False)]
    profile = Profile(ERRNO | 9, rules)
    code = program(profile, "aarch64")
    for name, act in zip(names, actions, strict=False):
        assert run(code, numbers("aarch64")[name], AUDIT["aarch64"]) == act
    assert profile.notifies()


def test_flags_with_which_it_is_loaded() -> None:
    """TSYNC would put the thread that sends the listener under the filter."""
    rule = Rule(("mkdir",), NOTIFY)
    assert Profile(ALLOW, [rule], flags=1 | 2 | 32).loading_flags() == 2 | 8 | 32
    assert Profile(ALLOW, flags=1 | 2).loading_flags() == 1 | 2
    with pytest.raises(SpecError, match="and no call has it"):
        Profile(ALLOW, flags=32).loading_flags()


def test_socketcall_follows_the_rules_of_sockets() -> None:
    profile = Profile(ERRNO | 1, [Rule(("socket", "semop"), ALLOW)], ("x86",))
    code = program(profile, "x86_64")
    assert run(code, 102, AUDIT["x86"], (1, 0, 0, 0, 0, 0)) == ALLOW
    assert run(code, 102, AUDIT["x86"], (2, 0, 0, 0, 0, 0)) == ERRNO | 1
    assert run(code, 117, AUDIT["x86"], (1, 0, 0, 0, 0, 0)) == ALLOW
    profile.multiplexed = False
    assert run(program(profile, "x86_64"), 102, AUDIT["x86"], (1, 0, 0, 0, 0, 0)) == ERRNO | 1


def test_unknown_machine() -> None:
    with pytest.raises(HostError, match="no table of system calls for riscv64"):
        program(Profile(ALLOW), "riscv64")
