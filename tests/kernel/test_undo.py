"""A plan that fails at any of its steps leaves nothing behind, and its error names that step."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from leftovers import Before, busybox_root, own_place, skip_without_namespaces

import kokon
from kokon.config.options import Options
from kokon.engine import box, run
from kokon.kernel import cgroups, facts
from kokon.plan import ops
from kokon.plan.explain import sentence
from kokon.plan.op import Op
from kokon.plan.plan import Plan

pytestmark = pytest.mark.kernel

REFUSED = ops.IdMap("no-such-file", "1", why="the test")
"""An op that init can try on either side of Release, and that the kernel refuses (ENOENT)."""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    skip_without_namespaces()
    yield from own_place(monkeypatch, tmp_path)


def everything(root: str, place: Path) -> Options:
    """Options that bring nearly every kind of op into the plan."""
    (place / "volume").mkdir(exist_ok=True)
    values: dict[str, Any] = {
        "volumes": (f"{place}/volume:/data:ro",), "tmpfs": ("/scratch",), "init": True,
        "devices": ("/dev/null:/dev/nothing",), "hostname": "cocoon", "domainname": "example",
        "sysctls": ("net.ipv4.ip_forward=1",), "ulimits": ("nofile=64",), "time": "boottime=5",
        "oom_score_adj": 500,
    }  # fmt: skip
    layout = cgroups.read()
    if facts.read().is_root:
        values["user"] = "1000:1000"
        if layout.of("pids") or layout.unified:
            values |= {"memory": "64M", "pids": 64}
    return Options(root, ("/bin/true",), values)


def perform(prepared: run.Prepared) -> object:
    """Starts a prepared run with a terminal and waits for its end, as the command line does."""
    null = os.open(os.devnull, os.O_RDWR)
    process = None
    try:
        process = prepared.start((null, null, null))
        if prepared.configuration.spec.process.terminal:
            process.spawned.await_terminal()
        return run.finish(prepared, process)
    finally:
        if process:
            if process.spawned.terminal >= 0:
                os.close(process.spawned.terminal)
            process.close()
        os.close(null)
        assert prepared.close() == []


def outcome_of(options: Options, index: int, op: Op, terminal: bool) -> tuple[Plan, Exception]:
    """The plan, and the error of performing it with another op at one place."""
    prepared = run.prepare(options, terminal=terminal)
    plan = prepared.plan
    changed = (*plan.ops[:index], op, *plan.ops[index + 1 :])
    prepared.plan = Plan(changed, plan.inherited)
    with pytest.raises(kokon.KokonError) as caught:
        perform(prepared)
    return plan, caught.value


@pytest.mark.parametrize("terminal", [False, True], ids=["streams", "terminal"])
def test_a_failure_at_any_step_is_named_and_undone(place: Path, terminal: bool) -> None:
    options = everything(busybox_root(place / "root"), place)
    prepared = run.prepare(options, terminal=terminal)
    steps = len(prepared.plan.ops)
    outcome = perform(prepared)
    assert outcome.ended.returncode == 0  # type: ignore[attr-defined]
    assert steps > 70
    before = Before(place)
    for index in range(steps):
        plan, error = outcome_of(options, index, REFUSED, terminal)
        assert isinstance(error, kokon.StepError), (index, error)
        assert (error.step, error.steps) == (index + 1, len(plan.ops))
        assert str(error).startswith(
            f"step {index + 1} of {steps} (asked by the test): {sentence(REFUSED)}: open: No such"
        )
        assert before.left() == [], (index, plan.ops[index])


def test_a_failure_at_any_step_of_a_box(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But the last: without it nothing is handed over (tests/kernel/test_failures.py)."""
    options = everything(busybox_root(place / "root"), place)
    prepared = run.prepare(options, box=True)
    steps = len(prepared.plan.ops)
    assert prepared.close() == [] and steps > 50
    before = Before(place)
    for index in range(steps - 1):
        prepared = run.prepare(options, box=True)
        changed = (*prepared.plan.ops[:index], REFUSED, *prepared.plan.ops[index + 1 :])
        prepared.plan = Plan(changed, prepared.plan.inherited)
        monkeypatch.setattr(box, "prepare", lambda *_, **__: prepared)  # noqa: B023
        with pytest.raises(kokon.StepError) as caught:
            box.Box(options)
        assert (caught.value.step, caught.value.steps) == (index + 1, steps)
        assert before.left() == [], (index, prepared.plan.ops[index])


@pytest.mark.parametrize("kind", ["program", "terminal", "file"])
def test_a_failure_at_any_step_of_a_program_in_a_box(place: Path, kind: str) -> None:
    options = everything(busybox_root(place / "root"), place)
    made = box.Box(options)
    transfer = ops.Transfer("/etc/passwd", 1, why="the caller") if kind == "file" else None
    before = Before(place)
    beginning = before.left()

    def program() -> run.Prepared:
        return made.program(options, terminal=kind == "terminal", transfer=transfer)

    prepared = program()
    steps = len(prepared.plan.ops)
    assert perform(prepared).ended.returncode == 0  # type: ignore[attr-defined]
    assert steps > 20
    for index in range(steps):
        prepared = program()
        changed = (*prepared.plan.ops[:index], REFUSED, *prepared.plan.ops[index + 1 :])
        prepared.plan = Plan(changed, prepared.plan.inherited)
        with pytest.raises(kokon.StepError) as caught:
            perform(prepared)
        assert (caught.value.step, caught.value.steps) == (index + 1, steps)
        assert before.left() == beginning, (index, prepared.plan.ops[index])
    assert made.close() == []
