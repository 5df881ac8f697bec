"""The command line of an OCI runtime, as runC has it: options of all verbs, a verb, its options.

``--opt value`` and ``--opt=value``, with one dash or two as in Go; options end at the
first word that is none.  After the id of a container there may be more of them (Slurm's
``run ID --bundle DIR``), but not where the command of another program follows.
"""

from __future__ import annotations

from kokon.errors import OptionError, nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

FLAG, TEXT, LIST = "flag", "text", "list"


class Option:
    """One option.

    :param name: without dashes.
    :param kind: ``flag``, ``text``, or ``list`` (may be given again).
    :param help: one line.
    :param short: one letter, or nothing.
    """

    __slots__ = ("help", "kind", "name", "short")

    def __init__(self, name: str, kind: str, help: str, short: str = "") -> None:
        self.name = name
        self.kind = kind
        self.help = help
        self.short = short


class Verb:
    """One verb.

    :param usage: its arguments in words.
    :param least: how many arguments it has at least; ``most``: at most, None for any number.
    :param there: False for what is not done: it takes whatever runC's takes, to say so.
    """

    __slots__ = ("help", "least", "most", "name", "options", "there", "usage")

    def __init__(
        self,
        name: str,
        usage: str,
        help: str,
        options: tuple[Option, ...] = (),
        *,
        least: int = 1,
        most: int | None = 1,
        there: bool = True,
    ) -> None:
        self.name = name
        self.there = there
        self.usage = usage
        self.help = help
        self.options = options
        self.least = least
        self.most = most


GLOBALS = (
    Option("root", TEXT, "where containers are kept (default: /run/kokon-runtime)"),
    Option("log", TEXT, "write errors to this file too"),
    Option("log-format", TEXT, "text or json"),
    Option("debug", FLAG, "say more in the log"),
    Option("systemd-cgroup", FLAG, "cgroupsPath is SLICE:PREFIX:NAME, a scope of systemd"),
    Option("rootless", TEXT, "true, false or auto; kokon sees for itself"),
    Option("version", FLAG, "print the version", "v"),
    Option("help", FLAG, "print help", "h"),
)

_BUNDLE = Option("bundle", TEXT, "directory of config.json (default: here)", "b")
_CONSOLE = Option("console-socket", TEXT, "socket that gets the terminal's master")
_PID_FILE = Option("pid-file", TEXT, "write the pid of the process there")
_PRESERVE = Option("preserve-fds", TEXT, "hand so many descriptors on, from 3")
_START = (
    _BUNDLE, _CONSOLE, _PID_FILE, _PRESERVE,
    Option("no-pivot", FLAG, "move the root instead of pivot_root, for a ramdisk"),
    Option("no-new-keyring", FLAG, "the container has the caller's session keyring"),
)  # fmt: skip
_FORMAT = Option("format", TEXT, "table or json", "f")

VERBS = (
    Verb("create", "ID", "make a container; it waits for start", _START),
    Verb("start", "ID", "run the program of a created container"),
    Verb("run", "ID", "create and start", (
        *_START,
        Option("detach", FLAG, "do not wait for its end", "d"),
        Option("keep", FLAG, "do not delete it at its end"),
        Option("no-subreaper", FLAG, "accepted; kokon is none"),
    )),
    Verb("state", "ID", "print a container's state as JSON"),
    Verb("kill", "ID [SIGNAL]", "send a signal (default TERM)", (
        Option("all", FLAG, "to every process of it", "a"),
    ), most=2),
    Verb("delete", "ID", "remove a stopped container", (
        Option("force", FLAG, "end it first; one that is gone is no error", "f"),
    )),
    Verb("exec", "ID COMMAND [ARGUMENT…]", "run another program in a container", (
        _CONSOLE, _PID_FILE, _PRESERVE,
        Option("process", TEXT, "a file with an OCI process", "p"),
        Option("detach", FLAG, "do not wait for its end", "d"),
        Option("tty", FLAG, "with a terminal", "t"),
        Option("cwd", TEXT, "working directory"),
        Option("env", LIST, "NAME=VALUE", "e"),
        Option("user", TEXT, "UID[:GID]", "u"),
        Option("additional-gids", LIST, "a supplementary group", "g"),
        Option("cap", LIST, "add a capability", "c"),
        Option("apparmor", TEXT, "AppArmor profile"),
        Option("process-label", TEXT, "SELinux label"),
        Option("no-new-privs", FLAG, "forbid new privileges"),
        Option("ignore-paused", FLAG, "also in a paused container"),
        Option("cgroup", LIST, "[CONTROLLERS:]PATH below the container's group"),
    ), most=None),
    Verb("ps", "ID [PS OPTION…]", "list a container's processes", (_FORMAT,), most=None),
    Verb("list", "", "list containers", (
        _FORMAT, Option("quiet", FLAG, "ids only", "q"),
    ), least=0, most=0),
    Verb("pause", "ID", "stop every process of a container"),
    Verb("resume", "ID", "let them go on"),
    Verb("update", "ID", "change limits", (
        Option("resources", TEXT, "a file with OCI resources, or - for standard input", "r"),
        *(Option(name, TEXT, help) for name, help in (
            ("blkio-weight", "weight of its io"),
            ("cpu-period", "microseconds"), ("cpu-quota", "microseconds"),
            ("cpu-burst", "microseconds"), ("cpu-share", "weight"),
            ("cpu-rt-period", "microseconds"), ("cpu-rt-runtime", "microseconds"),
            ("cpu-idle", "0 or 1"), ("cpuset-cpus", "list"), ("cpuset-mems", "list"),
            ("memory", "bytes"), ("memory-reservation", "bytes"), ("memory-swap", "bytes"),
            ("kernel-memory", "accepted and ignored"),
            ("kernel-memory-tcp", "accepted and ignored"), ("pids-limit", "number"),
            ("l3-cache-schema", "Intel RDT"), ("mem-bw-schema", "Intel RDT"),
        )),
    )),
    Verb("events", "ID", "print usage and out-of-memory events", (
        Option("stats", FLAG, "print usage once"),
        Option("interval", TEXT, "between prints (default 5s)"),
    )),
    Verb("features", "", "print what is implemented, as JSON", least=0, most=0),
    Verb("spec", "", "write an example config.json", (
        _BUNDLE, Option("rootless", FLAG, "for an ordinary user"),
    ), least=0, most=0),
    Verb("checkpoint", "ID", "not there yet", there=False),
    Verb("restore", "ID", "not there yet", there=False),
)  # fmt: skip
"""Every verb, in the order of help."""


class Arguments:
    """A command line taken apart; what was not given is "", False or ().

    :ivar words: the arguments of the verb.
    """

    __slots__ = ("_values", "words")

    def __init__(self, values: dict[str, object], words: tuple[str, ...]) -> None:
        self._values = values
        self.words = words

    def text(self, name: str) -> str:
        """The value of a text option, "" where it was not given."""
        return str(self._values.get(name, ""))

    def flag(self, name: str) -> bool:
        """Whether a flag was given."""
        return bool(self._values.get(name, False))

    def many(self, name: str) -> tuple[str, ...]:
        """Every value of a list option."""
        value = self._values.get(name, ())
        return value if isinstance(value, tuple) else ()

    def given(self, name: str) -> bool:
        """Whether an option was written."""
        return name in self._values


def verb(name: str) -> Verb:
    """The verb of a name.

    :raises OptionError: there is none.
    """
    found = next((verb for verb in VERBS if verb.name == name), None)
    if found is None:
        near = nearest(name, (verb.name for verb in VERBS))
        raise OptionError(
            f"there is no command {name!r}" + (f" (did you mean {near}?)" if near else ""),
            remedy="see kokon-runtime --help",
        )
    return found


def parse(words: Sequence[str], options: Sequence[Option], *, anywhere: bool = False) -> Arguments:
    """Options up to the first word that is none, and the rest.

    :param anywhere: options may come after such words, too.
    :raises OptionError: an option that there is not, or its value is missing.
    """
    values: dict[str, object] = {}
    plain: list[str] = []
    rest = list(reversed(words))
    while rest:
        if not rest[-1].startswith("-") or rest[-1] == "-":
            if not anywhere:
                break
            plain.append(rest.pop())
            continue
        word = rest.pop()
        if word == "--":
            break
        name, equals, value = word.lstrip("-").partition("=")
        option = _find(name, options, word)
        if option.kind == FLAG:
            if value not in ("", "true", "false", "1", "0"):
                raise OptionError(f"{value!r} is neither true nor false", where=f"--{option.name}")
            values[option.name] = value not in ("false", "0")
            continue
        if not equals:
            if not rest:
                raise OptionError("its value is missing", where=word)
            value = rest.pop()
        if option.kind == LIST:
            before = values.get(option.name, ())
            values[option.name] = (*before, value) if isinstance(before, tuple) else (value,)
        else:
            values[option.name] = value
    rest.reverse()
    return Arguments(values, (*plain, *rest))


def _find(name: str, options: Sequence[Option], word: str) -> Option:
    for option in options:
        if name == option.name or (name and name == option.short):
            return option
    near = nearest(name, (option.name for option in options))
    raise OptionError(
        f"there is no option {word.partition('=')[0]}"
        + (f" (did you mean --{near}?)" if near else ""),
        remedy="see --help",
    )


def arguments_of(verb: Verb, words: Sequence[str]) -> Arguments:
    """The options and arguments of a verb.

    :raises OptionError: too few or too many arguments, or an option that there is not.
    """
    if not verb.there and not {"-h", "--help"} & set(words):
        return Arguments({}, tuple(words))
    found = parse(words, (*verb.options, GLOBALS[-1]), anywhere=verb.most is not None)
    count = len(found.words)
    if not found.flag("help") and (
        count < verb.least or (verb.most is not None and count > verb.most)
    ):
        raise OptionError(
            f"{verb.name} takes {verb.usage or 'no arguments'}, and {count} were given",
            remedy=f"see kokon-runtime {verb.name} --help",
        )
    return found


def preserved(own: Arguments) -> int:
    """How many descriptors from 3 on are handed on."""
    word = own.text("preserve-fds") or "0"
    if not (word.isascii() and word.isdecimal()) or int(word) > 128:
        raise OptionError(f"{word!r} is no number up to 128", where="--preserve-fds")
    return int(word)
