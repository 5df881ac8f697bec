"""JSON pointers (RFC 6901), which say where in a document something is."""

from __future__ import annotations

MOST = 200


def escaped(name: str) -> str:
    """A member's name as a part of a pointer.

    Pointers are for messages: a name of which a terminal would make something else, or that goes
    on and on, is only told as far as it can be.
    """
    name = name.replace("~", "~0").replace("/", "~1")
    if len(name) <= MOST and name.isprintable():
        return name
    return "".join(c if c.isprintable() else "\ufffd" for c in name[:MOST])
