"""The table of ops, what is generated from it, and init's C, which has to keep up with both."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from kokon.plan import ops
from kokon.plan.table import TABLE

PROJECT = Path(__file__).resolve().parents[3]
C = {path.name: path.read_text() for path in sorted(PROJECT.glob("init/*.c"))}
SOURCE = "\n".join(C.values())


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def functions() -> dict[str, str]:
    """The body of each function of init, by name."""
    found = re.findall(r"^(?:[\w ]+[ *])(\w+)\([^;{]*\)\n\{\n(.*?)^\}$", SOURCE, re.M | re.S)
    return dict(found)


BODIES = functions()


def steps_used(name: str, known: frozenset[str] = frozenset()) -> set[int]:
    """The detail numbers that a function of init, and what it calls, may leave."""
    body = BODIES[name]
    found = {int(number) for number in re.findall(r"\bTRY\((\d+),|\bstep = (\d+);", body)
             for number in number if number}  # fmt: skip
    for called in set(re.findall(r"\b(\w+)\(", body)) & set(BODIES) - {name, "report"} - known:
        if not called.startswith("do_"):
            found |= steps_used(called, known | {name})
    return found


@pytest.mark.skipif(not (PROJECT / "tools/generate.py").exists(), reason="only in a checkout")
def test_what_is_generated_is_fresh() -> None:
    pytest.importorskip("ruff", reason="ruff formats what is generated")
    command = [sys.executable, str(PROJECT / "tools/generate.py"), "--check"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_names_and_codes() -> None:
    assert [kind.__name__ for kind in ops.OPS] == [row.name for row in TABLE]
    assert [kind.CODE for kind in ops.OPS] == list(range(1, len(TABLE) + 1))
    assert len({row.name for row in TABLE}) == len(TABLE)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_a_row_is_whole(row: object) -> None:
    kind = next(kind for kind in ops.OPS if kind.__name__ == row.name)  # type: ignore[attr-defined]
    assert kind.PLACE in ("host", "container", "either")
    assert kind.STEPS, "each call has a name"
    assert kind.__doc__
    # A field of C is at the place that the wire has it: at most twelve kinds fit the table.
    assert len(kind.WIRE) <= 11


@pytest.mark.parametrize("kind", ops.OPS, ids=lambda kind: kind.__name__)
def test_init_has_a_handler_whose_steps_have_names(kind: type[ops.Op]) -> None:
    handler = f"do_{snake(kind.__name__)}"
    assert handler in BODIES
    if kind in (ops.Execute, ops.FindProgram):
        return  # its number says which path, and whether a file was there
    used = steps_used(handler)
    assert not used or max(used) < len(kind.STEPS), (used, kind.STEPS)


def test_init_has_no_other_handlers() -> None:
    wanted = {f"do_{snake(kind.__name__)}" for kind in ops.OPS}
    assert {name for name in BODIES if name.startswith("do_")} == wanted


def test_the_numbers_of_spawn_and_of_init_are_the_same() -> None:
    from kokon.compile import builder
    from kokon.plan import wire
    from kokon.runtime import spawn

    header = (PROJECT / "init/init.h").read_text()

    def number(name: str) -> int:
        match = re.search(rf"\b{name} = (\w+)", header)
        assert match, name
        return int(match[1], 0)

    for name in ("REPORT_FD", "PLAN_FD", "REPLY_FD", "FIRST_FD"):
        assert getattr(spawn, name) == number(name)
    assert (number("PLAN_MAGIC"), number("PLAN_VERSION")) == (wire.MAGIC, wire.VERSION)
    assert number("MAX_SLOTS") == builder.MOST_SLOTS
    kinds = re.search(r"enum \{ (REPORT_PID = 1.*?) \}", header, re.S)
    assert kinds
    names = [word.partition("=")[0].strip() for word in kinds[1].split(",")]
    assert [getattr(spawn, name) for name in names] == list(range(1, len(names) + 1))
