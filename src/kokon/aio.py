"""The same for asyncio: many runs at once in one event loop.

    result = await kokon.arun(["python3", "-c", code], root="@python", capture_output=True)

    async for event in kokon.astream(["make"], root="./root"):
        ...                                    # Output(stream, data), at the end End(result)

    async with kokon.aio.Sandbox(root="@python") as box:
        await asyncio.gather(*(box.run(["python3", "-c", code]) for code in many))

What blocks (unpacking a root, making and removing control groups) is done in threads of the loop's
executor; what takes long (the program) is waited for by the loop.  A task that is cancelled ends
its container before it raises.  Of very many runs some wait for their turn, so that descriptors
suffice (``ulimit -n``); the time of a ``timeout`` begins then.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from weakref import WeakKeyDictionary

from kokon.api import calls, sandbox
from kokon.api.call import Call
from kokon.api.pipes import PIPE

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Callable, Sequence
    from typing import Any, TypeVar

    from kokon.api.completed import CompletedProcess, Usage
    from kokon.runtime.streams import Exchange
    from kokon.security.ladder import Guarantees

    T = TypeVar("T")
    Arguments = str | Sequence[str | os.PathLike[str]]


class Output:
    """Something was printed.

    :ivar stream: ``stdout`` or ``stderr``.
    :ivar data: bytes, as they came.
    """

    __slots__ = ("data", "stream")
    __match_args__ = ("stream", "data")

    def __init__(self, stream: str, data: bytes) -> None:
        self.stream = stream
        self.data = data

    def __repr__(self) -> str:
        return f"Output({self.stream!r}, {self.data!r})"


class End:
    """The program has ended; no event follows.

    :ivar result: how it was; ``stdout`` and ``stderr`` of it are empty.
    """

    __slots__ = ("result",)
    __match_args__ = ("result",)

    def __init__(self, result: CompletedProcess) -> None:
        self.result = result

    def __repr__(self) -> str:
        return f"End({self.result!r})"


async def run(args: Arguments, **options: Any) -> CompletedProcess:
    """``kokon.run`` for an event loop: the same arguments, result and exceptions."""
    return await _complete(calls.call(args, **options))


def stream(args: Arguments, **options: Any) -> AsyncIterator[Output | End]:
    """Runs a program and yields what it prints as it comes, then its end.

    Nothing is read while nobody asks for the next event, so that a program which prints for ever
    waits.  Who leaves the loop early ends the container.

    :param options: as ``kokon.run`` but ``capture_output``; ``max_output`` is not limited unless
        given, and is that of all streams together.
    """
    _prepare_to_stream(options)
    return _events(calls.call(args, **options))


class Sandbox:
    """``kokon.Sandbox`` for an event loop; its container is made on entering.

    :param options: as ``kokon.Sandbox``.
    """

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._sandbox: sandbox.Sandbox | None = None

    async def __aenter__(self) -> Sandbox:
        making = _in_thread(lambda: sandbox.Sandbox(**self._options))
        try:
            self._sandbox = await _whole(making)
        except asyncio.CancelledError:
            if making.exception() is None:
                await _whole(_in_thread(making.result().close))
            raise
        self.files = Files(self._sandbox.files)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def _open(self) -> sandbox.Sandbox:
        if self._sandbox is None:
            raise RuntimeError("the box is not entered: use `async with`")
        return self._sandbox

    async def run(self, args: Arguments, **options: Any) -> CompletedProcess:
        """As ``kokon.Sandbox.run``."""
        return await _complete(self._open.call(args, **options))

    def stream(self, args: Arguments, **options: Any) -> AsyncIterator[Output | End]:
        """As :func:`stream`, in the box."""
        _prepare_to_stream(options)
        return _events(self._open.call(args, **options))

    async def usage(self) -> Usage | None:
        """As ``kokon.Sandbox.usage``."""
        return await _in_thread(self._open.usage)

    @property
    def guarantees(self) -> Guarantees:
        """As ``kokon.Sandbox.guarantees``."""
        return self._open.guarantees

    @property
    def notes(self) -> tuple[str, ...]:
        """As ``kokon.Sandbox.notes``."""
        return self._open.notes

    async def close(self) -> None:
        """Ends every program, and takes back everything.  May be called twice."""
        if self._sandbox is not None:
            await _whole(_in_thread(self._sandbox.close))


class Files:
    """The files of a box."""

    def __init__(self, files: sandbox.Files) -> None:
        self._files = files

    async def write(self, path: str | os.PathLike[str], data: str | bytes, **options: Any) -> None:
        """As ``kokon.Sandbox.files.write``."""
        await _complete(self._files.writing(path, data, **options))

    async def read(self, path: str | os.PathLike[str], **options: Any) -> bytes:
        """As ``kokon.Sandbox.files.read``."""
        return bytes((await _complete(self._files.reading(path, **options))).stdout)


def _prepare_to_stream(options: dict[str, Any]) -> None:
    if options.get("capture_output"):
        raise TypeError("a stream has no captured output: take its events")
    for name in ("stdout", "stderr"):
        options.setdefault(name, PIPE)
    options.setdefault("max_output", None)


async def _complete(call: Call) -> CompletedProcess:
    async with _place():
        return await _performed(call)


async def _performed(call: Call) -> CompletedProcess:
    await _start(call)
    try:
        assert call.exchange is not None
        ended = await _until(call.exchange, call.deadline, call.ends_full)
        if ended != "exit":
            call.kill()
            await _until(call.exchange, None, False)
    except BaseException:
        await _whole(_in_thread(call.abandon))
        raise
    return await _whole(_in_thread(lambda: call.finish(ended)))


async def _events(call: Call) -> AsyncIterator[Output | End]:
    async with _place():
        await _start(call)
        exchange, ended = call.exchange, "exit"
        assert exchange is not None
        try:
            while (moved := await _step(exchange, call.deadline)) != "exit":
                for stream_, data in call.output():
                    yield Output(stream_, data)
                if moved == "nothing" or (moved == "output" and call.ends_full):
                    ended = "timeout" if moved == "nothing" else "output"
                    call.kill()
                    break
            await _until(exchange, None, False)
            for stream_, data in call.output():
                yield Output(stream_, data)
        except BaseException:
            await _whole(_in_thread(call.abandon))
            raise
        yield End(await _whole(_in_thread(lambda: call.finish(ended))))


OF_A_RUN = 8
"""Descriptors that a run holds at most while it lives."""

_places: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()


def _place() -> asyncio.Semaphore:
    """A place among the runs that may live at once in a loop: those that descriptors suffice for.

    With ``ulimit -n 1024`` these are some hundred; others wait for their turn.
    """
    loop = asyncio.get_running_loop()
    places = _places.get(loop)
    if places is None:
        from resource import RLIMIT_NOFILE, getrlimit

        soft, _ = getrlimit(RLIMIT_NOFILE)
        places = _places[loop] = asyncio.Semaphore(max(1, (soft - soft // 8) // OF_A_RUN))
    return places


async def _start(call: Call) -> None:
    """In a thread; a task that is cancelled meanwhile takes it back."""
    starting = _in_thread(lambda: call.start(watched=True))
    try:
        await _whole(starting)
    except asyncio.CancelledError:
        if starting.exception() is None:
            await _whole(_in_thread(call.abandon))
        raise


async def _until(exchange: Exchange, deadline: float | None, ends_full: bool) -> str:
    """As ``Exchange.until``."""
    while True:
        moved = await _step(exchange, deadline)
        if moved == "exit" or (moved == "output" and ends_full):
            return moved
        if moved == "nothing":
            return "timeout"


async def _step(exchange: Exchange, deadline: float | None) -> str:
    """As ``Exchange.step``: ``nothing`` only when the deadline has passed."""
    while (moved := exchange.step()) == "nothing":
        left = None if deadline is None else deadline - monotonic()
        if left is not None and left <= 0:
            return moved
        await _readable(exchange.fileno(), left)
    return moved


async def _readable(fd: int, seconds: float | None) -> None:
    """Waits until a descriptor is readable, or so long."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()

    def note() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(fd, note)
    try:
        await asyncio.wait((ready,), timeout=seconds)
    finally:
        loop.remove_reader(fd)


def _in_thread(work: Callable[[], T]) -> asyncio.Future[T]:
    return asyncio.get_running_loop().run_in_executor(None, work)


async def _whole(working: asyncio.Future[T]) -> T:
    """To its end, however often the task is cancelled meanwhile: what is taken back must be."""
    cancelled: asyncio.CancelledError | None = None
    while not working.done():
        try:
            await asyncio.wait((working,))
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        working.exception()  # nobody will ask for it
        raise cancelled
    return working.result()
