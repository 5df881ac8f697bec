"""Keyword arguments as options of a run, by the one table of options."""

from __future__ import annotations

import os

from kokon.config.options import KNOWN, LISTS, Options
from kokon.errors import KokonError, OptionError, nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

COMMAND_LINE_ONLY = ("events", "interactive", "timeout")
SEPARATORS = {"volumes": ":", "tmpfs": ":", "devices": ":", "add_host": ":"}
"""What stands between key and value of an entry that is given as a mapping, where it is not =."""


def in_python(error: KokonError) -> None:
    """Has an error name options as keywords, and a command line in one str be recognised."""
    from kokon.config import keywords

    keywords.in_python(error)
    program, missing, _ = error.what.partition(" was not found in the root")
    if missing and " " in program:
        error.remedy = "give the program and its arguments as a list"


def words(args: str | Sequence[str | os.PathLike[str]]) -> tuple[str, ...]:
    """The program and its arguments; a str is the program."""
    result = (args,) if isinstance(args, str) else tuple(os.fspath(word) for word in args)
    if not result:
        raise OptionError("there is no program to run", where="args", remedy="name one")
    return result


def options(
    args: tuple[str, ...],
    root: str | os.PathLike[str],
    env: Mapping[str, str] | None,
    keywords: Mapping[str, Any],
) -> Options:
    """The options of a run.

    :param keywords: Python names of options; None is as not given.
    :raises TypeError: one of them is no option.
    :raises ValueError: a variable of ``env`` cannot be.
    """
    values: dict[str, Any] = {}
    for name, value in keywords.items():
        if name not in KNOWN or name in COMMAND_LINE_ONLY:
            near = nearest(name, KNOWN.difference(COMMAND_LINE_ONLY))
            meant = f"; is {near} meant?" if near else ""
            raise TypeError(f"{name!r} is no option of a run{meant}")
        if name in LISTS and value is not None:
            value = _entries(name, value)
        elif isinstance(value, os.PathLike):
            value = os.fspath(value)
        elif name == "user" and value is not None:
            value = str(value)
        values[name] = value
    for name, value in (env or {}).items():
        if not isinstance(value, str):
            raise ValueError(f"the environment variable {name!r} has to be a str")
        if "=" in name:
            raise ValueError(f"illegal environment variable {name!r}")
    values["env"] = tuple(f"{name}={value}" for name, value in (env or {}).items())
    return Options(os.fspath(root), args, values)


def _entries(name: str, value: Any) -> tuple[str, ...]:
    """A list option as the command line has it: of a str, a mapping, or several."""
    if isinstance(value, str):
        return (value,)
    if hasattr(value, "items"):
        between = SEPARATORS.get(name, "=")
        # A tmpfs of no options, a device under its own name.
        pairs = [(os.fspath(key), rest) for key, rest in value.items()]
        return tuple(
            f"{key}{between}{rest}" if rest not in (None, "") else key for key, rest in pairs
        )
    return tuple(str(entry) for entry in value)
