"""JSON (RFC 8259) to plain Python values and back, strictly and without the json package.

``_json`` is the scanner that the json package itself uses; importing the package costs ten
milliseconds, the scanner 0.3.
"""

from __future__ import annotations

import _json

from kokon.errors import SpecError
from kokon.spec.pointer import escaped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

LARGEST_DOCUMENT = 16 << 20
"""Bytes.  A caller reads no more than one beyond it."""

DEEPEST = 128
"""How many arrays and objects may stand inside of each other."""

WHITE_SPACE = " \t\n\r"
_ALL_BUT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def load(data: bytes) -> Any:
    """The value of a JSON text.

    :raises SpecError: it is none, too large, nested too deep, or has a name twice in an object.
    """
    if len(data) > LARGEST_DOCUMENT:
        raise SpecError(f"the document is larger than {LARGEST_DOCUMENT >> 20} MiB")
    _check_depth(data)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise SpecError(f"the document is not UTF-8: byte {error.start} cannot be") from None
    start = len(text) - len(text.lstrip(WHITE_SPACE))
    if start == len(text):
        raise SpecError("the document is empty")
    scanner = _Scanner()
    try:
        value, end = _json.make_scanner(scanner)(text, start)  # type: ignore[arg-type]
    except (StopIteration, ValueError, SystemError):
        raise SpecError(f"this is no JSON: {_mistake(text)}") from None
    except RecursionError:
        raise SpecError("the document is nested too deep for this process") from None
    if text[end:].strip(WHITE_SPACE):
        raise SpecError(f"this is no JSON: {_mistake(text)}")
    if scanner.repeated:
        where, name = next(_repetitions(value, scanner.repeated))
        raise SpecError(f"the object has {name[:40]!r} twice", where=where)
    return value


def _check_depth(data: bytes) -> None:
    """The scanner calls itself for each level; how deep it can is the caller's affair."""
    if data.count(b"[") + data.count(b"{") <= DEEPEST:
        return
    unescaped = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    outside_of_strings = b"".join(unescaped.split(b'"')[::2])
    depth = 0
    for byte in outside_of_strings.translate(None, _ALL_BUT_BRACKETS):
        depth += 1 if byte in b"[{" else -1
        if depth > DEEPEST:
            raise SpecError(f"the document is nested deeper than {DEEPEST} levels")


class _Scanner:
    """What ``make_scanner`` asks of its context.

    :ivar repeated: objects that have a name twice, by their id, each with that name.
    """

    strict = True
    object_hook = None
    parse_float = float
    parse_int = int

    def __init__(self) -> None:
        self.repeated: dict[int, tuple[object, str]] = {}

    def parse_constant(self, word: str) -> object:
        raise SpecError(f"{word} is no number in JSON")

    def object_pairs_hook(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            seen = set[str]()
            for name, _ in pairs:
                if name in seen:
                    self.repeated[id(found)] = found, name
                seen.add(name)
        return found


def _mistake(text: str) -> str:
    """What is wrong with a text and where, by the package: until Python 3.12 the scanner finds the
    class of its error only where that has been imported, and ends with SystemError without it.
    """
    from json import JSONDecodeError, loads

    try:
        loads(text)
    except JSONDecodeError as error:
        end = error.pos >= len(text.rstrip(WHITE_SPACE)) or error.msg.startswith("Unterminated")
        word = error.msg.removesuffix(" at")
        what = f"{word[0].lower()}{word[1:]} at line {error.lineno}, column {error.colno}"
        return f"it is cut short: {what}" if end else what
    except ValueError:
        return "a number has too many digits"
    return "it cannot be read"


def _repetitions(
    document: Any, repeated: dict[int, tuple[object, str]]
) -> Iterator[tuple[str, str]]:
    waiting = [("", document)]
    while waiting:
        where, value = waiting.pop()
        if id(value) in repeated:
            yield where, repeated[id(value)][1]
        if isinstance(value, dict):
            waiting += ((f"{where}/{escaped(name)}", member) for name, member in value.items())
        elif isinstance(value, list):
            waiting += ((f"{where}/{at}", member) for at, member in enumerate(value))
    # The object is in a value that a later one of the same name has replaced.
    yield "", next(iter(repeated.values()))[1]


def text(value: Any, indent: str = "") -> str:
    """The JSON text of plain values; with ``indent``, on lines of their own."""
    return "".join(_pieces(value, "\n" if indent else "", indent))


def _pieces(value: Any, line: str, indent: str) -> Iterator[str]:
    if isinstance(value, str):
        yield _json.encode_basestring_ascii(value)
    elif value is None or isinstance(value, bool):
        yield {None: "null", True: "true", False: "false"}[value]
    elif isinstance(value, (int, float)):
        yield repr(value)
    elif not value:
        yield "{}" if isinstance(value, dict) else "[]"
    else:
        within = line + indent
        named = isinstance(value, dict)
        members = value.items() if isinstance(value, dict) else ((None, each) for each in value)
        mark = "{" if named else "["
        for name, member in members:
            yield mark + within
            if named:
                yield _json.encode_basestring_ascii(str(name))
                yield ": " if indent else ":"
            yield from _pieces(member, within, indent)
            mark = ","
        yield line + ("}" if named else "]")
