"""An assembly survives each of its written forms; damaged text is refused."""

from __future__ import annotations

import json

import pytest

from kokon.compile.assembly import Assembly, AssemblyBind

ODD = "/odd\\name\twith\nall\udcff\\t"

WHOLE = Assembly(
    "@host",
    writable=(("/tmp", 0o1777), ("/home/user", 0o755)),
    directories=(("/etc", 0o755), (ODD, 0o700)),
    links=(("/bin", "usr/bin"), ("/x", ODD)),
    files=(("/etc/raw", bytes(range(256)), 0o644),),
    binds=(
        AssemblyBind("/usr", "/usr", True, why="programs"),
        AssemblyBind(ODD, "/f", False, read_only=False, nosuid=False, nodev=False),
    ),
    empty=("/usr/lib/hidden",),
    environment={"PATH": "/bin", "ODD": "a=b\tc"},
)


def test_text_and_dict_give_the_same_value_back() -> None:
    text = WHOLE.to_text().encode("utf-8", "surrogateescape")
    assert Assembly.from_text(text.decode("utf-8", "surrogateescape")) == WHOLE
    assert Assembly.from_dict(json.loads(json.dumps(WHOLE.to_dict()))) == WHOLE
    assert Assembly.from_text(Assembly("@python").to_text()) == Assembly("@python")


def test_every_field_counts() -> None:
    for field in Assembly.__slots__:
        changed = Assembly.from_dict(WHOLE.to_dict())
        setattr(changed, field, type(getattr(WHOLE, field))())
        assert changed != WHOLE, field


def test_damaged_text_is_refused() -> None:
    text = WHOLE.to_text()
    for length in range(len(text)):
        with pytest.raises(ValueError):
            Assembly.from_text(text[:length])
    for wrong in (
        text.replace("assembly 1", "assembly 2"),
        text.replace("\nend\n", "\nmount\t/a\nend\n"),
        text.replace("\tprograms\t1111", "\tprograms\t111"),
        text.replace("links\t/bin\t", "links\t/bin"),
        text.replace("name\t@host\n", ""),
        text + "more",
    ):
        assert wrong != text
        with pytest.raises(ValueError):
            Assembly.from_text(wrong)
