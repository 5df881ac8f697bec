from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kokon.engine import roots
from kokon.engine.roots import FoundRoot
from kokon.kernel.facts import HostFacts

ROOT_FACTS = Path(__file__).parents[2] / "golden/hosts/root-v2.json"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A root whose last change (which cannot be dated back) lies far behind."""
    monkeypatch.setattr(roots, "_known", {})
    monkeypatch.setattr(roots, "time_ns", lambda: 2**62)
    path = tmp_path / "root"
    (path / "etc").mkdir(parents=True)
    (path / "etc/passwd").write_text("app:x:5:6::/app:/bin/sh\n")
    (path / "etc/group").write_text("")
    yield path


def uid(root: Path) -> int:
    return roots.account(FoundRoot(str(root), None), "app", "--user app").uid


def test_an_account_is_looked_up_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert uid(root) == 5
    monkeypatch.setattr(roots.accounts, "lookup_user", None)
    assert uid(root) == 5


@pytest.mark.parametrize("change", ["written", "replaced", "directory", "root", "link", "dated"])
def test_a_change_is_seen(root: Path, change: str) -> None:
    assert uid(root) == 5
    new = "app:x:7:6::/app:/bin/sh\n"
    passwd = root / "etc/passwd"
    if change == "written":
        passwd.write_text(new)
    elif change == "dated":
        before = passwd.stat()
        passwd.write_text(new)
        os.utime(passwd, ns=(before.st_atime_ns, before.st_mtime_ns))
    elif change == "replaced":
        (root / "passwd").write_text(new)
        (root / "passwd").rename(passwd)
    elif change == "link":
        (root / "other").write_text(new)
        passwd.unlink()
        passwd.symlink_to("/other")
    elif change == "directory":
        (root / "etc").rename(root / "old")
        (root / "etc").mkdir()
        passwd.write_text(new)
    else:
        root.rename(root.with_name("old"))
        (root / "etc").mkdir(parents=True)
        passwd.write_text(new)
    assert uid(root) == 7


def test_what_a_link_leads_to_is_looked_up_each_time(root: Path) -> None:
    (root / "etc/passwd").rename(root / "other")
    (root / "etc/passwd").symlink_to("/other")
    assert uid(root) == 5
    (root / "other").write_text("app:x:8:6::/app:/bin/sh\n")
    assert uid(root) == 8


def test_what_has_just_changed_is_not_kept(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    latest = max(path.stat().st_ctime_ns for path in [root, *root.rglob("*")])
    monkeypatch.setattr(roots, "time_ns", lambda: latest + 10_000_000)
    assert uid(root) == 5
    assert roots._known == {}


def test_what_is_kept_does_not_grow_for_ever(tmp_path: Path, root: Path) -> None:
    for number in range(200):
        directory = tmp_path / str(number)
        directory.mkdir()
        FoundRoot(str(directory), None)
    assert len(roots._known) <= 64


def test_layers_are_not_mapped_before_linux_5_19(tmp_path: Path) -> None:
    """Overlayfs refuses id-mapped layers there (EINVAL): the root is copied instead."""
    facts = HostFacts.from_dict(json.loads(ROOT_FACTS.read_text()))
    place = str(tmp_path)
    facts.kernel = (5, 18)
    assert "5.19" in roots._unfit(place, place, facts, True, mapped=True)
    assert "5.19" not in roots._unfit(place, place, facts, True, mapped=False)
    facts.kernel = (5, 19)
    assert "5.19" not in roots._unfit(place, place, facts, True, mapped=True)
