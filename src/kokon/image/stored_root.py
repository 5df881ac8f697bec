"""One root of the store, and its ``meta`` file: a text that needs no parser to be imported."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.image.unpack import Unpacked

_FIRST = "kokon-root 1"
_NUMBERS = ("entries", "bytes", "squashed", "skips", "uptime")


class StoredRoot:
    """A root in the store.

    :ivar path: of the tree.
    :ivar fresh: it was unpacked by this very call.
    :ivar digest: SHA-256 of its tarball in hexadecimal.
    :ivar entries, bytes, squashed, skips, skipped: as in :class:`kokon.image.unpack.Unpacked`.
    :ivar boot: the boot id of the machine when it was made.
    :ivar uptime: seconds since that boot.
    """

    __slots__ = (
        "boot", "bytes", "digest", "entries", "fresh", "path", "skipped", "skips", "squashed",
        "uptime",
    )  # fmt: skip

    def __init__(
        self,
        path: str,
        digest: str,
        *,
        entries: int,
        bytes: int,
        squashed: int,
        skips: int,
        skipped: tuple[tuple[str, str], ...],
        boot: str,
        uptime: int,
    ) -> None:
        self.path = path
        self.fresh = False
        self.digest = digest
        self.entries = entries
        self.bytes = bytes
        self.squashed = squashed
        self.skips = skips
        self.skipped = skipped
        self.boot = boot
        self.uptime = uptime


def encode(unpacked: Unpacked, boot: str, uptime: int) -> bytes:
    """The ``meta`` file of a root that was just unpacked."""
    lines = [
        _FIRST,
        f"boot {boot}",
        f"uptime {uptime}",
        f"entries {unpacked.entries}",
        f"bytes {unpacked.bytes}",
        f"squashed {unpacked.squashed}",
        f"skips {unpacked.skips}",
        *(f"skipped {_escape(path)}\t{_escape(why)}" for path, why in unpacked.skipped),
        "end",
    ]
    return "\n".join(lines).encode("ascii")


def decode(meta: bytes, path: str, digest: str) -> StoredRoot | None:
    """The root that ``meta`` describes; None where it is not what :func:`encode` writes."""
    try:
        first, *lines, end = meta.decode("ascii").split("\n")
        if (first, end) != (_FIRST, "end"):
            return None
        skipped = []
        values: dict[str, str] = {}
        for line in lines:
            key, _, value = line.partition(" ")
            if key == "skipped":
                left_out, _, why = value.partition("\t")
                skipped.append((_unescape(left_out), _unescape(why)))
            else:
                values[key] = value
        boot = values.pop("boot")
        numbers = {key: int(values[key]) for key in _NUMBERS}
    except (ValueError, KeyError):
        return None
    return StoredRoot(path, digest, skipped=tuple(skipped), boot=boot, **numbers)


def _escape(text: str) -> str:
    return text.encode("unicode_escape").decode("ascii")


def _unescape(text: str) -> str:
    return text.encode("ascii").decode("unicode_escape")
