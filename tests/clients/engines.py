"""What tests of container engines share: kokon as a runtime, an image, and what is left behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import kokon
from kokon.kernel import cgroups

BUSYBOX = "/bin/busybox"
APPLETS = (
    "cat", "dd", "echo", "env", "grep", "httpd", "id", "ip", "ls", "mkdir", "mknod", "mount", "nc",
    "ps", "pwd", "readlink", "sh", "sleep", "stty", "touch", "true", "tty", "wget",
)  # fmt: skip


def need_root(*programs: str) -> None:
    """Skips where the engine cannot be started."""
    if os.geteuid():
        pytest.skip("needs root, for an engine of its own")
    for program in programs:
        if not shutil.which(program):
            pytest.skip(f"needs {program}")
    if not os.path.exists(BUSYBOX):
        pytest.skip(f"needs {BUSYBOX} (Debian: busybox-static)")


def runtime(place: Path) -> str:
    """A file that is kokon's runtime, of this source tree."""
    source = Path(kokon.__file__).parent.parent
    path = place / "kokon-runtime"
    path.write_text(
        f"#!{sys.executable} -IS\n"
        f"import sys\nsys.path.insert(0, {str(source)!r})\nsys.dont_write_bytecode = True\n"
        "from kokon.cli.oci.main import main\nsys.exit(main(sys.argv[1:]))\n"
    )
    path.chmod(0o755)
    return str(path)


def image(place: Path) -> str:
    """A root file system as a tar: busybox, and nothing else."""
    root = place / "image"
    for name in ("bin", "etc", "proc", "sys", "dev", "tmp", "run", "root", "var"):
        (root / name).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    shutil.copy(BUSYBOX, root / "bin/busybox")
    for name in APPLETS:
        (root / "bin" / name).symlink_to("busybox")
    (root / "var/run").symlink_to("/run")
    (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nuser:x:1000:\n")
    with tarfile.open(place / "image.tar", "w") as tar:
        tar.add(root, ".")
    return str(place / "image.tar")


class Engine:
    """An engine's command line.

    :ivar command: what every call begins with.
    :ivar image: the name of the image.
    """

    def __init__(
        self, command: list[str], environment: dict[str, str], image: str, place: Path
    ) -> None:
        self.command = command
        self.environment = environment
        self.image = image
        self.place = place

    def call(self, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """Any command; standard input is ``given``."""
        return subprocess.run(
            [*self.command, *words], input=given, capture_output=True, text=True,
            env=self.environment, timeout=60,
        )  # fmt: skip

    def said(self, *words: str, given: str = "") -> str:
        """What a command that succeeds says."""
        done = self.call(*words, given=given)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout.strip()

    def run(self, *words: str, options: tuple[str, ...] = (), given: str = "") -> str:
        """What a container that succeeds says."""
        return self.said("run", "--rm", *options, self.image, *words, given=given)

    def ends(self, *words: str, options: tuple[str, ...] = ()) -> tuple[int, str]:
        """Status and words of a container that fails."""
        done = self.call("run", "--rm", *options, self.image, *words)
        return done.returncode, done.stdout + done.stderr


def eventually(true: Callable[[], object], seconds: float = 10) -> bool:
    """Whether something becomes true."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


class Machine:
    """The machine as it was."""

    def __init__(self) -> None:
        self.groups = _groups()
        self.mounts = _mounts()
        self.interfaces = set(os.listdir("/sys/class/net"))

    def left(self, place: Path, names: tuple[str, ...] = ()) -> list[str]:
        """What an engine with kokon under it has left below a place, or with one of its names.

        :param names: of control groups that are the engine's own: removed, when nothing is in them.
        """
        for group in sorted(_groups() - self.groups, key=len, reverse=True):
            if os.path.basename(group) in names:
                try:
                    os.rmdir(group)
                except OSError:
                    pass
        marks = (str(place), *names)
        left = [g for g in _groups() - self.groups if any(mark in g for mark in names)]
        left += [m for m in _mounts() - self.mounts if any(mark in m for mark in marks)]
        left += set(os.listdir("/sys/class/net")) - self.interfaces
        left += [p for p in _processes() if str(place) in p]
        return left


def _groups() -> set[str]:
    return {
        f"{path}/{name}"
        for tree in cgroups.read().hierarchies
        for path, names, _ in os.walk(tree.mount_point)
        for name in names
    }


def _mounts() -> set[str]:
    return {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}


def _processes() -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                words = (
                    (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                )
            except OSError:
                continue
            found.append(f"{entry.name} {words}")
    return found
