"""The Docker Engine with kokon as its default runtime: what a person does with a container."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from engines import Engine, Machine, eventually, image, need_root, runtime

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def docker() -> Iterator[Engine]:
    need_root("dockerd", "docker", "unshare", "iptables")
    machine = Machine()
    place = Path(tempfile.mkdtemp(prefix="kokon-docker-", dir="/var/tmp"))
    parent = place.name
    config = {
        "exec-opts": ["native.cgroupdriver=cgroupfs"], "data-root": f"{place}/data",
        "exec-root": f"{place}/exec", "pidfile": f"{place}/pid", "storage-driver": "overlay2",
        "hosts": [f"unix://{place}/socket"], "cgroup-parent": f"/{parent}",
        "runtimes": {"kokon": {"path": runtime(place)}}, "default-runtime": "kokon",
    }  # fmt: skip
    (place / "daemon.json").write_text(json.dumps(config))
    # In a network of its own it meets no firewall and no bridge of the machine.
    with (place / "log").open("w") as log:
        daemon = subprocess.Popen(
            ["unshare", "--net", "sh", "-c",
             f"ip link set lo up; exec dockerd --config-file {place}/daemon.json"],
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    command = ["docker", "--host", f"unix://{place}/socket"]
    engine = Engine(command, dict(os.environ), "kokon-test:latest", place)
    try:
        eventually(lambda: daemon.poll() is not None or not engine.call("version").returncode, 20)
        done = engine.call("import", image(place), engine.image)
        if done.returncode:
            pytest.skip(f"dockerd does not work here: {(place / 'log').read_text()[-300:]}")
        yield engine
        assert not engine.said("ps", "--all", "--quiet")
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(30)
        # dockerd leaves it.
        subprocess.run(["umount", "-q", f"{place}/exec/netns/default"], check=False)
        shutil.rmtree(place, ignore_errors=True)
    assert eventually(lambda: not machine.left(place, (parent,)), 5), machine.left(place, (parent,))


ALONE = ("--network", "none")
NAMED = ("--detach", "--name")


def test_it_is_kokon(docker: Engine) -> None:
    assert docker.said("info", "--format", "{{.DefaultRuntime}}") == "kokon"
    docker.said("run", *NAMED, "it", docker.image, "sleep", "100")
    try:
        identity = docker.said("inspect", "--format", "{{.Id}}", "it")
        states = list(docker.place.glob(f"exec/runtime-*/moby/{identity}/state.json"))
        assert json.loads(states[0].read_text())["version"] == 1
    finally:
        docker.said("rm", "--force", "it")


def test_a_run(docker: Engine) -> None:
    assert docker.run("echo", "it works") == "it works"
    assert docker.run("cat", options=(*ALONE, "--interactive"), given="in\n") == "in"
    assert docker.ends("sh", "-c", "exit 3", options=ALONE)[0] == 3
    assert (
        docker.run("sh", "-c", "ps", options=(*ALONE, "--init")).splitlines()[1].split()[0] == "1"
    )


@pytest.mark.parametrize(
    ("program", "status", "words"),
    [
        ("nothing", 127, "executable file not found in $PATH"),
        ("/no/such", 127, "no such file or directory"),
        ("/etc/passwd", 126, "permission denied"),
    ],
)
def test_a_program_that_cannot_run(docker: Engine, program: str, status: int, words: str) -> None:
    got, said = docker.ends(program, options=ALONE)
    assert got == status and words in said


def test_what_a_container_is_given(docker: Engine) -> None:
    volume = docker.place / "volume"
    volume.mkdir()
    options = (
        *ALONE, "--read-only", "--volume", f"{volume}:/var/run/volume", "--user", "1000:1000",
        "--hostname", "cocoon", "--cap-drop", "ALL", "--env", "A=B",
        "--tmpfs", "/scratch:mode=1777", "--sysctl", "net.ipv4.ip_forward=1",
    )  # fmt: skip
    volume.chmod(0o777)
    said = docker.run(
        "sh", "-c", "touch /x; echo v > /run/volume/f; echo s > /scratch/f; id -u; echo $HOME; cat"
        " /proc/sys/kernel/hostname; echo $A; grep CapEff /proc/self/status; cat /scratch/f;"
        " cat /proc/sys/net/ipv4/ip_forward",
        options=options,
    )  # fmt: skip
    assert said.split() == ["1000", "/tmp", "cocoon", "B", "CapEff:", "0" * 16, "s", "1"]
    assert (volume / "f").stat().st_uid == 1000


def test_devices(docker: Engine) -> None:
    status, said = docker.ends(
        "sh", "-c", "mknod /x c 1 3 && echo a > /x && mknod /dev/y b 254 0 && cat /dev/y",
        options=ALONE,
    )  # fmt: skip
    assert status == 1 and "can't open '/dev/y': Operation not permitted" in said


def test_memory_runs_out(docker: Engine) -> None:
    status, _ = docker.ends(
        "dd", "if=/dev/zero", "of=/dev/null", "bs=60M", "count=1",
        options=(*ALONE, "--memory", "20m", "--memory-swap", "20m"),
    )  # fmt: skip
    assert status == 137


def test_its_network(docker: Engine) -> None:
    """Made by a hook of Docker's; a port of the machine leads into it."""
    docker.said(
        "run", *NAMED, "web", "--publish", "8099:80", docker.image,
        "sh", "-c", "echo a page > /tmp/index.html; httpd -f -p 80 -h /tmp",
    )  # fmt: skip
    try:
        daemon = (docker.place / "pid").read_text()
        fetch = ["nsenter", "--target", daemon, "--net", BUSYBOX, "wget", "-qO-",
                 "http://127.0.0.1:8099/"]  # fmt: skip

        def fetched() -> bool:
            return subprocess.run(fetch, capture_output=True, text=True).stdout == "a page\n"

        assert eventually(fetched)
        shared = docker.run("ls", "/sys/class/net", options=("--network", "container:web"))
        assert "eth0" in shared.split()
        assert "docker0" in docker.run("ls", "/sys/class/net", options=("--network", "host"))
    finally:
        docker.said("rm", "--force", "web")


BUSYBOX = "/bin/busybox"


def test_a_life(docker: Engine) -> None:
    script = 'echo up; trap "echo down; exit 7" TERM; while :; do sleep 0.1; done'
    docker.said("run", *NAMED, "life", *ALONE, docker.image, "sh", "-c", script)

    def status() -> str:
        return docker.said("inspect", "--format", "{{.State.Status}}", "life")

    try:
        assert status() == "running"
        assert eventually(lambda: docker.said("logs", "life") == "up")
        docker.said("pause", "life")
        assert status() == "paused"
        docker.said("unpause", "life")
        assert "sleep 0.1" in docker.said("top", "life")
        name, used = docker.said(
            "stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}", "life"
        ).split(maxsplit=1)  # fmt: skip
        assert name == "life" and not used.startswith("0B")
        docker.said("stop", "--time", "5", "life")
        assert docker.said("inspect", "--format", "{{.State.ExitCode}}", "life") == "7"
        assert docker.said("logs", "life").split() == ["up", "down"]
        docker.said("start", "life")
        docker.said("restart", "--time", "1", "life")
        docker.said("kill", "life")
        assert docker.said("wait", "life") == "137"
    finally:
        docker.said("rm", "--force", "life")


def test_limits_change(docker: Engine) -> None:
    docker.said("run", *NAMED, "limited", *ALONE, docker.image, "sleep", "100")
    try:
        docker.said("update", "--memory", "64m", "--memory-swap", "64m", "--cpus", "0.5", "limited")
        used = docker.said("stats", "--no-stream", "--format", "{{.MemUsage}}", "limited")
        assert used.endswith("/ 64MiB")
    finally:
        docker.said("rm", "--force", "limited")


def test_programs_of_a_container(docker: Engine) -> None:
    docker.said(
        "run", *NAMED, "host", *ALONE, "--health-cmd", "true", "--health-interval", "1s",
        docker.image, "sleep", "100",
    )  # fmt: skip
    try:
        assert docker.said("exec", "host", "echo", "in") == "in"
        assert docker.call("exec", "host", "sh", "-c", "exit 9").returncode == 9
        assert docker.call("exec", "host", "nothing").returncode == 126
        said = docker.said(
            "exec", "--user", "1000", "--workdir", "/tmp", "--env", "A=B", "host",
            "sh", "-c", "id -u; pwd; echo $A",
        )  # fmt: skip
        assert said.split() == ["1000", "/tmp", "B"]
        assert docker.said("exec", "--interactive", "host", "cat", given="x") == "x"
        health = ("inspect", "--format", "{{.State.Health.Status}}", "host")
        assert eventually(lambda: docker.said(*health) == "healthy")
    finally:
        docker.said("rm", "--force", "host")


def test_it_is_restarted(docker: Engine) -> None:
    docker.said(
        "run", *NAMED, "again", *ALONE, "--restart", "on-failure:2", docker.image,
        "sh", "-c", "exit 1",
    )  # fmt: skip
    try:
        asked = ("inspect", "--format", "{{.RestartCount}} {{.State.Status}}", "again")
        assert eventually(lambda: docker.said(*asked) == "2 exited")
    finally:
        docker.said("rm", "--force", "again")


def test_a_build(docker: Engine) -> None:
    context = docker.place / "context"
    context.mkdir()
    (context / "Dockerfile").write_text(
        f"FROM {docker.image}\nRUN echo built > /built && test $(id -u) = 0\nCMD cat /built\n"
    )
    docker.said("build", "--quiet", "--tag", "built", str(context))
    assert docker.said("run", "--rm", "built") == "built"
