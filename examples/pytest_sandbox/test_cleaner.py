"""Tests of a script that nobody wants to try out on a machine: one that removes things."""

from __future__ import annotations

from pathlib import Path

import pytest

import kokon

CLEAN = """cd "$1"; rm -rf ./*"""


def test_it_removes_what_it_is_given(sandbox: kokon.Sandbox, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/old").touch()
    sandbox.run(["sh", "-c", CLEAN, "clean", "/work/cache"], check=True)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_directory_that_is_missing_costs_the_current_one(sandbox: kokon.Sandbox) -> None:
    sandbox.files.write("precious", "data")
    result = sandbox.run(["sh", "-c", CLEAN, "clean", "/work/cahce"], capture_output=True)
    assert b"cahce" in result.stderr
    with pytest.raises(FileNotFoundError):
        sandbox.files.read("precious")


@pytest.mark.sandbox(root="@python")
def test_it_needs_a_shell(sandbox: kokon.Sandbox) -> None:
    with pytest.raises(kokon.CommandError, match="'sh' was not found"):
        sandbox.run(["sh", "-c", CLEAN])
