"""kokon for asyncio: the same results, many at once, and nothing left of what is cancelled."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import threading
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from leftovers import Before, busybox_root, own_place, skip_without_namespaces

import kokon

pytestmark = pytest.mark.kernel
T = TypeVar("T")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    skip_without_namespaces()
    for place in own_place(monkeypatch, tmp_path):
        made = busybox_root(place / "root")
        before = Before(place)
        yield made
        gc.collect()
        assert before.left() == []


def ran(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def test_a_run(root: str) -> None:
    result = ran(kokon.arun(["sh", "-c", "cat; exit 3"], root=root, input="fed", text=True,
                            capture_output=True))  # fmt: skip
    assert (result.returncode, result.stdout, result.cause) == (3, "fed", "exited")
    with pytest.raises(kokon.CalledProcessError):
        ran(kokon.arun(["false"], root=root, check=True))
    with pytest.raises(kokon.CommandError):
        ran(kokon.arun(["no-such-program"], root=root))
    with pytest.raises(kokon.RootError):
        ran(kokon.arun(["true"], root="/no/such/root"))


def test_the_loop_goes_on(root: str) -> None:
    async def work() -> int:
        ticks = 0
        task = asyncio.ensure_future(kokon.arun(["sleep", "0.3"], root=root))
        while not task.done():
            await asyncio.sleep(0.01)
            ticks += 1
        return ticks

    assert ran(work()) >= 10


def test_a_timeout(root: str) -> None:
    async def work() -> None:
        await kokon.arun(["sh", "-c", "echo said; sleep 60"], root=root, timeout=0.2,
                         capture_output=True)  # fmt: skip

    started = time.monotonic()
    with pytest.raises(kokon.TimeoutExpired) as caught:
        ran(work())
    assert caught.value.output == b"said\n" and time.monotonic() - started < 5


@pytest.mark.parametrize("after", [0.0, 0.002, 0.01, 0.2])
def test_one_that_is_cancelled_leaves_nothing(root: str, after: float) -> None:
    async def work() -> None:
        task = asyncio.ensure_future(kokon.arun(["sleep", "65"], root=root, capture_output=True))
        await asyncio.sleep(after)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    ran(work())
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            assert Path(f"/proc/{pid}/cmdline").read_bytes() != b"sleep\x0065\0"
        except OSError:
            pass


def test_wait_for(root: str) -> None:
    async def work() -> None:
        await asyncio.wait_for(kokon.arun(["sleep", "65"], root=root), 0.1)

    with pytest.raises(TimeoutError):
        ran(work())


def test_two_hundred_tasks(root: str) -> None:
    async def one(number: int) -> int:
        result = await kokon.arun(["echo", str(number)], root=root, capture_output=True)
        return int(result.stdout)

    async def work() -> list[int]:
        return await asyncio.gather(*(one(number) for number in range(200)))

    before = len(os.listdir("/proc/self/fd"))
    assert ran(work()) == list(range(200))
    assert len(os.listdir("/proc/self/fd")) <= before + 3  # the sealed init, the owner's lock
    kokon.run(["true"], root=root)


def test_few_descriptors_are_enough_for_many_tasks(root: str) -> None:
    async def work() -> list[bytes]:
        runs = (kokon.arun(["echo", "x"], root=root, capture_output=True) for _ in range(60))
        return [result.stdout for result in await asyncio.gather(*runs)]

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        assert ran(work()) == [b"x\n"] * 60
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_stream(root: str) -> None:
    async def work() -> list[object]:
        script = "echo one; sleep 0.1; echo two >&2; sleep 0.1; exit 4"
        return [event async for event in kokon.astream(["sh", "-c", script], root=root)]

    *outputs, end = ran(work())
    assert [(o.stream, o.data) for o in outputs] == [("stdout", b"one\n"), ("stderr", b"two\n")]  # type: ignore[attr-defined]
    assert end.result.returncode == 4  # type: ignore[attr-defined]


def test_a_stream_that_nobody_reads_waits(root: str) -> None:
    async def work() -> int:
        size = 0
        async for event in kokon.astream(["yes"], root=root):
            assert isinstance(event, kokon.aio.Output)
            size += len(event.data)
            await asyncio.sleep(0.01)
            if size > 500_000:
                break
        return size

    assert ran(work()) < 1_000_000


def test_a_stream_ends_in_time_and_at_its_ceiling(root: str) -> None:
    async def work(**options: Any) -> kokon.CompletedProcess:
        async for event in kokon.astream(["yes"], root=root, **options):
            if isinstance(event, kokon.aio.End):
                return event.result
        raise AssertionError

    assert ran(work(max_output=100_000)).cause == "output"
    with pytest.raises(kokon.TimeoutExpired):
        ran(work(timeout=0.2))


def test_a_box(root: str) -> None:
    async def work() -> None:
        async with kokon.aio.Sandbox(root=root) as box:
            await box.files.write("/tmp/in", "text")
            runs = (box.run(["cat", "/tmp/in"], capture_output=True) for _ in range(20))
            assert {r.stdout for r in await asyncio.gather(*runs)} == {b"text"}
            events = [e async for e in box.stream(["sh", "-c", "echo out > /tmp/o; echo said"])]
            assert isinstance(events[0], kokon.aio.Output) and events[0].data == b"said\n"
            assert await box.files.read("/tmp/o") == b"out\n"

    ran(work())


def test_several_loops_at_once(root: str) -> None:
    codes: list[int] = []

    def work() -> None:
        async def some() -> None:
            for result in await asyncio.gather(
                *(kokon.arun(["sh", "-c", "exit 5"], root=root) for _ in range(5))
            ):
                codes.append(result.returncode)

        asyncio.run(some())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [5] * 20
