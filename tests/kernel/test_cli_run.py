"""``kokon run`` without a terminal: streams, statuses, signals, limits, and what it leaves.

No test here needs root but those with limits; all need user namespaces and a static busybox.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from leftovers import busybox_root, skip_without_namespaces

PATIENCE = 30
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="limits need root or a delegated group")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    skip_without_namespaces()
    return busybox_root(tmp_path_factory.mktemp("root"))


def command(*words: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    options.setdefault("stdin", subprocess.DEVNULL) if "input" not in options else None
    return subprocess.run(
        [sys.executable, "-m", "kokon", *words],
        capture_output=True, text=True, timeout=PATIENCE, **options,
    )  # fmt: skip


class Started:
    """A command that runs while the test goes on; it prints ``ready`` when its program does."""

    def __init__(self, *words: str, **options: Any) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kokon", "run", *words],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            **options,
        )  # fmt: skip
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line == "ready\n", self.process.communicate()

    def first(self) -> int:
        """The pid of the container's first process."""
        pid = self.process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])

    def becomes(self, name: str) -> None:
        """Waits until the first process has executed it."""
        comm = Path(f"/proc/{self.first()}/comm")
        end = time.monotonic() + PATIENCE
        while comm.read_text() != name + "\n":
            assert time.monotonic() < end

    def end(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out, err


@pytest.mark.parametrize(
    ("script", "status"),
    [("exit 0", 0), ("exit 3", 3), ("nothing-like-this", 127), ("exec kill -9 $$", 0)],
)
def test_the_status_is_the_programs(root: str, script: str, status: int) -> None:
    if script.startswith("exec"):
        done = command("run", "--init", root, "sh", "-c", "kill -9 $$")
        assert (done.returncode, done.stderr) == (137, "")
        return
    assert command("run", root, "sh", "-c", script).returncode == status


def test_nothing_is_read_without_i(root: str) -> None:
    assert command("run", root, "cat", input="words").stdout == ""
    assert command("run", "-i", root, "cat", input="words").stdout == "words"


def test_streams_are_the_callers_own(root: str, tmp_path: Path) -> None:
    """Nothing stands between them and the program."""
    out = tmp_path / "out"
    with open(out, "w") as file:
        done = subprocess.run(
            [sys.executable, "-m", "kokon", "run", root, "sh", "-c", "echo out; echo err >&2"],
            stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, timeout=PATIENCE,
        )  # fmt: skip
    assert done.returncode == 0
    assert out.read_text() == "out\nerr\n"


def test_closed_streams_are_nothing(root: str) -> None:
    """What kokon opens must not become the program's 0, 1 or 2."""
    script = f'exec "$0" -m kokon run {root} sh -c "cat; exit 4" <&- >&- 2>&-'
    done = subprocess.run(["/bin/sh", "-c", script, sys.executable], timeout=PATIENCE)
    assert done.returncode == 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_reaches_the_program(root: str, number: signal.Signals) -> None:
    name = number.name.removeprefix("SIG")
    script = f"trap 'echo caught; exit 9' {name}; echo ready; while :; do sleep 0.05; done"
    started = Started(root, "sh", "-c", script)
    started.process.send_signal(number)
    assert started.end() == (9, "caught\n", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR2])
def test_a_signal_that_process_1_does_not_handle_ends_it(root: str, number: signal.Signals) -> None:
    started = Started(root, "sh", "-c", "echo ready; exec sleep 1000")
    started.becomes("sleep")
    started.process.send_signal(number)
    assert started.end() == (128 + number, "", "")


def test_a_signal_that_it_ignores_is_ignored(root: str) -> None:
    started = Started(root, "sh", "-c", "trap '' TERM; echo ready; sleep 1; exit 6")
    started.process.terminate()
    assert started.end()[0] == 6


def test_three_within_a_second_end_it_all_the_same(root: str) -> None:
    started = Started(root, "sh", "-c", "trap '' INT; echo ready; while :; do sleep 1; done")
    for _ in range(3):
        started.process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    assert started.end() == (130, "", "")


def test_the_reaper_forwards(root: str) -> None:
    started = Started(
        "--init", root, "sh", "-c", "trap 'exit 8' TERM; echo ready; while :; do sleep 0.05; done"
    )
    started.process.terminate()
    assert started.end()[0] == 8
    started = Started("--init", root, "sh", "-c", "echo ready; exec sleep 1000")
    started.process.terminate()
    assert started.end()[0] == 143


def test_what_the_caller_ignores_stays_ignored(root: str) -> None:
    """nohup(1): a signal that does not reach us does not reach the container."""
    started = Started(
        root, "sh", "-c", "echo ready; sleep 1; exit 6",
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )  # fmt: skip
    started.process.send_signal(signal.SIGHUP)
    assert started.end()[0] == 6


def test_a_caller_that_ignores_its_children_is_no_harm(root: str) -> None:
    done = command(
        "run", root, "sh", "-c", "exit 5",
        preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
    )  # fmt: skip
    assert done.returncode == 5


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.07])
def test_control_c_at_any_time_is_quiet(root: str, delay: float) -> None:
    """While Python starts, while the container is made, while it runs: never a traceback."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-X", "utf8", "-c",
         "import sys; sys.path[:] = " + repr(sys.path) + "\n"
         "from kokon.cli.main import main\n"
         "sys.stdout.write('up'); sys.stdout.flush()\n"
         f"main(['run', {root!r}, 'sleep', '1000'])"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout and process.stdout.read(2) == b"up"
    # The first line of main() is on its way: Python's own handler may still be there before it.
    time.sleep(0.002 + delay)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode in (130, -signal.SIGINT), err) == (True, b"")


def test_nothing_is_left(root: str, tmp_path: Path) -> None:
    """Although the process ends without Python's own end."""
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    places = {"KOKON_STORE": str(tmp_path / "store"), "XDG_RUNTIME_DIR": str(runtime)}
    done = command("run", root, "sh", "-c", "echo x > /written", env={**os.environ, **places})
    assert (done.returncode, done.stderr) == (0, "")
    assert not Path(root, "written").exists()
    assert os.listdir(tmp_path / "store/writes") == []
    if os.geteuid():  # root's state has one place, and other runs may be there
        assert os.listdir(runtime / "kokon/owners") == []


def test_timeout(root: str) -> None:
    done = command("run", "--timeout", "300ms", root, "sleep", "1000")
    assert done.returncode == 124
    assert "its time was over (--timeout 300ms)" in done.stderr
    assert command("run", "--timeout", "20s", root, "sh", "-c", "exit 2").returncode == 2


@needs_root
@pytest.mark.kernel
def test_a_limit_that_was_met_is_named(root: str) -> None:
    script = "x=a; while :; do x=$x$x; done"
    done = command("run", "--memory", "30M", root, "sh", "-c", script)
    assert done.returncode == 137
    assert "by the container's memory limit of 30 MiB (--memory 30M)" in done.stderr
    done = command("run", "--memory", "30M", root, "sh", "-c", f"sh -c '{script}'; exit 3")
    assert done.returncode == 3
    assert "a process was ended by the container's memory limit of 30 MiB" in done.stderr


@needs_root
@pytest.mark.kernel
def test_a_limit_of_processes_that_was_met_is_named(root: str) -> None:
    done = command("run", "--pids-limit", "2", root, "sh", "-c", "(sleep 1)& (sleep 1)& (sleep 1)&")
    assert "limit of 2 processes (--pids-limit 2)" in done.stderr


def test_without_a_program_it_is_a_shell_or_python(root: str) -> None:
    assert command("run", "-i", root, input="echo $((6 * 7))\n").stdout == "42\n"
    assert command("run", "-i", "@python", input="print(6 * 7)\n").stdout == "42\n"


def test_explain_runs_nothing(root: str, tmp_path: Path) -> None:
    keep = tmp_path / "keep"
    done = command("explain", "run", "--hostname", "box", root, "touch", "/x")
    assert done.returncode == 0, done.stderr
    assert "set the host name box  [--hostname box]" in done.stdout
    assert not Path(root, "x").exists()
    assert command("explain", "run", "--keep", keep, root, "true").returncode == 0
    assert not keep.exists()


def test_explain_as_json(root: str) -> None:
    done = command("explain", "--format=json", "run", root, "touch", "/x")
    printed = json.loads(done.stdout)
    steps = printed["steps"]
    assert printed["control_groups"] == []
    assert steps[-1]["op"] == "Execute"
    assert [step["step"] for step in steps] == list(range(1, len(steps) + 1))


@needs_root
@pytest.mark.kernel
def test_explain_shows_what_the_limits_write(root: str) -> None:
    done = command("explain", "run", "--memory", "30M", root, "true")
    assert re.search(r"write 31457280 to memory\.\S+  \[--memory 30M\]", done.stdout)
    groups = re.findall(r"the control group (\S+):", done.stdout)
    assert groups and not any(os.path.exists(group) for group in groups)


def test_a_pipe_that_is_closed_early_is_no_error(root: str) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "kokon", "explain", "run", root, "true"],
        stdout=write, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=PATIENCE,
    )  # fmt: skip
    os.close(write)
    assert done.stderr == b""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--user", ""), "kokon: --user '': '' is neither a name nor a number; "),
        (("--hostname", ""), "kokon: --hostname '': '' is no host name; "),
        (("-v", "/tmp:/x:rw,ro"), "kokon: -v /tmp:/x:rw,ro: ro and rw contradict each other; "),
    ],
)
def test_a_value_that_cannot_be_meant(root: str, words: tuple[str, str], said: str) -> None:
    done = command("run", *words, root, "true")
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr.startswith(said)


@needs_root
def test_a_capability_is_dropped_from_all_of_them(root: str) -> None:
    options = ("--privileged", "--cap-drop", "ALL", "--cap-add", "CHOWN")
    done = command("run", *options, root, "cat", "/proc/self/status")
    assert "CapBnd:\t0000000000000001\n" in done.stdout
