"""The launcher, in a prefix of its own: how it finds Python and the package, and what it hands on.

No test here needs root but one, which needs chroot(2).
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
MAIN = """
import json, sys
def main(launcher):
    print(json.dumps({
        "argv": [a.encode("utf-8", "surrogateescape").hex() for a in sys.argv],
        "flags": [sys.flags.isolated, sys.flags.no_site, sys.flags.utf8_mode],
        "path": sys.path, "kokon": __file__, "json": json.__file__,
        "executable": sys.executable,
    }))
"""


def _tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("compile_tool", ROOT / "tools/compile.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    tool = _tool()
    out = tmp_path_factory.mktemp("programs")
    try:
        tool.programs(out)
    except tool.CompileError as error:
        if "no C compiler was found" in str(error):
            pytest.skip(str(error))
        raise
    return (out / "launcher").read_bytes()


def _make(prefix: Path, launcher: bytes, packages: str | None) -> Path:
    """A prefix with both commands, python3, and the package in `packages`."""
    (prefix / "bin").mkdir(parents=True)
    for name in ("kokon", "kokon-runtime"):
        (prefix / "bin" / name).write_bytes(launcher)
        (prefix / "bin" / name).chmod(0o755)
    (prefix / "bin/python3").symlink_to(os.path.realpath(sys.executable))
    if packages:
        cli = prefix / packages / "kokon/cli"
        cli.mkdir(parents=True)
        (cli.parent / "__init__.py").touch()
        (cli / "__init__.py").touch()
        (cli / "main.py").write_text(MAIN)
    return prefix


@pytest.fixture
def prefix(tmp_path: Path, launcher: bytes) -> Path:
    return _make(tmp_path / "prefix", launcher, "lib/python3.99/site-packages")


def run(*words: str | bytes | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, timeout=30, **options)


def seen(*words: str | bytes | Path, **options: Any) -> dict[str, Any]:
    """What the package saw, its arguments as bytes."""
    result = run(*words, **options)
    assert (result.returncode, result.stderr) == (0, "")
    value: dict[str, Any] = json.loads(result.stdout)
    value["argv"] = [bytes.fromhex(word) for word in value["argv"]]
    return value


def shell(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_hands_arguments_on_as_they_are(prefix: Path) -> None:
    words = [b"run", b"", b"a b\n'\"", b"-c", b"\xff\xfe", "ä".encode()]
    assert seen(prefix / "bin/kokon", *words)["argv"] == [b"kokon", *words]


def test_many_arguments(prefix: Path) -> None:
    words = [b"x" * 10] * 50_000
    assert seen(prefix / "bin/kokon", *words)["argv"] == [b"kokon", *words]


def test_python_is_isolated_without_site(prefix: Path) -> None:
    assert seen(prefix / "bin/kokon", env={"LC_ALL": "C"})["flags"] == [1, 1, 1]


def test_environment_and_working_directory_cannot_bring_code(prefix: Path, tmp_path: Path) -> None:
    evil = tmp_path / "evil"
    (evil / "kokon/cli").mkdir(parents=True)
    for name in ("kokon/__init__.py", "json.py", "sitecustomize.py", "usercustomize.py"):
        (evil / name).write_text("raise SystemExit('code of the caller')")
    names = ("PYTHONPATH", "PYTHONHOME", "PYTHONUSERBASE", "PYTHONSTARTUP")
    value = seen(prefix / "bin/kokon", cwd=evil, env=dict.fromkeys(names, str(evil)))
    assert value["kokon"].startswith(str(prefix))


def test_no_package_hides_a_standard_module(prefix: Path) -> None:
    packages = prefix / "lib/python3.99/site-packages"
    (packages / "json.py").write_text("raise SystemExit('not the standard module')")
    value = seen(prefix / "bin/kokon")
    assert value["path"][-1] == str(packages)
    assert not value["json"].startswith(str(packages))


@pytest.mark.parametrize(
    ("program", "word", "name"),
    [
        ("kokon", "kokon", b"kokon"),
        ("kokon-runtime", "kokon-runtime", b"kokon-runtime"),
        ("kokon", "/usr/bin/kokon-runtime", b"kokon-runtime"),  # one program under a second link
        ("kokon-runtime", "runc", b"kokon-runtime"),  # a link in place of another runtime
        ("kokon", "anything", b"kokon"),
    ],
)
def test_name(prefix: Path, program: str, word: str, name: bytes) -> None:
    assert seen(word, executable=prefix / "bin" / program)["argv"] == [name]


@pytest.mark.parametrize("library", ["lib", "lib64"])
@pytest.mark.parametrize("packages", ["site-packages", "dist-packages"])
@pytest.mark.parametrize("version", ["python3.11", "python3.14t"])
def test_places_of_the_package(
    tmp_path: Path, launcher: bytes, library: str, packages: str, version: str
) -> None:
    made = _make(tmp_path / "prefix", launcher, f"{library}/{version}/{packages}")
    assert seen(made / "bin/kokon")["path"][-1] == str(made / library / version / packages)


def test_found_through_a_link(prefix: Path, tmp_path: Path) -> None:
    link = tmp_path / "kokon"
    link.symlink_to(prefix / "bin/kokon")
    assert seen(link)["kokon"].startswith(str(prefix))


def test_python_of_the_package_s_version_comes_first(prefix: Path) -> None:
    shell(prefix / "bin/python3", "echo any python3")
    shell(prefix / "bin/python3.99", "echo the version")
    assert run(prefix / "bin/kokon").stdout == "the version\n"


def test_recorded_python(prefix: Path, tmp_path: Path) -> None:
    (prefix / "bin/python3").rename(tmp_path / "elsewhere")
    record = prefix / "lib/python3.99/site-packages/kokon/_programs/python-path"
    record.parent.mkdir()
    record.write_text(f"{tmp_path}/elsewhere\n")
    assert seen(prefix / "bin/kokon")["executable"] == str(tmp_path / "elsewhere")


@pytest.mark.parametrize("record", [None, "", "\n", "elsewhere\n", "/nowhere/python3\n"])
def test_no_python(prefix: Path, tmp_path: Path, record: str | None) -> None:
    (prefix / "bin/python3").rename(tmp_path / "elsewhere")
    packages = prefix / "lib/python3.99/site-packages"
    if record is not None:
        (packages / "kokon/_programs").mkdir()
        (packages / "kokon/_programs/python-path").write_text(record)
    result = run(prefix / "bin/kokon", cwd=tmp_path)
    assert result.returncode == 125
    assert result.stderr == (
        f"kokon: found no Python for the package in {packages}; "
        "run it once as `python3 -m kokon`, which records the interpreter\n"
    )


def test_editable_install_is_found_by_site(tmp_path: Path, launcher: bytes) -> None:
    made = _make(tmp_path / "prefix", launcher, None)
    shell(made / "bin/python3", 'for word; do [ "$word" = -S ] && echo "$word"; done; echo end')
    assert run(made / "bin/kokon").stdout == "end\n"


def test_no_package(tmp_path: Path, launcher: bytes) -> None:
    made = _make(tmp_path / "prefix", launcher, None)
    # without `site` there is no package: the interpreter of the tests may have kokon installed
    shell(made / "bin/python3", f'shift; exec {os.path.realpath(sys.executable)} -I -S "$@"')
    result = run(made / "bin/kokon")
    assert result.returncode == 125
    assert result.stderr.startswith("kokon: ") and "has no package kokon" in result.stderr
    assert result.stderr.count("\n") == 1


def test_nothing_beside_it(tmp_path: Path, launcher: bytes) -> None:
    made = _make(tmp_path / "prefix", launcher, None)
    (made / "bin/python3").unlink()
    result = run(made / "bin/kokon")
    assert result.returncode == 125
    assert result.stderr == (
        f"kokon: found neither python3 nor the package kokon beside {made}/bin; "
        "install it again with pip\n"
    )


def test_path_beyond_the_limit(tmp_path: Path, launcher: bytes) -> None:
    deep = tmp_path
    while len(str(deep)) < 4070:
        deep /= "d" * min(200, 4070 - len(str(deep)))
    made = _make(deep, launcher, None)
    (tmp_path / "library/python3.99").mkdir(parents=True)
    (made / "lib").symlink_to(tmp_path / "library")
    result = run(made / "bin/kokon")
    assert result.returncode == 125
    assert "... is longer than Linux allows\n" in result.stderr


@pytest.mark.kernel
@pytest.mark.skipif(os.geteuid() != 0, reason="chroot(2) needs root")
def test_without_proc(prefix: Path) -> None:
    result = run("/bin/kokon", preexec_fn=lambda: os.chroot(prefix))
    assert result.returncode == 125
    assert result.stderr == "kokon: cannot read /proc/self/exe: is /proc mounted?\n"
