from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from errno import EINVAL, ELOOP, ENOENT, EXDEV
from pathlib import Path

import pytest

from kokon.errors import RootError
from kokon.kernel import safe_paths
from kokon.kernel.constants import RESOLVE_NO_XDEV
from kokon.kernel.safe_paths import BENEATH, IN_ROOT, open_in_root, read_small_file


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "secret").write_text("host")
    root = tmp_path / "root"
    (root / "etc/deep").mkdir(parents=True)
    (root / "etc/passwd").write_text("inside")
    (root / "secret").write_text("inside")
    (root / "relative").symlink_to("etc/passwd")
    (root / "absolute").symlink_to("/etc/passwd")
    (root / "climbs").symlink_to("../../../../secret")
    (root / "folder").symlink_to("/etc")
    (root / "loop").symlink_to("loop")
    os.mkfifo(root / "fifo")
    fd = os.open(root, os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)


@pytest.mark.parametrize(
    "path",
    ["etc/passwd", "/etc/passwd", "/etc//./passwd", "relative", "absolute", "climbs", "../secret",
     "folder/passwd", "folder/deep/../passwd", "/../../secret", b"etc/passwd"],
)  # fmt: skip
def test_every_path_ends_inside(root: int, path: str | bytes) -> None:
    assert read_small_file(root, path) == b"inside"


def test_no_descriptor_is_left(root: int) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for path in ("etc/passwd", "folder/passwd", "etc/none", "etc/passwd/x", "loop", "etc", "fifo"):
        try:
            read_small_file(root, path)
        except (OSError, RootError):
            pass
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("path", "resolve", "error"),
    [
        ("etc/none", IN_ROOT, ENOENT),
        ("", IN_ROOT, ENOENT),
        ("loop", IN_ROOT, ELOOP),
        ("a\0b", IN_ROOT, EINVAL),
        ("relative", BENEATH, ELOOP),
        ("folder/passwd", BENEATH, ELOOP),
        ("/etc/passwd", BENEATH, EXDEV),
        ("../secret", BENEATH, EXDEV),
    ],
)
def test_what_is_refused(root: int, path: str, resolve: int, error: int) -> None:
    with pytest.raises(OSError) as caught:
        open_in_root(root, path, os.O_RDONLY, resolve=resolve)
    assert caught.value.errno == error


def test_magic_links_and_mounts_are_refused() -> None:
    top = os.open("/", os.O_PATH)
    try:
        with pytest.raises(OSError) as caught:
            open_in_root(top, "proc/self/root/etc", os.O_RDONLY)
        assert caught.value.errno == ELOOP
        with pytest.raises(OSError) as caught:
            open_in_root(top, "proc/self", os.O_RDONLY, resolve=IN_ROOT | RESOLVE_NO_XDEV)
        assert caught.value.errno == EXDEV
    finally:
        os.close(top)


def test_o_path_follows_a_link_unless_told_not_to(root: int) -> None:
    for flags, kind in ((0, 0o100000), (os.O_NOFOLLOW, 0o120000)):
        fd = open_in_root(root, "absolute", os.O_PATH | flags)
        assert os.fstat(fd).st_mode & 0o170000 == kind
        os.close(fd)


def test_making_a_file_through_a_dangling_link_stays_inside(root: int, tmp_path: Path) -> None:
    (tmp_path / "root/dangling").symlink_to(f"{tmp_path}/outside")
    with pytest.raises(FileNotFoundError):
        open_in_root(root, "dangling", os.O_WRONLY | os.O_CREAT, 0o600)
    (tmp_path / "root/new").symlink_to("/made")
    os.close(open_in_root(root, "new", os.O_WRONLY | os.O_CREAT, 0o640))
    assert (tmp_path / "root/made").exists()
    assert not os.get_inheritable(open_in_root(root, "made", os.O_RDONLY))


def test_only_small_regular_files_are_read(root: int, tmp_path: Path) -> None:
    with pytest.raises(RootError, match="fifo: is not a regular file"):
        read_small_file(root, "fifo")
    with pytest.raises(RootError, match="not a regular file"):
        read_small_file(root, "etc")
    assert read_small_file(root, "secret", limit=6) == b"inside"
    with pytest.raises(RootError, match="secret: is larger than 5 bytes"):
        read_small_file(root, "secret", limit=5)
    os.truncate(tmp_path / "root/secret", 50 << 30)
    with pytest.raises(RootError, match="larger"):
        read_small_file(root, "secret")


def test_both_ways_agree(root: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def answers() -> list[object]:
        found: list[object] = []
        for path in ("etc/passwd", "etc", "etc/none", "none/x", "etc/passwd/x", "relative", "loop"):
            for flags in (os.O_PATH, os.O_PATH | os.O_NOFOLLOW, os.O_RDONLY | os.O_DIRECTORY):
                try:
                    fd = open_in_root(root, path, flags)
                    found.append(os.fstat(fd).st_ino)
                    os.close(fd)
                except OSError as error:
                    found.append(error.errno)
        return found

    by_walking = answers()
    monkeypatch.setattr(safe_paths, "_open_without_links", lambda *_: -1)
    assert answers() == by_walking


def test_a_path_without_links_needs_no_ctypes(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    code = (
        "import os, sys; from kokon.kernel.safe_paths import read_small_file\n"
        f"fd = os.open({str(tmp_path)!r}, os.O_PATH); read_small_file(fd, '/f')\n"
        "assert not {'ctypes', 'typing', 're', 'enum'} & set(sys.modules)"
    )
    source = Path(safe_paths.__file__).parents[2]
    subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            f"import sys; sys.path.insert(0, {str(source)!r})\n{code}",
        ],
        check=True,
    )
