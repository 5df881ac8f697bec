"""``kokon run`` on a terminal: a pty outside, the container's own inside, and what passes between.

No test here needs root; they need user namespaces and a static busybox.
"""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from leftovers import busybox_root, skip_without_namespaces

PATIENCE = 30


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    skip_without_namespaces()
    path = tmp_path_factory.mktemp("root")
    busybox_root(path)
    for name in ("stty", "tty"):
        (path / "bin" / name).symlink_to("busybox")
    return path


class Session:
    """A command on a terminal of its own, as a person in front of it sees it."""

    def __init__(self, *words: str | Path, rows: int = 33, columns: int = 99) -> None:
        self.master, self.slave = os.openpty()
        self.size(rows, columns)
        self.before = termios.tcgetattr(self.slave)
        self.seen = ""

        def adopt() -> None:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            [sys.executable, "-m", "kokon", *words],
            stdin=self.slave, stdout=self.slave, stderr=self.slave,
            start_new_session=True, preexec_fn=adopt,
        )  # fmt: skip

    def size(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def read(self, seconds: float = PATIENCE) -> bool:
        if not select.select([self.master], [], [], seconds)[0]:
            return False
        try:
            self.seen += os.read(self.master, 1 << 16).decode()
        except OSError:
            return False
        return True

    def becomes(self, name: str) -> None:
        """Waits until the container's first process has executed it."""
        pid = self.process.pid
        first = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0]
        end = time.monotonic() + PATIENCE
        while Path(f"/proc/{first}/comm").read_text() != name + "\n":
            assert time.monotonic() < end

    def until(self, pattern: str) -> re.Match[str]:
        """Waits until the screen shows it, and forgets the screen up to there."""
        end = time.monotonic() + PATIENCE
        while not (match := re.search(pattern, self.seen)):
            assert time.monotonic() < end and self.read(), f"{pattern!r} not in {self.seen!r}"
        self.seen = self.seen[match.end() :]
        return match

    def status(self) -> int:
        """Waits for the end; what is still printed is read."""
        end = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < end:
            self.read(0.05)
        while self.read(0):
            pass
        return self.process.wait(1)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for fd in (self.master, self.slave):
            if fd >= 0:
                os.close(fd)


@pytest.fixture
def sessions() -> Iterator[list[Session]]:
    opened: list[Session] = []
    yield opened
    for session in opened:
        session.close()


@pytest.fixture
def start(sessions: list[Session], root: Path) -> Any:
    def begin(*words: str | Path, **size: int) -> Session:
        session = Session(*words, **size)
        sessions.append(session)
        return session

    return begin


def test_a_shell_on_a_terminal_needs_no_option(start: Any, root: Path) -> None:
    session = start("run", root)
    session.until(r"# ")
    session.type("tty; echo $((6 * 7)); exit 5\n")
    session.until(r"/dev/(console|pts/0)\s+42\s")
    assert session.status() == 5


def test_its_terminal_is_not_the_callers(start: Any, root: Path) -> None:
    """Row E13: another pty, of a devpts of the container's own."""
    session = start("run", "-it", root, "stat", "-L", "-c", "is %d", "/dev/pts/0", "/dev/console")
    devices = [int(session.until(r"is (\d+)\s").group(1)) for _ in range(2)]
    assert session.status() == 0
    assert os.fstat(session.slave).st_dev not in devices


def test_input_cannot_be_pushed_into_the_callers_terminal(start: Any, root: Path) -> None:
    """Row E13: TIOCSTI, also with bits that the kernel does not look at, and no echo of it."""
    code = (
        "import ctypes\n"
        "c = ctypes.CDLL(None, use_errno=True)\n"
        "c.ioctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_char_p]\n"
        "print('ioctl', *[c.ioctl(0, 0x5412 | high, b'@') for high in (0, 1 << 32)])"
    )
    session = start("run", "@python", "python3", "-c", code)
    session.until(r"ioctl -1 -1\s")
    assert session.status() == 0
    assert "@" not in session.seen


def test_size_and_its_changes_are_seen_inside(start: Any, root: Path) -> None:
    session = start(
        "run", root, "sh", "-c", "trap 'stty size' WINCH; stty size; while :; do sleep 0.1; done"
    )
    session.until(r"33 99\s")
    session.size(44, 111)
    session.until(r"44 111\s")


def test_the_callers_terminal_is_raw_meanwhile_and_as_before_in_the_end(
    start: Any, root: Path
) -> None:
    session = start("run", root, "sh", "-c", "echo ready; read line; exit 3")
    session.until(r"ready")
    deadline = time.monotonic() + PATIENCE
    while termios.tcgetattr(session.slave)[3] & (termios.ICANON | termios.ECHO | termios.ISIG):
        assert time.monotonic() < deadline
    session.type("line\n")
    assert session.status() == 3
    assert termios.tcgetattr(session.slave) == session.before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_it_is_as_before_after_a_signal(start: Any, root: Path, number: int) -> None:
    session = start("run", root, "sh", "-c", "echo ready; read line")
    session.until(r"ready")
    session.process.send_signal(number)
    assert session.status() == 128 + number
    assert termios.tcgetattr(session.slave) == session.before


def test_it_is_as_before_when_the_program_is_not_there(start: Any, root: Path) -> None:
    session = start("run", root, "nothing-like-this")
    assert session.status() == 127
    assert "kokon: 'nothing-like-this' was not found" in session.seen
    assert termios.tcgetattr(session.slave) == session.before


def test_control_c_is_the_programs(start: Any, root: Path) -> None:
    session = start(
        "run",
        root,
        "sh",
        "-c",
        "trap 'echo caught; exit 9' INT; echo ready; while :; do sleep 0.1; done",
    )
    session.until(r"ready")
    session.type("\x03")
    session.until(r"caught")
    assert session.status() == 9


@pytest.mark.parametrize(("key", "number"), [("\x03", signal.SIGINT), ("\x1c", signal.SIGQUIT)])
def test_a_key_that_process_1_does_not_handle_ends_it(
    start: Any, root: Path, key: str, number: int
) -> None:
    session = start("run", root, "sh", "-c", "echo ready; exec sleep 1000")
    session.until(r"ready")
    session.becomes("sleep")
    session.type(key)
    assert session.status() == 128 + number
    assert termios.tcgetattr(session.slave) == session.before


def test_three_control_c_end_what_ignores_them(start: Any, root: Path) -> None:
    script = "trap '' INT; echo ready; while :; do sleep 1; done"
    session = start("run", root, "sh", "-c", script)
    session.until(r"ready")
    session.type("\x03\x03")
    time.sleep(0.2)
    assert session.process.poll() is None
    session.type("\x03")
    assert session.status() == 130


def test_control_c_is_for_what_catches_it(start: Any, root: Path) -> None:
    """A shell at its prompt and an interpreter take it as often as it is typed."""
    script = "trap 'echo caught' INT; echo ready; while :; do read line && exit 5; done"
    session = start("run", root, "sh", "-c", script)
    session.until(r"ready")
    for _ in range(4):
        session.type("\x03")
        session.until(r"caught")
    session.type("\n")
    assert session.status() == 5


def test_control_c_ends_the_job_and_not_its_shell(start: Any, root: Path) -> None:
    session = start("run", root, "sh", "-i")
    session.until(r"# ")
    session.type("\x03")
    session.type("sleep 1000; echo job=$?\n")
    session.until(r"job=\$\?\s")
    time.sleep(0.3)
    session.type("\x03")
    session.until(r"# ")
    session.type("echo still$((1)); exit 4\n")
    session.until(r"still1")
    assert session.status() == 4


def test_with_a_reaper_control_c_is_the_kernels(start: Any, root: Path) -> None:
    session = start("run", "--init", root, "sh", "-c", "echo ready; exec sleep 1000")
    session.until(r"ready")
    session.type("\x03")
    assert session.status() == 130


@pytest.mark.parametrize("modes", ["-isig", "intr ^A"])
def test_a_key_that_sends_no_signal_is_a_letter(start: Any, root: Path, modes: str) -> None:
    script = f"stty {modes}; echo ready; read line; echo got ${{#line}}"
    session = start("run", root, "sh", "-c", script)
    session.until(r"ready")
    session.type("\x03\n")
    session.until(r"got 1\s")
    assert session.status() == 0


def test_a_quoted_key_is_a_letter(start: Any, root: Path) -> None:
    session = start("run", root, "sh", "-c", "echo ready; exec cat")
    session.until(r"ready\s")
    session.becomes("cat")
    session.type("\x16\x03x\n")
    session.until("\x03x")
    session.type("\x03")
    assert session.status() == 130


def test_job_control(start: Any, root: Path) -> None:
    session = start("run", root)
    session.until(r"# ")
    session.type("sleep 1000\n")
    session.until(r"sleep 1000\s")
    time.sleep(0.3)
    session.type("\x1a")
    session.until(r"Stopped.*sleep 1000\s+.*# ")
    session.type("kill -9 %1; wait; echo no$((1))job; exit; exit\n")
    session.until(r"no1job")
    assert session.status() == 0


def test_control_d_ends_its_input(start: Any, root: Path) -> None:
    session = start("run", root, "cat")
    session.type("one\n")
    session.until(r"one\s+one\s")
    session.type("\x04")
    assert session.status() == 0


def test_a_terminal_that_goes_takes_the_container_with_it(start: Any, root: Path) -> None:
    session = start("run", root)
    session.until(r"# ")
    os.close(session.slave)
    os.close(session.master)
    session.master = session.slave = -1
    assert session.process.wait(PATIENCE) == 128 + signal.SIGHUP


def test_all_that_is_printed_comes_out(start: Any, root: Path) -> None:
    session = start("run", root, "seq", "1", "30000")
    assert session.status() == 0
    assert session.seen.split() == [str(number) for number in range(1, 30001)]


def test_what_is_printed_last_comes_out(start: Any, root: Path) -> None:
    """The program has ended before kokon looks again."""
    session = start("run", root, "sh", "-c", "echo ready; sleep 0.2; seq 1 500")
    session.until(r"ready\s")
    pid = session.process.pid
    program = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0]
    session.process.send_signal(signal.SIGSTOP)
    end = time.monotonic() + PATIENCE
    while "Z (zombie)" not in Path(f"/proc/{program}/status").read_text():
        assert time.monotonic() < end
    session.process.send_signal(signal.SIGCONT)
    assert session.status() == 0
    assert session.seen.split() == [str(number) for number in range(1, 501)]


def test_a_program_that_does_not_read_holds_nobody(start: Any, root: Path) -> None:
    """More is typed than a terminal holds, while the program prints more than one holds."""
    session = start("run", root, "sh", "-c", "stty raw -echo; echo ready; seq 1 20000; echo end")
    session.until(r"ready")
    for _ in range(20):
        session.type("x" * 1000)
        session.read(0.01)
    session.until(r"end")
    assert session.status() == 0


def test_a_terminal_without_one_outside(root: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kokon", "run", "-t", root, "sh", "-c", "tty; echo hi >&2"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert re.fullmatch(r"/dev/(console|pts/0)\nhi\n", done.stdout.replace("\r", ""))
    assert done.stderr == ""


def test_a_timeout_longer_than_one_poll(start: Any, root: Path) -> None:
    session = start("run", "--timeout", "40d", root, "echo", "done")
    session.until("done")
    assert session.status() == 0


def test_timeout(start: Any, root: Path) -> None:
    session = start("run", "--timeout", "500ms", root, "cat")
    assert session.status() == 124
    assert "its time was over (--timeout 500ms)" in session.seen
    assert termios.tcgetattr(session.slave) == session.before


def test_switched_off(start: Any, root: Path) -> None:
    session = start("run", "--tty=false", root, "sh", "-c", "test -t 0 || echo none; cat")
    session.until(r"none")
    assert session.status() == 0
