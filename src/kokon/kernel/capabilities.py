"""Capabilities by name and as a mask (capabilities(7), linux/capability.h)."""

from __future__ import annotations

from kokon.errors import OptionError, nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

NAMES = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID",
    "SETUID", "SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST",
    "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO",
    "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE",
    "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM",
    "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE",
)  # fmt: skip
"""Every capability without its prefix ``CAP_``; the place is the bit."""

BITS = {name: 1 << bit for bit, name in enumerate(NAMES)}

ALL = (1 << len(NAMES)) - 1

DEFAULT = (
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "AUDIT_WRITE",
    "SETFCAP",
)
"""Docker Engine's default without NET_RAW (CVE-2020-14386 and its like) and MKNOD."""


def mask(words: Iterable[str]) -> int:
    """Return the mask with the bits of all words; see :func:`parse` for what a word may be."""
    bits = 0
    for word in words:
        bits |= parse(word)
    return bits


def names(bits: int) -> tuple[str, ...]:
    """Return the names in a mask, lowest bit first; bits that have no name here are left out."""
    return tuple(name for name, bit in BITS.items() if bits & bit)


def parse(word: str, where: str = "") -> int:
    """Return the mask that a word stands for: ``NET_RAW``, ``CAP_NET_RAW``, ``ALL``.

    Case does not matter.

    :param where: the option that the word came with.
    :raises OptionError: there is no such capability.
    """
    name = word.strip().upper()
    if name == "ALL":
        return ALL
    bit = BITS.get(name.removeprefix("CAP_"))
    if bit is None:
        near = nearest(name.removeprefix("CAP_"), NAMES)
        raise OptionError(
            f"unknown capability {word!r}",
            where=where,
            remedy=f"did you mean {near}?" if near else "capabilities(7) lists them all",
        )
    return bit


DEFAULT_MASK = mask(DEFAULT)
