"""What the command line prints: help, completions, endings, progress, and one line per error."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kokon.cli import ending, message
from kokon.cli.engine import completion, help
from kokon.cli.main import VERBS, command
from kokon.cli.progress import Progress
from kokon.cli.signals import drops
from kokon.config.options import TABLE
from kokon.errors import nearest


class Of:
    """Anything with these attributes."""

    def __init__(self, **values: object) -> None:
        self.__dict__.update(values)


@pytest.mark.parametrize("columns", [40, 60, 80, 110])
@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_is_as_wide_as_the_terminal(verb: str, columns: int) -> None:
    printed = help.text(verb, columns)
    examples = printed.find("\nExamples")
    for line in printed[:examples].splitlines():
        assert len(line) <= columns, line


def test_help_of_run_has_every_option() -> None:
    printed = help.text("run", 80)
    assert all(f"--{option.name} " in printed + " " or f"--{option.name}\n" in printed
               for option in TABLE)  # fmt: skip
    assert "\x1b" not in printed
    assert "\x1b[1m" in help.text("run", 80, bold=True)


def test_every_option_has_a_help_that_is_one_line() -> None:
    for option in TABLE:
        assert option.help and not option.help.endswith(".") and "\n" not in option.help


def test_colours_only_where_they_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.isatty", lambda fd: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert message.emphasis(1)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not message.emphasis(1)


def test_the_columns_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for columns, expected in (("50", 50), ("1", 40), ("500", 110)):
        monkeypatch.setenv("COLUMNS", columns)
        assert help.width() == expected


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["rnu"], 125, "kokon: there is no verb 'rnu' (did you mean run?)"),
        (["--verison"], 125, "(did you mean --version?)"),
        (["help", "rum"], 125, "kokon: help: there is no verb 'rum' (did you mean run?)"),
        (["run", "--bogus", "/x"], 125, "kokon: there is no option --bogus; see"),
        (["run", "--mem", "1M", "/x"], 125, "there is no option --mem (did you mean --memory?)"),
        (
            ["explain", "run", "--format", "json", "/x"],
            125,
            "kokon: there is no option --format; it is for explain, before the word run: kokon",
        ),
        (["explain", "exec"], 125, "kokon: explain: 'exec' cannot be explained"),
        (["explain"], 125, "kokon: explain: says not what"),
        (["explain", "--format", "xml", "run"], 125, "give text, json, shell"),
        (["explain", "--memory", "5M", "run"], 125, "come after the word run"),
        (["completion", "tcsh"], 125, "name one of bash, zsh, fish"),
        (["run"], 125, "kokon: ROOT is missing"),
    ],
)
def test_errors_are_one_line(
    words: list[str], status: int, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert command(words) == status
    out, err = capfd.readouterr()
    assert said in err
    assert err.count("\n") == 1
    assert out == ""


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("--memroy", "--memory"), ("--cap", "--cap-add"), ("--format", ""), ("--bogus", ""),
        ("--x", ""), ("--", ""),
    ],
)  # fmt: skip
def test_what_may_be_meant(word: str, meant: str) -> None:
    assert nearest(word, [f"--{option.name}" for option in TABLE]) == meant


@pytest.mark.parametrize("words", [[], ["help"], ["--help"], ["-h"], ["run", "--help"],
                                   ["help", "explain"], ["explain", "--help"], ["version"],
                                   ["--version"], ["completion", "--help"]])  # fmt: skip
def test_what_is_asked_goes_to_standard_output(
    words: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert command(words) == 0
    out, err = capfd.readouterr()
    assert "kokon" in out
    assert err == ""


def test_a_name_cannot_steer_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    command(["run", "\x1b]0;title\x07\n\udcff"])
    err = capfd.readouterr().err
    assert "\x1b" not in err and "\x07" not in err
    assert err.count("\n") == 1
    assert r"\x1b]0;title\x07" in err


@pytest.mark.parametrize(
    ("cause", "code", "ended_by", "status"),
    [
        ("exited", 0, 0, 0), ("exited", 77, 0, 77), ("signal", -9, 0, 137), ("signal", -15, 0, 143),
        ("signal", -9, 2, 130), ("exited", 3, 2, 3), ("timeout", -9, 0, 124),
        ("memory", -9, 0, 137), ("memory", 137, 0, 137),
    ],
)  # fmt: skip
def test_statuses(cause: str, code: int, ended_by: int, status: int) -> None:
    outcome = Of(cause=cause, ended=Of(returncode=code))
    assert ending.status(outcome, ended_by) == status  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("cause", "hit", "peak", "said"),
    [
        ("memory", Of(limit="memory", count=1, amount=100 << 20, own=True), 100 << 20,
         "the program was ended by the container's memory limit of 100 MiB (--memory 100M);"
         " its memory was 100 MiB at most"),
        ("exited", Of(limit="memory", count=2, amount=100 << 20, own=True), None,
         "2 processes were ended by the container's memory limit of 100 MiB (--memory 100M)"),
        ("memory", Of(limit="memory", count=1, amount=None, own=False), 5 << 20,
         "the program was ended because memory ran out above the container, on the machine or in"
         " its group; its memory was 5 MiB at most"),
        ("exited", Of(limit="pids", count=1, amount=32, own=True), None,
         "the container's limit of 32 processes (--pids-limit 32) was met: the kernel refused it"
         " 1 more"),
    ],
)  # fmt: skip
def test_a_limit_is_named_with_whose_and_how_much(
    cause: str, hit: Of, peak: int | None, said: str
) -> None:
    outcome = Of(cause=cause, hits=(hit,), usage=Of(peak_memory=peak))
    asked = {
        "/linux/resources/memory/limit": "--memory 100M",
        "/linux/resources/pids/limit": "--pids-limit 32",
    }
    assert ending.sentences(outcome, asked, None) == [said]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (100 << 20, "100 MiB"), (5 << 40, "5 TiB")],
)
def test_sizes(count: int, words: str) -> None:
    assert ending.size(count) == words


STATUS = (
    "Name:\tx\nNSpid:\t{nspid}\nSigBlk:\t{blk:016x}\nSigIgn:\t{ign:016x}\nSigCgt:\t{cgt:016x}\n"
)


@pytest.mark.parametrize(
    ("nspid", "blk", "ign", "cgt", "expected"),
    [
        ("500\t1", 0, 0, 0, True),
        ("500\t40\t1", 0, 0, 0, True),
        ("500", 0, 0, 0, False),  # the host's pid namespace: the kernel does it
        ("1", 0, 0, 0, False),
        ("500\t7", 0, 0, 0, False),
        ("500\t1", 1 << 14, 0, 0, False),
        ("500\t1", 0, 1 << 14, 0, False),
        ("500\t1", 0, 0, 1 << 14, False),
        ("500\t1", 0, 0, 1 << 15, True),  # another signal
    ],
)
def test_signals_that_the_kernel_drops(
    nspid: str, blk: int, ign: int, cgt: int, expected: bool
) -> None:
    assert drops(STATUS.format(nspid=nspid, blk=blk, ign=ign, cgt=cgt), 15) is expected
    assert not drops("", 15)


def test_progress_comes_late_and_goes(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("kokon.cli.progress.monotonic", lambda: now[0])
    progress = Progress("/tmp/rootfs\x1b.tar.gz")
    progress(1 << 20, 4 << 20)
    progress.clear()
    assert capfd.readouterr().err == ""
    now[0] += 0.31
    progress(2 << 20, 4 << 20)
    now[0] += 0.01
    progress(3 << 20, 4 << 20)
    progress.clear()
    shown = capfd.readouterr().err
    assert shown == "\r\x1b[Kkokon: unpacking 'rootfs\\x1b.tar.gz':  50 % of 4 MiB\r\x1b[K"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completions_can_be_read_by_their_shell(shell: str, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(getattr(completion, shell)())
    for option in TABLE:
        assert option.name in script.read_text()
    if not shutil.which(shell):
        pytest.skip(f"no {shell} here")
    done = subprocess.run([shell, "-n", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


LINES = [
    ("kokon ru", "run"),
    ("kokon run --memory-sw", "--memory-swap --memory-swappiness"),
    ("kokon run --network ", "none host"),
    ("kokon run --limits b", "best-effort"),
    ("kokon run --cap-add NET_B", "NET_BIND_SERVICE NET_BROADCAST"),
    ("kokon run --cap-drop AL", "ALL"),
    ("kokon run --memory ", ""),
    ("kokon run --user ", ""),
    ("kokon run --env-file ", "a-directory a-file"),
    ("kokon run -v a-f", "a-file"),
    ("kokon run --keep ", "a-directory"),
    ("kokon run ./a-", "./a-directory ./a-file"),
    ("kokon run -i @p", "@python"),
    ("kokon explain --format s", "shell"),
    ("kokon completion z", "zsh"),
]
"""What is typed, and what may come then."""


@pytest.mark.parametrize(("line", "found"), LINES)
def test_bash_completes(line: str, found: str, tmp_path: Path) -> None:
    (tmp_path / "a-file").touch()
    (tmp_path / "a-directory").mkdir()
    if not shutil.which("bash"):
        pytest.skip("no bash here")
    script = completion.bash() + (
        'COMP_WORDS=($1); [ "${1% }" = "$1" ] || COMP_WORDS+=("")\n'
        'COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _kokon; printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(
        ["bash", "-c", script, "x", line], capture_output=True, text=True, cwd=tmp_path
    )
    assert sorted(done.stdout.split()) == sorted(found.split())
    assert done.stderr == ""


@pytest.mark.parametrize(("line", "found"), LINES)
def test_fish_completes(line: str, found: str, tmp_path: Path) -> None:
    (tmp_path / "a-file").touch()
    (tmp_path / "a-directory").mkdir()
    if not shutil.which("fish"):
        pytest.skip("no fish here")
    (tmp_path / ".script").write_text(completion.fish())
    ask = "source .script; complete -C $argv[1]"
    done = subprocess.run(
        ["fish", "--no-config", "-c", ask, line], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "HOME": str(tmp_path)}, check=True,
    )  # fmt: skip
    words = [row.split("\t")[0].rstrip("/") for row in done.stdout.splitlines()]
    assert sorted(words) == sorted(found.split())


ZSH = """
zmodload zsh/zpty
zpty z zsh -f -i
zpty -w z "unsetopt zle_bracketed_paste; fpath=($PWD \\$fpath)"
zpty -w z "autoload -Uz compinit; compinit -u -D; echo RE''ADY"
zpty -r z line '*READY*'
# What stands in the line is printed by a function of its own, once it is complete.
zpty -w -n z "$1"$'\\t'$'\\C-a'"print -r -- LINE'>'"$'\\C-e'" '<'"$'\\n'
zpty -r z line '*LINE>*<*'
print -r -- "$line"
zpty -d z
"""


@pytest.mark.parametrize(
    ("line", "whole"),
    [
        ("kokon ru", "kokon run"),
        ("kokon run --memory-swapp", "kokon run --memory-swappiness"),
        ("kokon run --limits b", "kokon run --limits best-effort"),
        ("kokon run --cap-add NET_BI", "kokon run --cap-add NET_BIND_SERVICE"),
        ("kokon run -i @p", "kokon run -i @python"),
        ("kokon run ./a-f", "kokon run ./a-file"),
        ("kokon completion z", "kokon completion zsh"),
    ],
)
def test_zsh_completes(line: str, whole: str, tmp_path: Path) -> None:
    (tmp_path / "a-file").touch()
    if not shutil.which("zsh"):
        pytest.skip("no zsh here")
    (tmp_path / "_kokon").write_text(completion.zsh())
    done = subprocess.run(
        ["zsh", "-f", "-c", ZSH, "zsh", line], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "HOME": str(tmp_path), "TERM": "dumb"}, timeout=30, check=True,
    )  # fmt: skip
    assert "bad option" not in done.stdout
    assert done.stdout.rpartition("LINE>")[2].partition("<")[0].split() == whole.split()


@pytest.mark.parametrize(
    ("name", "values", "where"),
    [
        ("network", ["none", "host"], ""), ("limits", ["enforce", "best-effort"], ""),
        ("memory", [], ""), ("env-file", [], "file"), ("volume", [], "file"),
        ("device-read-bps", [], "file"), ("keep", [], "directory"), ("rdma", [], ""),
        ("init", [], ""),
    ],
)  # fmt: skip
def test_placeholders_are_not_completed(name: str, values: list[str], where: str) -> None:
    option = next(option for option in TABLE if option.name == name)
    assert completion.choices(option) == values
    assert completion.path(option) == where


def test_values_in_zsh_and_fish() -> None:
    zsh, fish = completion.zsh().splitlines(), completion.fish().splitlines()
    assert next(line for line in zsh if "'--memory[" in line).endswith(":SIZE: ' \\")
    assert next(line for line in zsh if "--env-file[" in line).endswith(":FILE:_files' \\")
    assert next(line for line in zsh if "--keep[" in line).endswith(":DIR:_files -/' \\")
    assert " -l memory -s m -x -d " in "".join(fish)
    assert " -l env-file -r -F -d " in "".join(fish)
    assert " -l cap-add -x -a 'ALL CHOWN " in "".join(fish)


def test_nothing_heavy_is_loaded_for_a_run() -> None:
    """Imports are the largest part of a short run."""
    code = "import sys, kokon.cli.main, kokon.cli.engine.run; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:] = {sys.path!r}\n{code}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    loaded = set(done.stdout.split())
    assert "kokon.engine.run" in loaded
    heavy = {
        "argparse", "collections", "ctypes", "dataclasses", "difflib", "enum", "functools",
        "hashlib", "importlib", "inspect", "json", "logging", "pathlib", "re", "select", "shutil",
        "signal", "socket", "subprocess", "termios", "textwrap", "threading", "traceback", "typing",
        "kokon.api.calls", "kokon.api.process", "kokon.cli.engine.help",
        "kokon.cli.progress", "kokon.cli.terminal",
        "kokon.image.store", "kokon.storage.builtin", "kokon.cgroup.manager",
    }  # fmt: skip
    assert not loaded & heavy
