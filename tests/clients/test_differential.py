"""The same container by runC, crun and kokon: what a program inside sees, and what is refused.

``KOKON_DIFFERENTIAL=1000`` starts so many at random and not the same hundred as always.
Every difference is one of ``differences.KNOWN``, or a mistake; a mistake's configuration is shown.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import Any

import pytest
from differences import KNOWN
from hypothesis import HealthCheck, Phase, given, settings
from known import Case, Known
from listed_configurations import LISTED
from random_configurations import configurations
from runtimes import World, questions, versions, world

__all__ = ["world"]

pytestmark = [pytest.mark.kernel, pytest.mark.slow]

COUNT = int(os.environ.get("KOKON_DIFFERENTIAL", "0"))
KNOWN_VERSIONS = {"runc": (1, 1), "crun": (1, 8)}
"""What the table is about: Debian 12's."""


@pytest.fixture(autouse=True)
def _versions() -> None:
    found = versions()
    if any(found[name][:2] != known for name, known in KNOWN_VERSIONS.items()):
        pytest.skip(f"the known differences are those of {KNOWN_VERSIONS}, here are {found}")


def differences(world: World, config: dict[str, Any]) -> tuple[list[str], set[Known]]:
    """What no row explains, and the rows without which something would not be explained."""
    asked = {**config, "process": {**config["process"], "args": ["/bin/probe", *questions(config)]}}
    outcomes = world.start_all(asked)
    unexplained, used = [], set[Known]()
    for field in sorted({field for each in outcomes.values() for field in each.fields}):
        case = Case(config, field, outcomes)
        if agree(case, ()):
            continue
        rows = [row for row in KNOWN if row.explains(case)]
        if agree(case, rows):
            used.update(row for row in rows if not agree(case, [r for r in rows if r is not row]))
        else:
            unexplained.append(f"{field}: {case.values}")
    if unexplained:
        refusals = [f"{name}: {each.said}" for name, each in outcomes.items() if each.said]
        unexplained += [*refusals, json.dumps(config)]
    return unexplained, used


def agree(case: Case, rows: Iterable[Known]) -> bool:
    """Whether those of whom no row speaks have the same."""
    excused = {row.runtime for row in rows}
    rest = {repr(value) for name, value in case.values.items() if name not in excused}
    return len(rest) < 2


def test_listed_configurations_and_rows_that_explain(world: World) -> None:
    needed, failed = set[Known](), []
    for name, config in LISTED.items():
        unexplained, used = differences(world, config)
        needed |= used
        if unexplained:
            failed.append("\n  ".join([name, *unexplained]))
    failed += [
        f"this explains nothing: {row.runtime}, {row.field}: {row.reason}"
        for row in KNOWN
        if row not in needed
    ]
    assert not failed, "\n".join(failed)


@settings(
    max_examples=COUNT or 100, derandomize=not COUNT, deadline=None, database=None,
    phases=[Phase.generate], suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(config=configurations())
def test_configurations_at_random(world: World, config: dict[str, Any]) -> None:
    unexplained, _ = differences(world, config)
    assert not unexplained, "\n".join(unexplained)
