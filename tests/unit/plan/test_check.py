"""Each invariant of a plan, broken once."""

from __future__ import annotations

import pytest

from kokon.plan import check, ops
from kokon.plan.op import Op
from kokon.plan.plan import Plan

WHY = "the test"
SOUND: tuple[Op, ...] = (
    ops.Clone(0, cgroup=0, why=WHY),
    ops.IdMap("uid_map", "0 0 1", why=WHY),
    ops.UserNamespace(2, why=WHY),
    ops.Release(why=WHY),
    ops.JoinCgroup(1, "memory", why=WHY),
    ops.User(0, 0, 0, why=WHY),
    ops.Propagation(1 << 19, why=WHY),
    ops.Filesystem(3, "tmpfs", (), 0, "the root", why=WHY),
    ops.AttachAnywhere(3, "/", "the root", why=WHY),
    ops.CloneMount(4, 3, "x", why=WHY),
    ops.Attach(4, 3, "/x", why=WHY),
    ops.Pivot(3, why=WHY),
    ops.BoundingSet(0, why=WHY),
    ops.Groups(b"", why=WHY),
    ops.User(0, 0, 0, why=WHY),
    ops.NoNewPrivileges(why=WHY),
    ops.Capabilities(0, 0, 0, why=WHY),
    ops.Ambient(0, why=WHY),
    ops.ParentDeath(why=WHY),
    ops.Seccomp(bytes(8), why=WHY),
    ops.Reap(why=WHY),
    ops.CloseDescriptors(why=WHY),
    ops.Execute(("/x",), ("x",), (), why=WHY),
)
INHERITED = ("cgroup", "tasks:memory")


def index(kind: type[Op]) -> int:
    return max(at for at, op in enumerate(SOUND) if type(op) is kind)


def without(kind: type[Op]) -> tuple[Op, ...]:
    return tuple(op for op in SOUND if type(op) is not kind)


def moved(kind: type[Op], before: type[Op]) -> tuple[Op, ...]:
    """The last op of a kind, put before another."""
    steps = list(SOUND)
    op = steps.pop(index(kind))
    steps.insert(next(at for at, other in enumerate(steps) if type(other) is before), op)
    return tuple(steps)


def put(op: Op, before: type[Op]) -> tuple[Op, ...]:
    at = index(before)
    return (*SOUND[:at], op, *SOUND[at:])


def test_a_sound_plan() -> None:
    assert check.violations(Plan(SOUND, INHERITED)) == []
    check.check(Plan(SOUND, INHERITED))


ONCE = (ops.Clone, ops.Release, ops.CloseDescriptors, ops.BoundingSet)


@pytest.mark.parametrize("kind", ONCE)
def test_what_has_to_be_there_once(kind: type[Op]) -> None:
    for times, steps in ((0, without(kind)), (2, put(SOUND[index(kind)], kind))):
        words = f"{kind.__name__} occurs {times} times, not once"
        assert check.violations(Plan(steps, INHERITED)) == [words]


def test_one_step_ends_it() -> None:
    for times, steps in ((0, SOUND[:-1]), (2, (*SOUND, SOUND[-1]))):
        words = f"the step that ends a plan occurs {times} times, not once"
        assert check.violations(Plan(steps, INHERITED)) == [words]


def test_namespaces_are_handed_over_with_their_rights() -> None:
    rights = index(ops.BoundingSet)
    hand_over = ops.HandOver(3, ("ns/mnt",), b"", "them", why=WHY)
    assert check.violations(Plan((*SOUND[:rights], hand_over), INHERITED)) == []


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ((*SOUND, ops.Umask(0, why=WHY)), "something comes after the step that ends a plan"),
        (moved(ops.Release, ops.Clone), "Release comes before Clone"),
        (put(ops.Hostname("x", why=WHY), ops.IdMap), "step 2, Hostname, is on the wrong side of"),
        (put(ops.IdMap("x", "", why=WHY), ops.Pivot), "step 12, IdMap, is on the wrong side of"),
        (moved(ops.Pivot, ops.Attach), "Attach comes after Pivot"),
        (put(ops.Mask(3, "/x", 3, why=WHY), ops.BoundingSet), "Mask comes after Pivot"),
        (put(ops.ReadOnly(3, "/x", why=WHY), ops.BoundingSet), "ReadOnly comes after Pivot"),
        (without(ops.Propagation), "mounts are made before their propagation is cut"),
        (moved(ops.Propagation, ops.BoundingSet), "mounts are made before their propagation"),
        (moved(ops.User, ops.Groups), "rights are not taken away in the one order"),
        (moved(ops.Capabilities, ops.Groups), "rights are not taken away in the one order"),
        (moved(ops.Capabilities, ops.BoundingSet), "rights are not taken away in the one order"),
        (moved(ops.ParentDeath, ops.Groups), "rights are not taken away in the one order"),
        (moved(ops.Seccomp, ops.BoundingSet), "rights are not taken away in the one order"),
        (moved(ops.Seccomp, ops.ParentDeath), "steps follow the filter"),
        (put(ops.Umask(0, why=WHY), ops.CloseDescriptors), "steps follow the filter"),
        (moved(ops.CloseDescriptors, ops.Seccomp), "rights are not taken away in the one order"),
        (put(ops.Attach(9, 3, "/y", why=WHY), ops.Pivot), "step 12, Attach, uses slot 9: it is"),
        (put(ops.Attach(4, 9, "/y", why=WHY), ops.Pivot), "step 12, Attach, uses slot 9: it is"),
        (put(ops.CloneMount(8, 8, "/y", why=WHY), ops.Pivot), "CloneMount, uses slot 8: it is"),
        (put(ops.MountAttributes(3, 0, 0, 0, 0, 9, "x", why=WHY), ops.Pivot), "uses slot 9: it is"),
    ],
)  # fmt: skip
def test_an_invariant_that_is_broken(steps: tuple[Op, ...], words: str) -> None:
    broken = check.violations(Plan(steps, INHERITED))
    assert any(words in each for each in broken), broken
    with pytest.raises(check.BrokenPlan, match=r"the plan is not safe: .*; this is a mistake"):
        check.check(Plan(steps, INHERITED))


def test_a_slot_that_was_not_handed_over() -> None:
    assert check.violations(Plan(SOUND, ("cgroup",))) == [
        "step 5, JoinCgroup, uses slot 1: it is empty"
    ]
    assert "step 1, Clone, uses slot 0: it is empty" in check.violations(Plan(SOUND))


SEND = ops.SendListener(0, 1, why=WHY)
ASKS = ops.Seccomp(bytes(8), 8, why=WHY)


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ((SEND, ASKS), ""),
        ((SOUND[index(ops.Seccomp)], SEND, ASKS), "steps follow the filter"),
        ((ASKS,), "step 20 has to do with a filter's listener, alone"),
        ((SEND, SOUND[index(ops.Seccomp)]), "step 20 has to do with a filter's listener, alone"),
        ((SEND,), "step 20 has to do with a filter's listener, alone"),
        ((ASKS, SEND), "step 21 has to do with a filter's listener, alone"),
    ],
)
def test_a_listener_is_sent_by_what_waits_for_it(steps: tuple[Op, ...], words: str) -> None:
    broken = check.violations(Plan(ending(*steps), INHERITED))
    assert any(words in each for each in broken) if words else broken == []


WALL = ops.Landlock(0xFFFF, 3, 3, ("/",), bytes(8), b"", why=WHY)
SCOPE = ops.Landlock(0, 0, 2, (), b"", b"", why=WHY)
OTHERS = ops.Landlock(0xFFFF, 0, 1, ("/",), bytes(8), b"", why=WHY)


def ending(*steps: Op) -> tuple[Op, ...]:
    """A sound plan up to its filter, then these steps."""
    return (*SOUND[: index(ops.Seccomp)], *steps, *SOUND[index(ops.CloseDescriptors) :])


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        (ending(WALL, SOUND[index(ops.Seccomp)], ops.Reap(1, why=WHY), SCOPE), ""),
        (ending(WALL, SOUND[index(ops.Seccomp)], SOUND[index(ops.Seccomp)]), ""),
        (put(WALL, ops.NoNewPrivileges), "Landlock comes before NoNewPrivileges"),
        (put(WALL, ops.Pivot), "Landlock comes before the last mount"),
        (put(WALL, ops.CloseDescriptors), "Landlock comes after the filter"),
        (put(SCOPE, ops.Reap), "Landlock comes after the filter"),
        (ending(ops.Reap(1, why=WHY), SCOPE), "no scope of signals is before it"),
        (ending(OTHERS, ops.Reap(1, why=WHY), SCOPE), "no scope of signals is before it"),
    ],
)
def test_where_landlock_is(steps: tuple[Op, ...], words: str) -> None:
    broken = check.violations(Plan(steps, INHERITED))
    assert any(words in each for each in broken) if words else broken == []
