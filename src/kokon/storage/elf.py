"""What the dynamic loader would read in an ELF file and in ``/etc/ld.so.cache``: files are read,
nothing is executed.

Sources: elf(5); the System V ABI, chapters 4 and 5; ld.so.cache as glibc's ldconfig writes it.
Little-endian 64-bit files, which covers x86-64 and aarch64.
"""

from __future__ import annotations

import os

PT_LOAD, PT_DYNAMIC, PT_INTERP = 1, 2, 3
DT_NEEDED, DT_STRTAB, DT_STRSZ, DT_RPATH, DT_RUNPATH = 1, 5, 10, 15, 29

MAX_PROGRAM_HEADERS = 512
MAX_DYNAMIC = 1 << 16
MAX_STRINGS = 1 << 24
"""Bounds on what one damaged file may make us read, in bytes (headers: in entries)."""


class ElfFile:
    """The part of an ELF file that says which other files it needs.

    :param machine: ``e_machine`` (62 is x86-64, 183 is aarch64).
    :param interpreter: PT_INTERP, or an empty string.
    :param needed: the DT_NEEDED names in order.
    :param rpath: DT_RPATH, still with ``$ORIGIN``.
    :param runpath: DT_RUNPATH, likewise.
    """

    __slots__ = ("interpreter", "machine", "needed", "rpath", "runpath")

    def __init__(
        self,
        machine: int,
        interpreter: str = "",
        needed: tuple[str, ...] = (),
        rpath: tuple[str, ...] = (),
        runpath: tuple[str, ...] = (),
    ) -> None:
        self.machine = machine
        self.interpreter = interpreter
        self.needed = needed
        self.rpath = rpath
        self.runpath = runpath


def read(path: str) -> ElfFile | None:
    """Read one file; None when it is missing, unreadable, damaged or no 64-bit ELF file."""
    try:
        # A FIFO in the place of a library must not make us wait.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        return parse(descriptor)
    except (OSError, ValueError, OverflowError):
        return None
    finally:
        os.close(descriptor)


def parse(descriptor: int) -> ElfFile | None:
    """Read an open file.

    :raises ValueError, OverflowError: an offset or size in it leads outside the file.
    """
    head = os.pread(descriptor, 4096, 0)
    if len(head) < 64 or head[:6] != b"\x7fELF\x02\x01":
        return None
    table = int.from_bytes(head[32:40], "little")
    size, count = (int.from_bytes(head[i : i + 2], "little") for i in (54, 56))
    if size != 56 or count > MAX_PROGRAM_HEADERS:
        return None
    headers = head[table : table + size * count]
    if len(headers) < size * count:
        headers = os.pread(descriptor, size * count, table)
    if len(headers) < size * count:
        return None
    words = memoryview(headers).cast("Q")

    # Of each header: type, offset in the file, address in memory, size in the file.
    segments = [
        (words[i] & 0xFFFFFFFF, words[i + 1], words[i + 2], words[i + 4])
        for i in range(0, len(words), 7)
    ]
    interpreter = dynamic = b""
    for kind, offset, _, length in segments:
        if kind == PT_INTERP and length <= 4096:
            interpreter = os.pread(descriptor, length, offset).rstrip(b"\0")
        elif kind == PT_DYNAMIC and length <= MAX_DYNAMIC:
            dynamic = os.pread(descriptor, length // 16 * 16, offset)
    machine = int.from_bytes(head[18:20], "little")
    file = ElfFile(machine, os.fsdecode(interpreter))
    if dynamic and len(dynamic) % 16 == 0:
        read_dynamic(descriptor, memoryview(dynamic).cast("Q"), segments, file)
    return file


def read_dynamic(
    descriptor: int,
    words: memoryview[int],
    segments: list[tuple[int, int, int, int]],
    file: ElfFile,
) -> None:
    """Fill in what the dynamic section says: pairs of a tag and a value, up to tag 0."""
    entries: list[tuple[int, int]] = []
    for i in range(0, len(words), 2):
        if words[i] == 0:
            break
        entries.append((words[i], words[i + 1]))
    single = dict(entries)
    if DT_STRTAB not in single:
        return
    length = single.get(DT_STRSZ, 0)
    if length > MAX_STRINGS:
        raise ValueError("string table too large")
    strings = os.pread(descriptor, length, file_offset(segments, single[DT_STRTAB]))

    def text(position: int) -> str:
        return os.fsdecode(strings[position : strings.index(b"\0", position)])

    file.needed = tuple(text(value) for tag, value in entries if tag == DT_NEEDED)
    if DT_RPATH in single:
        file.rpath = tuple(text(single[DT_RPATH]).split(":"))
    if DT_RUNPATH in single:
        file.runpath = tuple(text(single[DT_RUNPATH]).split(":"))


def file_offset(segments: list[tuple[int, int, int, int]], address: int) -> int:
    """Where in the file an address of memory comes from.

    :raises ValueError: no loaded segment holds it.
    """
    for kind, offset, start, length in segments:
        if kind == PT_LOAD and start <= address < start + length:
            return offset + address - start
    raise ValueError("address outside the loaded segments")


CACHE_MAGIC = b"glibc-ld.so.cache1.1"
OLD_CACHE_MAGIC = b"ld.so-1.7.0"


def parse_cache(data: bytes) -> dict[str, tuple[str, ...]]:
    """The paths of each library name in ``/etc/ld.so.cache``, in ldconfig's order.

    Variants for better processors come after those that run on each.  Several architectures lie
    side by side: the reader tells them apart by opening them.  Damaged or foreign data give less
    or nothing, as the dynamic loader also goes on without a cache.
    """
    start = 0
    if data.startswith(OLD_CACHE_MAGIC):
        # The older table has 12 bytes an entry; the newer one follows it, aligned to 8.
        start = (16 + 12 * int.from_bytes(data[12:16], "little") + 7) & ~7
    if data[start : start + 20] != CACHE_MAGIC:
        return {}
    count = int.from_bytes(data[start + 20 : start + 24], "little")
    table = data[start + 48 : start + 48 + 24 * count]
    # Of each entry: flags, offset of the name, offset of the path, kernel version, 64-bit hwcap.
    words = memoryview(table[: len(table) // 24 * 24]).cast("I")
    paths: dict[str, tuple[str, ...]] = {}
    variants: dict[str, tuple[str, ...]] = {}
    for i in range(0, len(words), 6):
        name, path = start + words[i + 1], start + words[i + 2]
        name_end, path_end = data.find(b"\0", name), data.find(b"\0", path)
        if name_end < 0 or path_end < 0:
            continue
        known = variants if words[i + 4] or words[i + 5] else paths
        key = os.fsdecode(data[name:name_end])
        known[key] = (*known.get(key, ()), os.fsdecode(data[path:path_end]))
    for key, more in variants.items():
        paths[key] = paths.get(key, ()) + more
    return paths
