"""Rows S1, S3 and S8: where kokon keeps things while a container runs, and how it takes them back.

There are no ids of containers yet (row S2), and no control socket (S1 is that there is none).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from crafted_tar import snapshot
from harness import NEEDS_ROOT, attempt, forked, run

import kokon
from kokon import paths
from kokon.engine import mappings, owner, sweep

SEEN = {
    "S1": "an abstract socket is bound",
    "S3": "they are not checked; only the last directory is (it was so); the sweep follows a link "
    "(it did: a user's own files were removed); `--keep` is not checked (it was not)",
    "S8": "writes are not removed",
}

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("contained")]
Mode = dict[str, Any]


def test_s1_no_socket_that_a_container_reaches(root: Path) -> None:
    names = [
        line.split()[-1]
        for line in run(root, "cat /proc/net/unix", network="host").split("\n")[1:-1]
    ]
    assert [name for name in names if name.startswith("@") and "kokon" in name] == []
    assert run(root, "cat /proc/net/unix").count("\n") == 1, "none at all in its own namespace"


PREPARED = {
    "link": lambda path, host: path.symlink_to(host / "d"),
    "link to files": lambda path, host: path.symlink_to(host),
    "link to a file": lambda path, host: path.symlink_to(host / "secret"),
    "fifo": lambda path, _host: os.mkfifo(path),
    "open to others": lambda path, _host: (path.mkdir(), path.chmod(0o777)),
    "file": lambda path, _host: path.write_text(""),
}


@pytest.mark.parametrize("kind", PREPARED)
@pytest.mark.parametrize("place", ["state", "state/owners", "state/ids", "store", "store/writes"])
def test_s3_places_that_others_prepared(
    root: Path, host: Path, tmp_path: Path, kind: str, place: str
) -> None:
    if place == "state/ids" and os.geteuid() != 0:
        pytest.skip("an ordinary user claims no range of ids")
    for name in ("state", "store"):
        if name != place:
            (tmp_path / name).mkdir(mode=0o700)
    PREPARED[kind](tmp_path / place, host)

    def work() -> None:
        paths.state = lambda: str(tmp_path / "state")
        os.environ["KOKON_STORE"] = str(tmp_path / "store")
        owner._current, sweep._swept = None, -1
        mappings._free.clear()
        error = attempt(root, ["/bin/echo", "STARTED"])
        assert isinstance(error, kokon.HostError), error
        paths.state = lambda: str(tmp_path / "elsewhere")

    before = snapshot(host)
    forked(work)
    assert snapshot(host) == before


@pytest.mark.parametrize("name", ["", "upper", "work"])
def test_s3_a_place_to_keep_writes(
    root: Path, mode: Mode, host: Path, tmp_path: Path, name: str
) -> None:
    keep = tmp_path / "keep"
    if name:
        keep.mkdir(mode=0o700)
        (keep / name).symlink_to(host / "d")
    else:
        keep.mkdir()
        keep.chmod(0o777)
    error = attempt(root, ["/bin/touch", "/pwned"], keep=str(keep), **mode)
    assert isinstance(error, kokon.OptionError), error
    error = attempt(root, ["/bin/touch", "/fine"], keep=str(tmp_path / "new"), **mode)
    assert error == "" and (tmp_path / "new/upper/fine").exists()


def test_s8_what_a_container_leaves(root: Path, mode: Mode, host: Path, store: Path) -> None:
    (root / "data").mkdir()
    (root / "data/file").write_text("x")
    out = run(
        root,
        f"ln -s {host} /to; ln -s {host}/secret /tmp/secret; rm -rf /data /bin/touch;"
        f" ln -s {host} /data; ln -s ../../../../../../{host} /var/up; mkdir -p /a/b/c;"
        " mkdir /closed; echo x > /closed/f; chmod 0 /closed /a/b; n=/deep; mkdir $n;"
        " for i in $(seq 80); do n=$n/dddddddd; mkdir $n; done; rm -rf /etc; ln -s /to /etc;"
        " echo done", **mode,
    )  # fmt: skip
    assert "done" in out
    assert os.listdir(store / "writes") == []
    assert (root / "data/file").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason=NEEDS_ROOT)
def test_s8_a_bind_left_mounted(root: Path, mode: Mode, host: Path, store: Path) -> None:
    out = run(
        root, "mkdir /left; mount -o bind /h /left && mount -o bind /h /tmp && echo MOUNTED",
        volumes=[f"{host}:/h"], cap_add=["SYS_ADMIN"], **mode,
    )  # fmt: skip
    assert "MOUNTED" in out
    assert os.listdir(store / "writes") == []


def test_s8_a_root_that_is_written_to(root: Path, mode: Mode, host: Path, tmp_path: Path) -> None:
    """With --rw nothing is removed that was there, whatever the container made of it."""
    volume = tmp_path / "V"
    volume.mkdir()
    run(root, f"rm -rf /var; ln -s {host} /var; mv /v/x /v/y; ln -s {host} /v/x", rw=True,
        volumes=[f"{volume}:/v"], **mode)  # fmt: skip
    assert (root / "var").is_symlink() and (volume / "x").is_symlink()
