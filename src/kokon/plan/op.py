"""What every op is: one kernel effect, with its arguments and ``why``."""

from __future__ import annotations


class Op:
    """One kernel effect.

    ``why`` is the option (``--memory``) or the JSON pointer (``/linux/resources``) that asked for
    it.  Subclasses are generated into ``ops.py``; values are not changed after they are made.
    """

    __slots__ = ("why",)

    CODE = 0
    PLACE = "either"
    WIRE: tuple[tuple[str, str], ...] = ()
    SLOTS: tuple[str, ...] = ()
    TEXT = ""
    STEPS: tuple[str, ...] = ()

    why: str

    def __init__(self, *, why: str) -> None:
        self.why = why

    def fields(self) -> dict[str, object]:
        """The arguments by name, in the table's order, without ``why``."""
        return {name: getattr(self, name) for name in type(self).__slots__}

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.why == other.why and self.fields() == other.fields()

    def __hash__(self) -> int:
        return hash((type(self), self.why, tuple(self.fields().values())))

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.fields().items())
        return f"{type(self).__name__}({arguments}, why={self.why!r})"
