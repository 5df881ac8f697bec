"""Extended attributes that an archive may set.

``trusted.*`` and ``user.overlay.*`` are orders to overlayfs (redirects, opaque directories,
metadata-only copies), ``system.*`` are access lists in the host's ids, and other ``security.*``
belong to the host's modules.
"""

from __future__ import annotations

import struct

from kokon.image.tar_fields import damaged, escape

_LONGEST_NAME = 255  # XATTR_NAME_MAX
_LARGEST_VALUE = 1 << 16  # XATTR_SIZE_MAX
_CAPABILITY = b"security.capability"
_REVISION_2 = 0x02000000  # linux/capability.h: struct vfs_cap_data, and with a root id
_REVISION_3 = 0x03000000
_EFFECTIVE = 0x000001


def allowed_xattrs(
    xattrs: dict[bytes, bytes],
) -> tuple[dict[bytes, bytes], list[tuple[bytes, str]]]:
    """The attributes to set, and the names left out with the reason.

    :raises ArchiveError: a name or value that no file could have.
    """
    kept: dict[bytes, bytes] = {}
    left_out: list[tuple[bytes, str]] = []
    for name, value in xattrs.items():
        space, dot, rest = name.partition(b".")
        if not (space and dot and rest) or len(name) > _LONGEST_NAME:
            raise damaged(f"has an extended attribute with the bad name {escape(name)}")
        if len(value) > _LARGEST_VALUE:
            raise damaged(f"has {len(value)} bytes in the extended attribute {escape(name)}")
        if name == _CAPABILITY:
            capability = _file_capability(value)
            if capability:
                kept[name] = capability
            else:
                left_out.append((name, "capability of another user namespace"))
        elif space == b"user" and not (rest + b".").startswith(b"overlay."):
            kept[name] = value
        else:
            left_out.append((name, "extended attribute that only the host may set"))
    return kept, left_out


def _file_capability(value: bytes) -> bytes:
    """The attribute in its second form, or ``b""`` where it names a root of its own."""
    if len(value) not in (20, 24):
        raise damaged("has a file capability of the wrong size")
    magic, *sets = struct.unpack_from("<5I", value)
    expected = _REVISION_2 if len(value) == 20 else _REVISION_3
    if magic & ~_EFFECTIVE != expected:
        raise damaged("has a file capability of an unknown form")
    if len(value) == 24 and value[20:] != bytes(4):
        return b""
    return struct.pack("<5I", _REVISION_2 | magic & _EFFECTIVE, *sets)
