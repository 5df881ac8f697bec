"""Row M10: the copy of a root, where no overlay can be had, holds nothing of the host."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from crafted_tar import canary, snapshot
from harness import SECRET, flip

from kokon.storage.copy import copy_tree

SEEN = {"M10": "files and directories are opened through links"}


def copied(source: Path, top: Path, name: str) -> Path:
    fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    try:
        copy_tree(str(source), fd, name)
    finally:
        os.close(fd)
    return top / name


def secrets(top: Path) -> list[Path]:
    return [path for path in top.rglob("*") if not path.is_symlink() and path.is_file()
            and SECRET.encode() in path.read_bytes()]  # fmt: skip


def test_m10_links_are_copied_as_links(tmp_path: Path) -> None:
    with canary(tmp_path) as host:
        root = tmp_path / "R"
        (root / "d").mkdir(parents=True)
        links = {
            "v": f"../../../../../..{host}", "d/secret": f"{host}/secret", "d/fifo": f"{host}/fifo",
            "d/up": "../..", "d/self": "self", "proc": "/proc/self/root",
        }  # fmt: skip
        for name, target in links.items():
            (root / name).symlink_to(target)
        os.mkfifo(root / "fifo")
        made = copied(root, tmp_path, "copy")
        assert {name: os.readlink(made / name) for name in links} == links
        assert secrets(made) == [] and not (made / "fifo").exists()


def test_m10_names_that_are_exchanged(tmp_path: Path) -> None:
    """A container that has the root too exchanges a directory and a link, and a file and a link."""
    with canary(tmp_path) as host:
        root, rounds = tmp_path / "R", 0
        for number in range(40):
            (root / f"d/{number}").mkdir(parents=True)
            (root / f"d/{number}/secret").write_text("harmless")
        (root / "f").write_text("harmless")
        (root / "l").symlink_to(host)
        (root / "g").symlink_to(host / "secret")
        before = snapshot(host)
        with (
            flip(root / "d", root / "l", tmp_path / "n") as count,
            flip(root / "f", root / "g", tmp_path / "m") as files,
        ):
            begun, files_begun = count(), files()
            while rounds < 60 or count() - begun < 2000 or files() - files_begun < 2000:
                # A name that has become a link is an error of that copy.
                with suppress(OSError):
                    copied(root, tmp_path, f"copy{rounds}")
                rounds += 1
        assert secrets(tmp_path / "R") == []
        assert [path for number in range(rounds) for path in secrets(tmp_path / f"copy{number}")
                ] == []  # fmt: skip
        assert snapshot(host) == before
