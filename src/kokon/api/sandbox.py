"""A box from Python: one container, and many programs in it, one after another or at once."""

from __future__ import annotations

import os
from _warnings import warn
from errno import EFBIG

from kokon.api import arguments
from kokon.api.call import ARGUMENTS, MAX_OUTPUT, Call
from kokon.api.calls import live
from kokon.api.completed import CompletedProcess, Usage
from kokon.api.pipes import DEVNULL, PIPE, Text
from kokon.api.process import Popen
from kokon.config.options import TABLE
from kokon.engine.box import Box
from kokon.errors import KokonError, StepError
from kokon.plan.ops import Transfer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import IO, Any

    from kokon.config.options import Options
    from kokon.engine.prepared import Prepared
    from kokon.security.ladder import Guarantees

OF_A_PROGRAM = frozenset(
    ("cwd", "user", "group_add", "umask", "ulimits", "init", "memory", "cpus", "pids", "tty")
)
"""Options that each program of a box may have otherwise."""

OF_THE_BOX = frozenset(
    option.python for option in TABLE if option.group == "Limits"
) | {"volumes", "mounts", "tmpfs", "devices", "keep", "rw"}  # fmt: skip
"""What is done when the box is made, and not again for a program."""


NO_PROGRAM = ("box",)
"""What stands where options have a program."""


class Sandbox:
    """A container that stays, for programs that share its files, network, IPC and limits.

    Each program has processes of its own: it sees no other, ends as a whole, and its timeout or
    ``kill`` ends nothing else.  The box has no process that waits; it is gone when it is closed,
    and with this process.

    :param root: as ``kokon.run``; files that programs write stay until the box is closed.
    :param env: variables of every program.
    :param cwd: where programs start; by default at the destination of the only volume, else in
        the home directory of a built-in root, else in ``/``.
    :param options: as ``kokon.run``; limits are those of all programs together.
    :raises kokon.KokonError: as ``kokon.run``.
    """

    def __init__(
        self,
        *,
        root: str | os.PathLike[str] = "@python",
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        user: str | int | None = None,
        volumes: Mapping[str, str] | Iterable[str] | None = None,
        init: bool = True,
        **options: Any,
    ) -> None:
        self._box: Box | None = None
        self._env = dict(env or {})
        self._root = os.fspath(root)
        self._keywords = {**options, "volumes": volumes, "user": user, "init": init}
        asked = arguments.options(NO_PROGRAM, root, env, self._keywords)
        if cwd is None and len(asked.volumes) == 1:
            from kokon.config.volumes import volume

            cwd = volume(asked.volumes[0]).destination
        self._keywords["cwd"] = cwd
        try:
            self._box = Box(arguments.options(NO_PROGRAM, root, env, self._keywords))
        except KokonError as error:
            arguments.in_python(error)
            raise
        self.files = Files(self)

    def run(
        self,
        args: str | Sequence[str | os.PathLike[str]],
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
        env: Mapping[str, str] | None = None,
        max_output: int | str | None = MAX_OUTPUT,
        overflow: str = "end",
        **options: Any,
    ) -> CompletedProcess:
        """Runs a program in the box and waits for its end.

        :param timeout: seconds; then this program and its children are ended, nothing else.
        :param env: variables beside those of the box.
        :param options: ``cwd``, ``user``, ``umask``, ``ulimits``, ``group_add``, ``init``, and
            ``memory``, ``cpus``, ``pids`` of this program, within the limits of the box.
        :raises kokon.KokonError: as ``kokon.run``, and RequestError when the box is closed.
        """
        return self.call(
            args, stdin=stdin, stdout=stdout, stderr=stderr, input=input,
            capture_output=capture_output, text=text, encoding=encoding, errors=errors,
            check=check, timeout=timeout, env=env, max_output=max_output, overflow=overflow,
            **options,
        ).run()  # fmt: skip

    def call(
        self,
        args: str | Sequence[str | os.PathLike[str]],
        *,
        env: Mapping[str, str] | None = None,
        **keywords: Any,
    ) -> Call:
        """A run with the arguments of :meth:`run`, not yet started."""
        own = {name: keywords.pop(name) for name in ARGUMENTS & keywords.keys()}
        words = arguments.words(args)
        asked = self._options(words, env, keywords)
        return Call(lambda: self._open.program(asked), words, **own)

    def popen(
        self,
        args: str | Sequence[str | os.PathLike[str]],
        *,
        stdin: int | IO[Any] | None = None,
        stdout: int | IO[Any] | None = None,
        stderr: int | IO[Any] | None = None,
        text: bool | None = None,
        encoding: str | None = None,
        errors: str | None = None,
        bufsize: int = -1,
        env: Mapping[str, str] | None = None,
        tty: bool = False,
        **options: Any,
    ) -> Popen:
        """Starts a program in the box and returns while it runs; it ends with the box."""
        words = arguments.words(args)
        asked = self._options(words, env, {**options, "tty": tty})
        return live(
            lambda: self._open.program(asked, terminal=tty), words, stdin, stdout, stderr,
            Text(text, encoding, errors), bufsize, tty,
        )  # fmt: skip

    def usage(self) -> Usage | None:
        """What all its programs have used so far; None for a box without limits."""
        counts, _ = self._open.prepared.limits.read()
        if counts is None:
            return None
        if "memory" in self._open.prepared.limits.tasks:
            counts.oom_kills = None  # version 1 counts them in each program's own group only
        return Usage(counts.cpu_user or 0.0, counts.cpu_system or 0.0, counts)

    @property
    def guarantees(self) -> Guarantees:
        """What holds of files, processes, network, limits and system calls, and by what."""
        return self._open.prepared.guarantees

    @property
    def notes(self) -> tuple[str, ...]:
        """As ``CompletedProcess.notes``."""
        return self._open.prepared.notes

    def close(self) -> None:
        """Ends every program, and takes back everything.  May be called twice."""
        box, self._box = self._box, None
        if box is not None:
            box.close()

    def __repr__(self) -> str:
        return f"<kokon.Sandbox: root: {self._root}{' (closed)' if self._box is None else ''}>"

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        box = self.__dict__.get("_box")
        if box is not None and box.maker == os.getpid():
            warn(f"{self!r} was never closed", ResourceWarning, 2, source=self)
            self.close()

    @property
    def _open(self) -> Box:
        if self._box is None:
            from kokon.errors import RequestError

            raise RequestError("the box is closed", remedy="make another")
        return self._box

    def _options(
        self, words: tuple[str, ...], env: Mapping[str, str] | None, options: Mapping[str, Any]
    ) -> Options:
        """The box's options with the program's."""
        for name in options:
            if name not in OF_A_PROGRAM:
                raise TypeError(f"{name!r} is no option of a program in a box: give it to the box")
        keywords = {k: v for k, v in self._keywords.items() if k not in OF_THE_BOX}
        keywords.update((k, v) for k, v in options.items() if v is not None)
        return arguments.options(words, self._root, {**self._env, **(env or {})}, keywords)


class Files:
    """The files of a box, read and written with the rights and paths of a program in it."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def write(
        self,
        path: str | os.PathLike[str],
        data: str | bytes,
        mode: int = 0o666,
        *,
        timeout: float | None = None,
    ) -> None:
        """Writes a file, made with its parent directories where it is missing.

        :param path: inside the box; relative to where programs start.
        :param mode: of a new file, less the umask.
        :param timeout: seconds; a file system of a program may take as long as it likes.
        :raises OSError: as open(2) and write(2) say it to a program in the box.
        :raises kokon.TimeoutExpired: some of it may be written.
        """
        self.writing(path, data, mode, timeout=timeout).run()

    def read(
        self,
        path: str | os.PathLike[str],
        max_size: int | None = MAX_OUTPUT,
        *,
        timeout: float | None = None,
    ) -> bytes:
        """What is in a file.

        :param max_size: bytes; a larger file is an OSError (EFBIG).
        :param timeout: as of :meth:`write`.
        :raises OSError: as open(2) and read(2) say it to a program in the box.
        """
        result = self.reading(path, max_size, timeout=timeout).run()
        return bytes(result.stdout)

    def writing(
        self,
        path: str | os.PathLike[str],
        data: str | bytes,
        mode: int = 0o666,
        *,
        timeout: float | None = None,
    ) -> Move:
        """A :meth:`write` that is not yet begun."""
        if not 0 <= mode <= 0o7777:
            raise ValueError(f"{mode} is no mode of a file")
        content = data.encode() if isinstance(data, str) else data
        step = Transfer(os.fsdecode(path), 0, mode, why="the caller")
        return self._move(step, input=content, stdout=DEVNULL, timeout=timeout)

    def reading(
        self,
        path: str | os.PathLike[str],
        max_size: int | None = MAX_OUTPUT,
        *,
        timeout: float | None = None,
    ) -> Move:
        """A :meth:`read` that is not yet begun; its result's ``stdout`` is what is read."""
        step = Transfer(os.fsdecode(path), 1, 0, why="the caller")
        return self._move(step, stdin=DEVNULL, stdout=PIPE, max_output=max_size, timeout=timeout)

    def _move(self, step: Transfer, **streams: Any) -> Move:
        asked = self._sandbox._options(("files",), None, {"init": False})
        return Move(lambda: self._sandbox._open.program(asked, transfer=step), step.path, **streams)


class Move(Call):
    """A file on its way: a process with the rights of a program moves it."""

    def __init__(self, prepare: Callable[[], Prepared], path: str, **streams: Any) -> None:
        super().__init__(prepare, (path,), stderr=DEVNULL, **streams)
        self._path = path

    def finish(self, ended_by: str) -> CompletedProcess:
        """As :meth:`Call.finish`; what is refused of the file is an OSError."""
        try:
            result = super().finish(ended_by)
        except StepError as error:
            if error.step != error.steps:
                raise
            raise OSError(error.errno, os.strerror(error.errno), self._path) from None
        if result.cause == "output":
            raise OSError(EFBIG, os.strerror(EFBIG), self._path)
        if result.returncode:
            raise self._run.refused(None)  # it was ended: some of the file has not been moved
        return result
