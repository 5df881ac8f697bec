"""Chunks of any size as the blocks and byte counts that tar is made of."""

from __future__ import annotations

from kokon.errors import ArchiveError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = 512
"""Bytes of a tar block: everything in an archive begins at a multiple of it."""


class ByteStream:
    """A reader that copies nothing which it can hand out as a view."""

    __slots__ = ("_at", "_chunk", "_chunks")

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._chunk = memoryview(b"")
        self._at = 0

    def block(self) -> bytes:
        """The next block, shorter only where the stream ends."""
        block = bytes(self._chunk[self._at : self._at + BLOCK])
        self._at += len(block)
        while len(block) < BLOCK and self._fill():
            piece = self._chunk[: BLOCK - len(block)]
            self._at = len(piece)
            block += piece
        return block

    def take(self, count: int) -> bytes:
        """Exactly ``count`` bytes: for what has a small limit of its own.

        :raises ArchiveError: the stream ends before them.
        """
        return b"".join(self.pieces(count))

    def pieces(self, count: int) -> Iterator[memoryview]:
        """Exactly ``count`` bytes in views that are valid until the next one is asked for.

        :raises ArchiveError: the stream ends before them.
        """
        while count:
            piece = self._chunk[self._at : self._at + count]
            if piece:
                self._at += len(piece)
                count -= len(piece)
                yield piece
            elif not self._fill():
                raise ArchiveError("is cut short", remedy="fetch it again")

    def skip(self, count: int) -> None:
        """Pass over ``count`` bytes.

        :raises ArchiveError: the stream ends before them.
        """
        if self._at + count <= len(self._chunk):
            self._at += count
        else:
            for _ in self.pieces(count):
                pass

    def rest(self) -> Iterator[memoryview]:
        """Everything up to the end."""
        while self._at < len(self._chunk) or self._fill():
            piece = self._chunk[self._at :]
            self._at = len(self._chunk)
            yield piece

    def _fill(self) -> bool:
        for chunk in self._chunks:
            if chunk:
                self._chunk = memoryview(chunk)
                self._at = 0
                return True
        return False
