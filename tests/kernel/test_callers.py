"""What a caller does to its own process between and during runs: its descriptors, its signals,
its forks, the variables that say where things are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from leftovers import Before, busybox_root, files_below, own_place, skip_without_namespaces

import kokon
from kokon.engine import owner, sweep
from kokon.engine.undo import Undo
from kokon.kernel.kept import Kept
from kokon.runtime import program, spawn
from kokon.runtime.process import FirstProcess

pytestmark = pytest.mark.kernel


class Interrupt(BaseException):
    """As KeyboardInterrupt, which pytest would take for its own."""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    skip_without_namespaces()
    yield from own_place(monkeypatch, tmp_path)


def children() -> list[str]:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


def test_inits_own_descriptor_has_the_number_of_another(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = busybox_root(place / "root")
    for number in (spawn.REPORT_FD, spawn.PLAN_FD):
        os.dup2(program.descriptor(), number, inheritable=False)
        kept = Kept(number)
        monkeypatch.setattr(program, "_sealed", {program.INIT_PROGRAM: kept})
        assert kokon.run(["echo", "here"], root=root, capture_output=True).stdout == b"here\n"
        kept.close()


CLOSES_ALL = """
import os, kokon
from kokon.engine import owner
def run():
    assert kokon.run(["/bin/echo", "here"], root=ROOT, capture_output=True).stdout == b"here\\n"
    return owner.current().token
before = run()
if FORKS and os.fork():
    raise SystemExit(os.waitstatus_to_exitcode(os.wait()[1]))
os.closerange(3, 256)
mine = {os.open("/etc/passwd", os.O_RDONLY) for _ in range(9)}
assert before != run()
here = os.stat("/etc/passwd")
assert all(os.path.samestat(os.fstat(fd), here) for fd in mine)
run()
"""


@pytest.mark.parametrize("forks", [False, True])
def test_a_caller_that_closes_what_it_did_not_open(place: Path, forks: bool) -> None:
    root = busybox_root(place / "root")
    script = CLOSES_ALL.replace("ROOT", repr(root)).replace("FORKS", str(forks))
    done = subprocess.run([sys.executable, "-c", script], stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_sweep_looks_into_the_store_of_the_dead(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = busybox_root(place / "root")
    pid = os.fork()
    if pid == 0:
        monkeypatch.setattr(
            "kokon.engine.prepared.spawn", lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
        )
        kokon.run(["true"], root=root)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL
    assert files_below(place / "store/writes") != []
    monkeypatch.setenv("KOKON_STORE", str(place / "another"))
    sweep.sweep()
    assert files_below(place / "store/writes") == []


@pytest.mark.parametrize("where", ["while it starts", "when it has started"])
def test_an_interrupt_ends_the_container(
    place: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    root = busybox_root(place / "root")
    kokon.run(["true"], root=root)
    before = Before(place)

    kind, method = {
        "while it starts": (spawn.Spawned, "await_pid"),
        "when it has started": (FirstProcess, "__init__"),
    }[where]
    begun = time.monotonic()
    with monkeypatch.context() as patch, pytest.raises(Interrupt):

        def interrupt(*_: object) -> None:
            patch.undo()
            raise Interrupt

        patch.setattr(kind, method, interrupt)
        kokon.run(["sleep", "20"], root=root)
    assert time.monotonic() - begun < 10
    assert children() == []
    assert before.left() == []


def test_signal_handlers_that_raise_at_any_moment(place: Path) -> None:
    root = busybox_root(place / "root")
    kokon.run(["true"], root=root)

    def interrupt(*_: object) -> None:
        raise Interrupt

    handler = signal.signal(signal.SIGALRM, interrupt)
    try:
        for number in range(200):
            with pytest.raises(Interrupt):
                # Again and again: a signal just before a call that waits does not end its wait.
                signal.setitimer(signal.ITIMER_REAL, 0.0002 + number * 0.00003, 0.5)
                try:
                    kokon.run(["sleep", "20"], root=root)
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
            assert children() == [], number
    finally:
        signal.signal(signal.SIGALRM, handler)
    left = [name for name in files_below(place / "store/writes") if "work" not in name]
    assert left == [] or owner.current().leaves


def test_an_interrupt_while_things_are_taken_back(place: Path) -> None:
    taken = []

    def interrupt() -> None:
        raise Interrupt

    undo = Undo()
    undo.push(lambda: taken.append(1))
    undo.push(interrupt)
    with pytest.raises(Interrupt):
        undo.run()
    assert taken == [1]
    assert owner.current().leaves


def test_a_child_that_another_thread_forks_does_not_hold_us(place: Path) -> None:
    root = busybox_root(place / "root")
    pids = []

    def fork() -> None:
        time.sleep(0.2)
        pid = os.fork()
        if pid == 0:
            time.sleep(5)
            os._exit(0)
        pids.append(pid)

    thread = threading.Thread(target=fork)
    spawned, spawn_pipe = time.monotonic(), spawn._channel

    def channel(terminal: bool) -> tuple[int, int]:
        made = spawn_pipe(terminal)
        thread.start()
        thread.join()  # it has the writing end of our report now
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spawn, "_channel", channel)
        kokon.run(["true"], root=root)
    assert time.monotonic() - spawned < 4
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
