"""``python3 -m kokon``, and what it tells the launcher."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kokon import __main__ as module
from kokon import paths


@pytest.fixture
def prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    package = tmp_path / "lib/python3.99/site-packages/kokon"
    (package / "_programs").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/kokon").touch(0o755)
    monkeypatch.setattr(paths, "PACKAGE", str(package))
    monkeypatch.setattr(paths, "PYTHON_PATH", f"{package}/_programs/python-path")
    return tmp_path


def recorded(prefix: Path) -> str | None:
    path = prefix / "lib/python3.99/site-packages/kokon/_programs/python-path"
    assert [name.name for name in path.parent.iterdir()] in ([], ["python-path"])
    return path.read_text() if path.exists() else None


def test_the_interpreter_is_recorded_for_a_launcher_without_one(prefix: Path) -> None:
    module.record_interpreter()
    assert recorded(prefix) == sys.executable + "\n"


def test_not_where_there_is_one_beside_it(prefix: Path) -> None:
    (prefix / "bin/python3").touch(0o755)
    module.record_interpreter()
    assert recorded(prefix) is None


def test_not_where_there_is_no_launcher(prefix: Path) -> None:
    (prefix / "bin/kokon").unlink()
    module.record_interpreter()
    assert recorded(prefix) is None


def test_one_that_works_stays_and_one_that_has_gone_does_not(prefix: Path) -> None:
    path = Path(paths.PYTHON_PATH)
    path.write_text("/bin/sh\n")
    module.record_interpreter()
    assert recorded(prefix) == "/bin/sh\n"
    path.write_text("/nothing/like/this\n")
    module.record_interpreter()
    assert recorded(prefix) == sys.executable + "\n"


def test_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kokon", "--version"], capture_output=True, text=True
    )
    assert done.stdout.startswith("kokon 0.")
    assert (done.returncode, done.stderr) == (0, "")
