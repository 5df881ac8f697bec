"""Texts that are no JSON, or JSON that nobody means."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import kokon
from kokon.errors import SpecError
from kokon.spec.oci.json_text import DEEPEST, LARGEST_DOCUMENT, load, text

WHOLE = b'{"ociVersion":"1.0.0","root":{"path":"r"}}'

BAD = {
    "empty": (b"", "is empty"),
    "white space": (b" \n", "is empty"),
    "cut short": (WHOLE[:-1], "cut short"),
    "cut in a string": (WHOLE[:8], "cut short"),
    "not JSON": (b"{]", "no JSON: expecting property name"),
    "two documents": (WHOLE + b" {}", "no JSON: extra data at line 1, column 44"),
    "comma at the end": (b"[1,]", "no JSON"),
    "not UTF-8": (b'{"a":"\xff"}', "not UTF-8: byte 6"),
    "UTF-16": ('{"a":1}'.encode("utf-16"), "not UTF-8"),
    "byte order mark": (b"\xef\xbb\xbf{}", "no JSON"),
    "NaN": (b'{"a":NaN}', "NaN is no number"),
    "infinite": (b"[-Infinity]", "-Infinity is no number"),
    "control character": (b'"a\nb"', "no JSON"),
    "too many digits": (b"1" * 5000, "too many digits"),
    "nested arrays": (b"[" * 100_000 + b"]" * 100_000, "nested deeper"),
    "nested, not closed": (b'{"a":' * 100_000, "nested deeper"),
    "nested behind a string": (b'["\\\\\\"[",' + b"[" * 200, "nested deeper"),
    "large": (b" " * (LARGEST_DOCUMENT + 1), "larger than 16 MiB"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_texts(name: str) -> None:
    data, words = BAD[name]
    with pytest.raises(SpecError, match=words) as refused:
        load(data)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    ("data", "where", "name"),
    [
        (b'{"a":1,"a":2}', "", "a"),
        (b'{"x":[0,{"a/b":{"k":1,"k":1}}]}', "/x/1/a~1b", "k"),
        (b'{"a":{"k":1,"k":1},"a":2}', "", "a"),
    ],
)
def test_a_name_twice(data: bytes, where: str, name: str) -> None:
    with pytest.raises(SpecError, match=f"has '{name}' twice") as refused:
        load(data)
    assert refused.value.where == where


def test_depth_is_of_brackets_outside_of_strings() -> None:
    assert load(b"[" * DEEPEST + b"]" * DEEPEST)
    in_string = json.dumps(["[" * 1000, '\\"[[[{{{' * 100, ["\\"]]).encode()
    assert load(in_string) == json.loads(in_string)
    with pytest.raises(SpecError, match="nested deeper"):
        load(b"[" * (DEEPEST + 1) + b"]" * (DEEPEST + 1))


def test_a_mistake_is_found_where_json_was_not_imported() -> None:
    """The scanner of Python 3.11 needs the package for its errors, and ends badly without it."""
    source = Path(kokon.__file__).parent.parent
    program = (
        f"import sys; sys.path.insert(0, {str(source)!r})\n"
        "from kokon.spec.oci.config import parse\n"
        f"parse({WHOLE!r})\n"
        "heavy = {'json', 're', 'typing', 'dataclasses', 'enum', 'functools'} & set(sys.modules)\n"
        "try: parse(b'{]')\n"
        "except Exception as error: print(heavy or type(error).__name__, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("SpecError this is no JSON: expecting property name")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inside: st.lists(inside) | st.dictionaries(st.text(), inside),
)  # fmt: skip


@given(JSON, st.sampled_from(["", "\t", "  "]))
def test_text_is_read_back(value: object, indent: str) -> None:
    written = text(value, indent)
    assert json.loads(written) == value
    assert load(written.encode()) == value
    assert bool(indent) or "\n" not in written


NEARLY_JSON = st.text(alphabet='[]{}",:\\ 1eEtrufalsn').map(str.encode)


@given(st.binary(max_size=200) | NEARLY_JSON)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        value = load(data)
    except SpecError:
        return
    assert value == json.loads(data)
