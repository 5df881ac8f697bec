"""What must still be so when a saved run is performed: everything that preparing it looked at.

The launcher compares byte by byte (launcher/conditions.c).  A condition too many is only a slow
start; one too few is a run that Python would have made otherwise.
"""

from __future__ import annotations

import os
import sys

from kokon import paths
from kokon.compile.mounts import is_bind
from kokon.config.confinement import UNCONFINED, SecurityOptions
from kokon.plan import saved
from kokon.plan.saved import Record, Unsaved
from kokon.runtime import sameness

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from kokon.engine.prepared import Prepared

SETTLED = 2_000_000_000
"""Nanoseconds after which a change has another date than the one before it, on any file system."""

VARIABLES = ("HOME", "KOKON_STORE", "XDG_DATA_HOME", "XDG_RUNTIME_DIR")
"""What ``paths`` takes from the environment."""

TEXTS = (
    "/proc/sys/kernel/random/boot_id", "/proc/self/cgroup", "/proc/self/uid_map",
    "/proc/self/setgroups", "/proc/self/personality",
    "/proc/sys/user/max_user_namespaces", "/sys/devices/system/cpu/online",
    "/sys/module/apparmor/parameters/enabled",
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
    "/proc/sys/kernel/unprivileged_userns_clone",
)  # fmt: skip
"""Small files that ``kernel.facts`` and the masks are made from."""


def of_run(prepared: Prepared, launcher: str, begun: int, at_terminal: bool) -> list[Record]:
    """The conditions of a run that is being saved.

    :param launcher: the path of the program that looks for saved runs.
    :param begun: when this process began, by time.time_ns(): what was changed since is not known
        to be what was looked at.
    :param at_terminal: whether a terminal at 0 and 1 would have made it another run.
    :raises Unsaved: something is younger, or cannot be looked at.
    """
    host = prepared.host
    records = [*sameness.identity(host), *(sameness.text(path) for path in TEXTS)]
    if not host.swap:
        # With swap the file counts what is used of it.
        records.append(sameness.text("/proc/swaps"))
    records += [sameness.variable(name) for name in VARIABLES]
    # What was being unpacked by somebody who is gone, a sweep would remove.
    records.append(Record(saved.EMPTY, os.fsencode(paths.store() + "/roots/staging")))
    records += [sameness.status(path) for path in _places(prepared)]
    records.append(_dates("/proc/self/exe", begun, os.stat(launcher)))
    records += [_dates(path, begun) for path in (*_program(), *_looked_at(prepared))]
    if _is_relative(prepared):
        records.append(Record(saved.SAME_DIRECTORY, b=os.fsencode(os.getcwd())))
        records.append(sameness.status("."))
    if at_terminal:
        records.append(Record(saved.NO_TERMINAL))
    return records


def _program() -> Iterable[str]:
    """Kokon itself: what decides, and what is performed."""
    for name, module in sorted(sys.modules.items()):
        if name.partition(".")[0] == "kokon" and module.__file__:
            yield module.__file__
    yield paths.INIT_PROGRAM
    yield paths.INIT_DIGESTS


def _looked_at(prepared: Prepared) -> Iterable[str]:
    """Files and directories whose contents made the run what it is."""
    root, options = prepared.root.path, prepared.options
    yield from (root, f"{root}/etc", f"{root}/etc/passwd", f"{root}/etc/group")
    yield "/etc/subuid"
    yield "/etc/subgid"
    yield "/sys/fs/selinux/enforce"
    if prepared.host.uid:
        yield "/etc/passwd"
        yield from ("/usr/bin/newuidmap", "/usr/bin/newgidmap", "/bin/newuidmap", "/bin/newgidmap")
    if options.network == "host":
        yield "/etc/resolv.conf"
    if _filter(prepared):
        yield os.path.abspath(_filter(prepared))


def _places(prepared: Prepared) -> Iterable[str]:
    """Directories in which something is made, and what is mounted from the host."""
    upper = prepared.root.upper
    if upper:
        yield os.path.dirname(upper)
    manager = prepared.limits.manager
    for group in manager.groups.values() if manager else ():
        yield os.path.dirname(group.log[0][0])
    for mount in prepared.configuration.spec.mounts:
        if is_bind(mount):
            yield mount.source


def _filter(prepared: Prepared) -> str:
    """The file of ``--security-opt seccomp=FILE``, or ""."""
    chosen = SecurityOptions(prepared.options.security_opt).seccomp or ""
    return "" if chosen == UNCONFINED else chosen


def _is_relative(prepared: Prepared) -> bool:
    """Whether the working directory has a say in it."""
    options = prepared.options
    return bool(
        options.volumes or options.mounts or _filter(prepared) or not os.path.isabs(options.root)
    )


def _dates(path: str, begun: int, found: os.stat_result | None = None) -> Record:
    """The same file with the same content, or still none."""
    try:
        found = found or os.stat(path)
    except FileNotFoundError:
        return Record(saved.SAME_STATUS, os.fsencode(path), number=saved.ABSENT)
    if max(found.st_mtime_ns, found.st_ctime_ns) > begun - SETTLED:
        raise Unsaved(f"{path} was changed just now")
    return sameness.status(path, found, 8)
