"""Users and groups of a root, read from its /etc/passwd and /etc/group.

The grammar comes first: digits alone are a number and are never looked up as a name, so a root
cannot make ``--user 1000`` mean somebody else.  The C library's lookup is not used: it would load
name-service modules and read the host's files.
"""

from __future__ import annotations

import os
from errno import EMFILE, ENFILE

from kokon.errors import RootError, UserError
from kokon.kernel.safe_paths import SMALL_FILE, open_regular_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LAST_ID = 2**32 - 2
"""The largest uid and gid; 2**32 - 1 means "leave as it is" to chown(2) and setresuid(2)."""

LONGEST_LINE = 4096
"""Bytes that one line of passwd or group may have."""

LONGEST_NAME = 256

_PASSWD = "/etc/passwd"
_GROUP = "/etc/group"
_FIRST = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")
_LATER = _FIRST | frozenset("0123456789.@-$")


class Account:
    """Whom a program runs as.

    :ivar groups: the gids for ``setgroups(2)``: the primary one first, none twice.
    :ivar home: an absolute path, ``/`` where the root says nothing usable.
    :ivar name: the name in passwd, or "" for a number that is not listed there.
    """

    __slots__ = ("gid", "groups", "home", "name", "uid")

    def __init__(self, uid: int, gid: int, groups: tuple[int, ...], home: str, name: str) -> None:
        self.uid = uid
        self.gid = gid
        self.groups = groups
        self.home = home
        self.name = name

    def __repr__(self) -> str:
        return (
            f"Account(uid={self.uid}, gid={self.gid}, groups={self.groups}, "
            f"home={self.home!r}, name={self.name!r})"
        )


def lookup_user(root_fd: int | Mapping[str, bytes], user: str) -> Account:
    """The account that ``user`` means in the root.

    As in Docker: a number need not be listed (its group is then 0, its home ``/``), a name must
    be; with ``:group`` the supplementary groups of the user are left out.

    :param root_fd: the root's directory, or the contents of its files by path without a slash.
    :param user: ``name|uid[:group|gid]``.
    :raises UserError: a name or number that breaks the grammar or that the root does not have;
        a passwd or group file that is no regular file, too large, or has a line too long.
    """
    who, colon, group = user.partition(":")
    uid = _parse(who, user)
    wanted_gid = _parse(group, user) if colon else None
    gid, home, name = 0, "/", ""
    for fields in _lines(root_fd, _PASSWD):
        if len(fields) < 4 or (fields[0] != who if uid is None else _number(fields[2]) != uid):
            continue
        name = fields[0]
        uid, gid = _listed(fields[2], name, _PASSWD), _listed(fields[3], name, _PASSWD)
        if len(fields) > 5 and fields[5].startswith("/") and fields[5].isprintable():
            home = fields[5]
        break
    if uid is None:
        raise UserError(
            f"the root has no user {who!r}", where=_PASSWD, remedy="give a uid or a name it lists"
        )
    if colon:
        gid = wanted_gid if wanted_gid is not None else _group_named(root_fd, group)
        return Account(uid, gid, (gid,), home, name)
    groups = {gid: None}
    if name:
        for fields in _lines(root_fd, _GROUP):
            if len(fields) > 3 and name in fields[3].split(","):
                groups[_listed(fields[2], fields[0], _GROUP)] = None
    return Account(uid, gid, tuple(groups), home, name)


def _group_named(root_fd: int | Mapping[str, bytes], group: str) -> int:
    for fields in _lines(root_fd, _GROUP):
        if len(fields) > 2 and fields[0] == group:
            return _listed(fields[2], group, _GROUP)
    raise UserError(
        f"the root has no group {group!r}", where=_GROUP, remedy="give a gid or a name it lists"
    )


def _parse(word: str, user: str) -> int | None:
    """A number for digits, None for a name."""
    number = _number(word)
    if number is not None:
        if number > LAST_ID:
            raise UserError(
                f"{_shown(word)} is beyond the largest id", where=f"user {_shown(user)}",
                remedy=f"give a number from 0 to {LAST_ID}",
            )  # fmt: skip
        return number
    if not word or len(word) > LONGEST_NAME or word[0] not in _FIRST or not _LATER.issuperset(word):
        raise UserError(
            f"{_shown(word)} is neither a name nor a number", where=f"user {_shown(user)}",
            remedy="write name or uid, then :group or :gid where it is wanted",
        )  # fmt: skip
    return None


def _number(word: str) -> int | None:
    if not (word.isascii() and word.isdigit()):
        return None
    # Ten digits hold every id; more would only make int() slow or fail.
    return int(word) if len(word.lstrip("0")) <= 10 else LAST_ID + 1


def _listed(word: str, name: str, path: str) -> int:
    number = _number(word)
    if number is None or number > LAST_ID:
        raise UserError(f"the line of {name!r} has no valid id", where=path, remedy="correct it")
    return number


def _shown(word: str) -> str:
    return repr(word if len(word) <= 64 else word[:64] + "…")


def _lines(root_fd: int | Mapping[str, bytes], path: str) -> Iterator[list[str]]:
    """The fields of each line, read no further than they are asked for; nothing if missing."""
    where = f"{path} of the root"
    if not isinstance(root_fd, int):
        for line in root_fd.get(path.lstrip("/"), b"").split(b"\n"):
            yield _fields(line, where)
        return
    try:
        fd = open_regular_file(root_fd, path)
    except FileNotFoundError:
        return
    except RootError as error:
        raise UserError(error.what, where=where, remedy="give numbers") from None
    except OSError as error:
        if error.errno in (EMFILE, ENFILE):
            raise  # not the file's fault
        raise UserError(
            "cannot be opened", where=where, errno=error.errno or 0, remedy="make it a plain file"
        ) from None
    try:
        rest, size = b"", 0
        while part := os.read(fd, 1 << 16):
            size += len(part)
            if size > SMALL_FILE:
                raise UserError(f"is larger than {SMALL_FILE} bytes", where=where)
            *lines, rest = (rest + part).split(b"\n")
            for line in lines:
                yield _fields(line, where)
            _fields(rest, where)
        yield _fields(rest, where)
    finally:
        os.close(fd)


def _fields(line: bytes, where: str) -> list[str]:
    if len(line) > LONGEST_LINE:
        raise UserError(f"has a line longer than {LONGEST_LINE} bytes", where=where)
    return os.fsdecode(line).split(":")
