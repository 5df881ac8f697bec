"""A container of the OCI runtime ``kokon-runtime``, driven by its command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from harness import SECRET

DOCKERS = (
    "CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP",
    "SETPCAP", "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE",
)  # fmt: skip


class Container:
    """Its bundle is ``place``; what it and the runtime say is in ``place/out``."""

    def __init__(self, place: Path, root: Path) -> None:
        self.place = place
        self.root = root
        self.name = f"x{os.getpid()}x{time.monotonic_ns() % 10**9}"
        self.config: dict[str, Any] = {
            "ociVersion": "1.3.0",
            "root": {"path": str(root)},
            "process": {"cwd": "/", "env": ["PATH=/bin"], "args": ["true"]},
            "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
            "linux": {
                "namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "network")],
            },
        }  # fmt: skip
        self.permit(*DOCKERS, "SYS_PTRACE")

    @property
    def process(self) -> dict[str, Any]:
        found: dict[str, Any] = self.config["process"]
        return found

    @property
    def linux(self) -> dict[str, Any]:
        found: dict[str, Any] = self.config["linux"]
        return found

    @property
    def record(self) -> Path:
        """The directory of its state."""
        return self.place / "state" / self.name

    def permit(self, *names: str) -> None:
        """The capabilities, without CAP_, that it has."""
        words = [f"CAP_{name}" for name in names]
        self.process["capabilities"] = dict.fromkeys(("bounding", "permitted", "effective"), words)

    def users(self) -> None:
        """A user namespace of its own, in which every id is itself."""
        self.linux["namespaces"].append({"type": "user"})
        for name in ("uidMappings", "gidMappings"):
            self.linux[name] = [{"containerID": 0, "hostID": 0, "size": 1 << 16}]

    def mount(self, destination: str, kind: str, source: str | Path, *options: str) -> None:
        self.config["mounts"].append({
            "destination": destination, "type": kind, "source": str(source), "options": options,
        })  # fmt: skip

    def bind(self, source: str | Path, destination: str, *options: str) -> None:
        self.mount(destination, "bind", source, "rbind", *options)

    def command(self, *words: str) -> list[str]:
        # -P: the working directory is no place of modules, as it is none for the launcher.
        command = [sys.executable, "-P", "-m", "kokon.cli.oci.main"]
        return [*command, "--root", f"{self.place}/state", *words]

    def call(self, *words: str, **more: Any) -> int:
        """The exit status of a verb."""
        (self.place / "config.json").write_text(json.dumps(self.config))
        with open(self.place / "out", "a") as out:
            given = {
                "cwd": self.place, "stdin": subprocess.DEVNULL, "stdout": out,
                "stderr": subprocess.STDOUT, **more,
            }  # fmt: skip
            status = subprocess.run(
                self.command(*words), check=False, timeout=30, **given
            ).returncode
        assert SECRET not in self.said()
        return status

    def create(self) -> int:
        """Its first process, which waits."""
        assert self.call("create", self.name) == 0, self.said()
        pid: int = json.loads((self.record / "state.json").read_text())["pid"]
        return pid

    def start(self, *args: str) -> None:
        self.process["args"] = args
        self.create()
        assert self.call("start", self.name) == 0, self.said()

    def attempt(self, *args: str, verb: tuple[str, ...] = ()) -> tuple[int, str]:
        """Status and words of a whole life, or of another verb: the program's or the runtime's."""
        if args:
            self.process["args"] = args
        before = len(self.said())
        status = self.call(*(verb or ("run", self.name)))
        return status, self.said()[before:]

    def run(self, script: str) -> str:
        """What a shell script says."""
        _, said = self.attempt("sh", "-c", script)
        assert not said.startswith("kokon: "), said
        return said

    def refused(self, *args: str, verb: tuple[str, ...] = ()) -> str:
        """The words of the runtime; the program did not run."""
        status, said = self.attempt(*(args or ("echo", "STARTED")), verb=verb)
        assert status and "STARTED" not in said and said.startswith("kokon: "), (status, said)
        return said

    def said(self) -> str:
        out = self.place / "out"
        return out.read_text(errors="replace") if out.exists() else ""

    def left(self) -> list[str]:
        """What is left of it."""
        states = self.place / "state"
        found = os.listdir(states) if states.exists() else []
        # Others' groups may go meanwhile, which os.walk passes over.
        tops = (top for top, _, _ in os.walk("/sys/fs/cgroup"))
        return [*found, *(top for top in tops if self.name in os.path.basename(top))]
