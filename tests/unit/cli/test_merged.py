"""All modules in one file: used, not used when anything about it is in doubt, and renewed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import kokon

PROBE = """
import sys
sys.path[:0] = [{path!r}]
sys.dont_write_bytecode = False
from kokon.cli import merged
found = merged.use()
import kokon.config.options, kokon.cli.arguments
print("merged" if found else "none",
      type(kokon.cli.arguments.__loader__).__name__,
      kokon.cli.arguments.__file__.removeprefix({path!r}),
      getattr(kokon.cli.arguments, "MARK", ""))
merged.renew(found)
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package, so that the real one is left alone."""
    source = Path(kokon.__file__).parent
    shutil.copytree(
        source, tmp_path / "kokon", ignore=shutil.ignore_patterns("__pycache__", "_programs")
    )
    (tmp_path / "kokon/__pycache__").mkdir()
    return tmp_path


def probe(package: Path, *flags: str) -> str:
    code = PROBE.format(path=str(package))
    done = subprocess.run(
        [sys.executable, *flags, "-S", "-c", code], capture_output=True, text=True, check=True,
        env={k: v for k, v in os.environ.items() if not k.startswith("PYTHON")},
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout.strip()


def merged_file(package: Path) -> Path:
    found = list((package / "kokon/__pycache__").glob("merged.*"))
    assert len(found) <= 1, "a half-written one is left"
    return found[0] if found else package / "none"


def test_it_is_written_once_and_used(package: Path) -> None:
    assert probe(package) == "none SourceFileLoader /kokon/cli/arguments.py"
    inode = merged_file(package).stat().st_ino
    assert probe(package) == "merged Merged /kokon/cli/arguments.py"
    assert merged_file(package).stat().st_ino == inode


def test_a_source_that_has_changed_counts(package: Path) -> None:
    probe(package)
    with open(package / "kokon/cli/arguments.py", "a") as file:
        file.write("MARK = 'changed'\n")
    assert probe(package) == "merged SourceFileLoader /kokon/cli/arguments.py changed"
    assert probe(package) == "merged Merged /kokon/cli/arguments.py changed"


def test_a_source_that_has_gone_is_gone(package: Path) -> None:
    probe(package)
    (package / "kokon/cli/arguments.py").unlink()
    with pytest.raises(subprocess.CalledProcessError) as caught:
        probe(package)
    assert "No module named 'kokon.cli.arguments'" in caught.value.stderr


@pytest.mark.parametrize("damage", ["version", "zeros", "empty", "cut", "head"])
def test_a_damaged_one_is_left_out_and_renewed(package: Path, damage: str) -> None:
    probe(package)
    file = merged_file(package)
    data = bytearray(file.read_bytes())
    if damage == "version":
        data = bytearray(data.replace(b"kokon merged 1", b"kokon merged 0", 1))
    elif damage == "zeros":
        data[1 << 15 :] = bytes(len(data) - (1 << 15))
    elif damage == "empty":
        data.clear()
    elif damage == "cut":
        del data[1 << 15 :]
    else:
        data[30:60] = bytes(30)
    file.write_bytes(data)
    assert "SourceFileLoader /kokon/cli/arguments.py" in probe(package)
    assert probe(package) == "merged Merged /kokon/cli/arguments.py"


def test_it_is_not_written_where_it_is_not_wanted(package: Path) -> None:
    probe(package, "-O")
    assert not merged_file(package).exists()
    shutil.rmtree(package / "kokon/__pycache__")
    (package / "elsewhere").mkdir()
    (package / "kokon/__pycache__").symlink_to("/usr")
    if os.geteuid():
        probe(package)
        assert not list(Path("/usr").glob("merged.*"))
