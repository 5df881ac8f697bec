"""A pytest fixture: each test has a sandbox of its own.

    pytest examples/pytest_sandbox

``sandbox`` is a ``kokon.Sandbox`` of this machine's programs without its files and its network.
The test's ``tmp_path`` is at /work in it, where programs start.  What a test runs cannot reach the
tests beside it, whatever it does; what it left running ends with the test.  A mark has options:

    @pytest.mark.sandbox(root="@python", read_only=True)

On a machine without user namespaces the tests fail, with a sentence that says how to get them:
tests of what must not get out are not to be skipped in silence.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import kokon


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "sandbox(**options): options of the fixture `sandbox`")


@pytest.fixture
def sandbox(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[kokon.Sandbox]:
    """A box for one test; its /work is the test's tmp_path."""
    options = {"root": "@host", "volumes": {tmp_path: "/work"}}
    for mark in reversed(list(request.node.iter_markers("sandbox"))):
        options.update(mark.kwargs)  # the mark nearest to the test comes last
    with kokon.Sandbox(**options) as box:
        yield box
