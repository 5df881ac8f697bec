"""Rows M1 to M10 against the OCI runtime: its mount points, a root and a /dev that lie.

An OCI document's mount points are looked up through links of the root, as engines count on: they
stay beneath it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from crafted_tar import snapshot
from harness import mount_points, mounts, while_flipping
from oci_container import Container

SEEN = {
    "M1": "targets are resolved as the host would",
    "M2": "targets are resolved as the host would",
    "M3": "a later mount comes onto /proc through a link of the root (it did: found here); there is"
    " a second proc below /proc (there was)",
    "M4": "sysctls are written through the root's /proc",
    "M5": "there are no masks; of two mounts on /sys the one below is masked (it was: found here)",
    "M6": "there is no /dev of kokon's own",
    "M7": "links are made by their paths below the bundle's root",
    "M8": "there is no /dev of kokon's own",
    "M9": "the root is not sealed",
    "M10": "what a tmpfs copies is opened as the host would",
}

pytestmark = [pytest.mark.kernel]


@pytest.fixture(autouse=True)
def unchanged(host: Path) -> Iterator[None]:
    """H, and the mounts of the machine, are as they were."""
    before = mounts()
    yield
    assert mounts() == before


def inside(container: Container, path: Path) -> Path:
    """Where a path of the host is, resolved in the root."""
    return container.root / str(path).lstrip("/")


@pytest.mark.parametrize("target", ["/", "H"])
def test_m1_a_target_that_is_exchanged(
    container: Container, host: Path, tmp_path: Path, target: str
) -> None:
    volume, shown = tmp_path / "V", tmp_path / "X"
    (volume / "d/x").mkdir(parents=True)
    shown.mkdir()
    (volume / "l").symlink_to(host if target == "H" else "/")
    container.bind(volume, "/v")
    container.bind(shown, "/v/d/x")
    (container.root / "x").mkdir()
    inside(container, host / "x").mkdir(parents=True)
    allowed = {"/v/d/x", "/v/l/x", "/x" if target == "/" else f"{host}/x"}

    def start() -> None:
        out = container.run("cat /proc/self/mountinfo")
        ours = {point for point, (top, _, _) in mount_points(out).items() if top.endswith("/X")}
        assert ours and ours <= allowed, ours

    while_flipping(volume / "d", volume / "l", tmp_path / "count", start)


def test_m2_a_missing_target_below_a_link(container: Container, host: Path, tmp_path: Path) -> None:
    volume, shown = tmp_path / "V", tmp_path / "X"
    (volume / "d").mkdir(parents=True)
    (volume / "l").symlink_to(host / "d")
    shown.write_text("shown")
    container.bind(volume, "/v")
    container.bind(shown, "/v/d/new/file")
    numbers = iter(range(1000))

    def start() -> None:
        container.config["mounts"][-1]["destination"] = f"/v/d/new{next(numbers)}/file"
        container.attempt("true")

    while_flipping(volume / "d", volume / "l", tmp_path / "count", start)
    assert os.listdir(host / "d") == []


@pytest.mark.parametrize("kind", ["link", "link to H", "file", "loop"])
@pytest.mark.parametrize("name", ["proc", "sys"])
def test_m3_no_place_for_procfs(container: Container, host: Path, name: str, kind: str) -> None:
    container.mount("/sys", "sysfs", "sysfs")
    place = container.root / name
    place.rmdir()
    if kind == "file":
        place.write_text("")
    else:
        place.symlink_to({"link": "/tmp/x", "link to H": str(host), "loop": name}[kind])
    container.refused()


@pytest.mark.parametrize("shown", ["bind", "tmpfs"])
@pytest.mark.parametrize("name", ["proc", "sys"])
def test_m3_a_later_mount_through_a_link(
    container: Container, tmp_path: Path, name: str, shown: str
) -> None:
    (tmp_path / "X/self").mkdir(parents=True)
    container.mount("/sys", "sysfs", "sysfs")
    (container.root / "data").symlink_to(f"/{name}")
    container.mount("/data", shown, tmp_path / "X", *(["rbind"] if shown == "bind" else []))
    said = container.refused()
    assert f"see that /{name} is a real" in said


@pytest.mark.parametrize("kind", ["bind", "tmpfs", "proc"])
@pytest.mark.parametrize("at", ["/proc", "/proc/self", "/proc/self/attr", "//proc/./sys", "/sys"])
def test_m3_mounts_onto_procfs(container: Container, tmp_path: Path, at: str, kind: str) -> None:
    if (at, kind) in (("/proc", "proc"), ("/sys", "bind")):
        pytest.skip("that is what belongs there")
    (tmp_path / "X").mkdir()
    container.mount(at, kind, tmp_path / "X", *(["bind"] if kind == "bind" else []))
    assert "/mounts/1/destination" in container.refused()


def test_m4_proc_of_the_root_is_exchanged(container: Container, tmp_path: Path) -> None:
    """What kokon itself writes goes to the kernel's files, whatever the root has at /proc."""
    fake, files = container.root / "fake", []
    for name in ("sys/net/ipv4/ip_forward", "self/oom_score_adj", "self/attr/exec",
                 "thread-self/attr/exec", "self/uid_map"):  # fmt: skip
        for top in (fake, container.root / "proc"):
            path = top / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("untouched")
            files.append(path)
    container.linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
    container.process["oomScoreAdj"] = 917
    good = 0

    def start() -> None:
        nonlocal good
        _, out = container.attempt(
            "cat", "/proc/sys/net/ipv4/ip_forward", "/proc/self/oom_score_adj"
        )
        # The program sees what is exchanged too; with its own files kokon has been right.
        good += out == "1\n917\n"

    while_flipping(container.root / "proc", fake, tmp_path / "count", start)
    assert good and {path.read_text() for path in files} == {"untouched"}


NULLS = ("link", "missing", "fifo", "directory", "file")


def make_null(container: Container, kind: str, target: Path) -> None:
    null = container.root / "dev/null"
    if kind == "link":
        null.symlink_to(target)
    elif kind == "fifo":
        os.mkfifo(null)
    elif kind == "directory":
        null.mkdir()
    elif kind == "file":
        null.write_text("not empty")


@pytest.mark.parametrize("kind", NULLS)
def test_m5_masks_do_not_need_the_images_null(container: Container, host: Path, kind: str) -> None:
    make_null(container, kind, host / "secret")
    masked = ["/proc/keys", "/proc/timer_list", "/proc/interrupts", "/proc/fs"]
    container.linux["maskedPaths"] = masked
    out = container.run(
        "cat /proc/self/mountinfo; echo ---; cat /proc/keys /proc/timer_list /proc/interrupts;"
        " ls -A /proc/fs; for f in keys timer_list interrupts; do echo x > /proc/$f && echo WROTE"
        " $f; done"
    )
    table, content = out.split("---\n")
    found = mount_points(table)
    for path in masked:
        top, options, kind_of = found[path]
        assert top in ("/empty-file", "/empty-directory") and kind_of == "tmpfs", path
        assert {"ro", "nosuid", "nodev", "noexec"} <= set(options.split(",")), path
    assert [line for line in content.splitlines() if "ead-only file system" not in line] == []


def test_m5_what_is_seen_is_masked(container: Container) -> None:
    """An engine's /sys, and a user's upon it."""
    container.mount("/sys", "sysfs", "sysfs")
    container.bind("/sys", "/sys", "ro")
    container.linux["maskedPaths"] = ["/sys/kernel"]
    container.linux["readonlyPaths"] = ["/sys/class"]
    out = container.run("ls /sys/kernel; echo ---; cat /proc/self/mountinfo")
    assert out.startswith("---")
    lines = [line.split() for line in out.splitlines()[1:]]
    both = [line for line in lines if line[4] == "/sys"]
    top = next(line[0] for line in both if line[0] not in {other[1] for other in both})
    for path in ("/sys/kernel", "/sys/class"):
        assert top in [line[1] for line in lines if line[4] == path], path


@pytest.mark.parametrize("target", ["H/new", "H/fifo", "/proc/sys/kernel/core_pattern", "pts/0"])
@pytest.mark.parametrize("dev", [True, False], ids=["dev", "no dev"])
def test_m6_a_console_that_lies(container: Container, host: Path, target: str, dev: bool) -> None:
    (container.root / "dev/console").symlink_to(target.replace("H", str(host), 1))
    (container.root / "dev/pts").mkdir()
    for name in ("0", "1", "ptmx"):
        (container.root / "dev/pts" / name).symlink_to(host / "secret")
    (container.root / "dev/ptmx").symlink_to(host / "secret")
    pattern = Path("/proc/sys/kernel/core_pattern").read_text()
    if dev:
        container.mount("/dev", "tmpfs", "tmpfs")
    container.mount("/dev/pts", "devpts", "devpts", "newinstance", "ptmxmode=0666")
    container.process["terminal"] = True
    before = snapshot(container.root)
    out = container.run(
        "grep ' /dev/console ' /proc/self/mountinfo; readlink /proc/self/fd/0; echo $(ls /dev/pts);"
        " echo said > /dev/console"
    )
    line, terminal, names, said = out.splitlines()
    assert " - devpts " in line and "/0 /dev/console" in line
    assert (terminal, names, said) == ("/dev/pts/0", "0 ptmx", "said")
    assert Path("/proc/sys/kernel/core_pattern").read_text() == pattern
    assert snapshot(container.root) == before


@pytest.mark.parametrize("goal", ["H", "D", "relative", "nowhere"])
@pytest.mark.parametrize("dev", [True, False], ids=["dev", "no dev"])
def test_m7_dev_is_a_link(
    container: Container, host: Path, tmp_path: Path, goal: str, dev: bool
) -> None:
    other = tmp_path / "D"
    other.mkdir()
    (other / "ptmx").write_text("a file")
    before = snapshot(other)
    goals = {"H": str(host), "D": str(other), "relative": f"../../../{other}", "nowhere": "x"}
    (container.root / "dev").rmdir()
    (container.root / "dev").symlink_to(goals[goal])
    if dev:
        container.mount("/dev", "tmpfs", "tmpfs")
    container.attempt("true")
    assert snapshot(other) == before
    for name in ("fd", "stdin", "ptmx", "null"):
        assert not os.path.lexists(container.root / goals[goal].lstrip("./") / name)


@pytest.mark.parametrize("user", [0, 1000])
@pytest.mark.parametrize("kind", NULLS)
def test_m8_null_of_the_image_as_a_stream(
    container: Container, host: Path, user: int, kind: str
) -> None:
    make_null(container, kind, Path("/m"))
    container.bind(host / "secret", "/m")
    container.process["user"] = {"uid": user, "gid": user}
    out = container.run("echo x; cat; echo gone > /dev/null; stat -c %t:%T /dev/null")
    assert out.splitlines() == ["x", "1:3"]
    assert os.stat("/dev/null").st_uid == 0


def test_m9_read_only_whatever_the_image_has(
    container: Container, host: Path, tmp_path: Path
) -> None:
    fds = container.root / "proc/self/fd"
    fds.mkdir(parents=True)
    for number in range(3, 12):
        (fds / str(number)).symlink_to(host)
    (container.root / "proc/thread-self").symlink_to(host)
    (tmp_path / "V").mkdir()
    (tmp_path / "F").write_text("")
    container.config["root"]["readonly"] = True
    container.bind(tmp_path / "V", "/v", "ro")
    container.bind(tmp_path / "F", "/f", "ro")
    container.linux["readonlyPaths"] = ["/proc/sys"]
    out = container.run(
        "cat /proc/self/mountinfo; echo ---; for f in /new /v/new /etc/passwd /f; do"
        " echo x > $f; done; mkdir /etc/new; true"
    )
    table, errors = out.split("---\n")
    found = mount_points(table)
    for point in ("/", "/v", "/f", "/proc/sys"):
        assert "ro" in found[point][1].split(","), point
    assert errors.count("ead-only file system") == 5, errors


def test_m10_a_tmpfs_that_has_what_it_covers(container: Container, host: Path) -> None:
    (container.root / "v").symlink_to(host)
    (container.root / "u").symlink_to(f"/../..{host}")
    (container.root / "w").mkdir()
    (container.root / "w/x").symlink_to(host / "secret")
    (container.root / "w/d").symlink_to(host)
    inside(container, host).mkdir(parents=True)
    (inside(container, host) / "own").write_text("of the image")
    for at in ("/v", "/u", "/w"):
        container.mount(at, "tmpfs", "tmpfs", "tmpcopyup")
    out = container.run("ls /v/ /u/; readlink /w/x; cat /w/x; ls /w/d")
    assert out.startswith(f"/u/:\nown\n\n/v/:\nown\n{host}/secret\n"), out
    assert "secret" not in out.replace(f"{host}/secret", "")
