"""Where no overlay can be had, the root is copied and the copy dropped; said aloud."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BUSYBOX = shutil.which("busybox")

PROGRAM = """
import sys
from kokon.config.options import Options
from kokon.engine.run import prepare, finish
options = Options(sys.argv[1], ("/bin/sh", "-c", sys.argv[2]), {"init": True})
prepared = prepare(options)
try:
    print(*prepared.notes, sep="\\n", flush=True)
    process = prepared.start((0, 1, 2))
    outcome = finish(prepared, process)
    process.close()
finally:
    errors = prepared.close()
print(outcome.ended.returncode, errors)
"""


@pytest.mark.kernel
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount an overlay for the store")
@pytest.mark.skipif(not BUSYBOX, reason="needs busybox (busybox-static)")
def test_store_on_overlay(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    shutil.copy(str(BUSYBOX), root / "bin/sh")
    (root / "owned").write_text("x")
    os.chown(root / "owned", 7, 8)
    os.link(root / "owned", root / "again")
    (root / "link").symlink_to("/etc/shadow")
    os.mkfifo(root / "fifo")
    for name in ("lower", "upper", "work", "store"):
        (tmp_path / name).mkdir(mode=0o700)
    inner = (
        'mount -t overlay overlay -o "lowerdir=$1/lower,upperdir=$1/upper,workdir=$1/work"'
        ' "$1/store" && exec "$2" -c "$3" "$1/root" "$4"'
    )
    inside = (
        "busybox() { sh busybox; }; set -e; echo written > /owned; echo new > /made;"
        "[ /owned -ef /again ]; [ ! -e /fifo ]; [ -L /link ];"
    )
    result = subprocess.run(
        ["unshare", "-m", "sh", "-c", inner, "sh", str(tmp_path), sys.executable, PROGRAM, inside],
        capture_output=True, text=True, check=False,
        env={**os.environ, "KOKON_STORE": str(tmp_path / "store/kokon")},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "the root is copied for this run" in result.stdout
    assert "overlay" in result.stdout
    assert result.stdout.rstrip().endswith("0 []")
    assert (root / "owned").read_text() == "x"
    assert not (root / "made").exists()
    assert not list((tmp_path / "upper/kokon/writes").iterdir())


def test_copy_keeps_what_it_should(tmp_path: Path) -> None:
    from kokon.storage.copy import copy_tree

    source = tmp_path / "source"
    (source / "d").mkdir(parents=True)
    (source / "d/f").write_text("content")
    (source / "d/f").chmod(0o4751)
    os.utime(source / "d/f", ns=(1, 2))
    os.utime(source / "d", ns=(3, 4))
    os.link(source / "d/f", source / "again")
    (source / "out").symlink_to("/etc")
    os.mkfifo(source / "fifo")
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        copied = copy_tree(str(source), fd, "copy")
    finally:
        os.close(fd)
    copy = tmp_path / "copy"
    assert (copied.files, copied.bytes, copied.skipped) == (1, 7, 1)
    assert (copy / "d/f").stat().st_mode & 0o7777 == 0o4751
    assert (copy / "d/f").stat().st_mtime_ns == 2
    assert (copy / "d").stat().st_mtime_ns == 4
    assert (copy / "again").samefile(copy / "d/f")
    assert os.readlink(copy / "out") == "/etc"
    assert not (copy / "fifo").exists()
