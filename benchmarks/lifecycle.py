"""create, start, exec and delete of a container, by kokon-runtime, crun and runC in turn.

    python benchmarks/lifecycle.py [--rounds N] [--pause MS] [--userns] [--kokon COMMAND]

As root.  Every container has the same configuration (capabilities, filter, masks, devices, limits).
It begins anew in a mount namespace without the v2 tree of a hybrid machine, which crun refuses.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random

import peers
from ground import PROJECT, find_compiler, make_root
from start import Case, here, present, report

PHASES = ("create", "start", "exec", "delete")
AIMS = {
    "create": {"crun": 1.2, "runc": None}, "start": {"crun": None, "runc": None},
    "exec": {"crun": 1.0, "runc": 0.5}, "delete": {"crun": None, "runc": None},
    "create + start + delete": {"crun": 1.0, "runc": 0.5},
}  # fmt: skip
INSIDE = "KOKON_BENCHMARK_INSIDE"
PR_SET_CHILD_SUBREAPER = 36


class Runtime:
    """A runtime with its cases, one a phase, and their sum."""

    def __init__(self, name: str, command: str, directory: Path, bundle: Path, null: int) -> None:
        self.name, self.bundle, self.null = name, str(bundle), null
        self.command = [command, "--root", str(directory / f"state-{name}")]
        self.identity = f"{name}{os.getpid()}"
        self.pid_file = str(directory / f"pid-{name}")
        self.cases = {}
        for phase, bases in AIMS.items():
            case = Case(phase, f"{name} {phase}", lambda: (0, 0), {})
            if name == "kokon":
                case.bases = {f"{other} {phase}": aim for other, aim in bases.items()}
            self.cases[phase] = case
        self.waiting = 0

    def call(self, phase: str, *words: str, counted: bool) -> tuple[float, float]:
        """Times one command."""
        passed = dict.fromkeys((0, 1, 2), self.null)
        command = [*self.command, *words]
        actions = [(os.POSIX_SPAWN_DUP2, source, target) for target, source in passed.items()]

        def run() -> None:
            pid = os.posix_spawnp(command[0], command, os.environ, file_actions=actions)
            if status := os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
                raise RuntimeError(f"{' '.join(command)} ended with {status}")

        times = here(run)()
        if counted:
            self.cases[phase].wall.append(times[0])
            self.cases[phase].processor.append(times[1])
        return times

    def live(self, pause: float, *, counted: bool = True) -> None:
        """One container from its making to its end."""
        made = self.call("create", "create", "--bundle", self.bundle, "--pid-file", self.pid_file,
                         self.identity, counted=counted)  # fmt: skip
        pid = int(Path(self.pid_file).read_text())
        self.waiting = max(self.waiting, proportional(pid))
        time.sleep(pause)
        started = self.call("start", "start", self.identity, counted=counted)
        time.sleep(pause)
        self.call("exec", "exec", self.identity, "/bin/true", counted=counted)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        time.sleep(pause)
        gone = self.call("delete", "delete", self.identity, counted=counted)
        if counted:
            whole = self.cases["create + start + delete"]
            whole.wall.append(made[0] + started[0] + gone[0])
            whole.processor.append(made[1] + started[1] + gone[1])


def proportional(pid: int) -> int:
    """KiB of memory of a process, pages that others share divided among them."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


def make_bundle(directory: Path, root: Path, *, userns: bool) -> Path:
    """Beside Docker's masks, capabilities and filter: limits, and a program that waits."""
    bundle = peers.bundle(directory / "bundle", root, ["/bin/wait"], limits=True)
    if userns:
        file = bundle / "config.json"
        config = json.loads(file.read_text())
        config["linux"]["namespaces"].append({"type": "user"})
        for name in ("uidMappings", "gidMappings"):
            config["linux"][name] = [{"containerID": 0, "hostID": 200000, "size": 65536}]
        file.write_text(json.dumps(config))
    return bundle


def add_wait(root: Path, compiler: list[str]) -> None:
    """A static /bin/wait."""
    source = root.parent / "wait.c"
    source.write_text("#include <unistd.h>\nint main(void) { for (;;) pause(); }\n")
    subprocess.run([*compiler, "-static", "-O2", source, "-o", root / "bin/wait"], check=True)


def main() -> None:
    """The command line is in the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--pause", type=float, default=30, help="milliseconds before a command")
    parser.add_argument("--userns", action="store_true", help="with a user namespace")
    parser.add_argument("--kokon", default=str(PROJECT / ".venv/bin/kokon-runtime"))
    options = parser.parse_args()
    compiler = find_compiler()
    if os.geteuid() or compiler is None:
        sys.exit("this needs root and a C compiler")
    if not os.path.exists(options.kokon):
        sys.exit(f"{options.kokon} is not there (make run makes it)")
    if INSIDE not in os.environ:
        words = peers.without_unified([sys.executable, *sys.argv])
        os.execvpe(words[0], words, {**os.environ, INSIDE: "1"})
    # What a runtime leaves behind comes to us, as to an engine.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        directory = Path(name)
        directory.chmod(0o755)
        root = make_root(directory, compiler)
        add_wait(root, compiler)
        bundle = make_bundle(directory, root, userns=options.userns)
        null = os.open(os.devnull, os.O_RDWR)
        commands = {"kokon": options.kokon, **{n: n for n in ("crun", "runc") if present(n)}}
        runtimes = [Runtime(n, command, directory, bundle, null) for n, command in commands.items()]
        pause = options.pause / 1000
        random = Random(0)
        for runtime in runtimes:
            runtime.live(pause, counted=False)
        for _ in range(options.rounds):
            random.shuffle(runtimes)
            for runtime in runtimes:
                runtime.live(pause)
        runtimes.sort(key=lambda runtime: runtime.name != "kokon")
        report([runtime.cases[phase] for phase in AIMS for runtime in runtimes])
        for runtime in runtimes:
            print(f"  {runtime.name} waits for its start in {runtime.waiting} KiB")


if __name__ == "__main__":
    main()
