"""Archives that were damaged at random: unpacked or refused, never anything else."""

from __future__ import annotations

import gzip
import shutil
import tempfile
from pathlib import Path

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
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kokon.errors import ArchiveError
from kokon.image.limits import Limits

LIMITS = Limits(bytes=8 << 20, ratio_from=1 << 20, entries=500, header_bytes=1 << 14)

NAMES = st.sampled_from(
    [b"a", b"a/b", b"d", b"d/e/f", b"l", b"l/x", b"./d", b"/a", b".", b"../H/x", b"a/../b", b"s/d"]
)
TARGETS = st.sampled_from(
    [b"a", b"d", b"/", b"..", b"../H", b"/proc/self/root", b"l", b"a/b", b"."]
)
CONTENT = st.binary(max_size=600)
RECORDS = st.dictionaries(
    st.sampled_from([b"path", b"linkpath", b"size", b"uid", b"mtime", b"SCHILY.xattr.user.x",
                     b"GNU.sparse.major", b"GNU.sparse.minor", b"GNU.sparse.realsize",
                     b"GNU.sparse.name"]),
    st.one_of(NAMES, TARGETS, st.sampled_from([b"0", b"1", b"3", b"512", b"-1", b"1.5"])),
    max_size=5,
)  # fmt: skip
MEMBERS = st.one_of(
    st.builds(file, NAMES, CONTENT, mode=st.integers(0, 0o7777)),
    st.builds(directory, NAMES, mode=st.integers(0, 0o7777)),
    st.builds(symlink, NAMES, TARGETS),
    st.builds(hard_link, NAMES, TARGETS),
    st.builds(header, NAMES, st.sampled_from(list(map(bytes, zip(b"\x0034567SVMxgLK")))),
              st.integers(0, 2000)),
    st.builds(pax, RECORDS, st.sampled_from([b"x", b"g"])),
    st.builds(long_name, NAMES, st.sampled_from([b"L", b"K"])),
)  # fmt: skip


def attempt(data: bytes) -> None:
    top = Path(tempfile.mkdtemp())
    try:
        with canary(top):
            try:
                unpack_bytes(data, top, limits=LIMITS)
            except ArchiveError as error:
                assert str(error).startswith("crafted.tar")
                assert str(error).isprintable()
        (top / "root").chmod(0o700)
    finally:
        shutil.rmtree(top, onerror=lambda remove, path, _: None)


QUICK = settings(
    max_examples=150, deadline=5000, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


@QUICK
@given(st.lists(MEMBERS, min_size=1, max_size=12))
def test_members_in_any_order(members: list[bytes]) -> None:
    attempt(b"".join(members) + END)


@QUICK
@given(
    st.lists(MEMBERS, min_size=1, max_size=6),
    st.lists(st.tuples(st.integers(0, 6000), st.integers(1, 255)), min_size=1, max_size=8),
    st.booleans(),
)
def test_bytes_changed(members: list[bytes], changes: list[tuple[int, int]], packed: bool) -> None:
    data = b"".join(members) + END
    data = bytearray(gzip.compress(data) if packed else data)
    for at, change in changes:
        data[at % len(data)] ^= change
    for at in range(0, len(data), 512):
        if data[at + 257 : at + 262] == b"ustar":  # so that the change is looked at
            data[at + 148 : at + 156] = b" " * 8
            data[at + 148 : at + 156] = b"%06o\0 " % sum(data[at : at + 512])
    attempt(bytes(data))


@QUICK
@given(st.binary(max_size=3000), st.sampled_from([b"", b"\x1f\x8b\x08\0", b"BZh9", b"\xfd7zXZ\0"]))
def test_noise(noise: bytes, magic: bytes) -> None:
    attempt(magic + noise)
