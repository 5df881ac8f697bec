"""The ELF and ld.so.cache readers against files made here and against the running interpreter."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from kokon.storage import elf
from kokon.storage.dynamic_loader import DynamicLoader

X86_64, AARCH64 = 62, 183
ADDRESS = 0x400000


def make_elf(
    path: Path,
    *needed: str,
    rpath: str = "",
    runpath: str = "",
    interpreter: str = "",
    machine: int = X86_64,
) -> str:
    """Write the smallest ELF file with a dynamic section, loaded at ADDRESS; return its path."""
    strings = b"\0"
    entries = []
    for tag, text in [
        *((elf.DT_NEEDED, name) for name in needed),
        *((elf.DT_RPATH, rpath) for _ in range(bool(rpath))),
        *((elf.DT_RUNPATH, runpath) for _ in range(bool(runpath))),
    ]:
        entries.append((tag, len(strings)))
        strings += text.encode() + b"\0"
    header = 64 + 3 * 56
    interpreter_at = header
    strings_at = interpreter_at + len(interpreter) + 1
    dynamic_at = -(-(strings_at + len(strings)) // 8) * 8
    entries += [(elf.DT_STRTAB, ADDRESS + strings_at), (elf.DT_STRSZ, len(strings)), (0, 0)]
    dynamic = b"".join(struct.pack("<QQ", *entry) for entry in entries)
    size = dynamic_at + len(dynamic)

    def segment(kind: int, offset: int, length: int) -> bytes:
        return struct.pack(
            "<IIQQQQQQ", kind, 4, offset, ADDRESS + offset, ADDRESS + offset, length, length, 8
        )

    data = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    data += struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 64, 0, 0, 64, 56, 3, 0, 0, 0)
    data += segment(elf.PT_LOAD, 0, size)
    data += segment(elf.PT_INTERP, interpreter_at, len(interpreter) + 1 if interpreter else 0)
    data += segment(elf.PT_DYNAMIC, dynamic_at, len(dynamic))
    data += interpreter.encode() + b"\0" + strings
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.ljust(dynamic_at, b"\0") + dynamic)
    return str(path)


def make_cache(path: Path, entries: list[tuple[str, str, int]], *, old: bool = False) -> None:
    """Write an ld.so.cache of (name, path, hwcap)."""
    table, strings = b"", b""
    start = 48 + 24 * len(entries)
    for name, library, hwcap in entries:
        at = start + len(strings)
        strings += name.encode() + b"\0" + library.encode() + b"\0"
        table += struct.pack("<iIIIQ", 0x303, at, at + len(name) + 1, 0, hwcap)
    data = elf.CACHE_MAGIC + struct.pack("<IIIIIII", len(entries), len(strings), 0, 0, 0, 0, 0)
    data += table + strings
    if old:
        data = (elf.OLD_CACHE_MAGIC + b"\0" + struct.pack("<I", 1) + bytes(12)).ljust(
            32, b"\0"
        ) + data
    path.write_bytes(data)


def test_every_field_is_read(tmp_path: Path) -> None:
    path = make_elf(
        tmp_path / "a", "libone.so.1", "libtwo.so", rpath="/r:$ORIGIN", runpath="/u",
        interpreter="/lib/ld.so", machine=AARCH64,
    )  # fmt: skip
    file = elf.read(path)
    assert file is not None
    assert (file.machine, file.interpreter) == (AARCH64, "/lib/ld.so")
    assert file.needed == ("libone.so.1", "libtwo.so")
    assert (file.rpath, file.runpath) == (("/r", "$ORIGIN"), ("/u",))


def test_damaged_files_are_no_elf_files(tmp_path: Path) -> None:
    whole = Path(make_elf(tmp_path / "a", "libone.so", runpath="/x", interpreter="/i")).read_bytes()
    victim = tmp_path / "b"
    for length in range(len(whole)):
        victim.write_bytes(whole[:length])
        elf.read(str(victim))  # must not raise
    for position in range(4, len(whole)):
        victim.write_bytes(whole[:position] + b"\xff" * 8 + whole[position + 8 :])
        elf.read(str(victim))
    victim.write_bytes(whole[:100])
    assert elf.read(str(victim)) is None
    assert elf.read(str(tmp_path / "missing")) is None
    assert elf.read(str(tmp_path)) is None


def test_fifo_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "lib.so")
    assert elf.read(str(tmp_path / "lib.so")) is None


@pytest.mark.parametrize("old", [False, True])
def test_cache_lists_the_baseline_first(tmp_path: Path, old: bool) -> None:
    entries = [("liba.so", "/v3/liba.so", 1 << 62), ("liba.so", "/lib/liba.so", 0)]
    make_cache(tmp_path / "ld.so.cache", [*entries, ("libb.so", "/lib/libb.so", 0)], old=old)
    data = (tmp_path / "ld.so.cache").read_bytes()
    assert elf.parse_cache(data) == {
        "liba.so": ("/lib/liba.so", "/v3/liba.so"),
        "libb.so": ("/lib/libb.so",),
    }
    for length in range(len(data)):
        elf.parse_cache(data[:length])  # must not raise
    assert elf.parse_cache(b"something else") == {}


def loader(tmp_path: Path, program: str, *library_path: str) -> DynamicLoader:
    return DynamicLoader(program, library_path, etc=str(tmp_path))


def test_runpath_is_not_inherited_and_rpath_is(tmp_path: Path) -> None:
    make_elf(tmp_path / "lib/liba.so", "libb.so")
    b = make_elf(tmp_path / "lib/libb.so")
    a = str(tmp_path / "lib/liba.so")
    program = make_elf(tmp_path / "bin/p", "liba.so", runpath="$ORIGIN/../lib")
    assert loader(tmp_path, program).closure([program]) == [a]
    program = make_elf(tmp_path / "bin/p", "liba.so", rpath="${ORIGIN}/../lib")
    assert loader(tmp_path, program).closure([program]) == [a, b]
    # An RPATH beside a RUNPATH does not count.
    program = make_elf(tmp_path / "bin/p", "liba.so", rpath="$ORIGIN/../lib", runpath="/nowhere")
    assert loader(tmp_path, program).closure([program]) == []


def test_other_architectures_are_passed_over(tmp_path: Path) -> None:
    other = make_elf(tmp_path / "32/liba.so", machine=AARCH64)
    right = make_elf(tmp_path / "64/liba.so")
    make_cache(tmp_path / "ld.so.cache", [("liba.so", other, 0), ("liba.so", right, 0)])
    program = make_elf(tmp_path / "p", "liba.so", "libmissing.so")
    assert loader(tmp_path, program).closure([program]) == [right]
    assert str(tmp_path / "64") in loader(tmp_path, program).library_directories()


def test_musl_searches_its_path_file_and_inherits_every_path(tmp_path: Path) -> None:
    interpreter = make_elf(tmp_path / "lib/ld-musl-x86_64.so.1")
    a = make_elf(tmp_path / "own/liba.so", "libb.so", "libc.so")
    b = make_elf(tmp_path / "own/libb.so", "libs.so")
    s = make_elf(tmp_path / "system/libs.so")
    (tmp_path / "ld-musl-x86_64.path").write_text(f"/nowhere:{tmp_path}/system\n")
    program = make_elf(
        tmp_path / "bin/p", "liba.so", runpath="$ORIGIN/../own", interpreter=interpreter
    )
    found = loader(tmp_path, program)
    assert found.closure([program]) == [interpreter, a, b, s]
    assert found.closure([], ("libs.so", "libnone.so")) == [interpreter, s]
    assert found.configuration == f"{tmp_path}/ld-musl-x86_64.path"


def test_library_path_is_the_last_resort_and_reported(tmp_path: Path) -> None:
    a = make_elf(tmp_path / "extra/liba.so")
    program = make_elf(tmp_path / "p", "liba.so")
    found = loader(tmp_path, program, f"{tmp_path}/unused", f"{tmp_path}/extra")
    assert found.closure([program]) == [a]
    assert found.used_library_path == [f"{tmp_path}/extra"]


def test_closure_holds_what_the_real_loader_maps() -> None:
    """Oracle: the libraries that a Python with every extension module has mapped."""
    program = os.path.realpath(sys.executable)
    code = """if True:
        import os, sys
        directory = os.path.dirname(__import__("_ctypes").__file__)
        print(directory)
        for name in os.listdir(directory):
            try:
                __import__(name.partition(".")[0])
            except ImportError:
                pass
        lines = [line.split(maxsplit=5) for line in open("/proc/self/maps")]
        print(*{line[5].strip() for line in lines if ".so" in line[-1]}, sep="\\n")
    """
    out = subprocess.run([program, "-I", "-c", code], capture_output=True, text=True, check=True)
    directory, *mapped = out.stdout.splitlines()
    extensions = [entry.path for entry in os.scandir(directory) if entry.name.endswith(".so")]
    closure = DynamicLoader(program).closure([program, *extensions])
    visible = {os.path.realpath(path) for path in (*closure, *extensions)}
    assert len(mapped) > 3
    assert set(mapped) <= visible
