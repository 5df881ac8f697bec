"""The bytes of an archive, decompressed in this process and told apart by their first bytes.

No program is ever run for it: a name such as ``xz`` could be found where an image put it.
Each format may be a chain of members (RFC 1952 section 2.2, the zstd and xz file formats);
zeros may follow the last one, anything else is refused.
"""

from __future__ import annotations

import os

from kokon.errors import ArchiveError, HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Protocol

    from kokon.image.limits import Limits

    class Decompressor(Protocol):
        """One member, as ``bz2.BZ2Decompressor`` has it."""

        @property
        def eof(self) -> bool: ...
        @property
        def needs_input(self) -> bool: ...
        @property
        def unused_data(self) -> bytes: ...
        def decompress(self, data: bytes, max_length: int = -1, /) -> bytes: ...


INPUT = 1 << 17
OUTPUT = 1 << 18
"""Bytes read and bytes decompressed at a time: a chunk stays in the second-level cache."""

GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"
XZ = b"\xfd7zXZ\x00"
BZIP2 = b"BZh"


class Source:
    """The archive as it lies on the disk or comes through a pipe, hashed as it is read.

    :ivar bytes: read so far.
    """

    __slots__ = ("_fd", "_hash", "bytes")

    def __init__(self, fd: int) -> None:
        from hashlib import sha256

        self._fd = fd
        self._hash = sha256()
        self.bytes = 0

    def read(self) -> bytes:
        """Up to :data:`INPUT` bytes, ``b""`` at the end."""
        data = os.read(self._fd, INPUT)
        self._hash.update(data)
        self.bytes += len(data)
        return data

    def digest(self) -> str:
        """SHA-256 of everything read, in hexadecimal."""
        return self._hash.hexdigest()


def chunks(source: Source, limits: Limits) -> Generator[bytes]:
    """The decompressed bytes of ``source``, a chunk of at most :data:`OUTPUT` at a time.

    :raises ArchiveError: damaged, cut short, followed by something else, or beyond the limits.
    :raises HostError: a package that the format needs is not installed.
    :raises OSError: the source cannot be read.
    """
    head = source.read()
    while 0 < len(head) < 16 and (more := source.read()):
        head += more
    magic = _magic(head)
    produced = 0
    for chunk in _members(source, head, magic, limits) if magic else _plain(source, head):
        produced += len(chunk)
        if produced > limits.bytes:
            raise too_large(f"holds more than {limits.bytes} bytes")
        if produced > limits.ratio_from and produced > limits.ratio * source.bytes:
            raise too_large(f"grows more than {limits.ratio} times when it is decompressed")
        yield chunk


def too_large(what: str) -> ArchiveError:
    """The error for an archive that passes a limit."""
    return ArchiveError(
        what, remedy="if it is meant so, unpack it yourself and give kokon the directory"
    )


def _magic(head: bytes) -> bytes:
    for magic in (GZIP, ZSTD, XZ, BZIP2):
        if head.startswith(magic):
            return magic
    return b""


def _plain(source: Source, chunk: bytes) -> Generator[bytes]:
    while chunk:
        yield chunk
        chunk = source.read()


def _members(source: Source, data: bytes, magic: bytes, limits: Limits) -> Generator[bytes]:
    new, failures = _decompressors(magic, limits)
    while True:
        member = new()
        try:
            while not member.eof:
                chunk = member.decompress(data, OUTPUT)
                if chunk:
                    yield chunk
                data = b""
                if member.needs_input and not member.eof:
                    data = source.read()
                    if not data:
                        raise ArchiveError("is cut short", remedy="fetch it again")
        except failures as error:
            raise ArchiveError(
                f"is damaged: {str(error) or 'bad data'}", remedy="fetch it again"
            ) from None
        data = member.unused_data
        while len(data) < len(magic) and (more := source.read()):
            data += more
        if not data.startswith(magic):
            break
    while data:
        if data.strip(b"\0"):
            raise ArchiveError(
                "has something else behind its compressed end", remedy="fetch it again"
            )
        data = source.read()


def _decompressors(
    magic: bytes, limits: Limits
) -> tuple[Callable[[], Decompressor], tuple[type[Exception], ...]]:
    """What makes a decompressor for one member, and what that raises for bad data."""
    if magic == GZIP:
        return _gzip()
    if magic == BZIP2:
        from bz2 import BZ2Decompressor

        return BZ2Decompressor, (OSError, EOFError, ValueError)
    if magic == XZ:
        from lzma import FORMAT_XZ, LZMADecompressor, LZMAError

        return (
            lambda: LZMADecompressor(format=FORMAT_XZ, memlimit=limits.memory),
            (LZMAError, EOFError, MemoryError),
        )
    try:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        try:
            from backports import zstd
        except ImportError:
            raise HostError(
                "this Python cannot read zstd", remedy="install the package backports.zstd"
            ) from None
    window = {zstd.DecompressionParameter.window_log_max: limits.memory.bit_length() - 1}
    return lambda: zstd.ZstdDecompressor(options=window), (zstd.ZstdError, EOFError)


def _gzip() -> tuple[Callable[[], Decompressor], tuple[type[Exception], ...]]:
    try:
        from isal.igzip_lib import DECOMP_GZIP, IgzipDecompressor, IsalError
    except ImportError:
        from zlib import error

        return _Gzip, (error, EOFError)
    # (isal's types call its exception class an instance.)
    failures: tuple[type[Exception], ...] = (IsalError, EOFError)  # type: ignore[assignment]
    return lambda: IgzipDecompressor(flag=DECOMP_GZIP), failures


class _Gzip:
    """zlib's decompressor with the manners of the other ones."""

    __slots__ = ("_zlib", "eof", "needs_input", "unused_data")

    def __init__(self) -> None:
        from zlib import MAX_WBITS, decompressobj

        self._zlib = decompressobj(MAX_WBITS | 16)
        self.eof = False
        self.needs_input = True
        self.unused_data = b""

    def decompress(self, data: bytes, max_length: int = -1, /) -> bytes:
        out = self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)
        self.eof = self._zlib.eof
        self.unused_data = self._zlib.unused_data
        self.needs_input = not self.eof and not self._zlib.unconsumed_tail and not out
        return out
