"""docs/python.md: every block runs, in order, and gives what the page says; the README's too."""

from __future__ import annotations

import ast
import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from leftovers import limits_hold, own_place, skip_without_namespaces

import kokon

pytestmark = pytest.mark.kernel

PAGE = Path(__file__).parents[2] / "docs/python.md"


def blocks() -> list[tuple[int, str]]:
    """Fenced Python with the number of its first line."""
    text = PAGE.read_text()
    found = re.finditer(r"^```python\n(.*?)^```$", text, re.S | re.M)
    return [(text.count("\n", 0, match.start()) + 2, match[1]) for match in found]


def checked(line: int, code: str) -> ast.Module:
    """The code, in which every expression with ``# -> value`` is compared with it."""
    tree = ast.parse(code)
    lines = code.splitlines()
    shown = 0
    for parent in ast.walk(tree):
        for field in ("body", "orelse", "finalbody"):
            statements = getattr(parent, field, None)
            if not isinstance(statements, list):
                continue
            for index, statement in enumerate(statements):
                last = lines[statement.end_lineno - 1] if isinstance(statement, ast.Expr) else ""
                if "# -> " not in last:
                    continue
                said = last.partition("# -> ")[2]
                where = f"line {line + statement.end_lineno - 1}"
                call = ast.parse(f"shown(None, {said!r}, {where!r})").body[0]
                call.value.args[0] = statement.value  # type: ignore[attr-defined]
                statements[index] = call
                shown += 1
    assert shown == code.count("# -> ")
    return ast.increment_lineno(ast.fix_missing_locations(tree), line - 1)


def test_every_block_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    skip_without_namespaces()

    def shown(value: object, said: str, where: str) -> None:
        assert repr(value) == said, f"{PAGE.name}, {where}"

    for place in own_place(monkeypatch, tmp_path):
        (place / "here").mkdir()
        monkeypatch.chdir(place / "here")
        names: dict[str, Any] = {"shown": shown}
        for line, code in blocks():
            exec(compile(checked(line, code), str(PAGE), "exec"), names)
    assert len(blocks()) > 8


def test_the_tour_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    skip_without_namespaces()
    tour = PAGE.parents[1].joinpath("README.md").read_text().partition("## A tour")[2]
    code = tour.partition("):\n\n")[2].partition("On the command line")[0]
    # What has no value on the page, and no root of its own here.
    code = code.replace('["make"], root="./rootfs"', '["true"], root="@host"')
    names: dict[str, Any] = {"kokon": kokon, "asyncio": asyncio, "many": ["1", "2"]}
    names["untrusted"] = ["true"]
    if not limits_hold():
        code = code.replace('require="network,memory", ', 'limits="best-effort", ')
    exec(f"async def tour():\n{code}\n    return result, results", names)
    for place in own_place(monkeypatch, tmp_path):
        for name in ("src", "work"):
            (place / name).mkdir()
        (place / "src/a.py").write_text("")
        (place / "work/a.json").write_text("{}")
        monkeypatch.chdir(place)
        result, results = asyncio.run(names["tour"]())
        assert [done.returncode for done in (result, *results)] == [0, 0, 0]


def test_the_table_of_exceptions_is_whole() -> None:
    names = {name for name in kokon.__all__ if isinstance(getattr(kokon, name), type)
             and issubclass(getattr(kokon, name), Exception)}  # fmt: skip
    table = PAGE.read_text().partition("## Exceptions")[2].partition("```")[0]
    assert {name for name in names if f"`{name}`" not in table} == set()


def test_every_option_it_names_is_one() -> None:
    from kokon.config.options import KNOWN

    named = {name for _, code in blocks() for name in re.findall(r"[(,]\s*(\w+)=", code)}
    own = {"root", "stdin", "stdout", "stderr", "input", "capture_output", "text", "check",
           "timeout", "max_output", "tty"}  # fmt: skip
    assert named - own <= KNOWN
