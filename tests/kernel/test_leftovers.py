"""What is left: nothing after many runs, nothing after twenty at once, and what a SIGKILL leaves
the next command removes."""

from __future__ import annotations

import ctypes
import gc
import os
import random
import resource
import signal
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from leftovers import (
    Before,
    busybox_root,
    descriptors,
    files_below,
    groups_of,
    own_place,
    skip_without_namespaces,
)

import kokon
from kokon.engine import mappings, owner, plans, sweep
from kokon.kernel import cgroups, facts
from kokon.runtime import program

SEEN = {"L9": "the next command does not look for what the dead have left"}

pytestmark = pytest.mark.kernel

PR_SET_CHILD_SUBREAPER = 36


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    skip_without_namespaces()
    yield from own_place(monkeypatch, tmp_path)


def limits() -> dict[str, Any]:
    """Limits where this machine lets us set them: their control groups have to go away too."""
    if facts.read().is_root and (cgroups.read().of("pids") or cgroups.read().unified):
        return {"pids": 64}
    return {}


def memory() -> int:
    """Our resident memory in KiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def objects() -> int:
    """How many objects live, without the plans that are kept for the next run."""
    plans._recipes.clear()
    gc.collect()
    return len(gc.get_objects())


def many_runs(place: Path, count: int) -> None:
    root = busybox_root(place / "root")
    settings = limits()
    for _ in range(20):
        kokon.run(["true"], root=root, capture_output=True, **settings)
    before, used, alive = Before(place), memory(), objects()
    for number in range(count):
        result = kokon.run(["echo", str(number)], root=root, capture_output=True, **settings)
        assert (result.returncode, result.stdout) == (0, b"%d\n" % number)
    del result  # it has its plan, as long as somebody has it
    assert before.left() == []
    assert objects() - alive < count // 4
    assert memory() - used < 8192
    assert len(files_below(place / "state/ids")) <= 1


def test_two_hundred_runs_leave_nothing(place: Path) -> None:
    many_runs(place, 200)


@pytest.mark.slow
def test_a_thousand_runs_leave_nothing(place: Path) -> None:
    many_runs(place, 1000)


def test_failing_runs_leave_nothing(place: Path) -> None:
    root = busybox_root(place / "root")
    before = Before(place)
    for wrong in (
        {"args": ["no-such"]}, {"root": "/no/such"}, {"user": "nobody-here"},
        {"memory": "1"}, {"volumes": ["/no/such:/x"]}, {"cap_add": ["NET_BINDS"]},
        {"hostname": "h" * 70}, {"sysctls": ["kernel.panic=1"]}, {"user": "4000000000"},
    ):  # fmt: skip
        with pytest.raises(kokon.KokonError):
            kokon.run(**{"args": ["true"], "root": root, **limits(), **wrong})
        assert before.left() == [], wrong


def test_twenty_starts_at_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As in a fresh process: what is made once is made by all of them at the same time.
    monkeypatch.setattr(program, "_sealed", {})
    root, settings = busybox_root(place / "root"), limits()
    results: list[tuple[int, bytes]] = []
    barrier = threading.Barrier(20)
    open_before = descriptors()

    def start(number: int) -> None:
        barrier.wait()
        args = ["sh", "-c", f"echo {number}; exit {number}"]
        result = kokon.run(args, root=root, capture_output=True, **settings)
        results.append((result.returncode, result.stdout))

    threads = [threading.Thread(target=start, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [(number, b"%d\n" % number) for number in range(20)]
    # One sealed init and one owner's lock, however many came first.
    assert len(descriptors() - open_before) <= 2
    assert groups_of(owner.current().token) == []
    assert files_below(place / "store/writes") == []
    assert len(os.listdir(place / "state/owners")) == 1
    os.close(program.descriptor())


def killed_in_the_middle(root: str, settings: dict[str, Any], wait: float) -> None:
    """Forks a process that runs containers, and ends it with SIGKILL."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, b"\0")
        while True:
            kokon.run(["sleep", "0.005"], root=root, stdin=kokon.DEVNULL, **settings)
    os.close(write)
    os.read(read, 1)
    os.close(read)
    time.sleep(wait)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def reap_orphans(limit: float) -> bool:
    """Waits until every process that came to us is gone; False when one lives on."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        try:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.002)
        except ChildProcessError:
            return True
    return False


def sigkill_rounds(place: Path, rounds: int) -> None:
    root, settings = busybox_root(place / "root"), limits()
    mine = owner.current()
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    chance = random.Random(3)
    try:
        for number in range(rounds):
            killed_in_the_middle(root, settings, chance.uniform(0, 0.04))
            dead = [token for token in os.listdir(place / "state/owners") if token != mine.token]
            # The very next command may come before the kernel has ended the container.
            sweep.sweep()
            assert reap_orphans(5), f"round {number}: a container outlived its caller"
            sweep.sweep()
            assert os.listdir(place / "state/owners") == [mine.token], number
            assert files_below(place / "store/writes") == [], number
            assert os.listdir(mappings_directory(place)) == [], number
            assert not dead or groups_of(*dead) == [], number
    finally:
        libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def mappings_directory(place: Path) -> str:
    directory = place / "state/ids"
    directory.mkdir(mode=0o700, exist_ok=True)
    return str(directory)


def test_l9_a_sigkill_in_the_middle_is_swept(place: Path) -> None:
    sigkill_rounds(place, 30)


@pytest.mark.slow
def test_l9_many_sigkills_in_the_middle_are_swept(place: Path) -> None:
    sigkill_rounds(place, 300)


@pytest.mark.parametrize("below", ["", "/kokon-test-parent/deep"])
def test_a_sweep_finds_the_groups_of_the_dead_wherever_they_are(place: Path, below: str) -> None:
    """The dead one was in another login session, or named a parent."""
    if not facts.read().is_root:
        pytest.skip("only root moves itself to other control groups")
    settings = limits()
    if not settings:
        pytest.skip("there are no limits here")
    root = busybox_root(place / "root")
    elsewhere = [f"{tree.mount_point}/kokon-test-elsewhere" for tree in cgroups.read().hierarchies]
    if below:
        settings["cgroup_parent"] = below
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        for directory in elsewhere:
            try:
                os.mkdir(directory)
                Path(directory, "cgroup.procs").write_text("0")
            except OSError:
                pass  # a cpuset without processors takes nobody
        facts.forget()
        kokon.run(["sh", "-c", "echo up; sleep 60"], root=root, stdout=write, **settings)
        os._exit(1)
    os.close(write)
    try:
        with open(read) as pipe:
            assert pipe.readline() == "up\n"
        (token,) = os.listdir(place / "state/owners")
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        assert groups_of(token) != []
        sweep.sweep()
        assert groups_of(token) == []
        assert not any(f"{below}/" in f"{path}/" for path in groups_of("kokon-test-parent"))
    finally:
        for directory in elsewhere:
            if os.path.isdir(directory):
                os.rmdir(directory)


def test_a_sweep_leaves_the_living_alone(place: Path) -> None:
    """Another process's container runs while we sweep."""
    root = busybox_root(place / "root")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        result = kokon.run(["sh", "-c", "echo up; sleep 0.3; ls /bin"], root=root, stdout=write)
        if owner._current:
            owner._current.release()
        os._exit(result.returncode)
    os.close(write)
    with open(read) as pipe:
        assert pipe.readline() == "up\n"
        left = files_below(place / "state")
        sweep.sweep()
        assert files_below(place / "state") == left
        assert "busybox" in pipe.read()
    assert os.waitpid(child, 0)[1] == 0


def test_a_claim_without_an_owner_is_given_back(place: Path) -> None:
    """A process that died between making the claim's file and writing its token."""
    if not facts.read().is_root:
        pytest.skip("only root claims ranges of ids")
    mappings_directory(place)
    first = mappings._claim()
    assert os.listdir(place / "state/ids") == [str(first)]
    mappings.release_claims({owner.current().token})
    assert os.listdir(place / "state/ids") == []


def test_a_store_is_closed_to_others(place: Path) -> None:
    kokon.run(["true"], root=busybox_root(place / "root"))
    for name in ("state/owners", "store", "store/writes"):
        assert stat.S_IMODE(os.stat(place / name).st_mode) == 0o700


@pytest.mark.parametrize("most", [4, 5, 6, 7, 8, 10, 12, 15, 20, 30, 210])
def test_too_few_descriptors(place: Path, most: int) -> None:
    """Whatever could not be opened: an error that says what to do, and nothing is left for longer
    than to the next command."""
    root, settings = busybox_root(place / "root"), limits()
    child = os.fork()
    if child == 0:
        status = 9
        try:
            kokon.run(["true"], root=root, **settings)
            open_before = len(descriptors())
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            try:
                kokon.run(["true"], root=root, **settings)
                status = 0
            except kokon.KokonError as error:
                status = 1 if "ulimit -n" in str(error) else 7
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            if len(descriptors()) != open_before:
                status = 8
            owner.current().release()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) in (0, 1)
    tokens = os.listdir(place / "state/owners")
    sweep.sweep()
    assert files_below(place / "store/writes") == []
    assert groups_of(*tokens) == []
    assert set(files_below(place / "state")) <= {f"{place}/state/ids", f"{place}/state/owners"}


def test_what_cannot_be_taken_back_is_found_later(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kokon.engine.undo import Undo

    us = owner.current()
    us.note(f"{place}/store/writes")
    name = us.name()
    (place / "store/writes" / name).mkdir(parents=True)
    (place / "store").chmod(0o700)

    def fail() -> None:
        raise OSError("the device is busy")

    undo, order = Undo(), []
    undo.push(lambda: order.append(1))
    undo.push(fail)
    undo.push(lambda: order.append(2))
    assert [str(error) for error in undo.run()] == ["the device is busy"]
    assert order == [2, 1]
    us.release()
    assert os.listdir(place / "state/owners") == [us.token]
    monkeypatch.setattr(owner, "_current", None)
    monkeypatch.setattr(owner, "_made", {})
    sweep.sweep()
    assert os.listdir(place / "state/owners") == []
    assert files_below(place / "store/writes") == []


@pytest.mark.parametrize(
    "limited",
    [
        True,
        False,
    ],
)  # fmt: skip
def test_the_end_of_a_container_without_a_pid_namespace(place: Path, limited: bool) -> None:
    """Process 1 ends the others of its pid namespace; without one of its own, its group does."""
    if limited and not limits():
        pytest.skip("no control groups to limit with")
    if not facts.read().is_root:
        pytest.skip("without root there is no --pid host that could be ended by a group")
    root = busybox_root(place / "root")
    read, write = os.pipe()
    with pytest.raises(kokon.TimeoutExpired):
        kokon.run(["sh", "-c", "sleep 3 & sleep 3"], root=root, pid="host", timeout=0.2,
                  stdout=write, **(limits() if limited else {}))  # fmt: skip
    os.close(write)
    started = time.monotonic()
    assert os.read(read, 1) == b""  # the last holder of the pipe has ended
    os.close(read)
    assert time.monotonic() - started < 1


def test_the_reaper_holds_nothing_of_the_host(place: Path) -> None:
    """Row E1: after the program has started, process 1 has the report and nothing else open."""
    from kokon.config.options import Options
    from kokon.engine import run

    read, write = os.pipe()
    options = Options(
        busybox_root(place / "root"), ("sh", "-c", "echo; sleep 9"), {"init": True, **limits()}
    )
    prepared = run.prepare(options)
    process = prepared.start((0, write, 2))
    os.close(write)
    try:
        assert os.read(read, 1) == b"\n"
        time.sleep(0.05)
        # It is closed to all but root (PR_SET_DUMPABLE).
        if os.geteuid() == 0:
            assert os.listdir(f"/proc/{process.pid}/fd") == ["200"]
    finally:
        process.kill()
        process.wait()
        process.close()
        prepared.close()
        os.close(read)
