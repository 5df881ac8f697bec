"""``--format`` of the verbs that print what they found."""

from __future__ import annotations

from kokon.cli.arguments import near
from kokon.errors import OptionError


def take_format(
    words: list[str], verb: str, formats: tuple[str, ...], remedy: str
) -> tuple[str, list[str]]:
    """The options before the first word that is none.

    :param formats: those that the verb has, the first where nothing is said.
    :param remedy: what to do about an option that the verb does not have.
    :returns: the format, ``help`` where that was asked for, and the words that follow.
    :raises OptionError: an option or a format that there is not.
    """
    format, rest = formats[0], list(words)
    while rest and rest[0].startswith("-"):
        name, equals, value = rest.pop(0).partition("=")
        if name == "--help":
            return "help", []
        if name != "--format":
            known = ("--format", "--help")
            raise OptionError(
                f"there is no option {name}{near(name, known)}", where=verb, remedy=remedy
            )
        if not equals and rest:
            value = rest.pop(0)
        if value not in formats:
            raise OptionError(
                f"there is no format {value!r}",
                where=f"{verb} --format",
                remedy=f"give {(', ' if len(formats) > 2 else ' or ').join(formats)}",
            )
        format = value
    return format, rest
