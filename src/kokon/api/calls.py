"""``kokon.run`` and ``kokon.popen``: the arguments of subprocess's functions, and of a run."""

from __future__ import annotations

import os

from kokon.api import arguments
from kokon.api.call import ARGUMENTS, MAX_OUTPUT, Call
from kokon.api.completed import CompletedProcess
from kokon.api.pipes import DEVNULL, Pipes, Text, check
from kokon.api.process import Popen
from kokon.engine.run import prepare
from kokon.errors import KokonError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import IO, Any

    from kokon.engine.prepared import Prepared
    from kokon.plan.answer import Answer


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
    return call(
        args, root=root, stdin=stdin, stdout=stdout, stderr=stderr, input=input,
        capture_output=capture_output, text=text, encoding=encoding, errors=errors, check=check,
        timeout=timeout, cwd=cwd, env=env, max_output=max_output, overflow=overflow, init=init,
        memory=memory, cpus=cpus, pids=pids, volumes=volumes, network=network, user=user,
        **options,
    ).run()  # fmt: skip


def call(
    args: str | Sequence[str | os.PathLike[str]],
    *,
    root: str | os.PathLike[str] = "@host",
    env: Mapping[str, str] | None = None,
    init: bool = True,
    **keywords: Any,
) -> Call:
    """A run with the arguments of ``run``, not yet started."""
    own = {name: keywords.pop(name) for name in ARGUMENTS & keywords.keys()}
    words = arguments.words(args)
    asked = arguments.options(words, root, env, {**keywords, "init": init})
    if asked.tty:
        raise TypeError("run() has no terminal to give; popen(..., tty=True) has")
    return Call(lambda: prepare(asked), words, **own)


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
    tty: bool = False,
    **options: Any,
) -> Popen:
    """Starts a program in a container of its own and returns while it runs.

    The container ends with the program, with ``Popen.kill``, and with this process.

    :param tty: a terminal of its own: ``Popen.terminal`` is our side, and 0, 1 and 2 the program's.
    :param options: as ``run``; so are all others, and what is raised.
    """
    words = arguments.words(args)
    asked = arguments.options(words, root, env, {**options, "init": init, "tty": tty})
    return live(
        lambda: prepare(asked, terminal=tty), words, stdin, stdout, stderr,
        Text(text, encoding, errors), bufsize, tty,
    )  # fmt: skip


def why(
    question: str,
    subject: str,
    args: str | Sequence[str | os.PathLike[str]] = "sh",
    *,
    root: str | os.PathLike[str] = "@host",
    env: Mapping[str, str] | None = None,
    init: bool = True,
    **options: Any,
) -> Answer:
    """Whether the program of a run may do something, by the very plan that a run performs.

    Nothing runs.

    :param question: read, write, create, execute, device, listen, connect, call, capability, see,
        signal or limit; see ``kokon why --help``.
    :param subject: a path, a port, an address, a call: what the question is about.
    :param options: as ``run``.
    :returns: ``allowed`` (None: not decided by the plan), ``sentence``, ``steps``.
    :raises kokon.OptionError: the question or an option cannot be meant.
    """
    from kokon.engine.why import why as ask

    asked = arguments.options(arguments.words(args), root, env, {**options, "init": init})
    return ask(question, subject, asked)


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
    check(stdin, stdout, stderr)
    try:
        run = prepared()
        try:
            pipes = Pipes(stdin, stdout, stderr)
        except BaseException:
            run.close()
            raise
        return Popen(run, words, pipes, text, bufsize)
    except KokonError as error:
        arguments.in_python(error)
        raise
