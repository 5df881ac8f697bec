"""JSON pointers of a spec, and which option set the part that one names."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def asked_by(why: str, asked: Mapping[str, str]) -> str:
    """The option that set the nearest part of the spec, or the pointer itself."""
    pointer = why
    while pointer:
        if pointer in asked:
            return asked[pointer]
        pointer = pointer.rpartition("/")[0]
    return why
