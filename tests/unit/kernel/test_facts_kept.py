from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kokon.kernel import facts, filesystems


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    facts.forget()
    yield
    facts.forget()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[facts.HostFacts]:
    """What is read from now on."""
    found: list[facts.HostFacts] = []
    real = facts.read

    def read() -> facts.HostFacts:
        found.append(real())
        return found[-1]

    monkeypatch.setattr(facts, "read", read)
    return found


def test_facts_are_read_once_and_again_when_forgotten() -> None:
    host = facts.current()
    assert facts.current() is host
    facts.forget()
    assert facts.current() is not host
    assert facts.current().to_dict() == host.to_dict()


@pytest.mark.parametrize("change", ["uid", "process", "mounts", "time"])
def test_facts_of_another_moment_are_read_again(
    change: str, monkeypatch: pytest.MonkeyPatch, reads: list[facts.HostFacts]
) -> None:
    """They are the same object where they say the same: plans are known by it."""
    host = facts.current()
    if change == "uid":
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    elif change == "process":
        monkeypatch.setattr(os, "getpid", lambda: 12345)
    elif change == "mounts":
        table = filesystems.MountTable(Path("/proc/self/mountinfo").read_text())
        monkeypatch.setattr(filesystems, "mount_table", lambda: table)
    else:
        later = facts.monotonic() + facts.KEPT
        monkeypatch.setattr(facts, "monotonic", lambda: later)
    assert (facts.current() is host) == (change != "uid")
    assert len(reads) == 2


def test_new_subordinate_ids_are_seen_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, reads: list[facts.HostFacts]
) -> None:
    real = os.stat
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    monkeypatch.setattr(
        os,
        "stat",
        lambda path, **how: real(str(path).replace("/etc/subgid", f"{tmp_path}/s"), **how),
    )
    facts.current()
    facts.current()
    assert len(reads) == 1
    (tmp_path / "s").write_text("somebody:100000:65536\n")
    facts.current()
    assert len(reads) == 2
    facts.current()
    assert len(reads) == 2


def test_what_is_switched_off_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    host = facts.read()
    host.user_namespaces = 0
    monkeypatch.setattr(facts, "read", lambda: host)
    assert facts.current().user_namespaces == 0
    host.user_namespaces = 100
    assert facts.current().user_namespaces == 100


def test_the_mount_table_is_the_same_until_something_is_mounted(tmp_path: Path) -> None:
    table = filesystems.mount_table()
    assert filesystems.mount_table() is table
    if os.geteuid():
        pytest.skip("mounting needs root")
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", tmp_path], check=True)
    try:
        mount = filesystems.mount_table().of(str(tmp_path))
        assert mount is not None
        assert mount.mount_point == str(tmp_path)
    finally:
        subprocess.run(["umount", tmp_path], check=True)
    left = filesystems.mount_table().of(str(tmp_path))
    assert left is not None
    assert left.mount_point != str(tmp_path)
    assert filesystems.mount_table() is filesystems.mount_table()
