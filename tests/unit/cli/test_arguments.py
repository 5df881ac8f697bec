"""The command line's words as options."""

from __future__ import annotations

import pytest

from kokon.cli.arguments import Arguments, parse
from kokon.config.options import TABLE
from kokon.errors import OptionError


def parsed(*words: str) -> Arguments:
    arguments = parse(list(words))
    assert arguments is not None
    return arguments


@pytest.mark.parametrize(
    "words",
    [
        ["--volume", "a:b"], ["--volume=a:b"], ["-v", "a:b"], ["-va:b"], ["-v=a:b"],
    ],
)  # fmt: skip
def test_a_value_in_every_spelling(words: list[str]) -> None:
    assert parsed(*words, "/root").options.volumes == ("a:b",)


def test_letters_together() -> None:
    options = parsed("-itv", "a:b", "-itm=5M", "/root", "sh").options
    assert options.interactive and options.tty
    assert options.volumes == ("a:b",)
    assert options.memory == "5M"


def test_a_list_grows_and_the_last_value_counts() -> None:
    options = parsed("-e", "A=1", "--env", "B=2", "-m", "1M", "-m", "2M", "/root").options
    assert options.env == ("A=1", "B=2")
    assert options.memory == "2M"


def test_options_end_at_root() -> None:
    arguments = parsed("-i", "/root", "ls", "-l", "--memory", "5")
    assert arguments.options.root == "/root"
    assert arguments.options.args == ("ls", "-l", "--memory", "5")
    assert arguments.options.memory is None
    assert arguments.given == {"interactive"}


def test_options_end_at_two_dashes() -> None:
    arguments = parsed("-i", "--", "-root", "ls")
    assert arguments.options.root == "-root"


def test_a_value_may_look_like_an_option() -> None:
    assert parsed("--memory-swap", "-1", "/root").options.memory_swap == "-1"
    assert parsed("-e", "--help", "/root").options.env == ("--help",)


def test_a_switch_can_be_off() -> None:
    arguments = parsed("--tty=false", "--init=true", "/root")
    assert not arguments.options.tty
    assert arguments.options.init
    assert "tty" in arguments.given


def test_what_runs_when_nothing_is_said() -> None:
    assert parsed("/root").options.args == ("sh",)
    assert parsed("@host").options.args == ("sh",)
    assert parsed("@python").options.args == ("python3",)


def test_help_is_asked_before_root_only() -> None:
    assert parse(["-i", "--help"]) is None
    assert parsed("/root", "ls", "--help").options.args == ("ls", "--help")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "ROOT is missing; write for example"),
        (["-i"], "ROOT is missing"),
        ([""], "ROOT is missing"),
        (["/r", ""], "the name of the program is empty"),
        (["--memroy", "5M", "/r"], "no option --memroy (did you mean --memory?)"),
        (["--zzzz"], "there is no option --zzzz; see kokon run --help"),
        (["--rm", "/r"], "no option --rm; leave it out"),
        (["-d", "/r"], "no option -d; leave it out"),
        (["-iz", "/r"], "no option -z (in -iz)"),
        (["--memory"], "--memory: its value is missing; write --memory SIZE"),
        (["-v"], "-v: its value is missing; write -v SRC:DST"),
        (["-h"], "(help is --help)"),
        (["--init=maybe", "/r"], "--init: 'maybe' is neither true nor false"),
        (["/r", "-it", "sh"], "-it comes after ROOT"),
    ],
)
def test_what_cannot_be_meant(words: list[str], said: str) -> None:
    with pytest.raises(OptionError) as caught:
        parse(words)
    assert said in str(caught.value)
    assert caught.value.exit_status == 125


def test_names_in_the_table_are_unique() -> None:
    for names in (
        [option.name for option in TABLE],
        [option.python for option in TABLE],
        [option.short for option in TABLE if option.short],
    ):
        assert len(names) == len(set(names))
