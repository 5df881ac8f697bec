"""Archives that honest programs write come out as they went in."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from kokon.errors import ArchiveError, HostError
from kokon.image import extractor, read_ahead
from kokon.image.unpack import Unpacked, unpack

ROOT = os.geteuid() == 0
LONG = "long/" * 19 + "name-" * 20


def sample(directory: Path) -> Path:
    """A tree with every kind of file that is unpacked."""
    tree = directory / "tree"
    (tree / "usr/bin").mkdir(parents=True)
    (tree / "usr/bin/tool").write_bytes(os.urandom(300_000))
    (tree / "usr/bin/tool").chmod(0o4755)
    os.link(tree / "usr/bin/tool", tree / "usr/bin/hard")
    (tree / "bin").symlink_to("usr/bin")
    (tree / "etc").mkdir()
    (tree / "etc/ünï-\udcff").write_text("x" * 511)
    (tree / "etc/empty").touch()
    (tree / LONG).parent.mkdir(parents=True)
    (tree / LONG).write_text("long")
    (tree / "far").symlink_to("../" * 60 + "x")
    (tree / "tmp").mkdir(0o1777)
    (tree / "tmp").chmod(0o1777)
    (tree / "closed").mkdir()
    (tree / "closed/file").write_text("x")
    (tree / "closed").chmod(0o555)
    for i, path in enumerate(sorted(tree.rglob("*"), reverse=True)):
        os.utime(path, ns=(0, 10**18 + i * 1_000_000_007), follow_symlinks=False)
    if ROOT:
        os.chown(tree / "etc/empty", 12, 2**31 + 5)
        os.chown(tree / "bin", 3, 4, follow_symlinks=False)
    return tree


def archive(tree: Path, format: int) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=format, errors="surrogateescape") as tar:
        tar.add(tree, ".")
    return data.getvalue()


def listing(tree: Path, whole_seconds: bool) -> dict[str, tuple[object, ...]]:
    found = {}
    for path in tree.rglob("*"):
        status = path.lstat()
        time = status.st_mtime_ns // 10**9 if whole_seconds else status.st_mtime_ns // 10**3
        found[str(path.relative_to(tree))] = (
            status.st_mode, status.st_uid, status.st_gid, status.st_nlink, time,
            os.readlink(path) if path.is_symlink() else
            sha256(path.read_bytes()).digest() if path.is_file() else None,
        )  # fmt: skip
    return found


def unpacked(data: bytes, directory: Path) -> tuple[Unpacked, Path]:
    root = directory / "root"
    root.mkdir(0o700)
    (directory / "a.tar").write_bytes(data)
    archive_fd, root_fd = os.open(directory / "a.tar", os.O_RDONLY), os.open(root, os.O_RDONLY)
    try:
        return unpack(archive_fd, root_fd, "a.tar"), root
    finally:
        os.close(archive_fd)
        os.close(root_fd)


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=["gnu", "pax"])
def test_the_tree_is_the_same(tmp_path: Path, format: int) -> None:
    tree = sample(tmp_path)
    data = archive(tree, format)
    result, root = unpacked(data, tmp_path)
    gnu = format == tarfile.GNU_FORMAT
    assert listing(root, gnu) == listing(tree, gnu)
    assert result.entries == len(list(tree.rglob("*"))) + 1
    assert result.digest == sha256(data).hexdigest()
    assert (result.skips, result.skipped) == (0, ())
    assert result.squashed == (0 if ROOT else result.squashed)


@pytest.mark.skipif(not shutil.which("tar"), reason="there is no tar")
@pytest.mark.parametrize("format", ["gnu", "posix", "v7", "ustar"])
def test_what_tar_writes(tmp_path: Path, format: str) -> None:
    tree = tmp_path / "tree"
    (tree / "d/e").mkdir(parents=True)
    (tree / "d/e/f").write_text("text")
    (tree / "l").symlink_to("d/e/f")
    options = []
    if format in ("gnu", "posix"):
        options.append("--sparse")
        with (tree / "holes").open("wb") as file:
            for i in range(40):
                file.seek(i << 20)
                file.write(b"%d" % i)
            file.truncate(50 << 20)
    done = subprocess.run(
        ["tar", "-c", f"--format={format}", *options, "-C", tree, "."], capture_output=True
    )
    if done.returncode:
        pytest.skip("this tar is not GNU tar")
    _, root = unpacked(done.stdout, tmp_path)
    assert listing(root, True) == listing(tree, True)
    if options:
        assert len(done.stdout) < 1 << 20
        assert (root / "holes").stat().st_blocks < 50 << 11


def zstandard() -> Callable[[bytes], bytes]:
    zstd = pytest.importorskip("backports.zstd", reason="backports.zstd is not installed")
    compress: Callable[[bytes], bytes] = zstd.compress
    return compress


@pytest.mark.parametrize("format", ["gzip", "xz", "bzip2", "zstd"])
def test_compression_is_told_by_the_first_bytes(tmp_path: Path, format: str) -> None:
    compress = {"gzip": gzip.compress, "xz": lzma.compress, "bzip2": bz2.compress}.get(format)
    compress = compress or zstandard()
    tree = sample(tmp_path)
    data = archive(tree, tarfile.GNU_FORMAT)
    parts = [compress(data[i : i + 100_000]) for i in range(0, len(data), 100_000)]
    _, root = unpacked(b"".join(parts), tmp_path)
    assert listing(root, True) == listing(tree, True)


def test_a_pipe(tmp_path: Path) -> None:
    tree = sample(tmp_path)
    data = gzip.compress(archive(tree, tarfile.GNU_FORMAT))
    (tmp_path / "root").mkdir()
    reading, writing = os.pipe()
    root_fd = os.open(tmp_path / "root", os.O_RDONLY)
    with os.fdopen(writing, "wb") as file:
        writer = threading.Thread(target=lambda: (file.write(data), file.close()))
        writer.start()
        assert unpack(reading, root_fd, "-").digest == sha256(data).hexdigest()
        writer.join()
    os.close(reading)
    os.close(root_fd)
    assert listing(tmp_path / "root", True) == listing(tree, True)


def test_squashing_counts_foreign_owners(tmp_path: Path) -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for i, (uid, gid) in enumerate([(0, 0), (5, 0), (0, 5), (1000, 1000)]):
            info = tarfile.TarInfo(f"f{i}")
            info.uid, info.gid, info.mode = uid, gid, 0o4711
            tar.addfile(info)
    (tmp_path / "a.tar").write_bytes(data.getvalue())
    root_fd = os.open(tmp_path, os.O_RDONLY)
    archive_fd = os.open(tmp_path / "a.tar", os.O_RDONLY)
    result = unpack(archive_fd, root_fd, "a.tar", squash=True)
    os.close(root_fd)
    os.close(archive_fd)
    assert (result.entries, result.squashed) == (4, 3)
    assert {(tmp_path / f"f{i}").stat().st_uid for i in range(4)} == {os.geteuid()}
    assert (tmp_path / "f0").stat().st_mode & 0o7777 == 0o4711


def test_progress(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(archive(sample(tmp_path), tarfile.GNU_FORMAT))
    (tmp_path / "root").mkdir()
    seen: list[tuple[int, int]] = []
    root_fd = os.open(tmp_path / "root", os.O_RDONLY)
    archive_fd = os.open(tmp_path / "a.tar", os.O_RDONLY)
    unpack(archive_fd, root_fd, "a.tar", progress=lambda *at: seen.append(at))
    os.close(root_fd)
    os.close(archive_fd)
    size = (tmp_path / "a.tar").stat().st_size
    assert seen[-1] == (size, size)
    assert seen == sorted(seen)


def test_no_space_left_is_the_machines_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, piece: object) -> None:
        raise OSError(28, "full")

    monkeypatch.setattr(extractor, "_write", full)
    with pytest.raises(HostError, match=r"closed/file'.*No space left on device; make room"):
        unpacked(archive(sample(tmp_path), tarfile.GNU_FORMAT), tmp_path)


def test_a_foreign_owner_that_is_not_mapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unmapped(*_: int) -> None:
        raise OSError(22, "unmapped")

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "fchown", unmapped)
    with pytest.raises(HostError, match="ids that this user namespace does not have"):
        unpacked(archive(sample(tmp_path), tarfile.GNU_FORMAT), tmp_path)


def test_a_short_write_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:1000]))
    tree = sample(tmp_path)
    _, root = unpacked(archive(tree, tarfile.GNU_FORMAT), tmp_path)
    monkeypatch.undo()
    assert listing(root, True) == listing(tree, True)


def test_reading_ahead_ends_with_its_reader() -> None:
    def endless():  # type: ignore[no-untyped-def]
        while True:
            yield b"x"

    ahead = read_ahead.read_ahead(endless())
    next(ahead)
    ahead.close()
    assert "kokon-unpack" not in [thread.name for thread in threading.enumerate()]


def test_reading_ahead_hands_errors_on() -> None:
    def broken():  # type: ignore[no-untyped-def]
        yield b"x"
        raise ArchiveError("is broken")

    with pytest.raises(ArchiveError, match="is broken"):
        list(read_ahead.read_ahead(broken()))
