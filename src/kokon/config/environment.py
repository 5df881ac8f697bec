"""The environment of the program: what is asked, never the caller's own (row E15)."""

from __future__ import annotations

from kokon.compile.process import DEFAULT_PATH
from kokon.errors import OptionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def variables(
    entries: tuple[str, ...],
    files: Iterable[tuple[str, str]],
    caller: Mapping[str, str],
    *,
    home: str,
    hostname: str,
    terminal: bool,
    root: Mapping[str, str],
) -> tuple[str, ...]:
    """``NAME=VALUE`` for execve.

    :param entries: ``NAME=VALUE``, or ``NAME`` to take the caller's value (nothing if unset).
    :param files: path and text of environment files: the same entries by line, ``#`` begins a
        comment.
    :param root: what the root needs; a person's own entries win.
    :raises OptionError: an entry without a name, or with a NUL byte.
    """
    values = {"PATH": DEFAULT_PATH, "HOSTNAME": hostname, "HOME": home, **root}
    if terminal:
        values["TERM"] = "xterm"
    listed = [
        (line.strip(), f"--env-file {path}, line {number}")
        for path, text in files
        for number, line in enumerate(text.split("\n"), 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    for entry, where in (*listed, *((entry, "") for entry in entries)):
        name, equals, value = entry.partition("=")
        if not name or "\0" in entry:
            raise OptionError(
                "has no name" if not name else "has a NUL byte",
                # A value may be a secret (row S6).
                where=where or f"--env {name + equals + '…' * bool(value)!r}",
                remedy="write NAME=VALUE",
            )
        if equals:
            values[name] = value
        elif name in caller:
            values[name] = caller[name]
        else:
            values.pop(name, None)
    return tuple(f"{name}={value}" for name, value in values.items())
