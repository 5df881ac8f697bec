"""Containers as scopes of systemd (``--systemd-cgroup``), by hand and by Podman: root's system
manager, a user's own from a service and from a login session; KOKON_GUEST says which."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

MODE = os.environ.get("KOKON_GUEST", "")
pytestmark = pytest.mark.skipif(not MODE, reason="runs inside the guest (make test-guest)")
needs_systemd = pytest.mark.skipif(MODE == "single", reason="this user has no systemd")

UID = os.geteuid()
RUNTIME = (sys.executable, "-X", "utf8", "-m", "kokon.cli.oci.main")
TOP = f"/user.slice/user-{UID}.slice/user@{UID}.service" if UID else ""
SCOPE = f"{TOP}/kokontest.slice/kokontest-a.slice/x-web.scope"
GROUP = Path(f"/sys/fs/cgroup{SCOPE}")
SYSTEMCTL = ("systemctl", "--user") if UID else ("systemctl",)
LIMITS = {
    "memory": {"limit": 64 << 20, "reservation": 32 << 20, "swap": 64 << 20},
    "cpu": {"shares": 512, "quota": 50000, "period": 100000},
    "pids": {"limit": 20},
}


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    busybox = shutil.which("busybox")
    assert busybox, "the guest has busybox"
    path = tmp_path_factory.mktemp("root")
    path.chmod(0o755)
    for name in ("bin", "proc", "dev", "sys", "tmp"):
        (path / name).mkdir()
    shutil.copy(busybox, path / "bin/busybox")
    for name in ("sh", "id", "cat", "sleep", "mknod", "ls"):
        (path / "bin" / name).symlink_to("busybox")
    return path


class Bundle:
    """A bundle, and the runtime on a root of its own."""

    def __init__(self, path: Path, rootfs: Path) -> None:
        self.path = path
        self.root = path / "run"
        kinds = ["pid", "mount", "ipc", "uts", "network", "cgroup", *(["user"] if UID else [])]
        maps = [{"containerID": 0, "hostID": UID, "size": 1}] if UID else []
        self.document: dict[str, Any] = {
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": 0, "gid": 0}, "cwd": "/", "env": ["PATH=/bin"],
                "args": ["sh", "-c", "while true; do sleep 1000; done"],
                "capabilities": {
                    kind: ["CAP_MKNOD"] for kind in ("bounding", "effective", "permitted")
                },
            },
            "root": {"path": str(rootfs)},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"},
                {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"},
            ],
            "linux": {
                "cgroupsPath": "kokontest-a.slice:x:web", "resources": LIMITS,
                "namespaces": [{"type": kind} for kind in kinds],
                "uidMappings": maps, "gidMappings": maps,
            },
        }  # fmt: skip

    def call(
        self,
        *words: str,
        systemd: bool = True,
        code: str = "",
        environment: dict[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        (self.path / "config.json").write_text(json.dumps(self.document))
        runtime = (sys.executable, "-c", code) if code else RUNTIME
        option = ("--systemd-cgroup",) if systemd else ()
        # Files, as a container that stays holds them open.
        with open(self.path / "out", "w+") as out, open(self.path / "err", "w+") as err:
            status = subprocess.run(
                [*runtime, "--root", str(self.root), *option, *words], stdin=subprocess.DEVNULL,
                stdout=out, stderr=err, check=False, env={**os.environ, **(environment or {})},
            ).returncode  # fmt: skip
            out.seek(0), err.seek(0)
            return subprocess.CompletedProcess(words, status, out.read(), err.read())

    def does(self, *words: str, **options: Any) -> str:
        done = self.call(*words, **options)
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout

    def create(self, **options: Any) -> int:
        self.does(
            "create", "-b", str(self.path), "--pid-file", f"{self.path}/pid", "web", **options
        )
        return int((self.path / "pid").read_text())


@pytest.fixture
def bundle(tmp_path: Path, rootfs: Path) -> Iterator[Bundle]:
    made = Bundle(tmp_path, rootfs)
    yield made
    made.call("delete", "--force", "web")
    assert not units("x-web.scope") and not GROUP.exists()
    assert not made.root.exists() or not list(made.root.iterdir())


def units(name: str) -> str:
    words = [*SYSTEMCTL, "list-units", "--all", "--no-legend", "--plain", name]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def shown(*names: str) -> list[str]:
    words = [*SYSTEMCTL, "show", "x-web.scope", *(f"--property={name}" for name in names)]
    text = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    values = dict(line.split("=", 1) for line in text.splitlines())
    return [values[name] for name in names]


def files(*names: str) -> list[str]:
    return [(GROUP / name).read_text().strip() for name in names]


@needs_systemd
def test_life_in_a_scope(bundle: Bundle) -> None:
    """From before it runs until nothing is left: where it is, its limits, and every verb."""
    names = ("memory.max", "memory.low", "memory.swap.max", "cpu.weight", "cpu.max", "pids.max")
    pid = bundle.create()
    assert Path(f"/proc/{pid}/cgroup").read_text() == f"0::{SCOPE}\n"
    limits = [str(64 << 20), str(32 << 20), "0", "59", "50000 100000", "20"]
    assert files(*names) == limits
    properties = ("Delegate", "DefaultDependencies", "MemoryMax", "CPUQuotaPerSecUSec", "TasksMax")
    assert shown(*properties) == ["yes", "no", str(64 << 20), "500ms", "20"]
    bundle.does("start", "web")
    inside = bundle.does("exec", "web", "sh", "-c", "cat /proc/self/cgroup; ls /sys/fs/cgroup")
    assert inside.startswith("0::/\n") and "memory.max" in inside
    bundle.does("update", "--memory", "128M", "--memory-swap", "-1", "--cpu-quota", "30000", "web")
    subprocess.run([*SYSTEMCTL, "daemon-reload"], check=True)
    changed = [str(128 << 20), str(32 << 20), "max", "59", "30000 100000", "20"]
    assert files(*names) == changed
    bundle.does("pause", "web")
    assert json.loads(bundle.does("state", "web"))["status"] == "paused"
    bundle.does("resume", "web")
    assert json.loads(bundle.does("state", "web"))["status"] == "running"
    processes = json.loads(bundle.does("ps", "--format", "json", "web"))
    assert pid in processes and len(processes) == 2
    stats = json.loads(bundle.does("events", "--stats", "web"))["data"]
    assert stats["memory"]["usage"]["limit"] == 128 << 20
    bundle.does("kill", "--all", "web", "KILL")
    bundle.does("delete", "web")
    assert not units("x-web.scope") and not GROUP.exists()
    # The name is free at once.
    bundle.create()
    bundle.does("pause", "web")
    bundle.does("delete", "--force", "web")


@pytest.mark.skipif(MODE != "root", reason="a user's containers have no device rules")
@pytest.mark.parametrize("systemd", [True, False], ids=("systemd", "cgroupfs"))
def test_no_device_but_the_default_ones(bundle: Bundle, systemd: bool) -> None:
    """Without a rule in the document, and when systemd has read its units again."""
    if not systemd:
        bundle.document["linux"]["cgroupsPath"] = "/kokontest-web"
    bundle.create(systemd=systemd)
    bundle.does("start", "web")
    subprocess.run([*SYSTEMCTL, "daemon-reload"], check=True)
    script = (
        "mknod /tmp/m c 1 11 && cat /tmp/m && echo opened; mknod /tmp/z c 1 5 &&"
        " busybox head -c 3 /tmp/z | busybox wc -c; cat /dev/null && echo null"
    )
    done = bundle.call("exec", "web", "sh", "-c", script)
    assert done.stdout.split() == ["3", "null"]
    assert "Operation not permitted" in done.stderr
    bundle.does("delete", "--force", "web")
    assert not Path("/sys/fs/cgroup/kokontest-web").exists()


@needs_systemd
def test_what_systemd_cannot_make(bundle: Bundle) -> None:
    """One sentence that names the place; whatever else has the name stays as it is."""
    create = ("create", "-b", str(bundle.path), "web")
    for path in ("/a/b", "a--b.slice:x:web", "kokontest.slice:x/y:web"):
        bundle.document["linux"]["cgroupsPath"] = path
        refused = bundle.call(*create)
        assert refused.returncode == 1 and "/linux/cgroupsPath" in refused.stderr
    bundle.document["linux"]["cgroupsPath"] = "kokontest-a.slice:x:web"
    bundle.document["linux"]["resources"] = {"cpu": {"cpus": "0-63"}}
    refused = bundle.call(*create)
    assert refused.returncode == 1 and "/linux/resources/cpu/cpus" in refused.stderr
    assert not units("x-web.scope")
    bundle.document["linux"]["resources"] = LIMITS
    for slice_name in ("kokontest-a.slice", "kokontest-b.slice"):
        run = ["systemd-run", *SYSTEMCTL[1:], "--quiet", "--scope", "--unit=x-web"]
        run += [f"--slice={slice_name}", "sh", "-c", "echo; exec sleep 1000"]
        other = subprocess.Popen(run, stdout=subprocess.PIPE)
        assert other.stdout is not None and other.stdout.readline() == b"\n"
        refused = bundle.call(*create)
        assert refused.returncode == 1
        assert "/linux/cgroupsPath: systemd has a unit x-web.scope already" in refused.stderr
        assert "running" in units("x-web.scope") and other.poll() is None
        subprocess.run([*SYSTEMCTL, "stop", "x-web.scope"], check=True)
        other.wait()
    without = bundle.call(*create, environment={"PYTHONPATH": "/kokon/src"})
    assert without.returncode == 1 and "needs the package jeepney" in without.stderr


KILLED = """
import os, sys
from kokon.cgroup.scope import Scope
from kokon.runtime.oci import create
made, spawn = Scope.open, create.spawn
def open_(self, pid):
    made(self, pid)
    os.kill(os.getpid(), 9)
def spawn_(*words, **options):
    spawn(*words, **options)
    os.kill(os.getpid(), 9)
if WHEN == "scope":
    Scope.open = open_
else:
    create.spawn = spawn_
from kokon.cli.oci.main import main
sys.exit(main(sys.argv[1:]))
"""


@needs_systemd
@pytest.mark.parametrize("when", ["scope", "clone"])
def test_what_a_killed_create_leaves_is_deleted(bundle: Bundle, when: str) -> None:
    create = ("create", "-b", str(bundle.path), "web")
    killed = bundle.call(*create, code=f"WHEN = {when!r}\n{KILLED}")
    assert killed.returncode == -signal.SIGKILL
    assert when == "scope" or "running" in units("x-web.scope")
    bundle.does("delete", "--force", "web")
    assert not units("x-web.scope") and not GROUP.exists()


@pytest.mark.skipif(MODE != "single", reason="every other one has a systemd")
def test_without_systemd(tmp_path: Path, rootfs: Path) -> None:
    bundle = Bundle(tmp_path, rootfs)
    refused = bundle.call("create", "-b", str(bundle.path), "web")
    assert refused.returncode == 1
    assert "--systemd-cgroup: no systemd manager can be reached; log in as" in refused.stderr
    assert not list(bundle.root.iterdir())


@pytest.mark.skipif(MODE not in ("root", "login"), reason="a login session is the harder case")
def test_podman(tmp_path: Path, rootfs: Path) -> None:
    runtime = tmp_path / "kokon-runtime"
    path = os.environ["PYTHONPATH"]
    runtime.write_text(f'#!/bin/sh\nPYTHONPATH={path} exec {" ".join(RUNTIME)} "$@"\n')
    runtime.chmod(0o755)

    def podman(*words: str) -> str:
        every = ["podman", "--runtime", str(runtime), "--cgroup-manager", "systemd", *words]
        done = subprocess.run(
            every, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout.strip()

    with tarfile.open(tmp_path / "image.tar", "w") as image:
        image.add(rootfs, ".")
    podman("import", "--quiet", str(tmp_path / "image.tar"), "kokontest")
    if MODE == "root":
        for kind in ("uid", "gid"):
            with open(f"/etc/sub{kind}", "a") as file:
                file.write("containers:300000:1000000\n")
    try:
        run = ("run", "--network=none", "--memory=64m", "--pids-limit=20")
        podman(*run, "-d", "--name=c", "kokontest", "sleep", "1000")
        pid = podman("inspect", "--format={{.State.Pid}}", "c")
        group = podman("inspect", "--format={{.State.CgroupPath}}", "c")
        assert Path(f"/proc/{pid}/cgroup").read_text() == f"0::{group}\n"
        assert group.startswith(f"{TOP}/") and group.endswith(".scope")
        podman("update", "--memory=128m", "c")
        assert Path(f"/sys/fs/cgroup{group}/memory.max").read_text() == f"{128 << 20}\n"
        assert podman("stats", "--no-stream", "--format={{.PIDs}}", "c") == "1"
        podman("pause", "c")
        assert podman("inspect", "--format={{.State.Status}}", "c") == "paused"
        podman("unpause", "c")
        assert podman("exec", "c", "cat", "/proc/self/cgroup") == "0::/"
        # Of the same name, as soon as the old one has ended.
        podman("restart", "--time=0", "c")
        podman("rm", "--force", "--time=0", "c")
        # A login session has 90 seconds in all (tests/guest/run); a user's pods were tried by hand.
        if MODE != "login":
            podman("pod", "create", "--name=p", "--infra-image=kokontest",
                   "--infra-command=sleep 1000", "--network=none")  # fmt: skip
            podman("run", "-d", "--pod=p", "--name=d", "kokontest", "sleep", "1000")
            group = podman("inspect", "--format={{.State.CgroupPath}}", "d")
            assert "libpod_pod_" in group.split("/")[-2] and group.split("/")[-2].endswith(".slice")
            assert len(json.loads(podman("pod", "stats", "--no-stream", "--format=json", "p"))) == 2
            podman("pod", "rm", "--force", "--time=0", "p")
            for kind in ("auto", *(("keep-id",) if UID else ())):
                ids = podman(*run, "--rm", f"--userns={kind}", "kokontest", "sh", "-c",
                             "cat /proc/self/uid_map && echo x >/dev/shm/f && id -u")  # fmt: skip
                assert ids.split()[:2] != ["0", "0"]
                assert ids.split()[-1] == ("0" if kind == "auto" else str(UID))
    finally:
        for words in (("pod", "rm", "--all", "--force"), ("rm", "--all", "--force", "--time=0")):
            subprocess.run(["podman", *words], capture_output=True, check=False)
    left = subprocess.run(["find", "/sys/fs/cgroup", "-name", "libpod-*.scope"],
                          capture_output=True, text=True, check=True).stdout  # fmt: skip
    assert not left
