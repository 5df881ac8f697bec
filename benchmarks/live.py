"""Many programs: in one box, in many threads, in one event loop; beside crun exec and crun run.

    python benchmarks/live.py [--rounds N] [--pause MS]

As root.  First what a program in a living box costs, in interleaved rounds as start.py has them;
then starts a second when many are asked for at once, each way in turn, three times.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import peers
from ground import find_compiler, make_root
from start import Case, here, measure, present, report, succeed

import kokon

THREADS, TASKS = 16, 200


def boxes(root: Path, directory: Path, stack: ExitStack) -> list[Case]:
    """A program in a living box, in a new container, and in a living one of crun's."""
    box = stack.enter_context(kokon.Sandbox(root=root, read_only=True))
    limited = stack.enter_context(kokon.Sandbox(root=root, read_only=True, memory="100M", pids=32))
    group = "a program in a living container"
    cases = [
        Case(group, "kokon.run",
             here(lambda: succeed(kokon.run(["/bin/true"], root=root, read_only=True))), {}),
        Case(group, "box.run", here(lambda: succeed(box.run(["/bin/true"]))), {"kokon.run": 0.7}),
        Case(group, "box.run, limits", here(lambda: succeed(limited.run(["/bin/true"]))), {}),
        Case(group, "box.files.write", here(lambda: limited.files.write("/dev/shm/f", b"x")), {}),
    ]  # fmt: skip
    if present("crun"):
        elsewhere = peers.WithoutUnified()
        stack.callback(elsewhere.close)
        bundle = peers.bundle(directory / "bundle", root, ["/bin/wait"], limits=False)
        state, name = str(directory / "crun"), f"live{os.getpid()}"
        # Without a terminal or pipes of ours: it would keep them.
        words = f"crun --root {state} run -d -b {bundle} {name} </dev/null >/dev/null 2>&1"
        elsewhere.time(["sh", "-c", words])
        stack.callback(elsewhere.time, ["crun", "--root", state, "delete", "-f", name])
        enter = ["crun", "--root", state, "exec", name, "/bin/true"]
        cases.append(Case(group, "crun exec", lambda: elsewhere.time(enter), {}))
        cases[1].bases["crun exec"] = 0.3
    return cases


def threads(start: Callable[[], object], count: int) -> float:
    """Starts a second of so many, from 16 threads."""
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda _: start(), range(THREADS)))
        begin = time.perf_counter()
        list(pool.map(lambda _: start(), range(count)))
        return count / (time.perf_counter() - begin)


def tasks(root: Path) -> float:
    """Starts a second of 200 tasks of one event loop."""

    async def work() -> float:
        begin = time.perf_counter()
        for result in await asyncio.gather(
            *(kokon.arun(["/bin/true"], root=root, read_only=True) for _ in range(TASKS))
        ):
            succeed(result)
        return TASKS / (time.perf_counter() - begin)

    return asyncio.run(work())


def alone(start: Callable[[], object], count: int) -> float:
    """Starts a second, one after another."""
    begin = time.perf_counter()
    for _ in range(count):
        start()
    return count / (time.perf_counter() - begin)


def crowds(root: Path, directory: Path, stack: ExitStack) -> None:
    """Starts a second, each way in turn."""
    run = lambda: succeed(kokon.run(["/bin/true"], root=root, read_only=True))  # noqa: E731
    box = stack.enter_context(kokon.Sandbox(root=root, read_only=True))
    ways: dict[str, Callable[[], float]] = {
        "kokon.run, one after another": lambda: alone(run, TASKS),
        "kokon.run, 16 threads": lambda: threads(run, TASKS),
        "kokon.arun, 200 tasks": lambda: tasks(root),
        "box.run, 16 threads": lambda: threads(lambda: succeed(box.run(["/bin/true"])), TASKS),
    }
    if present("crun"):
        bundle = peers.bundle(directory / "many", root, ["/bin/true"], limits=False)
        crowd = Path(__file__).with_name("crowd.py")
        words = [sys.executable, str(crowd), str(directory / "crowd"), str(bundle), str(THREADS)]
        hidden = peers.without_unified([*words, str(TASKS // 2)])
        ways["crun run, 16 at once"] = lambda: float(subprocess.check_output(hidden, text=True))
    print(f"\n{'starts a second':40}{'worst':>8}{'best':>8}")
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(3):
        for name, way in ways.items():
            rates[name].append(way())
    for name, found in rates.items():
        print(f"  {name:38}{min(found):8.0f}{max(found):8.0f}")
    theirs = max(rates.get("crun run, 16 at once", [0]))
    if theirs:
        for name in ("kokon.run, 16 threads", "kokon.arun, 200 tasks"):
            print(f"  {name} / crun run: {max(rates[name]) / theirs:.1f} (at least 3)")


def main() -> None:
    """The command line is in the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--pause", type=float, default=50, help="milliseconds before a start")
    options = parser.parse_args()
    compiler = find_compiler()
    if os.geteuid() or compiler is None:
        sys.exit("this needs root and a C compiler")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name, ExitStack() as stack:
        directory = Path(name)
        directory.chmod(0o755)
        root = make_root(directory, compiler)
        source = directory / "wait.c"
        source.write_text("#include <unistd.h>\nint main(void) { for (;;) pause(); }\n")
        subprocess.run([*compiler, "-static", "-O2", source, "-o", root / "bin/wait"], check=True)
        cases = boxes(root, directory, stack)
        measure(cases, options.rounds, options.pause / 1000)
        report(cases)
        crowds(root, directory, stack)


if __name__ == "__main__":
    main()
