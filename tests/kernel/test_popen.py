"""kokon.popen in the manner of subprocess.Popen: pipes, waits, signals, a terminal, the end."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from leftovers import Before, busybox_root, own_place, skip_without_namespaces

import kokon

pytestmark = pytest.mark.kernel


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    skip_without_namespaces()
    for place in own_place(monkeypatch, tmp_path):
        made = busybox_root(place / "root")
        before = Before(place)
        yield made
        gc.collect()
        assert before.left() == []


def test_a_conversation(root: str) -> None:
    with kokon.popen(
        ["sh", "-c", "while read line; do echo $line, heard; done"], root=root,
        stdin=kokon.PIPE, stdout=kokon.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdin and process.stdout and process.stderr is None
        for word in ("one", "two"):
            process.stdin.write(f"{word}\n")
            process.stdin.flush()
            assert process.stdout.readline() == f"{word}, heard\n"
        assert process.poll() is None and process.returncode is None
        process.stdin.close()
        assert process.wait(5) == 0
    assert process.result and process.result.cause == "exited"


def test_communicate(root: str) -> None:
    process = kokon.popen(["sh", "-c", "cat; echo late >&2"], root=root, stdin=kokon.PIPE,
                          stdout=kokon.PIPE, stderr=kokon.PIPE)  # fmt: skip
    data = os.urandom(300_000)
    assert process.communicate(data) == (data, b"late\n")
    assert process.returncode == 0


def test_communicate_goes_on_after_a_timeout(root: str) -> None:
    process = kokon.popen(["sh", "-c", "echo one; sleep 0.4; echo two"], root=root,
                          stdout=kokon.PIPE, text=True)  # fmt: skip
    with pytest.raises(subprocess.TimeoutExpired):
        process.communicate(timeout=0.1)
    assert process.communicate(timeout=5) == ("one\ntwo\n", None)


def test_a_wait_that_is_over_leaves_the_program(root: str) -> None:
    with kokon.popen(["sleep", "60"], root=root) as process:
        with pytest.raises(kokon.TimeoutExpired) as caught:
            process.wait(0.05)
        assert caught.value.result is None and process.poll() is None
        process.kill()
        assert (process.wait(), process.cause) == (-signal.SIGKILL, "caller")
        process.kill()


def test_terminate_is_a_request(root: str) -> None:
    script = "trap 'echo asked; exit 3' TERM; echo ready; while :; do sleep 0.05; done"
    with kokon.popen(["sh", "-c", script], root=root, stdout=kokon.PIPE) as process:
        assert process.stdout and process.stdout.readline() == b"ready\n"
        process.terminate()
        assert process.wait(5) == 3
        assert process.stdout.read() == b"asked\n"
    assert process.cause == "exited"


def test_kill_ends_what_hides(root: str) -> None:
    script = "trap '' TERM; setsid sh -c 'trap \"\" TERM; sleep 61' & echo ready; sleep 61"
    process = kokon.popen(["sh", "-c", script], root=root, stdout=kokon.PIPE)
    assert process.stdout and process.stdout.readline() == b"ready\n"
    started = time.monotonic()
    process.kill()
    assert process.stdout.read() == b""  # nobody holds the pipe any more
    process.close()
    assert time.monotonic() - started < 5


def test_a_program_that_is_not_there(root: str) -> None:
    process = kokon.popen(["no-such-program"], root=root)
    with pytest.raises(kokon.CommandError) as caught:
        process.wait()
    assert caught.value.exit_status == 127


def test_a_terminal(root: str) -> None:
    with kokon.popen(["sh", "-c", "stty size; read line; echo got $line; tty"], root=root,
                     tty=True) as process:  # fmt: skip
        assert process.terminal is not None
        process.resize(30, 99)
        process.terminal.write(b"word\n")
        said = b""
        while b"/dev/pts" not in said and (part := _read(process.terminal.fileno())):
            said += part
        assert b"got word" in said and b"/dev/pts/0" in said
        assert process.wait(5) == 0


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 4096)
    except OSError:  # EIO: the other side is gone
        return b""


def test_many_threads_wait_for_one(root: str) -> None:
    process = kokon.popen(["sleep", "0.3"], root=root)
    codes: list[int] = []
    threads = [threading.Thread(target=lambda: codes.append(process.wait())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0] * 8


def test_one_that_is_forgotten_is_ended(root: str) -> None:
    process = kokon.popen(["sleep", "60"], root=root)
    pid = process.pid
    with pytest.warns(ResourceWarning, match="never waited for"):
        del process
        gc.collect()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_usage_while_it_runs(root: str) -> None:
    with kokon.popen(["sh", "-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo; "
                      "sleep 60"], root=root, stdout=kokon.PIPE) as process:  # fmt: skip
        assert process.stdout and process.stdout.readline() == b"\n"
        assert process.usage().user_time > 0
        process.kill()
    assert process.result and process.usage() is process.result.usage


def test_descriptors_stay_the_same(root: str) -> None:
    def once() -> None:
        with kokon.popen(["true"], root=root, stdout=kokon.PIPE) as process:
            process.wait()
            process.poll()

    once()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        once()
    assert len(os.listdir("/proc/self/fd")) == before


def test_an_overflow_is_cut_or_raised(root: str) -> None:
    script = ["sh", "-c", "yes | head -c 100000; echo end >&2"]
    cut = kokon.run(script, root=root, capture_output=True, max_output=1000, overflow="truncate")
    assert (len(cut.stdout), cut.returncode, cut.cause) == (1000, 0, "exited")
    with pytest.raises(kokon.OutputExceeded) as caught:
        kokon.run(script, root=root, capture_output=True, max_output="1K", overflow="error")
    assert len(caught.value.result.stdout) == 1024
    assert caught.value.result.limits_hit == ("output",)
    assert "more than 1024 bytes" in str(caught.value)


def test_a_terminal_that_nobody_wants(root: str) -> None:
    for _ in range(10):
        with kokon.popen(["sleep", "0"], root=root, tty=True):
            pass


def test_text_that_is_cut_within_a_character(root: str) -> None:
    letters = "ä" * 1000
    for overflow in ("truncate", "end"):
        cut = kokon.run(["cat"], root=root, input=letters, capture_output=True, text=True,
                        max_output=999, overflow=overflow)  # fmt: skip
        assert cut.stdout == letters[:499]
    with pytest.raises(UnicodeDecodeError):
        kokon.run(["cat"], root=root, input=b"\xff" + b"x" * 2000, capture_output=True, text=True,
                  max_output=999, overflow="truncate")  # fmt: skip
