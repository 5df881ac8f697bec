"""What kokon itself says to a person, and how."""

from __future__ import annotations

import os


def say(text: str) -> None:
    """Writes ``kokon: text`` to standard error.

    Names from archives and command lines are part of it: what could steer a terminal is escaped.
    """
    if not text.isprintable():
        text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    try:
        os.write(2, f"kokon: {text}\n".encode("utf-8", "backslashreplace"))
    except OSError:
        pass  # nobody listens


def show(text: str) -> None:
    """Writes what was asked for to standard output.

    :raises OSError: it cannot be written; BrokenPipeError where nobody reads on.
    """
    data = memoryview(text.encode("utf-8", "surrogateescape"))
    while data:
        data = data[os.write(1, data) :]


def emphasis(fd: int) -> bool:
    """Whether words may be bold there: on a terminal, unless NO_COLOR is set (no-color.org)."""
    return os.isatty(fd) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
