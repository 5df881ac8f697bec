"""The lowest rung: a program without any namespace, held by Landlock and filters."""

from __future__ import annotations

from struct import pack

from kokon.compile import namespaces, process
from kokon.compile.builder import Builder
from kokon.compile.landlock import missing
from kokon.kernel.capabilities import BITS
from kokon.kernel.constants import LANDLOCK_SIGNALS
from kokon.plan.ops import (
    BoundingSet,
    Capabilities,
    CloseDescriptors,
    Dumpable,
    Groups,
    Landlock,
    NoNewPrivileges,
    ParentDeath,
    Reap,
    Seccomp,
)
from kokon.security import landlock
from kokon.security.seccomp import walls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.compile.inputs import Launch, Reach, RootFacts
    from kokon.kernel.facts import HostFacts
    from kokon.plan.plan import Plan
    from kokon.spec.runtime import Spec

WHY = "--level landlock"
END_ALL = 64
"""The signal by which kokon's process 1 ends all that is left (init/process.c)."""


def compile_lowest(
    spec: Spec, host: HostFacts, root: RootFacts, launch: Launch, reach: Reach
) -> Plan:
    """The plan of a program that has this machine's own root: what it reaches of it is in rules.

    :raises HostError: this kernel has no Landlock.
    """
    if not host.landlock:
        raise missing(WHY)
    plan = Builder(spec, host, root, launch)
    namespaces.take_cgroups(plan)
    namespaces.clone(plan)
    process.adjust(plan)
    process.begin(plan)
    namespaces.release(plan)
    process.place(plan)
    drop_rights(plan)
    # Without a scope nothing tells what the program has left from what is not ours.
    scoped = host.landlock >= landlock.SCOPES
    ends_all = launch.reaper and scoped
    if launch.parent_death:
        plan.add(ParentDeath(END_ALL if ends_all else 9, why="the caller"))
    network = 0 if reach.network else landlock.network(host.landlock)
    plan.add(Landlock(
        landlock.files(host.landlock), network, landlock.scopes(host.landlock), reach.paths,
        reach.accesses, b"", why=WHY,
    ))  # fmt: skip
    if spec.linux.seccomp:
        plan.add(
            Seccomp(spec.linux.seccomp.program, spec.linux.seccomp.flags, why="/linux/seccomp")
        )
    kind = "files-network" if reach.network else "files"
    plan.add(Seccomp(walls.program(host.architecture, kind), why=WHY))
    if host.landlock < landlock.WHOLE_FILES:
        plan.add(Seccomp(walls.program(host.architecture, "truncation"), why=WHY))
    if launch.reaper:
        plan.add(Reap(int(ends_all), why="--init"))
        if scoped:
            # A second one, so that the program cannot end the process that ends what it leaves.
            plan.add(Landlock(0, 0, LANDLOCK_SIGNALS, (), b"", b"", why=WHY))
    plan.add(CloseDescriptors(why="/process"))
    plan.add(process.execution(spec.process.args, spec.process.env))
    return plan.plan()


def drop_rights(plan: Builder) -> None:
    """Whatever the caller may give up: it stays the same user."""
    process.limit(plan)
    host, user = plan.host, plan.spec.process.user
    drops = host.capabilities & BITS["SETPCAP"]
    plan.add(BoundingSet(0 if drops else host.bounding, why="/process/capabilities/bounding"))
    if host.sets_groups and host.capabilities & BITS["SETGID"]:
        plan.add(Groups(pack("<I", user.gid), why="/process/user"))
    plan.add(Dumpable(0, why="/process"))
    plan.add(NoNewPrivileges(why="/process/noNewPrivileges"))
    plan.add(Capabilities(0, 0, 0, why="/process/capabilities"))
