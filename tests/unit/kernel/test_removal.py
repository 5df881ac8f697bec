from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kokon.kernel.removal import remove_tree


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY)
    before = len(os.listdir("/proc/self/fd"))
    yield fd
    assert len(os.listdir("/proc/self/fd")) == before
    os.close(fd)


def test_kinds(parent: int, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "full/a/b").mkdir(parents=True)
    (tmp_path / "full/a/f\udcff\n").write_text("x")
    for name in ("link", b"file", "empty", "fifo", "full", "missing"):
        remove_tree(parent, name)
    assert os.listdir(tmp_path) == []


def test_directories_without_permissions(parent: int, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "a/b/c").mkdir(parents=True)
    (tree / "a/b/file").write_text("x")
    (tree / "a/file").write_text("x")
    for path, mode in (("a/b/c", 0), ("a/b", 0), ("a", 0o500), ("", 0o400)):
        (tree / path).chmod(mode)
    remove_tree(parent, "tree")
    assert os.listdir(tmp_path) == []


def test_deeper_than_any_stack(parent: int, tmp_path: Path) -> None:
    """3,000 levels: beyond PATH_MAX, the recursion limit and the usual 1,024 descriptors."""
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/.deep-0").write_text("in the way")
    at = os.open(tmp_path / "tree", os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=at)
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=at))
        below = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)
    remove_tree(parent, "tree")
    assert os.listdir(tmp_path) == []


@pytest.mark.kernel
@pytest.mark.skipif(os.geteuid() != 0, reason="removing as another user needs root")
def test_files_of_others_are_an_error(tmp_path: Path) -> None:
    """In a child that is nobody: a directory of root inside one of its own."""
    (tmp_path / "tree/theirs").mkdir(parents=True)
    (tmp_path / "tree/theirs/file").write_text("x")
    os.chown(tmp_path / "tree", 65534, 65534)
    parent = os.open(tmp_path, os.O_RDONLY)
    child = os.fork()
    if not child:
        try:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            remove_tree(parent, "tree")
        except PermissionError:
            os._exit(3)
        finally:
            os._exit(4)
    os.close(parent)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    assert (tmp_path / "tree/theirs/file").exists()
