"""Conditions of what is saved for the launcher: that it is as it was (launcher/conditions.c)."""

from __future__ import annotations

import os
from struct import pack

from kokon.plan import saved
from kokon.plan.saved import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.kernel.facts import HostFacts

NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")


def identity(host: HostFacts) -> list[Record]:
    """Who we are and where: ids, groups, capabilities, namespaces."""
    who = (host.uid, host.gid, host.capabilities, host.bounding, *os.getgroups())
    records = [Record(saved.SAME_IDENTITY, b=pack(f"<{len(who)}Q", *who))]
    return records + [status(f"/proc/self/ns/{name}") for name in NAMESPACES]


def status(path: str, found: os.stat_result | None = None, fields: int = 5) -> Record:
    """The same file.

    :param fields: with five a directory may have other entries, with eight its dates count too.
    """
    found = found or os.stat(path)
    values = (
        found.st_dev, found.st_ino, found.st_mode, found.st_uid, found.st_gid, found.st_size,
        found.st_mtime_ns, found.st_ctime_ns,
    )[:fields]  # fmt: skip
    return Record(saved.SAME_STATUS, os.fsencode(path), pack(f"<{fields}Q", *values))


def text(path: str) -> Record:
    """A small file with the same content, or still none."""
    try:
        with open(path, "rb") as file:
            return Record(saved.SAME_TEXT, os.fsencode(path), file.read())
    except OSError:
        return Record(saved.SAME_TEXT, os.fsencode(path), number=saved.ABSENT)


def variable(name: str) -> Record:
    """A variable of the environment with the same value, or still none."""
    value = os.environb.get(os.fsencode(name))
    if value is None:
        return Record(saved.SAME_VARIABLE, os.fsencode(name), number=saved.ABSENT)
    return Record(saved.SAME_VARIABLE, os.fsencode(name), value)
