"""Landlock above the namespaces: a second wall, in the words of the mounts that the plan makes."""

from __future__ import annotations

from kokon.compile.mounts import is_bind
from kokon.errors import HostError, SpecError
from kokon.plan.ops import Landlock
from kokon.security import landlock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.compile.builder import Builder

WHY = "--landlock"
READ_ONLY = frozenset(("ro", "rro"))


def wall(plan: Builder) -> None:
    """See and execute everything, change what is mounted to be changed; no device is made, nothing
    is mounted, no signal and no trace leaves.

    :raises HostError: this kernel has no Landlock.
    :raises SpecError: new privileges are allowed.
    """
    version = plan.host.landlock
    if not version:
        raise missing(WHY)
    if not plan.spec.process.no_new_privileges:
        raise SpecError(
            "needs that no new privileges are possible",
            where=WHY,
            remedy="leave --privileged and no-new-privileges=false out",
        )
    rules = landlock.Rules(version)
    open_root = not (plan.spec.root.readonly or plan.root.assembly)
    rules.allow("/", landlock.CHANGE if open_root else landlock.SEE)
    if plan.root.assembly:
        for path, _ in plan.root.assembly.writable:
            rules.allow(path, landlock.CHANGE)
    for mount in plan.spec.mounts:
        if mount.destination == "/dev":
            rules.allow("/dev", landlock.DEVICES)
        elif is_bind(mount):
            if not READ_ONLY.intersection(mount.options):
                directory = plan.root.sources[mount.source].directory
                rules.allow(mount.destination, landlock.CHANGE, directory=directory)
        elif mount.type != "sysfs" and not READ_ONLY.intersection(mount.options):
            rules.allow(mount.destination, landlock.CHANGE)
    plan.add(Landlock(
        rules.handled, 0, landlock.scopes(version), rules.paths, rules.accesses, b"", why=WHY,
    ))  # fmt: skip


def missing(where: str) -> HostError:
    """This machine has no Landlock."""
    return HostError(
        "this kernel has no Landlock, or does not use it",
        where=where,
        remedy="take Linux 5.13 or newer, and landlock in the lsm= of its command line",
    )
