"""Each row of the tables, against every type that it is not; and members that say nothing."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kokon.errors import SpecError
from kokon.spec.oci.config import CONFIG, dump, parse
from kokon.spec.oci.json_text import escaped
from kokon.spec.oci.kinds import Flag, Kind, List, Map, Object, Whole
from kokon.spec.oci.process import CapabilitySet

DOCUMENT = json.loads((Path(__file__).parent / "data/every-field.json").read_bytes())
VALUES: tuple[Any, ...] = (True, 7, 1.5, 7.0, "x", [], {})
Places = Iterator[tuple[tuple[str | int, ...], Kind]]


def places(kind: Kind, document: Any, at: tuple[str | int, ...] = ()) -> Places:
    """Every place of the document, with the kind that reads it."""
    yield at, kind
    if isinstance(kind, Object):
        for name, _, member in kind.fields:
            assert name in document, f"every-field.json lacks {name} of {at}"
            yield from places(member, document[name], (*at, name))
    elif isinstance(kind, List) and document:
        yield from places(kind.kind, document[0], (*at, 0))
    elif isinstance(kind, Map):
        name = next(iter(document))
        yield from places(kind.kind, document[name], (*at, name))


def expected(kind: Kind) -> type:
    if isinstance(kind, Flag):
        return bool
    if isinstance(kind, Whole):
        return int
    if isinstance(kind, (List, CapabilitySet)):
        return list
    return dict if isinstance(kind, (Map, Object)) else str


def changed(at: tuple[str | int, ...], value: Any) -> Any:
    """The document with another value at one place; ``...`` removes it."""
    document = copy.deepcopy(DOCUMENT)
    if not at:
        return value
    holder = document
    for part in at[:-1]:
        holder = holder[part]
    if value is ...:
        del holder[at[-1]]
    else:
        holder[at[-1]] = value
    return document


def pointer(at: tuple[str | int, ...]) -> str:
    return "".join(f"/{escaped(str(part))}" for part in at)


ALL = [pytest.param(at, kind, id=pointer(at) or "/") for at, kind in places(CONFIG, DOCUMENT)]
MEMBERS = [param for param in ALL if param.values[0] and isinstance(param.values[0][-1], str)]


def is_required(at: tuple[str | int, ...]) -> bool:
    kinds = dict(places(CONFIG, DOCUMENT))
    holder = kinds[at[:-1]]
    if isinstance(holder, Map):
        return False
    assert isinstance(holder, Object)
    attribute = next(row[1] for row in holder.fields if row[0] == at[-1])
    return attribute in holder.required


@pytest.mark.parametrize(("at", "kind"), ALL)
def test_wrong_types_are_refused_where_they_are(at: tuple[str | int, ...], kind: Kind) -> None:
    right = expected(kind)
    for value in VALUES:
        if type(value) is right:
            continue
        with pytest.raises(SpecError) as refused:
            parse(json.dumps(changed(at, value)).encode())
        assert refused.value.where == pointer(at), value
        assert refused.value.what.startswith("has to be")


@pytest.mark.parametrize(("at", "kind"), MEMBERS)
def test_null_is_absent(at: tuple[str | int, ...], kind: Kind) -> None:
    results = []
    for value in (None, ...):
        data = json.dumps(changed(at, value)).encode()
        try:
            results.append(json.dumps(dump(parse(data))))
        except SpecError as error:
            results.append(str(error))
    if isinstance(dict(places(CONFIG, DOCUMENT))[at[:-1]], Map):
        assert results[0].startswith(f"{pointer(at)}: has to be")
        return
    assert results[0] == results[1]
    if is_required(at):
        assert results[0] == f"{pointer(at)}: is missing"


@pytest.mark.parametrize(
    ("at", "kind"), [param for param in ALL if isinstance(param.values[1], Object)]
)
def test_members_that_are_not_known_are_ignored(at: tuple[str | int, ...], kind: Kind) -> None:
    document = copy.deepcopy(DOCUMENT)
    holder = document
    for part in at:
        holder = holder[part]
    holder["x-unknown"] = {"deep": [1.5, None, 10**30]}
    assert dump(parse(json.dumps(document).encode())) == dump(parse(json.dumps(DOCUMENT).encode()))


@pytest.mark.parametrize(
    ("at", "kind"), [param for param in ALL if isinstance(param.values[1], Whole)]
)
def test_numbers_out_of_range_are_refused(at: tuple[str | int, ...], kind: Whole) -> None:
    for value in (kind.least - 1, kind.most + 1, -(1 << 64), 1 << 64, 10**400):
        with pytest.raises(SpecError) as refused:
            parse(json.dumps(changed(at, value)).encode())
        assert refused.value.where == pointer(at)
        assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    ("at", "kind"), [param for param in ALL if expected(param.values[1]) is str]
)
def test_strings_that_no_system_call_takes(at: tuple[str | int, ...], kind: Kind) -> None:
    for value in ("/a\0b", "/\ud800"):
        with pytest.raises(SpecError) as refused:
            parse(json.dumps(changed(at, value)).encode())
        assert refused.value.where == pointer(at)
        str(refused.value).encode()
