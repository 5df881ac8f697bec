"""Tar archives that no honest program writes, and the directory that they must not reach."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kokon.image.unpack import Unpacked, unpack

END = bytes(1024)
USTAR = b"ustar\x0000"
GNU = b"ustar  \0"


def octal(value: int | bytes, width: int) -> bytes:
    if isinstance(value, bytes):
        return value.ljust(width, b"\0")
    return b"%0*o\0" % (width - 1, value)


def header(
    name: bytes,
    kind: bytes = b"0",
    size: int | bytes = 0,
    *,
    mode: int = 0o644,
    uid: int | bytes = 0,
    gid: int | bytes = 0,
    mtime: int | bytes = 0,
    target: bytes = b"",
    magic: bytes = USTAR,
    device: bytes = b"",
    tail: bytes = b"",
) -> bytes:
    block = b"".join((
        name[:100].ljust(100, b"\0"), octal(mode, 8), octal(uid, 8), octal(gid, 8),
        octal(size, 12), octal(mtime, 12), b" " * 8, kind, target[:100].ljust(100, b"\0"),
        magic.ljust(8, b"\0"), bytes(64), device.ljust(16, b"\0"), tail,
    )).ljust(512, b"\0")  # fmt: skip
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 512)


def file(name: bytes, content: bytes = b"", **fields: Any) -> bytes:
    return header(name, size=len(content), **fields) + padded(content)


def directory(name: bytes, **fields: Any) -> bytes:
    return header(name, b"5", mode=fields.pop("mode", 0o755), **fields)


def symlink(name: bytes, target: bytes, **fields: Any) -> bytes:
    return header(name, b"2", target=target, **fields)


def hard_link(name: bytes, target: bytes, **fields: Any) -> bytes:
    return header(name, b"1", target=target, **fields)


def pax(records: dict[bytes, bytes], kind: bytes = b"x") -> bytes:
    body = b""
    for key, value in records.items():
        text = b" " + key + b"=" + value + b"\n"
        length = len(text) + 1
        while length != len(str(length)) + len(text):
            length = len(str(length)) + len(text)
        body += b"%d" % length + text
    return file(b"pax", body).replace(
        header(b"pax", size=len(body)), header(b"pax", kind, len(body))
    )


def long_name(name: bytes, kind: bytes = b"L") -> bytes:
    return header(b"././@LongLink", kind, len(name) + 1, magic=GNU) + padded(name + b"\0")


def snapshot(top: Path) -> dict[str, tuple[object, ...]]:
    """Everything that can be seen of a tree: status, content, attributes."""
    seen = {}
    for path in [top, *sorted(top.rglob("*"))]:
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        xattrs = [(x, os.getxattr(path, x, follow_symlinks=False))
                  for x in os.listxattr(path, follow_symlinks=False)]  # fmt: skip
        seen[str(path)] = (
            status.st_mode, status.st_uid, status.st_gid, status.st_nlink, status.st_size,
            status.st_ino, status.st_mtime_ns, status.st_ctime_ns, content, xattrs,
        )  # fmt: skip
    return seen


@contextmanager
def canary(top: Path) -> Iterator[Path]:
    """A directory outside every root, that must be the same afterwards."""
    host = top / "H"
    (host / "d").mkdir(parents=True)
    (host / "secret").write_text("the secret of the host")
    (host / "secret").chmod(0o600)
    os.mkfifo(host / "fifo")
    before = snapshot(host)
    yield host
    assert snapshot(host) == before


def unpack_bytes(data: bytes, top: Path, **options: Any) -> tuple[Unpacked, Path]:
    """Unpack into ``top/root``; the root stays, for a second layer too."""
    root = top / "root"
    root.mkdir(mode=0o700, exist_ok=True)
    tarball = top / "crafted.tar"
    tarball.write_bytes(data)
    archive_fd = os.open(tarball, os.O_RDONLY)
    root_fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    before = len(os.listdir("/proc/self/fd"))
    try:
        return unpack(archive_fd, root_fd, "crafted.tar", **options), root
    finally:
        assert len(os.listdir("/proc/self/fd")) == before, "a descriptor was left open"
        os.close(root_fd)
        os.close(archive_fd)
