"""The life of OCI containers by the command line of runC, and that nothing of them is left."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from leftovers import busybox_root, children, groups_of

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a bundle's owner is the host's"),
]

COMMAND = (sys.executable, "-m", "kokon.cli.oci.main")
PR_SET_CHILD_SUBREAPER = 36
NAMESPACES = ("pid", "mount", "ipc", "uts", "network", "cgroup")


class Runtime:
    """kokon-runtime with a root directory and a bundle of its own.

    :ivar prefix: how the ids, and so the control groups, of this test begin.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.prefix = f"t{os.getpid()}x{time.monotonic_ns() % 10**9}"
        self.root = place / "state"
        self.bundle = place / "bundle"
        self.bundle.mkdir()
        busybox_root(self.bundle / "rootfs")
        self.config: dict[str, Any] = {
            "ociVersion": "1.3.0",
            "root": {"path": "rootfs"},
            "process": {
                "cwd": "/", "args": ["sleep", "60"], "env": ["PATH=/bin", "A=1"],
                "user": {"uid": 0, "gid": 0},
                "capabilities": {"bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"],
                                 "effective": ["CAP_KILL"]},
            },
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
                {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                 "options": ["newinstance", "ptmxmode=0666", "mode=0620"]},
            ],
            "linux": {
                "namespaces": [{"type": kind} for kind in NAMESPACES],
                "seccomp": {
                    "defaultAction": "SCMP_ACT_ALLOW",
                    "syscalls": [{"names": ["sethostname"], "action": "SCMP_ACT_ERRNO",
                                  "errnoRet": 95}],
                },
            },
        }  # fmt: skip

    def name(self, word: str) -> str:
        return f"{self.prefix}-{word}"

    def write(self) -> None:
        (self.bundle / "config.json").write_text(json.dumps(self.config))

    def command(self, *words: str) -> list[str]:
        """``@NAME`` in a word is an id of this test."""
        told = [self.name(w[1:]) if w.startswith("@") else w for w in words]
        return [*COMMAND, "--root", str(self.root), *told]

    def call(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """One command; its output goes to files: a container keeps them open."""
        out, err = self.place / "out", self.place / "err"
        with open(out, "w") as output, open(err, "w") as errors:
            command = subprocess.Popen(
                self.command(*words), cwd=self.bundle, stdin=subprocess.DEVNULL, stdout=output,
                stderr=errors, **options,
            )  # fmt: skip
            end = time.monotonic() + 30
            while command.poll() is None:
                assert time.monotonic() < end, words
                time.sleep(0.002)
                if words[0] == "delete":
                    # A first process is there until all of its pid namespace are reaped.
                    _reap(command.pid)
        return subprocess.CompletedProcess(
            words, command.returncode, out.read_text(), err.read_text()
        )

    def ok(self, *words: str, **options: Any) -> str:
        done = self.call(*words, **options)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, name: str = "@a") -> None:
        """A container that runs."""
        self.write()
        self.ok("create", name)
        self.ok("start", name)

    def state(self, name: str = "@a") -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ok("state", name))
        return found

    def refused(self, *words: str, status: int = 1) -> str:
        done = self.call(*words)
        assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
        return done.stderr

    def left(self) -> list[str]:
        """What is left of this test's containers."""
        left = [f"group {path}" for path in groups_of(self.prefix)]
        if self.root.exists():
            left += [f"state {name}" for name in os.listdir(self.root)]
        return left


def _reap(*others: int) -> list[int]:
    """Takes the ends of what came to us, as an engine does; the pids of what still runs."""
    for pid in children():
        if pid not in others:
            os.waitpid(pid, os.WNOHANG)
    return children()


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    runtime = Runtime(tmp_path)
    prctl = ctypes.CDLL(None).prctl
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    before = set(_reap())
    try:
        yield runtime
        for name in os.listdir(runtime.root) if runtime.root.exists() else ():
            runtime.ok("delete", "--force", name)
        assert runtime.left() == []
        until(lambda: set(_reap()) <= before, "processes are left")
        # Other tests may mount at the same time, elsewhere.
        assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
    finally:
        prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def until(holds: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.01)


def test_a_life(runtime: Runtime) -> None:
    runtime.write()
    runtime.ok("create", "--pid-file", "pid", "@a")
    state = runtime.state()
    assert state["status"] == "created"
    assert state["bundle"] == str(runtime.bundle)
    assert int((runtime.bundle / "pid").read_text()) == state["pid"]
    runtime.ok("start", "@a")
    assert runtime.state()["status"] == "running"
    assert Path(f"/proc/{state['pid']}/cmdline").read_bytes() == b"sleep\x0060\x00"
    assert json.loads(runtime.ok("ps", "--format", "json", "@a")) == [state["pid"]]
    assert [row["id"] for row in json.loads(runtime.ok("list", "-f=json"))] == [state["id"]]
    assert runtime.ok("list", "-q").split() == [state["id"]]
    runtime.ok("kill", "@a", "SIGKILL")
    until(lambda: runtime.state()["status"] == "stopped", "it does not stop")
    runtime.ok("delete", "@a")


def test_errors_have_the_words_that_engines_look_for(runtime: Runtime) -> None:
    for verb in ("state", "start", "kill", "delete", "pause", "resume", "ps", "update", "events"):
        assert "container does not exist" in runtime.refused(verb, "@a")
    assert "container does not exist" in runtime.refused("exec", "@a", "true", status=255)
    runtime.ok("delete", "--force", "@a")
    runtime.start()
    assert "container with given ID already exists" in runtime.refused("create", "@a")
    assert "cannot start a container that is running" in runtime.refused("start", "@a")
    assert "cannot delete container that is not stopped" in runtime.refused("delete", "@a")
    assert "cannot resume a container that is running" in runtime.refused("resume", "@a")
    runtime.ok("kill", "@a", "9")
    until(lambda: runtime.state()["status"] == "stopped", "it does not stop")
    assert "container not running" in runtime.refused("kill", "@a", "TERM")
    assert "container not running" in runtime.refused("update", "--pids-limit", "9", "@a")
    assert "cannot exec in a stopped container" in runtime.refused("exec", "@a", "id", status=255)
    assert "cannot start a container that has stopped" in runtime.refused("start", "@a")
    for word in ("checkpoint", "restore"):
        assert "not possible yet" in runtime.refused(word, "--image-path", "/tmp", "@a")


def test_an_error_is_logged_in_json(runtime: Runtime) -> None:
    done = runtime.call("--log-format=json", "--log", f"{runtime.place}/log", "start", "@a")
    assert done.returncode == 1
    entry = json.loads((runtime.place / "log").read_text())
    assert entry["level"] == "error"
    assert "container does not exist" in entry["msg"]
    assert entry["time"].endswith("Z")


def test_of_two_creators_one_wins(runtime: Runtime) -> None:
    runtime.write()
    with ExitStack() as files:
        errors = [files.enter_context(open(runtime.place / f"e{at}", "w")) for at in range(3)]
        racers = [
            subprocess.Popen(
                runtime.command("create", "@a"), cwd=runtime.bundle, stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=error,
            )
            for error in errors
        ]  # fmt: skip
        assert sorted(racer.wait(20) for racer in racers) == [0, 1, 1]
    words = "".join((runtime.place / f"e{at}").read_text() for at in range(3))
    assert words.count("container with given ID already exists") == 2
    assert runtime.state()["status"] == "created"


def test_delete_force_cleans_what_a_killed_create_has_left(runtime: Runtime) -> None:
    """Killed after so many milliseconds: before the state, amid the control groups, after all."""
    runtime.write()
    stages = set()
    for step in range(14):
        creator = subprocess.Popen(
            runtime.command("create", "@a"), cwd=runtime.bundle, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(0.04 + step * 0.008)
        creator.kill()
        creator.wait()
        found = bool(groups_of(runtime.prefix)), (runtime.root / runtime.name("a")).exists()
        stages.add(found)
        runtime.ok("delete", "--force", "@a")
        assert runtime.left() == []
    assert (True, True) in stages, "no creator was killed in the middle"


def test_delete_force_cleans_after_a_create_that_was_killed_in_a_hook(runtime: Runtime) -> None:
    """Its control groups are there, and are in no state yet."""
    runtime.config["hooks"] = {"createRuntime": [_hook(runtime, "slow", "sleep 1")]}
    runtime.write()
    creator = subprocess.Popen(
        runtime.command("create", "@a"), cwd=runtime.bundle, stdin=subprocess.DEVNULL
    )
    until((runtime.place / "hooks").exists, "the hook is not called")
    creator.kill()
    creator.wait()
    assert groups_of(runtime.prefix)
    runtime.ok("delete", "--force", "@a")
    assert runtime.left() == []


def test_a_directory_without_state_is_removed_by_force_alone(runtime: Runtime) -> None:
    (runtime.root / runtime.name("a")).mkdir(parents=True, mode=0o700)
    runtime.root.chmod(0o700)
    assert "container does not exist" in runtime.refused("state", "@a")
    assert "container does not exist" in runtime.refused("delete", "@a")
    runtime.ok("delete", "--force", "@a")


def test_pause_and_resume(runtime: Runtime) -> None:
    runtime.config["process"]["args"] = ["sh", "-c", "while :; do :; done"]
    runtime.start()
    runtime.ok("pause", "@a")
    assert runtime.state()["status"] == "paused"
    assert "cannot pause a container that is paused" in runtime.refused("pause", "@a")
    runtime.ok("update", "--pids-limit", "77", "@a")
    assert runtime.state()["status"] == "paused"
    assert "cannot exec in a paused container" in runtime.refused("exec", "@a", "id", status=255)
    late = subprocess.Popen(
        runtime.command("exec", "--ignore-paused", "@a", "true"), stdin=subprocess.DEVNULL
    )
    time.sleep(0.3)
    assert late.poll() is None
    runtime.ok("resume", "@a")
    assert late.wait(20) == 0
    assert runtime.state()["status"] == "running"
    runtime.ok("pause", "@a")
    runtime.ok("delete", "--force", "@a")


def test_exec_is_confined_as_the_container_is(runtime: Runtime) -> None:
    """The same rights, filter, groups, namespaces and limits (rows E3, E4, E9)."""
    runtime.config["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 99, "hard": 99}]
    runtime.config["process"]["oomScoreAdj"] = 321
    runtime.config["process"]["noNewPrivileges"] = True
    runtime.start()
    pid = runtime.state()["pid"]

    def of(path: str, text: str) -> list[str]:
        kept = ("Cap", "Seccomp", "NoNewPrivs", "Groups", "Max open", "Uid", "Umask")
        return [line for line in text.splitlines() if path != "status" or line.startswith(kept)]

    for path in ("status", "limits", "cgroup", "oom_score_adj", "mountinfo"):
        inside = of(path, runtime.ok("exec", "@a", "cat", f"/proc/self/{path}"))
        outside = of(path, runtime.ok("exec", "@a", "cat", f"/proc/1/{path}"))
        assert inside == outside, path
        assert inside
    for kind in os.listdir(f"/proc/{pid}/ns"):
        done = runtime.ok("exec", "@a", "stat", "-L", "-c", "%i", f"/proc/self/ns/{kind}")
        assert int(done) == os.stat(f"/proc/{pid}/ns/{kind}").st_ino, kind
    assert "not supported" in runtime.call("exec", "@a", "hostname", "x").stderr
    assert runtime.ok("exec", "@a", "ls", "/proc/self/fd").split() == ["0", "1", "2", "3"]
    assert runtime.ok("exec", "@a", "pwd") == "/\n"


def test_exec_takes_what_it_is_told(runtime: Runtime) -> None:
    runtime.start()
    script = "id; pwd; echo $A $B; echo $HOME; grep -E 'NoNew|CapEff|CapInh' /proc/self/status"
    told = runtime.ok(
        "exec", "--user", "1000:1001", "-g", "7", "--cwd=/tmp", "--env", "A=2", "-e", "B=3",
        "--cap", "CAP_CHOWN", "--no-new-privs", "@a", "sh", "-c", script,
    )  # fmt: skip
    assert "uid=1000(user) gid=1001 groups=7,1001" in told.replace("groups=1001,7", "groups=7,1001")
    assert "\n/tmp\n2 3\n/home\n" in told
    assert "NoNewPrivs:\t1" in told
    assert "CapInh:\t0000000000000000" in told
    runtime.config["process"].update(
        args=["sh", "-c", "echo $A; id -u; exit 9"], env=["PATH=/bin", "A=of the document"],
        user={"uid": 5, "gid": 5},
    )  # fmt: skip
    (runtime.place / "process.json").write_text(json.dumps(runtime.config["process"]))
    done = runtime.call("exec", "--process", f"{runtime.place}/process.json", "@a")
    assert (done.returncode, done.stdout) == (9, "of the document\n5\n")
    for words in (["-u", "root"], ["-u", "4294967296"], ["--cap", "NO"], ["--cwd", "tmp"],
                  ["-e", "A"], ["--cgroup", "../x"], ["--cgroup", "nowhere"]):  # fmt: skip
        assert runtime.refused("exec", *words, "@a", "true", status=255)


def test_exec_tells_how_the_program_ended(runtime: Runtime) -> None:
    runtime.start()
    assert runtime.call("exec", "@a", "sh", "-c", "exit 7").returncode == 7
    assert runtime.call("exec", "@a", "sh", "-c", "kill -9 $$").returncode == 137
    missing = runtime.refused("exec", "@a", "nosuch", status=255)
    assert "executable file not found in $PATH" in missing
    slow = subprocess.Popen(runtime.command("exec", "@a", "sleep", "50"), stdin=subprocess.DEVNULL)
    until(lambda: "sleep 50" in runtime.ok("exec", "@a", "ps"), "it does not run")
    slow.terminate()
    assert slow.wait(20) == 128 + signal.SIGTERM


def test_exec_detached_is_the_callers_child(runtime: Runtime) -> None:
    runtime.start()
    runtime.ok("exec", "-d", "--pid-file", "exec.pid", "@a", "sh", "-c", "sleep 0.2; exit 5")
    pid = int((runtime.bundle / "exec.pid").read_text())
    assert pid in json.loads(runtime.ok("ps", "-f", "json", "@a"))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5


def test_preserved_descriptors(runtime: Runtime) -> None:
    runtime.config["process"]["args"] = ["sh", "-c", "cat <&4; ls /proc/self/fd >/tmp/fds"]
    runtime.write()
    files = []
    for at in (3, 4):
        (runtime.place / f"f{at}").write_text(f"number {at}\n")
        files.append(os.open(runtime.place / f"f{at}", os.O_RDONLY))

    def arrange() -> None:
        high = [os.dup2(fd, 100 + at) for at, fd in enumerate(files)]
        for at, fd in enumerate(high):
            os.dup2(fd, 3 + at)

    try:
        words = ("run", "--preserve-fds", "2", "@a")
        out = runtime.ok(*words, close_fds=False, preexec_fn=arrange)
        assert out == "number 4\n"
        fds = (runtime.bundle / "rootfs/tmp/fds").read_text().split()
        assert fds == ["0", "1", "2", "3", "4", "5"]  # the last is of ls itself
        runtime.config["process"]["args"] = ["sleep", "60"]
        runtime.start()
        out = runtime.ok("exec", "--preserve-fds=1", "@a", "sh", "-c", "cat <&3; ls /proc/self/fd",
                         close_fds=False, preexec_fn=arrange)  # fmt: skip
        assert out.split("\n")[:5] == ["number 3", "0", "1", "2", "3"]
    finally:
        for fd in files:
            os.close(fd)


def _terminal(runtime: Runtime, *words: str) -> tuple[int, list[int]]:
    """A command with a console socket; the master of the terminal, and what beside it is left."""
    path = str(runtime.place / "console")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen(1)
        runtime.ok(words[0], "--console-socket", path, *words[1:])
        listener.settimeout(10)
        channel, _ = listener.accept()
        with channel:
            _, fds, _, _ = socket.recv_fds(channel, 4096, 4)
    os.unlink(path)
    assert len(fds) == 1
    return fds[0], fds[1:]


def _read(master: int, end: bytes) -> bytes:
    data = b""
    while end not in data:
        data += os.read(master, 4096)
    return data


def test_a_console_socket_gets_the_terminal(runtime: Runtime) -> None:
    """Newlines come as they are written: ONLCR is off, as in runC."""
    process = runtime.config["process"]
    process.update(terminal=True, args=["sh", "-c", "echo hello; stat -c %F /dev/console; sleep 9"],
                   consoleSize={"height": 33, "width": 44})  # fmt: skip
    runtime.write()
    master, _ = _terminal(runtime, "create", "@a")
    try:
        runtime.ok("start", "@a")
        assert _read(master, b"file\n") == b"hello\ncharacter special file\n"
        assert not termios.tcgetattr(master)[1] & termios.ONLCR
        assert os.get_terminal_size(master) == (44, 33)
    finally:
        os.close(master)
    words = "exec", "--detach", "--tty", "@a", "sh", "-c", "echo one; echo two; sleep 9"
    master, _ = _terminal(runtime, *words)
    try:
        assert _read(master, b"two\n") == b"one\ntwo\n"
    finally:
        os.close(master)
    assert "needs" in runtime.refused("exec", "-d", "-t", "@a", "true", status=255)
    assert "no terminal" in runtime.refused("exec", "--console-socket", "x", "@a", "id", status=255)


def test_run(runtime: Runtime) -> None:
    runtime.config["process"]["args"] = ["sh", "-c", "echo hi; exit 3"]
    runtime.write()
    done = runtime.call("run", "@a")
    assert (done.returncode, done.stdout) == (3, "hi\n")
    assert "container does not exist" in runtime.refused("state", "@a")
    assert runtime.call("run", "--keep", "@b").returncode == 3
    assert runtime.state("@b")["status"] == "stopped"
    script = "trap 'exit 4' TERM; while :; do sleep .1; done"
    runtime.config["process"]["args"] = ["sh", "-c", script]
    runtime.write()
    runtime.ok("run", "--detach", "--pid-file", "p", "@c")
    assert runtime.state("@c")["pid"] == int((runtime.bundle / "p").read_text())
    words = runtime.command("run", "@d")
    waits = subprocess.Popen(words, cwd=runtime.bundle, stdin=subprocess.DEVNULL)
    until(lambda: "running" in runtime.call("state", "@d").stdout, "it does not run")
    until(lambda: "trap" in runtime.ok("exec", "@d", "ps"), "it does not run")
    time.sleep(0.2)
    waits.terminate()
    assert waits.wait(20) == 4


def test_update(runtime: Runtime) -> None:
    runtime.config["linux"]["resources"] = {"memory": {"limit": 64 << 20, "swap": 96 << 20}}
    runtime.start()
    runtime.ok("update", "--memory", "512M", "--memory-swap", "600M", "@a")
    runtime.ok("update", "--memory=32M", "--memory-swap=40M", "@a")
    memory = json.loads(runtime.ok("events", "--stats", "@a"))["data"]["memory"]
    assert memory["usage"]["limit"] == 32 << 20
    runtime.ok("update", "--memory-swap", "50M", "@a")
    resources = json.dumps({"pids": {"limit": 33}, "devices": [{"allow": False}]})
    _update_from_stdin(runtime, resources)
    (runtime.place / "r.json").write_text(json.dumps({"cpu": {"quota": 20000, "period": 50000}}))
    runtime.ok("update", f"--resources={runtime.place}/r.json", "@a")
    runtime.ok("update", "--cpu-share", "200", "--blkio-weight", "0", "@a")
    stats = json.loads(runtime.ok("events", "--stats", "@a"))["data"]
    assert stats["pids"]["limit"] == 33
    assert "no number" in runtime.refused("update", "--pids-limit", "many", "@a")
    assert "/memory/limit" in _update_from_stdin(runtime, '{"memory": {"limit": "x"}}', 1)


def _update_from_stdin(runtime: Runtime, text: str, status: int = 0) -> str:
    done = subprocess.run(
        runtime.command("update", "-r", "-", "@a"), input=text, text=True, capture_output=True,
        check=False, timeout=20,
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    return done.stderr


def test_events(runtime: Runtime) -> None:
    runtime.start()
    event = json.loads(runtime.ok("events", "--stats", "@a"))
    assert (event["type"], event["id"]) == ("stats", runtime.name("a"))
    assert set(event["data"]) >= {"cpu", "memory", "pids", "blkio", "hugetlb"}
    assert event["data"]["cpu"]["usage"]["total"] > 0
    assert event["data"]["pids"]["current"] == 1
    watch = subprocess.Popen(
        runtime.command("events", "--interval", "100ms", "@a"), stdout=subprocess.PIPE, text=True
    )
    assert watch.stdout is not None
    assert json.loads(watch.stdout.readline())["type"] == "stats"
    runtime.ok("kill", "@a", "KILL")
    assert watch.wait(20) == 0
    watch.stdout.close()


def test_events_tell_of_want_of_memory(runtime: Runtime) -> None:
    runtime.config["linux"]["resources"] = {"memory": {"limit": 16 << 20, "swap": 16 << 20}}
    runtime.start()
    watch = subprocess.Popen(
        runtime.command("events", "--interval", "1h", "@a"), stdout=subprocess.PIPE, text=True
    )
    assert watch.stdout is not None
    time.sleep(0.5)
    assert runtime.call("exec", "@a", "sh", "-c", "x=$(yes)").returncode
    assert json.loads(watch.stdout.readline()) == {"type": "oom", "id": runtime.name("a")}
    # No ``ok``: where memory stays short for a moment, the kernel takes the first process as well.
    runtime.call("kill", "@a", "KILL")
    assert watch.wait(20) == 0
    watch.stdout.close()


def test_events_tell_of_the_want_of_memory_that_ended_it(runtime: Runtime) -> None:
    runtime.config["linux"]["resources"] = {"memory": {"limit": 16 << 20, "swap": 16 << 20}}
    runtime.config["process"]["args"] = ["sh", "-c", "sleep 1; exec tail /dev/zero"]
    runtime.start()
    told = runtime.ok("events", "--interval", "1h", "@a")
    assert json.loads(told) == {"type": "oom", "id": runtime.name("a")}


def test_features(runtime: Runtime) -> None:
    found = json.loads(runtime.ok("features"))
    assert (found["ociVersionMin"], found["ociVersionMax"]) == ("1.0.0", "1.3.0")
    assert {"SCMP_ACT_ERRNO", "SCMP_ACT_NOTIFY"} < set(found["linux"]["seccomp"]["actions"])
    assert set(NAMESPACES) < set(found["linux"]["namespaces"])
    # What is said is so: every option is taken.
    known = set(found["mountOptions"])
    assert {"rro", "nosuid", "rbind", "rslave"} <= known


def test_spec(runtime: Runtime) -> None:
    runtime.ok("spec")
    assert json.loads((runtime.bundle / "config.json").read_text())["process"]["args"] == ["sh"]
    assert "exists" in runtime.refused("spec")
    (runtime.place / "other").mkdir()
    runtime.ok("spec", "--rootless", "-b", f"{runtime.place}/other")
    config = json.loads((runtime.place / "other/config.json").read_text())
    assert {"type": "user"} in config["linux"]["namespaces"]


def _hook(runtime: Runtime, name: str, more: str = "", **members: Any) -> dict[str, Any]:
    """A hook that notes its name, its argument and the state that it was told."""
    log = runtime.place / "hooks"
    script = f'state=$(cat); echo "$0 $V $state" >>{log}; {more}'
    return {"path": "/bin/sh", "args": ["sh", "-c", script, name], "env": ["V=v", "PATH=/bin"],
            **members}  # fmt: skip


def _hooked(runtime: Runtime) -> list[tuple[str, str]]:
    rows = []
    for line in (runtime.place / "hooks").read_text().splitlines():
        name, variable, state = line.split(" ", 2)
        told = json.loads(state)
        assert variable == "v"
        assert (told["id"], told["bundle"]) == (runtime.name("a"), str(runtime.bundle))
        rows.append((name, told["status"]))
    return rows


def test_hooks_outside(runtime: Runtime) -> None:
    runtime.config["hooks"] = {
        "prestart": [_hook(runtime, "prestart")],
        "createRuntime": [_hook(runtime, "one"), _hook(runtime, "two")],
        "poststart": [_hook(runtime, "poststart")],
        "poststop": [_hook(runtime, "bad", "exit 1"), _hook(runtime, "poststop")],
    }
    runtime.start()
    creating = [("prestart", "creating"), ("one", "creating"), ("two", "creating")]
    assert _hooked(runtime) == [*creating, ("poststart", "running")]
    done = runtime.call("delete", "--force", "@a")
    assert done.returncode == 0  # a poststop hook that fails is said, and no error
    assert "/hooks/poststop/0" in done.stderr or "failed with status 1" in done.stderr
    assert _hooked(runtime)[-2:] == [("bad", "stopped"), ("poststop", "stopped")]


def test_a_hook_that_fails_undoes_everything(runtime: Runtime) -> None:
    for hook, words in (
        (_hook(runtime, "bad", "echo why >&2; exit 3"), "failed with status 3: why"),
        (_hook(runtime, "slow", "sleep 20", timeout=1), "did not end within 1 seconds"),
        ({"path": "/no/such"}, "cannot be run"),
    ):
        runtime.config["hooks"] = {"createRuntime": [hook]}
        runtime.write()
        error = runtime.refused("create", "@a")
        assert words in error
        assert "/hooks/createRuntime/0" in error
        assert runtime.left() == []
    runtime.config["hooks"] = {"poststart": [_hook(runtime, "bad", "exit 1")]}
    runtime.write()
    runtime.ok("create", "@a")
    assert "failed with status 1" in runtime.refused("start", "@a")
    until(lambda: runtime.state()["status"] == "stopped", "poststart's failure does not end it")


def test_namespaces_of_another_container(runtime: Runtime) -> None:
    runtime.start()
    pid = runtime.state()["pid"]
    kinds = {"network": "net", "ipc": "ipc", "pid": "pid"}
    for namespace in runtime.config["linux"]["namespaces"]:
        if namespace["type"] in kinds:
            namespace["path"] = f"/proc/{pid}/ns/{kinds[namespace['type']]}"
    runtime.start("@b")
    other = runtime.state("@b")["pid"]
    for name in ("net", "ipc", "pid", "uts", "mnt"):
        inodes = {os.stat(f"/proc/{each}/ns/{name}").st_ino for each in (pid, other)}
        assert (len(inodes) == 1) == (name in kinds.values()), name
    assert runtime.ok("exec", "@b", "ps").count("sleep 60") == 2
    runtime.ok("kill", "@b", "KILL")  # not process 1 of its processes: its control group ends it
    until(lambda: runtime.state("@b")["status"] == "stopped", "it does not stop")
    runtime.ok("delete", "@b")
    assert runtime.state()["status"] == "running"
    runtime.config["linux"]["namespaces"][0] = {"type": "pid", "path": f"/proc/{pid}/ns/net"}
    runtime.write()
    assert "/linux/namespaces/0/path" in runtime.refused("create", "@c")


def test_exec_into_a_user_namespace(runtime: Runtime) -> None:
    """The container's root is nobody outside; exec has its ids, its score and no more."""
    linux, process = runtime.config["linux"], runtime.config["process"]
    linux["namespaces"].append({"type": "user"})
    for name in ("uidMappings", "gidMappings"):
        linux[name] = [{"containerID": 0, "hostID": 700000, "size": 1000}]
    process["oomScoreAdj"] = 7
    runtime.start()
    script = "id -u; cat /proc/self/uid_map /proc/self/oom_score_adj; mkdir /sys/x 2>&1; true"
    told = runtime.ok("exec", "@a", "sh", "-c", script).split()
    assert told[:5] == ["0", "0", "700000", "1000", "7"]
    assert runtime.refused("exec", "-u", "2000", "@a", "true", status=255)
    runtime.ok("exec", "-d", "--pid-file", "p", "@a", "sleep", "30")
    pid = int((runtime.bundle / "p").read_text())
    assert os.stat(f"/proc/{pid}").st_uid == 700000
