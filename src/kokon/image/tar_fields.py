"""The fields of tar headers and PAX records, each read in one way only.

POSIX.1-2017 pax (ustar and extended headers); GNU tar manual, "Basic Tar Format"; tar(5) of
libarchive for the oldest format.  Where readers are known to differ the value is refused.
"""

from __future__ import annotations

from kokon.errors import ArchiveError
from kokon.image.byte_stream import BLOCK
from kokon.kernel.accounts import LAST_ID

LARGEST = 2**62
"""Sizes above it are refused before anything is added to them."""


def escape(name: bytes) -> str:
    """A name from an archive for a message: printable, on one line, not longer than it helps."""
    text = name.decode("utf-8", "backslashreplace")
    if len(text) > 100:
        text = text[:60] + "…" + text[-39:]
    return "'" + "".join(c if c.isprintable() else repr(c)[1:-1] for c in text) + "'"


def damaged(what: str) -> ArchiveError:
    """The error for a header that breaks the format."""
    return ArchiveError(what, remedy="fetch it again, or make it again with GNU tar or bsdtar")


def checksum_matches(block: bytes) -> bool:
    """Whether the header's sum holds, its own eight bytes counted as blanks."""
    wanted = sum(block) - sum(block[148:156]) + 8 * 0x20
    return number(block[148:156], "checksum") == wanted


def number(field: bytes, what: str) -> int:
    """A header's number: octal digits, or base 256 where the first bit is set (GNU, star)."""
    digits = field.rstrip(b"\0 ")
    if digits.isdigit() and b"8" not in digits and b"9" not in digits:
        return int(digits, 8)
    first = field[0]
    if first & 0x80:
        value = int.from_bytes(field, "big") & ((1 << (8 * len(field) - 1)) - 1)
        if first & 0x40:
            value -= 1 << (8 * len(field) - 1)
        return value
    digits = field.split(b"\0", 1)[0].strip(b" ")
    if not digits:
        return 0
    # int() alone would take signs, underscores and 0o.
    if not digits.isdigit() or b"8" in digits or b"9" in digits:
        raise damaged(f"has a {what} that is no number: {escape(digits)}")
    return int(digits, 8)


def text(field: bytes) -> bytes:
    """A header's string: up to its first NUL."""
    return field.split(b"\0", 1)[0]


def checked_id(value: int, what: str) -> int:
    """A uid or gid that cannot wrap around into another one."""
    if not 0 <= value <= LAST_ID:
        raise damaged(f"has the {what} {value}, which is no valid id")
    return value


def checked_size(value: int) -> int:
    """A size that can be rounded up and added to."""
    if not 0 <= value <= LARGEST:
        raise damaged(f"has the impossible size {value}")
    return value


def decimal(value: bytes, what: str) -> int:
    """A PAX number without sign."""
    if not value.isdigit() or len(value) > 20:
        raise damaged(f"has a {what} that is no number: {escape(value)}")
    return int(value)


def nanoseconds(value: bytes) -> int:
    """A PAX time: decimal seconds with or without a fraction, before 1970 too."""
    whole, _, fraction = value.removeprefix(b"-").partition(b".")
    if not whole.isdigit() or len(whole) > 16 or not (fraction or b"0").isdigit():
        raise damaged(f"has a time that is no number: {escape(value)}")
    time = int(whole) * 1_000_000_000 + int(fraction[:9].ljust(9, b"0"))
    return -time if value.startswith(b"-") else time


def pax_records(data: bytes) -> dict[bytes, bytes]:
    """The records of an extended header: ``LENGTH key=value`` and a newline, each key once."""
    records: dict[bytes, bytes] = {}
    at = 0
    while at < len(data):
        blank = data.find(b" ", at, at + 12)
        digits = data[at:blank] if blank > 0 else b""
        end = at + (int(digits) if digits.isdigit() else 0)
        if end <= blank or end > len(data) or data[end - 1 : end] != b"\n":
            raise damaged("has a PAX record whose length is wrong")
        key, equals, value = data[blank + 1 : end - 1].partition(b"=")
        if not key or not equals or b"\0" in key:
            raise damaged("has a PAX record without a key")
        if key in records:
            raise damaged(f"has the PAX record {escape(key)} twice")
        records[key] = value
        at = end
    return records


def sparse_entries(block: bytes, start: int, count: int) -> list[tuple[int, int]]:
    """The (offset, length) pairs of a GNU sparse header, up to the first unused one."""
    pairs = []
    for at in range(start, start + 24 * count, 24):
        if block[at] == 0:
            break
        offset = checked_size(number(block[at : at + 12], "sparse offset"))
        length = checked_size(number(block[at + 12 : at + 24], "sparse length"))
        pairs.append((offset, length))
    return pairs


def checked_sparse(pairs: list[tuple[int, int]], stored: int, size: int) -> list[tuple[int, int]]:
    """Pieces in order, apart, inside the file, and as many bytes as are stored."""
    end = total = 0
    for offset, length in pairs:
        if offset < end or offset + length > size:
            raise damaged("has a sparse map that contradicts itself")
        end = offset + length
        total += length
    if total != stored:
        raise damaged("has a sparse map that contradicts its size")
    return pairs


def padding(size: int) -> int:
    """Bytes from the end of ``size`` bytes to the next block."""
    return -size % BLOCK
