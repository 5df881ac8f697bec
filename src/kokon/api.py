"""The public Python API: ``kokon.run``, in the manner of ``subprocess.run``."""

from __future__ import annotations

import os

from kokon.engine.run import Outcome, Prepared, deadline, finish, prepare
from kokon.errors import OptionError
from kokon.runtime.process import FirstProcess

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import IO, Any

    from kokon.config.options import Options

PIPE = -1
STDOUT = -2
DEVNULL = -3
"""The numbers that subprocess has."""

MAX_OUTPUT = 64 << 20
"""Bytes of captured output beyond which a run is ended."""


class Usage:
    """What a run used.

    :ivar user_time: seconds of processor time in the program, :ivar system_time: in the kernel.
    :ivar peak_memory: bytes, None without a memory limit or where the kernel does not keep it.
    :ivar oom_kills: processes that the kernel ended for want of memory, None without a limit.
    :ivar pids_peak: processes and threads at most, None where it is not kept.
    """

    __slots__ = ("oom_kills", "peak_memory", "pids_peak", "system_time", "user_time")

    def __init__(self, outcome: Outcome) -> None:
        counted = outcome.usage
        self.user_time = outcome.ended.user_time
        self.system_time = outcome.ended.system_time
        self.peak_memory: int | None = getattr(counted, "peak_memory", None)
        self.oom_kills: int | None = getattr(counted, "oom_kills", None)
        self.pids_peak: int | None = getattr(counted, "pids_peak", None)

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"Usage({fields})"


class CompletedProcess:
    """A program that has ended, with subprocess's attributes and kokon's own.

    :ivar args: the program and its arguments.
    :ivar returncode: the exit status, or the negative number of the signal that ended it.
    :ivar stdout: what was captured: bytes, or str in text mode; else None.  :ivar stderr: too.
    :ivar usage: what it used.
    :ivar cause: what ended it: ``exited``, ``signal``, ``timeout``, ``memory``, ``output``.
    :ivar notes: sentences on what was done otherwise than asked, as with ``limits="best-effort"``.
    """

    __slots__ = ("args", "cause", "notes", "returncode", "stderr", "stdout", "usage")

    def __init__(
        self,
        args: Sequence[str],
        returncode: int,
        stdout: Any,
        stderr: Any,
        outcome: Outcome,
        notes: tuple[str, ...],
    ) -> None:
        self.args = args
        self.returncode = returncode
        self.stdout = stdout
        self.stderr = stderr
        self.usage = Usage(outcome)
        self.cause = outcome.cause
        self.notes = notes

    def __repr__(self) -> str:
        return (
            f"CompletedProcess(args={self.args!r}, returncode={self.returncode}, "
            f"cause={self.cause!r})"
        )

    def check_returncode(self) -> None:
        """Raises CalledProcessError unless the program ended with status 0."""
        if self.returncode:
            from subprocess import CalledProcessError

            raise CalledProcessError(self.returncode, self.args, self.stdout, self.stderr)


def run(
    args: str | Sequence[str],
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
    init: bool = True,
    memory: int | str | None = None,
    cpus: float | str | None = None,
    pids: int | None = None,
    volumes: Mapping[str, str] | Iterable[str] = (),
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
    :raises subprocess.TimeoutExpired: the time is over.
    :raises subprocess.CalledProcessError: with ``check``, the status is not 0.
    """
    words = (args,) if isinstance(args, str) else tuple(os.fspath(word) for word in args)
    if capture_output:
        if stdout is not None or stderr is not None:
            raise ValueError("stdout and stderr arguments may not be used with capture_output.")
        stdout = stderr = PIPE
    if input is not None and stdin is not None:
        raise ValueError("stdin and input arguments may not both be used.")
    if STDOUT in (stdin, stdout):
        raise ValueError("STDOUT can only be used for stderr")
    asked = _options(
        words, os.fspath(root), env,
        {**options, "cwd": cwd if cwd is None else os.fspath(cwd), "init": init, "memory": memory,
         "cpus": cpus, "pids": pids, "volumes": _volumes(volumes), "network": network,
         "user": None if user is None else str(user)},
    )  # fmt: skip
    as_text = bool(text or encoding or errors)
    feed = (
        input.encode(encoding or "utf-8", errors or "strict") if isinstance(input, str) else input
    )
    limit = deadline(timeout)
    prepared = prepare(asked)
    try:
        result = _perform(prepared, stdin, stdout, stderr, feed, limit, _ceiling(max_output))
    finally:
        prepared.close()
    outcome = result[0]
    out: bytes | str | None = result[1]
    err: bytes | str | None = result[2]
    if as_text:
        out = _decoded(result[1], encoding, errors)
        err = _decoded(result[2], encoding, errors)
    if outcome.cause == "timeout":
        from subprocess import TimeoutExpired

        assert timeout is not None
        raise TimeoutExpired(list(words), timeout, output=out, stderr=err)
    completed = CompletedProcess(words, outcome.ended.returncode, out, err, outcome, prepared.notes)
    if check:
        completed.check_returncode()
    return completed


def _decoded(part: bytes | None, encoding: str | None, errors: str | None) -> str | None:
    if part is None:
        return None
    text = part.decode(encoding or "utf-8", errors or "strict")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _options(
    args: tuple[str, ...], root: str, env: Mapping[str, str] | None, values: dict[str, Any]
) -> Options:
    from kokon.config.options import KNOWN, LISTS, Options

    for name, value in values.items():
        if name not in KNOWN or name in ("tty", "interactive", "timeout"):
            raise TypeError(f"run() got an unexpected keyword argument {name!r}")
        if name in LISTS and isinstance(value, str):
            values[name] = (value,)
        elif name in LISTS and value is not None:
            values[name] = tuple(str(entry) for entry in value)
    if not args:
        raise OptionError("there is no program to run", where="args", remedy="name one")
    for name, value in (env or {}).items():
        if not isinstance(value, str) or "=" in name:
            raise ValueError(f"illegal environment variable {name!r}: {value!r}")
    values["env"] = tuple(f"{name}={value}" for name, value in (env or {}).items())
    return Options(root, args, values)


def _volumes(volumes: Mapping[str, str] | Iterable[str]) -> tuple[str, ...]:
    if hasattr(volumes, "items"):
        return tuple(f"{os.fspath(source)}:{rest}" for source, rest in volumes.items())
    return (volumes,) if isinstance(volumes, str) else tuple(volumes)


def _ceiling(value: int | str | None) -> int | None:
    if value is None or (isinstance(value, int) and value >= 0):
        return value
    from kokon.config.sizes import memory_bytes

    return memory_bytes(value, "max_output")


def _perform(
    prepared: Prepared,
    stdin: int | IO[Any] | None,
    stdout: int | IO[Any] | None,
    stderr: int | IO[Any] | None,
    feed: bytes | None,
    limit: float | None,
    ceiling: int | None,
) -> tuple[Outcome, bytes | None, bytes | None]:
    """Starts, feeds and collects, waits."""
    theirs: list[int] = []  # descriptors that only the program needs
    ours: list[int] = []
    sink = -1
    try:
        if feed is not None or stdin == PIPE:
            end, sink = os.pipe2(os.O_CLOEXEC)
            theirs.append(end)
            streams = [end]
        else:
            streams = [_descriptor(stdin, 0, theirs)]
        reads = [-1, -1]
        for number, stream in ((1, stdout), (2, stderr)):
            if stream == PIPE:
                reads[number - 1], end = os.pipe2(os.O_CLOEXEC)
                theirs.append(end)
                ours.append(reads[number - 1])
                streams.append(end)
            elif stream == STDOUT and number == 2:
                streams.append(streams[1])
            else:
                streams.append(_descriptor(stream, number, theirs))
        process = prepared.start((streams[0], streams[1], streams[2]))
    except BaseException:
        for fd in (*ours, *([sink] if sink >= 0 else [])):
            os.close(fd)
        raise
    finally:
        for fd in theirs:
            os.close(fd)
    return _collect(prepared, process, (reads[0], reads[1]), (sink, feed or b""), limit, ceiling)


def _collect(
    prepared: Prepared,
    process: FirstProcess,
    reads: tuple[int, int],
    feed: tuple[int, bytes],
    limit: float | None,
    ceiling: int | None,
) -> tuple[Outcome, bytes | None, bytes | None]:
    try:
        ended_by = "exit"
        output: dict[int, bytearray] = {}
        outputs = tuple(fd for fd in reads if fd >= 0)
        if outputs or feed[0] >= 0 or limit is not None:
            from kokon.runtime.streams import communicate

            collected = communicate(
                process.pidfd,
                process.kill,
                outputs=outputs,
                feed=feed if feed[0] >= 0 else None,
                deadline=limit,
                ceiling=ceiling,
            )
            ended_by, output = collected.ended, collected.output
        outcome = finish(prepared, process, ended_by)
        out, err = (bytes(output[fd]) if fd >= 0 else None for fd in reads)
        return outcome, out, err
    except BaseException:
        process.kill()
        try:
            process.wait()
        except Exception:
            pass
        raise
    finally:
        process.close()


def _descriptor(stream: int | IO[Any] | None, number: int, opened: list[int]) -> int:
    if stream is None:
        return number
    if stream == DEVNULL:
        opened.append(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC))
        return opened[-1]
    fd = stream if isinstance(stream, int) else stream.fileno()
    os.fstat(fd)  # one that is closed is told here, as itself
    return fd
