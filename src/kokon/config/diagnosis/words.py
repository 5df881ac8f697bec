"""What the doctor found, in words for a person."""

from __future__ import annotations

from textwrap import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.config.diagnosis.findings import Finding, Report

COLOURS = {"ok": "32", "partial": "33", "missing": "31", "unknown": "2"}
COLUMN = 29
"""Where what was found begins, after the state and the area."""


def text(report: Report, columns: int, *, bold: bool = False) -> str:
    """One line for what is well; what is not has what follows and what mends it."""
    lines: list[str] = []
    for finding in report:
        lines += _entry(finding, columns, bold)
    stops = [finding.area for finding in report if finding.stops]
    lines.append("")
    if not stops:
        lines += wrap("Everything is there that a run without options needs.", columns)
    else:
        lines += wrap(f"A run without options does not work: {', '.join(stops)}.", columns)
    return "\n".join(lines) + "\n"


def _entry(finding: Finding, columns: int, bold: bool) -> list[str]:
    indent = " " * COLUMN
    state = finding.state.ljust(8)
    if bold:
        state = f"\x1b[{COLOURS[finding.state]}m{state}\x1b[0m"
    head = f"{state} {finding.area.ljust(COLUMN - 10)} "
    lines = wrap(_printable(finding.found), columns - COLUMN, break_on_hyphens=False)
    result = [head + lines[0], *(indent + line for line in lines[1:])]
    if finding.follows:
        following = wrap(_printable(finding.follows), columns - COLUMN, break_on_hyphens=False)
        result += [indent + line for line in following]
    # Lines for a shell are never wrapped: they are copied.
    result += [f"    {_printable(line)}" for line in finding.remedy]
    return result


def _printable(text: str) -> str:
    """Paths and labels are part of it: what could steer a terminal is escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
