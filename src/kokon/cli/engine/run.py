"""``kokon run``: a program in a container of its own."""

from __future__ import annotations

import os

from kokon.cli import ending
from kokon.cli.arguments import Arguments, parse
from kokon.cli.events import Events
from kokon.cli.message import say
from kokon.cli.signals import Interrupted, Signals
from kokon.engine.prepared import Prepared
from kokon.engine.run import Outcome, deadline, finish, prepare
from kokon.errors import KokonError, OptionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from kokon.runtime.process import FirstProcess


def main(words: list[str], launcher: str = "") -> int:
    """Runs; the status is the program's own, see docs/commands.md.

    :param launcher: the program that started Python and looks for saved runs, if it was one.
    """
    arguments = parse(words)
    if arguments is None:
        from kokon.cli.engine.help import main as help

        return help(["run"])
    signals = Signals()
    events = Events(arguments.options.events)
    try:
        return _run(arguments, signals, events, Saving(words, arguments, launcher))
    except Interrupted as signal:
        return 128 + signal.number
    except KokonError as error:
        events.failed(error)
        if events.quiet:
            return error.exit_status
        raise


class Saving:
    """Whether and how the run is saved for the launcher (docs/saved-runs.md)."""

    __slots__ = ("_begun", "_given", "_launcher", "_words")

    def __init__(self, words: list[str], arguments: Arguments, launcher: str) -> None:
        from time import time_ns

        count = len(words) - len(arguments.options.args)
        # A program that is not named is sh or python3: then there is nothing behind ROOT.
        named = count > 0 and tuple(words[count:]) == arguments.options.args
        self._words = ["run", *words[:count]] if named else []
        wanted = os.environ.get("KOKON_SAVED") != "off" and arguments.options.root[0] in "/."
        self._launcher = launcher if wanted else ""
        self._given = arguments.given
        self._begun = time_ns()

    def save(self, prepared: Prepared, streams: Streams, outcome: Outcome) -> None:
        """Saves a run that ended by itself and met no limit."""
        if not self._launcher or not self._words or outcome.cause != "exited" or outcome.hits:
            return
        from kokon.engine.saved import save

        save(
            prepared, self._words, self._launcher, self._begun, interactive=streams.interactive,
            at_terminal=not {"interactive", "tty"} & self._given,
        )  # fmt: skip


class Streams:
    """What standard input is to the program, and whether it gets a terminal.

    As in Docker, nothing is read without ``-i``, and ``-t`` gives a terminal.  Where neither is
    written and a person sits at a terminal, both are meant.

    :raises OptionError: ``-i`` and ``-t``, and standard input is no terminal.
    """

    __slots__ = ("interactive", "terminal")

    def __init__(self, arguments: Arguments) -> None:
        self.interactive = bool(arguments.options.interactive)
        self.terminal = bool(arguments.options.tty)
        if not {"interactive", "tty"} & arguments.given:
            self.interactive = self.terminal = at_terminal()
        elif self.interactive and self.terminal and not os.isatty(0):
            raise OptionError(
                "standard input is no terminal", where="-i -t", remedy="leave one of them out"
            )


def at_terminal() -> bool:
    """Whether a person is there: input and output are a terminal, and ours to use just now."""
    if not (os.isatty(0) and os.isatty(1)):
        return False
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False


def prepared_for(arguments: Arguments, streams: Streams, *, quiet: bool = False) -> Prepared:
    """The run, prepared; an unpacking that takes long is seen on a terminal."""
    size, progress = (0, 0), None
    if streams.terminal:
        from kokon.cli import terminal

        size = terminal.size()
    if os.isatty(2) and not quiet:
        from kokon.cli.progress import Progress

        progress = Progress(arguments.options.root)
    try:
        prepared = prepare(
            arguments.options, terminal=streams.terminal, terminal_size=size, progress=progress
        )
    finally:
        if progress:
            progress.clear()
    if not quiet:
        for note in prepared.notes:
            say(note)
    return prepared


def _run(arguments: Arguments, signals: Signals, events: Events, saving: Saving) -> int:
    options = arguments.options
    seconds = None
    if options.timeout is not None:
        from kokon.config.sizes import duration

        seconds = duration(options.timeout)
    streams = Streams(arguments)
    prepared = prepared_for(arguments, streams, quiet=events.quiet)
    events.prepared(prepared)
    try:
        outcome = _perform(prepared, streams, signals, seconds, events)
        signals.drop()
        saving.save(prepared, streams, outcome)
    finally:
        signals.drop()
        for error in prepared.close():
            say(f"what the container used is still there, the next command removes it: {error}")
    status = ending.status(outcome, signals.ended_by)
    sentences = ending.sentences(outcome, prepared.configuration.asked, options.timeout)
    events.ended(prepared, outcome, status, sentences)
    if not events.quiet:
        for sentence in sentences:
            say(sentence)
    return status


def concluded(
    outcome: Outcome, asked: Mapping[str, str], timeout: str | None, ended_by: int
) -> int:
    """Says what there is to say of the end; the exit status (see ``cli.ending``)."""
    for sentence in ending.sentences(outcome, asked, timeout):
        say(sentence)
    return ending.status(outcome, ended_by)


def _perform(
    prepared: Prepared, streams: Streams, signals: Signals, seconds: float | None, events: Events
) -> Outcome:
    """Starts, connects, waits."""
    nothing = -1
    if streams.terminal or not streams.interactive:
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    held, said = signals.hold(), prepared.notes
    if streams.terminal:
        process = prepared.start((nothing, nothing, nothing))
    else:
        process = prepared.start((nothing if nothing >= 0 else 0, 1, 2))
    signals.forward_to(process, held)
    if not events.quiet:
        # At the level best a start may have found out what it has to go without.
        for note in prepared.notes:
            if note not in said:
                say(note)
    events.started(process.pid)
    try:
        ended_by = _connect(process, streams, signals, deadline(seconds))
        return finish(prepared, process, ended_by)
    except BaseException:
        process.kill()
        raise
    finally:
        process.close()


def _connect(process: FirstProcess, streams: Streams, signals: Signals, limit: float | None) -> str:
    """Stands between the program and the caller as long as that is needed; how it ended."""
    if streams.terminal:
        if not process.spawned.await_terminal():
            return "exit"
        from kokon.cli.terminal import Connection

        connection = Connection(process, feeds=streams.interactive, signalled=signals.typed)
        signals.resized = connection.resize
        try:
            return connection.pump(limit)
        finally:
            signals.resized = None
            connection.close()
    if limit is not None:
        from kokon.runtime.streams import communicate

        return communicate(process.pidfd, process.kill, deadline=limit)[0]
    return "exit"
