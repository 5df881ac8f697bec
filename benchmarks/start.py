"""What a start costs: kokon, the floor and other programs, in one interleaved run.

    python benchmarks/start.py [--rounds N] [--pause MS] [--quick] [--kokon COMMAND] [--only WORD]

As root, for the floor and for limits.  Each round starts every case once, in another order, with a
pause before each: without one, a wait for an RCU grace period would not be seen.  Nothing is
asserted: on a busy machine trust the minimum and the processor time (docs/performance.md).
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from random import Random
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage

import peers
from ground import PROJECT, find_compiler, make_floor, make_root

import kokon
from kokon.kernel import cgroups

LIMITS: dict[str, object] = {"memory": "100M", "pids": 32, "cpus": 1}
Timed = Callable[[], tuple[float, float]]


class Case:
    """Something that is started over and over.

    :ivar base: the case that its ratio is of, and ``most``, what that ratio is to be at most.
    """

    def __init__(self, group: str, name: str, timed: Timed, bases: dict[str, float | None]) -> None:
        self.group, self.name, self.timed, self.bases = group, name, timed, bases
        self.wall: list[float] = []
        self.processor: list[float] = []

    def figures(self) -> tuple[float, float, float, float]:
        """Minimum, median and 99th percentile on the clock, mean of the processors; seconds."""
        wall = sorted(self.wall)
        mean = sum(self.processor) / len(self.processor)
        return wall[0], wall[len(wall) // 2], wall[int(len(wall) * 0.99)], mean


def here(run: peers.Run) -> Timed:
    """Times a call in this process, with the processor time of its children."""

    def processor() -> float:
        own, children = getrusage(RUSAGE_SELF), getrusage(RUSAGE_CHILDREN)
        return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime

    def timed() -> tuple[float, float]:
        before, begin = processor(), time.perf_counter()
        run()
        return time.perf_counter() - begin, processor() - before

    return timed


def floor_groups() -> list[str]:
    """Where the floor makes its three groups: none without the v1 controllers."""
    layout = cgroups.read()
    parents = []
    for controller in ("memory", "cpu", "pids"):
        tree = layout.of(controller)
        directory = tree.directory() if tree and tree.version == 1 else None
        if directory is None:
            return []
        parents.append(f"{directory}/floor-")
    return parents


def library(root: Path, floor: list[str], writes: Path) -> list[Case]:
    """Starts from a warm interpreter."""

    def start(**options: object) -> Timed:
        return here(lambda: succeed(kokon.run(["/bin/true"], root=root, **options)))  # type: ignore[arg-type]

    def command(*words: str) -> Timed:
        return here(peers.command([*floor, *words]))

    warm, changed, limited = "warm Python", "root that is written to", "with limits"
    cases = [
        Case(warm, "floor", command(), {}),
        Case(warm, "kokon.run", start(read_only=True), {"floor": 1.3}),
        Case(warm, "kokon.run, init=False", start(read_only=True, init=False), {"floor": None}),
        Case(changed, "floor, overlay", command("overlay", f"{writes}/"), {}),
        Case(changed, "kokon.run, overlay", start(), {"floor, overlay": None}),
    ]
    python = here(lambda: succeed(kokon.run(["python3", "-ISc", ""], root="@python")))
    cases += [
        Case("built-in roots", "kokon.run @host true",
             here(lambda: succeed(kokon.run(["/usr/bin/true"], root="@host"))), {}),
        Case("built-in roots", "kokon.run @python", python, {"python3 -I -S -c pass": None}),
    ]  # fmt: skip
    groups = floor_groups()
    if groups:
        cases.append(Case(limited, "floor, cgroups", command("cgroups", *groups), {}))
    cases.append(
        Case(limited, "kokon.run, limits", start(read_only=True, **LIMITS), {"floor, cgroups": 1.5})
    )
    return cases


def succeed(result: kokon.CompletedProcess) -> None:
    """Raises where a measured run did not do what it was to do."""
    result.check_returncode()


def others(root: Path, directory: Path, floor: list[str], stack: ExitStack) -> list[Case]:
    """Other programs that do (about) the same; what is missing is said and left out."""
    cases = []
    group = "others, without limits"
    if present("bwrap"):
        cases += [
            Case(group, "bwrap, no filter", here(peers.bwrap(root, None)), {}),
            Case(group, "bwrap", here(peers.bwrap(root, Path(floor[2]))), {}),
        ]
    sandlock = peers.sandlock(root)
    if sandlock:
        cases.append(Case(group, "sandlock", here(sandlock), {}))
    else:
        print("sandlock is not installed (pip install sandlock): left out")
    runtimes = [name for name in ("crun", "runc") if present(name)]
    if not runtimes:
        return cases
    elsewhere = peers.WithoutUnified()
    stack.callback(elsewhere.close)
    for limits, label in ((False, group), (True, "commands, with limits")):
        bundle = peers.bundle(directory / f"bundle{limits:d}", root, ["/bin/true"], limits=limits)
        for name in runtimes:
            state = directory / f"{name}{limits:d}"
            words = [name, "--root", str(state), "run", "-b", str(bundle), f"floor{os.getpid()}"]
            timed = partial(elsewhere.time, words)
            cases.append(Case(label, f"{name} run" + ", limits" * limits, timed, {}))
    return cases


def commands(root: Path, floor: list[str], command: str) -> list[Case]:
    """The command, beside what a command costs at least."""
    group = "commands, with limits"
    beside = os.path.join(os.path.dirname(command), "python3")
    python = os.path.realpath(beside if command else sys.executable)
    bare = [python, "-I", "-S", "-c", "pass"]
    cases = [Case(group, "python3 -I -S -c pass", here(peers.command(bare)), {})]
    if not command:
        print("no kokon command was given or found (make run makes .venv/bin/kokon): left out")
        return cases
    words = [command, "run", "--read-only", "--memory", "100M", "--pids-limit", "32", "--cpus", "1"]
    words += [str(root), "/bin/true"]
    bases = {"crun run, limits": 1.3, "runc run, limits": 0.35, "python3 -I -S -c pass": None}
    store = str(root.parent / "store")
    by_python = here(peers.command(words, KOKON_SAVED="off", KOKON_STORE=store))
    # Nothing is saved of a root that was made just now (docs/saved-runs.md).
    time.sleep(2.5)
    peers.command(words, KOKON_STORE=store)()
    saved = here(peers.command(words, KOKON_SAVED="require", KOKON_STORE=store))
    return [
        *cases,
        Case(group, "kokon run, limits, by Python", by_python, dict.fromkeys(bases)),
        Case(group, "kokon run, limits", saved, bases),
    ]


def present(name: str) -> bool:
    """Whether a program is there; says so where it is not."""
    if shutil.which(name):
        return True
    print(f"{name} is not installed: left out")
    return False


def measure(cases: list[Case], rounds: int, pause: float) -> None:
    """Starts every case once in each round, after two starts that are not counted.

    The order changes from round to round: what ran before leaves caches warm for some and cold for
    others.
    """
    shuffled, random = list(cases), Random(0)
    for case in cases:
        case.timed(), case.timed()
    for _ in range(rounds):
        random.shuffle(shuffled)
        for case in shuffled:
            time.sleep(pause)
            wall, processor = case.timed()
            case.wall.append(wall)
            case.processor.append(processor)


def report(cases: list[Case]) -> None:
    """The table, then the ratios."""
    by_name = {case.name: case for case in cases}
    group = ""
    print(f"\n{'milliseconds':36}{'min':>8}{'median':>8}{'p99':>8}{'cpu':>8}")
    for case in sorted(cases, key=lambda case: [c.group for c in cases].index(case.group)):
        if case.group != group:
            group = case.group
            print(group)
        figures = "".join(f"{1000 * figure:8.2f}" for figure in case.figures())
        print(f"  {case.name:34}{figures}")
    print(f"\n{'ratios':48}{'min':>8}{'median':>8}{'cpu':>8}  at most")
    for case in cases:
        for base, most in case.bases.items():
            if base not in by_name:
                continue
            ours, theirs = case.figures(), by_name[base].figures()
            ratios = "".join(f"{ours[n] / theirs[n]:8.2f}" for n in (0, 1, 3))
            print(f"  {f'{case.name} / {base}':46}{ratios}  {most or ''}")


def main() -> None:
    """The command line is in the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--pause", type=float, default=50, help="milliseconds before a start")
    parser.add_argument("--quick", action="store_true", help="10 rounds")
    parser.add_argument("--kokon", default=str(PROJECT / ".venv/bin/kokon"))
    parser.add_argument("--only", default="", help="cases whose name has this word")
    options = parser.parse_args()
    compiler = find_compiler()
    if os.geteuid() or compiler is None:
        sys.exit("the floor needs root and a C compiler")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name, ExitStack() as stack:
        directory = Path(name)
        directory.chmod(0o755)
        root = make_root(directory, compiler)
        writes = directory / "writes"
        writes.mkdir()
        floor = make_floor(directory, compiler)
        cases = library(root, floor, writes)
        cases += others(root, directory, floor, stack)
        cases += commands(root, floor, options.kokon if os.path.exists(options.kokon) else "")
        cases[1].bases |= {"bwrap": 0.6, "bwrap, no filter": None, "sandlock": None,
                           "crun run": 0.25, "runc run": None}  # fmt: skip
        cases = [case for case in cases if options.only in case.name]
        measure(cases, 10 if options.quick else options.rounds, options.pause / 1000)
        report(cases)


if __name__ == "__main__":
    main()
