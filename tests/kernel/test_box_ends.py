"""The end of a box and of its programs, whoever brings it about and when; nothing is left."""

from __future__ import annotations

import asyncio
import concurrent.futures
import ctypes
import gc
import multiprocessing
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from traceback import extract_tb
from types import FrameType
from typing import Any

import pytest
from leftovers import (
    Before,
    busybox_root,
    children,
    descriptors,
    files_below,
    groups_of,
    own_place,
    skip_without_namespaces,
)

import kokon
from kokon.api.process import Popen
from kokon.engine import owner, sweep
from kokon.kernel import cgroups, facts
from kokon.runtime import spawn

pytestmark = pytest.mark.kernel

PR_SET_CHILD_SUBREAPER = 36


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    skip_without_namespaces()
    yield from own_place(monkeypatch, tmp_path)


@pytest.fixture
def root(place: Path) -> Iterator[str]:
    made = busybox_root(place / "root")
    before = Before(place)
    yield made
    gc.collect()
    assert before.left() == []


def limits() -> dict[str, Any]:
    if facts.read().is_root and (cgroups.read().of("pids") or cgroups.read().unified):
        return {"pids": 200}
    return {}


def told(work: Callable[[], object]) -> object:
    """What came of a call in a box that may be closed meanwhile."""
    try:
        return work()
    except kokon.RequestError as error:
        assert "the box is closed" in str(error)
        return "closed"


@pytest.mark.parametrize("number", range(12))
def test_a_box_that_is_closed_while_threads_use_it(root: str, number: int) -> None:
    """They get their program's end or are told; a descriptor is never another's."""
    chance = random.Random(number)
    ends: list[object] = []
    failed: list[BaseException] = []
    box = kokon.Sandbox(root=root, **limits())
    box.files.write("/f", bytes(100_000))

    def work(kind: int) -> None:
        try:
            while True:
                if kind == 0:
                    done = told(lambda: box.run(["sh", "-c", "sleep 0.001"]))
                elif kind == 1:
                    done = told(lambda: box.files.read("/f"))
                elif kind == 2:
                    done = told(lambda: box.files.write("/f", bytes(100_000)))
                else:
                    done = told(lambda: box.popen(["sleep", "60"]).wait())
                ends.append(done)
                if isinstance(done, bytes):
                    assert done == bytes(100_000)
                if done == "closed" or kind == 3:
                    return
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(kind,)) for kind in (0, 1, 3, 0, 1)]
    for thread in threads:
        thread.start()
    time.sleep(chance.uniform(0, 0.06))
    began = time.monotonic()
    box.close()
    # Others open what gets the numbers that the box had.
    opened = [os.open("/proc/self/ns/uts", os.O_RDONLY) for _ in range(12)]
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert time.monotonic() - began < 4
    for fd in opened:
        os.close(fd)
    assert failed == []
    allowed = ("closed", -signal.SIGKILL, bytes(100_000))
    for end in ends:
        assert end in allowed or end.returncode in (0, -signal.SIGKILL), end  # type: ignore[attr-defined]


def test_descriptors_stay_while_a_program_is_started(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread is between the descriptors' numbers and their use; close waits for it."""
    at, go = threading.Event(), threading.Event()
    start, seen = spawn._start, []

    def slow(init: Any, passed: dict[int, int], opened: list[int]) -> None:
        at.set()
        go.wait(10)
        seen.extend(os.readlink(f"/proc/self/fd/{fd}") for fd in passed.values())
        start(init, passed, opened)

    box = kokon.Sandbox(root=root)
    monkeypatch.setattr(spawn, "_start", slow)
    ends: list[object] = []
    runner = threading.Thread(target=lambda: ends.append(told(lambda: box.run(["sleep", "60"]))))
    runner.start()
    at.wait(10)
    closer = threading.Thread(target=box.close)
    closer.start()
    time.sleep(0.05)
    assert closer.is_alive()
    go.set()
    runner.join(10)
    closer.join(10)
    assert any(name.startswith("mnt:") for name in seen), seen
    (end,) = ends
    assert end == "closed" or end.returncode == -signal.SIGKILL  # type: ignore[attr-defined]


def test_a_box_that_a_signal_handler_closes(root: str) -> None:
    """In the middle of a start, in the very thread that starts."""
    chance = random.Random(5)
    for _ in range(25):
        box = kokon.Sandbox(root=root)
        before = signal.signal(signal.SIGALRM, lambda *_: box.close())  # noqa: B023
        try:
            signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.0001, 0.006))
            while (end := told(lambda: box.run(["true"]))) != "closed":  # noqa: B023
                assert end.returncode in (0, -signal.SIGKILL)  # type: ignore[attr-defined]
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


class Interrupt(BaseException):
    """As KeyboardInterrupt, which pytest would take for its own."""


def left(pid: int) -> str:
    """What a process is, dead ones too."""
    return Path(f"/proc/{pid}/stat").read_text()[:60]


@pytest.mark.parametrize("seed", range(2))
def test_interrupts_anywhere(place: Path, seed: int) -> None:
    """No process is left, no namespace; what else is, the next command removes."""
    root, settings = busybox_root(place / "root"), limits()
    kokon.run(["true"], root=root, **settings)
    chance = random.Random(seed)

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise Interrupt

    handler = signal.signal(signal.SIGALRM, interrupt)
    try:
        for _ in range(60):
            box = process = None
            known, where = children(), ""
            try:
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.0005, 0.03))
                box = kokon.Sandbox(root=root, **settings)
                box.files.write("/f", b"x")
                process = box.popen(["sleep", "60"], stdin=kokon.PIPE)
                box.run(["true"], capture_output=True)
                box.files.read("/f")
                time.sleep(0.02)
            except Interrupt as error:
                where = " ".join(f"{f.name}:{f.lineno}" for f in extract_tb(error.__traceback__))
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", ResourceWarning)
                    if box is not None:
                        box.close()
                    box = process = None  # noqa: F841
                    gc.collect()
            assert children() == known, (where, [left(pid) for pid in children()])
            assert not [fd for fd in descriptors() if _is_namespace(fd)], where
    finally:
        signal.signal(signal.SIGALRM, handler)
    owner.current().release()
    sweep.sweep()
    assert groups_of(owner.current().token) == []


def test_a_fork_has_copies_only(root: str) -> None:
    """A child that uses, closes or forgets its copy of a box and of a program ends nothing."""
    with kokon.Sandbox(root=root, **limits()) as box:
        process = box.popen(["sleep", "60"])
        child = os.fork()
        if child == 0:
            status = 1
            try:
                with pytest.raises(kokon.RequestError, match="forked from"):
                    box.run(["true"])
                box.close()
                del process
                gc.collect()
                assert not [fd for fd in descriptors() if _is_namespace(fd)]
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        assert process.poll() is None
        assert box.run(["echo", "on"], capture_output=True).stdout == b"on\n"
        process.kill()


def _is_namespace(fd: int) -> bool:
    return os.readlink(f"/proc/self/fd/{fd}").split(":")[0] in ("mnt", "net", "uts", "ipc")


def test_a_forked_interpreter_that_ends(root: str, place: Path) -> None:
    """... and lets go of everything on its way."""
    script = (
        "import kokon, os, sys\n"
        "box = kokon.Sandbox(root=sys.argv[1]); process = box.popen(['sleep', '60'])\n"
        "if os.fork() == 0: sys.exit(0)\n"
        "os.wait(); assert process.poll() is None; process.kill(); process.wait(); box.close()\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, root], capture_output=True, check=False,
        env={**os.environ, "XDG_RUNTIME_DIR": str(place / "state")}, timeout=30,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")


def test_an_interpreter_that_ends_with_all_alive(root: str, place: Path) -> None:
    script = (
        "import kokon, sys\n"
        "box = kokon.Sandbox(root=sys.argv[1]); process = box.popen(['sleep', '6789'])\n"
        "other = kokon.popen(['sleep', '6789'], root=sys.argv[1])\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, root], capture_output=True, check=False,
        env={**os.environ, "XDG_RUNTIME_DIR": str(place / "state")}, timeout=30,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    deadline = time.monotonic() + 5
    while running("sleep\x006789") and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not running("sleep\x006789")


def running(words: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += [str(path)] if path.read_text().startswith(words) else []
        except OSError:
            continue
    return found


def test_what_could_not_be_begun(root: str) -> None:
    with kokon.Sandbox(root=root, **limits()) as box:
        read, write = os.pipe()
        os.close(write)
        for start in (box.popen, lambda *a, **k: kokon.popen(*a, root=root, **k), box.run):
            with pytest.raises(OSError):
                start(["true"], stdin=write)  # type: ignore[operator]
            with pytest.raises(LookupError):
                start(["echo", "x"], stdout=kokon.PIPE, encoding="no-such")  # type: ignore[operator]
        os.close(read)
        with pytest.raises(ValueError, match="no mode"):
            box.files.write("/x", b"", mode=-1)
        assert box.files.read(b"/etc/group") == box.files.read("/etc/group")  # type: ignore[arg-type]


def test_a_file_that_is_moved_in_part_is_no_success(root: str) -> None:
    """Its process is ended from outside, as for want of memory."""
    box = kokon.Sandbox(root=root)
    box.files.write("/f", bytes(1000))
    started = threading.Event()

    def end() -> None:
        started.wait(10)
        for pid in children():
            os.kill(pid, signal.SIGKILL)

    write = box.files.writing("/f", bytes(8 << 20))
    start = write.start

    def slowly(**options: Any) -> None:
        start(**options)
        for pid in children():
            os.kill(pid, signal.SIGSTOP)
        started.set()

    write.start = slowly  # type: ignore[method-assign]
    thread = threading.Thread(target=end)
    thread.start()
    with pytest.raises(kokon.HostError, match="ended before"):
        write.run()
    thread.join()
    with pytest.raises(kokon.TimeoutExpired):
        slow = box.files.writing("/f", bytes(8 << 20), timeout=0.2)
        begin = slow.start
        slow.start = lambda: (begin(), [os.kill(p, signal.SIGSTOP) for p in children()])  # type: ignore
        slow.run()
    box.close()


def test_communicate_after_the_end(root: str) -> None:
    process = kokon.popen(["sh", "-c", "echo out; echo err >&2"], root=root, stdout=kokon.PIPE,
                          stderr=kokon.PIPE, text=True)  # fmt: skip
    assert process.wait(10) == 0
    assert process.communicate() == ("out\n", "err\n")
    # As subprocess's own pages have it, with a wait in between.
    process = kokon.popen(["sh", "-c", "echo out; sleep 60"], root=root, stdout=kokon.PIPE)
    with pytest.raises(kokon.TimeoutExpired):
        process.communicate(timeout=0.3)
    process.kill()
    process.wait()
    assert process.communicate() == (b"out\n", None)


@pytest.mark.parametrize("way", ["close", "with", "forget"])
def test_what_an_exchange_has_open(root: str, way: str) -> None:
    process = kokon.popen(["sleep", "60"], root=root, stdin=kokon.PIPE, stdout=kokon.PIPE)
    with pytest.raises(kokon.TimeoutExpired):
        process.communicate(b"x" * 200_000, timeout=0.05)
    if way == "close":
        process.close()
    elif way == "with":
        with process:
            process.kill()
    else:
        process.kill()
        process.wait()


def test_a_program_that_could_not_run_says_so_each_time(root: str) -> None:
    process = kokon.popen(["no-such-program"], root=root)
    said: list[str] = []

    def wait() -> None:
        try:
            process.wait()
        except kokon.CommandError as error:
            said.append(str(error))

    threads = [threading.Thread(target=wait) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    wait()
    assert len(said) == 6 and len(set(said)) == 1
    process.kill()
    process.close()
    with pytest.raises(KeyError), kokon.popen(["no-such-program"], root=root):
        raise KeyError


def test_a_handler_that_ends_the_program_it_waits_for(root: str) -> None:
    chance = random.Random(1)
    for _ in range(10):
        process = kokon.popen(["sleep", "60"], root=root)
        before = signal.signal(signal.SIGALRM, lambda *_: process.kill())  # noqa: B023
        try:
            signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.0001, 0.01), 0.002)
            assert process.wait() == -signal.SIGKILL
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


def test_text_as_subprocess_has_it(root: str) -> None:
    for module in (subprocess, kokon):
        extra = {} if module is subprocess else {"root": root}
        start: Any = getattr(module, "Popen" if module is subprocess else "popen")
        with start(["cat"], stdin=-1, stdout=-1, text=True, bufsize=0, **extra) as process:
            process.stdin.write("no newline")  # goes at once
            assert os.read(process.stdout.fileno(), 100) == b"no newline"
        with start(["cat"], stdin=-1, stdout=-1, encoding="latin-1", bufsize=1, **extra) as process:
            assert process.communicate("ä\r\nb\r") == ("ä\nb\n", None)
        with start(["cat"], stdin=-1, stdout=-1, text=True, **extra) as process:
            process.stdin.write("a\r\nb\rc\n")
            process.stdin.close()
            assert process.stdout.read() == "a\nb\nc\n"
    assert issubclass(Popen, object)


def _in_worker(root: str, args: list[str]) -> Any:
    return kokon.run(args, root=root, capture_output=True, check=True)


def test_results_and_errors_cross_processes(root: str) -> None:
    context = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        result = pool.submit(_in_worker, root, ["echo", "hello"]).result(30)
        assert (result.stdout, result.guarantees.files.holds) == (b"hello\n", True)
        failing = pool.submit(_in_worker, root, ["sh", "-c", "echo x; exit 3"])
        with pytest.raises(kokon.CalledProcessError) as caught:
            failing.result(30)
        assert caught.value.result.stdout == b"x\n"
        with pytest.raises(kokon.CommandError) as missing:
            pool.submit(_in_worker, root, ["no-such"]).result(30)
        assert missing.value.exit_status == 127 and "was not found" in str(missing.value)
    sweep.sweep()  # such a worker ends without its own clean-up
    ended = kokon.run(["true"], root=root)
    for error in (
        kokon.TimeoutExpired(["a"], 3.0, ended),
        kokon.OutputExceeded(ended, 7),
        kokon.StepError("it", step=3, steps=4, why="--x", errno=1, remedy="mend it"),
        kokon.RetryError("it", where="--x"),
    ):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again)) == (type(error), str(error))


def test_tasks_that_are_cancelled_anywhere(root: str) -> None:
    chance = random.Random(2)

    async def one() -> None:
        async with kokon.aio.Sandbox(root=root, **limits()) as box:
            await box.files.write("/f", bytes(100_000))
            async for _ in box.stream(["sh", "-c", "echo a; sleep 0.002; echo b"]):
                pass
            await box.run(["true"])
            await box.files.read("/f")
            await kokon.arun(["sleep", "0.01"], root=root)

    async def work() -> None:
        for _ in range(60):
            task = asyncio.ensure_future(one())
            await asyncio.sleep(chance.uniform(0, 0.06))
            for _ in range(chance.choice((1, 1, 3))):  # an impatient one
                task.cancel()
                await asyncio.sleep(0)
            await asyncio.wait((task,))
            assert task.cancelled() or task.exception() is None

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(work())


def killed(root: str, settings: dict[str, Any], wait: float) -> None:
    """A process that uses boxes in two threads, ended by SIGKILL."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:

        def files(box: kokon.Sandbox) -> None:
            while True:
                box.files.write("/f", b"x")

        os.write(write, b"\0")
        while True:
            box = kokon.Sandbox(root=root, **settings)
            threading.Thread(target=files, args=(box,), daemon=True).start()
            box.popen(["sleep", "6790"])
            box.run(["sleep", "0.005"])
            box.run(["sleep", "0.005"], **({"memory": "64M"} if settings else {}))
            try:
                box.close()
            except BaseException:
                os._exit(1)
    os.close(write)
    os.read(read, 1)
    os.close(read)
    time.sleep(wait)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def kill_rounds(place: Path, rounds: int) -> None:
    root, settings = busybox_root(place / "root"), limits()
    mine, libc, chance = owner.current(), ctypes.CDLL(None), random.Random(7)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        for number in range(rounds):
            killed(root, settings, chance.uniform(0, 0.06))
            dead = [token for token in os.listdir(place / "state/owners") if token != mine.token]
            end = time.monotonic() + 5
            while time.monotonic() < end:
                try:
                    if os.waitpid(-1, os.WNOHANG) == (0, 0):
                        time.sleep(0.002)
                except ChildProcessError:
                    break
            else:
                raise AssertionError(f"round {number}: a program outlived its caller")
            sweep.sweep()
            assert os.listdir(place / "state/owners") == [mine.token], number
            assert files_below(place / "store/writes") == [], number
            assert not dead or groups_of(*dead) == [], number
    finally:
        libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def test_a_sigkill_in_the_middle_is_swept(place: Path) -> None:
    kill_rounds(place, 30)


@pytest.mark.slow
def test_many_sigkills_in_the_middle_are_swept(place: Path) -> None:
    kill_rounds(place, 300)
