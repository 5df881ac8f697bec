"""Landlock's rules: what each version knows, and trees with hidden parts."""

from __future__ import annotations

from struct import unpack

import pytest

from kokon.security import landlock
from kokon.security.landlock import CHANGE, MAY_BE_MISSING, NAMES, SEE, Rules


def rights(rules: Rules) -> dict[str, int]:
    accesses = unpack(f"<{len(rules.paths)}Q", rules.accesses)
    assert all(access & MAY_BE_MISSING for access in accesses)
    return dict(zip(rules.paths, (a & ~MAY_BE_MISSING for a in accesses), strict=True))


@pytest.mark.parametrize(
    ("version", "files", "network", "scopes"),
    [
        (0, 0, 0, 0),
        (1, 0x1FFF, 0, 0),
        (2, 0x3FFF, 0, 0),
        (3, 0x7FFF, 0, 0),
        (4, 0x7FFF, 3, 0),
        (5, 0xFFFF, 3, 0),
        (6, 0xFFFF, 3, 3),
        (7, 0xFFFF, 3, 3),
    ],
)
def test_what_a_version_handles(version: int, files: int, network: int, scopes: int) -> None:
    """The masks of linux/landlock.h as each version of the kernel had it."""
    assert landlock.files(version) == files
    assert landlock.network(version) == network
    assert landlock.scopes(version) == scopes


def test_rights_that_a_version_does_not_know_are_not_given() -> None:
    rules = Rules(1)
    rules.allow("/a", CHANGE)
    assert rights(rules)["/a"] == CHANGE & 0x1FFF


def test_of_a_file_only_what_a_file_has() -> None:
    rules = Rules(7)
    rules.allow("/a", CHANGE, directory=False)
    rules.allow("/a", SEE, directory=False)
    assert rights(rules) == {"/a": 0b111 | 1 << 14}


def test_changing_makes_no_devices() -> None:
    assert not CHANGE & (1 << 6 | 1 << 11)


def test_around_what_is_hidden() -> None:
    listings = {
        "/usr": {"bin": True, "lib": True, "x": False},
        "/usr/lib": {"python": True, "c.so": False},
        "/usr/lib/python": {"os.py": False, "site-packages": True, "json": True},
    }
    rules = Rules(7)
    rules.allow_around("/usr", ["/usr/lib/python/site-packages", "/opt/other"], listings)
    assert rights(rules) == {
        "/usr": NAMES,
        "/usr/bin": SEE,
        "/usr/x": SEE & ~NAMES,
        "/usr/lib/c.so": SEE & ~NAMES,
        "/usr/lib/python/os.py": SEE & ~NAMES,
        "/usr/lib/python/json": SEE,
    }


def test_where_nothing_or_all_is_hidden() -> None:
    rules = Rules(7)
    rules.allow_around("/usr", ["/opt/a", "/usrx"], {})
    rules.allow_around("/opt", ["/opt"], {})
    assert rights(rules) == {"/usr": SEE}


def test_the_directories_on_the_way() -> None:
    assert landlock.on_the_way("/usr", ["/usr/lib/a/b"]) == ["/usr/lib/a", "/usr/lib", "/usr"]
    assert landlock.on_the_way("/usr", ["/usr"]) == []
