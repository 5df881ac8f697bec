"""A bundle of busybox, the runtime's command line for it, and what the runtime may leave of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from leftovers import busybox_root, groups_of

PROC = {"destination": "/proc", "type": "proc", "source": "proc"}
IDENTITY = f"config-{os.getpid()}"
DEV = {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]}


class Bundle:
    """A bundle of busybox, and the runtime's own directory."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.path = place / "bundle"
        self.path.mkdir()
        self.root = Path(busybox_root(self.path / "rootfs"))
        self.config: dict[str, Any] = {
            "ociVersion": "1.3.0",
            "process": {
                "user": {"uid": 0, "gid": 0}, "args": ["sh", "-c", "true"], "cwd": "/",
                "env": ["PATH=/bin"],
            },
            "root": {"path": "rootfs"},
            "mounts": [PROC, DEV],
            "linux": {
                "namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts", "network")]
            },
        }  # fmt: skip

    @property
    def process(self) -> dict[str, Any]:
        found: dict[str, Any] = self.config["process"]
        return found

    @property
    def linux(self) -> dict[str, Any]:
        found: dict[str, Any] = self.config["linux"]
        return found

    @property
    def command(self) -> list[str]:
        """The runtime, without a verb."""
        return [sys.executable, "-m", "kokon.cli.oci.main", "--root", f"{self.place}/run"]

    def write(self) -> None:
        (self.path / "config.json").write_text(json.dumps(self.config))

    def call(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """The runtime's command line; its output is the container's too."""
        self.write()
        # Files and no pipes: the container has them for as long as it lives.
        with (
            open(self.place / "output", "a") as output,
            open(self.place / "errors", "w+") as errors,
        ):
            before = output.tell()
            given = {"cwd": self.path, "stdin": subprocess.DEVNULL, **options}
            status = subprocess.run(
                [*self.command, *words], stdout=output, stderr=errors, timeout=20, check=False,
                **given,
            ).returncode  # fmt: skip
            errors.seek(0)
            said = self.output()[before:]
            return subprocess.CompletedProcess(words, status, said, errors.read())

    def pid(self) -> int:
        """Of the first process."""
        text = (self.place / f"run/{IDENTITY}/state.json").read_text()
        pid: int = json.loads(text)["pid"]
        return pid

    def left(self) -> list[str]:
        """What the runtime has left of the container, in words."""
        left = [f"group {path}" for path in groups_of(IDENTITY)]
        if os.path.isdir(self.place / "run"):
            left += [f"state {name}" for name in os.listdir(self.place / "run")]
        points = [row.split()[4] for row in Path("/proc/self/mountinfo").read_text().splitlines()]
        return left + [f"mount {path}" for path in points if path.startswith(f"{self.place}/")]

    def output(self) -> str:
        return (self.place / "output").read_text()

    def refused(self, *words: str) -> str:
        """The error of ``create``; nothing is left of it."""
        result = self.call("create", *words, IDENTITY)
        assert result.returncode == 1, result.stderr
        assert self.left() == []
        return result.stderr

    def create(self) -> None:
        result = self.call("create", IDENTITY)
        assert result.returncode == 0, result.stderr

    def start(self) -> str:
        """What the program, and those before it, say until it ends, or the error."""
        result = self.call("start", IDENTITY)
        if result.returncode:
            return result.stderr
        try:
            pidfd = os.pidfd_open(self.pid())
        except ProcessLookupError:
            pass
        else:
            import select

            assert select.select([pidfd], [], [], 20)[0], "it has not ended"
            os.close(pidfd)
        return (self.place / "output").read_text()

    def run(self, script: str) -> str:
        """What a script says inside."""
        self.process["args"] = ["sh", "-c", script]
        self.create()
        try:
            return self.start()
        finally:
            self.call("delete", "--force", IDENTITY)

    def users(self) -> None:
        """A user namespace of its own."""
        self.linux["namespaces"].append({"type": "user"})
        for name in ("uidMappings", "gidMappings"):
            self.linux[name] = [{"containerID": 0, "hostID": 100000, "size": 65536}]


@pytest.fixture
def bundle(tmp_path: Path) -> Iterator[Bundle]:
    for directory in (tmp_path, *tmp_path.parents):
        if directory.owner() == "root" and len(directory.parts) > 2:
            directory.chmod(0o755)
    made = Bundle(tmp_path)
    yield made
    made.call("delete", "--force", IDENTITY)


def bind(source: Path | str, destination: str, *options: str, **more: Any) -> dict[str, Any]:
    return {
        "destination": destination,
        "source": str(source),
        "options": ["bind", *options],
        **more,
    }


def folder(bundle: Bundle, name: str = "given") -> Path:
    """A directory beside the bundle with a file of root's."""
    path = bundle.place / name
    path.mkdir(mode=0o755)
    (path / "file").write_text("x")
    return path
