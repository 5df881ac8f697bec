"""What may be done without, on plans as they are made for a user and for root."""

from __future__ import annotations

from errno import EACCES, EINVAL, EIO, ENOMEM, ENOSYS, EPERM
from pathlib import Path
from typing import Any

import pytest
from test_container import USER, machine

from kokon.compile import lacks
from kokon.compile.container import compile_container
from kokon.compile.guarantees import rungs
from kokon.compile.inputs import Launch, RootFacts
from kokon.config.container import Surroundings, configure
from kokon.config.options import Options
from kokon.plan import check, ops
from kokon.plan.op import Op
from kokon.plan.plan import Plan
from kokon.spec.runtime import IdMapping

NAMES = [row.name for row in lacks.LACKS if row.name not in lacks.KNOWN_BEFORE[:2]]
REFUSED = {
    lacks.WHOLE_PROC: ("proc", "/proc"), lacks.PROC: ("proc", "/proc"), "/sys": ("sysfs", "/sys"),
    "/dev/mqueue": ("mqueue", "/dev/mqueue"), "/dev/pts": ("devpts", "/dev/pts"),
}  # fmt: skip
KINDS = {
    "loopback": ops.Loopback, "keyring": ops.Keyring, "host name": ops.Hostname,
    "cgroup namespace": ops.Unshare,
}  # fmt: skip


def plan_of(case: str = "root", **values: Any) -> Plan:
    """The plan of a shell, for root or for a user with one id."""
    host = machine() if case == "root" else USER
    one = (IdMapping(0, 100000, 65536),) if case == "root" else (IdMapping(0, 1000, 1),)
    around = Surroundings(
        uid=0, gid=0, groups=(), home="/root", caller={}, uid_mappings=one, gid_mappings=one,
        terminal=bool(values.get("tty")),
    )  # fmt: skip
    configuration = configure(Options("/r", ("sh",), values), host, around)
    root = RootFacts("directory", path="/r")
    plan = compile_container(configuration.spec, host, root, Launch(reaper=True))
    check.check(plan)
    return plan


def step(plan: Plan, name: str) -> Op:
    """The step that stands for a lack."""
    for op in plan.ops:
        if name in KINDS and isinstance(op, KINDS[name]):
            return op
        if isinstance(op, ops.Filesystem) and (op.type, op.about) == REFUSED.get(name):
            return op
    raise LookupError(name)


@pytest.mark.parametrize("case", ["root", "user"])
@pytest.mark.parametrize("name", NAMES)
def test_without_it_the_plan_is_sound(name: str, case: str) -> None:
    before = plan_of(case)
    names = (lacks.WHOLE_PROC, name) if name == lacks.PROC else (name,)
    after = lacks.without(before, names, "x86_64")
    check.check(after)
    assert after.ops != before.ops
    assert type(after.ops[-1]) is ops.Execute
    held = rungs(after)
    assert held["files"] == "mounts" and held["processes"] == "namespace"
    network = {"loopback": "namespace-down", lacks.NETWORK_NAMESPACE: "filter"}
    assert held["network"] == network.get(name, "namespace")
    assert len(lacks.notes(names)) == 1


def test_clone_in_place_of_clone3() -> None:
    """The same clone; into a group of version 2 there is no other way."""
    before = plan_of()
    after = lacks.without(before, ("clone3",), "x86_64")
    assert [type(op) for op in after.ops] == [type(op) for op in before.ops]
    clone, again = (next(op for op in p.ops if isinstance(op, ops.Clone)) for p in (before, after))
    assert (again.namespaces, again.adopt, again.legacy) == (clone.namespaces, clone.adopt, 1)
    assert lacks.without(after, ("clone3",), "x86_64").ops == after.ops
    group = ops.Clone(0, cgroup=0, why="x")
    into = Plan(tuple(group if isinstance(op, ops.Clone) else op for op in before.ops))
    assert lacks.without(into, ("clone3",), "x86_64").ops == into.ops
    assert lacks.notes(("clone3",)) == ()


def test_the_page_shows_every_row() -> None:
    page = Path(__file__).resolve().parents[3] / "docs/levels.md"
    if not page.exists():
        pytest.skip("only in a checkout")
    for row in lacks.LACKS:
        assert f"| {row.name} | {row.note} |" in page.read_text()


def test_all_at_once() -> None:
    after = lacks.without(plan_of(), tuple(NAMES), "x86_64")
    check.check(after)
    assert len(lacks.notes(tuple(NAMES))) == len(NAMES) - 1


def test_nothing_of_the_outside_stands_in() -> None:
    """No lack makes a plan take a mount of the host: an old /proc would be a way out."""
    before, after = plan_of(), lacks.without(plan_of(), tuple(NAMES), "x86_64")
    for kind in (ops.CloneMount, ops.CloneDescriptor):
        count = [sum(isinstance(op, kind) for op in plan.ops) for plan in (before, after)]
        assert count[0] == count[1]


@pytest.mark.parametrize("name", [*REFUSED.keys() - {lacks.PROC}, *KINDS])
def test_a_refused_step_is_found(name: str) -> None:
    plan = plan_of()
    row = lacks.lack_of(step(plan, name), EPERM, plan)
    assert row is not None and row.name == name
    assert lacks.lack_of(step(plan, name), ENOMEM, plan) is None


def test_proc_of_processes_first_then_none() -> None:
    plan = lacks.without(plan_of(), (lacks.WHOLE_PROC,), "x86_64")
    proc = step(plan, lacks.PROC)
    assert isinstance(proc, ops.Filesystem) and proc.options[-2:] == ("subset", "pid")
    row = lacks.lack_of(proc, EPERM, plan)
    assert row is not None and row.name == lacks.PROC
    plan = lacks.without(plan, (lacks.PROC,), "x86_64")
    with pytest.raises(LookupError):
        step(plan, lacks.PROC)
    assert not [op for op in plan.ops if isinstance(op, ops.CheckFilesystem) and op.path == "/proc"]


def test_a_terminal_is_not_done_without() -> None:
    plan = plan_of(tty=True)
    assert lacks.lack_of(step(plan, "/dev/pts"), EPERM, plan) is None


def test_a_time_namespace_is_not_done_without() -> None:
    plan = plan_of(time="boottime=1")
    unshare = [op for op in lacks.without(plan, ("cgroup namespace",), "x86_64").ops
               if isinstance(op, ops.Unshare)]  # fmt: skip
    assert [op.namespaces for op in unshare] == [0x80]


def test_keys_are_refused_where_the_keyring_stays() -> None:
    before = plan_of()
    after = lacks.without(before, ("keyring",), "x86_64")
    count = [sum(isinstance(op, ops.Seccomp) for op in plan.ops) for plan in (before, after)]
    assert count[1] == count[0] + 1


@pytest.mark.parametrize(
    ("kind", "errno", "expected"),
    [
        (ops.Clone, EPERM, True), (ops.Clone, EINVAL, True), (ops.Clone, ENOMEM, False),
        (ops.Propagation, EACCES, True), (ops.Filesystem, ENOSYS, True),
        (ops.CloneMount, EPERM, True), (ops.CloneMount, EACCES, False),
        (ops.Attach, EINVAL, False), (ops.Execute, EACCES, False), (ops.Pivot, EIO, False),
    ],
)  # fmt: skip
def test_what_no_container_can_be_made_without(kind: type[Op], errno: int, expected: bool) -> None:
    op = next(op for op in plan_of().ops if isinstance(op, kind))
    assert lacks.is_foundation(op, errno) is expected
