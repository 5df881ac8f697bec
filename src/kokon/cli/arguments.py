"""Words of the command line as options, by the one table in ``config.options``.

``--opt value``, ``--opt=value``, ``-v x``, ``-vx``, ``-it``; options end at ROOT, as in
``docker run``, or at ``--``.
"""

from __future__ import annotations

from kokon.config.options import TABLE, Option, Options
from kokon.errors import OptionError, nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

ELSEWHERE = {
    "rm": "leave it out: a container always goes away at its end",
    "detach": "leave it out, and let your shell or service manager keep it in the background",
    "entrypoint": "write the program after ROOT",
    "name": "leave it out: a container has no name",
    "publish": "leave it out: a container has no network but loopback, or --network host",
    "net": "write --network",
    "format": "it is for explain, before the word run: kokon explain --format json run …",
}
"""Options of Docker's, or of another verb, that are not here, and what to do instead."""


class Arguments:
    """A command line taken apart.

    :ivar options: what is asked.
    :ivar given: Python names of the options that were written, whatever their value.
    """

    __slots__ = ("given", "options")

    def __init__(self, options: Options, given: frozenset[str]) -> None:
        self.options = options
        self.given = given


def parse(words: list[str]) -> Arguments | None:
    """Options, ROOT, program and its arguments.  None: help was asked.

    :raises OptionError: an option that there is not, a value or ROOT that is missing.
    """
    values: dict[str, Any] = {}
    rest = list(reversed(words))
    while rest and rest[-1].startswith("-") and rest[-1] != "-":
        word = rest.pop()
        if word == "--":
            break
        if word == "--help":
            return None
        if word.startswith("--"):
            _long(word, rest, values)
        else:
            _short(word, rest, values)
    rest.reverse()
    if not rest or not rest[0]:
        raise OptionError(
            "ROOT is missing",
            remedy="write for example: kokon run @host sh (see kokon run --help)",
        )
    root, *args = rest
    if args and args[0].startswith("-"):
        raise OptionError(
            f"{args[0]} comes after ROOT, where the program is",
            remedy=f"write options before {root}",
        )
    if args and not args[0]:
        raise OptionError("the name of the program is empty", remedy="name one after ROOT")
    if not args:
        args = ["python3" if root == "@python" else "sh"]
    return Arguments(Options(root, tuple(args), values), frozenset(values))


def near(word: str, known: Iterable[str]) -> str:
    """``: did you mean …?``, or nothing."""
    found = nearest(word, known)
    return f" (did you mean {found}?)" if found else ""


def _long(word: str, rest: list[str], values: dict[str, Any]) -> None:
    name, equals, value = word[2:].partition("=")
    option = next((option for option in TABLE if option.name == name), None)
    if option is None:
        if name in ELSEWHERE:
            raise OptionError(f"there is no option --{name}", remedy=ELSEWHERE[name])
        suggestion = near(f"--{name}", (f"--{option.name}" for option in TABLE))
        raise OptionError(f"there is no option --{name}{suggestion}", remedy="see kokon run --help")
    if option.kind == "flag":
        if value not in ("", "true", "false"):
            raise OptionError(
                f"{value!r} is neither true nor false",
                where=f"--{name}",
                remedy=f"write --{name} alone",
            )
        values[option.python] = value != "false"
    else:
        _keep(option, value if equals else _value(option, f"--{name}", rest), values)


def _short(word: str, rest: list[str], values: dict[str, Any]) -> None:
    """Letters of switches, of which the last may take a value: ``-it``, ``-itv x``, ``-vx``."""
    letters = word[1:]
    while letters:
        letter, letters = letters[0], letters[1:]
        option = next((option for option in TABLE if option.short == letter), None)
        if option is None:
            known = {"d": "detach", "p": "publish"}.get(letter, "")
            raise OptionError(
                f"there is no option -{letter}" + (f" (in {word})" if len(word) > 2 else ""),
                remedy=ELSEWHERE.get(known, "see kokon run --help"),
            )
        if option.kind == "flag":
            values[option.python] = True
            continue
        value = letters.removeprefix("=") if letters else _value(option, f"-{letter}", rest)
        _keep(option, value, values)
        return


def _value(option: Option, written: str, rest: list[str]) -> str:
    if not rest:
        asks = " (help is --help)" if written == "-h" else ""
        raise OptionError(
            f"its value is missing{asks}", where=written, remedy=f"write {written} {option.metavar}"
        )
    return rest.pop()


def _keep(option: Option, value: str, values: dict[str, Any]) -> None:
    if option.kind == "list":
        values[option.python] = (*values.get(option.python, ()), value)
    else:
        values[option.python] = value
