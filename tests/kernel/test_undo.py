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
from kokon.engine import run
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
