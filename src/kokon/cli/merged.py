"""Every module of kokon in one file: finding and opening each costs more than running it.

``kokon/__pycache__/merged.TAG`` holds what the .pyc files beside it hold, and as there an entry
counts only while its source has the size and time that are noted with it.  It is written after
the first run of somebody whose package it is; without it, nothing is different but the time.
"""

from __future__ import annotations

import os
import sys
from _frozen_importlib import ModuleSpec
from marshal import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType, ModuleType

    Entry = tuple[int, int, str, bool, int, int]

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DIRECTORY = PACKAGE + "/__pycache__"
FILE = f"{DIRECTORY}/merged.{sys.implementation.cache_tag}"
MAGIC = f"kokon merged 1 {sys.hexversion:08x}\n".encode()
"""Code is marshalled in a manner of each release (marshal, in Python's library reference)."""
DAMAGED = (OSError, ValueError, EOFError, TypeError)
"""What reading and marshal raise."""


class Merged:
    """A finder and loader for the modules in the file (the import system's words).

    :ivar complete: every module of kokon that was asked for was in it.
    """

    def __init__(self, fd: int, index: dict[str, Entry], start: int) -> None:
        self.complete = True
        self._fd = fd
        self._index = index
        self._start = start

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module with its code, or None to look for it as usual."""
        entry = self._index.get(name)
        if entry is None:
            self.complete = self.complete and not name.startswith("kokon.")
            return None
        offset, length, relative, is_package, modified, size = entry
        source = f"{PACKAGE}/{relative}"
        try:
            found = os.stat(source)
            if (found.st_mtime_ns, found.st_size) != (modified, size):
                raise ValueError
            code = loads(os.pread(self._fd, length, self._start + offset))
        except DAMAGED:
            self.complete = False
            return None
        spec = ModuleSpec(
            name,
            self,  # type: ignore[arg-type]  # a loader by its methods
            origin=source,
            loader_state=code,
            is_package=is_package,
        )
        if is_package:
            spec.submodule_search_locations = [os.path.dirname(source)]
        return spec

    def create_module(self, spec: ModuleSpec) -> None:
        """As usual."""

    def exec_module(self, module: ModuleType) -> None:
        """Runs its code."""
        spec = module.__spec__
        assert spec is not None
        module.__file__ = spec.origin
        code: CodeType = spec.loader_state
        exec(code, module.__dict__)


def use() -> Merged | None:
    """Takes modules from the file from now on, where there is one for this Python."""
    try:
        fd = os.open(FILE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    end = len(MAGIC) + 4
    head = os.read(fd, end)
    try:
        if not head.startswith(MAGIC):
            raise ValueError
        length = int.from_bytes(head[len(MAGIC) :], "little")
        index: dict[str, Entry] = loads(os.pread(fd, length, end))
    except DAMAGED:
        os.close(fd)
        return None
    merged = Merged(fd, index, end + length)
    sys.meta_path.insert(0, merged)
    return merged


def renew(merged: Merged | None) -> None:
    """Writes the file anew, if a module was not in it and the package is ours to write to."""
    if (merged and merged.complete) or sys.flags.dont_write_bytecode or sys.flags.optimize:
        return
    new = f"{FILE}.{os.getpid()}"
    try:
        if os.stat(DIRECTORY).st_uid != os.geteuid():
            return
        data = _contents()
        with open(new, "xb") as file:
            file.write(data)
        os.replace(new, FILE)
    except (OSError, SyntaxError):
        pass  # the next run tries again


def _contents() -> bytes:
    from importlib.machinery import SourceFileLoader

    index: dict[str, Entry] = {}
    parts = []
    offset = 0
    for directory, _, names in os.walk(PACKAGE):
        for name in names:
            if not name.endswith(".py"):
                continue
            source = f"{directory}/{name}"
            relative = source[len(PACKAGE) + 1 :]
            module = "kokon." + relative.removesuffix(".py").replace("/", ".")
            is_package = name == "__init__.py"
            module = module.removesuffix(".__init__")
            found = os.stat(source)
            part = dumps(SourceFileLoader(module, source).get_code(module))
            entry = (offset, len(part), relative, is_package, found.st_mtime_ns, found.st_size)
            index[module] = entry
            parts.append(part)
            offset += len(part)
    head = dumps(index)
    return b"".join((MAGIC, len(head).to_bytes(4, "little"), head, *parts))
