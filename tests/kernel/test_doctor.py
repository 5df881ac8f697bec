"""``kokon doctor`` on this machine, and on what this machine can be made to look like."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import validate
from leftovers import Before, own_place, skip_without_namespaces

import kokon
from kokon.cli.main import command
from kokon.config.diagnosis import Machine
from kokon.engine.doctor import examine

pytestmark = pytest.mark.kernel

SCHEMA = {
    "type": "object",
    "required": ["works", "findings", "machine"],
    "additionalProperties": False,
    "properties": {
        "works": {"type": "boolean"},
        "machine": {"type": "object"},
        "findings": {
            "type": "array",
            "minItems": 20,
            "items": {
                "type": "object",
                "required": ["area", "state", "found", "follows", "remedy", "needed"],
                "additionalProperties": False,
                "properties": {
                    "area": {"type": "string", "minLength": 1},
                    "state": {"enum": ["ok", "partial", "missing", "unknown"]},
                    "found": {"type": "string", "minLength": 1},
                    "follows": {"type": "string"},
                    "remedy": {"type": "array", "items": {"type": "string"}},
                    "needed": {"type": "boolean"},
                },
            },
        },
    },
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    yield from own_place(monkeypatch, tmp_path)


def asked(*before: str, script: str = "", **environment: str) -> tuple[int, dict[str, Any]]:
    """Status and report of the command; ``script`` is a shell's part before it."""
    words = [sys.executable, "-m", "kokon", "doctor", "--format", "json"]
    if script:
        words = ["sh", "-c", f'{script}\nexec "$@"', "sh", *words]
    done = subprocess.run(
        [*before, *words], capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    report = json.loads(done.stdout)
    validate(report, SCHEMA)
    assert report["works"] is (done.returncode == 0)
    return done.returncode, report


def finding(report: dict[str, Any], area: str) -> dict[str, Any]:
    (found,) = (each for each in report["findings"] if each["area"] == area)
    return dict(found)


def unshare(*options: str, script: str = "true") -> tuple[str, ...]:
    """A way into namespaces, which is skipped where there is none."""
    if not shutil.which("unshare"):
        pytest.skip("needs unshare (util-linux)")
    words = ("unshare", *options)
    tried = subprocess.run([*words, "sh", "-c", script], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip(f"{' '.join(words)} is refused here: {tried.stderr.decode()}")
    return words


def test_what_it_says_is_so() -> None:
    """A run works exactly where it says so."""
    status, report = asked()
    try:
        kokon.run(["true"], root="@host", check=True)
        works = True
    except kokon.HostError:
        works = False
    assert (finding(report, "run of @host")["state"] == "ok") is works
    assert works or status == 1
    Machine.from_dict(report["machine"])


def test_limits_are_as_it_says(place: Path) -> None:
    skip_without_namespaces()
    limits = next(each for each in examine() if each.area == "limits")
    try:
        kokon.run(["true"], root="@host", memory="64M", pids=64, cpus=1)
        works = True
    except kokon.HostError:
        works = False
    assert (limits.state == "ok") is works


def test_nothing_is_left(place: Path) -> None:
    examine()
    before = Before(place)
    for _ in range(3):
        examine()
    assert before.left() == []


def test_unmapped_ids() -> None:
    """A bare ``unshare -U``."""
    status, report = asked(*unshare("--user"))
    assert status == 1
    found = finding(report, "user namespaces")
    assert (found["state"], found["needed"]) == ("missing", True)
    assert found["remedy"][0].startswith("unshare --user --map-root-user")
    assert finding(report, "network")["state"] == "unknown"


def test_root_of_a_user_namespace(tmp_path: Path) -> None:
    """``unshare -Ur``, with a store and a state that are ours also where root's are not."""
    skip_without_namespaces()
    words = unshare("--user", "--map-root-user")
    status, report = asked(
        *words, KOKON_STORE=str(tmp_path / "store"), XDG_RUNTIME_DIR=str(tmp_path)
    )
    assert status == 0, [each for each in report["findings"] if each["state"] != "ok"]
    assert "in a user namespace" in finding(report, "around kokon")["found"]


@pytest.mark.parametrize(
    ("name", "area"), [("user", "user namespaces"), ("net", "namespaces"), ("uts", "namespaces")]
)
def test_namespaces_switched_off(name: str, area: str, tmp_path: Path) -> None:
    """The settings of user.max_* are a user namespace's own, below those above it."""
    skip_without_namespaces()
    setting = f"echo 0 > /proc/sys/user/max_{name}_namespaces"
    words = unshare("--user", "--map-root-user", script=setting)
    status, report = asked(*words, script=setting, KOKON_STORE=str(tmp_path / "store"))
    assert status == 1
    found = finding(report, area)
    assert found["state"] == "missing"
    assert found["remedy"][0] == f"sudo sysctl -w user.max_{name}_namespaces=15000"


def test_programs_in_memory_are_refused() -> None:
    """vm.memfd_noexec is a pid namespace's own (Linux 6.3)."""
    setting = "echo 2 > /proc/sys/vm/memfd_noexec"
    words = unshare("--pid", "--fork", "--mount-proc", script=setting)
    status, report = asked(*words, script=setting)
    assert status == 1
    found = finding(report, "programs in memory")
    assert (found["state"], found["found"]) == ("missing", "vm.memfd_noexec=2")
    assert finding(report, "user namespaces")["state"] == "unknown"


def test_too_few_descriptors() -> None:
    skip_without_namespaces()
    status, report = asked(script="ulimit -n 64")
    assert status == 1
    assert finding(report, "open files")["remedy"] == ["ulimit -n 1024"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for another's directory")
def test_a_state_that_is_somebody_elses(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)
    status, report = asked(KOKON_STORE=str(tmp_path))
    assert status == 1
    found = finding(report, "store")
    assert (found["state"], found["found"]) == ("missing", f"not ours to use: {tmp_path}")
    assert found["remedy"] == ["export KOKON_STORE=$(mktemp -d)"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["doctor", "--format", "xml"], "there is no format 'xml'; give text or json"),
        (["doctor", "--format"], "there is no format ''"),
        (["doctor", "--fromat", "json"], "there is no option --fromat (did you mean --format?)"),
        (["doctor", "me"], "doctor: there is no word me"),
    ],
)
def test_mistakes(words: list[str], said: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert command(words) == 125
    assert said in capfd.readouterr().err


def test_help_and_text(capfd: pytest.CaptureFixture[str]) -> None:
    assert command(["doctor", "--help"]) == 0
    assert "kokon doctor [--format text|json]" in capfd.readouterr().out
    assert command(["doctor", "--format=text"]) in (0, 1)
    printed = capfd.readouterr().out
    assert printed.startswith(("ok ", "missing ")) and "\x1b" not in printed
