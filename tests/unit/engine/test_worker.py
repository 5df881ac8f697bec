"""What the store's worker says to the process that started it."""

from __future__ import annotations

import pytest

from kokon.engine import worker
from kokon.errors import (
    ArchiveError,
    CommandError,
    HostError,
    KokonError,
    RetryError,
    StepError,
)


@pytest.mark.parametrize(
    "error",
    [
        ArchiveError("is cut short", where="a\0b.tar", remedy="fetch it again"),
        CommandError("is not there", exit_status=127, where="x"),
        StepError("mount", step=3, steps=9, why="--rw", errno=13, remedy="leave it out"),
        RetryError("a name that is no text: \udcff"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_of_the_worker_is_the_same_outside(error: KokonError) -> None:
    same = worker._error(worker._told(error))
    assert type(same) is type(error)
    assert str(same) == str(error)
    assert (same.args, vars(same)) == (error.args, vars(error))
    assert same.exit_status == error.exit_status


@pytest.mark.parametrize("answer", ["", "do", '["HostError", {"wh'])
def test_a_worker_that_is_ended_is_told(answer: str) -> None:
    error = worker._error(answer)
    assert type(error) is HostError
    assert "ended before it was done" in str(error)


def test_what_the_kernel_refuses_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    worker.serve(["remove", "/nowhere", "x"])
    error = worker._error(capsys.readouterr().out)
    assert str(error) == "/nowhere cannot be worked on: No such file or directory"
