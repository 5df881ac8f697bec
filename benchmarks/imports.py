"""What `import kokon` and `kokon run` load, and what loading costs (python -X importtime).

    python benchmarks/imports.py [--rounds N]

A run's modules are those of the library and of kokon; what is not on the list of expected ones of
the library is named: each costs a start its milliseconds.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "src"
EXPECTED = frozenset(
    ("__future__", "os", "_collections_abc", "stat", "_stat", "posixpath", "genericpath", "struct",
     "_struct", "_operator", "_sha2", "_sha256", "_socket", "_weakref", "atexit", "errno", "fcntl",
     "gc", "resource", "select")
)  # fmt: skip
"""Of the library: os with what it loads (a bare interpreter without site has it not), struct, and
modules in C."""

RUN = "from kokon.cli.main import main; main(['run', '--read-only', {root!r}, '/bin/true'])"


def loaded(code: str) -> dict[str, int]:
    """Microseconds of each module that a program imports, its own part only; minimum of three."""
    command = [sys.executable, "-I", "-S", "-X", "importtime", "-c"]
    prefix = f"import sys; sys.path.insert(0, {str(SOURCE)!r}); sys.dont_write_bytecode = False\n"
    best: dict[str, int] = {}
    for _ in range(3):
        done = subprocess.run([*command, prefix + code], capture_output=True, text=True)
        for line in done.stderr.splitlines():
            own, _, rest = line.removeprefix("import time:").partition("|")
            if line.startswith("import time:") and own.strip().isdigit():
                name = rest.partition("|")[2].strip()
                best[name] = min(best.get(name, 1 << 30), int(own))
    return best


def seconds(code: str, rounds: int) -> float:
    """The least time of an interpreter that runs a program."""
    command = [sys.executable, "-I", "-S", "-c"]
    prefix = f"import sys; sys.path.insert(0, {str(SOURCE)!r})\n"
    best = 1e9
    for _ in range(rounds):
        begin = time.perf_counter()
        subprocess.run([*command, prefix + code], stdout=subprocess.DEVNULL)
        best = min(best, time.perf_counter() - begin)
    return best


def report(title: str, code: str, bare: dict[str, int]) -> None:
    """The sum, the ten largest, and what was not expected."""
    modules = {name: cost for name, cost in loaded(code).items() if name not in bare}
    print(f"\n{title}: {len(modules)} modules, {sum(modules.values())} microseconds")
    for name, cost in sorted(modules.items(), key=lambda pair: -pair[1])[:10]:
        print(f"  {cost:7} {name}")
    foreign = {name for name in modules if name.partition(".")[0] != "kokon"}
    print("  not expected:", ", ".join(sorted(foreign - EXPECTED)) or "nothing")


def main() -> None:
    """The command line is in the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as root:
        for name in ("bin", "etc", "proc", "sys", "dev"):
            os.mkdir(f"{root}/{name}")
        for name in ("hosts", "hostname", "resolv.conf"):
            Path(root, "etc", name).touch()
        bare = loaded("pass")
        report("import kokon", "import kokon", bare)
        report("kokon.run, first use", "import kokon; kokon.run", bare)
        report("kokon run", RUN.format(root=root), bare)
    plain = seconds("pass", rounds)
    over = seconds("import kokon", rounds) - plain
    print(f"\na bare interpreter {1000 * plain:.2f} ms, import kokon {1000 * over:.2f} ms more")


if __name__ == "__main__":
    main()
