"""An import goes to a strictly lower layer: one number per folder is the whole rule."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import kokon

SOURCE = Path(kokon.__file__).parent

LAYERS = {
    "errors": 0, "paths": 0,
    "kernel": 1, "spec": 1,
    "plan": 2, "security": 2,
    "cgroup": 3, "compile": 3,
    "runtime": 4, "image": 4, "storage": 4, "network": 4,
    "config": 5,
    "engine": 6,
    "api": 7, "cli": 7, "evaluate": 7,
    "aio": 8, "__main__": 8,
    "__init__": 9,
}  # fmt: skip

PURE = {"spec", "plan", "security", "compile", "config"}
EFFECTS = {"os", "socket", "_socket", "subprocess", "ctypes", "time", "threading", "select"}


def modules() -> Iterator[tuple[str, Path]]:
    for path in SOURCE.rglob("*.py"):
        yield path.relative_to(SOURCE).parts[0].removesuffix(".py"), path


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every module name that a file imports, absolute, with its line."""
    package = ("kokon", *path.relative_to(SOURCE).with_suffix("").parts)[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package[: len(package) - node.level + 1]
                base = ".".join((*parts, base) if base else parts)
            if base == "kokon":
                for alias in node.names:
                    yield f"kokon.{alias.name}", node.lineno
            else:
                yield base, node.lineno


def test_every_room_has_a_layer() -> None:
    rooms = {room for room, _ in modules()}
    assert rooms <= set(LAYERS)


def test_imports_go_down() -> None:
    wrong = []
    for room, path in modules():
        for name, line in imports(path):
            parts = name.split(".")
            if parts[0] != "kokon" or len(parts) == 1 or parts[1] == room:
                continue
            if LAYERS[parts[1]] >= LAYERS[room]:
                wrong.append(f"{path.relative_to(SOURCE)}:{line} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_pure_rooms_have_no_effects() -> None:
    wrong = []
    for room, path in modules():
        if room in PURE:
            for name, line in imports(path):
                if name.split(".")[0] in EFFECTS:
                    wrong.append(f"{path.relative_to(SOURCE)}:{line} imports {name}")
    assert not wrong, "\n".join(wrong)
