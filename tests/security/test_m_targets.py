"""Rows M1, M2, M3, M17 and M18: where things are mounted and made, when the root or a volume lies.

The running container that shares the volume is a process which exchanges the names on the host:
the kernel does not tell the two apart.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from crafted_tar import snapshot
from harness import attempt, mount_points, run, while_flipping

import kokon

SEEN = {
    "M1": "targets are resolved without RESOLVE_NO_SYMLINKS",
    "M2": "targets are resolved as the host would",
    "M3": "/proc is attached through links and the file system not checked; the check of "
    "destinations is left out; masks are looked up by the root's names (they were: found here)",
    "M17": "small files are attached through links; without nosuid, nodev, noexec (it was so)",
    "M18": "the engine makes it by path",
}

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("contained")]
Mode = dict[str, Any]


def inside(root: Path, path: Path) -> Path:
    """Where a path of the host would be, resolved in the root."""
    return root / str(path).lstrip("/")


@pytest.mark.parametrize("target", ["/", "H"])
def test_m1_a_target_that_is_exchanged(
    root: Path, mode: Mode, host: Path, tmp_path: Path, target: str
) -> None:
    volume, shown = tmp_path / "V", tmp_path / "X"
    (volume / "d/x").mkdir(parents=True)
    shown.mkdir()
    (volume / "l").symlink_to(host if target == "H" else "/")
    # What a target that is followed inside would meet.
    (root / "x").mkdir()
    inside(root, host / "x").mkdir(parents=True)

    def start() -> None:
        out = attempt(
            root, ["/bin/cat", "/proc/self/mountinfo"], rw=True,
            volumes=[f"{volume}:/v", f"{shown}:/v/d/x"], **mode,
        )  # fmt: skip
        if isinstance(out, kokon.StepError):
            assert "/v/d/x" in str(out)
            return
        assert isinstance(out, str)
        ours = {point for point, (top, _, _) in mount_points(out).items() if top.endswith("/X")}
        assert ours and ours <= {"/v/d/x", "/v/l/x"}, ours

    while_flipping(volume / "d", volume / "l", tmp_path / "count", start)


def test_m2_a_missing_target_below_a_link(
    root: Path, mode: Mode, host: Path, tmp_path: Path
) -> None:
    volume, shown = tmp_path / "V", tmp_path / "X"
    (volume / "d").mkdir(parents=True)
    (volume / "l").symlink_to(host / "d")
    shown.write_text("shown")
    inside(root, host / "d").mkdir(parents=True)
    real = os.open(volume / "d", os.O_PATH | os.O_NOFOLLOW)

    def start() -> None:
        attempt(
            root, ["/bin/true"], rw=True,
            volumes=[f"{volume}:/v", f"{shown}:/v/d/new/file"], **mode,
        )  # fmt: skip
        with suppress(FileNotFoundError):
            os.unlink("new/file", dir_fd=real)
        with suppress(FileNotFoundError):
            os.rmdir("new", dir_fd=real)

    try:
        while_flipping(volume / "d", volume / "l", tmp_path / "count", start)
    finally:
        os.close(real)
    assert os.listdir(inside(root, host / "d")) == []


@pytest.mark.parametrize("name", ["proc", "sys"])
@pytest.mark.parametrize("kind", ["link", "link to H", "file", "loop"])
@pytest.mark.parametrize("rw", [True, False], ids=["rw", "overlay"])
def test_m3_no_place_for_procfs(
    root: Path, mode: Mode, host: Path, name: str, kind: str, rw: bool
) -> None:
    (root / name).rmdir()
    if kind == "file":
        (root / name).write_text("")
    else:
        goal = {"link": "/tmp/x", "link to H": str(host), "loop": name}[kind]
        (root / name).symlink_to(goal)
        (root / "tmp/x").mkdir()
    error = attempt(root, ["/bin/echo", "STARTED"], rw=rw, **mode)
    assert isinstance(error, kokon.StepError)
    assert f"mount {'sysfs' if name == 'sys' else name} on /{name}" in str(error)


TAKEN = (
    "/proc", "/proc/", "/proc/self", "/proc/self/attr", "/proc/sys", "//proc/1", "/proc/../proc",
    "/sys", "/dev", "/", "/./proc",
)  # fmt: skip


@pytest.mark.parametrize("at", TAKEN)
def test_m3_mounts_onto_procfs(root: Path, mode: Mode, tmp_path: Path, at: str) -> None:
    (tmp_path / "X").mkdir()
    for options in (
        {"volumes": [f"{tmp_path / 'X'}:{at}"]},
        {"tmpfs": [at]},
        {"mounts": [f"type=bind,src={tmp_path / 'X'},dst={at}"]},
    ):
        error = attempt(root, ["/bin/echo", "STARTED"], **options, **mode)
        assert isinstance(error, kokon.OptionError), options


LIES = {
    "etc is a link": {"etc": "H"},
    "hosts is a link": {"etc/hosts": "H/secret"},
    "resolv.conf is a link that leads nowhere": {"etc/resolv.conf": "H/new"},
    "hostname is a link to a fifo": {"etc/hostname": "H/fifo"},
    "mtab is a link": {"etc/mtab": "../../H/x", "etc/hosts": "../../../H/secret"},
    "run is a link": {"run": "H/d", "etc/resolv.conf": "../run/resolv.conf"},
    "var and tmp are links": {"var": "H/d"},
}


@pytest.mark.parametrize("rw", [True, False], ids=["rw", "overlay"])
@pytest.mark.parametrize("lie", LIES)
def test_m17_files_of_kokon(root: Path, mode: Mode, host: Path, rw: bool, lie: str) -> None:
    for name, target in LIES[lie].items():
        if name == "etc":
            (root / "etc/passwd").unlink()
        if (root / name).is_dir():
            (root / name).rmdir()
        (root / name).symlink_to(target.replace("H", str(host), 1) if target[0] == "H" else target)
    links = {path: os.readlink(path) for path in root.rglob("*") if path.is_symlink()}
    out = attempt(root, ["/bin/cat", "/etc/hosts", "/etc/hostname"], rw=rw, **mode)
    if lie == "etc is a link":
        assert isinstance(out, kokon.StepError), "nothing is made where the link leads"
    else:
        assert isinstance(out, str)
        assert "127.0.0.1\tlocalhost" in out and out.endswith("kokon\n")
    assert {path: os.readlink(path) for path in root.rglob("*") if path.is_symlink()} == links
    assert not (root / str(host).lstrip("/")).exists()


def test_m17_kokons_files_carry_no_privilege(root: Path, mode: Mode) -> None:
    found = mount_points(run(root, "cat /proc/self/mountinfo", **mode))
    for path in ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf"):
        assert {"nosuid", "nodev", "noexec"} <= set(found[path][1].split(","))


def test_m18_a_working_directory_behind_a_link(root: Path, mode: Mode, host: Path) -> None:
    (root / "w").symlink_to(host / "d")
    out = attempt(root, ["/bin/sh", "-c", "pwd; echo x > made"], cwd="/w/x", rw=True, **mode)
    if isinstance(out, str):
        assert out.strip() == f"{host}/d/x", "resolved in the root"
        assert inside(root, host / "d/x/made").exists()


def test_m18_nothing_that_exists_is_changed(root: Path, mode: Mode, tmp_path: Path) -> None:
    volume = tmp_path / "V"
    (volume / "there").mkdir(parents=True, mode=0o750)
    before = snapshot(volume)
    run(root, "true", cwd="/v/there", volumes=[f"{volume}:/v"], **mode)
    assert snapshot(volume) == before


def test_m18_a_working_directory_that_is_exchanged(
    root: Path, mode: Mode, host: Path, tmp_path: Path
) -> None:
    (root / "w").mkdir()
    (root / "l").symlink_to(host / "d")
    while_flipping(
        root / "w", root / "l", tmp_path / "count",
        lambda: attempt(root, ["/bin/true"], cwd="/w/x/y", rw=True, **mode),
    )  # fmt: skip


def test_m3_the_place_of_procfs_is_exchanged(root: Path, mode: Mode, tmp_path: Path) -> None:
    """Masks and what is read-only are of the mount that the container has, wherever it is found."""
    (root / "fake").mkdir()
    script = (
        "for p in /proc /fake; do [ -e $p/self/stat ] || continue;"
        " { true >> $p/sys/kernel/core_pattern; } 2> /dev/null && echo OPENED $p;"
        " cat $p/interrupts 2> /dev/null | grep -q . && echo READ $p; done; echo done"
    )

    def start() -> None:
        out = attempt(root, ["/bin/sh", "-c", script], rw=True, **mode)
        assert out == "done\n" or isinstance(out, kokon.StepError), out

    for _ in range(5):
        while_flipping(root / "proc", root / "fake", tmp_path / "count", start)
