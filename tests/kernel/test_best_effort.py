"""Where nobody delegates a cgroup: an error with the way to get it, or limits that say what they
are worth."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import kokon
from kokon.config.options import Options
from kokon.engine.run import prepare
from kokon.kernel import cgroups

pytestmark = [
    pytest.mark.skipif(os.geteuid() == 0, reason="root can have every limit"),
    pytest.mark.skipif(cgroups.read().mode == "v2", reason="a cgroup may be delegated here"),
    pytest.mark.skipif(not shutil.which("busybox"), reason="needs busybox (busybox-static)"),
]


LIMITS = (
    "ulimit -v; while read -r a b c d; do [ $b = processes ] && echo $c; done </proc/self/limits"
)


@pytest.fixture
def root(tmp_path: Path) -> str:
    (tmp_path / "root/bin").mkdir(parents=True)
    shutil.copy(str(shutil.which("busybox")), tmp_path / "root/bin/sh")
    return str(tmp_path / "root")


def test_refused(root: str) -> None:
    with pytest.raises(kokon.HostError, match=r"memory='50M': .*limits='best-effort'"):
        kokon.run(["sh", "-c", ":"], root=root, memory="50M")


@pytest.mark.parametrize("memory", ["50M", "60M"])
def test_stand_ins(root: str, memory: str) -> None:
    """Twice, with different values: a plan that is kept must not bring its limits along."""
    result = kokon.run(
        ["sh", "-c", LIMITS], root=root, memory=memory, pids=20, cpus=1, limits="best-effort",
        capture_output=True, text=True,
    )  # fmt: skip
    assert result.stdout.split() == [str(int(memory[:2]) << 10), "20"]


def test_stand_ins_in_a_box(root: str) -> None:
    with kokon.Sandbox(root=root, memory="50M", pids=20, limits="best-effort") as box:
        result = box.run(["sh", "-c", LIMITS], capture_output=True, text=True)
        assert result.stdout.split() == [str(50 << 10), "20"]
        assert not result.guarantees["memory"]
        with pytest.raises(kokon.HostError, match=r"memory='10M': .*give it to the box"):
            box.run(["sh", "-c", LIMITS], memory="10M")


def test_what_they_are_worth_is_said(root: str) -> None:
    prepared = prepare(Options(root, ("sh",), {"memory": "50M", "limits": "best-effort"}))
    notes = " ".join(prepared.notes)
    prepared.close()
    assert "not held by a control group" in notes
    assert "RLIMIT_AS 52428800" in notes and "every other limit is not real" in notes
