"""mount(8)'s words as flags: a closed vocabulary (row M16)."""

from __future__ import annotations

from kokon.errors import SpecError
from kokon.kernel.constants import (
    MOUNT_ATTR_ATIME,
    MOUNT_ATTR_NOATIME,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_NOSYMFOLLOW,
    MOUNT_ATTR_RDONLY,
    MOUNT_ATTR_STRICTATIME,
    MS_PRIVATE,
    PROPAGATION,
)

# Word to (set, clear); the last word wins (mount(8)).
WORDS = {
    "ro": (MOUNT_ATTR_RDONLY, 0),
    "rw": (0, MOUNT_ATTR_RDONLY),
    "nosuid": (MOUNT_ATTR_NOSUID, 0),
    "suid": (0, MOUNT_ATTR_NOSUID),
    "nodev": (MOUNT_ATTR_NODEV, 0),
    "dev": (0, MOUNT_ATTR_NODEV),
    "noexec": (MOUNT_ATTR_NOEXEC, 0),
    "exec": (0, MOUNT_ATTR_NOEXEC),
    "nodiratime": (MOUNT_ATTR_NODIRATIME, 0),
    "diratime": (0, MOUNT_ATTR_NODIRATIME),
    "nosymfollow": (MOUNT_ATTR_NOSYMFOLLOW, 0),
    "symfollow": (0, MOUNT_ATTR_NOSYMFOLLOW),
    "noatime": (MOUNT_ATTR_NOATIME, MOUNT_ATTR_ATIME),
    "relatime": (0, MOUNT_ATTR_ATIME),
    "strictatime": (MOUNT_ATTR_STRICTATIME, MOUNT_ATTR_ATIME),
}
LIFTED = {"atime": MOUNT_ATTR_NOATIME, "nostrictatime": MOUNT_ATTR_STRICTATIME}
"""Words that take another one back, and leave a third as it is."""

IGNORED = frozenset(
    ("defaults", "bind", "rbind", "norelatime", "nomand", "noiversion", "silent", "loud")
)
"""What Linux does anyway; the last two are about what the kernel's log says."""

SUPERBLOCK = frozenset(("sync", "async", "dirsync", "lazytime", "nolazytime"))
"""Of a file system and not of a mount: a bind has what its source has (fsconfig(2))."""

DATA = {
    "tmpfs": frozenset(
        ("size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "huge", "noswap", "inode32",
         "inode64")
    ),
    "devpts": frozenset(("newinstance", "ptmxmode", "mode", "uid", "gid", "max")),
    "proc": frozenset(("hidepid", "subset", "gid")),
    "sysfs": frozenset(),
    "mqueue": frozenset(),
    "bind": frozenset(),
    "overlay": frozenset(),
}  # fmt: skip
"""File systems that may be mounted, with the options of their own that are passed on."""


class MountOptions:
    """What a list of options comes to.

    :ivar set: MOUNT_ATTR_* to set; :ivar clear: to clear (both for the topmost mount).
    :ivar recursive_set: the same for the whole tree; :ivar recursive_clear.
    :ivar propagation: MS_PRIVATE, …; :ivar propagation_recursive.
    :ivar recursive: rbind.
    :ivar mapped: 1 for ids that are mapped (idmap), 2 with those of all mounts below (ridmap).
    :ivar copies: what will be covered is copied into the new file system (tmpcopyup).
    :ivar data: pairs for fsconfig(2), a flag has None.
    """

    __slots__ = ("clear", "copies", "data", "mapped", "propagation", "propagation_recursive",
                 "recursive", "recursive_clear", "recursive_set", "set")  # fmt: skip

    def __init__(self) -> None:
        self.set = 0
        self.clear = 0
        self.recursive_set = 0
        self.recursive_clear = 0
        self.propagation = MS_PRIVATE
        self.propagation_recursive = True
        self.recursive = False
        self.mapped = 0
        self.copies = False
        self.data: list[str | None] = []


def check_value(word: str, value: str, where: str) -> None:
    """What the kernel would refuse with no word on which option it was (EINVAL).

    :raises SpecError: a size, mode or id that is none.
    """
    number, example = value, ""
    if word in ("size", "nr_inodes", "nr_blocks"):
        number = value[:-1] if value[-1:].lower() in tuple("kmgtpe%") else value
        example = "64m"
    elif word in ("mode", "ptmxmode"):
        number = "" if value.strip("01234567") or len(value) > 5 else value
        example = "1777"
    elif word in ("uid", "gid"):
        number = "" if len(value) > 10 else value
        example = "1000"
    if example and not (number.isascii() and number.isdigit()):
        raise SpecError(
            f"{word}={value} is no {word}",
            where=where,
            remedy=f"write for example {word}={example}",
        )


def _with(word: str, on: int, off: int) -> tuple[int, int]:
    """The bits to set and to clear, after one more word."""
    if word in LIFTED:
        return (on & ~MOUNT_ATTR_ATIME if on & MOUNT_ATTR_ATIME == LIFTED[word] else on), off
    more, less = WORDS[word]
    return on & ~(more | less) | more, off & ~more | less


def parse(kind: str, options: tuple[str, ...], where: str, passes: bool = False) -> MountOptions:
    """The options of one mount of a file system type.

    :param passes: a word that is not known goes to the file system, for the kernel to judge.
    :raises SpecError: a word that is neither a mount option nor one of the type.
    """
    result = MountOptions()
    for option in options:
        word, equals, value = option.partition("=")
        if option in WORDS or option in LIFTED:
            result.set, result.clear = _with(option, result.set, result.clear)
        elif option[:1] == "r" and (option[1:] in WORDS or option[1:] in LIFTED):
            result.recursive_set, result.recursive_clear = _with(
                option[1:], result.recursive_set, result.recursive_clear
            )
            # The top is of the tree: what was said of it alone before is over.
            said = sum(WORDS.get(option[1:], (0, 0)))
            result.set, result.clear = result.set & ~said, result.clear & ~said
        elif option.removeprefix("r") in PROPAGATION:
            result.propagation = PROPAGATION[option.removeprefix("r")]
            result.propagation_recursive = option not in PROPAGATION
        elif option in IGNORED:
            result.recursive = result.recursive or option == "rbind"
        elif option in SUPERBLOCK and (kind != "bind" or option in ("async", "nolazytime")):
            result.data += (option, None) if kind != "bind" else ()
        elif word in DATA.get(kind, ()):
            check_value(word, value, where)
            result.data += (word, value if equals else None)
        elif option in ("idmap", "ridmap") and kind == "bind":
            result.mapped = 2 if option == "ridmap" else 1
        elif option == "tmpcopyup" and kind == "tmpfs":
            result.copies = True
        elif passes:
            result.data += (word, value if equals else None)
        else:
            raise SpecError(
                f"{option!r} is no mount option of {kind}",
                where=where,
                remedy="leave it out or see mount(8)",
            )
    return result
