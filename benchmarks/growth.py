"""What makes a start slower, and what waits in memory meanwhile.

    python benchmarks/growth.py [--rounds N]

Least milliseconds of a warm `kokon.run` of /bin/true by how many ran before, by volumes, by
variables, by the size of the calling process; then the memory of a waiting container and of the
command.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ground import PROJECT, find_compiler, make_root

import kokon


def least(run: Callable[[], object], rounds: int) -> float:
    """The least seconds of a call, with pauses between."""
    best = 1e9
    for _ in range(rounds):
        time.sleep(0.02)
        begin = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - begin)
    return best


def start(root: Path, **options: object) -> Callable[[], object]:
    """One run."""
    return lambda: kokon.run(["/bin/true"], root=root, check=True, **options)  # type: ignore[arg-type]


def row(name: str, value: str) -> None:
    """One line of the report."""
    print(f"  {name:44}{value:>12}")


def runs(root: Path, rounds: int) -> None:
    """The first run of a process, and whether later ones grow."""
    print("runs of one process, milliseconds")
    code = (
        "import os, sys, time, kokon\n"
        "times = []\n"
        "for _ in range(100):\n"
        "    begin = time.perf_counter()\n"
        "    kokon.run(['/bin/true'], root=sys.argv[1], read_only=True, check=True)\n"
        "    times.append(1000 * (time.perf_counter() - begin))\n"
        "fds = len(os.listdir('/proc/self/fd'))\n"
        "print(times[0], min(times[1:11]), min(times[-10:]), fds)\n"
    )
    firsts = []
    for _ in range(max(3, rounds // 4)):
        done = subprocess.run(
            [sys.executable, "-c", code, root], stdout=subprocess.PIPE, check=True
        )
        firsts.append([float(word) for word in done.stdout.split()])
    for number, name in enumerate(("the first", "2nd to 11th", "91st to 100th")):
        row(name, f"{min(first[number] for first in firsts):.2f}")
    row("open descriptors after 100", f"{firsts[0][3]:.0f}")


def volumes(root: Path, place: Path, rounds: int) -> None:
    """By the number of volumes."""
    print("volumes, milliseconds")
    for count in (0, 1, 10, 100):
        pairs = {}
        for number in range(count):
            (place / f"v{number}").mkdir(exist_ok=True)
            pairs[str(place / f"v{number}")] = f"/tmp/{number}:ro"
        row(f"{count}", f"{1000 * least(start(root, volumes=pairs), rounds):.2f}")


def variables(root: Path, rounds: int) -> None:
    """By the number of variables of the environment."""
    print("variables, milliseconds")
    for count in (0, 10, 100, 1000, 10_000):
        env = {f"NAME{number}": f"value {number}" for number in range(count)}
        row(f"{count}", f"{1000 * least(start(root, read_only=True, env=env), rounds):.2f}")


def callers(root: Path, rounds: int) -> None:
    """By the memory of the caller."""
    print("memory of the calling process, milliseconds")
    small = least(start(root, read_only=True), 3 * rounds)
    ballast = bytearray(os.urandom(1 << 20)) * 1024
    large = least(start(root, read_only=True), 3 * rounds)
    del ballast
    row("small", f"{1000 * small:.2f}")
    row("1 GB more", f"{1000 * large:.2f}")


def memory(root: Path, command: str) -> None:
    """Of a waiting container's init, and of the command at its most."""
    print("memory, KB")
    if not os.path.exists(command):
        print("  no kokon command was found (make run makes .venv/bin/kokon): left out")
        return
    words = [command, "run", "-i", "--init", "--memory", "100M", str(root), "/bin/wait"]
    process = subprocess.Popen(words, stdin=subprocess.PIPE)
    init = child_of(process.pid)
    for name in ("Rss", "Pss"):
        row(f"waiting init, {name}", field(f"/proc/{init}/smaps_rollup", name))
    # Not ru_maxrss, which counts what the calling process had before the execve.
    row("the command, peak Rss", field(f"/proc/{process.pid}/status", "VmHWM"))
    row("the command, Pss while it waits", field(f"/proc/{process.pid}/smaps_rollup", "Pss"))
    process.communicate()


def field(path: str, name: str) -> str:
    """The number of a line of /proc."""
    lines = Path(path).read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(f"{name}:"))


def child_of(pid: int) -> int:
    """The container's process 1, once its program runs."""
    while True:
        time.sleep(0.05)
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            if Path(f"/proc/{child}/task/{child}/children").read_text():
                return int(child)


def main() -> None:
    """The command line is in the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--kokon", default=str(PROJECT / ".venv/bin/kokon"))
    options = parser.parse_args()
    compiler = find_compiler()
    if compiler is None:
        sys.exit("the root's program needs a C compiler")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        place = Path(name)
        place.chmod(0o755)
        root = make_root(place, compiler)
        source = place / "wait.c"
        source.write_text(
            "#include <unistd.h>\nint main(void) { char c; return (int)read(0, &c, 1); }\n"
        )
        subprocess.run([*compiler, "-static", source, "-o", root / "bin/wait"], check=True)
        time.sleep(2.1)  # so that the root counts as settled
        runs(root, options.rounds)
        volumes(root, place, options.rounds)
        variables(root, options.rounds)
        callers(root, options.rounds)
        memory(root, options.kokon)


if __name__ == "__main__":
    main()
