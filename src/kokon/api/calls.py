"""``kokon.run`` and ``kokon.popen``: the arguments of subprocess's functions, and of a run."""

from __future__ import annotations

import os

from kokon.api import arguments
from kokon.api.completed import CompletedProcess
from kokon.api.pipes import DEVNULL, PIPE, Pipes, Text
from kokon.api.process import Popen
from kokon.engine.run import deadline, finish, prepare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import IO, Any

    from kokon.engine.run import Outcome, Prepared
    from kokon.runtime.process import FirstProcess

MAX_OUTPUT = 64 << 20
"""Bytes of captured output beyond which a run is ended."""


def run(
    args: str | Sequence[str | os.PathLike[str]],
    *,
    root: str | os.PathLike[str] = "@host",
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
    cwd: str | os.PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
    max_output: int | str | None = MAX_OUTPUT,
    overflow: str = "end",
    init: bool = True,
    memory: int | str | None = None,
    cpus: float | str | None = None,
    pids: int | None = None,
    volumes: Mapping[str, str] | Iterable[str] | None = None,
    network: str | None = None,
    user: str | int | None = None,
    **options: Any,
) -> CompletedProcess:
    """Runs a program in a container of its own and waits for its end.

    The names, defaults and exceptions of ``subprocess.run`` where they exist.  No daemon and no
    root are needed; the program sees its root, its own processes and loopback, nothing else.

    :param args: program and arguments; a str is the program.
    :param root: a directory or tarball (its path begins with ``/`` or ``.``), ``@host`` (this
        machine's /usr, read-only) or ``@python`` (the interpreter that runs kokon).
    :param stdin: as subprocess: None inherits, DEVNULL, a descriptor or a file; stdout, stderr too
        (and PIPE, and STDOUT for stderr).
    :param input: what the program reads from its standard input.
    :param timeout: seconds; then the whole container is ended and TimeoutExpired raised.
    :param cwd: directory inside the root.
    :param env: variables of the program, beside PATH, HOME and HOSTNAME; the caller's environment
        is not passed on.
    :param max_output: bytes (or ``"16M"``) of captured output; beyond it the container is ended
        and ``cause`` is ``output``.  None: no ceiling.
    :param overflow: what else may happen then: ``"truncate"`` lets the program go on and drops
        the rest, ``"error"`` ends it and raises OutputExceeded.
    :param init: a small process 1 that reaps and forwards signals (as ``docker run --init``).
    :param memory: bytes or ``"100M"``; needs cgroups.
    :param cpus: processors, 1.5 is one and a half; :param pids: processes and threads at most.
    :param volumes: ``{"./src": "/var/src:ro"}`` or ``["./src:/var/src:ro"]``.
    :param network: None or ``"none"``: loopback only; ``"host"``.
    :param user: name or id inside the root.
    :param options: every option of ``kokon run`` by its Python name (``cap_drop=["ALL"]``,
        ``read_only=True``, ``tmpfs=["/tmp"]``, …); see ``kokon run --help``.
    :raises kokon.OptionError: an option cannot be meant.
    :raises kokon.RootError: the root does not exist or is damaged.
    :raises kokon.CommandError: the program is not there or cannot be executed.
    :raises kokon.HostError: this machine lacks or refuses something; the message says what to do.
    :raises kokon.OutcomeUnknown: somebody else took the program's end.
    :raises kokon.TimeoutExpired: the time is over.
    :raises kokon.CalledProcessError: with ``check``, the status is not 0.
    :raises kokon.OutputExceeded: with ``overflow="error"``.
    """
    words = arguments.words(args)
    asked = arguments.options(
        words, root, env,
        {**options, "cwd": cwd, "init": init, "memory": memory, "cpus": cpus, "pids": pids,
         "volumes": volumes, "network": network, "user": None if user is None else str(user)},
    )  # fmt: skip
    if asked.tty:
        raise TypeError("run() has no terminal to give; popen(..., tty=True) has")
    return complete(
        lambda: prepare(asked), words, stdin=stdin, stdout=stdout, stderr=stderr, input=input,
        capture_output=capture_output, text=Text(text, encoding, errors), check=check,
        timeout=timeout, max_output=max_output, overflow=overflow,
    )  # fmt: skip


def popen(
    args: str | Sequence[str | os.PathLike[str]],
    *,
    root: str | os.PathLike[str] = "@host",
    stdin: int | IO[Any] | None = None,
    stdout: int | IO[Any] | None = None,
    stderr: int | IO[Any] | None = None,
    text: bool | None = None,
    encoding: str | None = None,
    errors: str | None = None,
    bufsize: int = -1,
    env: Mapping[str, str] | None = None,
    init: bool = True,
    user: str | int | None = None,
    tty: bool = False,
    **options: Any,
) -> Popen:
    """Starts a program in a container of its own and returns while it runs.

    The container ends with the program, with ``Popen.kill``, and with this process.

    :param tty: a terminal of its own: ``Popen.terminal`` is our side, and 0, 1 and 2 the program's.
    :param options: as ``run``; so are all others, and what is raised.
    """
    words = arguments.words(args)
    asked = arguments.options(
        words, root, env,
        {**options, "init": init, "tty": tty, "user": None if user is None else str(user)},
    )  # fmt: skip
    return live(
        lambda: prepare(asked, terminal=tty), words, stdin, stdout, stderr,
        Text(text, encoding, errors), bufsize, tty,
    )  # fmt: skip


def live(
    prepared: Callable[[], Prepared],
    words: tuple[str, ...],
    stdin: int | IO[Any] | None,
    stdout: int | IO[Any] | None,
    stderr: int | IO[Any] | None,
    text: Text,
    bufsize: int = -1,
    tty: bool = False,
) -> Popen:
    """Starts what ``prepared`` prepares."""
    if tty and (stdin, stdout, stderr) != (None, None, None):
        raise ValueError("with tty=True the streams are the terminal's: leave stdin, … out")
    if tty:
        stdin = stdout = stderr = DEVNULL
    return Popen(prepared(), words, Pipes(stdin, stdout, stderr), text, bufsize)


def complete(
    prepared: Callable[[], Prepared],
    words: tuple[str, ...],
    *,
    stdin: int | IO[Any] | None,
    stdout: int | IO[Any] | None,
    stderr: int | IO[Any] | None,
    input: str | bytes | None,
    capture_output: bool,
    text: Text,
    check: bool,
    timeout: float | None,
    max_output: int | str | None,
    overflow: str,
) -> CompletedProcess:
    """Runs what ``prepared`` prepares to its end; the other parameters are those of ``run``."""
    if capture_output:
        if stdout is not None or stderr is not None:
            raise ValueError("stdout and stderr arguments may not be used with capture_output.")
        stdout = stderr = PIPE
    if input is not None and stdin is not None:
        raise ValueError("stdin and input arguments may not both be used.")
    if overflow not in ("end", "truncate", "error"):
        raise ValueError(f"overflow is end, truncate or error, not {overflow!r}")
    feed, ceiling, limit = text.encode(input), _ceiling(max_output), deadline(timeout)
    run = prepared()
    try:
        pipes = Pipes(stdin, stdout, stderr, feeds=feed is not None)
        try:
            process = run.start((pipes.program[0], pipes.program[1], pipes.program[2]))
        except BaseException:
            pipes.close()
            raise
        finally:
            pipes.close_theirs()
        outcome, out, err = _collect(
            run, process, pipes, feed or b"", limit, ceiling, ends_full=overflow != "truncate"
        )
    finally:
        left = run.close()
    result = CompletedProcess(words, text.decode(out), text.decode(err), outcome, run)
    result.notes += tuple(f"what the run used is still there: {error}" for error in left)
    if outcome.cause == "timeout":
        from kokon.api.ends import TimeoutExpired

        assert timeout is not None
        raise TimeoutExpired(words, timeout, result)
    if outcome.cause == "output" and overflow == "error":
        from kokon.api.ends import OutputExceeded

        assert ceiling is not None
        raise OutputExceeded(result, ceiling)
    if check:
        result.check_returncode()
    return result


def _collect(
    run: Prepared,
    process: FirstProcess,
    pipes: Pipes,
    feed: bytes,
    limit: float | None,
    ceiling: int | None,
    *,
    ends_full: bool,
) -> tuple[Outcome, bytes | None, bytes | None]:
    """Feeds, reads and waits: how it ended, and what it printed to each stream that is a pipe."""
    try:
        ended_by = "exit"
        printed: dict[int, bytearray] = {}
        sink, out, err = (pipes.take(number) for number in range(3))
        outputs = tuple(fd for fd in (out, err) if fd >= 0)
        if outputs or sink >= 0 or limit is not None:
            from kokon.runtime.streams import communicate

            ended_by, printed = communicate(
                process.pidfd,
                process.kill,
                outputs=outputs,
                feed=(sink, feed) if sink >= 0 else None,
                deadline=limit,
                ceiling=ceiling,
                ends_full=ends_full,
            )
        outcome = finish(run, process, ended_by)
        of_out, of_err = (bytes(printed[fd]) if fd >= 0 else None for fd in (out, err))
        return outcome, of_out, of_err
    except BaseException:
        process.kill()
        try:
            process.wait()
        except Exception:
            pass
        raise
    finally:
        process.close()


def _ceiling(value: int | str | None) -> int | None:
    if value is None or (isinstance(value, int) and value >= 0):
        return value
    from kokon.config.sizes import memory_bytes

    return memory_bytes(value, "max_output")
