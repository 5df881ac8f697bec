"""Kinds that more than one table has: numbers by their width, strings by what they name."""

from __future__ import annotations

from kokon.errors import SpecError
from kokon.spec.oci.kinds import Flag, List, Map, Text, Whole, shown
from kokon.spec.resources import index_ranges


def _filled(value: str) -> None:
    if not value:
        raise SpecError("is empty")


def _absolute(value: str) -> None:
    if not value.startswith("/"):
        raise SpecError(f"{shown(value)} is no absolute path", remedy="begin it with /")


def _absolute_or_empty(value: str) -> None:
    if value:
        _absolute(value)


def _one_line(value: str) -> None:
    if "\n" in value:
        raise SpecError("has more than one line")


def _entry(value: str) -> None:
    if value.find("=") < 1:
        raise SpecError(f"{shown(value)} is not NAME=VALUE")


def _indices(value: str) -> None:
    if value:
        try:
            index_ranges(value)
        except ValueError as error:
            raise SpecError(
                f"{shown(value)} is no list of numbers: {error}", remedy="write it like 0-3,7"
            ) from None


def _file_name(value: str) -> None:
    if not value or "/" in value or value in (".", ".."):
        raise SpecError(f"{shown(value)} is no name of a file")


FLAG = Flag()
INT32 = Whole(-(1 << 31), (1 << 31) - 1)
INT64 = Whole(-(1 << 63), (1 << 63) - 1)
UINT16 = Whole(0, (1 << 16) - 1)
UINT32 = Whole(0, (1 << 32) - 1)
UINT64 = Whole(0, (1 << 64) - 1)
ID = Whole(0, (1 << 32) - 2)
"""A user's or group's: the largest number means "no change" in chown(2) and others."""

TEXT = Text()
FILLED = Text(_filled)
LINE = Text(_one_line)
ABSOLUTE = Text(_absolute)
ABSOLUTE_OR_EMPTY = Text(_absolute_or_empty)
INDICES = Text(_indices)
FILE_NAME = Text(_file_name)
TEXTS = List(TEXT)
ENTRIES = List(Text(_entry))
"""An environment: "the same semantics as IEEE Std 1003.1-2008's environ"."""
WORDS = Map(FILLED, TEXT)
