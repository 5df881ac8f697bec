"""Judges a solution of a programming task.

    python3 judge.py solution.py TESTS

TESTS is a directory of 1.in and 1.out, 2.in and 2.out, …  Each test is a container of its own: the
solution sees Python, itself and its input, never the answers or the other tests.  A line for each
test is printed, and the status is 0 when all are accepted.

Limits need control groups.  Where they cannot be had the solution runs with what setrlimit(2) can
do, and the judge says so: verdicts of memory and processes are not to be relied on then.
"""

from __future__ import annotations

import sys
from pathlib import Path

import kokon

SECONDS = 2
LIMITS = {"memory": "128M", "memory_swap": "128M", "pids": 16, "cpus": 1}
VERDICTS = {"timeout": "time limit", "output": "output limit", "memory": "memory limit"}


def run(solution: Path, given: bytes) -> kokon.CompletedProcess:
    """Runs a solution on an input."""
    try:
        return kokon.run(
            ["python3", "/solution.py"], root="@python",
            volumes={solution.resolve(): "/solution.py:ro"}, input=given, capture_output=True,
            max_output="1M", timeout=SECONDS, limits="best-effort", **LIMITS,
        )  # fmt: skip
    except kokon.TimeoutExpired as over:
        return over.result


def verdict(result: kokon.CompletedProcess, expected: bytes) -> str:
    """What to say of a run, which is the solution's fault unless the machine was at its end."""
    for limit, name in VERDICTS.items():
        if limit in result.limits_hit:
            return name
    if result.cause == "memory":
        return "not judged: the machine has no memory left"
    if result.returncode:
        how = "signal" if result.returncode < 0 else "exit status"
        more = ", too many processes" if "processes" in result.limits_hit else ""
        return f"runtime error ({how} {abs(result.returncode)}{more})"
    return "accepted" if result.stdout.split() == expected.split() else "wrong answer"


def main(solution: Path, tests: Path) -> int:
    """Prints a line for each test."""
    accepted = []
    for given in sorted(tests.glob("*.in"), key=lambda path: (len(path.stem), path.stem)):
        result = run(solution, given.read_bytes())
        said = verdict(result, given.with_suffix(".out").read_bytes())
        used = result.usage.user_time + result.usage.system_time
        memory = result.usage.peak_memory
        size = "" if memory is None else f"{memory >> 20} MiB"
        print(f"{given.stem:8} {said:40} {used:6.2f} s {size}")
        accepted.append(said == "accepted")
    if accepted and not result.guarantees.limits:
        print(f"limits are {result.guarantees.limits}", file=sys.stderr)
    return 0 if accepted and all(accepted) else 1


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
