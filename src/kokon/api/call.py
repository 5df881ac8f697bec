"""One run from its arguments to its result, in steps: a thread takes them in a row, an event loop
lets others go on in between."""

from __future__ import annotations

from kokon.api.arguments import in_python
from kokon.api.completed import CompletedProcess
from kokon.api.pipes import PIPE, Pipes, Text, check
from kokon.engine.run import deadline, finish
from kokon.errors import KokonError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import IO, Any

    from kokon.engine.prepared import Prepared
    from kokon.runtime.process import FirstProcess
    from kokon.runtime.streams import Exchange

MAX_OUTPUT = 64 << 20
"""Bytes of captured output beyond which a run is ended."""


ARGUMENTS = frozenset(
    ("stdin", "stdout", "stderr", "input", "capture_output", "text", "encoding", "errors", "check",
     "timeout", "max_output", "overflow")
)  # fmt: skip
"""What of the arguments of ``kokon.run`` is a call's own; all others are options."""


class Call:
    """A run with the arguments of ``kokon.run``: ``start``, then ``exchange``, then ``finish``.

    :param prepare: prepares the run.
    :ivar exchange: moves bytes until its end; None where there is nothing to move or to watch.
    :ivar deadline: of time.monotonic(), or None.
    :ivar ends_full: more output than the ceiling ends it.
    """

    def __init__(
        self,
        prepare: Callable[[], Prepared],
        words: tuple[str, ...],
        *,
        stdin: int | IO[Any] | None = None,
        stdout: int | IO[Any] | None = None,
        stderr: int | IO[Any] | None = None,
        input: str | bytes | None = None,
        capture_output: bool = False,
        text: bool | None = None,
        encoding: str | None = None,
        errors: str | None = None,
        check: bool = False,
        timeout: float | None = None,
        max_output: int | str | None = MAX_OUTPUT,
        overflow: str = "end",
    ) -> None:
        if capture_output:
            if stdout is not None or stderr is not None:
                raise ValueError("stdout and stderr arguments may not be used with capture_output.")
            stdout = stderr = PIPE
        if input is not None and stdin is not None:
            raise ValueError("stdin and input arguments may not both be used.")
        if isinstance(timeout, str):
            raise TypeError(f"timeout is a number of seconds, not {timeout!r}")
        if overflow not in ("end", "truncate", "error"):
            raise ValueError(f"overflow is end, truncate or error, not {overflow!r}")
        self._text = Text(text, encoding, errors)
        self._feed = self._text.encode(input)
        self._ceiling = _ceiling(max_output)
        self._prepare = prepare
        self._words = words
        self._check = check
        self._timeout = timeout
        self._streams = (stdin, stdout, stderr)
        self._overflow = overflow
        self._left: list[Exception] = []
        self.deadline: float | None = None
        self.ends_full = overflow != "truncate"
        self.exchange: Exchange | None = None
        self._process: FirstProcess | None = None

    def start(self, *, watched: bool = False) -> None:
        """Starts it; nothing is left when it cannot be started.

        :param watched: there is an exchange in any case.
        :raises KokonError: as ``kokon.run``.
        """
        check(*self._streams)
        self.deadline = deadline(self._timeout)
        try:
            self._run = self._prepare()
        except KokonError as error:
            in_python(error)
            raise
        try:
            pipes = Pipes(*self._streams, feeds=self._feed is not None)
            try:
                self._process = self._run.start(pipes.descriptors())
                sink, *self._outputs = pipes.ours
                reads = tuple(fd for fd in self._outputs if fd >= 0)
                if watched or reads or sink >= 0 or self.deadline is not None:
                    from kokon.runtime.streams import Exchange

                    feed = (sink, self._feed or b"") if sink >= 0 else None
                    exchange = Exchange(self._process.pidfd, reads, feed, self._ceiling)
                    pipes.ours = [-1, -1, -1]  # the exchange closes them
                    self.exchange = exchange
            finally:
                pipes.close_theirs()
                pipes.close()
        except BaseException as error:
            self.abandon()
            if isinstance(error, KokonError):
                in_python(error)
            raise

    def output(self) -> list[tuple[str, bytes]]:
        """What was printed since this was last asked, as (``stdout`` or ``stderr``, bytes)."""
        assert self.exchange is not None
        named = zip(("stdout", "stderr"), self._outputs, strict=True)
        taken = [(name, self.exchange.take(fd)) for name, fd in named if fd >= 0]
        return [(name, part) for name, part in taken if part]

    def kill(self) -> None:
        """Ends the container."""
        assert self._process is not None
        self._process.kill()

    def finish(self, ended_by: str) -> CompletedProcess:
        """Waits for its end, takes back what was made, and says how it was.

        :param ended_by: ``exit``, or why it has been killed.
        :raises KokonError: a step was refused: the program did not run.
        :raises TimeoutExpired, OutputExceeded, CalledProcessError: as ``kokon.run``.
        """
        assert self._process is not None
        try:
            outcome = finish(self._run, self._process, ended_by)
        except BaseException as error:
            self.abandon()
            if isinstance(error, KokonError):
                in_python(error)
            raise
        self._close()
        printed = self.exchange.output if self.exchange else {}
        dropped = bool(self.exchange and self.exchange.dropped)
        out, err = (
            self._text.decode(bytes(printed[fd]), cut=ended_by != "exit" or dropped)
            if fd >= 0
            else None
            for fd in self._outputs
        )
        result = CompletedProcess(self._words, out, err, outcome, self._run)
        if dropped and "output" not in result.limits_hit:
            result.limits_hit += ("output",)  # the program went on: overflow="truncate"
        result.notes += tuple(f"what the run used is still there: {e}" for e in self._left)
        self._raise(result)
        return result

    def _raise(self, result: CompletedProcess) -> None:
        if result.cause == "timeout":
            from kokon.api.ends import TimeoutExpired

            assert self._timeout is not None
            raise TimeoutExpired(self._words, self._timeout, result)
        if result.cause == "output" and self._overflow == "error":
            from kokon.api.ends import OutputExceeded

            assert self._ceiling is not None
            raise OutputExceeded(result, self._ceiling)
        if self._check:
            result.check_returncode()

    def abandon(self) -> None:
        """Ends it and takes everything back: nobody wants to know how it was."""
        try:
            if self._process:
                self._process.abandon()
        finally:
            self._close()

    def _close(self) -> None:
        try:
            if self.exchange:
                self.exchange.close()
            if self._process:
                self._process.close()
        finally:
            self._left = self._run.close()

    def run(self) -> CompletedProcess:
        """All steps in a row."""
        self.start()
        try:
            ended = "exit"
            if self.exchange:
                ended = self.exchange.until(self.deadline, ends_full=self.ends_full)
                if ended != "exit":
                    self.kill()
                    self.exchange.until(None)
            return self.finish(ended)
        except BaseException:
            self.abandon()
            raise


def _ceiling(value: int | str | None) -> int | None:
    if value is None or (isinstance(value, int) and value >= 0):
        return value
    from kokon.config.sizes import memory_bytes

    return memory_bytes(value, "max_output")
