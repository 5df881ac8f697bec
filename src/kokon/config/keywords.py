"""Errors in the words of Python: ``memory='4k'`` where the command line says ``--memory 4k``."""

from __future__ import annotations

import re

from kokon.config.options import TABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.config.options import Option
    from kokon.errors import KokonError

_NAMES = {f"--{option.name}": option for option in TABLE}
_NAMES |= {f"-{option.short}": option for option in TABLE if option.short}

# What follows an option at the beginning of a place is its value, whatever it is; in a sentence it
# is one only if it is a word that the option takes.  Commands for a shell are between backticks.
_WORDS = re.compile(r"`[^`]*`|(?<![\w-])(--[a-z][a-z-]*|-[a-z])(?: ([^\s,;:()]+))?")


def in_python(error: KokonError) -> KokonError:
    """The same error, its options named as keywords of ``kokon.run``."""
    error.where = _place(error.where)
    error.what = _sentence(error.what)
    error.remedy = _sentence(error.remedy)
    error.args = (error.what,)
    return error


def _place(where: str) -> str:
    name, _, value = where.partition(" ")
    option = _NAMES.get(name)
    return _keyword(option, value) if option else _sentence(where)


def _sentence(text: str) -> str:
    return _WORDS.sub(_replaced, text)


def _replaced(found: re.Match[str]) -> str:
    name, word = found[1], found[2]
    option = _NAMES.get(name) if name and len(name) > 2 else None
    if option is None:
        return found[0]
    taken = word is not None and (word in option.metavar.split("|") or word == option.metavar)
    return _keyword(option, word) if taken else f"{option.python}{found[0][len(name) :]}"


def _keyword(option: Option, value: str) -> str:
    if option.kind == "flag":
        return f"{option.python}={value or True}"
    if not value:
        return option.python
    plain = option.kind == "number" or value == option.metavar
    return f"{option.python}={value if plain else repr(value)}"
