"""Rows E9, E11 and N7: groups that count, and programs that kokon itself runs."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from crafted_tar import snapshot
from harness import NEEDS_ROOT, attempt, forked, run

from kokon import paths
from kokon.kernel import facts

SEEN = {
    "E9": "the groups of the caller stay; the primary group is not set",
    "E11": "helpers are looked for in the working directory",
    "N7": "init is set-uid",
}

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("contained")]
Mode = dict[str, Any]
root_only = pytest.mark.skipif(os.geteuid() != 0, reason=NEEDS_ROOT)


def closed_to(root: Path, group: int) -> None:
    """A file that everybody reads but the members of a group."""
    path = root / "closed"
    path.write_text("contents")
    os.chown(path, 0, group)
    path.chmod(0o604)


@root_only
@pytest.mark.parametrize("options", [
    {"user": "1000:1000"}, {"user": "1000"}, {"user": "user"}, {"user": "other"},
    {"user": "1001:1001", "group_add": ["1000"]}, {"user": "1001:1001", "group_add": ["closed"]},
    {"user": "1000:1000", "group_add": ["7"]}, {"user": "1000:1000", "init": False},
], ids=str)  # fmt: skip
def test_e9_a_file_closed_to_a_group(root: Path, mode: Mode, options: Mode) -> None:
    with (root / "etc/passwd").open("a") as file:
        file.write("other:x:1001:1001::/:/bin/sh\n")
    (root / "etc/group").write_text("user:x:1000:\nclosed:x:1000:other\n")
    closed_to(root, 1000)
    out = run(root, "cat /closed; id -G", **options, **mode)
    assert "contents" not in out and "1000" in out.split()
    assert run(root, "cat /closed", user="1002:1002", **mode) == "contents"


@root_only
@pytest.mark.parametrize("user", ["1000:1000", "0:0", "user"])
def test_e9_the_groups_of_the_caller(root: Path, user: str) -> None:
    (root / "open").write_text("contents")
    os.chown(root / "open", 0, 4242)
    (root / "open").chmod(0o040)

    def work() -> None:
        os.setgroups([4242, 4243])
        for options in ({"userns": "host"}, {}):
            out = run(root, "grep Groups: /proc/self/status; cat /open", user=user,
                      cap_drop=["ALL"], **options)  # fmt: skip
            assert "contents" not in out and not {"4242", "4243"} & set(out.split()), out

    forked(work)


HELPERS = (
    "newuidmap", "newgidmap", "ldconfig", "nsenter", "mount", "umount", "ip", "sh", "ps", "cp",
    "rm", "tar", "gzip", "xz", "python3", "systemd-run", "getent", "kokon",
)  # fmt: skip


def test_e11_programs_of_the_root(
    root: Path, mode: Mode, host: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each would touch a file of the host's, were it run there; kokon is called in /bin of it."""
    ran = tmp_path / "ran"
    places = [root / "bin", root / "usr/bin", root / "usr/sbin", root / "sbin"]
    for place in places:
        place.mkdir(parents=True, exist_ok=True)
        for name in HELPERS:
            path = place / name
            path.unlink(missing_ok=True)
            path.write_text(f"#!/bin/sh\necho {name} >> {ran}\n")
            path.chmod(0o755)
    (root / "bin/sh").unlink()
    (root / "bin/sh").symlink_to("busybox")
    before = snapshot(host)

    def work() -> None:
        os.chdir(root / "bin")
        os.environ["PATH"] = f"{os.environ['PATH']}::.:"
        facts.forget()
        assert attempt(root, ["/bin/echo", "ran"], **mode) == "ran\n"
        # An ordinary user's run with every helper missing from where it belongs.
        os.environ["PATH"] = "."
        facts.forget()
        out = attempt(root, ["/bin/echo", "ran"], user="0", memory=None, **mode)
        assert out == "ran\n"
        attempt(root, ["/nothing"], **mode)

    forked(work)
    facts.forget()
    assert not ran.exists(), ran.read_text()
    assert snapshot(host) == before


def test_n7_nothing_is_set_uid() -> None:
    """kokon brings no program with rights of its own; newuidmap is the system's."""
    files = [path for path in Path(paths.INIT_PROGRAM).parents[1].rglob("*") if path.is_file()]
    assert Path(paths.INIT_PROGRAM) in files
    for path in files:
        assert not path.stat().st_mode & (stat.S_ISUID | stat.S_ISGID), path
        assert "security.capability" not in os.listxattr(path), path
