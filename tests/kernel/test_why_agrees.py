"""``kokon why`` against the kernel: random runs are asked about, then they try it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from random import Random

import pytest
import why_world as world

from kokon.cli.main import command
from kokon.config.options import Options
from kokon.engine.run import finish, prepare
from kokon.engine.why import Machine, why
from kokon.errors import HostError, KokonError, RequestError
from kokon.plan.answer import UNDECIDED

pytestmark = pytest.mark.kernel

EACH = 25
"""Questions for one run."""


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of why_probe.c, static."""
    out = tmp_path_factory.mktemp("probe") / "probe"
    source = Path(__file__).with_name("why_probe.c")
    if name := next((name for name in ("cc", "gcc", "clang") if shutil.which(name)), ""):
        command = [name]
    elif find_spec("ziglang"):
        target = f"{os.uname().machine}-linux-musl"
        command = [sys.executable, "-m", "ziglang", "cc", "-target", target]
    else:
        pytest.skip("needs a C compiler")
    subprocess.run([*command, "-O1", "-static", "-o", out, source], check=True)
    return out


@pytest.fixture
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, probe: Path) -> Path:
    (tmp_path / "store").mkdir(mode=0o700)
    monkeypatch.setenv("KOKON_STORE", str(tmp_path / "store"))
    for directory in (tmp_path, *tmp_path.parents):
        if directory.stat().st_uid == os.geteuid() and str(directory) != "/":
            directory.chmod(directory.stat().st_mode | 0o011)
    return tmp_path


class Compared:
    """What a number of pairs came to."""

    def __init__(self) -> None:
        self.verdicts: Counter[str] = Counter()
        self.undecided: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.runs = self.impossible = 0

    @property
    def pairs(self) -> int:
        return sum(self.verdicts.values())

    def __str__(self) -> str:
        share = 100 * self.verdicts[UNDECIDED] / max(self.pairs, 1)
        reasons = "\n".join(f"  {n:5} {why}" for why, n in self.undecided.most_common(12))
        return (
            f"{self.pairs} pairs of {self.runs} runs ({self.impossible} more could not be had):"
            f" {dict(self.verdicts)}, undecided {share:.1f} %\n{reasons}"
        )


def compare(top: Path, probe: Path, pairs: int, seed: int) -> Compared:
    compared = Compared()
    random = Random(seed)
    world.make(top / "world", probe, random)
    while compared.pairs < pairs:
        state = random.getrandbits(32)
        try:
            one_run(top / "world", Random(state), state, compared)
        except (RequestError, HostError):
            # Options that go against each other, or a mount point in a root that is read-only.
            compared.impossible += 1
            assert compared.impossible < pairs, "hardly any of these runs can be had"
    world.remove(top)
    return compared


def one_run(top: Path, random: Random, state: int, compared: Compared) -> None:
    root, options, probe = world.run(top, random)
    prepared = prepare(Options(root, (probe,), options))
    try:
        asked = list(world.questions(random, EACH, root, options, prepared.host.architecture))
        words = [word for question in asked for word in (question.letter, question.tried)]
        prepared.close()
        prepared = prepare(Options(root, (probe, *words), options))
        with Machine(prepared) as machine:
            answers = [machine.why(question.action, question.subject) for question in asked]
        printed = run_probe(prepared)
    finally:
        prepared.close()
    compared.runs += 1
    results = [int(line) for line in printed.split()]
    assert len(results) == len(asked), f"{options}: {printed!r}"
    for question, answer, result in zip(asked, answers, results, strict=True):
        if world.needs_rights(question) and answer.allowed:
            continue  # the filter lets it through, and the kernel may refuse it all the same
        compared.verdicts[answer.verdict] += 1
        if answer.verdict == UNDECIDED:
            compared.undecided[answer.sentence] += 1
        elif not world.agrees(question, answer.verdict, answer.sentence, result):
            compared.wrong.append(
                f"{state}: {question}: {answer!r} {answer.numbers}, the kernel: {result}"
                f" (run {root} {options})"
            )


def run_probe(prepared: object) -> str:
    null = os.open(os.devnull, os.O_RDWR)
    output, end = os.pipe()
    try:
        process = prepared.start((null, end, end))  # type: ignore[attr-defined]
        os.close(end)
        end = -1
        text = b""
        while part := os.read(output, 1 << 16):
            text += part
        finish(prepared, process)  # type: ignore[arg-type]
        process.close()
    finally:
        for fd in (null, output, end):
            if fd >= 0:
                os.close(fd)
    return text.decode()


def check(compared: Compared) -> None:
    print(compared)
    assert not compared.wrong, "\n".join(compared.wrong[:20])
    assert compared.verdicts[UNDECIDED] < compared.pairs / 3


def test_why_agrees_with_the_kernel(top: Path, probe: Path) -> None:
    try:
        compared = compare(top, probe, 200, seed=1)
    except KokonError as error:
        pytest.skip(f"no container can be started here: {error}")
    check(compared)


@pytest.mark.slow
def test_why_agrees_with_the_kernel_on_5000_pairs(top: Path, probe: Path) -> None:
    check(compare(top, probe, 5000, seed=int(os.environ.get("KOKON_SEED", "2"))))


def test_the_command(top: Path, capfd: pytest.CaptureFixture[str]) -> None:
    volume = f"{top}:/data:ro"
    for words, status, said in (
        (["write", "/data/x", "run", "-v", volume, "@host"], 1, f"[-v {volume}]"),
        (["write", "/dev/shm/x", "run", "@host"], 0, "allowed: a file can be made there"),
        (["read", "/nothing", "run", "@host"], 2, "undecided: there is no such file now"),
        (["--format", "json", "listen", "80", "run", "@host"], 0, '"verdict": "allowed"'),
        (["--format=xml", "listen", "80", "run", "@host"], 125, "give text or json"),
        (["reed", "/x", "run", "@host"], 125, "did you mean read?"),
        (["read", "/x"], 125, "write for example: kokon why write"),
        (["read", "/x", "run", "-v", "/no/such:/x", "@host"], 125, "/no/such"),
        (["--help"], 0, "Usage: kokon why"),
    ):
        found = command(["why", *words])
        printed = capfd.readouterr()
        assert (found, said in printed.out + printed.err) == (status, True), printed
    assert not list((top / "store/writes").glob("*"))


def test_from_python(top: Path) -> None:
    (top / "file").write_text("x")
    options = Options("@host", ("true",), {"volumes": (f"{top}:/data:ro",)})
    assert why("read", "/data/file", options).allowed is True
    assert why("write", "/data/file", options).allowed is False
    assert why("read", "/data/nothing", options).allowed is None
