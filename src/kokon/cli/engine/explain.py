"""``kokon explain run``: the steps of a run, each with its reason; nothing runs."""

from __future__ import annotations

from kokon.cli.arguments import parse
from kokon.cli.engine.formats import take_format
from kokon.cli.message import emphasis, show
from kokon.errors import OptionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.engine.prepared import Prepared

FORMATS = ("text", "json", "shell")


def main(words: list[str]) -> int:
    """Prints the plan as text, JSON, or a shell script."""
    format, rest = take_format(
        words, "explain", FORMATS, "options of the run come after the word run"
    )
    arguments = None if format == "help" else parse(_of_the_run(rest))
    if arguments is None:
        from kokon.cli.engine.help import main as help

        return help(["explain"])
    from kokon.cli.engine.run import Streams, prepared_for
    from kokon.cli.signals import Interrupted, Signals

    signals = Signals()
    try:
        prepared = prepared_for(arguments, Streams(arguments))
        try:
            printed = _printed(prepared, format)
        finally:
            signals.drop()
            prepared.close()
    except Interrupted as signal:
        return 128 + signal.number
    show(printed)
    return 0


def _of_the_run(rest: list[str]) -> list[str]:
    if not rest or rest[0] != "run":
        raise OptionError(
            f"{rest[0]!r} cannot be explained" if rest else "says not what",
            where="explain",
            remedy="write for example: kokon explain run @host sh",
        )
    return rest[1:]


def _printed(prepared: Prepared, format: str) -> str:
    from kokon.engine import explain

    if format == "shell":
        return explain.script(prepared)
    if format == "json":
        import json

        return json.dumps(explain.values(prepared), indent=2) + "\n"
    text = explain.text(prepared)
    return _emphasized(text) if emphasis(1) else text


def _emphasized(text: str) -> str:
    """Headings bold, reasons faint."""
    lines = []
    for line in text.splitlines():
        step, bracket, why = line.rpartition("  [")
        if not line.startswith(" "):
            line = f"\x1b[1m{line}\x1b[0m"
        elif bracket:
            line = f"{step}\x1b[2m{bracket}{why}\x1b[0m"
        lines.append(line + "\n")
    return "".join(lines)
