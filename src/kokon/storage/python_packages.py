"""The packages that the running interpreter can import, for ``@python`` with ``packages=True``.

Source: the documentation of Python's ``site`` module, PEP 405 (virtual environments).  Nothing is
imported to find them: kokon's own commands run without ``site``.
"""

from __future__ import annotations

import os
import sys

from kokon.compile.process import DEFAULT_PATH
from kokon.storage.assembler import Assembler
from kokon.storage.dynamic_loader import read_bytes
from kokon.storage.interpreter import (
    package_directories,
    site_directories,
    user_base,
    user_site,
    virtual_environment,
)

WHY = "packages of the caller's Python"


def show_packages(assembler: Assembler) -> dict[str, str]:
    """Show the environment's packages at their own paths.

    A virtual environment becomes one in the container too: its ``bin`` comes first in PATH, so
    ``python3`` is its interpreter and reads its .pth files as on this machine.

    :returns: the variables that the interpreter needs to find them.
    """
    environment: dict[str, str] = {}
    venv, system = virtual_environment()
    if venv:
        assembler.show(f"{venv}/bin", "the virtual environment's programs")
        assembler.show(f"{venv}/pyvenv.cfg", "the virtual environment", copy=True)
        assembler.show(sys.executable, "the virtual environment's interpreter")
        environment = {"VIRTUAL_ENV": venv, "PATH": f"{venv}/bin:{DEFAULT_PATH}"}
    if not system:
        assembler.hide(site_directories())
    elif os.path.isdir(user_site()):
        environment["PYTHONUSERBASE"] = user_base()
    for site in package_directories():
        if assembler.show(site, WHY):
            for path in path_files(site):
                assembler.show(path, "named by a .pth file of the caller's Python")
    return environment


def path_files(site: str) -> list[str]:
    """The directories and files outside of ``site`` that its .pth files lead to.

    Lines are directories; a line that imports an ``__editable__`` finder of setuptools stands for
    the mapping in it.  Other code in .pth files is not looked into.
    """
    found: list[str] = []
    for name in sorted(os.listdir(site)):
        if not name.endswith(".pth") or name.startswith("."):
            continue
        for line in read_bytes(f"{site}/{name}").decode("utf-8", "surrogateescape").splitlines():
            line = line.strip()
            if line.startswith("import __editable__"):
                module = line.removeprefix("import").partition(";")[0].strip()
                found += editable_mapping(f"{site}/{module}.py")
            elif line and not line.startswith(("#", "import ", "import\t")):
                found.append(os.path.normpath(os.path.join(site, line)))
    return [path for path in found if os.path.exists(path)]


def editable_mapping(path: str) -> list[str]:
    """What setuptools' finder at ``path`` maps package names to."""
    import ast

    for line in read_bytes(path).decode("utf-8", "surrogateescape").splitlines():
        if line.startswith("MAPPING"):
            try:
                mapping = ast.literal_eval(line.partition("=")[2].strip())
                return [str(value) for value in mapping.values()]
            except (ValueError, SyntaxError, AttributeError):
                return []
    return []
