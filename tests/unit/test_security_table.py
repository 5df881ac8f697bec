"""docs/security.md is what the tests say, and every class of attack has a test or a reason."""

from __future__ import annotations

from pathlib import Path
from runpy import run_path
from typing import Any

import pytest

TOOL = run_path(str(Path(__file__).parents[2] / "tools/security_table.py"))
ROWS = {"A heading": {"M1": ("a link", ""), "P1": ("a registry", "comes later")}}
TESTED = 'SEEN = {"M1": "links are followed"}\ndef test_m1_a_link(): ...\n'


def problems(source: str, rows: Any = ROWS) -> list[str]:
    found: list[str] = TOOL["problems"](rows, [TOOL["Played"]("tests", source)])
    return found


def test_every_row_has_a_test_or_a_reason() -> None:
    assert TOOL["problems"](TOOL["read_rows"](), TOOL["read_tests"]()) == []


def test_the_page_is_fresh() -> None:
    page = TOOL["PAGE"].read_text()
    generated = TOOL["tables"](TOOL["read_rows"](), TOOL["read_tests"]())
    assert page == TOOL["page"](page, generated), "run python tools/security_table.py"


@pytest.mark.parametrize("source, problem", [
    ("", "M1 has neither a test nor a reason"),
    (TESTED + "def test_m2_more(): ...", "tests: there is no row M2"),
    ("def test_m1_a_link(): ...", "tests: SEEN does not say how M1 was seen to fail"),
    ('SEEN = {"M1": "x"}', "tests: SEEN has M1, but no test does"),
    (TESTED + "def test_m1_p1_both(): ...", "P1 has a test, and a reason why it has none"),
])  # fmt: skip
def test_what_does_not_fit(source: str, problem: str) -> None:
    assert problem in problems(source)
    assert problems(TESTED) == []


def test_a_table() -> None:
    lines = TOOL["tables"](ROWS, [TOOL["Played"]("tests", TESTED)]).splitlines()
    assert lines[-3:] == [
        "| M1 | a link | 1 in `tests` | links are followed |",
        "| P1 | a registry | none | *comes later* |",
        "",
    ]
