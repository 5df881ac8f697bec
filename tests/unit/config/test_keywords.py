"""Errors as Python's callers read them."""

from __future__ import annotations

import pytest

from kokon.config.keywords import in_python
from kokon.errors import CommandError, HostError, OptionError, StepError


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("--memory 4k", "memory='4k'"),
        ("--memory", "memory"),
        ("--pids-limit 7", "pids=7"),
        ("-v ./a:/b:ro", "volumes='./a:/b:ro'"),
        ("--mount type=bind,src=a b,dst=/x", "mounts='type=bind,src=a b,dst=/x'"),
        ("--workdir", "cwd"),
        ("--rw", "rw=True"),
        ("ROOT", "ROOT"),
        ("/linux/resources", "/linux/resources"),
    ],
)
def test_a_place_is_a_keyword(where: str, words: str) -> None:
    assert in_python(OptionError("is wrong", where=where)).where == words


@pytest.mark.parametrize(
    ("remedy", "words"),
    [
        ("use --userns host", "use userns='host'"),
        ("leave --read-only out, or --keep", "leave read_only out, or keep"),
        ("use --keep DIR, or unpack it", "use keep=DIR, or unpack it"),
        ("run `systemd-run --user --scope x`, or with --limits best-effort",
         "run `systemd-run --user --scope x`, or with limits='best-effort'"),
        ("allow more open files: ulimit -n 300", "allow more open files: ulimit -n 300"),
        ("raise the limit (--ulimit nproc, --pids-limit)", "raise the limit (ulimits nproc, pids)"),
    ],
)  # fmt: skip
def test_a_sentence_has_keywords(remedy: str, words: str) -> None:
    error = in_python(HostError("the ids (--userns host is implied)", remedy=remedy))
    assert str(error) == f"the ids (userns='host' is implied); {words}"
    assert error.args == ("the ids (userns='host' is implied)",)


def test_every_class_keeps_what_it_is() -> None:
    step = StepError("x", step=1, steps=2, why="--cpus", errno=13)
    assert str(in_python(step)) == "step 1 of 2 (asked by cpus): x: Permission denied"
    assert step.step == 1
    command = CommandError("x", exit_status=127)
    assert in_python(command) is command
    assert command.exit_status == 127
