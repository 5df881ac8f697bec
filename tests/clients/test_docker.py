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
    # BuildKit takes what is called runc, whatever the default runtime is.
    (place / "bin").mkdir()
    (place / "bin/runc").write_text(
        f'#!/bin/sh\ntouch {place}/called\nexec {place}/kokon-runtime "$@"\n'
    )
    (place / "bin/runc").chmod(0o755)
    # In a network of its own it meets no firewall and no bridge of the machine.
    with (place / "log").open("w") as log:
        daemon = subprocess.Popen(
            ["unshare", "--net", "sh", "-c",
             f"ip link set lo up; exec dockerd --config-file {place}/daemon.json"],
            stdout=log, stderr=log, start_new_session=True,
            env={**os.environ, "PATH": f"{place}/bin:{os.environ['PATH']}"},
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
    names = (parent, "buildkit")
    assert eventually(lambda: not machine.left(place, names), 5), machine.left(place, names)


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
    # The shim looks for it only when `start` has returned.
    docker.said(
        "run", *NAMED, "hungry", *ALONE, "--memory", "20m", "--memory-swap", "20m", docker.image,
        "sh", "-c", "sleep 1; exec dd if=/dev/zero of=/dev/null bs=60M count=1",
    )  # fmt: skip
    try:
        assert docker.said("wait", "hungry") == "137"
        assert docker.said("inspect", "--format", "{{.State.OOMKilled}}", "hungry") == "true"
    finally:
        docker.said("rm", "--force", "hungry")


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


def test_names_in_a_network(docker: Engine) -> None:
    """Docker's own resolver, in the network of each container that has a network of its own."""
    docker.said("network", "create", "ours")
    try:
        page = "echo a page > /tmp/index.html; exec httpd -f -p 80 -h /tmp"
        docker.said(
            "run", *NAMED, "named", "--network", "ours", docker.image, "sh", "-c", page
        )  # fmt: skip
        fetch = ("sh", "-c", "until wget -qO- http://named/; do sleep 0.1; done")
        assert docker.run(*fetch, options=("--network", "ours")) == "a page"
    finally:
        docker.call("rm", "--force", "named")
        docker.said("network", "rm", "ours")


BUSYBOX = "/bin/busybox"


def test_a_terminal(docker: Engine) -> None:
    said = docker.run("sh", "-c", "tty; ls /dev/console", options=(*ALONE, "--tty"))
    assert said.split() == ["/dev/pts/0", "/dev/console"]
    docker.said("run", *NAMED, "terminal", *ALONE, docker.image, "sleep", "100")
    try:
        assert docker.said("exec", "--tty", "terminal", "tty") == "/dev/pts/0"
    finally:
        docker.said("rm", "--force", "terminal")


def test_more_and_less_than_the_default(docker: Engine) -> None:
    profile = docker.place / "profile.json"
    profile.write_text(json.dumps({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}],
    }))  # fmt: skip
    options = (*ALONE, "--security-opt", f"seccomp={profile}")
    status, said = docker.ends("mkdir", "/tmp/d", options=options)
    assert status == 1 and "Operation not permitted" in said
    script = "mount -t tmpfs none /tmp && grep Seccomp: /proc/self/status; ls /dev/full"
    said = docker.run("sh", "-c", script, options=(*ALONE, "--privileged"))
    assert said.split() == ["Seccomp:", "0", "/dev/full"]
    said = docker.run(
        "grep", "NoNewPrivs", "/proc/self/status",
        options=(*ALONE, "--security-opt", "no-new-privileges"),
    )  # fmt: skip
    assert said.split() == ["NoNewPrivs:", "1"]


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
        assert docker.call("exec", "host", "nothing").returncode in (126, 127)  # 127 since 25
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
    docker.said("run", *NAMED, "always", *ALONE, "--restart", "always", docker.image, "sleep", "9")
    try:
        process = ("inspect", "--format", "{{.State.Pid}}", "always")
        first = docker.said(*process)
        os.kill(int(first), signal.SIGKILL)
        assert eventually(lambda: docker.said(*process) not in ("0", first))
        docker.said("stop", "--time", "0", "always")
        assert docker.said(*process) == "0"
    finally:
        docker.said("rm", "--force", "always")


@pytest.mark.parametrize("buildkit", ["0", "1"])
def test_a_build(docker: Engine, buildkit: str) -> None:
    """By the daemon's older builder with the default runtime, and by BuildKit in the daemon."""
    context = docker.place / f"context{buildkit}"
    context.mkdir()
    (context / "Dockerfile").write_text(
        f"FROM {docker.image}\nRUN echo built > /built && test $(id -u) = 0\nUSER 1000\n"
        "WORKDIR /tmp\nRUN id -u > by\nCMD cat /built /tmp/by\n"
    )
    environment = {**docker.environment, "DOCKER_BUILDKIT": buildkit}
    (docker.place / "called").unlink(missing_ok=True)  # newer daemons ask for its features
    options = ("build", "--force-rm", "--no-cache", "--tag", "built")
    # A newer client without its buildx has an older one beside it that needs none.
    for client in ("docker", "/usr/bin/docker"):
        builder = Engine([client, *docker.command[1:]], environment, "built", docker.place)
        done = builder.call(*options, str(context))
        if "buildx component is missing" not in done.stderr:
            break
    else:
        pytest.skip("needs docker-buildx")
    assert done.returncode == 0, done.stderr
    assert docker.said("run", "--rm", "built").split() == ["built", "1000"]
    assert (docker.place / "called").exists() == (buildkit == "1")
    (context / "Dockerfile").write_text(f"FROM {docker.image}\nRUN exit 3\n")
    failed = builder.call(*options, str(context))
    assert failed.returncode and "code: 3" in failed.stderr


COMPOSE = """
version: "3"
services:
  web:
    image: {image}
    command: sh -c "echo a page > /tmp/index.html; exec httpd -f -p 80 -h /tmp"
    stop_grace_period: 0s
  asks:
    image: {image}
    command: sh -c "until wget -qO- http://web/; do sleep 0.1; done; sleep 100"
    depends_on: [web]
    stop_grace_period: 0s
"""


def test_compose(docker: Engine) -> None:
    if not shutil.which("docker-compose"):
        pytest.skip("needs docker-compose")
    file = docker.place / "compose.yml"
    file.write_text(COMPOSE.format(image=docker.image))
    command = ["docker-compose", *docker.command[1:], "--file", str(file), "--project-name", "two"]
    compose = Engine(command, docker.environment, docker.image, docker.place)
    try:
        compose.said("up", "--detach", "--scale", "web=2")
        running = ("ps", "--quiet", "--filter", "label=com.docker.compose.service=web")
        assert len(docker.said(*running).split()) == 2
        assert eventually(lambda: "a page" in compose.said("logs", "asks"))
    finally:
        compose.said("down")


def test_swarm(docker: Engine) -> None:
    """One node; its services are in the node's network."""

    def tasks() -> list[str]:
        return docker.said("ps", "--quiet", "--filter", "name=sleeper").split()

    docker.said("swarm", "init", "--advertise-addr", "127.0.0.1", "--listen-addr", "127.0.0.1")
    try:
        docker.said(
            "service", "create", "--detach", "--name", "sleeper", "--network", "host",
            "--replicas", "2", "--restart-delay", "100ms", "--stop-grace-period", "0s",
            "--limit-memory", "64M", docker.image, "sleep", "1000",
        )  # fmt: skip
        assert eventually(lambda: len(tasks()) == 2, 20)
        first, second = tasks()
        assert "docker0" in docker.said("exec", first, "ls", "/sys/class/net")
        docker.said("kill", first)
        assert eventually(lambda: len(tasks()) == 2 and first not in tasks(), 20)
        assert second in tasks()
        docker.said("service", "scale", "--detach", "sleeper=3")
        assert eventually(lambda: len(tasks()) == 3, 20)
        docker.said("service", "scale", "--detach", "sleeper=1")
        assert eventually(lambda: len(tasks()) == 1, 20)
        docker.said("service", "rm", "sleeper")
        assert eventually(lambda: not tasks(), 20)
    finally:
        docker.said("swarm", "leave", "--force")
    assert eventually(lambda: not docker.said("ps", "--all", "--quiet"), 20)
