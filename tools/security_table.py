"""Write the tables of docs/security.md from the tests that play the attacks.

python tools/security_table.py          write them
python tools/security_table.py --check  exit 1 when they are not fresh
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from runpy import run_path

PROJECT = Path(__file__).resolve().parent.parent
PAGE = PROJECT / "docs/security.md"
BEGIN = "<!-- begin: python tools/security_table.py -->\n"
END = "<!-- end -->\n"

Rows = dict[str, dict[str, tuple[str, str]]]
"""Row to (what is tried, why there is no test), by heading."""


class Played:
    """What one module of tests plays.

    :ivar tests: how many tests each row has.
    :ivar seen: how each row was seen to fail.
    """

    def __init__(self, name: str, source: str) -> None:
        self.name = name
        self.tests: dict[str, int] = {}
        self.seen: dict[str, str] = {}
        for node in ast.parse(source).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "SEEN":
                self.seen = ast.literal_eval(node.value)
            elif isinstance(node, ast.FunctionDef):
                match = re.match(r"test_((?:[a-z]\d+_)+)", node.name)
                for row in match[1].upper().split("_")[:-1] if match else ():
                    self.tests[row] = self.tests.get(row, 0) + 1


def read_tests(top: Path = PROJECT / "tests") -> list[Played]:
    """The modules of tests that play rows: those that have ``SEEN``, and all of tests/security."""
    files = sorted(top.rglob("test_*.py"))
    played = [Played(path.relative_to(top).with_suffix("").as_posix(), path.read_text())
              for path in files]  # fmt: skip
    return [each for each in played if each.seen or each.name.startswith("security/")]


def read_rows() -> Rows:
    rows: Rows = run_path(str(PROJECT / "tests/security/rows.py"))["ROWS"]
    return rows


def problems(rows: Rows, played: list[Played]) -> list[str]:
    """What does not fit together, in words."""
    known = {row: reason for section in rows.values() for row, (_, reason) in section.items()}
    tested = {row for each in played for row in each.tests}
    found = []
    for each in played:
        found += [f"{each.name}: there is no row {row}" for row in each.tests if row not in known]
        found += [f"{each.name}: SEEN does not say how {row} was seen to fail"
                  for row in each.tests if row not in each.seen]  # fmt: skip
        found += [f"{each.name}: SEEN has {row}, but no test does"
                  for row in each.seen if row not in each.tests]  # fmt: skip
    found += [f"{row} has neither a test nor a reason"
              for row, reason in known.items() if not reason and row not in tested]  # fmt: skip
    found += [f"{row} has a test, and a reason why it has none"
              for row, reason in known.items() if reason and row in tested]  # fmt: skip
    return found


def tables(rows: Rows, played: list[Played]) -> str:
    """The part of the page that is generated."""
    lines = []
    for heading, section in rows.items():
        lines += ["", f"## {heading}", "", "| row | what is tried | tests | seen failing when |",
                  "| --- | --- | --- | --- |"]  # fmt: skip
        for row, (tried, reason) in section.items():
            by = [each for each in played if row in each.tests]
            tests = ", ".join(f"{each.tests[row]} in `{each.name}`" for each in by)
            seen = "; ".join(each.seen.get(row, "") for each in by)
            cells = (row, tried, tests or "none", seen or f"*{reason}*")
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", ""])


def page(text: str, generated: str) -> str:
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + generated + END + after


def main() -> int:
    rows, played = read_rows(), read_tests()
    for problem in (found := problems(rows, played)):
        print(problem, file=sys.stderr)
    if found:
        return 1
    text = PAGE.read_text()
    fresh = page(text, tables(rows, played))
    if "--check" in sys.argv[1:]:
        if text != fresh:
            print(f"{PAGE.name} is not fresh: run python tools/security_table.py", file=sys.stderr)
        return int(text != fresh)
    PAGE.write_text(fresh)
    return 0


if __name__ == "__main__":
    sys.exit(main())
