"""``kokon doctor``: what this machine can do, what is missing, and the line that mends it."""

from __future__ import annotations

from kokon.cli.arguments import near
from kokon.cli.engine.formats import take_format
from kokon.cli.message import emphasis, show
from kokon.errors import OptionError

FORMATS = ("text", "json")


def main(words: list[str]) -> int:
    """Prints what was found; 0 where everything is there that a run without options needs, else 1.

    :raises OptionError: words that there are not.
    """
    remedy = "it takes --format and --help"
    format, rest = take_format(words, "doctor", FORMATS, remedy)
    if rest:
        raise OptionError(
            f"there is no word {rest[0]}{near(rest[0], ('--format', '--help'))}",
            where="doctor",
            remedy=remedy,
        )
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
