"""The table of rungs, the guarantees made of it, and the page that shows it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kokon.security.ladder import RESOURCES, RUNGS, Guarantee, Guarantees

PROJECT = Path(__file__).resolve().parents[3]
BEST = {"files": "mounts", "processes": "namespace", "network": "namespace", "limits": "cgroup",
        "system_calls": "filter"}  # fmt: skip


def test_every_resource_has_a_rung_that_holds_and_one_that_does_not() -> None:
    for resource in RESOURCES:
        holds = {holds for (of, _), (holds, _) in RUNGS.items() if of == resource}
        assert holds == {True, False}
    assert {resource for resource, _ in RUNGS} == set(RESOURCES)


def test_a_guarantee_in_words() -> None:
    held, not_held = Guarantee(True, "a filter"), Guarantee(False, "there is no filter")
    assert (str(held), str(not_held)) == ("held by a filter", "not held: there is no filter")
    assert held and not not_held
    assert held == Guarantee(True, "a filter") != not_held
    assert repr(held) == "Guarantee(holds=True, by='a filter')"


def test_by_name_and_by_attribute() -> None:
    guarantees = Guarantees(BEST, {"memory": "cgroup", "cpu_shares": "rlimits"}, ("a note",))
    assert list(guarantees) == [*RESOURCES, "memory", "cpu_shares"]
    assert len(guarantees) == 7 and "memory" in guarantees and "pids" not in guarantees
    assert dict(guarantees)["files"] is guarantees.files is guarantees["files"]
    assert guarantees["system-calls"] is guarantees.system_calls
    assert guarantees["memory"].holds and not guarantees["cpu-shares"].holds
    with pytest.raises(KeyError):
        guarantees["pids"]
    assert str(guarantees).endswith("a note")
    assert repr(guarantees).startswith("Guarantees(files=True, ")


def test_as_json() -> None:
    guarantees = Guarantees(BEST, {"memory": "cgroup"}, ("a note",))
    value = json.loads(json.dumps(guarantees.to_dict()))
    assert value.pop("notes") == ["a note"]
    assert {name: entry["holds"] for name, entry in value.items()} == {
        name: guarantees[name].holds for name in guarantees
    }


def test_the_page_shows_every_rung() -> None:
    """docs/levels.md has each row of the table, in its words."""
    page = PROJECT / "docs/levels.md"
    if not page.exists():
        pytest.skip("only in a checkout")
    text = page.read_text()
    for (resource, _), (holds, by) in RUNGS.items():
        row = f"| {resource.replace('_', ' ')} | {'yes' if holds else 'no'} | {by} |"
        assert row in text
