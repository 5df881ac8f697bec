"""The build: what tools/compile.py makes of the C sources, and what the wheel holds."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import stat
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
MACHINES = {"x86_64": 62, "aarch64": 183}  # e_machine, <linux/elf-em.h>
PT_INTERP, PT_GNU_STACK, PF_X = 3, 0x6474E551, 1  # elf(5)

needs_ziglang = pytest.mark.skipif(
    importlib.util.find_spec("ziglang") is None, reason="the package ziglang is not installed"
)


def load(path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of a file that is in no package, with nothing left in sys.path."""
    monkeypatch.setattr(sys, "path", [str(ROOT / "tools"), *sys.path])
    spec = importlib.util.spec_from_file_location(f"{path.stem}_of_the_build", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.delenv("CC", raising=False)
    return load(ROOT / "tools/compile.py", monkeypatch)


@pytest.fixture
def sources(tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source tree in place of ours: an init that exits with 7, no launcher."""
    tree = tmp_path / "tree"
    (tree / "init").mkdir(parents=True)
    (tree / "init/system.h").write_bytes((ROOT / "init/system.h").read_bytes())
    (tree / "init/main.c").write_text(
        '#include "system.h"\nPROGRAM_START(begin);\n'
        "void begin(long *stack) { exit_group(stack[0] == 1 ? 7 : 8); }\n"
    )
    monkeypatch.setattr(tool, "ROOT", tree)
    return tree


def needs_compiler(tool: ModuleType) -> None:
    if not tool.find_compiler() and importlib.util.find_spec("ziglang") is None:
        pytest.skip("no C compiler and no package ziglang")


def assert_static(program: Path, arch: str) -> None:
    """A little-endian 64-bit executable for `arch`, no loader asked for, no executable stack."""
    data = program.read_bytes()
    assert data[:6] == b"\x7fELF\x02\x01"
    kind, machine = struct.unpack_from("<HH", data, 16)
    assert (kind, machine) == (2, MACHINES[arch])
    (offset,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    headers = [struct.unpack_from("<II", data, offset + size * i) for i in range(count)]
    assert PT_INTERP not in [kind for kind, _ in headers]
    assert [flags & PF_X for kind, flags in headers if kind == PT_GNU_STACK] == [0]


def test_programs(tool: ModuleType, tmp_path: Path) -> None:
    needs_compiler(tool)
    made = tool.programs(tmp_path)
    lines = (tmp_path / "digests").read_text().splitlines()
    for path, line in zip(made, lines, strict=True):
        assert_static(path, tool.machine_architecture())
        assert stat.S_IMODE(path.stat().st_mode) == 0o755
        assert line == f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.name}"
    assert [path.name for path in made] == ["init", "launcher"]
    assert sorted(os.listdir(tmp_path)) == ["digests", "init", "launcher"]
    # Only init enters a container, and each of its pages is read at every start.
    assert (tmp_path / "init").stat().st_size < 32 << 10
    assert (tmp_path / "launcher").stat().st_size < 24 << 10


@needs_ziglang
@pytest.mark.parametrize("arch", ["x86_64", "aarch64"])
def test_ziglang_compiles_for_both_architectures(
    tool: ModuleType, tmp_path: Path, arch: str
) -> None:
    for path in tool.programs(tmp_path, arch, tool.zig_compiler(arch)):
        assert_static(path, arch)
        assert path.stat().st_size < 32 << 10


def test_small_and_the_same_each_time(tool: ModuleType, sources: Path, tmp_path: Path) -> None:
    needs_compiler(tool)
    for out in ("one", "two"):
        assert tool.programs(tmp_path / out) == [tmp_path / out / "init"]
    one, two = (tmp_path / out / "init" for out in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    assert one.stat().st_size < 1024
    assert subprocess.run([one]).returncode == 7


def test_a_running_program_is_replaced(tool: ModuleType, sources: Path, tmp_path: Path) -> None:
    needs_compiler(tool)
    (sources / "init/main.c").write_text(
        '#include "system.h"\nPROGRAM_START(begin);\n'
        "void begin(long *stack) { syscall3(__NR_read, 0, stack, 1); exit_group(0); }\n"
    )
    (program,) = tool.programs(tmp_path / "out")
    with subprocess.Popen([program], stdin=subprocess.PIPE):
        tool.programs(tmp_path / "out")


def test_what_the_compiler_says(tool: ModuleType, sources: Path, tmp_path: Path) -> None:
    needs_compiler(tool)
    out = tmp_path / "out"
    tool.programs(out)
    before = (out / "init").read_bytes()
    (sources / "init/main.c").write_text("int unfinished(void) { int unused; return 0 }\n")
    with pytest.raises(tool.CompileError, match=r"did not compile init:\n(.*\n)*.*main\.c:1:"):
        tool.programs(out)
    assert (out / "init").read_bytes() == before
    assert sorted(os.listdir(out)) == ["digests", "init"]


def test_a_warning_is_an_error(tool: ModuleType, sources: Path, tmp_path: Path) -> None:
    needs_compiler(tool)
    with (sources / "init/main.c").open("a") as file:
        file.write("static void unused(void) {}\n")
    with pytest.raises(tool.CompileError, match="unused"):
        tool.programs(tmp_path / "out")


def test_compiler_of_the_environment(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", "/no/such/compiler -m64")
    assert tool.find_compiler() == ["/no/such/compiler", "-m64"]
    with pytest.raises(tool.CompileError, match="the C compiler /no/such/compiler was not found"):
        tool.programs(tmp_path)


def test_compiler_without_headers_does_not_count(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gcc").write_text("#!/bin/sh\necho asm/unistd.h: No such file >&2\nexit 1\n")
    (tmp_path / "gcc").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert tool.find_compiler() is None


def test_no_compiler_at_all(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(tool, "find_spec", lambda name: None)
    with pytest.raises(tool.CompileError, match="no C compiler was found: install gcc or clang"):
        tool.programs(tmp_path)


def test_other_architecture(tool: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(tool.CompileError, match="runs on x86_64 and aarch64, not on riscv64"):
        tool.programs(tmp_path, "riscv64")


def test_hook_asks_for_ziglang_only_where_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("hatchling", reason="the package hatchling is not installed")
    build = load(ROOT / "hatch_build.py", monkeypatch)
    metadata, target = None, "wheel"
    hook = build.ProgramsHook(str(ROOT), {}, None, metadata, str(tmp_path), target)
    monkeypatch.delenv("KOKON_TARGET_ARCH", raising=False)
    monkeypatch.setenv("CC", "any")
    assert hook.dependencies() == []
    other = {"x86_64": "aarch64"}.get(platform.machine(), "x86_64")
    monkeypatch.setenv("KOKON_TARGET_ARCH", other)
    assert [word.split(">")[0] for word in hook.dependencies()] == ["ziglang"]
    monkeypatch.delenv("KOKON_TARGET_ARCH")
    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [word.split(">")[0] for word in hook.dependencies()] == ["ziglang"]


def test_wheel_of_the_source_distribution(tool: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="the package hatchling is not installed")
    needs_compiler(tool)
    build = [sys.executable, "-m", "hatchling", "build", "-d", str(tmp_path)]
    subprocess.run([*build, "-t", "sdist"], cwd=ROOT, check=True, capture_output=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    (tmp_path / "source").mkdir()
    subprocess.run(["tar", "-xf", archive, "-C", tmp_path / "source"], check=True)
    (tree,) = (tmp_path / "source").iterdir()
    assert not (tree / "src/kokon/_programs").exists()
    subprocess.run([*build, "-t", "wheel"], cwd=tree, check=True, capture_output=True)

    arch = tool.machine_architecture()
    (wheel,) = tmp_path.glob(f"*-py3-none-manylinux_2_17_{arch}.musllinux_1_1_{arch}.whl")
    with zipfile.ZipFile(wheel) as content:
        modes = {item.filename: item.external_attr >> 16 & 0o777 for item in content.infolist()}
        scripts = {n.split("/", 1)[1]: n for n in modes if ".data/" in n}
        assert sorted(scripts) == ["scripts/kokon", "scripts/kokon-runtime"]
        launcher = content.read("kokon/_programs/launcher")
        for name in scripts.values():
            assert (content.read(name), modes[name]) == (launcher, 0o755)
        assert modes["kokon/_programs/init"] == 0o755
        lines = content.read("kokon/_programs/digests").decode().splitlines()
        for digest, name in map(str.split, lines):
            assert hashlib.sha256(content.read(f"kokon/_programs/{name}")).hexdigest() == digest
        assert "kokon/py.typed" in modes
