"""A tar stream as entries: V7, ustar, GNU and PAX, by one parser that trusts nothing.

An archive that two readers could understand in two ways is an error here: a PAX size beside
another header size, a file whose name ends in a slash, a link that carries data, records given
twice, anything but zeros behind the end.
"""

from __future__ import annotations

from kokon.errors import ArchiveError
from kokon.image import tar_fields
from kokon.image.byte_stream import BLOCK, ByteStream
from kokon.image.compression import too_large
from kokon.image.tar_fields import damaged, escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from kokon.image.limits import Limits

FILE, HARD_LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO = b"0123456"
"""The kinds of an entry, by their type flag."""

_HEADERS = b"xgLKVS"
_OCTAL_SIZE = 0o77777777777
_MOST_PADDING = 16 << 20
_XATTR = b"SCHILY.xattr."
_SPARSE = b"GNU.sparse."
_NOT_GLOBAL = (b"path", b"linkpath", b"size")


class Entry:
    """One member.

    :ivar name: as it stands in the archive, any bytes but NUL.
    :ivar kind: :data:`FILE`, :data:`HARD_LINK`, ….
    :ivar mode: permission bits with setuid, setgid and sticky.
    :ivar size: bytes of content that follow in the stream (0 for all but files).
    :ivar length: bytes of the file with its holes.
    :ivar sparse: (offset, length) of each stored piece, or None for a file without holes.
    :ivar mtime: nanoseconds since 1970.
    :ivar target: where a link points to.
    """

    __slots__ = (
        "gid", "kind", "length", "mode", "mtime", "name", "size", "sparse", "target", "uid",
        "xattrs",
    )  # fmt: skip

    def __init__(self) -> None:
        self.name = self.target = b""
        self.kind = FILE
        self.mode = self.uid = self.gid = self.size = self.length = self.mtime = 0
        self.sparse: list[tuple[int, int]] | None = None
        self.xattrs: dict[bytes, bytes] = {}


def no_archive() -> ArchiveError:
    """The error for a file that does not even begin like an archive."""
    return ArchiveError(
        "is no tar archive, plain or compressed by gzip, zstd, xz or bzip2",
        remedy="name a directory, a tarball or a built-in root",
    )


class TarReader:
    """The entries of one archive, in order.

    :ivar count: headers read so far.
    :ivar name: the entry at hand, ``b""`` between two; for messages.
    """

    __slots__ = ("_global", "_limits", "_stream", "count", "name")

    def __init__(self, stream: ByteStream, limits: Limits) -> None:
        self._stream = stream
        self._limits = limits
        self._global: dict[bytes, bytes] = {}
        self.count = 0
        self.name = b""

    def entries(self) -> Iterator[Entry]:
        """Each entry; its content must be taken from the stream before the next is asked for.

        :raises ArchiveError: see the module; also an archive without any entry.
        """
        empty = True
        while True:
            local: dict[bytes, bytes] = {}
            while block := self._header():
                kind = block[156]
                if kind not in _HEADERS or kind == b"S"[0]:
                    break
                self._extension(block, kind, local)
            if not block:
                if local:
                    raise damaged("ends behind an extension header that nothing follows")
                break
            entry = self._entry(block, local)
            yield entry
            self.name = b""
            empty = False
        if empty:
            raise ArchiveError("holds no file at all", remedy="name another root")

    def _header(self) -> bytes:
        """The next header, or ``b""`` at the end mark."""
        block = self._stream.block()
        if len(block) < BLOCK:
            if not self.count:
                raise (
                    no_archive() if block else ArchiveError("is empty", remedy="name another root")
                )
            raise ArchiveError("is cut short: its end mark is missing", remedy="fetch it again")
        if block[0] == 0 and not block.strip(b"\0"):
            self._end()
            return b""
        self.count += 1
        if self.count > self._limits.entries:
            raise too_large(f"has more than {self._limits.entries} entries")
        try:
            matches = tar_fields.checksum_matches(block)
        except ArchiveError:
            matches = False
        if not matches:
            if self.count == 1:
                raise no_archive()
            raise damaged("is damaged: a header's checksum is wrong")
        return block

    def _end(self) -> None:
        padding = 0
        for piece in self._stream.rest():
            padding += len(piece)
            if bytes(piece).strip(b"\0"):
                raise damaged("has something else behind its end mark")
            if padding > _MOST_PADDING:
                raise too_large("has megabytes of nothing behind its end mark")

    def _extension(self, block: bytes, kind: int, local: dict[bytes, bytes]) -> None:
        """Read a header that speaks of the entries behind it."""
        size = tar_fields.checked_size(tar_fields.number(block[124:136], "size"))
        if size > self._limits.header_bytes:
            raise too_large(f"has an extension header of {size} bytes")
        data = self._stream.take(size)
        self._stream.skip(tar_fields.padding(size))
        if kind == b"x"[0]:
            records = tar_fields.pax_records(data)
        elif kind == b"g"[0]:
            records = tar_fields.pax_records(data)
            for key in records:
                if key in _NOT_GLOBAL or key.startswith(_SPARSE):
                    raise damaged(f"gives {escape(key)} to every entry")
            self._global.update(records)
            return
        elif kind == b"V"[0]:  # GNU: the label of the volume
            return
        else:
            key = b"path" if kind == b"L"[0] else b"linkpath"
            records = {key: data.rstrip(b"\0")}
        for key, value in records.items():
            if key in local:
                raise damaged(f"gives {escape(key)} twice for one entry")
            local[key] = value

    def _entry(self, block: bytes, local: dict[bytes, bytes]) -> Entry:
        entry = Entry()
        records = {**self._global, **local} if self._global else local
        number = tar_fields.number
        entry.name = records.get(b"path") or _name(block)
        if not entry.name:
            raise damaged("has no name")
        self.name = entry.name
        entry.target = records.get(b"linkpath") or tar_fields.text(block[157:257])
        entry.kind = self._kind(block, entry.name, b"path" in local)
        entry.mode = number(block[100:108], "mode") & 0o7777
        uid = records.get(b"uid")
        gid = records.get(b"gid")
        mtime = records.get(b"mtime")
        entry.uid = tar_fields.checked_id(
            tar_fields.decimal(uid, "uid") if uid else number(block[108:116], "uid"), "uid"
        )
        entry.gid = tar_fields.checked_id(
            tar_fields.decimal(gid, "gid") if gid else number(block[116:124], "gid"), "gid"
        )
        entry.mtime = (
            tar_fields.nanoseconds(mtime)
            if mtime
            else number(block[136:148], "time") * 1_000_000_000
        )
        if abs(entry.mtime) >= 1 << 83:
            raise damaged("has an impossible time")
        entry.size = entry.length = self._size(block, records.get(b"size"), entry.kind)
        if block[156] == b"S"[0]:
            self._old_sparse(block, entry)
        if records:
            self._pax(entry, records)
        if b"\0" in entry.name or b"\0" in entry.target:
            raise damaged("has a NUL byte in its name")
        if max(len(entry.name), len(entry.target)) > self._limits.path_bytes:
            raise too_large(f"has a path longer than {self._limits.path_bytes} bytes")
        return entry

    def _kind(self, block: bytes, name: bytes, renamed: bool) -> int:
        kind = block[156]
        slash = name.endswith(b"/")
        if kind == 0:
            # V7 had no type for directories, only the slash; later formats must not guess.
            if slash and not renamed and block[257:262] != b"ustar":
                return DIRECTORY
            kind = FILE
        elif kind in b"7S":
            kind = FILE
        if kind == FILE and slash:
            raise damaged("is a file whose name ends in a slash")
        if not FILE <= kind <= FIFO:
            raise ArchiveError(
                f"has the unknown type {escape(bytes([kind]))}",
                remedy="make it with GNU tar or bsdtar, not incremental and in one volume",
            )
        return kind

    def _size(self, block: bytes, record: bytes | None, kind: int) -> int:
        size = tar_fields.checked_size(tar_fields.number(block[124:136], "size"))
        if record:
            wanted = tar_fields.checked_size(tar_fields.decimal(record, "size"))
            # Two sizes are honest only where the octal field could not hold the number.
            if wanted != size and wanted <= _OCTAL_SIZE:
                raise damaged(f"has two sizes, {size} and {wanted}")
            size = wanted
        if size and kind != FILE:
            raise damaged("has content but is no file")
        if size > self._limits.bytes:
            raise too_large(f"is a file of {size} bytes")
        return size

    def _pax(self, entry: Entry, records: dict[bytes, bytes]) -> None:
        sparse = {}
        for key, value in records.items():
            if key.startswith(_XATTR):
                entry.xattrs[key.removeprefix(_XATTR)] = value
            elif key.startswith(_SPARSE):
                sparse[key.removeprefix(_SPARSE)] = value
        if sparse:
            if sparse.keys() != {b"major", b"minor", b"name", b"realsize"} or (
                sparse[b"major"], sparse[b"minor"], entry.kind, entry.sparse
            ) != (b"1", b"0", FILE, None):  # fmt: skip
                raise ArchiveError(
                    "is in a sparse format that is not supported",
                    remedy="make it with tar --sparse-version=1.0 or without --sparse",
                )
            self._new_sparse(entry, sparse[b"name"], sparse[b"realsize"])

    def _old_sparse(self, block: bytes, entry: Entry) -> None:
        """GNU: four pairs in the header, then 21 in each block while its flag is set."""
        pairs = tar_fields.sparse_entries(block, 386, 4)
        more = block[482]
        while more:
            following = self._stream.take(BLOCK)
            pairs += tar_fields.sparse_entries(following, 0, 21)
            self._check_segments(len(pairs))
            more = following[504]
        self._set_sparse(entry, pairs, tar_fields.number(block[483:495], "real size"))

    def _new_sparse(self, entry: Entry, name: bytes, length: bytes) -> None:
        """PAX 1.0: the map is decimal lines in front of the content, padded to a block."""
        entry.name = self.name = name
        if not name or name.endswith(b"/"):
            raise damaged("is a sparse file without a name")
        lines: list[bytes] = []
        rest, wanted = b"", 1
        while len(lines) < wanted:
            if entry.size < BLOCK:
                raise damaged("has a sparse map that is longer than its file")
            *whole, rest = (rest + self._stream.take(BLOCK)).split(b"\n")
            entry.size -= BLOCK
            if len(rest) > BLOCK:
                raise damaged("has a sparse map that is no map")
            lines += whole
            if wanted == 1 and lines:
                wanted += 2 * tar_fields.decimal(lines[0], "sparse map")
                self._check_segments(wanted // 2)
        values = [tar_fields.decimal(line, "sparse map") for line in lines[1:wanted]]
        pairs = list(zip(values[::2], values[1::2], strict=True))
        self._set_sparse(entry, pairs, tar_fields.decimal(length, "real size"))

    def _set_sparse(self, entry: Entry, pairs: list[tuple[int, int]], length: int) -> None:
        entry.length = tar_fields.checked_size(length)
        if entry.length > self._limits.bytes:
            raise too_large(f"is a file of {length} bytes")
        entry.sparse = tar_fields.checked_sparse(pairs, entry.size, entry.length)

    def _check_segments(self, count: int) -> None:
        if count > self._limits.segments:
            raise too_large(f"has a sparse file of more than {self._limits.segments} pieces")


def _name(block: bytes) -> bytes:
    name = tar_fields.text(block[:100])
    # GNU's magic is "ustar  ": it keeps times, not a prefix, in that place.
    if block[257:263] == b"ustar\0" and block[345]:
        return tar_fields.text(block[345:500]) + b"/" + name
    return name
