"""Unpacking a tarball: read, decompress, parse and make files, in one pass."""

from __future__ import annotations

import os
from errno import EDQUOT, EILSEQ, EIO, ENAMETOOLONG, ENOSPC
from stat import S_ISREG

from kokon.errors import ArchiveError, HostError
from kokon.image.byte_stream import ByteStream
from kokon.image.compression import Source, chunks
from kokon.image.extractor import Extractor
from kokon.image.limits import Limits
from kokon.image.read_ahead import read_ahead
from kokon.image.tar import TarReader
from kokon.image.tar_fields import escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator


class Unpacked:
    """What came out of an archive.

    :ivar entries: members, without extension headers.
    :ivar bytes: of all files, holes included.
    :ivar digest: SHA-256 of the archive file in hexadecimal.
    :ivar squashed: entries of another owner than 0:0 that now belong to the caller.
    :ivar skipped: (path, reason) of the first hundred things left out, for a person to read.
    :ivar skips: how many were left out.
    """

    __slots__ = ("bytes", "digest", "entries", "skipped", "skips", "squashed")

    def __init__(
        self,
        *,
        entries: int,
        bytes: int,
        digest: str,
        squashed: int,
        skips: int,
        skipped: tuple[tuple[str, str], ...],
    ) -> None:
        self.entries = entries
        self.bytes = bytes
        self.digest = digest
        self.squashed = squashed
        self.skips = skips
        self.skipped = skipped


def unpack(
    archive_fd: int,
    root_fd: int,
    name: str,
    *,
    limits: Limits | None = None,
    squash: bool | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Unpacked:
    """Unpack the archive that ``archive_fd`` reads into the empty directory ``root_fd``.

    On failure the directory holds what had come so far: the caller removes it.

    :param name: what messages call the archive.
    :param squash: give every file to the caller; None means for everyone but root.
    :param progress: called with bytes read and the size in all (0 where it is not known).
    :raises ArchiveError: no archive, cut short, damaged, hostile or beyond the limits.
    :raises HostError: no space left, an id this user namespace does not map, no zstd.
    """
    limits = limits or Limits()
    squash = os.geteuid() != 0 if squash is None else squash
    source = Source(archive_fd)
    status = os.fstat(archive_fd)
    is_file = S_ISREG(status.st_mode)
    chunked = chunks(source, limits)
    data = read_ahead(chunked) if is_file else chunked
    if progress is not None:
        data = _reported(data, source, status.st_size if is_file else 0, progress)
    stream = ByteStream(data)
    reader = TarReader(stream, limits)
    extractor = Extractor(root_fd, stream, limits, squash)
    try:
        for entry in reader.entries():
            extractor.add(entry)
        reader.name = b""
        extractor.finish()
    except (ArchiveError, HostError) as error:
        error.where = _where(name, reader)
        raise
    except OSError as error:
        raise _refused(error, _where(name, reader)) from None
    finally:
        extractor.close()
        data.close()
    return Unpacked(
        entries=extractor.entries, bytes=extractor.bytes, digest=source.digest(),
        squashed=extractor.squashed, skips=extractor.skips, skipped=tuple(extractor.skipped),
    )  # fmt: skip


def _reported(
    data: Generator[bytes], source: Source, size: int, progress: Callable[[int, int], object]
) -> Generator[bytes]:
    for chunk in data:
        progress(source.bytes, size)
        yield chunk


def _where(archive: str, reader: TarReader) -> str:
    if reader.name:
        return f"{archive}, entry {reader.count} {escape(reader.name)}"
    return f"{archive}, after entry {reader.count}" if reader.count > 1 else archive


def _refused(error: OSError, where: str) -> ArchiveError | HostError:
    """An error of the kernel as the sentence it deserves."""
    number = error.errno or EIO
    if number in (ENAMETOOLONG, EILSEQ):
        return ArchiveError(
            "has a name that this file system cannot hold", where=where, errno=number,
            remedy="name another root",
        )  # fmt: skip
    remedy = {
        ENOSPC: "make room, or choose another directory for the store",
        EDQUOT: "make room in the quota, or choose another directory for the store",
    }.get(number, "look at the archive's and the store's file systems")
    return HostError("cannot be unpacked", where=where, errno=number, remedy=remedy)
