"""kokon run --events json: every run is told from its beginning to its end, to programs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from leftovers import skip_without_namespaces

pytestmark = pytest.mark.kernel


def run(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    skip_without_namespaces()
    command = [sys.executable, "-m", "kokon", "run", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_the_story_of_a_run() -> None:
    done = run("--events", "json", "@host", "sh", "-c", "echo said; exit 3")
    assert (done.returncode, done.stdout) == (3, "said\n")
    prepared, started, ended = events(done.stderr)
    assert [e["event"] for e in (prepared, started, ended)] == ["prepared", "started", "ended"]
    assert prepared["steps"] > 50 and started["pid"] > 1
    assert prepared["time"] <= started["time"] <= ended["time"]
    assert (ended["status"], ended["cause"], ended["returncode"]) == (3, "exited", 3)
    assert ended["guarantees"]["network"]["holds"] is True and ended["limits_hit"] == []


def test_a_time_that_is_over() -> None:
    *_, ended = events(run("--events=json", "--timeout", "0.2s", "@host", "sleep", "60").stderr)
    assert (ended["status"], ended["cause"], ended["limits_hit"]) == (124, "timeout", ["timeout"])
    assert "--timeout 0.2s" in ended["words"][0]


@pytest.mark.parametrize(
    ("words", "status", "kind"),
    [(("@host", "no-such-program"), 127, "CommandError"), (("/no/root", "true"), 125, "RootError"),
     (("--memory", "-1M", "@host", "true"), 125, "OptionError")],
    ids=str,
)  # fmt: skip
def test_a_run_that_fails(words: tuple[str, ...], status: int, kind: str) -> None:
    done = run("--events", "json", *words)
    *_, failed = events(done.stderr)
    assert done.returncode == failed["status"] == status
    assert failed["event"] == "failed" and failed["error"]["class"] == kind
    assert failed["message"]


def test_to_a_descriptor_beside_what_is_said(tmp_path: Path) -> None:
    with open(tmp_path / "events", "w") as file:
        done = run("--events", f"json:{file.fileno()}", "/no/root", "true",
                   pass_fds=[file.fileno()])  # fmt: skip
    assert done.stderr.startswith("kokon: ")
    (failed,) = events((tmp_path / "events").read_text())
    assert str(failed["message"]) in done.stderr


def test_the_program_does_not_get_the_descriptor(tmp_path: Path) -> None:
    with open(tmp_path / "events", "w") as file:
        script = "ls -l /proc/self/fd"
        done = run("--events", f"json:{file.fileno()}", "@host", "sh", "-c", script,
                   pass_fds=[file.fileno()])  # fmt: skip
    assert done.returncode == 0 and "events" not in done.stdout


@pytest.mark.parametrize("words", ["xml", "json:", "json:x", "json:999", f"json:{2**40}"])
def test_forms_that_there_are_not(words: str) -> None:
    done = run("--events", words, "@host", "true")
    assert done.returncode == 125 and done.stderr.startswith("kokon: --events: ")


def test_nobody_listens() -> None:
    read, write = os.pipe()
    os.close(read)
    done = run("--events", f"json:{write}", "@host", "true", pass_fds=[write])
    os.close(write)
    assert done.returncode == 0, done.stderr
