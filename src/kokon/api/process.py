"""A program that runs in a container, in the manner of ``subprocess.Popen``."""

from __future__ import annotations

import os
from _signal import SIGTERM  # type: ignore[import-not-found]  # signal imports enum
from _thread import RLock
from _warnings import warn

from kokon.api.arguments import in_python
from kokon.api.completed import CompletedProcess, Usage
from kokon.api.pipes import Pipes, Text
from kokon.engine.run import deadline, finish
from kokon.errors import KokonError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import IO, Any

    from kokon.engine.prepared import Prepared
    from kokon.runtime.process import FirstProcess
    from kokon.runtime.streams import Exchange
    from kokon.security.ladder import Guarantees


class Popen:
    """A live program; made by ``kokon.popen`` and ``Sandbox.popen``.

    Threads may share it.  When it is closed, collected, or this process dies, the container ends.

    :ivar args: the program and its arguments.
    :ivar pid: of the container's first process, as this machine numbers it.
    :ivar stdin: a file for each stream that is a PIPE, else None.  :ivar stdout:  :ivar stderr:
    :ivar terminal: an unbuffered binary file, the program's terminal, with ``tty=True``.
    :ivar result: what came of it, when its end has been seen; else None.
    """

    def __init__(
        self, prepared: Prepared, args: Sequence[str], pipes: Pipes, text: Text, buffering: int = -1
    ) -> None:
        self.args = args
        self.result: CompletedProcess | None = None
        self._prepared = prepared
        self._text = text
        self._ended_by = "exit"
        self._error: Exception | None = None
        self._lock = RLock()  # a signal handler may come back here
        self._maker = os.getpid()
        self._waiting = 0
        self._process: FirstProcess | None = None
        self._exchange: Exchange | None = None
        self._read_from = (-1, -1)
        try:
            self._process = prepared.start(pipes.descriptors())
            pipes.close_theirs()
            self.pid = self._process.pid
            self.terminal: IO[bytes] | None = None
            if prepared.configuration.spec.process.terminal:
                self._take_terminal()
            self.stdin: IO[Any] | None = text.file(pipes.take(0), "wb", buffering)
            self.stdout: IO[Any] | None = text.file(pipes.take(1), "rb", buffering)
            self.stderr: IO[Any] | None = text.file(pipes.take(2), "rb", buffering)
        except BaseException:
            pipes.close_theirs()
            pipes.close()
            self._abandon()
            raise

    def _take_terminal(self) -> None:
        process = self._process
        assert process is not None
        from kokon.engine.level import await_running

        # Until the program runs init uses the terminal: one that is closed would be its failure.
        if await_running(process.spawned, terminal=True) or process.spawned.terminal < 0:
            finish(self._prepared, process)  # raises what init has reported
        master, process.spawned.terminal = process.spawned.terminal, -1
        self.terminal = open(master, "r+b", 0)  # noqa: SIM115  # the caller's

    @property
    def returncode(self) -> int | None:
        """As subprocess has it; None while its end has not been seen."""
        return None if self.result is None else self.result.returncode

    @property
    def cause(self) -> str | None:
        """As ``CompletedProcess.cause``; None while its end has not been seen."""
        return None if self.result is None else self.result.cause

    @property
    def guarantees(self) -> Guarantees:
        """What holds of files, processes, network, limits and system calls, and by what."""
        return self._prepared.guarantees

    @property
    def notes(self) -> tuple[str, ...]:
        """As ``CompletedProcess.notes``."""
        return self._prepared.notes

    def __repr__(self) -> str:
        return f"<kokon.Popen: returncode: {self.returncode} args: {self.args!r}>"

    def poll(self) -> int | None:
        """The return code, or None while it runs."""
        return self.returncode if self._ends_within(0) else None

    def wait(self, timeout: float | None = None) -> int:
        """Waits for its end; what the container used is taken back by then.

        As with subprocess, a program that fills a pipe which nobody reads does not end.

        :param timeout: seconds; the program goes on when they are over.
        :returns: the exit status, or the negative number of the signal that ended it.
        :raises kokon.TimeoutExpired: it has not ended within ``timeout``.
        :raises kokon.CommandError: the program could not be executed; other errors as ``run``.
        """
        if not self._ends_within(timeout):
            from kokon.api.ends import TimeoutExpired

            assert timeout is not None
            raise TimeoutExpired(self.args, timeout)
        assert self.result is not None
        return self.result.returncode

    def communicate(
        self, input: str | bytes | None = None, timeout: float | None = None
    ) -> tuple[Any, Any]:
        """Feeds and reads the pipes until the program's end.

        As with subprocess, it may be called again after a timeout, without ``input``, and after the
        program's end has been waited for.

        :returns: what came from stdout and from stderr, None for one that is no PIPE.
        :raises kokon.TimeoutExpired: it has not ended within ``timeout`` seconds; it goes on.
        """
        self._join()
        try:
            exchange = self._exchange or self._begin_exchange(input)
            if self._process is None:
                exchange.drain()
            elif exchange.until(deadline(timeout)) != "exit":
                from kokon.api.ends import TimeoutExpired

                assert timeout is not None
                raise TimeoutExpired(self.args, timeout)
        finally:
            self._leave()
        exchange.close()
        self._exchange = None
        self.wait()
        out, err = (
            self._text.decode(bytes(exchange.output[fd])) if fd >= 0 else None
            for fd in self._read_from
        )
        return out, err

    def _begin_exchange(self, input: str | bytes | None) -> Exchange:
        """Takes the pipes out of their files."""
        from kokon.runtime.streams import Exchange

        if input is not None and self.stdin is None:
            raise ValueError("there is no pipe to feed: popen was not given stdin=PIPE")
        sink = _descriptor(self.stdin)
        self._read_from = _descriptor(self.stdout), _descriptor(self.stderr)
        self._exchange = Exchange(
            self._process.pidfd if self._process is not None else -1,
            tuple(fd for fd in self._read_from if fd >= 0),
            (sink, self._text.encode(input) or b"") if sink >= 0 else None,
        )
        self._close_files()
        return self._exchange

    def send_signal(self, signal: int) -> None:
        """Sends a signal to the container's first process, which forwards it to the program."""
        self._join()
        try:
            if self.result is None and self._process is not None:
                self._process.kill(signal)
        finally:
            self._leave()

    def terminate(self) -> None:
        """SIGTERM: a request."""
        self.send_signal(SIGTERM)

    def kill(self) -> None:
        """Ends the whole container, every process of it; ``cause`` is ``caller`` then."""
        self._join()
        try:
            process = self._process
            if process is not None and not process.ends_within(0):
                self._ended_by = "caller"
                process.kill()
        finally:
            self._leave()

    def usage(self) -> Usage:
        """What it has used so far; after its end, in all."""
        self._join()
        try:
            if self.result is not None:
                return self.result.usage
            counts, _ = self._prepared.limits.read()
            if counts is not None and counts.cpu_user is not None:
                return Usage(counts.cpu_user, counts.cpu_system or 0.0, counts)
            from kokon.kernel.processes import times

            return Usage(*times(self.pid), counts)
        finally:
            self._leave()

    def resize(self, rows: int, columns: int) -> None:
        """Sets the size of the terminal; the program is told by SIGWINCH."""
        if self.terminal is None:
            raise ValueError("there is no terminal: popen was not given tty=True")
        from fcntl import ioctl
        from struct import pack

        ioctl(self.terminal.fileno(), 0x5414, pack("<4H", rows, columns, 0, 0))  # TIOCSWINSZ

    def close(self) -> None:
        """Closes the pipes, and ends the program if it still runs."""
        self.kill()
        self._close_files()
        self._close_exchange()
        if self._error is None:  # else it has been told
            self._ends_within(None)

    def __enter__(self) -> Popen:
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        """Closes the pipes and waits, as subprocess does; after an exception it ends it."""
        if kind is not None:
            self.kill()
        self._close_files()
        self._close_exchange()
        try:
            if self._error is None:
                self._ends_within(None)
        except Exception:
            if kind is None:
                raise

    def __del__(self) -> None:
        if self.__dict__.get("_maker") != os.getpid():
            return  # a forked child has a copy of it: the program is its parent's
        self._close_exchange()
        if self._process is not None:
            warn(f"{self!r} was never waited for; it is ended", ResourceWarning, 2, source=self)
            self._abandon()

    def _close_exchange(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.close()

    def _close_files(self) -> None:
        for stream in (self.stdin, self.stdout, self.stderr, self.terminal):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    pass

    # A wait that has begun uses the pidfd: who ends its last use closes it, after the end.

    def _join(self) -> None:
        with self._lock:
            self._waiting += 1

    def _leave(self) -> None:
        with self._lock:
            self._waiting -= 1
            if self._waiting or self._process is None:
                return
            if self.result is not None or self._error is not None:
                process, self._process = self._process, None
                process.close()

    def _ends_within(self, timeout: float | None) -> bool:
        """Whether its end is seen within so many seconds; raises what has come of it, each time."""
        self._join()
        try:
            process = self._process
            if process is not None and not process.ends_within(timeout):
                return False
            with self._lock:
                if process is not None and self.result is None and self._error is None:
                    self._finish(process)
                if self._error is not None:
                    raise self._error.with_traceback(None)
            return self.result is not None
        finally:
            self._leave()

    def _finish(self, process: FirstProcess) -> None:
        try:
            outcome = finish(self._prepared, process, self._ended_by)
            self.result = CompletedProcess(self.args, None, None, outcome, self._prepared)
        except Exception as error:
            if isinstance(error, KokonError):
                in_python(error)
            self._error = error
        try:
            process.spawned.close()  # others may wait at the pidfd still
        finally:
            self._prepared.close()

    def _abandon(self) -> None:
        """Ends what was started, and takes back what was made."""
        process, self._process = self._process, None
        if process is not None:
            process.abandon()
        self._prepared.close()


def _descriptor(stream: IO[Any] | None) -> int:
    """A descriptor of our own for an open stream, -1 for none."""
    if stream is None or stream.closed:
        return -1
    from fcntl import F_DUPFD_CLOEXEC, fcntl

    return fcntl(stream.fileno(), F_DUPFD_CLOEXEC, 3)
