"""Where the parts of the running Python lie on this machine.

Sources: the documentation of ``sys``, ``site`` and ``sysconfig``, PEP 405.  The ``site`` module
is not asked: kokon's own commands run without it, and must find the same.
"""

from __future__ import annotations

import os
import sys


def base_executable() -> str:
    """The interpreter itself where a virtual environment stands before it; may be empty."""
    return getattr(sys, "_base_executable", "") or sys.executable


def standard_library() -> tuple[str, str]:
    """The directory of the standard library and that of its extension modules.

    The first is an empty string in a program that carries its library within itself.
    """
    library = os.path.dirname(getattr(os, "__file__", ""))
    version = os.path.basename(library)
    return library, f"{sys.base_exec_prefix}/{sys.platlibdir}/{version}/lib-dynload"


def site_directories() -> list[str]:
    """Every directory in which packages of the base interpreter are installed."""
    library = standard_library()[0]
    found = [f"{library}/site-packages"]
    for prefix in (sys.base_prefix, sys.base_exec_prefix):
        for lib in ("lib", "lib64", "local/lib", "local/lib64"):
            for version in (os.path.basename(library), "python3"):
                base = f"{prefix}/{lib}/{version}"
                found += [f"{base}/site-packages", f"{base}/dist-packages"]
    return [path for path in dict.fromkeys(found) if os.path.isdir(path)]


def virtual_environment() -> tuple[str, bool]:
    """The virtual environment we run in, or an empty string; whether the system's packages count.

    Python finds it by ``pyvenv.cfg`` beside the interpreter or one directory above.
    """
    directory = os.path.dirname(sys.executable)
    for place in (directory, os.path.dirname(directory)):
        try:
            with open(f"{place}/pyvenv.cfg", encoding="utf-8") as file:
                lines = file.read().lower().splitlines()
        except (OSError, ValueError):
            continue
        settings = [tuple(word.strip() for word in line.partition("=")) for line in lines]
        return place, ("include-system-site-packages", "=", "true") in settings
    return "", True


def package_directories() -> list[str]:
    """The directories in which packages are installed that the running interpreter imports."""
    venv, system = virtual_environment()
    version = os.path.basename(standard_library()[0])
    found = [f"{venv}/{lib}/{version}/site-packages" for lib in ("lib", "lib64") if venv]
    if system:
        found += [*site_directories(), user_site()]
    return [path for path in found if os.path.isdir(path)]


def user_base() -> str:
    """The directory of what ``pip install --user`` installs."""
    return os.environ.get("PYTHONUSERBASE") or os.path.expanduser("~/.local")


def user_site() -> str:
    """The packages in it, or an empty string when they are switched off."""
    if os.environ.get("PYTHONNOUSERSITE"):
        return ""
    return f"{user_base()}/lib/{os.path.basename(standard_library()[0])}/site-packages"


def sources(packages: bool) -> list[str]:
    """What decides how ``@python`` looks: paths whose dates tell of a change."""
    paths = [sys.executable, base_executable(), *standard_library()]
    paths += ["/etc", "/etc/ssl", "/etc/ld.so.cache", "/etc/localtime"]
    if packages:
        paths += [f"{virtual_environment()[0]}/pyvenv.cfg", *package_directories()]
    return paths
