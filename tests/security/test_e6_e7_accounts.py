"""Rows E6 and E7: who ``--user`` means, in a root that lies about it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kokon.errors import UserError
from kokon.kernel.accounts import Account, lookup_user

SEEN = {
    "E6": "numbers are looked up as names, or wrap",
    "E7": "files are opened without O_NONBLOCK, or read without limits",
}

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
1000:x:0:0:a name that is a number:/evil:/bin/sh
+:::::
bad:x:none:0::/:
negative:x:-1:-1::/:
wrapped:x:4294967296:0::/:
short:x
alice:x:1001:50:Alice:/home/alice:/bin/sh
bob:x:1002:50:Bob:relative/home:/bin/sh
"""
GROUP = """\
root:x:0:
staff:x:50:alice
wheel:x:10:bob,alice
docker:x:999:alice
alice:x:10:alice
odd:x:-5:bob
1000:x:0:alice
"""


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(PASSWD)
    (tmp_path / "etc/group").write_text(GROUP)
    fd = os.open(tmp_path, os.O_PATH)
    yield fd
    os.close(fd)


def values(account: Account) -> tuple[object, ...]:
    return account.uid, account.gid, account.groups, account.home, account.name


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("alice", (1001, 50, (50, 10, 999, 0), "/home/alice", "alice")),
        ("1001", (1001, 50, (50, 10, 999, 0), "/home/alice", "alice")),
        ("alice:wheel", (1001, 10, (10,), "/home/alice", "alice")),
        ("alice:7", (1001, 7, (7,), "/home/alice", "alice")),
        ("0", (0, 0, (0,), "/root", "root")),
        ("00", (0, 0, (0,), "/root", "root")),
        ("5000", (5000, 0, (0,), "/", "")),
        ("5000:5000", (5000, 5000, (5000,), "/", "")),
        ("2147483648", (2**31, 0, (0,), "/", "")),
        ("4294967294:4294967294", (2**32 - 2, 2**32 - 2, (2**32 - 2,), "/", "")),
        ("bob:root", (1002, 0, (0,), "/", "bob")),
    ],
)
def test_e6_who_is_meant(root: int, user: str, expected: tuple[object, ...]) -> None:
    assert values(lookup_user(root, user)) == expected


def test_e6_a_number_is_never_a_name(root: int) -> None:
    """passwd and group have a line *named* 1000 with id 0."""
    assert lookup_user(root, "1000").uid == 1000
    assert lookup_user(root, "1000").home == "/"
    assert lookup_user(root, "1000:1000").gid == 1000


@pytest.mark.parametrize(
    "user",
    ["", ":", "1:", ":1", "+0", "-1", "4294967295", "4294967296", " 0", "0 ", "0x0", "1_0", "1.5",
     "٣", "1:2:3", "alice:", "alice\n", "a/b", "../x", "alice:-1", "alice:4294967295",
     "9" * 5000, "x" * 300, "al\0ice", "root\x1b[2J"],
)  # fmt: skip
def test_e6_what_breaks_the_grammar(root: int, user: str) -> None:
    with pytest.raises(UserError) as caught:
        lookup_user(root, user)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("user", ["bad", "negative", "wrapped", "nobody", "alice:none", "short"])
def test_e6_a_name_without_a_valid_id(root: int, user: str) -> None:
    with pytest.raises(UserError):
        lookup_user(root, user)


def test_e6_an_invalid_group_of_the_user_is_an_error(root: int) -> None:
    with pytest.raises(UserError, match="'odd' has no valid id"):
        lookup_user(root, "bob")


def test_a_root_without_files(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_PATH)
    assert values(lookup_user(fd, "7:8")) == (7, 8, (8,), "/", "")
    with pytest.raises(UserError, match="/etc/passwd: the root has no user 'root'"):
        lookup_user(fd, "root")
    os.close(fd)


@pytest.mark.parametrize("name", ["passwd", "group"])
def test_e7_files_that_are_no_files(root: int, tmp_path: Path, name: str) -> None:
    path = tmp_path / "etc" / name
    (tmp_path / "outside").write_text("alice:x:0:0::/:\n")
    os.mkfifo(tmp_path / "fifo")

    def refused(match: str) -> None:
        with pytest.raises(UserError, match=match) as caught:
            lookup_user(root, "alice" if name == "group" else "nobody")
        assert "daemon" not in str(caught.value)

    path.unlink()
    path.symlink_to("/proc/self/root/etc/passwd")
    if name == "passwd":
        refused("no user")
    path.unlink()
    path.symlink_to("/fifo")
    refused("not a regular file")
    path.unlink()
    os.mkfifo(path)
    refused("not a regular file")
    path.unlink()
    path.mkdir()
    refused("not a regular file")
    path.rmdir()
    path.symlink_to(path.name)
    refused("symbolic links")
    path.unlink()
    with path.open("wb") as file:
        file.truncate(50 << 30)
    refused("longer than 4096 bytes")
    path.write_bytes(b"x" * 5000 + b"\nalice:x:0:0::/:\n")
    refused("longer than 4096 bytes")
    path.write_bytes(b"x" * 5000)
    refused("longer than 4096 bytes")
    path.write_bytes(b"g:x:1:\n" * (11 << 20 >> 3) * 2)
    refused("larger than 10485760 bytes")


def test_e7_the_search_stops_at_the_first_match(root: int, tmp_path: Path) -> None:
    with (tmp_path / "etc/passwd").open("ab") as file:
        file.truncate(50 << 30)
    assert lookup_user(root, "alice:7").uid == 1001


@pytest.mark.kernel
@pytest.mark.skipif(os.geteuid() != 0, reason="making a device node needs root")
def test_e7_a_device(root: int, tmp_path: Path) -> None:
    (tmp_path / "etc/passwd").unlink()
    os.mknod(tmp_path / "etc/passwd", 0o020666, os.makedev(1, 5))
    with pytest.raises(UserError, match=r"not a regular file|Permission denied"):
        lookup_user(root, "alice")
