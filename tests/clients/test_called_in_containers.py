"""kokon called inside of a container of Docker's and of a rootless one of Podman's.

As in ``tests/kernel/test_levels.py``: what lacks at the level ``full`` is said, and what is
guaranteed at the level ``best`` is true.  The containers have nothing but this machine's /usr.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import kokon
from kokon.kernel import facts

HERE = Path(__file__).parent
SOURCE = Path(kokon.__file__).parent.parent
sys.path.insert(0, str(HERE.parent / "kernel"))
from test_levels import all_but, check  # noqa: E402

PYTHON = "/usr/bin/python3"
Call = Callable[..., dict[str, Any]]

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(facts.read().landlock < 6, reason="needs Landlock with signals (6.12)"),
    pytest.mark.skipif(not os.path.exists(PYTHON), reason=f"needs {PYTHON}"),
]


def image(path: Path) -> Path:
    """A root file system that is empty but for links into /usr."""
    with tarfile.open(path, "w") as tar:
        for name in ("etc", "proc", "sys", "dev", "tmp", "run", "usr", "root", "var", "var/tmp"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if "tmp" in name else 0o755
            tar.addfile(entry)
        for name in ("bin", "sbin", "lib", "lib64"):
            if os.path.islink(f"/{name}"):
                entry = tarfile.TarInfo(name)
                entry.type, entry.linkname = tarfile.SYMTYPE, os.readlink(f"/{name}")
                tar.addfile(entry)
        for name, text in (("etc/passwd", b"root:x:0:0::/root:/bin/sh\n"),):
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text))
    path.chmod(0o644)
    return path


def caller(command: list[str], environment: dict[str, str]) -> Call:
    """What runs the caller in a container, by the command that runs an image."""

    def call(**options: Any) -> dict[str, Any]:
        done = subprocess.run(
            [*command, "run", "--rm", "--network", "none", "-v", "/usr:/usr:ro",
             "-v", "/etc/ld.so.cache:/etc/ld.so.cache:ro",
             "-v", f"{SOURCE}:/kokon/src:ro", "-v", f"{HERE.parent}:/kokon/tests:ro",
             "-e", "PYTHONPATH=/kokon/src", "kokon-levels:latest",
             PYTHON, "/kokon/tests/kernel/level_caller.py", json.dumps(options)],
            capture_output=True, text=True, env=environment, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    return call


def imported(command: list[str], environment: dict[str, str], place: Path) -> Call:
    tar = image(place / "image.tar")
    done = subprocess.run(
        [*command, "import", str(tar), "kokon-levels:latest"],
        capture_output=True, text=True, env=environment, timeout=120,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"{command[0]} does not work here: {done.stderr.strip()[-300:]}")
    return caller(command, environment)


@pytest.fixture(scope="module")
def docker() -> Iterator[Call]:
    """A Docker Engine of our own, with its defaults."""
    if os.geteuid():
        pytest.skip("needs root, for a dockerd of its own")
    if not (shutil.which("dockerd") and shutil.which("docker")):
        pytest.skip("needs dockerd and docker (docker.io)")
    place = Path(tempfile.mkdtemp(prefix="kokon-docker-"))
    config = {
        "exec-opts": ["native.cgroupdriver=cgroupfs"], "data-root": f"{place}/data",
        "exec-root": f"{place}/exec", "pidfile": f"{place}/pid", "bridge": "none",
        "hosts": [f"unix://{place}/socket"], "iptables": False, "storage-driver": "vfs",
    }  # fmt: skip
    (place / "daemon.json").write_text(json.dumps(config))
    log = (place / "log").open("w")
    daemon = subprocess.Popen(
        ["dockerd", "--config-file", f"{place}/daemon.json"], stdout=log, stderr=log,
        start_new_session=True,
    )  # fmt: skip
    command = ["docker", "--host", f"unix://{place}/socket"]
    try:
        until = time.monotonic() + 20
        while subprocess.run([*command, "version"], capture_output=True).returncode:
            if daemon.poll() is not None or time.monotonic() > until:
                pytest.skip(f"dockerd does not work here: {(place / 'log').read_text()[-300:]}")
            time.sleep(0.2)
        yield imported(command, dict(os.environ), place)
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(30)
        log.close()
        shutil.rmtree(place, ignore_errors=True)


@pytest.fixture(scope="module")
def podman() -> Iterator[Call]:
    """Podman without root, with a store of its own."""
    if os.geteuid() == 0:
        pytest.skip("needs an ordinary user: it is about containers without root")
    if not shutil.which("podman"):
        pytest.skip("needs podman")
    if not facts.read().subordinate_uids:
        pytest.skip("needs subordinate ids")
    place = Path(tempfile.mkdtemp(prefix="kokon-podman-", dir="/var/tmp"))
    (place / "run").mkdir(mode=0o700)
    environment = {**os.environ, "HOME": str(place), "XDG_RUNTIME_DIR": f"{place}/run",
                   "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"}  # fmt: skip
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "DBUS_SESSION_BUS_ADDRESS"):
        environment.pop(name, None)
    command = ["podman", "--cgroup-manager", "cgroupfs", "--storage-driver", "vfs",
               "--root", f"{place}/root", "--runroot", f"{place}/runroot"]  # fmt: skip
    if shutil.which("runc"):  # crun refuses machines with both kinds of control groups
        command += ["--runtime", "runc"]
    try:
        yield imported(command, environment, place)
    finally:
        subprocess.run([*command, "unshare", "rm", "-rf", str(place / "root")],
                       capture_output=True, env=environment)  # fmt: skip
        # The process that keeps its user namespace.
        pause = place / "run/libpod/tmp/pause.pid"
        if pause.exists():
            os.kill(int(pause.read_text()), signal.SIGKILL)
        shutil.rmtree(place, ignore_errors=True)


def test_in_docker(docker: Call) -> None:
    """Its filter refuses every namespace."""
    full = docker()
    assert "clone: Operation not permitted; namespaces are refused here" in full["error"]
    assert "or: level='best' runs it without namespaces" in full["error"]
    result = docker(level="best")
    assert check(result) == {**all_but("processes"), "limits": False}
    assert not [name for name, did in result["got"].items() if did and name.startswith("proc")]


def test_limits_in_docker(docker: Call) -> None:
    """Its /sys/fs/cgroup is read-only."""
    full = docker(memory="50M", level="full")
    assert "error" in full
    result = docker(memory="100M", pids=10, level="best")
    held = check(result)
    assert held["memory"] is held["pids"] is held["limits"] is False
    refused = docker(memory="100M", level="best", require="memory")
    assert "--require" in refused["error"] or "require=" in refused["error"]
    assert "there is no control group" in refused["error"]


def test_in_podman(podman: Call) -> None:
    """It has user namespaces; its /proc and /sys are covered."""
    full = podman()
    assert "or: level='best' goes on without it" in full["error"]
    result = podman(level="best")
    assert check(result) == {**all_but(), "limits": False}
    assert "/proc is an empty directory" in result["guarantees"]["notes"][0]
