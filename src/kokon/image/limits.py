"""How much an archive may ask for before it is refused."""

from __future__ import annotations


class Limits:
    """Ceilings of one unpacking; an archive that passes one of them is refused whole.

    :ivar bytes: bytes that come out of decompression, and of all files with their holes.
    :ivar ratio: bytes out of decompression for each byte in, once ``ratio_from`` bytes are out.
    :ivar entries: members, extension headers included.
    :ivar header_bytes: bytes of one PAX header or long name.
    :ivar path_bytes: bytes of a path or of a link's target (PATH_MAX less its NUL).
    :ivar depth: components of a path; each open level costs one descriptor.
    :ivar segments: pieces of one sparse file.
    :ivar memory: bytes that a decompressor may ask for (xz and zstd windows).
    """

    __slots__ = (
        "bytes", "depth", "entries", "header_bytes", "memory", "path_bytes", "ratio", "ratio_from",
        "segments",
    )  # fmt: skip

    def __init__(
        self,
        *,
        bytes: int = 64 << 30,
        ratio: int = 200,
        ratio_from: int = 64 << 20,
        entries: int = 1_000_000,
        header_bytes: int = 1 << 20,
        path_bytes: int = 4095,
        depth: int = 128,
        segments: int = 1 << 16,
        memory: int = 256 << 20,
    ) -> None:
        self.bytes = bytes
        self.ratio = ratio
        self.ratio_from = ratio_from
        self.entries = entries
        self.header_bytes = header_bytes
        self.path_bytes = path_bytes
        self.depth = depth
        self.segments = segments
        self.memory = memory
