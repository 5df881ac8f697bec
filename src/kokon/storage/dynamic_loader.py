"""Where the dynamic loader would find libraries, found out by reading files.

Sources: ld.so(8) for glibc; musl's ldso/dynlink.c for the order in which musl looks.
"""

from __future__ import annotations

import os

from kokon.storage import elf

MULTIARCH = {62: "x86_64-linux-gnu", 183: "aarch64-linux-gnu"}
"""Debian's name for the architecture of each ``e_machine``."""


class DynamicLoader:
    """One process's view of the libraries of this machine.

    :param program: the ELF program that would run, without links in its path (``$ORIGIN`` of a
        program comes from ``/proc/self/exe``).
    :param library_path: what LD_LIBRARY_PATH holds.  It is searched last: a directory is in
        ``used_library_path`` when a library was found nowhere else.
    :param etc: the directory with ``ld.so.cache`` or musl's path file.
    """

    def __init__(
        self, program: str, library_path: tuple[str, ...] = (), *, etc: str = "/etc"
    ) -> None:
        self.program = program
        self.library_path = library_path
        self.used_library_path: list[str] = []
        self.files: dict[str, elf.ElfFile | None] = {}
        file = self.read(program)
        self.machine = file.machine if file else 0
        self.interpreter = file.interpreter if file else ""
        self.musl = "/ld-musl-" in self.interpreter
        self.configuration = f"{etc}/ld.so.cache"
        self.cache: dict[str, tuple[str, ...]] = {}
        if self.musl:
            architecture = self.interpreter.rpartition("/ld-musl-")[2].partition(".")[0]
            self.configuration = f"{etc}/ld-musl-{architecture}.path"
            listed = read_bytes(self.configuration).decode("utf-8", "surrogateescape")
            entries = listed.replace("\n", ":").split(":")
            self.directories = [entry for entry in entries if entry.startswith("/")]
            self.directories = self.directories or ["/lib", "/usr/local/lib", "/usr/lib"]
        else:
            self.cache = elf.parse_cache(read_bytes(self.configuration))
            self.directories = ["/lib64", "/usr/lib64", "/lib", "/usr/lib"]
            if triplet := MULTIARCH.get(self.machine):
                self.directories[:0] = [f"/lib/{triplet}", f"/usr/lib/{triplet}"]
            # A glibc built for a prefix of its own (Nix, Guix) searches there.
            self.directories.append(os.path.dirname(self.interpreter) or "/lib")

    def read(self, path: str) -> elf.ElfFile | None:
        """:func:`kokon.storage.elf.read`, once for each path."""
        if path not in self.files:
            self.files[path] = elf.read(path)
        return self.files[path]

    def library_directories(self) -> set[str]:
        """The directories that are searched for every program: they are there for libraries."""
        found = {path.rpartition("/")[0] for paths in self.cache.values() for path in paths}
        return found.union(self.directories)

    def closure(self, paths: list[str], names: tuple[str, ...] = ()) -> list[str]:
        """The interpreter and every library that these files need, under the names they open.

        :param paths: programs and libraries.
        :param names: libraries that the C library loads by itself, such as ``libgcc_s.so.1``.
        :returns: absolute paths, each once.  What is found nowhere is left out: the file that
            needs it cannot be loaded on this machine either.
        """
        found = [self.interpreter] if self.interpreter else []
        found += [path for name in names if (path := self.search(name, ()))]
        program = self.read(self.program)
        outermost = self.expand(self.program, program.rpath) if program else ()
        # A library is looked up in the RPATH of all that led to it, unless one has a RUNPATH.
        queue = [(path, outermost) for path in (*paths, *found)]
        known: dict[tuple[str, tuple[str, ...]], str] = {}
        for path, inherited in queue:
            file = self.read(path)
            if file is None:
                continue
            rpath = (*self.expand(path, file.rpath), *inherited)
            runpath = self.expand(path, file.runpath)
            if self.musl:  # it makes no difference between the two
                rpath = (*runpath, *rpath)
            places = rpath if self.musl else runpath or rpath
            for name in file.needed:
                if (name, places) in known:
                    continue
                library = known[name, places] = self.search(name, places)
                if library and library not in found:
                    found.append(library)
                    queue.append((library, rpath))
        return found

    def search(self, name: str, places: tuple[str, ...]) -> str:
        """The path of a library, or an empty string."""
        if "/" in name:
            return name if self.fits(name) else ""
        for path in (
            *(f"{place}/{name}" for place in places),
            *self.cache.get(name, ()),
            *(f"{directory}/{name}" for directory in self.directories),
        ):
            if self.fits(path):
                return path
        for directory in self.library_path:
            if self.fits(f"{directory}/{name}"):
                self.used_library_path.append(directory)
                return f"{directory}/{name}"
        return ""

    def fits(self, path: str) -> bool:
        """Whether the file is there and for this architecture."""
        file = self.read(path)
        return file is not None and file.machine == self.machine

    def expand(self, path: str, entries: tuple[str, ...]) -> tuple[str, ...]:
        """The directories of an RPATH or RUNPATH of ``path``; ``$LIB`` and others are left out."""
        origin = os.path.dirname(path)
        expanded = [e.replace("${ORIGIN}", origin).replace("$ORIGIN", origin) for e in entries]
        return tuple(os.path.normpath(e) for e in expanded if e.startswith("/") and "$" not in e)


def read_bytes(path: str) -> bytes:
    """The content of a file, or nothing."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""
