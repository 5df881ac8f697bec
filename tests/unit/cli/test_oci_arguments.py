"""The command line of the OCI runtime."""

from __future__ import annotations

import pytest

from kokon.cli.oci.arguments import Arguments, arguments_of, verb
from kokon.errors import OptionError


def parsed(name: str, *words: str) -> Arguments:
    return arguments_of(verb(name), words)


@pytest.mark.parametrize(
    "words",
    [("--bundle", "/b", "id"), ("id", "--bundle", "/b"), ("id", "-b", "/b"), ("-b=/b", "--", "id")],
)
def test_options_of_runc_stand_before_and_after_the_id(words: tuple[str, ...]) -> None:
    for name in ("create", "run"):
        found = parsed(name, *words)
        assert found.text("bundle") == "/b" and found.words == ("id",)


def test_a_signal_is_a_word() -> None:
    found = parsed("kill", "id", "--all", "9")
    assert found.flag("all") and found.words == ("id", "9")
    with pytest.raises(OptionError, match="no option -x"):
        parsed("kill", "id", "-x")


def test_a_command_keeps_its_options() -> None:
    found = parsed("exec", "-t", "id", "ls", "-d", "/")
    assert found.flag("tty") and not found.flag("detach")
    assert found.words == ("id", "ls", "-d", "/")
    assert parsed("ps", "id", "-f", "x").words == ("id", "-f", "x")


def test_standard_input_is_no_option() -> None:
    assert parsed("update", "--resources", "-", "id").text("resources") == "-"


def test_what_is_not_there_takes_any_option() -> None:
    assert parsed("checkpoint", "--image-path", "/i", "id").words == ("--image-path", "/i", "id")
    assert parsed("restore", "--help").flag("help")
