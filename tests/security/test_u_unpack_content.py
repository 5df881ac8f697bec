"""Rows U8, U10 to U12, U14, U15: devices, attributes, bombs, two readings, ids."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import struct
from pathlib import Path

import pytest
from crafted_tar import (
    END,
    GNU,
    directory,
    file,
    hard_link,
    header,
    long_name,
    octal,
    padded,
    pax,
    symlink,
    unpack_bytes,
)

from kokon.errors import ArchiveError
from kokon.image import compression
from kokon.image.limits import Limits

SEEN = {
    "U8": "nodes are made",
    "U10": "`user.overlay.*` or `trusted.*` are kept; names are not checked",
    "U11": "each limit is taken away in turn",
    "U12": "they are run by name",
    "U14": "each check is taken away in turn",
    "U15": "ids are cut to 32 bits",
}


def refused(data: bytes, top: Path, match: str, **limits: int) -> None:
    with pytest.raises(ArchiveError, match=match) as caught:
        unpack_bytes(data, top, limits=Limits(**limits) if limits else None)
    assert str(caught.value).startswith("crafted.tar")
    assert "; " in str(caught.value), "says what to do"
    assert "\n" not in str(caught.value)


def test_u8_devices_and_fifos_are_left_out(tmp_path: Path) -> None:
    numbers = octal(8, 8) + octal(0, 8)
    data = (
        file(b"zero", b"x") + header(b"disk", b"4", mode=0o666, device=numbers)
        + header(b"null", b"3", mode=0o666, device=numbers) + header(b"zero", b"3")
        + header(b"d/fifo", b"6") + hard_link(b"again", b"disk") + file(b"after", b"y")
    )  # fmt: skip
    result, root = unpack_bytes(data + END, tmp_path)
    assert sorted(p.name for p in root.rglob("*")) == ["after", "d"]
    assert dict(result.skipped) == {
        "/disk": "device", "/null": "device", "/zero": "device", "/d/fifo": "FIFO",
        "/again": "link to something left out",
    }  # fmt: skip
    assert result.skips == 5


def test_u10_only_harmless_attributes_are_set(tmp_path: Path) -> None:
    names = (
        b"user.fine", b"user.overlay.redirect", b"user.overlay", b"user.overlayed",
        b"trusted.overlay.opaque", b"trusted.overlay.redirect", b"trusted.overlay.metacopy",
        b"trusted.other", b"security.ima", b"security.selinux", b"system.posix_acl_access",
    )  # fmt: skip
    records = {b"SCHILY.xattr." + name: b"y" for name in names}
    data = pax(records) + file(b"f", b"x") + pax(records) + directory(b"d") + END
    result, root = unpack_bytes(data, tmp_path)
    for name in ("f", "d"):
        assert set(os.listxattr(root / name)) - {"security.selinux"} <= {
            "user.fine", "user.overlayed",
        }  # fmt: skip
        assert sum(path == f"/{name}" for path, _ in result.skipped) >= 8
    if "user.fine" not in os.listxattr(root / "f"):
        pytest.skip("this file system has no user attributes")


@pytest.mark.parametrize("name", [b"", b"user", b"user.", b".x", b"user." + b"x" * 295])
def test_u10_bad_attribute_names_are_errors(tmp_path: Path, name: bytes) -> None:
    data = pax({b"SCHILY.xattr." + name: b"y"}) + file(b"f") + END
    refused(data, tmp_path, "extended attribute with the bad name")


def test_u10_file_capabilities_are_checked(tmp_path: Path) -> None:
    def capability(value: bytes) -> bytes:
        return pax({b"SCHILY.xattr.security.capability": value}) + file(b"f") + END

    for value in (b"", b"x" * 20, struct.pack("<6I", 0x02000001, 0, 0, 0, 0, 0), b"\1" * 4096):
        refused(capability(value), tmp_path, "file capability")
    foreign, _ = unpack_bytes(capability(struct.pack("<6I", 0x03000001, 1, 0, 0, 0, 7)), tmp_path)
    assert "another user namespace" in foreign.skipped[0][1]
    own, root = unpack_bytes(
        capability(struct.pack("<6I", 0x03000001, 1 << 13, 0, 0, 0, 0)), tmp_path
    )
    if os.geteuid() == 0:
        assert os.getxattr(root / "f", "security.capability")[:8] == struct.pack(
            "<2I", 0x02000001, 1 << 13
        )
    else:
        assert own.skips == 1


def compressors() -> dict[str, object]:
    found: dict[str, object] = {"gzip": gzip.compress, "xz": lzma.compress, "bzip2": bz2.compress}
    try:
        from backports import zstd

        found["zstd"] = zstd.compress
    except ImportError:
        pass
    return found


@pytest.mark.parametrize("name", compressors())
def test_u11_a_bomb_stops_at_the_ratio(tmp_path: Path, name: str) -> None:
    bomb = compressors()[name](header(b"zeros", size=64 << 20) + bytes(64 << 20) + END)
    refused(bomb, tmp_path, "grows more than 200 times", ratio=200, ratio_from=1 << 20)
    assert (tmp_path / "root/zeros").stat().st_size < 16 << 20


def test_u11_counts_and_sizes_are_limited(tmp_path: Path) -> None:
    refused(gzip.compress(gzip.compress(file(b"a") + END)), tmp_path, "is no tar archive")
    many = b"".join(file(b"f%d" % i) for i in range(11))
    refused(many + END, tmp_path, "more than 10 entries", entries=10)
    refused(header(b"p", b"x", 1 << 30) + END, tmp_path, "extension header of 1073741824 bytes")
    refused(header(b"p", b"L", 1 << 30) + END, tmp_path, "extension header of 1073741824 bytes")
    refused(header(b"f", size=4 << 30) + END, tmp_path, "is a file of", bytes=1 << 30)
    two = file(b"a", bytes(600)) + file(b"b", bytes(600)) + END
    refused(two, tmp_path, "more than 2048 bytes", bytes=2048)
    refused(file(b"a/" * 40 + b"f") + END, tmp_path, "deeper than 20", depth=20)
    refused(long_name(b"x" * 5000) + file(b"f") + END, tmp_path, "longer than 4095")
    refused(file(b"a", b"x") + END + bytes(17 << 20), tmp_path, "megabytes of nothing")


@pytest.mark.parametrize(
    "size",
    [b"\xff" * 11 + b"\x00", b"\x80" + b"\x7f" + b"\xff" * 10, b"-512", b"0x10", b"1_0", b"9"],
)
def test_u11_impossible_sizes(tmp_path: Path, size: bytes) -> None:
    refused(header(b"f", size=size) + END, tmp_path, "size")


def sparse_map(pairs: list[tuple[int, int]]) -> bytes:
    lines = [len(pairs), *(n for pair in pairs for n in pair)]
    return padded(b"".join(b"%d\n" % line for line in lines))


def sparse(pairs: list[tuple[int, int]], content: bytes, length: int, **more: bytes) -> bytes:
    table = more.get("table") or sparse_map(pairs)
    records = {b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0", b"GNU.sparse.name": b"f",
               b"GNU.sparse.realsize": b"%d" % length}  # fmt: skip
    return pax(records) + file(b"GNUSparseFile.0/f", table + content) + END


def test_u11_sparse_files(tmp_path: Path) -> None:
    result, root = unpack_bytes(sparse([(4096, 3), (1 << 20, 2)], b"abcde", 2 << 20), tmp_path)
    content = (root / "f").read_bytes()
    assert (len(content), content[4096:4099], content[1 << 20 :][:2]) == (2 << 20, b"abc", b"de")
    assert content.strip(b"\0").replace(b"\0", b"") == b"abcde"
    assert result.bytes == 2 << 20
    for pairs, length in (
        ([(0, 5), (4, 0)], 10), ([(8, 5)], 10), ([(0, 4)], 10), ([(0, 2**70)], 10), ([], 2**62)
    ):  # fmt: skip
        refused(sparse(pairs, b"abcde", length), tmp_path, "sparse map|is a file of")
    refused(sparse([], b"", 1, table=padded(b"10000000\n")), tmp_path, "more than 65536 pieces")
    refused(sparse([], b"", 1, table=b"1" * 512), tmp_path, "sparse map")
    refused(sparse([], b"", 1, table=b"1\n" + b"2" * 2046), tmp_path, "sparse map")


def test_u11_old_sparse_files(tmp_path: Path) -> None:
    def old(pairs: list[tuple[int, int]], length: int, more: bytes = b"\0") -> bytes:
        entries = b"".join(octal(a, 12) + octal(b, 12) for a, b in pairs).ljust(96, b"\0")
        tail = bytes(41) + entries + more + octal(length, 12)
        return header(b"f", b"S", sum(b for _, b in pairs), magic=GNU, tail=tail)

    data = old([(1000, 3), (5000, 2)], 6000) + padded(b"abcde") + END
    _, root = unpack_bytes(data, tmp_path)
    assert (root / "f").read_bytes() == bytes(1000) + b"abc" + bytes(3997) + b"de" + bytes(998)
    more = (octal(0, 12) + octal(0, 12)) * 21 + b"\1" + bytes(7)
    refused(old([], 10, b"\1") + more * 40, tmp_path, "more than 100 pieces", segments=100)
    refused(old([(0, 5), (3, 2)], 10) + padded(b"abcdefg") + END, tmp_path, "sparse map")


@pytest.mark.parametrize("name", compressors())
def test_u12_no_program_is_run_to_decompress(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Programs of that name are in the archive and first in PATH."""
    trap = tmp_path / "bin"
    trap.mkdir()
    for program in ("xz", "gzip", "unpigz", "zstd", "bzip2", "tar"):
        (trap / program).write_text(f"#!/bin/sh\n: > {tmp_path}/ran\n")
        (trap / program).chmod(0o755)
    monkeypatch.setenv("PATH", str(trap))
    data = b"".join(file(b"usr/bin/" + p.name.encode(), p.read_bytes()) for p in trap.iterdir())
    _, root = unpack_bytes(compressors()[name](data + END), tmp_path)
    assert (root / "usr/bin/xz").exists()
    assert not (tmp_path / "ran").exists()


def test_u14_two_sizes(tmp_path: Path) -> None:
    hidden = file(b"hidden", b"x")
    data = pax({b"size": b"%d" % len(hidden)}) + header(b"f") + hidden + END
    refused(data, tmp_path, "two sizes")
    assert not (tmp_path / "root/hidden").exists()
    data = pax({b"size": b"0"}) + header(b"f", size=len(hidden)) + hidden + END
    refused(data, tmp_path, "two sizes")
    unpack_bytes(pax({b"size": b"1"}) + file(b"f", b"x") + END, tmp_path)


def test_u14_a_slash_makes_no_directory_of_a_file(tmp_path: Path) -> None:
    for data in (
        header(b"a/", b"\0"), header(b"a/", b"0"),
        long_name(b"a/") + header(b"a", b"\0", magic=b""),
        pax({b"path": b"a/"}) + header(b"a", b"\0"),
    ):  # fmt: skip
        refused(data + END, tmp_path, "ends in a slash")
    _, root = unpack_bytes(header(b"a/", b"\0", magic=b"", mode=0o755) + END, tmp_path)
    assert (root / "a").is_dir()


def test_u14_members_and_garbage(tmp_path: Path) -> None:
    data = file(b"a", b"x" * 3000) + file(b"b", b"y") + END
    half = 1000
    _, root = unpack_bytes(gzip.compress(data[:half]) + gzip.compress(data[half:]), tmp_path)
    assert (root / "b").exists()
    unpack_bytes(gzip.compress(data) + bytes(700), tmp_path)
    refused(gzip.compress(data) + b"\0\0more", tmp_path, "behind its compressed end")
    refused(gzip.compress(data) + gzip.compress(file(b"c") + END), tmp_path, "behind its end mark")
    refused(data + b"x", tmp_path, "behind its end mark")
    refused(data + file(b"c", b"z") + END, tmp_path, "behind its end mark")


def test_u14_other_contradictions(tmp_path: Path) -> None:
    refused(
        symlink(b"l", b"t", size=512) + bytes(512) + END, tmp_path, "has content but is no file"
    )
    twice = long_name(b"a") + long_name(b"b") + file(b"c") + END
    refused(twice, tmp_path, "'path' twice")
    refused(long_name(b"a") + pax({b"path": b"b"}) + file(b"c") + END, tmp_path, "'path' twice")
    refused(pax({b"path": b"a"}) + END, tmp_path, "extension header that nothing follows")
    refused(pax({b"path": b"a"}, b"g") + file(b"c") + END, tmp_path, "to every entry")
    refused(header(b"x", b"M") + END, tmp_path, "unknown type 'M'")
    record = file(b"p", b"99 path=a\n")
    record = record.replace(header(b"p", size=10), header(b"p", b"x", 10))
    refused(record + file(b"c") + END, tmp_path, "whose length is wrong")


def test_u14_cut_short_and_damaged(tmp_path: Path) -> None:
    whole = file(b"a", os.urandom(3000)) + file(b"b", os.urandom(3000)) + END
    refused(whole[:2000], tmp_path, "entry 1 'a': is cut short")
    refused(whole[:-1024], tmp_path, "end mark is missing")
    for name, compress in compressors().items():
        packed = compress(whole)
        refused(packed[: len(packed) // 2], tmp_path, "cut short")
        refused(packed[:-1], tmp_path, "cut short|damaged")
        if name != "zstd":  # written without a checksum here
            broken = bytearray(packed)
            broken[len(packed) // 2] ^= 0x55
            refused(bytes(broken), tmp_path, "damaged")
    refused(b"", tmp_path, "is empty")
    refused(END * 10, tmp_path, "holds no file")
    refused(b"#!/bin/sh\necho no archive\n" * 40, tmp_path, "is no tar archive")
    refused(whole[:3584] + b"x" + whole[3585:], tmp_path, "checksum is wrong")


@pytest.mark.parametrize("which", ["uid", "gid"])
@pytest.mark.parametrize(
    "value", [b"-1", b"\xff" * 8, b"\x80\0\0\0\xff\xff\xff\xff", b"\x80\0\0\1\0\0\0\0"]
)
def test_u15_ids_never_wrap(tmp_path: Path, which: str, value: bytes) -> None:
    refused(file(b"f", **{which: value}) + END, tmp_path, f"{which}")
    for text in (b"4294967295", b"4294967296", b"-1", b"18446744073709551616", b"+0", b"1 "):
        refused(pax({which.encode(): text}) + file(b"f") + END, tmp_path, f"{which}")
    assert not (tmp_path / "root/f").exists()


def test_u15_large_ids_are_kept_or_counted(tmp_path: Path) -> None:
    data = pax({b"uid": b"%d" % 2**31}) + file(b"f", gid=7) + END
    result, root = unpack_bytes(data, tmp_path)
    if os.geteuid() == 0:
        assert ((root / "f").stat().st_uid, (root / "f").stat().st_gid) == (2**31, 7)
    else:
        assert result.squashed == 1
    result, root = unpack_bytes(data, tmp_path, squash=True)
    assert (root / "f").stat().st_uid == os.geteuid()
    assert result.squashed == 1


def test_without_isal_gzip_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from zlib import error

    monkeypatch.setattr(compression, "_gzip", lambda: (compression._Gzip, (error, EOFError)))
    test_u14_members_and_garbage(tmp_path)
    test_u14_cut_short_and_damaged(tmp_path)
    test_u11_a_bomb_stops_at_the_ratio(tmp_path, "gzip")
