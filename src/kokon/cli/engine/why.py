"""``kokon why``: whether the program of a run may do something, and which step decides."""

from __future__ import annotations

from kokon.cli.arguments import parse
from kokon.cli.engine.formats import take_format
from kokon.cli.message import emphasis, show
from kokon.errors import OptionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.plan.answer import Answer

FORMATS = ("text", "json")
STATUS = {"allowed": 0, "denied": 1, "undecided": 2}
COLOURS = {"allowed": "32", "denied": "31", "undecided": "33"}


def main(words: list[str]) -> int:
    """Prints the answer; 0 for allowed, 1 for denied, 2 for what the plan does not decide."""
    format, question, rest = _question(words)
    arguments = parse(rest) if question else None
    if arguments is None:
        from kokon.cli.engine.help import main as help

        return help(["why"])
    from kokon.cli.engine.run import Streams, prepared_for
    from kokon.cli.signals import Interrupted, Signals
    from kokon.engine.why import Machine

    signals = Signals()
    try:
        prepared = prepared_for(arguments, Streams(arguments))
        try:
            with Machine(prepared) as machine:
                answer = machine.why(*question)
        finally:
            signals.drop()
            prepared.close()
    except Interrupted as signal:
        return 128 + signal.number
    if format == "json":
        import json

        show(json.dumps(answer.to_dict(), indent=2) + "\n")
    else:
        show(text(answer, bold=emphasis(1)))
    return STATUS[answer.verdict]


def _question(words: list[str]) -> tuple[str, tuple[str, ...], list[str]]:
    """The format, the two words that ask, and what follows ``run``; no question: help was asked."""
    format, rest = take_format(words, "why", FORMATS, "options of the run come after the word run")
    if format == "help":
        return format, (), []
    if len(rest) < 3 or rest[2] != "run":
        raise OptionError(
            "asks for what is to be done, to what, and the run",
            where="why",
            remedy="write for example: kokon why write /etc/passwd run @host sh",
        )
    return format, (rest[0], rest[1]), rest[3:]


def text(answer: Answer, *, bold: bool = False) -> str:
    """The verdict with its reason, then the steps that decide."""
    verdict = f"{answer.verdict}:"
    if bold:
        verdict = f"\x1b[{COLOURS[answer.verdict]}m{verdict}\x1b[0m"
    lines = [f"{verdict} {answer.sentence}"]
    width = max((len(str(row["step"])) for row in answer.steps), default=0)
    for row in answer.steps:
        lines.append(f"  step {row['step']:>{width}}  {row['does']}  [{row['why']}]")
    return "\n".join(lines) + "\n"
