"""What may stand at a place of a document: each kind reads a JSON value and writes it back.

``read`` raises SpecError; its ``where`` begins as "" and gets a part from each array and object on
the way out, so a document without mistakes pays nothing for pointers.
"""

from __future__ import annotations

from kokon.errors import SpecError, nearest
from kokon.spec.pointer import escaped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


class Kind:
    """:meth:`read` has a JSON value and returns what the typed value holds."""

    __slots__ = ()

    def read(self, value: Any) -> Any:
        """None says that nothing was said."""
        raise NotImplementedError

    def dump(self, value: Any) -> Any:
        """The JSON value of what :meth:`read` returned."""
        return value


class Flag(Kind):
    """True or false."""

    __slots__ = ()

    def read(self, value: Any) -> bool:
        """As it is."""
        if type(value) is not bool:
            raise wrong("true or false", value)
        return value


class Whole(Kind):
    """A whole number from ``least`` to ``most``."""

    __slots__ = ("least", "most")

    def __init__(self, least: int, most: int) -> None:
        self.least = least
        self.most = most

    def read(self, value: Any) -> int:
        """As it is."""
        if type(value) is not int:
            raise wrong("a whole number", value)
        if not self.least <= value <= self.most:
            raise wrong(f"from {self.least} to {self.most}", value)
        return value


class Text(Kind):
    """A string; ``check`` raises SpecError for one that cannot be meant."""

    __slots__ = ("check",)

    def __init__(self, check: Callable[[str], None] | None = None) -> None:
        self.check = check

    def read(self, value: Any) -> str:
        """As it is."""
        if type(value) is not str:
            raise wrong("a string", value)
        if not value.isascii():
            check_encodable(value)
        if "\0" in value:
            raise SpecError("has a NUL byte, which no string of the kernel can have")
        if self.check is not None:
            self.check(value)
        return value


class Word(Kind):
    """One of a closed set; an empty string says nothing, as in Go."""

    __slots__ = ("name", "words")

    def __init__(self, name: str, words: tuple[str, ...]) -> None:
        self.name = name
        self.words = words

    def read(self, value: Any) -> str | None:
        """The word, or None."""
        if type(value) is not str:
            raise wrong("a string", value)
        if value in self.words:
            return value
        if not value:
            return None
        near = nearest(value[:100], self.words)
        raise SpecError(
            f"{shown(value)} is no {self.name}",
            remedy=f"did you mean {near}?" if near else f"it is one of {', '.join(self.words)}",
        )


class List(Kind):
    """An array; a tuple as a value."""

    __slots__ = ("kind",)

    def __init__(self, kind: Kind) -> None:
        self.kind = kind

    def read(self, value: Any) -> tuple[Any, ...]:
        """The values of the entries."""
        if type(value) is not list:
            raise wrong("an array", value)
        read = self.kind.read
        found: list[Any] = []
        for entry in value:
            try:
                one = read(entry)
            except SpecError as error:
                raise below(error, len(found)) from None
            if one is None:
                raise SpecError("is empty", where=f"/{len(found)}")
            found.append(one)
        return tuple(found)

    def dump(self, value: Any) -> list[Any]:
        """Each entry."""
        return [self.kind.dump(entry) for entry in value]


class Map(Kind):
    """An object whose names are free: a dict as a value."""

    __slots__ = ("kind", "name")

    def __init__(self, name: Text, kind: Kind) -> None:
        self.name = name
        self.kind = kind

    def read(self, value: Any) -> dict[str, Any]:
        """The members, in their order."""
        if type(value) is not dict:
            raise wrong("an object", value)
        found = {}
        for name, member in value.items():
            try:
                found[self.name.read(name)] = self.kind.read(member)
            except SpecError as error:
                raise below(error, name) from None
        return found

    def dump(self, value: Any) -> dict[str, Any]:
        """Each member."""
        return {name: self.kind.dump(member) for name, member in value.items()}


class Object(Kind):
    """An object with members of its own; members that are not in the table are ignored.

    :param make: is called with the attributes that the document has; null is absent, as in Go.
    :param fields: rows of a member's name, the attribute, and the kind.
    :param required: attributes that the document must have.
    :param check: is called with the value and the document's members; it raises SpecError.
    """

    __slots__ = ("check", "fields", "make", "required")

    def __init__(
        self,
        make: Callable[..., Any],
        fields: tuple[tuple[str, str, Kind], ...],
        required: tuple[str, ...] = (),
        check: Callable[[Any, Mapping[str, Any]], None] | None = None,
    ) -> None:
        self.make = make
        self.fields = fields
        self.required = required
        self.check = check

    def read(self, value: Any) -> Any:
        """What ``make`` makes of it."""
        if type(value) is not dict:
            raise wrong("an object", value)
        found = {}
        for name, attribute, kind in self.fields:
            member = value.get(name)
            if member is not None:
                try:
                    one = kind.read(member)
                except SpecError as error:
                    raise below(error, name) from None
                if one is not None:
                    found[attribute] = one
        for attribute in self.required:
            if attribute not in found:
                name = next(row[0] for row in self.fields if row[1] == attribute)
                raise SpecError("is missing", where=f"/{name}")
        made = self.make(**found)
        if self.check is not None:
            self.check(made, value)
        return made

    def dump(self, value: Any) -> dict[str, Any]:
        """Members that say nothing are left out."""
        document = {}
        for name, attribute, kind in self.fields:
            member = getattr(value, attribute)
            if attribute in self.required or not says_nothing(member):
                document[name] = kind.dump(member)
        return document


def says_nothing(value: Any) -> bool:
    """Whether a value is the default of its kind in every table: None, False, or empty.

    An object of which every member says nothing is no such value: that it is there is a word.
    """
    return value is None or value is False or value in ("", (), {})


def below(error: SpecError, part: str | int) -> SpecError:
    """The same error, one level further out."""
    name = escaped(part) if isinstance(part, str) else part
    error.where = f"/{name}{error.where}"
    return error


def wrong(expected: str, value: object) -> SpecError:
    """Something else stands there."""
    return SpecError(f"has to be {expected}, not {shown(value)}")


def shown(value: object) -> str:
    """A JSON value in a sentence, in not too many characters."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    words = f'"{value[:60]}"' if isinstance(value, str) else repr(value)
    words = "".join(c if c.isprintable() else "\ufffd" for c in words)
    return words if len(words) <= 64 else words[:60] + "…"


def check_encodable(value: str) -> None:
    """A string can be UTF-8: JSON can spell half a pair of surrogates, which cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise SpecError("has half a pair of surrogates, which no text can have") from None
