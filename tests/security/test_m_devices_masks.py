"""Rows M5, M6, M7 and M8: nothing of the image's /dev is used, and masks are kokon's own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from crafted_tar import snapshot
from harness import attempt, mount_points, run, with_terminal

import kokon
from kokon.security import masks

SEEN = {
    "M5": "covers stay writable; a link at the end is opened itself (it was: found here)",
    "M6": "there is no /dev of kokon's own",
    "M7": "targets are resolved as the host would",
    "M8": "there is no /dev of kokon's own",
}

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("contained")]
Mode = dict[str, Any]

NULLS = ("link", "missing", "fifo", "directory", "file")


def make_null(root: Path, kind: str, target: Path) -> None:
    null = root / "dev/null"
    if kind == "link":
        null.symlink_to(target)
    elif kind == "fifo":
        os.mkfifo(null)
    elif kind == "directory":
        null.mkdir()
    elif kind == "file":
        null.write_text("not empty")


@pytest.mark.parametrize("kind", NULLS)
def test_m5_masks_do_not_need_the_images_null(
    root: Path, mode: Mode, host: Path, kind: str
) -> None:
    make_null(root, kind, host / "secret")
    out = run(
        root,
        "cat /proc/self/mountinfo; echo ---; cat /proc/keys /proc/timer_list /proc/interrupts;"
        " ls -A /proc/acpi /proc/scsi /sys/firmware 2>&1 | grep -v :$ ; echo ---;"
        " for f in keys timer_list interrupts; do echo x > /proc/$f && echo WROTE $f; done",
        rw=True, **mode,
    )  # fmt: skip
    table, content, writes = out.split("---\n")
    found = mount_points(table)
    covered = [path for path in masks.DEFAULT_MASKED if path in found]
    assert {"/proc/keys", "/proc/timer_list", "/proc/interrupts"} <= set(covered)
    for path in covered:
        top, options, kind_of = found[path]
        assert top in ("/empty-file", "/empty-directory") and kind_of == "tmpfs", path
        assert {"ro", "nosuid", "nodev", "noexec"} <= set(options.split(",")), path
    assert [line for line in content.splitlines() if line and "No such file" not in line] == []
    assert "WROTE" not in writes


@pytest.mark.parametrize(
    "path", ["/there/secret", "/there", "/fifo", "/nothere/secret", "/there/secret/"]
)
def test_m5_masks_of_other_paths(
    root: Path, mode: Mode, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    (root / "there").mkdir()
    (root / "there/secret").write_text("seen")
    os.mkfifo(root / "fifo")
    monkeypatch.setattr(masks, "DEFAULT_MASKED", (path,))
    script = "cat /there/secret; grep ' /fifo ' /proc/self/mountinfo && echo covered"
    out = attempt(root, ["/bin/sh", "-c", script], **mode)
    if isinstance(out, kokon.StepError):
        assert path == "/there/secret/", "what is no directory cannot be hidden as one"
    elif path == "/nothere/secret":
        assert "seen" in out
    else:
        assert ("seen" not in out) if path.startswith("/there") else ("covered" in out)


@pytest.mark.parametrize("path", ["/link/secret", "/link"])
def test_m5_a_link_in_a_masked_path(
    root: Path, mode: Mode, host: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    (root / "there").mkdir()
    (root / "there/secret").write_text("seen")
    (root / "link").symlink_to("there")
    monkeypatch.setattr(masks, "DEFAULT_MASKED", (path,))
    error = attempt(root, ["/bin/cat", "/there/secret"], **mode)
    assert isinstance(error, kokon.StepError) and f"hide {path}" in str(error)


@pytest.mark.parametrize("target", ["H/new", "H/fifo", "/proc/sys/kernel/core_pattern", "pts/0"])
@pytest.mark.parametrize("rw", [True, False], ids=["rw", "overlay"])
def test_m6_a_console_that_lies(root: Path, mode: Mode, host: Path, target: str, rw: bool) -> None:
    (root / "dev/console").symlink_to(target.replace("H", str(host), 1))
    (root / "dev/pts").mkdir()
    for name in ("0", "1", "ptmx"):
        (root / "dev/pts" / name).symlink_to(host / "secret")
    (root / "dev/ptmx").symlink_to(host / "secret")
    pattern = Path("/proc/sys/kernel/core_pattern").read_text()
    before = snapshot(root) if rw else None
    out = with_terminal(
        root, "grep ' /dev/console ' /proc/self/mountinfo; readlink /proc/self/fd/0; ls /dev/pts;"
        " echo said > /dev/console", rw=rw, **mode,
    )  # fmt: skip
    line, terminal, *names, said = out.splitlines()
    assert " - devpts " in line and "/0 /dev/console" in line
    assert (terminal, said) == ("/dev/pts/0", "said")
    assert " ".join(names).split() == ["0", "ptmx"]
    assert Path("/proc/sys/kernel/core_pattern").read_text() == pattern
    if before is not None:
        assert (root / "dev/console").is_symlink()
        changed = {name for name, seen in snapshot(root).items() if before.get(name) != seen}
        assert {Path(name).relative_to(root).parts[:1] for name in changed} <= {("etc",), ()}


@pytest.mark.parametrize("goal", ["H", "D", "relative", "nowhere"])
@pytest.mark.parametrize("rw", [True, False], ids=["rw", "overlay"])
def test_m7_dev_is_a_link(
    root: Path, mode: Mode, host: Path, tmp_path: Path, goal: str, rw: bool
) -> None:
    other = tmp_path / "D"
    other.mkdir()
    (other / "ptmx").write_text("a file")
    before = snapshot(other)
    (root / "dev").rmdir()
    goals = {"H": str(host), "D": str(other), "relative": "../../../" + str(other), "nowhere": "x"}
    (root / "dev").symlink_to(goals[goal])
    error = attempt(root, ["/bin/echo", "STARTED"], rw=rw, **mode)
    assert isinstance(error, kokon.StepError) and "/dev" in str(error)
    assert snapshot(other) == before
    if rw:
        with_links = [name for name in ("fd", "stdin", "ptmx") if (root / "x" / name).exists()]
        assert with_links == []


@pytest.mark.parametrize("user", ["0", "1000"])
@pytest.mark.parametrize("kind", NULLS)
def test_m8_null_of_the_image_as_a_stream(
    root: Path, mode: Mode, host: Path, user: str, kind: str
) -> None:
    if user != "0" and os.geteuid() != 0:
        pytest.skip("needs more than one id")
    make_null(root, kind, Path("/m"))
    out = run(
        root, "echo x; cat; echo gone > /dev/null; stat -c %t:%T /dev/null",
        volumes=[f"{host / 'secret'}:/m"], user=user, rw=True, **mode,
    )  # fmt: skip
    assert out.splitlines() == ["x", "1:3"]
