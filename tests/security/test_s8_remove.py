"""Row S8: clean-up removes what kokon made, and nothing that a container put in its place."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from crafted_tar import canary

from kokon.errors import HostError
from kokon.kernel.removal import remove_tree

SEEN = {
    "S8": "links are followed; mounts are entered and not told",
}


@pytest.fixture
def made(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """A directory of ours beside the host's; links to the latter are in it."""
    with canary(tmp_path) as host:
        top = tmp_path / "made"
        (top / "sub/deep").mkdir(parents=True)
        (top / "sub/file").write_text("x")
        (top / "to-host").symlink_to(host)
        (top / "sub/to-secret").symlink_to(host / "secret")
        (top / "sub/deep/up").symlink_to("../../../H")
        fd = os.open(tmp_path, os.O_RDONLY)
        yield fd, host
        os.close(fd)


def test_s8_links_are_removed_and_not_followed(made: tuple[int, Path], tmp_path: Path) -> None:
    remove_tree(made[0], "made")
    assert sorted(os.listdir(tmp_path)) == ["H"]


def test_s8_a_link_in_place_of_the_directory(made: tuple[int, Path], tmp_path: Path) -> None:
    fd, host = made
    (tmp_path / "made").rename(tmp_path / "moved")
    (tmp_path / "made").symlink_to(host)
    remove_tree(fd, "made")
    assert not (tmp_path / "made").is_symlink()
    remove_tree(fd, "moved")
    assert sorted(os.listdir(tmp_path)) == ["H"]


@pytest.mark.kernel
@pytest.mark.skipif(os.geteuid() != 0, reason="a bind mount needs root")
@pytest.mark.parametrize("at", ["made/sub/deep", "made/sub", "made", "made/sub/file"])
def test_s8_a_mount_inside_is_refused(made: tuple[int, Path], tmp_path: Path, at: str) -> None:
    """A bind of the same file system, which st_dev does not tell apart."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd, host = made
    source = host / "secret" if at.endswith("file") else host
    target = os.fsencode(tmp_path / at)
    assert libc.mount(os.fsencode(source), target, None, 0x1000, None) == 0
    try:
        with pytest.raises(HostError, match=r"something is mounted on .* unmount it"):
            remove_tree(fd, "made")
    finally:
        libc.umount2(target, 2)
    remove_tree(fd, "made")
    assert sorted(os.listdir(tmp_path)) == ["H"]
