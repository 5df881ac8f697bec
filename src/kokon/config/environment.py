"""The environment of the program: what is asked, never the caller's own (row E15)."""

from __future__ import annotations

from kokon.compile.process import DEFAULT_PATH
from kokon.errors import OptionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def variables(
    entries: tuple[str, ...],
    files: tuple[str, ...],
    caller: Mapping[str, str],
    *,
    home: str,
    hostname: str,
    terminal: bool,
    root: Mapping[str, str],
) -> tuple[str, ...]:
    """``NAME=VALUE`` for execve.

    :param entries: ``NAME=VALUE``, or ``NAME`` to take the caller's value (nothing if unset).
    :param files: texts of environment files: the same entries by line, ``#`` begins a comment.
    :param root: what the root needs; a person's own entries win.
    :raises OptionError: an entry without a name, or with a NUL byte.
    """
    values = {"PATH": DEFAULT_PATH, "HOSTNAME": hostname, "HOME": home, **root}
    if terminal:
        values["TERM"] = "xterm"
    lines = [line for text in files for line in text.splitlines()]
    listed = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    for entry in (*listed, *entries):
        name, equals, value = entry.partition("=")
        if not name or "\0" in entry:
            raise OptionError(
                "has no name" if not name else "has a NUL byte",
                where=f"--env {entry!r}",
                remedy="write NAME=VALUE",
            )
        if equals:
            values[name] = value
        elif name in caller:
            values[name] = caller[name]
        else:
            values.pop(name, None)
    return tuple(f"{name}={value}" for name, value in values.items())
