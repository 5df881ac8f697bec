"""The launcher under the sanitizers: its check of a saved run fed with damaged ones, and the
compilers' own analysis.  `make check-init` runs this."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from test_init import INCLUDE, PROJECT, SANITIZERS, _compiles, compiler, run

from kokon.plan import ops, saved
from kokon.plan.plan import Plan
from kokon.plan.saved import Record

__all__ = ["compiler"]

SOURCES = sorted(map(str, PROJECT.glob("launcher/*.c")))
DRIVER = str(PROJECT / "tests/fuzz/check_saved.c")
HEADERS = (*INCLUDE, "-I", str(PROJECT / "launcher"))
WARNINGS = ("-Wall", "-Wextra", "-Wno-unused-function")
ROUNDS = 300_000


def corpus(directory: Path) -> list[str]:
    """Valid saved runs: every code of a record, every kind of hole, one with little; a call."""
    first = 1879048192
    steps = (
        ops.IdMap("uid_map", f"0 {first} 65536\n", why=""),
        ops.Filesystem(1, "tmpfs", ("uid", str(first), "gid", str(first + 5)), 0, "", why=""),
        ops.Node(1, "null", 0o20666, 259, first, first + 5, why=""),
        ops.CloneMount(2, -1, "/store/writes/01234567-1", why=""),
        ops.Seccomp(b"\x01\x02" * 40, 0, why=""),
        ops.Execute((), (), ("PATH=/bin", "A=b"), why=""),
    )
    records = [Record(code, b"/path", b"value", 0) for code in range(1, saved.FORGET + 1)]
    for record in records:
        if record.code == saved.CLAIM:
            record.b = b"1879048192\x001879113728\x00"
        if record.code == saved.HELPER:
            record.b = b"0\x001000\x001\x00"
        if record.code == saved.DIRECTORY:
            record.a = b"/store/" + saved.TOKEN.encode() + b"-1"
    plans = [
        (records, saved.SavedPlan(Plan(steps), "01234567", first)),
        ([], saved.SavedPlan(Plan((steps[0], steps[-1])), "01234567", 0)),
    ]
    paths = []
    for number, (some, plan) in enumerate(plans):
        path = directory / f"saved-{number}"
        words = b"run\x00/root\x00"
        path.write_bytes(saved.encode(words, some, plan, b"program", b"/bin/\x00./\x00", b"rest"))
        paths.append(str(path))
    call = directory / "call"
    call.write_bytes(saved.encode(b"delete\x00a\x00", records[-4:]))
    return [*paths, str(call)]


def test_a_damaged_saved_run_is_refused_or_harmless(compiler: str, tmp_path: Path) -> None:
    fuzz = str(tmp_path / "fuzz")
    flags = ("-std=gnu11", "-O1", "-g", SANITIZERS, "-fno-sanitize-recover=all", "-DSTANDALONE")
    run(compiler, *flags, *WARNINGS, *HEADERS, DRIVER, "-o", fuzz)
    run(fuzz, str(ROUNDS), *corpus(tmp_path))


def test_libfuzzer_finds_nothing(tmp_path: Path) -> None:
    clang = shutil.which("clang")
    if not clang or not _compiles(clang, "-fsanitize=fuzzer,address,undefined"):
        pytest.skip("needs clang with libFuzzer")
    fuzz = str(tmp_path / "fuzz")
    run(clang, "-std=gnu11", "-O1", "-g", "-fsanitize=fuzzer,address,undefined", *HEADERS, DRIVER,
        "-o", fuzz)  # fmt: skip
    directory = tmp_path / "corpus"
    directory.mkdir()
    corpus(directory)
    run(fuzz, "-max_total_time=10", "-seed=1", f"-artifact_prefix={tmp_path}/", str(directory))


@pytest.mark.parametrize("name", ["gcc", "clang"])
def test_the_compilers_analysis_finds_nothing(name: str, tmp_path: Path) -> None:
    if not shutil.which(name):
        pytest.skip(f"needs {name}")
    strict = ("-std=c11", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-O2", *HEADERS)
    # gcc does not see that a system call fills a buffer.
    quiet = ("-Wno-analyzer-use-of-uninitialized-value",)
    for source in SOURCES:
        if name == "gcc":
            run(name, *strict, "-fanalyzer", *quiet, "-c", source, "-o", str(tmp_path / "object"))
        else:
            run(name, "--analyze", "-Xclang", "-analyzer-werror", *strict, source)
