"""The path on a machine with pure cgroup v2 and systemd: run by tests/guest/run inside a guest.

The same tests run as root, as a user in a service of the user's systemd, as a user in a login
session, and as a user without subordinate ids or systemd; KOKON_GUEST says which.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import kokon
from kokon.engine.doctor import examine

MODE = os.environ.get("KOKON_GUEST", "")
pytestmark = pytest.mark.skipif(not MODE, reason="runs inside the guest (make test-guest)")

GROWS = "x=a; while true; do x=$x$x; done"
needs_limits = pytest.mark.skipif(MODE == "single", reason="nobody delegates a cgroup to this user")
needs_ids = pytest.mark.skipif(MODE == "single", reason="this user has a single id")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    busybox = shutil.which("busybox")
    assert busybox, "the guest has busybox"
    path = tmp_path_factory.mktemp("root")
    (path / "bin").mkdir()
    shutil.copy(busybox, path / "bin/busybox")
    for name in ("sh", "id", "cat", "echo", "grep", "touch", "sleep", "mkdir", "hostname"):
        (path / "bin" / name).symlink_to("busybox")
    return str(path)


def mounts() -> list[str]:
    """Our mount table, without what systemd mounts for sessions meanwhile."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in lines if " /run/user/" not in line]


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    before = mounts()
    yield
    assert mounts() == before
    left = subprocess.run(
        ["find", "/sys/fs/cgroup", "-name", "kokon-*"], capture_output=True, text=True, check=False
    ).stdout
    # A scope of systemd goes a moment after its last process.
    for path in left.split():
        if not path.endswith(".scope"):
            assert not Path(path).exists(), left


def run(root: str, script: str, **options: object) -> kokon.CompletedProcess:
    return kokon.run(
        ["/bin/sh", "-c", script], root=root, capture_output=True, text=True, **options
    )


def test_directory(root: str) -> None:
    result = run(root, "id -u; cat /proc/self/cgroup; touch /made && echo written")
    assert result.stdout.split() == ["0", "0::/", "written"]
    assert not Path(root, "made").exists()


def test_built_in_roots() -> None:
    assert run("@host", "ls /home /usr/bin/env").returncode == 0
    result = kokon.run(
        ["python3", "-c", "import ssl; print(6 * 7)"], root="@python", capture_output=True
    )
    assert result.stdout == b"42\n"


@needs_limits
def test_memory_limit(root: str) -> None:
    result = run(root, GROWS, memory="24M", pids=20)
    assert (result.returncode, result.cause) == (-9, "memory")
    assert result.usage.oom_kills == 1
    assert result.usage.peak_memory is not None
    assert 20 << 20 < result.usage.peak_memory <= 24 << 20


@needs_limits
def test_pids_and_cpus(root: str) -> None:
    result = run(root, "for i in 1 2 3 4 5 6 7 8 9; do sleep 1 & done; wait", pids=6, cpus=0.5)
    assert "fork" in result.stderr


@needs_ids
def test_own_ids(root: str) -> None:
    """The range is private for root, subordinate for the user."""
    text = run(root, "cat /proc/self/uid_map").stdout.split()
    assert text[0] == "0"
    assert int(text[-1]) >= 65536
    assert (int(text[1]) >= 0x70000000) if MODE == "root" else (int(text[1]) == os.geteuid())


@needs_ids
def test_other_user(root: str) -> None:
    script = "id -u; id -g; mkdir /tmp/x && echo made"
    result = run(root, script, user="1000:1000", tmpfs=["/tmp:mode=1777"])
    assert result.stdout.split() == ["1000", "1000", "made"]


def test_timeout_ends_all(root: str) -> None:
    with pytest.raises(kokon.TimeoutExpired):
        run(root, "sleep 100 & sleep 100", timeout=1)


@needs_limits
def test_limit_that_is_refused(root: str) -> None:
    with pytest.raises(kokon.HostError, match="swappiness"):
        run(root, "id", memory="50M", memory_swappiness=50)


@needs_limits
def test_limits_of_a_box_and_of_its_programs(root: str) -> None:
    """Also in a login session, where systemd has to move each of them."""
    with kokon.Sandbox(root=root, memory="64M", pids=40) as box:
        box.files.write("/f", "moved")
        assert box.files.read("/f") == b"moved"
        fine = box.run(["/bin/sh", "-c", "cat /f"], capture_output=True)
        assert (fine.stdout, fine.limits_hit, fine.usage.oom_kills) == (b"moved", (), 0)
        own = box.run(["/bin/sh", "-c", GROWS], memory="16M", capture_output=True)
        assert (own.cause, own.limits_hit, own.usage.oom_kills) == ("memory", ("memory",), 1)
        assert own.usage.peak_memory is not None and own.usage.peak_memory <= 16 << 20
        whole = box.run(["/bin/sh", "-c", GROWS], capture_output=True)
        assert (whole.cause, whole.limits_hit) == ("memory", ("memory",))
        forks = "for i in 1 2 3 4 5 6 7 8 9; do sleep 1 & done; wait"
        assert box.run(["/bin/sh", "-c", forks], pids=6, capture_output=True).limits_hit == (
            "processes",
        )
        with box.popen(["sleep", "60"]) as other:
            with pytest.raises(kokon.TimeoutExpired):
                box.run(["/bin/sh", "-c", "sleep 100 & sleep 100"], timeout=0.5)
            assert other.poll() is None
            assert other.usage().pids_peak in (None, 1, 2)
            other.kill()
        used = box.usage()
        assert used is not None and used.oom_kills == 2
        assert 16 << 20 < (used.peak_memory or 0) <= 64 << 20
    assert other.wait() == -9


@needs_limits
def test_many_programs_at_once_in_a_limited_box(root: str) -> None:
    import threading

    with kokon.Sandbox(root=root, pids=100) as box:
        ends: list[int] = []
        threads = [
            threading.Thread(target=lambda: ends.append(box.run(["sleep", "0.05"]).returncode))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert ends == [0] * 8


@pytest.mark.parametrize("limits", [{}, {"memory": "64M"}], ids=str)
def test_nothing_of_the_host_is_open(root: str, tmp_path: Path, limits: dict[str, str]) -> None:
    """Not the group's directory, while a program is looked up or a file is moved."""
    if limits and MODE == "single":
        pytest.skip("nobody delegates a cgroup to this user")
    (tmp_path / "secret").write_text("secret")
    with kokon.Sandbox(root=root, **limits) as box:
        for number in (*range(3, 12), *range(200, 216)):
            way = f"/proc/self/fd/{number}" + "/.." * 14
            box.run(["busybox", "ln", "-sfn", f"{way}{tmp_path}/secret", "/l"])
            with pytest.raises(OSError):
                box.files.read("/l")
            box.run(["busybox", "ln", "-sfn", f"{way}{shutil.which('busybox')}", "/x"])
            for start in (box.run, lambda args: kokon.run(args, root=root, **limits)):
                with pytest.raises(kokon.CommandError):
                    start(["/x", "true"])


@pytest.mark.skipif(MODE != "single", reason="every other one has ids and a cgroup")
def test_what_is_missing_is_said(root: str) -> None:
    with pytest.raises(kokon.HostError, match="best-effort"):
        run(root, "id", memory="50M")
    with pytest.raises(kokon.HostError, match="subordinate ids"):
        run(root, "id", user="1000")
    result = run(root, "cat /proc/self/uid_map; ulimit -v", memory="50M", limits="best-effort")
    assert result.stdout.split() == ["0", str(os.geteuid()), "1", str(50 << 10)]


def test_doctor() -> None:
    """It says what the tests above are about, and how this user gets the rest."""
    report = examine()
    found = {finding.area: finding for finding in report}
    assert report.works, [finding for finding in report if finding.stops]
    assert found["limits"].state == ("missing" if MODE == "single" else "ok")
    assert found["control groups"].found.startswith("version 2")
    if MODE == "single":
        assert found["limits"].remedy == (f"sudo loginctl enable-linger {os.geteuid()}",)
        assert found["subordinate ids"].remedy[0].startswith(f"echo {os.geteuid()}:")


def test_label_that_cannot_be_set(root: str) -> None:
    """AppArmor runs here and has no such profile; SELinux does not run."""
    with pytest.raises(kokon.StepError, match="AppArmor profile"):
        run(root, "id", security_opt=["apparmor=no-such-profile"])
    with pytest.raises(kokon.HostError, match="does not run selinux"):
        run(root, "id", security_opt=["label=system_u:system_r:container_t:s0"])


def test_time_namespace(root: str) -> None:
    """On this guest's Linux (before 6.3) only a child enters it, and others could not vfork."""
    script = "cat /proc/uptime; id -u"
    result = run(root, script, time="boottime=1000000", init=False)
    uptime, *_, user = result.stdout.split()
    assert float(uptime) > 1_000_000 and user == "0"
