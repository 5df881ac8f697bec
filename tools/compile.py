"""Compile kokon's C programs: init from init/, the launcher from launcher/.

They are freestanding: no C library, so any compiler that knows Linux on the target will do. It is
`$CC` where that is set, else the machine's cc, gcc or clang, else the PyPI package ziglang, which
also compiles for the other architecture.

    python tools/compile.py [OUT]      default OUT: src/kokon/_programs
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = ("init", "launcher")
ARCHITECTURES = ("x86_64", "aarch64")

FLAGS = (
    # The language and what is an error in it
    *("-std=c11", "-Wall", "-Wextra", "-Werror"),
    # No C library, no start-up files, a fixed address: nothing has to be relocated at the start
    *("-ffreestanding", "-nostdlib", "-static", "-fno-pic", "-fno-pie", "-no-pie"),
    # Small: each page is read and mapped at every start
    *("-Os", "-ffunction-sections", "-fdata-sections", "-Wl,--gc-sections", "-s"),
    *(
        "-fno-stack-protector",
        "-fno-asynchronous-unwind-tables",
        "-fno-unwind-tables",
        "-fno-ident",
    ),
    # The same bytes from the same sources, and no executable stack
    *("-Wl,--build-id=none", "-Wl,-z,noexecstack"),
)
# GNU ld and lld pad each segment to a page of the file; zig's linker does not and refuses these.
UNPADDED = ("-Wl,-z,noseparate-code", "-Wl,-z,norelro")


class CompileError(Exception):
    """A compiler is missing, or refused the sources; the message is its last word."""


def machine_architecture() -> str:
    """The architecture of this machine, as the kernel names it."""
    return {"arm64": "aarch64", "amd64": "x86_64"}.get(platform.machine(), platform.machine())


def find_compiler() -> list[str] | None:
    """The machine's own C compiler as the head of a command, or None where there is none.

    A compiler without the kernel's headers (gcc without linux-libc-dev) does not count.
    """
    if os.environ.get("CC"):
        return shlex.split(os.environ["CC"])
    for name in ("cc", "gcc", "clang"):
        found = shutil.which(name)
        if found and _has_headers(found):
            return [found]
    return None


def zig_compiler(architecture: str) -> list[str]:
    """The compiler of the package ziglang for an architecture.

    Raises CompileError where the package is not installed.
    """
    spec = find_spec("ziglang")
    if spec is None or spec.origin is None:
        raise CompileError(
            "no C compiler was found: install gcc or clang with the kernel's headers, "
            "or the PyPI package ziglang"
        )
    # Freestanding, zig leaves out the headers of a C library and the kernel's with them.
    headers = Path(spec.origin).parent / "lib/libc/include"
    family = {"x86_64": "x86"}.get(architecture, architecture)
    return [
        *(sys.executable, "-m", "ziglang", "cc", "-target", f"{architecture}-linux-musl"),
        *("-isystem", str(headers / f"{family}-linux-any")),
        *("-isystem", str(headers / "any-linux-any")),
    ]


def programs(out: Path, arch: str | None = None, compiler: list[str] | None = None) -> list[Path]:
    """Compile every program that has sources into `out` and write `out`/digests.

    `arch` is x86_64 or aarch64, this machine's by default; another one needs ziglang, unless
    `compiler`, the head of a command, is given. digests has one line `sha256 name` per program.

    Raises CompileError.
    """
    own = machine_architecture()
    arch = arch or own
    if arch not in ARCHITECTURES:
        raise CompileError(f"kokon runs on {' and '.join(ARCHITECTURES)}, not on {arch}")
    if compiler is None and arch == own:
        compiler = find_compiler()
    if compiler is None:
        compiler = zig_compiler(arch)
    out.mkdir(parents=True, exist_ok=True)
    made = []
    for name in PROGRAMS:
        sources = sorted((ROOT / name).glob("*.c"))
        if sources:
            _compile(compiler, sources, out / name)
            made.append(out / name)
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.name}\n" for path in made]
    (out / "digests").write_text("".join(lines))
    return made


def _compile(compiler: list[str], sources: list[Path], target: Path) -> None:
    # Written beside the target and renamed: a program that is running cannot be written to.
    fresh = target.with_name(f".{target.name}.{os.getpid()}")
    linker = () if "ziglang" in compiler else UNPADDED
    command = [*compiler, *FLAGS, *linker, "-I", str(ROOT / "init")]
    try:
        subprocess.run(
            [*command, *map(str, sources), "-o", str(fresh)],
            check=True,
            stderr=subprocess.PIPE,
            text=True,
        )
        fresh.chmod(0o755)
        fresh.replace(target)
    except FileNotFoundError as error:
        raise CompileError(f"the C compiler {compiler[0]} was not found") from error
    except subprocess.CalledProcessError as error:
        raise CompileError(
            f"{compiler[0]} did not compile {target.name}:\n{error.stderr}"
        ) from error
    finally:
        fresh.unlink(missing_ok=True)


def _has_headers(compiler: str) -> bool:
    with tempfile.TemporaryDirectory() as directory:
        probe = subprocess.run(
            [compiler, "-x", "c", "-", "-fsyntax-only", "-ffreestanding"],
            input="#include <asm/unistd.h>\n#include <stdint.h>\n",
            text=True,
            cwd=directory,
            capture_output=True,
        )
    return probe.returncode == 0


def main() -> None:
    """Compile for this machine; the command line is in the module's docstring."""
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "src/kokon/_programs"
    try:
        for path in programs(out):
            print(f"{path}  {path.stat().st_size} bytes")
    except CompileError as error:
        sys.exit(f"kokon: {error}")


if __name__ == "__main__":
    main()
