"""``start`` and ``delete`` by the launcher: what it performs is what Python would have done.

``KOKON_SAVED=require`` makes the launcher fail (125) where nothing that was saved is performed, so
every test knows which of the two it saw.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_oci_lifecycle import Runtime, runtime, until

from kokon.paths import PACKAGE
from kokon.plan import saved
from kokon.runtime.oci.record import start_of

__all__ = ["runtime"]

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a bundle's owner is the host's"),
]
NEITHER = 125


@pytest.fixture
def launched(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> Runtime:
    """Its commands are an installed ``kokon-runtime``'s."""
    prefix = runtime.place / "prefix"
    packages = prefix / f"lib/python3.{sys.version_info.minor}/site-packages"
    packages.mkdir(parents=True)
    (packages / "kokon").symlink_to(PACKAGE)
    (prefix / "bin").mkdir()
    command = shutil.copy(f"{PACKAGE}/_programs/launcher", prefix / "bin/kokon-runtime")
    (prefix / "bin/python3").symlink_to(os.path.realpath(sys.executable))

    def words(*told: str) -> list[str]:
        named = [runtime.name(w[1:]) if w.startswith("@") else w for w in told]
        return [str(command), "--root", str(runtime.root), *named]

    monkeypatch.setattr(runtime, "command", words)
    return runtime


def saved_only(runtime: Runtime, *words: str) -> subprocess.CompletedProcess[str]:
    return runtime.call(*words, env={**os.environ, "KOKON_SAVED": "require"})


def create(runtime: Runtime, *before: str) -> int:
    runtime.write()
    runtime.ok(*before, "create", "@a")
    pid: int = runtime.state()["pid"]
    return pid


def end(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


@pytest.mark.parametrize("words", [("delete",), ("delete", "--force")])
def test_a_life(launched: Runtime, words: tuple[str, ...]) -> None:
    pid = create(launched)
    assert saved_only(launched, *words, "@a").returncode == NEITHER
    assert saved_only(launched, "start", "@a").returncode == 0
    assert launched.state()["status"] == "running"
    assert "cannot start a container that is running" in launched.refused("start", "@a")
    assert saved_only(launched, *words, "@a").returncode == NEITHER
    assert launched.state()["status"] == "running"
    end(pid)
    assert saved_only(launched, *words, "@a").returncode == 0
    assert launched.left() == []
    assert "container does not exist" in launched.refused("state", "@a")


def test_the_words_of_engines(launched: Runtime) -> None:
    """containerd says the same before every verb, Podman of its logs to create alone."""
    log = ("--log", str(launched.place / "log"), "--log-format=json")
    for before in (log, ()):
        end(create(launched, *log))
        assert saved_only(launched, *log, "--debug", "delete", "@a").returncode == NEITHER
        assert saved_only(launched, *before, "delete", "--force", "@a").returncode == 0
        assert launched.left() == []


@pytest.mark.parametrize("limit, words", [(1 << 40, "limit nofile to"), (0, "exec format error")])
def test_a_start_that_fails_is_told_by_python(launched: Runtime, limit: int, words: str) -> None:
    if limit:
        above = {"type": "RLIMIT_NOFILE", "soft": limit, "hard": limit}
        launched.config["process"]["rlimits"] = [above]
    else:
        (launched.bundle / "rootfs/bin/bad").write_text("no program\n")
        (launched.bundle / "rootfs/bin/bad").chmod(0o755)
        launched.config["process"]["args"] = ["/bin/bad"]
    told = []
    for mode in ("require", "off"):
        create(launched)
        done = launched.call("start", "@a", env={**os.environ, "KOKON_SAVED": mode})
        told.append((done.returncode, done.stdout, done.stderr))
        until(lambda: launched.state()["status"] == "stopped", "it does not stop")
        launched.ok("delete", "@a")
    assert told[0] == told[1]
    assert told[0][0] == 1
    assert words in told[0][2]


@pytest.mark.parametrize("kind, call", [("poststart", "start"), ("poststop", "delete")])
def test_hooks_are_pythons(launched: Runtime, kind: str, call: str) -> None:
    said = launched.place / "said"
    launched.config["hooks"] = {
        kind: [{"path": "/bin/sh", "args": ["sh", "-c", f"echo {kind} >>{said}"]}]
    }
    pid = create(launched)
    if call == "delete":
        launched.ok("start", "@a")
        end(pid)
    assert saved_only(launched, call, "@a").returncode == NEITHER
    assert not said.exists()
    launched.ok(call, "@a")
    assert said.read_text() == f"{kind}\n"


def test_what_still_runs_is_pythons(launched: Runtime) -> None:
    """A process in its groups that its end has not ended: there is no pid namespace."""
    launched.config["linux"]["namespaces"].remove({"type": "pid"})
    launched.config["process"]["args"] = ["sh", "-c", "sleep 60 & wait"]
    pid = create(launched)
    launched.ok("start", "@a")
    until(lambda: len(launched.ok("ps", "-f", "json", "@a").split(",")) == 2, "it does not run")
    end(pid)
    assert saved_only(launched, "delete", "@a").returncode == NEITHER
    launched.ok("delete", "@a")


def test_what_was_changed_is_pythons(launched: Runtime) -> None:
    pid = create(launched)
    launched.ok("start", "@a")
    record = launched.root / launched.name("a")
    state = (record / "state.json").read_bytes()
    (record / "state.json").write_bytes(state)
    end(pid)
    assert saved_only(launched, "delete", "@a").returncode == NEITHER
    launched.ok("delete", "@a")


def test_a_container_that_is_paused_before_its_start(launched: Runtime) -> None:
    create(launched)
    launched.ok("pause", "@a")
    assert launched.state()["status"] == "paused"
    assert saved_only(launched, "start", "@a").returncode == NEITHER
    assert "cannot start a container that is paused" in launched.refused("start", "@a")
    launched.ok("resume", "@a")
    assert saved_only(launched, "start", "@a").returncode == 0


@pytest.mark.parametrize("damage", ["mode", "cut", "link", "other words", "directory"])
def test_a_file_that_is_not_as_it_was_written(launched: Runtime, damage: str) -> None:
    end(create(launched))
    record = launched.root / launched.name("a")
    names = ["--root", str(launched.root), "delete", launched.name("a")]
    call = record / saved.file_name(names)
    data = call.read_bytes()
    if damage == "mode":
        call.chmod(0o644)
    elif damage == "cut":
        call.write_bytes(data[:-1])
    elif damage == "link":
        call.rename(record / "there")
        call.symlink_to("there")
    elif damage == "other words":
        call.write_bytes(data.replace(b"\0delete\0", b"\0DELETE\0"))
    else:
        record.chmod(0o755)
    assert saved_only(launched, "delete", "@a").returncode == NEITHER
    record.chmod(0o700)
    launched.ok("delete", "@a")


@pytest.mark.parametrize("lives", [True, False])
def test_a_pid_is_a_process_only_with_its_start(launched: Runtime, lives: bool) -> None:
    """Row S4: that number is somebody else's now, who lives on."""
    end(create(launched))
    words = ["--root", str(launched.root), "delete", launched.name("a")]
    call = launched.root / launched.name("a") / saved.file_name(words)
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        begun = start_of(stranger.pid)
        assert begun
        call.write_bytes(
            saved.encode(
                saved.key(words),
                [
                    saved.Record(
                        saved.ENDED,
                        b"/proc/%d/stat" % stranger.pid,
                        b"%d" % (begun if lives else begun - 1),
                    )
                ],
            )
        )
        assert saved_only(launched, "delete", "@a").returncode == (NEITHER if lives else 0)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
    launched.ok("delete", "@a")


def test_of_many_that_delete_one_wins(launched: Runtime) -> None:
    for _ in range(5):
        end(create(launched))
        command = launched.command("delete", "@a")
        callers = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(6)]
        said = [caller.communicate(timeout=20)[1] for caller in callers]
        ended = [caller.returncode for caller in callers]
        assert sorted(ended) == [0, 1, 1, 1, 1, 1]
        assert all(b"does not exist" in words for words in said if words)
        assert launched.left() == []


def test_it_waits_for_who_has_the_lock(launched: Runtime) -> None:
    create(launched)
    lock = Path(launched.root, launched.name("a"), "lock")
    with lock.open() as held:
        import fcntl

        fcntl.flock(held, fcntl.LOCK_EX)
        command = launched.command("start", "@a")
        caller = subprocess.Popen(command, env={**os.environ, "KOKON_SAVED": "require"})
        time.sleep(0.1)
        assert caller.poll() is None
    assert caller.wait(10) == 0
    assert launched.state()["status"] == "running"
