"""``kokon doctor``: what this machine can do, what is missing, and the line that mends it."""

from __future__ import annotations

from kokon.cli.arguments import near
from kokon.cli.message import emphasis, show
from kokon.errors import OptionError

FORMATS = ("text", "json")


def main(words: list[str]) -> int:
    """Prints what was found; 0 where everything is there that a run without options needs, else 1.

    :raises OptionError: words that there are not.
    """
    format = _format(words)
    from kokon.cli.engine import help

    if format == "help":
        return help.main(["doctor"])
    from kokon.engine.doctor import examine

    report = examine()
    if format == "json":
        import json

        show(json.dumps(report.to_dict(), indent=2) + "\n")
    else:
        show(report.text(help.width(), bold=emphasis(1)))
    return 0 if report.works else 1


def _format(words: list[str]) -> str:
    format, rest = "text", list(words)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if name == "--help":
            return "help"
        if name != "--format":
            known = ("--format", "--help")
            kind = "option" if name.startswith("-") else "word"
            raise OptionError(
                f"there is no {kind} {name}{near(name, known)}",
                where="doctor",
                remedy=f"it takes {' and '.join(known)}",
            )
        if not equals and rest:
            value = rest.pop(0)
        if value not in FORMATS:
            raise OptionError(
                f"there is no format {value!r}",
                where="doctor --format",
                remedy=f"give {' or '.join(FORMATS)}",
            )
        format = value
    return format
