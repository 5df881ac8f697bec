"""The compiler against a slow reading of the profile, and against libseccomp."""

from __future__ import annotations

import pytest
from bpf_interpreter import Meaning, check, run
from hypothesis import given, settings
from hypothesis import strategies as st

import libseccomp_oracle
from kokon.errors import HostError, SpecError
from kokon.security.seccomp import program
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
from kokon.security.seccomp.compiler import AUDIT
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
    random = st.tuples(*(values for _ in range(6)))
    for nr, arch, args in [
        *questions(profile),
        *((numbers("x86_64").get(call, 0), AUDIT["x86_64"], data.draw(random)) for call in CALLS),
    ]:
        assert run(code, nr, arch, args) == meaning.action(nr, arch, args)


@pytest.mark.skipif(libseccomp_oracle.library is None, reason="libseccomp.so.2 is not here")
@settings(max_examples=80, deadline=None)
@given(
    st.builds(
        Profile,
        st.just(ERRNO | 1),
        rules(
            st.just(ALLOW),
            st.builds(Condition, st.integers(0, 5), st.sampled_from(OPERATORS), values, values),
        ),
        st.just(("x86",)),
    ),
    st.data(),
)
def test_program_is_libseccomps(profile: Profile, data: st.DataObject) -> None:
    code = program(profile, "x86_64")
    try:
        peer = libseccomp_oracle.program(profile, "x86_64")
    except libseccomp_oracle.Unanswered:
        return
    random = st.tuples(*(values for _ in range(6)))
    extra = [(numbers("x86_64").get(call, 0), AUDIT["x86_64"], data.draw(random)) for call in CALLS]
    for nr, arch, args in [*questions(profile), *extra]:
        if arch in (AUDIT["x86_64"], AUDIT["x86"], 0xDEAD):
            assert run(code, nr, arch, args) == run(peer, nr, arch, args), (hex(nr), hex(arch), args)
