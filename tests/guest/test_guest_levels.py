"""The lowest rung on the older kernel of the guest: what it guarantees there is true too."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from kokon.kernel import facts

sys.path.insert(0, str(Path(__file__).parents[1] / "kernel"))
from test_levels import all_but, check, inside

pytestmark = pytest.mark.skipif(
    not os.environ.get("KOKON_GUEST"), reason="runs inside the guest (make test-guest)"
)


@pytest.mark.parametrize("options", [{}, {"landlock": True}, {"level": "best"}], ids=str)
def test_with_namespaces(tmp_path: Path, options: dict[str, Any]) -> None:
    if not facts.read().landlock:
        pytest.skip("needs Landlock")
    assert check(inside([], tmp_path / "store", **options)) == {**all_but(), "limits": False}


def test_without(tmp_path: Path) -> None:
    """Before Linux 6.12 signals go outside, and nothing says that they do not."""
    if not facts.read().landlock:
        pytest.skip("needs Landlock")
    result = inside([], tmp_path / "store", level="landlock", require=["files", "network"])
    assert check(result) == {**all_but("processes"), "limits": False}
    if facts.read().landlock < 6:
        assert "but not signals" in result["guarantees"]["processes"]["by"]
