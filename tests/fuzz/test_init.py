"""init under the sanitizers: its check of a plan fed with damaged ones, its code with traps, and
the compilers' own analysis.  `make check-init` runs this."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import kokon
from kokon.plan import ops, wire
from kokon.plan.plan import Plan
from kokon.plan.table import TABLE
from kokon.runtime import program

PROJECT = Path(__file__).resolve().parents[2]
SOURCES = sorted(map(str, PROJECT.glob("init/*.c")))
DRIVER = str(PROJECT / "tests/fuzz/check_plan.c")
INCLUDE = ("-I", str(PROJECT / "init"))
ROUNDS = 200_000
SANITIZERS = "-fsanitize=address,undefined"

sys.path.insert(0, str(PROJECT / "tools"))
build = pytest.importorskip("compile", reason="only in a checkout")


@pytest.fixture(scope="module")
def compiler() -> str:
    """A compiler with the sanitizers' libraries."""
    for name in ("gcc", "clang"):
        found = shutil.which(name)
        if found and _compiles(found, SANITIZERS):
            return found
    pytest.skip("needs gcc or clang with the sanitizers (Debian: gcc libc6-dev)")


def _compiles(name: str, *flags: str) -> bool:
    probe = subprocess.run(
        [name, *flags, "-x", "c", "-", "-o", "/dev/null"],
        input="int LLVMFuzzerTestOneInput(void) { return 0; }\n"
        + ("" if "fuzzer" in flags[0] else "int main(void) { return 0; }\n"),
        text=True, capture_output=True,
    )  # fmt: skip
    return probe.returncode == 0


def run(*command: str) -> None:
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def corpus(directory: Path) -> list[str]:
    """Valid plans: each kind of op alone, and several lists, texts and data in one."""
    values = {"slot": 0, "num": 1, "text": "text", "data": b"data", "words": ""}
    samples = [
        getattr(ops, row.name)(
            **{f.name: values.get(f.kind, ("a", None, "b", "c")) for f in row.fields}, why=""
        )
        for row in TABLE
    ]
    odd = ops.Filesystem(1, "tmpfs", ("size", "1m", "alone"), 0, "", why="")
    run_it = ops.Execute(("/bin/sh", "/sh"), ("sh", "-c", "x"), ("A=b",), why="")
    # Read as a list, the slots of this one are a count and an offset that fits.
    like_a_list = ops.Terminal(1, 40, 0, 0, why="")
    plans = [(sample,) for sample in samples] + [(odd,), (odd, *samples, run_it)]
    plans += [(run_it, run_it), (like_a_list, run_it)]
    paths = []
    for number, steps in enumerate(plans):
        path = directory / f"plan-{number:03}"
        path.write_bytes(wire.encode(Plan(tuple(steps), ("cgroup",))))
        paths.append(str(path))
    return paths


def test_a_damaged_plan_is_refused_or_harmless(compiler: str, tmp_path: Path) -> None:
    """Row E14: never a wild pointer.  The mutations come from a fixed seed."""
    fuzz = str(tmp_path / "fuzz")
    flags = ("-std=gnu11", "-O1", "-g", SANITIZERS, "-fno-sanitize-recover=all", "-DSTANDALONE")
    run(compiler, *flags, *INCLUDE, DRIVER, str(PROJECT / "init/plan.c"), "-o", fuzz)
    directory = tmp_path / "corpus"
    directory.mkdir()
    plans = corpus(directory)
    run(fuzz, str(ROUNDS // len(plans)), *plans)
    run(fuzz, str(ROUNDS), *plans[-3:])


def test_libfuzzer_finds_nothing(tmp_path: Path) -> None:
    """The same driver under libFuzzer, which is led by coverage, where clang has it."""
    clang = shutil.which("clang")
    if not clang or not _compiles(clang, "-fsanitize=fuzzer,address,undefined"):
        pytest.skip("needs clang with libFuzzer")
    fuzz = str(tmp_path / "fuzz")
    flags = ("-std=gnu11", "-O1", "-g", "-fsanitize=fuzzer,address,undefined")
    run(clang, *flags, *INCLUDE, DRIVER, str(PROJECT / "init/plan.c"), "-o", fuzz)
    directory = tmp_path / "corpus"
    directory.mkdir()
    corpus(directory)
    run(fuzz, "-max_total_time=15", "-seed=1", f"-artifact_prefix={tmp_path}/", str(directory))


@pytest.mark.parametrize("name", ["gcc", "clang"])
def test_the_compilers_analysis_finds_nothing(name: str, tmp_path: Path) -> None:
    if not shutil.which(name):
        pytest.skip(f"needs {name}")
    strict = ("-std=c11", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-O2", *INCLUDE)
    for source in SOURCES:
        if name == "gcc":
            run(name, *strict, "-fanalyzer", "-c", source, "-o", str(tmp_path / "object"))
        else:
            run(name, "--analyze", "-Xclang", "-analyzer-werror", *strict, source)


@pytest.fixture
def trapping_init(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """init that dies of any undefined behaviour, in the place of the usual one."""
    name = next((name for name in ("gcc", "clang") if shutil.which(name)), None)
    if name is None:
        pytest.skip("needs gcc or clang")
    trap = ["-fsanitize=undefined,bounds,signed-integer-overflow"]
    trap.append("-fsanitize-trap=all" if name == "clang" else "-fsanitize-undefined-trap-on-error")
    target = str(tmp_path / "init")
    run(name, *build.FLAGS, *build.UNPADDED, *trap, *INCLUDE, *SOURCES, "-o", target)
    monkeypatch.setattr(program, "read", Path(target).read_bytes)
    monkeypatch.setattr(program, "_sealed", {})
    yield
    for kept in program._sealed.values():
        kept.close()


@pytest.mark.kernel
@pytest.mark.parametrize("init", [True, False], ids=["init", "alone"])
def test_a_whole_run_has_no_undefined_behaviour(trapping_init: None, init: bool) -> None:
    try:
        kokon.run(["/bin/true"], root="@host")
    except kokon.HostError as error:
        if "namespace" in str(error):
            pytest.skip(str(error))
        raise
    result = kokon.run(
        ["/bin/sh", "-c", "exit 3"], root="@host", init=init, hostname="h", tmpfs=["/tmp/x"],
        sysctls=["net.ipv4.ip_forward=1"], time="boottime=1", ulimits=["nofile=9"],
        cap_drop=["ALL"], volumes=["/usr/share:/home/share:ro"], capture_output=True,
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (3, b"")
    with pytest.raises(kokon.CommandError):
        kokon.run(["/no/such"], root="@host", init=init)
    with pytest.raises(kokon.StepError, match="go to /etc/passwd"):
        kokon.run(["/bin/true"], root="@host", init=init, cwd="/etc/passwd")
