"""Saved runs: what the launcher performs without Python is what Python would have done.

`KOKON_SAVED=require` makes the launcher fail (125) where it cannot use a saved run, so every test
knows which of the two it saw.  As root each test has a /run of its own, so nobody else's tokens are
there; all need user namespaces and a static busybox.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from leftovers import busybox_root, files_below, skip_without_namespaces

from kokon.engine import saved as engine_saved
from kokon.kernel import cgroups
from kokon.paths import PACKAGE
from kokon.plan import saved as plan_saved

pytestmark = pytest.mark.kernel

PATIENCE = 30
SETTLED = 2.1
ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not ROOT, reason="needs root")
Result = tuple[int, str, str]


class Place:
    """A prefix with the launcher, a root, and a state and store of their own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.root = busybox_root(path / "root")
        self.state = Path("/run/kokon") if ROOT else path / "run/kokon"
        self.command = str(path / "prefix/bin/kokon")
        self.variables = {
            "PATH": os.environ["PATH"], "HOME": str(path), "KOKON_STORE": str(path / "store"),
            "XDG_RUNTIME_DIR": str(path / "run"),
        }  # fmt: skip
        (path / "run").mkdir(mode=0o700)
        (path / "prefix/bin").mkdir(parents=True)
        packages = path / f"prefix/lib/python3.{sys.version_info.minor}/site-packages"
        packages.mkdir(parents=True)
        (packages / "kokon").symlink_to(PACKAGE)
        shutil.copy(f"{PACKAGE}/_programs/launcher", self.command)
        (path / "prefix/bin/python3").symlink_to(os.path.realpath(sys.executable))
        self.inside: list[str] = []
        self.holder: subprocess.Popen[bytes] | None = None
        if ROOT:
            self.own_run()

    def own_run(self) -> None:
        """A mount namespace with an empty /run, held by a process."""
        script = "mount -t tmpfs -o mode=755 tmpfs /run && echo ready && exec sleep 1000"
        self.holder = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", script], stdout=subprocess.PIPE
        )
        assert self.holder.stdout and self.holder.stdout.readline() == b"ready\n"
        self.inside = ["nsenter", f"--mount=/proc/{self.holder.pid}/ns/mnt"]

    def words(self, *words: str, cwd: str = "/") -> list[str]:
        """A command line in the place."""
        return [*self.inside, *([f"--wdns={cwd}"] if ROOT else []), *words]

    def start(self, *words: str, mode: str = "", **options: Any) -> subprocess.Popen[str]:
        """Starts ``kokon run``."""
        variables = {**self.variables, **options.pop("env", {}), "KOKON_SAVED": mode}
        cwd = options.pop("cwd", "/")
        options.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.Popen(
            self.words(options.pop("command", self.command), "run", *words, cwd=cwd), cwd=cwd,
            env=variables, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
        )  # fmt: skip

    def run(self, *words: str, mode: str = "", text: str | None = None, **options: Any) -> Result:
        """Runs ``kokon run`` to its end."""
        if text is not None:
            options["stdin"] = subprocess.PIPE
        process = self.start(*words, mode=mode, **options)
        out, err = process.communicate(text, timeout=PATIENCE)
        return process.returncode, out, err

    def shell(self, script: str) -> str:
        """A shell command in the place."""
        done = subprocess.run(
            self.words("sh", "-c", script), env=self.variables, capture_output=True, text=True,
            check=True,
        )  # fmt: skip
        return done.stdout

    def save(self, *words: str) -> None:
        """Has a kind of run saved; only Python does that, and not while something is too new."""
        end = time.monotonic() + 2 * SETTLED
        while True:
            assert self.run(*words, "true") == (0, "", "")
            done = self.run(*words, "true", mode="require")
            if done == (0, "", "") or time.monotonic() > end:
                break
            time.sleep(0.2)
        assert done == (0, "", "")

    def left(self) -> list[str]:
        """What is there of runs that are over."""
        names = self.shell(f"ls -A {self.state}/owners {self.state}/ids 2>/dev/null || true")
        found = [name for name in names.split() if not name.endswith(":")]
        found += files_below(self.path / "store/writes")
        for tree in cgroups.read().hierarchies:
            for path, directories, _ in os.walk(tree.mount_point):
                if path.count("/") < 8:
                    found += [f"{path}/{n}" for n in directories if self.is_ours(n)]
        return found

    def is_ours(self, name: str) -> bool:
        """Whether a cgroup carries a token that one of our runs wrote down."""
        return any(token in name for token in self.tokens)

    tokens: tuple[str, ...] = ()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    skip_without_namespaces()
    path = tmp_path_factory.mktemp("saved")
    path.chmod(0o755)
    made = Place(path)
    time.sleep(SETTLED)
    yield made
    if made.holder:
        made.holder.kill()
        made.holder.communicate()


def limits() -> list[str]:
    """Options that make control groups, where this machine lets us."""
    layout = cgroups.read()
    if ROOT and (layout.of("memory") or layout.unified):
        return ["--memory", "60M", "--pids-limit", "30"]
    return []


def kinds() -> list[list[str]]:
    return [["--read-only"], [], [*limits(), "--user", "1000" if ROOT else "0"]]


@pytest.mark.parametrize("options", kinds(), ids=["read-only", "overlay", "limits"])
@pytest.mark.parametrize(
    "script",
    [
        "exit 0", "exit 3", "exit 125", "exit 127", "echo out; echo err >&2; exit 1", "cat; exit 2",
        "id; env | sort; pwd; hostname", "mkdir -p /tmp/a/b/c && touch /tmp/a/b/c/d && ls /tmp/a",
        "echo $0 $# \"$1\"; cat /proc/self/cgroup | head -c 0; ls /proc/self/fd",
        "cat /proc/self/status | grep -E 'Seccomp|Cap|NoNew|Groups|Sig[BIC]'",
    ],
)  # fmt: skip
def test_it_is_what_python_would_do(place: Place, options: list[str], script: str) -> None:
    place.save(*options, place.root)
    words = (*options, place.root, "sh", "-c", script, "zero", "a b\n'")
    assert place.run(*words, mode="require") == place.run(*words, mode="off")


@contextlib.contextmanager
def no_python(place: Place) -> Iterator[None]:
    """The launcher finds something else in the place of Python."""
    link = place.path / "prefix/bin/python3"
    link.rename(link.with_name("python3-before"))
    link.write_text("#!/bin/sh\necho this is not Python; exit 99\n")
    link.chmod(0o755)
    try:
        yield
    finally:
        link.with_name("python3-before").rename(link)


@pytest.mark.parametrize("options", kinds(), ids=["read-only", "overlay", "limits"])
def test_python_is_not_started(place: Place, options: list[str]) -> None:
    place.save(*options, place.root)
    script = "mkdir -p /tmp/a/b/c; touch /tmp/a/x; ln -s / /tmp/a/link; chmod 0 /tmp/a"
    with no_python(place):
        assert place.run(*options, place.root, "true") == (0, "", "")
        words = (*options, place.root, "sh", "-c", f"echo out; exec 2>/dev/null; {script}; exit 3")
        assert place.run(*words) == (3, "out\n", "")
        assert place.run(*options, place.root, "no-such") == (99, "this is not Python\n", "")
        assert place.run("--hostname", "x", place.root, "true")[0] == 99
    assert place.left() == []


@pytest.mark.parametrize("program", ["no-such", "/no/such", "/etc/passwd", "/bin", "-x", ""])
def test_a_program_that_cannot_run_is_pythons(place: Place, program: str) -> None:
    place.save("--read-only", place.root)
    words = ("--read-only", place.root, program)
    assert place.run(*words) == place.run(*words, mode="off")
    assert place.run(*words, mode="require")[0] == 125


def test_a_program_is_found_by_path_and_by_name(place: Place) -> None:
    options = ("--env", "PATH=/nowhere::/bin", place.root)
    place.save(*options)
    for name in ("echo", "/bin/echo", "bin/echo"):
        assert place.run(*options, name, "x", mode="require") == (0, "x\n", "")


def test_many_arguments(place: Place) -> None:
    place.save("--read-only", place.root)
    words = ["y" * 100] * 5000
    code, out, _ = place.run("--read-only", place.root, "echo", *words, mode="require")
    assert (code, out) == (0, " ".join(words) + "\n")


def test_input_is_the_callers_only_with_i(place: Place) -> None:
    place.save(place.root)
    place.save("-i", place.root)
    assert place.run(place.root, "cat", mode="require", text="words") == (0, "", "")
    assert place.run("-i", place.root, "cat", mode="require", text="words") == (0, "words", "")


def test_closed_streams_are_nothing(place: Place) -> None:
    place.save("--read-only", place.root)
    program = "for n in 0 1 2; do test -c /proc/self/fd/$n || exit 9; done; cat; exit 4"
    script = f"exec {place.command} run --read-only {place.root} sh -c '{program}' <&- >&- 2>&-"
    variables = {**place.variables, "KOKON_SAVED": "require"}
    done = subprocess.run(place.words("sh", "-c", script), env=variables, timeout=PATIENCE)
    assert done.returncode == 4


def ready(process: subprocess.Popen[str]) -> subprocess.Popen[str]:
    assert process.stdout
    line = process.stdout.readline()
    assert line == "ready\n", process.communicate()
    return process


def first_of(process: subprocess.Popen[str]) -> int:
    """The pid of the container's first process, once that is the program."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        for pid in children.read_text().split():
            if Path(f"/proc/{pid}/comm").read_text() == "sleep\n":
                return int(pid)
        time.sleep(0.005)
    raise AssertionError("the program does not run")


@pytest.mark.parametrize("mode", ["require", "off"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_reaches_the_program(place: Place, number: signal.Signals, mode: str) -> None:
    options = (*limits(), place.root)
    place.save(*options)
    name = number.name.removeprefix("SIG")
    script = f"trap 'echo caught; exit 9' {name}; echo ready; while :; do sleep 0.02; done"
    process = ready(place.start(*options, "sh", "-c", script, mode=mode))
    assert is_python(process) == (mode == "off")
    process.send_signal(number)
    assert process.communicate(timeout=PATIENCE) == ("caught\n", "")
    assert process.returncode == 9
    assert place.left() == []


@pytest.mark.parametrize("mode", ["require", "off"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGRTMAX])
def test_a_signal_that_nobody_handles_ends_it(
    place: Place, number: signal.Signals, mode: str
) -> None:
    options = (*limits(), place.root)
    place.save(*options)
    process = place.start(*options, "sleep", "1000", mode=mode)
    first_of(process)
    process.send_signal(number)
    assert process.communicate(timeout=PATIENCE) == ("", "")
    assert process.returncode == 128 + number
    assert place.left() == []


def test_two_signals_are_both_forwarded(place: Place) -> None:
    place.save(place.root)
    script = (
        "trap 'echo one' USR1; trap 'echo two; exit 5' USR2; echo ready;"
        " while :; do sleep 0.02; done"
    )
    process = ready(place.start(place.root, "sh", "-c", script, mode="require"))
    process.send_signal(signal.SIGUSR1)
    assert process.stdout and process.stdout.readline() == "one\n"
    assert is_python(process)
    process.send_signal(signal.SIGUSR2)
    assert process.communicate(timeout=PATIENCE) == ("two\n", "")
    assert process.returncode == 5


def is_python(process: subprocess.Popen[str]) -> bool:
    return "python" in os.path.basename(os.readlink(f"/proc/{process.pid}/exe"))


@pytest.mark.parametrize("mode", ["require", "off"])
def test_an_ignored_signal_stays_ignored(place: Place, mode: str) -> None:
    place.save(place.root)
    script = "trap 'exit 9' HUP; echo ready; sleep 0.4; exit 3"

    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)

    process = place.start(place.root, "sh", "-c", script, mode=mode, preexec_fn=ignore)
    ready(process).send_signal(signal.SIGHUP)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 3


@pytest.mark.parametrize("mode", ["require", "off"])
def test_the_end_by_a_signal(place: Place, mode: str) -> None:
    options = (*limits(), place.root)
    place.save(*options)
    process = place.start(*options, "sleep", "1000", mode=mode)
    os.kill(first_of(process), signal.SIGKILL)
    assert process.communicate(timeout=PATIENCE) == ("", "")
    assert process.returncode == 137
    assert place.left() == []


@needs_root
def test_met_limits_are_told(place: Place) -> None:
    if not limits():
        pytest.skip("needs the controllers memory and pids")
    options = (*limits(), "--read-only", place.root)
    place.save(*options)
    grow = "x=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; while :; do x=$x$x; done"
    fork = "for i in $(seq 40); do sleep 0.1 & done; exit 4"
    for script, status, words in ((grow, 137, "memory limit of 60 MiB"), (fork, 2, "30 processes")):
        told = place.run(*options, "sh", "-c", script, mode="require")
        assert told[0] == status
        assert words in told[2]
        without = place.run(*options, "sh", "-c", script, mode="off")
        # How often a fork was refused, and the peak, differ from run to run.
        assert re.sub("[0-9.]+", "N", told[2]) == re.sub("[0-9.]+", "N", without[2])
    assert place.left() == []


@pytest.mark.parametrize("how", ["python", "launcher"])
def test_what_a_killed_launcher_leaves_goes(place: Place, how: str) -> None:
    options = (*limits(), place.root)
    place.save(*options)
    process = place.start(*options, "sleep", "1000", mode="require")
    first = os.pidfd_open(first_of(process))
    (token,) = place.shell(f"ls {place.state}/owners").split()
    process.kill()
    process.communicate()
    end = time.monotonic() + PATIENCE
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < end:  # the container dies with the launcher
            signal.pidfd_send_signal(first, 0)
            time.sleep(0.01)
    os.close(first)
    assert place.shell(f"ls {place.state}/owners").split() == [token]
    assert any(token in name for name in files_below(place.path / "store/writes"))
    if how == "launcher":
        # The launcher sees it and leaves it to Python.
        assert place.run(*options, "true", mode="require")[0] == 125
    assert place.run(*options, "true", mode="off" if how == "python" else "")[0] == 0
    place.tokens = (token,)
    assert place.left() == []


def test_a_signal_at_any_moment_leaves_nothing(place: Place) -> None:
    options = (*limits(), place.root)
    place.save(*options)
    chance = random.Random(0)
    seen = set()
    for _ in range(60):
        process = place.start(*options, "sleep", "0.05", mode="")
        time.sleep(chance.random() * 0.015)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=PATIENCE)
        assert err == ""
        seen.add(process.returncode)
    assert seen <= {-signal.SIGTERM, 128 + signal.SIGTERM, 0}
    place.run(*options, "true")
    assert place.left() == []


def test_many_runs_leave_nothing(place: Place) -> None:
    options = (*limits(), place.root)
    place.save(*options)
    for number in range(50):
        words = (*options, "sh", "-c", f"echo {number}; touch /tmp/x; exit {number}")
        assert place.run(*words, mode="require") == (number, f"{number}\n", "")
    assert place.left() == []


def test_eight_at_once(place: Place) -> None:
    options = (*limits(), place.root)
    place.save(*options)
    script = "echo {0} > /tmp/x; sleep 0.3; cat /tmp/x; exit {0}"
    started = [
        place.start(*options, "sh", "-c", script.format(n), mode="require") for n in range(8)
    ]
    for number, process in enumerate(started):
        assert process.communicate(timeout=PATIENCE) == (f"{number}\n", "")
        assert process.returncode == number
    assert place.left() == []


# --- conditions ------------------------------------------------------------------------------


@contextlib.contextmanager
def changed(path: Path, text: str) -> Iterator[None]:
    before = path.read_text()
    path.write_text(text)
    try:
        yield
    finally:
        path.write_text(before)


@needs_root
def test_the_roots_accounts(place: Place) -> None:
    options = ("--user", "user", place.root)
    place.save(*options)
    text = "root:x:0:0::/home:/bin/sh\nuser:x:0:0::/tmp:/bin/sh\n"
    with changed(Path(place.root) / "etc/passwd", text):
        assert place.run(*options, "true", mode="require")[0] == 125
        assert place.run(*options, "sh", "-c", "echo $HOME") == (0, "/tmp\n", "")
    assert place.run(*options, "sh", "-c", "echo $HOME")[1] == "/home\n"


def test_another_root_in_its_place(place: Place) -> None:
    link = place.path / "link"
    link.symlink_to(place.root)
    place.save("--read-only", str(link))
    other = place.path / "other"
    shutil.copytree(place.root, other, symlinks=True)
    (other / "here").touch()
    link.unlink()
    link.symlink_to(other)
    assert place.run("--read-only", str(link), "true", mode="require")[0] == 125
    assert place.run("--read-only", str(link), "ls", "/here") == (0, "/here\n", "")


def test_a_relative_root_belongs_to_its_directory(place: Place) -> None:
    for name in ("one", "two"):
        directory = place.path / f"in-{name}"
        directory.mkdir()
        Path(busybox_root(directory / "root")).joinpath(name).touch()
    time.sleep(SETTLED)
    one, two = (str(place.path / f"in-{name}") for name in ("one", "two"))
    assert place.run("--read-only", "./root", "ls", "/one", cwd=one)[0] == 0
    assert place.run("--read-only", "./root", "ls", "/one", cwd=one, mode="require")[0] == 0
    assert place.run("--read-only", "./root", "ls", "/two", cwd=two, mode="require")[0] == 125
    assert place.run("--read-only", "./root", "ls", "/two", cwd=two) == (0, "/two\n", "")


@pytest.mark.parametrize("name", ["HOME", "KOKON_STORE", "XDG_DATA_HOME", "XDG_RUNTIME_DIR"])
def test_another_environment(place: Place, tmp_path: Path, name: str) -> None:
    place.save(place.root)
    tmp_path.chmod(0o700)
    other = {name: str(tmp_path)}
    assert place.run(place.root, "true", mode="require", env=other)[0] == 125
    assert place.run(place.root, "true", env=other) == (0, "", "")
    unrelated = {"LC_ALL": "C", "PYTHONPATH": "/nowhere"}
    place.save(place.root)
    assert place.run(place.root, "true", mode="require", env=unrelated) == (0, "", "")


def test_something_half_unpacked(place: Place) -> None:
    """A sweep would remove it, so the run is Python's."""
    place.save(place.root)
    staging = place.path / "store/roots/staging"
    for directory in (staging.parent, staging):
        directory.mkdir(exist_ok=True, mode=0o700)
    assert place.run(place.root, "true", mode="require")[0] == 0
    (staging / "left").mkdir()
    assert place.run(place.root, "true", mode="require")[0] == 125
    (staging / "left").rmdir()
    assert place.run(place.root, "true", mode="require")[0] == 0


def test_other_words_are_another_run(place: Place) -> None:
    place.save("--read-only", "--hostname", "one", place.root)
    words = ("--read-only", "--hostname", "two", place.root, "hostname")
    assert place.run(*words, mode="require")[0] == 125
    assert place.run(*words) == (0, "two\n", "")
    assert place.run("--read-only", place.root, "--hostname", "one", mode="require")[0] == 125


@needs_root
def test_another_cgroup(place: Place) -> None:
    tree = cgroups.read().of("pids") or cgroups.read().unified
    directory = tree.directory() if tree else None
    if directory is None:
        pytest.skip("needs control groups")
    options = (*limits(), place.root)
    place.save(*options)
    group = Path(directory) / f"moved-{os.getpid()}"
    group.mkdir()
    try:
        script = f"echo $$ > {group}/cgroup.procs; exec {place.command} run {' '.join(options)} $0"
        variables = {**place.variables, "KOKON_SAVED": "require"}
        words = place.words("sh", "-c", script, "true")
        assert subprocess.run(words, env=variables, capture_output=True).returncode == 125
        assert subprocess.run(words, env={**variables, "KOKON_SAVED": ""}).returncode == 0
    finally:
        group.rmdir()


@needs_root
def test_fewer_capabilities(place: Place) -> None:
    place.save("--read-only", place.root)
    words = (place.command, "run", "--read-only", place.root, "true")
    less = ("setpriv", "--bounding-set=-sys_time")
    variables = {**place.variables, "KOKON_SAVED": "require"}
    done = subprocess.run(place.words(*less, *words), env=variables, capture_output=True)
    assert done.returncode == 125
    assert subprocess.run(place.words(*words), env=variables).returncode == 0


def test_a_step_that_fails_is_taken_back_and_told_by_python(place: Place) -> None:
    """No condition tells of the limit of open files; init's descriptors do not fit."""
    options = (*limits(), place.root)
    place.save(*options)
    script = f"ulimit -n 150; exec {place.command} run {' '.join(options)} true"
    told = []
    for mode in ("", "off"):
        variables = {**place.variables, "KOKON_SAVED": mode}
        done = subprocess.run(
            place.words("sh", "-c", script), env=variables, capture_output=True, text=True
        )
        told.append((done.returncode, done.stderr))
    assert told[0] == told[1]
    assert told[0][0] == 125
    assert "ulimit -n" in told[0][1]
    assert place.left() == []


@needs_root
def test_a_set_uid_launcher_uses_nothing(place: Place) -> None:
    """What root has saved with the same program, in the same environment, with the same rights."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        os.chmod(name, 0o755)
        prefix = Path(name)
        shutil.copytree(place.path / "prefix", prefix, symlinks=True, dirs_exist_ok=True)
        os.chmod(prefix, 0o755)
        command = prefix / "bin/kokon"
        command.chmod(0o4755)
        time.sleep(SETTLED)
        words = ("--read-only", place.root, "true")
        assert place.run(*words, command=str(command)) == (0, "", "")
        assert place.run(*words, command=str(command), mode="require") == (0, "", "")
        other = place.words(
            "setpriv", "--reuid=65534", "--keep-groups", str(command), "run", *words
        )
        variables = {**place.variables, "KOKON_SAVED": "require"}
        done = subprocess.run(other, env=variables, capture_output=True, text=True)
        assert done.returncode == 125, done
        assert "nothing that was saved" in done.stderr


# --- files -----------------------------------------------------------------------------------


def saved_file(place: Place, *words: str) -> str:
    return f"{place.state}/saved/{plan_saved.file_name(['run', *words])}"


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def other_version(data: bytes) -> bytes:
    return data[:4] + struct.pack("<I", 99) + data[8:]


def beyond(data: bytes) -> bytes:
    return data[:16] + struct.pack("<II", 0xFFFFFFF0, 64) + data[24:]


def other_words(data: bytes) -> bytes:
    return data.replace(b"--read-only\0", b"--read-onlx\0", 1)


@pytest.mark.parametrize("damage", [bytes, cut, other_version, beyond, other_words])
def test_a_damaged_file_is_not_used_and_written_anew(
    place: Place, damage: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    place.save("--read-only", place.root)
    path = saved_file(place, "--read-only", place.root)
    copy = tmp_path / "copy"
    place.shell(f"cat {path} > {copy}")
    data = copy.read_bytes()
    assert len(data) > 10_000
    copy.write_bytes(b"" if damage is bytes else damage(data))
    place.shell(f"cat {copy} > {path}")
    assert place.run("--read-only", place.root, "true", mode="require")[0] == 125
    assert place.run("--read-only", place.root, "echo", "x") == (0, "x\n", "")
    assert place.run("--read-only", place.root, "true", mode="require")[0] == 0


@pytest.mark.parametrize(
    "script",
    [
        "mv {file} {file}.x && ln -s {file}.x {file}",
        "chmod 0666 {file}",
        "rm {file} && mkfifo {file}",
        "chmod 0755 {saved}",
        "mv {saved} {saved}.x && ln -s {saved}.x {saved}",
        "chmod 0755 {state}",
        pytest.param("chown 65534 {file}", marks=needs_root),
        pytest.param("chown 65534 {saved}", marks=needs_root),
    ],
)
def test_a_file_that_is_not_ours_alone_is_not_used(place: Place, script: str) -> None:
    place.save("--read-only", place.root)
    names = {
        "file": saved_file(place, "--read-only", place.root),
        "saved": f"{place.state}/saved",
        "state": str(place.state),
    }
    before = place.shell(f"ls -ldn {place.state} {place.state}/saved")
    place.shell(script.format(**names))
    try:
        assert place.run("--read-only", place.root, "true", mode="require")[0] == 125
        if "{file}" in script:
            assert place.run("--read-only", place.root, "echo", "x") == (0, "x\n", "")
            assert place.run("--read-only", place.root, "true", mode="require")[0] == 0
    finally:
        place.shell(f"rm -rf {place.state}/saved {place.state}/saved.x; chmod 0700 {place.state}")
    assert before


def test_what_is_never_saved(place: Place, tmp_path: Path) -> None:
    (tmp_path / "variables").write_text("A=b\n")
    archive = tmp_path / "root.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(place.root, "/")
    time.sleep(SETTLED)
    for words in (
        ("--env", "HOME", place.root),
        ("--env-file", str(tmp_path / "variables"), place.root),
        ("--timeout", "10s", place.root),
        ("--init", place.root),
        ("--keep", str(tmp_path / "kept"), place.root),
        ("@host",),
        (str(archive),),
    ):
        assert place.run(*words, "true")[0] == 0, words
        assert place.run(*words, "true", mode="require")[0] == 125, words


def test_off_saves_and_uses_nothing(place: Place) -> None:
    words = ("--hostname", "off", place.root)
    assert place.run(*words, "true", mode="off") == (0, "", "")
    assert place.run(*words, "true", mode="require")[0] == 125


def test_their_number_is_bounded(place: Place) -> None:
    place.save("--read-only", place.root)
    place.shell(f"cd {place.state}/saved && for i in $(seq 100); do : > old-$i; done")
    place.save("--hostname", "last", place.root)
    names = place.shell(f"ls {place.state}/saved").split()
    assert len(names) <= engine_saved.MOST
    assert os.path.basename(saved_file(place, "--hostname", "last", place.root)) in names


def test_a_new_root_is_not_saved_at_once(place: Place) -> None:
    """Its next change could have the same date."""
    root = busybox_root(place.path / "new")
    assert place.run("--read-only", root, "true")[0] == 0
    assert place.run("--read-only", root, "true", mode="require")[0] == 125
    time.sleep(SETTLED)
    place.save("--read-only", root)


def test_volumes_are_conditions(place: Place) -> None:
    volume = place.path / "volume"
    volume.mkdir()
    (volume / "file").write_text("one")
    words = ("-v", f"{volume}:/data:ro", place.root)
    place.save(*words)
    assert place.run(*words, "cat", "/data/file", mode="require") == (0, "one", "")
    volume.rename(place.path / "volume-before")
    assert place.run(*words, "true", mode="require")[0] == 125
    assert place.run(*words, "true") == place.run(*words, "true", mode="off")
