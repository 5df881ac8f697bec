"""docs/by-hand.md says what happens: its commands of kokon are run, and its steps looked up.

A block of code with ``kokon`` in its info string holds commands, each followed by comments that
say what is to come of it: ``# status N`` (0 when nothing is said) and ``# prints WORDS``.  A block
with ``steps`` has steps of the plan of the last command before it; an ellipsis stands for any
words.  ``limits`` and ``root`` name what a block needs.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from leftovers import busybox_root, skip_without_namespaces

import kokon
from kokon.kernel import cgroups

DOCS = Path(__file__).parents[2] / "docs"
APPLETS = ("grep", "httpd", "ps", "whoami")

pytestmark = pytest.mark.kernel


class Block:
    """One fenced block of the page.

    :ivar explained: of steps, the command that they belong to.
    """

    def __init__(self, words: list[str], lines: list[str], line: int, explained: str) -> None:
        self.words = words
        self.lines = lines
        self.line = line
        self.explained = explained

    def commands(self) -> list[tuple[str, list[str]]]:
        """Each command with the comments that follow it."""
        found: list[tuple[str, list[str]]] = []
        for line in self.lines:
            if line.startswith("# "):
                found[-1][1].append(line.removeprefix("# "))
            else:
                found.append((line, []))
        return found


def blocks() -> list[Block]:
    found: list[Block] = []
    explained = ""
    page = (DOCS / "by-hand.md").read_text()
    for match in re.finditer(r"^```([^\n]+)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        words = match[1].split()
        line = page.count("\n", 0, match.start()) + 1
        block = Block(words, match[2].splitlines(), line, explained)
        if "kokon" in words:
            explained = block.commands()[-1][0]
        if {"kokon", "steps"} & {*words}:
            found.append(block)
    return found


BLOCKS = blocks()


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with what the page says is there."""
    skip_without_namespaces()
    place = tmp_path_factory.mktemp("page")
    root = Path(busybox_root(place / "root"))
    for name in APPLETS:
        (root / "bin" / name).unlink(missing_ok=True)
        (root / "bin" / name).symlink_to("busybox")
    with tarfile.open(place / "rootfs.tar.gz", "w:gz") as archive:
        archive.add(root, ".")
    shutil.rmtree(root)
    (place / "src").mkdir()
    shutil.copy(DOCS / "hungry.py", place / "src")
    (place / "bin").mkdir()
    command = place / "bin/kokon"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m kokon "$@"\n')
    command.chmod(0o755)
    return place


@pytest.fixture(scope="module")
def limits(here: Path) -> bool:
    """Whether this machine lets us limit."""
    try:
        kokon.run(["/bin/true"], root="@host", memory="100M", pids=20)
    except kokon.HostError:
        return False
    return True


def sh(line: str, here: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", line], cwd=here, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=60,
        env={**os.environ, "PATH": f"{here}/bin:{os.environ['PATH']}"},
    )  # fmt: skip


@pytest.mark.parametrize(
    "block", [b for b in BLOCKS if "kokon" in b.words], ids=lambda block: f"line-{block.line}"
)
def test_the_commands_do_what_the_page_says(block: Block, here: Path, limits: bool) -> None:
    if "root" in block.words and os.geteuid():
        pytest.skip("the page says that it needs root")
    if "limits" in block.words and not limits:
        pytest.skip("needs root or a delegated control group")
    for line, comments in block.commands():
        done = sh(line, here)
        status = 0
        for comment in comments:
            word, _, rest = comment.partition(" ")
            assert word in ("status", "prints"), f"{comment!r} says nothing that can be tested"
            if word == "status":
                status = int(rest)
            else:
                assert rest in done.stdout, f"{line}\n{done.stdout}"
        assert done.returncode == status, f"{line}\n{done.stdout}"


@pytest.mark.parametrize(
    "block", [b for b in BLOCKS if "steps" in b.words], ids=lambda block: f"line-{block.line}"
)
def test_the_steps_are_in_the_plan(block: Block, here: Path, limits: bool) -> None:
    if "v1" in block.words:
        tree = cgroups.read().of("pids")
        if not limits or tree is None or tree.version != 1:
            pytest.skip("the page says that it is about version 1 of control groups")
    done = sh(block.explained.replace("kokon run", "kokon explain run", 1), here)
    assert done.returncode == 0, done.stdout
    for step in block.lines:
        pattern = ".*".join(map(re.escape, step.split("…")))
        assert re.search(rf"^ +\d+  {pattern}.*\[", done.stdout, re.MULTILINE), step


def test_the_page_has_a_command_for_every_step_that_kokon_does() -> None:
    page = (DOCS / "by-hand.md").read_text()
    steps = re.split(r"^## ", page, flags=re.MULTILINE)[1:]
    assert [step.partition(".")[0] for step in steps[:10]] == [str(n) for n in range(1, 11)]
    without = [step.partition("\n")[0] for step in steps if "```sh kokon" not in step]
    assert without == ["1. A root file system", "8. A control group"]
