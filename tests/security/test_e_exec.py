"""Rows E1 and E2 against ``exec``: what joins a running container, seen from that container."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import NEEDS_ROOT

from kokon import paths

SEEN = {
    "E1": "the copy that runs is not sealed",
    "E2": "stage 2 enters the mount namespace itself (it did: found here); the directory of the"
    " control group is the host's own (it was)",
}

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason=NEEDS_ROOT),
]
DOCKERS = (
    "CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP",
    "SETPCAP", "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE",
)  # fmt: skip


class Container:
    """A container of the OCI runtime, whose root has the probe."""

    def __init__(self, place: Path, root: Path) -> None:
        self.place = place
        self.name = f"x{os.getpid()}x{time.monotonic_ns() % 10**9}"
        names = [f"CAP_{name}" for name in (*DOCKERS, "SYS_PTRACE")]
        self.config: dict[str, Any] = {
            "ociVersion": "1.3.0",
            "root": {"path": str(root)},
            "process": {
                "cwd": "/", "env": ["PATH=/bin"],
                "capabilities": dict.fromkeys(("bounding", "permitted", "effective"), names),
            },
            "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
            "linux": {
                "namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "network")],
            },
        }  # fmt: skip

    def call(self, *words: str) -> int:
        command = [sys.executable, "-m", "kokon.cli.oci.main", "--root", f"{self.place}/state"]
        with open(self.place / "out", "a") as out:
            return subprocess.run(
                [*command, *words], cwd=self.place, stdin=subprocess.DEVNULL, stdout=out,
                stderr=subprocess.STDOUT, check=False, timeout=30,
            ).returncode  # fmt: skip

    def start(self, *args: str) -> None:
        self.config["process"]["args"] = args
        (self.place / "config.json").write_text(json.dumps(self.config))
        assert self.call("create", self.name) == 0, self.said()
        assert self.call("start", self.name) == 0, self.said()

    def said(self) -> str:
        return (self.place / "out").read_text()


@pytest.fixture
def container(tmp_path: Path, probed: Path) -> Iterator[Container]:
    container = Container(tmp_path, probed)
    yield container
    assert container.call("delete", "--force", container.name) == 0, container.said()


@pytest.mark.parametrize("userns", [False, True])
def test_e2_what_joins_a_container(container: Container, tmp_path: Path, userns: bool) -> None:
    """The container may trace whatever it sees, and finds no file of the host through it."""
    (tmp_path / "secret").write_text("of the host\n")
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_uid == os.geteuid() and path != Path("/") and "pytest" in str(path):
            path.chmod(0o755)
    if userns:
        container.config["linux"]["namespaces"].append({"type": "user"})
        for name in ("uidMappings", "gidMappings"):
            container.config["linux"][name] = [{"containerID": 0, "hostID": 0, "size": 1 << 16}]
    # What joins has a parent that the container does not see.
    container.start("probe", "watch", "5", "0", f"{tmp_path}/secret")
    end = time.monotonic() + 5
    times = 0
    while time.monotonic() < end - 0.3:
        assert container.call("exec", container.name, "true") == 0, container.said()
        times += 1
    time.sleep(0.8)
    numbers = dict(line.split() for line in container.said().splitlines() if len(line.split()) == 2)
    assert times > 5
    assert int(numbers["seen"]) > times, container.said()
    assert numbers["reached"] == "0", container.said()


def test_e1_the_program_that_joins(container: Container) -> None:
    before = hashlib.sha256(Path(paths.INIT_PROGRAM).read_bytes()).digest()
    python = hashlib.sha256(Path("/proc/self/exe").read_bytes()).digest()
    script = "while :; do for f in /proc/[0-9]*/exe; do echo x >$f; done; done 2>/dev/null"
    container.start("sh", "-c", script)
    for args in (["/proc/self/exe"], ["/proc/1/exe"], ["true"], ["sh", "-c", "true"]) * 3:
        container.call("exec", container.name, *args)
    assert hashlib.sha256(Path(paths.INIT_PROGRAM).read_bytes()).digest() == before
    assert hashlib.sha256(Path("/proc/self/exe").read_bytes()).digest() == python
