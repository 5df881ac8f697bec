"""The programs of examples/, each run as its docstring says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from leftovers import limits_hold, skip_without_namespaces

pytestmark = pytest.mark.kernel

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    skip_without_namespaces()
    monkeypatch.setenv("KOKON_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def example(*words: str | Path, input: str = "") -> subprocess.CompletedProcess[str]:
    """A run of one, with its words."""
    name, *rest = words
    return subprocess.run(
        [sys.executable, EXAMPLES / name, *rest], input=input, capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip


def test_every_example_is_short_and_says_how_to_run_it() -> None:
    for path in EXAMPLES.rglob("*.py"):
        lines = path.read_text().splitlines()
        assert len(lines) <= 120, path
        if not path.name.startswith("test_"):
            assert path.name in "".join(lines[:8]) or "pytest examples" in "".join(lines[:8])


SOLUTIONS = {
    "accepted": "print(int(input()) * 2)",
    "wrong answer": "print(int(input()) + 1)",
    "time limit": "while True: pass",
    "output limit": "while True: print('x' * 1000)",
    "runtime error (exit status 3)": "raise SystemExit(3)",
    "runtime error (signal 6)": "import os; os.abort()",
    "memory limit": "bytearray(512 << 20)",
    "runtime error (exit status 1, too many processes)": (
        "import os, time\nfor _ in range(99):\n    if not os.fork(): time.sleep(99)"
    ),
}


@pytest.mark.parametrize("verdict", SOLUTIONS)
def test_judge(place: Path, verdict: str) -> None:
    (place / "solution.py").write_text(SOLUTIONS[verdict])
    (place / "1.in").write_text("4\n")
    (place / "1.out").write_text("8\n")
    done = example("judge.py", place / "solution.py", place)
    if not limits_hold():
        assert "limits are not held" in done.stderr
        if "memory" in verdict or "processes" in verdict:
            verdict = "runtime error"
    assert verdict in done.stdout and done.stdout.startswith("1 "), (done.stdout, done.stderr)
    assert done.returncode == (0 if verdict == "accepted" else 1)


def test_judge_shows_no_answer(place: Path) -> None:
    look = (
        "import os\nfor where, _, names in os.walk('/'):\n    assert '1.out' not in names\nprint(8)"
    )
    (place / "solution.py").write_text(look)
    for name, text in (("1.in", ""), ("1.out", "8"), ("2.in", ""), ("2.out", "9")):
        (place / name).write_text(text)
    done = example("judge.py", place / "solution.py", place)
    assert [line.split(maxsplit=1)[1][:12].strip() for line in done.stdout.splitlines()] == [
        "accepted", "wrong answer",
    ]  # fmt: skip
    assert "python3 judge.py" in example("judge.py").stderr


CELLS = {
    "import os\na = 20\nprint('said')\na + 1": "said\n[value] 21",
    "while True: pass": "KeyboardInterrupt",
    "a * 2": "[value] 40",
    "os.write(1, b'{}')": "[value] 2",
    "input()": "EOFError",
    "def f(:": "SyntaxError",
    "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    "open('/tmp/kept', 'w').write('k')\nwhile True: pass": "[ended] caller",
    "a": "NameError",
    "open('/tmp/kept').read()": "[value] 'k'",
    "import os; os._exit(3)": "[ended] exited",
    "import os; os.kill(os.getpid(), 9)": "[ended] signal",
    "print('\\ud800'); 'x' * 300_000": "[value] 'xxx",
    "import os; os.listdir('/home/user')": "[value] []",
}


def test_notebook(place: Path) -> None:
    (place / "cells.py").write_text("# %%\n".join(f"{cell}\n" for cell in CELLS))
    done = example("notebook.py", place / "cells.py", "1")
    assert done.returncode == 0, done.stderr
    said = done.stdout
    for expected in CELLS.values():
        assert expected in said, done.stdout
        said = said.partition(expected)[2]  # in this order


def test_pytest_fixture(place: Path) -> None:
    shutil.copytree(EXAMPLES / "pytest_sandbox", place / "tests")
    bad = "def test_bad(sandbox):\n    sandbox.run(['sh', '-c', 'exit 3'], check=True)\n"
    (place / "tests/test_bad.py").write_text(bad)
    run = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--strict-markers",
           f"--basetemp={place}/base", f"--rootdir={place}", str(place / "tests")]  # fmt: skip
    done = subprocess.run(run, capture_output=True, text=True, cwd=place)
    assert "1 failed, 3 passed" in done.stdout, done.stdout
    assert "returned non-zero exit status 3" in done.stdout


def ask(place: Path, *requests: object, directory: bool = True) -> dict[Any, dict[str, Any]]:
    """The answers of the agent's tool, by their ids."""
    lines = "".join(json.dumps(request) + "\n" for request in requests)
    done = example("agent_tool.py", *([place] if directory else []), input=lines)
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(requests)
    return {answer["id"]: answer for answer in answers}


def test_agent_tool(place: Path) -> None:
    def request(number: int, tool: str, **arguments: Any) -> dict[str, Any]:
        return {"id": number, "tool": tool, "arguments": arguments}

    (place / "given.txt").write_text("given")
    answers = ask(
        place,
        request(1, "run_python", code="print(6 * 7)"),
        request(2, "run_shell", command="yes; exit 3", timeout=0.5),
        request(3, "run_shell", command="yes | head -c 30000; echo told >&2; exit 3"),
        request(4, "read_file", path="given.txt"),
        request(5, "write_file", path="new/made.txt", content="m\u00e4de"),
        request(6, "read_file", path="/etc/shadow"),
        request(7, "read_file", path="/usr/bin/env"),
        request(8, "run_shell", cmd="x"),
        request(9, "_run", words=["id"], timeout=1),
        {"id": 10},
        "nonsense",
    )
    assert answers[1]["stdout"] == "42\n" and answers[1]["exit_status"] == 0
    assert answers[2]["cause"] == "timeout" and len(answers[2]["stdout"]) == 20_000
    assert (answers[3]["exit_status"], answers[3]["limits_hit"]) == (3, ["output"])
    assert len(answers[3]["stdout"]) + len(answers[3]["stderr"]) == 20_000
    assert answers[4]["content"] == "given"
    assert answers[5]["written"] == 5 and (place / "new/made.txt").read_text() == "m\u00e4de"
    assert "FileNotFoundError" in answers[6]["error"]
    assert "File too large" in answers[7]["error"]
    for number in (8, 9, 10, None):
        assert set(answers[number]) == {"id", "error"}
    if os.geteuid():
        assert (place / "new/made.txt").stat().st_uid == os.geteuid()


def test_agent_tool_without_a_directory(place: Path) -> None:
    shell = {"id": 1, "tool": "run_shell", "arguments": {"command": "pwd; touch a; ls"}}
    assert ask(place, shell, directory=False)[1]["stdout"] == "/work\na\n"


def test_build_step(place: Path) -> None:
    (place / "src").mkdir()
    (place / "src/a.txt").write_text("a\n")
    command = 'cat a.txt > "$OUTPUT/b.txt"; date > "$OUTPUT/zone"; hostname; pwd; echo told >&2'
    build = ("build_step.py", place / "src", place / "out")
    done = example(*build, "sh", "-c", command.replace("date", "date +%Z"))
    assert done.returncode == 0 and done.stderr == "told\n", done.stderr
    digest = "87428fc522803d31065e7bce3cf03fe475096631e5e07bbd7a0fde60c4cf25c7"
    assert done.stdout.startswith(f"build\n/sources\n{digest}  b.txt\n")
    assert (place / "out/zone").read_text() == "UTC\n"
    assert (place / "out/b.txt").stat().st_uid == os.geteuid()


def test_build_step_reaches_nothing_else(place: Path) -> None:
    (place / "src").mkdir()
    build = ("build_step.py", place / "src", place / "out")
    done = example(*build, "sh", "-c", "touch made")
    assert done.returncode != 0 and "Read-only file system" in done.stderr
    done = example(*build, "sh", "-c", "grep -v lo: /proc/net/dev | tail -n +3; kill -9 $$")
    assert done.returncode == 137 and done.stdout == ""
    assert "sh was ended by signal 9" in done.stderr
    assert example(*build, "no-such-program").returncode == 127
    missing = example("build_step.py", place / "none", place / "out", "true")
    assert missing.returncode == 125 and "cannot be used" in missing.stderr
