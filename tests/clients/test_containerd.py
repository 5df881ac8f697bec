"""containerd and its shim with kokon in runC's place, driven by ctr."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from engines import Engine, Machine, eventually, image, need_root, runtime

pytestmark = pytest.mark.kernel

SPACE = "kokon-test"
"""The namespace, of which the control groups have their name."""


@pytest.fixture(scope="module")
def ctr() -> Iterator[Engine]:
    need_root("containerd", "ctr", "containerd-shim-runc-v2")
    machine = Machine()
    place = Path(tempfile.mkdtemp(prefix="kokon-ctr-", dir="/var/tmp"))
    (place / "config.toml").write_text(
        f'version = 2\nroot = "{place}/root"\nstate = "{place}/state"\n'
        f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "{place}/socket"\n'
        f'[plugins."io.containerd.internal.v1.opt"]\npath = "{place}/opt"\n'
    )
    with (place / "log").open("w") as log:
        daemon = subprocess.Popen(
            ["containerd", "--config", f"{place}/config.toml"], stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    command = ["ctr", "--address", f"{place}/socket", "--namespace", SPACE]
    engine = Engine(command, dict(os.environ), runtime(place), place)
    rootfs = place / "rootfs"
    try:
        up = eventually(lambda: daemon.poll() is not None or not engine.call("version").returncode)
        if not up or daemon.poll() is not None:
            pytest.skip(f"containerd does not work here: {(place / 'log').read_text()[-300:]}")
        image(place)
        (place / "image").rename(rootfs)
        yield engine
        assert not engine.said("containers", "list", "--quiet")
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(30)
        shutil.rmtree(place, ignore_errors=True)
        shutil.rmtree(f"/run/containerd/runc/{SPACE}", ignore_errors=True)
    assert eventually(lambda: not machine.left(place, (SPACE,)), 5), machine.left(place, (SPACE,))


def run(ctr: Engine, *words: str, options: tuple[str, ...] = ()) -> list[str]:
    """The words that run a container of our root."""
    return ["run", "--runc-binary", ctr.image, "--rootfs", *options, f"{ctr.place}/rootfs", *words]


def test_a_run(ctr: Engine) -> None:
    once = ("--rm",)
    assert ctr.said(*run(ctr, "c", "echo", "it works", options=once)) == "it works"
    assert ctr.call(*run(ctr, "c", "sh", "-c", "exit 3", options=once)).returncode == 3
    missing = ctr.call(*run(ctr, "c", "nothing", options=once))
    assert missing.returncode == 1
    assert 'exec: "nothing": executable file not found in $PATH' in missing.stderr
    options = (*once, "--read-only", "--memory-limit", "20000000", "--seccomp")
    said = ctr.said(*run(
        ctr, "c", "sh", "-c", "touch /x; grep Seccomp: /proc/self/status; cat /proc/self/cgroup",
        options=options,
    ))  # fmt: skip
    assert said.split()[:2] == ["Seccomp:", "2"]
    assert all(line.endswith(f"/{SPACE}/c") for line in said.splitlines()[1:])


def test_a_terminal(ctr: Engine) -> None:
    near, far = pty.openpty()
    try:
        done = subprocess.Popen(
            [*ctr.command, *run(ctr, "t", "tty", options=("--rm", "--tty"))],
            stdin=far, stdout=far, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        assert done.wait(30) == 0
        assert b"/dev/pts/0" in os.read(near, 1000)
    finally:
        os.close(near)
        os.close(far)


def test_what_it_is_given(ctr: Engine) -> None:
    volume = ctr.place / "volume"
    volume.mkdir()
    options = (
        "--rm", "--env", "A=B", "--cwd", "/tmp", "--cap-drop", "CAP_CHOWN", "--net-host",
        "--mount", f"type=bind,src={volume},dst=/volume,options=rbind:rw",
        "--mount", f"type=bind,src={volume},dst=/fixed,options=rbind:ro",
        "--rootfs-propagation", "slave",
    )  # fmt: skip
    said = ctr.said(*run(
        ctr, "g", "sh", "-c", "echo v > /volume/f; touch /fixed/f 2>/dev/null || cat /fixed/f;"
        " echo $A; pwd; grep CapEff /proc/self/status; ls /sys/class/net",
        options=options,
    )).split()  # fmt: skip
    assert said[:3] == ["v", "B", "/tmp"]
    assert not int(said[4], 16) & 1
    assert set(said[5:]) == set(os.listdir("/sys/class/net"))


def test_a_privileged_one(ctr: Engine) -> None:
    said = ctr.said(*run(ctr, "p", "ls", "/dev", options=("--rm", "--privileged")))
    assert {"null", "ptmx", "pts"} <= set(said.split())


def test_a_life(ctr: Engine) -> None:
    script = 'trap "exit 5" TERM; while :; do sleep 0.1; done'
    ctr.said(*run(ctr, "life", "sh", "-c", script, options=("--detach",)))

    def status() -> str:
        rows = [line.split() for line in ctr.said("tasks", "list").splitlines()]
        return next(row[2] for row in rows if row[0] == "life")

    try:
        assert status() == "RUNNING"
        ctr.said("tasks", "pause", "life")
        assert status() == "PAUSED"
        ctr.said("tasks", "resume", "life")
        assert status() == "RUNNING"
        assert ctr.said("tasks", "exec", "--exec-id", "e", "life", "echo", "in") == "in"
        failed = ctr.call("tasks", "exec", "--exec-id", "f", "life", "sh", "-c", "exit 9")
        assert failed.returncode == 9
        given = ("--exec-id", "g", "--user", "1000", "--cwd", "/tmp")
        said = ctr.said("tasks", "exec", *given, "life", "sh", "-c", "id -u; pwd")
        assert said.split() == ["1000", "/tmp"]
        missing = ctr.call("tasks", "exec", "--exec-id", "h", "life", "nothing")
        assert 'exec: "nothing": executable file not found in $PATH' in missing.stderr
        saved = ctr.call("tasks", "checkpoint", "--image-path", f"{ctr.place}/saved", "life")
        assert saved.returncode and "checkpoint" in saved.stderr
        assert status() == "RUNNING"
        assert len(ctr.said("tasks", "ps", "life").splitlines()) >= 2
        metrics = dict(
            line.split(maxsplit=1) for line in ctr.said("tasks", "metrics", "life").splitlines()
            if "." in line.split(" ")[0]
        )  # fmt: skip
        used = metrics.get("memory.usage_in_bytes") or metrics["memory.usage"]
        assert int(used) > 0 and int(metrics["pids.current"]) >= 1
        ctr.said("tasks", "kill", "life")
        assert eventually(lambda: status() == "STOPPED")
        done = ctr.call("tasks", "delete", "life")
        assert done.returncode == 0 and "code 5" in done.stderr
    finally:
        ctr.call("tasks", "delete", "--force", "life")
        ctr.call("containers", "delete", "life")


def test_one_that_is_ended_by_force(ctr: Engine) -> None:
    ctr.said(*run(ctr, "force", "sleep", "100", options=("--detach",)))
    done = ctr.call("tasks", "delete", "--force", "force")
    assert done.returncode == 0 and "code 137" in done.stderr
    ctr.said("containers", "delete", "force")
