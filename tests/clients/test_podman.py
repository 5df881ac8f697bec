"""Podman with kokon as its runtime, as root: what a person does with a container."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from engines import Engine, Machine, eventually, image, need_root, runtime

from kokon.kernel import cgroups

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def podman() -> Iterator[Engine]:
    need_root("podman", "conmon")
    machine = Machine()
    place = Path(tempfile.mkdtemp(prefix="kokon-podman-", dir="/var/tmp"))
    # Whoever lacks CAP_SYS_RESOURCE cannot have Podman's own limits.
    (place / "containers.conf").write_text(
        '[containers]\ndefault_ulimits=["nofile=1000:1000","nproc=10000:10000"]\n'
        '[engine]\nevents_logger="file"\n'
    )
    command = [
        "podman", "--cgroup-manager", "cgroupfs", "--root", f"{place}/root",
        "--runroot", f"{place}/run", "--tmpdir", f"{place}/tmp", "--runtime", runtime(place),
    ]  # fmt: skip
    environment = {**os.environ, "CONTAINERS_CONF": f"{place}/containers.conf"}
    engine = Engine(command, environment, "localhost/kokon-test:latest", place)
    done = engine.call("import", image(place), engine.image)
    try:
        if done.returncode:
            pytest.skip(f"podman does not work here: {done.stderr.strip()[-300:]}")
        yield engine
        assert not engine.said("ps", "--all", "--quiet")
    finally:
        engine.call("rm", "--all", "--force", "--time", "0")
        for name in ("overlay", ""):
            subprocess.run(["umount", "-q", f"{place}/root/{name}"], capture_output=True)
        shutil.rmtree(place, ignore_errors=True)
    assert eventually(lambda: not machine.left(place, ("libpod_parent", "conmon")), 5), (
        machine.left(place, ("libpod_parent", "conmon"))
    )


ALONE = ("--network", "none")


def test_a_run(podman: Engine) -> None:
    assert podman.run("echo", "it works", options=ALONE) == "it works"
    assert podman.run("cat", options=(*ALONE, "--interactive"), given="in\n") == "in"
    assert podman.ends("sh", "-c", "exit 3", options=ALONE)[0] == 3
    assert podman.ends("sh", "-c", "kill -9 $$", options=(*ALONE, "--init=false"))[0] in (0, 137)


@pytest.mark.parametrize(
    ("program", "status", "words"),
    [
        ("nothing", 127, "executable file not found in $PATH"),
        ("/no/such", 127, "no such file or directory"),
        ("/etc/passwd", 126, "permission denied"),
        ("/etc", 126, "permission denied"),
    ],
)
def test_a_program_that_cannot_run(podman: Engine, program: str, status: int, words: str) -> None:
    got, said = podman.ends(program, options=ALONE)
    assert got == status and words in said


def test_a_terminal(podman: Engine) -> None:
    said = podman.run("sh", "-c", "tty; ls /dev/console", options=(*ALONE, "--tty"))
    assert said.split() == ["/dev/pts/0", "/dev/console"]


def test_what_a_container_is_given(podman: Engine) -> None:
    volume = podman.place / "volume"
    volume.mkdir()
    options = (
        *ALONE, "--read-only", "--volume", f"{volume}:/volume", "--user", "1000:1000",
        "--hostname", "cocoon", "--cap-drop", "ALL", "--env", "A=B",
        "--tmpfs", "/scratch:mode=1777",
    )  # fmt: skip
    volume.chmod(0o777)
    said = podman.run(
        "sh", "-c", "touch /x; echo v > /volume/f; echo s > /scratch/f; id -u; id -g; cat"
        " /proc/sys/kernel/hostname; echo $A; grep CapEff /proc/self/status; cat /scratch/f",
        options=options,
    )  # fmt: skip
    assert said.split() == ["1000", "1000", "cocoon", "B", "CapEff:", "0" * 16, "s"]
    assert (volume / "f").read_text() == "v\n"
    assert (volume / "f").stat().st_uid == 1000


def test_limits(podman: Engine) -> None:
    options = (*ALONE, "--detach", "--memory", "50m", "--pids-limit", "20", "--name", "limited")
    podman.said("run", *options, podman.image, "sleep", "100")
    try:
        pid = podman.said("inspect", "--format", "{{.State.Pid}}", "limited")
        groups = dict(
            line.split(":", 2)[1:] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()
        )
        # In every hierarchy of the machine: engines look where /proc says.
        assert all("libpod-" in path for path in groups.values()), groups
        stats = json.loads(podman.said("stats", "--no-stream", "--format", "json", "limited"))
        assert stats[0]["name"] == "limited" and "52.43MB" in stats[0]["mem_usage"]
        assert "sleep 100" in podman.said("top", "limited", "args")
    finally:
        podman.said("rm", "--force", "--time", "0", "limited")


def test_networks(podman: Engine) -> None:
    assert podman.run("ls", "/sys/class/net", options=ALONE) == "lo"
    host = podman.run("ls", "/sys/class/net", options=("--network", "host")).split()
    assert sorted(host) == sorted(os.listdir("/sys/class/net"))


def test_devices(podman: Engine) -> None:
    said = podman.ends(
        "sh", "-c", "mknod /x c 1 3 && echo a > /x && mknod /dev/y b 254 0 && cat /dev/y",
        options=(*ALONE, "--cap-add", "MKNOD"),
    )  # fmt: skip
    assert said[0] == 1 and "can't open '/dev/y': Operation not permitted" in said[1]
    assert "/dev/null" in podman.run("ls", "/dev/null", options=(*ALONE, "--privileged"))


def test_filters(podman: Engine) -> None:
    profile = podman.place / "profile.json"
    profile.write_text(json.dumps({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}],
    }))  # fmt: skip
    options = (*ALONE, "--security-opt", f"seccomp={profile}")
    status, said = podman.ends("mkdir", "/tmp/d", options=options)
    assert status == 1 and "Operation not permitted" in said
    asked = ("grep", "Seccomp:", "/proc/self/status")
    assert podman.run(*asked, options=ALONE).split() == ["Seccomp:", "2"]
    assert podman.run(*asked, options=(*ALONE, "--privileged")).split() == ["Seccomp:", "0"]


def test_an_init(podman: Engine) -> None:
    """Podman's own, which it puts in as process 1."""
    if not any(map(os.path.exists, ("/usr/libexec/podman/catatonit", "/usr/bin/catatonit"))):
        pytest.skip("needs catatonit")
    said = podman.run("cat", "/proc/1/comm", options=(*ALONE, "--init"))
    assert said in ("podman-init", "catatonit")
    script = "sleep 100 & sleep 100"
    options = ("--detach", "--name", "init", "--init", *ALONE)
    podman.said("run", *options, podman.image, "sh", "-c", script)
    try:
        # Without it, process 1 would not hear the signal.
        podman.said("stop", "--time", "30", "init")
        assert podman.said("inspect", "--format", "{{.State.ExitCode}}", "init") == "143"
    finally:
        podman.said("rm", "--force", "--time", "0", "init")


def test_limits_change(podman: Engine) -> None:
    options = ("--detach", "--name", "changed", "--memory", "50m", *ALONE)
    podman.said("run", *options, podman.image, "sleep", "100")
    try:
        podman.said("update", "--memory", "60m", "--memory-swap", "60m", "--cpus", "0.5", "changed")
        # `podman stats` goes on showing the first limit, with any runtime.
        pid = podman.said("inspect", "--format", "{{.State.Pid}}", "changed")
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
        path = next(line.split(":")[2] for line in lines if "libpod-" in line)
        limits = [
            Path(tree.mount_point, path.lstrip("/"), name)
            for tree in cgroups.read().hierarchies
            for name in ("memory.limit_in_bytes", "memory.max")
        ]
        assert [f.read_text() for f in limits if f.exists()] == [f"{60 << 20}\n"]
    finally:
        podman.said("rm", "--force", "--time", "0", "changed")


def test_health(podman: Engine) -> None:
    check = "test -e /tmp/well"
    options = ("--detach", "--name", "patient", "--health-cmd", check, "--health-retries", "1",
               "--health-interval", "disable", *ALONE)  # fmt: skip
    podman.said("run", *options, podman.image, "sleep", "100")
    try:
        assert podman.call("healthcheck", "run", "patient").returncode == 1
        asked = ("inspect", "--format", "{{.State.Health.Status}}", "patient")
        assert podman.said(*asked) == "unhealthy"
        podman.said("exec", "patient", "touch", "/tmp/well")
        podman.said("healthcheck", "run", "patient")
        assert podman.said(*asked) == "healthy"
    finally:
        podman.said("rm", "--force", "--time", "0", "patient")


def test_it_is_restarted(podman: Engine) -> None:
    options = ("--detach", "--name", "again", "--restart", "on-failure:2", *ALONE)
    podman.said("run", *options, podman.image, "sh", "-c", "exit 1")
    try:
        asked = ("inspect", "--format", "{{.RestartCount}} {{.State.Status}}", "again")
        assert eventually(lambda: podman.said(*asked) == "2 exited")
    finally:
        podman.said("rm", "--force", "--time", "0", "again")


def test_a_life(podman: Engine) -> None:
    script = 'echo up; trap "echo down; exit 7" TERM; while :; do sleep 0.1; done'
    podman.said("create", "--name", "life", *ALONE, podman.image, "sh", "-c", script)

    def status() -> str:
        return podman.said("inspect", "--format", "{{.State.Status}}", "life")

    try:
        assert status() == "created"
        podman.said("start", "life")
        assert status() == "running"
        assert eventually(lambda: podman.said("logs", "life") == "up")
        podman.said("pause", "life")
        assert status() == "paused"
        podman.said("unpause", "life")
        assert status() == "running"
        podman.said("kill", "--signal", "WINCH", "life")
        podman.said("stop", "--time", "5", "life")
        assert podman.said("inspect", "--format", "{{.State.ExitCode}}", "life") == "7"
        assert podman.said("logs", "life").split() == ["up", "down"]
        podman.said("start", "life")
        podman.said("kill", "life")
        assert podman.said("wait", "life") == "137"
        podman.said("start", "life")
    finally:
        podman.said("rm", "--force", "--time", "0", "life")


def test_programs_of_a_container(podman: Engine) -> None:
    podman.said("run", "--detach", "--name", "host", *ALONE, podman.image, "sleep", "100")
    try:
        assert podman.said("exec", "host", "echo", "in") == "in"
        assert podman.call("exec", "host", "sh", "-c", "exit 9").returncode == 9
        missing = podman.call("exec", "host", "nothing")
        assert missing.returncode == 127
        said = podman.said(
            "exec", "--user", "1000", "--workdir", "/tmp", "--env", "A=B", "host",
            "sh", "-c", "id -u; pwd; echo $A",
        )  # fmt: skip
        assert said.split() == ["1000", "/tmp", "B"]
        assert podman.said("exec", "--interactive", "host", "cat", given="x") == "x"
        assert podman.said("exec", "--tty", "host", "tty").strip() == "/dev/pts/0"
    finally:
        podman.said("rm", "--force", "--time", "0", "host")
