"""Random documents, and good ones with random changes: read or refused, never anything else."""

from __future__ import annotations

import copy
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kokon.errors import SpecError
from kokon.spec.oci.config import dump, parse
from kokon.spec.oci.process import parse_process
from kokon.spec.oci.resources import parse_resources

DATA = Path(__file__).parent / "data"
DOCUMENT = json.loads((DATA / "every-field.json").read_bytes())

NAMES = sorted({name for name in json.dumps(DOCUMENT).split('"') if name.isalnum()})
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.sampled_from(NAMES)
    | st.sampled_from(["/", "..", "\0", "\ud800", "0-3", "-1", "1.0.0"])
)
JSON = st.recursive(
    SCALARS,
    lambda inside: (
        st.lists(inside, max_size=4)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(), inside, max_size=6)
    ),
    max_leaves=20,
)


def all_places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [at]
    members: Any = ()
    if isinstance(value, dict):
        members = value.items()
    elif isinstance(value, list):
        members = enumerate(value)
    for name, member in members:
        found += all_places(member, (*at, name))
    return found


PLACES = all_places(DOCUMENT)


def replaced(at: tuple[Any, ...], value: Any) -> Any:
    if not at:
        return value
    document = copy.deepcopy(DOCUMENT)
    holder = document
    for part in at[:-1]:
        holder = holder[part]
    holder[at[-1]] = value
    return document


def exists(pointer: str, document: Any) -> bool:
    """Whether a pointer leads into the document, to a member or to where one is missing."""
    parts = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
    for at, part in enumerate(parts):
        if isinstance(document, list):
            if not part.isdigit() or int(part) >= len(document):
                return False
            document = document[int(part)]
        elif isinstance(document, dict):
            if part not in document:
                return at == len(parts) - 1
            document = document[part]
        else:
            return False
    return True


@given(JSON)
@example({"ociVersion": "1.0.0", "root": {"path": "x"}, "linux": {}})
def test_random_documents(document: Any) -> None:
    data = json.dumps(document).encode()
    for read in (parse, parse_process, parse_resources):
        try:
            read(data)
        except SpecError as error:
            str(error).encode()
            assert len(str(error)) < 1000


@settings(max_examples=400)
@given(st.sampled_from(PLACES), JSON)
def test_a_good_document_with_a_random_change(at: tuple[Any, ...], value: Any) -> None:
    document = replaced(at, value)
    data = json.dumps(document).encode()
    try:
        spec = parse(data)
    except SpecError as error:
        if len(error.where) < 150 and "\ufffd" not in error.where:
            assert exists(error.where, document)
        return
    written = json.dumps(dump(spec)).encode()
    assert dump(parse(written)) == dump(spec)


@settings(max_examples=300)
@given(st.integers(0, 8000), st.integers(0, 40), st.binary(max_size=10))
def test_a_good_document_with_other_bytes(at: int, cut: int, other: bytes) -> None:
    data = json.dumps(DOCUMENT).encode()
    try:
        parse(data[:at] + other + data[at + cut :])
    except SpecError:
        pass


@pytest.fixture(scope="module")
def schema() -> Any:
    jsonschema = pytest.importorskip("jsonschema", reason="the oracle is jsonschema")
    referencing = pytest.importorskip("referencing", reason="the oracle is jsonschema")
    from referencing.jsonschema import DRAFT4

    resources = [
        (path.name, DRAFT4.create_resource(json.loads(path.read_bytes())))
        for path in (DATA / "schema").iterdir()
    ]
    registry = referencing.Registry().with_resources(resources)
    root = json.loads((DATA / "schema/config-schema.json").read_bytes())
    return jsonschema.Draft4Validator(root, registry=registry)


def test_the_schema_accepts_what_we_take_for_good(schema: Any) -> None:
    for path in (DATA / "every-field.json", *(DATA / "engines").glob("*-config.json")):
        assert not list(schema.iter_errors(json.loads(path.read_bytes())))


def test_what_the_schema_refuses_is_refused(schema: Any) -> None:
    """Every place with two values of its turn: what the schema refuses is refused here."""
    turn = itertools.cycle((True, 7, "x", [], 1.5, {}, -(1 << 65)))
    compared = 0
    for at in PLACES:
        for value in (next(turn), next(turn)):
            document = replaced(at, value)
            found = next(schema.iter_errors(document), None)
            if found is None or (at[-2:] == ("resources", "pids") and value == {}):
                continue  # the text of the specification has pids.limit as optional
            compared += 1
            try:
                parse(json.dumps(document).encode())
            except SpecError:
                continue
            pytest.fail(f"{at} = {value!r} is accepted: {found.message}")
    assert compared > 500
