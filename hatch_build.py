"""The build hook: the C programs go into the wheel, the launcher as the commands themselves.

A wheel's data/scripts directory is copied into bin/ as it is. There `kokon` and `kokon-runtime` are
the launcher, in place of the scripts that pip would write for entry points. An editable install
has the programs in src/kokon/_programs, where `make build` renews them.

`KOKON_TARGET_ARCH` (x86_64 or aarch64) builds the wheel for another architecture.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).resolve().parent / "tools"))
from compile import ROOT, find_compiler, machine_architecture, programs

COMMANDS = ("kokon", "kokon-runtime")


class ProgramsHook(BuildHookInterface[Any]):
    """Compiles for each wheel and tags it with the platforms that the programs run on."""

    def dependencies(self) -> list[str]:
        """Ask for ziglang where the machine has no compiler for the target, otherwise nothing."""
        own = target_architecture() == machine_architecture()
        return [] if own and find_compiler() else ["ziglang>=0.13"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and name the files to hatchling; `version` is standard or editable."""
        arch = target_architecture()
        self.scratch = TemporaryDirectory()  # removed with the hook, after the wheel is written
        scratch = Path(self.scratch.name)
        editable = version == "editable"
        out = ROOT / "src/kokon/_programs" if editable else scratch / "programs"
        programs(out, arch)
        if not editable:
            for path in out.iterdir():
                build_data["force_include"][str(path)] = f"kokon/_programs/{path.name}"
        for name in COMMANDS:
            shutil.copy(out / "launcher", scratch / name)
            build_data["shared_scripts"][str(scratch / name)] = name
        # Freestanding programs ask nothing of a C library: any glibc or musl will do.
        build_data["tag"] = f"py3-none-manylinux_2_17_{arch}.musllinux_1_1_{arch}"
        build_data["pure_python"] = False


def target_architecture() -> str:
    """The architecture that the wheel is for."""
    return os.environ.get("KOKON_TARGET_ARCH") or machine_architecture()
