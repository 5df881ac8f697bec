"""Rows E1 to E3 against the OCI runtime: what joins a container, and what waits to be started."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from harness import NEEDS_ROOT
from oci_container import Container

from kokon import paths

SEEN = {
    "E1": "the copy that runs is not sealed",
    "E3": "the old root stays open until the start; a group's file of tasks stays open",
    "E2": "stage 2 enters the mount namespace itself (it did: found here); the directory of the"
    " control group is the host's own (it was); a program is let in before the start, when init has"
    " all rights yet (it was: found here)",
}

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason=NEEDS_ROOT),
]


@pytest.mark.parametrize("userns", [False, True])
def test_e2_what_joins_a_container(container: Container, tmp_path: Path, userns: bool) -> None:
    """The container may trace whatever it sees, and finds no file of the host through it."""
    (tmp_path / "secret").write_text("of the host\n")
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_uid == os.geteuid() and path != Path("/") and "pytest" in str(path):
            path.chmod(0o755)
    if userns:
        container.users()
    # What joins has a parent that the container does not see.
    container.start("probe", "watch", "5", "0", f"{tmp_path}/secret")
    times = 0
    while container.call("exec", container.name, "true") == 0:
        times += 1
    # It ended because it had watched long enough.
    assert "reached" in container.said(), container.said()
    numbers = dict(line.split() for line in container.said().splitlines() if len(line.split()) == 2)
    assert times > 5
    assert int(numbers["seen"]) > times, container.said()
    assert numbers["reached"] == "0", container.said()


@pytest.mark.parametrize("userns", [False, True])
def test_e2_nothing_joins_before_the_start(container: Container, userns: bool) -> None:
    """Init has rights until then that are not the program's."""
    if userns:
        container.users()
    container.create()
    words = "cannot exec in a container that has not been started"
    joins = ("exec", container.name, "probe", "trace", "1")
    assert words in container.refused(verb=joins)
    assert container.call("start", container.name) == 0, container.said()


def test_e1_the_program_that_joins(container: Container) -> None:
    before = hashlib.sha256(Path(paths.INIT_PROGRAM).read_bytes()).digest()
    python = hashlib.sha256(Path("/proc/self/exe").read_bytes()).digest()
    script = "while :; do for f in /proc/[0-9]*/exe; do echo x >$f; done; done 2>/dev/null"
    container.start("sh", "-c", script)
    for args in (["/proc/self/exe"], ["/proc/1/exe"], ["true"], ["sh", "-c", "true"]) * 3:
        container.call("exec", container.name, *args)
    assert hashlib.sha256(Path(paths.INIT_PROGRAM).read_bytes()).digest() == before
    assert hashlib.sha256(Path("/proc/self/exe").read_bytes()).digest() == python


def _top(directory: int) -> tuple[int, int]:
    """What ``..`` leads to in the end."""
    here = os.dup(directory)
    while True:
        above = os.open("..", os.O_PATH, dir_fd=here)
        same = os.path.sameopenfile(here, above)
        os.close(here)
        here = above
        if same:
            status = os.fstat(here)
            os.close(here)
            return status.st_dev, status.st_ino


def test_e3_what_waits_for_its_start(container: Container, probed: Path) -> None:
    """Its directories are the container's, and it can write nowhere but to its own output."""
    container.config["process"]["args"] = ["true"]
    container.config["root"]["readonly"] = True
    container.config["mounts"] += [
        {"destination": "/etc", "type": "bind", "source": "/etc", "options": ["rbind", "ro"]},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"},
    ]
    container.config["linux"]["maskedPaths"] = ["/proc/sys", "/proc/keys"]
    container.config["linux"]["resources"] = {"pids": {"limit": 10}}
    pid = container.create()
    descriptors = f"/proc/{pid}/fd"
    root = probed.stat()
    seen = 0
    for name in os.listdir(descriptors):
        path = f"{descriptors}/{name}"
        target = os.readlink(path)
        flags = Path(f"/proc/{pid}/fdinfo/{name}").read_text().split("flags:")[1].split()
        if os.path.isdir(path):
            seen += 1
            top = os.open(path, os.O_PATH | os.O_DIRECTORY)
            reached = _top(top)
            inside = os.listdir(f"/proc/self/fd/{top}")
            os.close(top)
            # The other is what covers masked paths.
            assert reached == (root.st_dev, root.st_ino) or set(inside) <= {
                "empty-file", "empty-directory",
            }, (target, inside)  # fmt: skip
        elif int(name) > 2 and int(flags[0], 8) & os.O_ACCMODE:
            assert target.startswith(("pipe:", "socket:")), target
    assert seen > 3
