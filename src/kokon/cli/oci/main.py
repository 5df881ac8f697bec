"""The command ``kokon-runtime``, also ``kokon oci``: runC's command line."""

from __future__ import annotations

import os
import sys

from kokon.cli.message import say, show
from kokon.cli.oci import arguments
from kokon.errors import KokonError, OptionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from kokon.cli.oci.arguments import Arguments

FAILED = 1
"""runC's word for its own failures; exec has 255."""


class Globals:
    """What stands before the verb.

    :ivar root: the runtime's directory.
    :ivar systemd: control groups are asked of systemd.
    :ivar words: as they were written.
    :ivar launched: by the launcher, which performs what is saved.
    """

    __slots__ = ("launched", "log", "log_format", "root", "systemd", "words")

    def __init__(self, given: Arguments, words: tuple[str, ...], launched: bool) -> None:
        from kokon.runtime.oci.record import default_root

        self.words = words
        self.launched = launched
        self.root = given.text("root") or default_root()
        self.systemd = given.flag("systemd-cgroup")
        self.log = given.text("log")
        self.log_format = given.text("log-format") or "text"
        if self.log_format not in ("text", "json"):
            raise OptionError(f"{self.log_format!r} is neither text nor json", where="--log-format")

    def later(self) -> tuple[tuple[str, ...], ...]:
        """What stands before the verb in the calls that follow a ``create``: the same in
        containerd's, nothing of logs and groups in Podman's."""
        rest = list(reversed(self.words))
        kept: list[str] = []
        while rest:
            word = rest.pop()
            name, equals, _ = word.lstrip("-").partition("=")
            if name in ("log", "log-format"):
                if not equals:
                    rest.pop()
            elif name != "systemd-cgroup":
                kept.append(word)
        return tuple(dict.fromkeys((self.words, tuple(kept))))

    def error(self, text: str) -> None:
        """Writes an error to the log, in the shape that engines read, and to standard error."""
        self._write("error", text)
        say(text)

    def warn(self, texts: Iterable[str]) -> None:
        """Writes warnings to the log."""
        for text in texts:
            self._write("warning", text)

    def _write(self, level: str, text: str) -> None:
        if not self.log:
            return
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
            flags |= os.O_NONBLOCK  # a FIFO that nobody reads would wait
            fd = os.open(self.log, flags, 0o644)
            try:
                os.write(fd, self._line(level, text).encode("utf-8", "backslashreplace"))
            finally:
                os.close(fd)
        except OSError:
            pass

    def _line(self, level: str, text: str) -> str:
        import time

        from kokon.spec.oci.json_text import text as json

        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if self.log_format == "json":
            return json({"level": level, "msg": text, "time": now}) + "\n"
        return f'time="{now}" level={level} msg={json(text)}\n'


def main(words: list[str], *, launched: bool = False, started: int = -1) -> int:
    """Performs a command line; the exit status.

    :param launched: by the launcher.
    :param started: a socket at which it has started the container, and which has something to say.
    """
    try:
        given = arguments.parse(words, arguments.GLOBALS)
        asked = Globals(given, tuple(words[: len(words) - len(given.words)]), launched)
    except KokonError as error:
        say(str(error))
        return FAILED
    if given.flag("version"):
        return _version()
    if given.flag("help") or not given.words:
        show(_help())
        return 0
    name, *rest = given.words
    try:
        verb = arguments.verb(name)
        own = arguments.arguments_of(verb, rest)
        if own.flag("help"):
            show(_help_of(verb))
            return 0
        if started >= 0:
            from kokon.cli.oci.start import go_on

            return go_on(asked, own, started)
        return _perform(name, asked, own)
    except KokonError as error:
        asked.error(str(error))
    except OSError as error:
        where = f"{error.filename}: " if error.filename is not None else ""
        asked.error(f"{where}{error.strerror or error}")
    except Exception as error:
        asked.error(_mistake(error))
    return 255 if name == "exec" else FAILED


def _perform(name: str, asked: Globals, own: Arguments) -> int:
    """One file is one verb, and only that one is loaded."""
    module = __import__(f"kokon.cli.oci.{name.replace('exec', 'execute')}", fromlist=("main",))
    status: int = module.main(asked, own)
    return status


def _mistake(error: Exception) -> str:
    """Of what nobody has foreseen: the lines for us, and a sentence, which is all that an engine
    shows of its log."""
    import traceback

    traceback.print_exc()
    place = traceback.extract_tb(error.__traceback__)[-1]
    what = "".join(traceback.format_exception_only(error)).strip()
    return (
        f"{what} ({os.path.basename(place.filename)}, line {place.lineno}); this is a mistake in"
        " kokon itself: report it"
    )


def _version() -> int:
    import kokon
    from kokon.spec.runtime import VERSION

    show(f"kokon-runtime version {kokon.__version__}\nspec: {VERSION}\n")
    return 0


def _help() -> str:
    lines = ["kokon-runtime: containers by the OCI runtime specification", "",
             "  kokon-runtime [OPTIONS] COMMAND [OPTIONS] ARGUMENTS", "", "Commands:"]  # fmt: skip
    lines += [f"  {verb.name:11} {verb.help}" for verb in arguments.VERBS]
    lines += ["", "Options:", *_options(arguments.GLOBALS)]
    return "\n".join(lines) + "\n"


def _help_of(verb: arguments.Verb) -> str:
    lines = [f"kokon-runtime {verb.name} [OPTIONS] {verb.usage}: {verb.help}"]
    if verb.options:
        lines += ["", "Options:", *_options(verb.options)]
    return "\n".join(lines) + "\n"


def _options(options: tuple[arguments.Option, ...]) -> list[str]:
    rows = []
    for option in options:
        short = f"-{option.short}, " if option.short else "    "
        value = "" if option.kind == arguments.FLAG else " VALUE"
        rows.append(f"  {short}--{option.name + value:26} {option.help}")
    return rows


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
