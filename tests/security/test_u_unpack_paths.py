"""Rows U1 to U6, U13: no name and no link of an archive leads out of its root."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from crafted_tar import (
    END,
    canary,
    directory,
    file,
    hard_link,
    header,
    long_name,
    pax,
    symlink,
    unpack_bytes,
)

import kokon
from kokon.errors import ArchiveError

SEEN = {
    "U1": "`..` is not refused",
    "U2": "parents or the last part are opened through links",
    "U3": "the target is opened as a path of the host",
    "U4": "the root entry is not checked",
    "U6": "the times are set through the link",
    "U7": "what a whiteout names is removed",
    "U13": "tarfile is imported",
}


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Path]:
    with canary(tmp_path) as host:
        yield host


@pytest.mark.parametrize(
    "name", [b"../H/x", b"a/../../x", b"a/..", b"..", b"/../H/x", b"../" * 30 + b"H/x"]
)
def test_u1_names_that_climb_are_refused(tmp_path: Path, host: Path, name: bytes) -> None:
    with pytest.raises(ArchiveError, match=r"climbs out.*do not trust it"):
        unpack_bytes(file(name, b"x") + END, tmp_path)
    assert not (tmp_path / "x").exists()


def test_u1_three_hundred_climbs(tmp_path: Path, host: Path) -> None:
    with pytest.raises(ArchiveError, match="climbs"):
        unpack_bytes(long_name(b"../" * 300 + b"H/x") + file(b"short", b"x") + END, tmp_path)


def test_u1_absolute_and_doubled_slashes_stay_inside(tmp_path: Path, host: Path) -> None:
    inside = os.fsencode(host)
    data = pax({b"path": inside + b"/x"}) + file(b"x", b"1") + file(b"a//./b", b"2") + END
    _, root = unpack_bytes(data, tmp_path)
    assert (root / str(host)[1:] / "x").read_text() == "1"
    assert (root / "a/b").read_text() == "2"


@pytest.mark.parametrize("data", [file(b"", b"x"), pax({b"path": b"a\0b"}) + file(b"c", b"x")])
def test_u1_no_name_and_nul(tmp_path: Path, host: Path, data: bytes) -> None:
    with pytest.raises(ArchiveError, match="name"):
        unpack_bytes(data + END, tmp_path)


@pytest.mark.parametrize(
    "target", ["{H}", "../../../..{H}", "/proc/self/root{H}", "/proc/self/cwd"]
)
@pytest.mark.parametrize("inside", [False, True], ids=["dangling", "present"])
def test_u2_nothing_is_written_through_a_link(
    tmp_path: Path, host: Path, target: str, inside: bool
) -> None:
    """A link whose target exists in the root leads there; any other is refused."""
    to = target.format(H=host).encode()
    data = pax({b"linkpath": to}) + symlink(b"s", b"")
    resolved = to.replace(b"../", b"").lstrip(b"/")
    if inside:
        data = pax({b"path": resolved}) + directory(b"d") + data
    data += file(b"s/pwn", b"x") + END
    if inside:
        _, root = unpack_bytes(data, tmp_path)
        assert (root / os.fsdecode(resolved) / "pwn").read_text() == "x"
    else:
        with pytest.raises(ArchiveError, match="no directory in the archive"):
            unpack_bytes(data, tmp_path)


def test_u2_a_link_is_replaced_not_followed(tmp_path: Path, host: Path) -> None:
    secret = os.fsencode(host / "secret")
    data = pax({b"linkpath": secret}) + symlink(b"s", b"") + file(b"s", b"mine") + END
    _, root = unpack_bytes(data, tmp_path)
    assert not (root / "s").is_symlink()
    assert (root / "s").read_text() == "mine"


def test_u2_a_long_chain_of_links(tmp_path: Path, host: Path) -> None:
    chain = b"".join(symlink(b"l%d" % i, b"l%d" % (i + 1)) for i in range(60))
    data = chain + pax({b"linkpath": os.fsencode(host)}) + symlink(b"l60", b"")
    with pytest.raises(ArchiveError, match="no directory"):
        unpack_bytes(data + file(b"l0/pwn", b"x") + END, tmp_path)


def test_u3_hard_links_do_not_reach_the_host(tmp_path: Path, host: Path) -> None:
    secret, d = os.fsencode(host / "secret"), os.fsencode(host)
    for data in (
        pax({b"linkpath": secret}) + hard_link(b"h", b""),
        pax({b"linkpath": d}) + symlink(b"l", b"") + hard_link(b"h", b"l/secret"),
        pax({b"linkpath": secret}) + symlink(b"l", b"") + hard_link(b"h", b"l"),
        hard_link(b"h", b"../H/secret"),
        directory(b"e") + hard_link(b"h", b"e"),
    ):
        with pytest.raises(ArchiveError):
            unpack_bytes(data + file(b"h", b"pwn") + END, tmp_path)
        assert (host / "secret").stat().st_nlink == 1


def test_u3_a_file_in_place_of_a_hard_link_leaves_the_other_name(tmp_path: Path) -> None:
    data = file(b"a", b"old") + hard_link(b"b", b"/a") + hard_link(b"a", b"b") + file(b"b", b"new")
    _, root = unpack_bytes(data + END, tmp_path)
    assert ((root / "a").read_text(), (root / "b").read_text()) == ("old", "new")


@pytest.mark.parametrize("name", [b".", b"/.", b"./", b"/", b"././."])
def test_u4_the_root_entry_is_a_directory_or_refused(
    tmp_path: Path, host: Path, name: bytes
) -> None:
    data = pax({b"linkpath": os.fsencode(host)}) + symlink(name, b"")
    with pytest.raises(ArchiveError, match="root itself"):
        unpack_bytes(data + END, tmp_path)
    unpack_bytes(file(b"pwn", b"x") + END, tmp_path)
    assert (tmp_path / "root/pwn").exists()
    unpack_bytes(directory(name, mode=0o711) + END, tmp_path)
    assert (tmp_path / "root").stat().st_mode & 0o7777 == 0o711


def test_u6_metadata_does_not_pass_through_a_link(tmp_path: Path, host: Path) -> None:
    attributes = {b"SCHILY.xattr.user.x": b"1"}
    data = (
        pax(attributes) + directory(b"d", mode=0o777, uid=7, mtime=1)
        + pax({**attributes, b"linkpath": os.fsencode(host / "d")})
        + symlink(b"d", b"", mode=0o777, uid=7, mtime=1)
    )  # fmt: skip
    result, root = unpack_bytes(data + END, tmp_path)
    assert (root / "d").is_symlink()
    assert result.skips == 1
    assert (root / "d").lstat().st_mtime == 1


def test_u6_a_link_then_a_directory(tmp_path: Path, host: Path) -> None:
    data = pax({b"linkpath": os.fsencode(host / "d")}) + symlink(b"d", b"")
    _, root = unpack_bytes(data + directory(b"d", mode=0o777) + file(b"d/f") + END, tmp_path)
    assert not (root / "d").is_symlink()
    assert (root / "d/f").exists()


def test_u13_a_path_longer_than_path_max_through_links(tmp_path: Path, host: Path) -> None:
    """Each link adds 200 bytes, so that a reader that joins strings passes PATH_MAX."""
    data, inner = b"", b""
    for i in range(20):
        inner += b"%s/" % (b"d" * 200)
        data += pax({b"path": inner}) + directory(b"x")
        data += pax({b"path": b"l%d" % i, b"linkpath": inner}) + symlink(b"x", b"")
    data += pax({b"path": b"l19/out", b"linkpath": b"../" * 40 + os.fsencode(host)[1:]})
    data += symlink(b"x", b"")
    with pytest.raises(ArchiveError):
        unpack_bytes(data + file(b"l19/out/pwn", b"x") + END, tmp_path)


def test_u13_the_standard_librarys_extractors_are_not_used() -> None:
    for path in Path(kokon.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute):
                assert node.attr not in ("extractall", "unpack_archive", "extractfile"), path
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name for alias in node.names} | {getattr(node, "module", "")}
                assert "tarfile" not in names, path


def test_a_directory_entry_without_permissions_takes_files(tmp_path: Path) -> None:
    data = directory(b"d", mode=0) + file(b"d/e/f", b"x") + header(b"d/e", b"5", mode=0o555) + END
    _, root = unpack_bytes(data, tmp_path)
    assert (root / "d").stat().st_mode & 0o7777 == 0
    (root / "d").chmod(0o700)
    assert (root / "d/e").stat().st_mode & 0o7777 == 0o555


def test_u7_a_whiteout_is_a_file_like_any(tmp_path: Path, host: Path) -> None:
    """Only images of several layers take files away; a tarball is one."""
    names = (b"a/.wh.kept", b"a/.wh..wh..opq", b".wh..wh..opq", b".wh...", b".wh..", b".wh.")
    data = directory(b"a") + file(b"a/kept", b"x") + file(b"kept", b"x")
    data += b"".join(file(name, b"") for name in (*names, b".wh.kept", b"a/.wh.."))
    _, root = unpack_bytes(data + END, tmp_path)
    assert (root / "a/kept").read_bytes() == (root / "kept").read_bytes() == b"x"
    assert all((root / os.fsdecode(name)).is_file() for name in names)
    data = pax({b"linkpath": os.fsencode(host)}) + symlink(b"s", b"")
    for name in (b"s/.wh.secret", b"s/.wh.d", b"s/.wh..wh..opq", b"s/d/.wh..."):
        with pytest.raises(ArchiveError):
            unpack_bytes(data + file(name, b"") + END, tmp_path)
