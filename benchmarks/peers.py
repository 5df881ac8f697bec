"""How other programs are told what kokon does by default: bubblewrap, crun, runC, sandlock."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from kokon.kernel import cgroups
from kokon.kernel.capabilities import DEFAULT_MASK, names
from kokon.security.masks import DEFAULT_MASKED, DEFAULT_READONLY
from kokon.security.seccomp import default
from kokon.security.seccomp.profile import ALLOW, ERRNO

Run = Callable[[], None]
PATH = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"


def command(arguments: list[str], passed: dict[int, int] | None = None, **variables: str) -> Run:
    """A program that is started with as little as Python can, and waited for."""
    environment = {**os.environ, **variables}
    path = shutil.which(arguments[0]) or arguments[0]
    actions = [(os.POSIX_SPAWN_DUP2, source, target) for target, source in (passed or {}).items()]

    def run() -> None:
        pid = os.posix_spawn(path, arguments, environment, file_actions=actions)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status:
            raise RuntimeError(f"{' '.join(arguments)} ended with {status}")

    return run


def bwrap(root: Path, filter_: Path | None) -> Run:
    """Bubblewrap with the same namespaces and root; it makes no id range and no masks."""
    words = ["bwrap", "--unshare-all", "--unshare-user", "--die-with-parent", "--new-session",
             "--ro-bind", str(root), "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp",
             "--hostname", "kokon", "--clearenv"]  # fmt: skip
    if filter_ is None:
        return command([*words, "/bin/true"])
    with open(filter_, "rb") as file:
        descriptor = os.dup(file.fileno())
    run = command([*words, "--seccomp", "9", "/bin/true"], {9: descriptor})

    def rewound() -> None:
        os.lseek(descriptor, 0, os.SEEK_SET)
        run()

    return rewound


def bundle(directory: Path, root: Path, arguments: list[str], *, limits: bool) -> Path:
    """An OCI bundle with kokon's own masks, capabilities and system calls, as Docker asks for them:
    without a user namespace."""
    held = [f"CAP_{name}" for name in names(DEFAULT_MASK)]
    locked = ["nosuid", "noexec", "nodev"]
    linux: dict[str, object] = {
        "namespaces": [{"type": t} for t in ("pid", "network", "ipc", "uts", "mount", "cgroup")],
        "maskedPaths": list(DEFAULT_MASKED),
        "readonlyPaths": list(DEFAULT_READONLY),
        "seccomp": seccomp(),
        "resources": {"devices": [{"allow": False, "access": "rwm"}]},
    }
    if limits:
        linux["resources"] = {
            "devices": [{"allow": False, "access": "rwm"}],
            "memory": {"limit": 100 << 20},
            "pids": {"limit": 32},
            "cpu": {"quota": 100000, "period": 100000},
        }
    config = {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0}, "args": arguments, "env": [PATH], "cwd": "/",
            "noNewPrivileges": True,
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), held),
        },
        "root": {"path": str(root), "readonly": True},
        "hostname": "kokon",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": locked},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
             "options": [*locked, "mode=1777", "size=65536k"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": locked},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*locked, "ro"]},
        ],
        "linux": linux,
    }  # fmt: skip
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps(config))
    return directory


def seccomp() -> dict[str, object]:
    """The calls that kokon's default profile allows whatever their arguments are."""
    profile = default.profile(os.uname().machine, DEFAULT_MASK)
    allowed = {
        name
        for rule in profile.rules
        if rule.action == ALLOW and not rule.conditions
        for name in rule.names
    }
    allowed |= {name for rule in profile.rules if rule.conditions for name in rule.names}
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": profile.default - ERRNO if profile.default & ERRNO else 1,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [{"names": sorted(allowed), "action": "SCMP_ACT_ALLOW"}],
    }


def sandlock(root: Path) -> Run | None:
    """Sandlock (Landlock and seccomp, no namespaces), where it is installed."""
    try:
        from sandlock import Sandbox
    except ImportError:
        return None
    box = Sandbox(fs_readable=["/"], chroot=str(root))

    def run() -> None:
        if not box.run(["/bin/true"]).success:
            raise RuntimeError("sandlock failed")

    return run


def without_unified(words: list[str]) -> list[str]:
    """A command in a mount namespace without the v2 tree of a hybrid machine."""
    layout = cgroups.read()
    hide = ""
    if layout.mode == "hybrid" and layout.unified:
        hide = f"umount -l {layout.unified.mount_point} && "
    return ["unshare", "--mount", "sh", "-c", f'{hide}exec "$@"', "sh", *words]


class WithoutUnified:
    """A process in a mount namespace without the v2 tree of a hybrid machine, which crun refuses.

    It starts and times commands there, so that entering the namespace is not part of the time.
    """

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            without_unified(["python3", str(Path(__file__).with_name("stopwatch.py"))]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def time(self, arguments: list[str]) -> tuple[float, float]:
        """Seconds of a command, on the clock and of processors."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(arguments) + "\n")
        self.process.stdin.flush()
        status, wall, processor = json.loads(self.process.stdout.readline())
        if status:
            raise RuntimeError(f"{' '.join(arguments)} ended with {status}")
        return wall, processor

    def close(self) -> None:
        """Ends it."""
        self.process.communicate()
