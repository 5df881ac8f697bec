"""What the benchmarks stand on: a root file system, and the floor compiled as init is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from kokon.kernel.capabilities import DEFAULT_MASK
from kokon.security.seccomp import default_program

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT / "tools"))
from compile import FLAGS, UNPADDED, find_compiler  # noqa: E402

__all__ = ["PROJECT", "find_compiler", "make_floor", "make_root"]


def make_root(directory: Path, compiler: list[str]) -> Path:
    """A root that has what kokon mounts on, and a static /bin/true."""
    root = directory / "root"
    for name in ("bin", "etc", "proc", "sys", "dev", "tmp"):
        (root / name).mkdir(parents=True)
    for name in ("hosts", "hostname", "resolv.conf"):
        (root / "etc" / name).touch()
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    source = directory / "true.c"
    source.write_text("int main(void) { return 0; }\n")
    subprocess.run([*compiler, "-static", "-O2", source, "-o", root / "bin/true"], check=True)
    return root


def make_floor(directory: Path, compiler: list[str]) -> list[str]:
    """Compiles floor.c and returns the head of its command."""
    source, program, filter_ = PROJECT / "benchmarks/floor.c", directory / "floor", directory / "f"
    linker = () if "ziglang" in compiler else UNPADDED
    headers = ("-I", str(PROJECT / "init"))
    subprocess.run([*compiler, *FLAGS, *linker, *headers, source, "-o", program], check=True)
    filter_.write_bytes(default_program(os.uname().machine, DEFAULT_MASK))
    return [str(program), str(directory / "root"), str(filter_), "/bin/true"]
