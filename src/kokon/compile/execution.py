"""Another program in a container that runs: its namespaces are entered, none is made.

What is taken away is taken by the same functions as when a container is made (rows E4, E16).
"""

from __future__ import annotations

from kokon.compile import confinement, lifecycle, namespaces, process, scheduling
from kokon.compile.builder import Builder
from kokon.compile.inputs import RootFacts
from kokon.kernel.constants import NAMESPACES
from kokon.plan.ops import (
    AwaitParent,
    Clone,
    CloneMount,
    Dumpable,
    Join,
    Open,
    Owner,
    StandardStreams,
    Terminal,
)
from kokon.spec.runtime import Linux, Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.compile.inputs import Launch
    from kokon.kernel.facts import HostFacts
    from kokon.plan.plan import Plan

WHY = "exec"
AFFINITY = "/process/execCPUAffinity"
OUTSIDE = ("user", "network", "ipc", "uts", "time", "pid", "mount")
"""Entered by stage 1, the user namespace first: it gives the right to the others.  The container
sees stage 2 from its first moment on, and may have the right to trace it: by then it has neither
a root nor a directory of the host (row E2)."""
INSIDE = ("cgroup",)
"""Entered by stage 2, in its control group: from inside the group of stage 1 cannot be seen, and
nothing be cloned out of it (cgroup_namespaces(7), nsdelegate)."""


def compile_execution(
    spec: Spec, host: HostFacts, launch: Launch, entered: tuple[str, ...]
) -> Plan:
    """The plan of a program in a container that runs: pure.

    :param spec: the container's, with the program's own process and the container's filter.
    :param entered: kinds of the namespaces to enter; in the others we are already.
    """
    plan = Builder(_own(spec), host, RootFacts("container"), launch)
    namespaces.take_cgroups(plan)
    slots = {kind: plan.inherit(f"namespace:{kind}") for kind in (*OUTSIDE, *INSIDE)
             if kind in entered}  # fmt: skip
    lifecycle.take_agent(plan)
    plan.joins_user = "user" in slots
    plan.rights_first = True
    # Where the user namespace is the container's own, its mappings say which ids there are.
    plan.user_namespace = plan.joins_user and bool(spec.linux.uid_mappings)
    process.adjust(plan)
    affinity = spec.process.exec_cpu_affinity
    if affinity and affinity.initial:
        plan.early.append(scheduling.pin(affinity.initial, f"{AFFINITY}/initial"))
    if launch.admitted:
        # From a login session nothing may be cloned into a scope: systemd moves stage 1 there.
        plan.before.append(AwaitParent(why="/linux/cgroupsPath"))
    # The container's processes may have rights over us from now on, and we have descriptors of
    # the host still (row E2).
    plan.before.append(Dumpable(0, why=WHY))
    if launch.cgroup_directory and plan.privileged:
        # A way up from the directory would lead to the host's root: of a mount of its own there
        # is none.
        plan.before.append(CloneMount(0, 0, ".", why=WHY))
    if plan.joins_user and (spec.process.apparmor_profile or spec.process.selinux_label):
        # Opened here: in that namespace none can be made, and those in the container are the
        # container's (row M4). It has no right to trace us there.
        plan.proc_slot = plan.slot()
        plan.before.append(Open(plan.proc_slot, "/proc", "the machine's /proc", why="/process"))
    plan.before += [_join(kind, slots[kind]) for kind in OUTSIDE if kind in slots]
    plan.before.append(Clone(
        0,
        cgroup=0 if launch.cgroup_directory else -1,
        adopt=0 if host.process_1 else 1,
        why=WHY,
    ))  # fmt: skip
    if plan.agent_slots != (-1, -1):
        # What is told has the process's number in it.
        plan.outside.append(AwaitParent(why="/linux/seccomp/listenerPath"))
    namespaces.release(plan)
    process.begin(plan)
    if affinity and affinity.final:
        # Now that the control group has said which there are.
        plan.add(scheduling.pin(affinity.final, f"{AFFINITY}/final"))
    plan.inside += [_join(kind, slots[kind]) for kind in INSIDE if kind in slots]
    _terminal(plan)
    process.place(plan)
    confinement.drop(plan)
    process.execute(plan)
    return plan.plan()


def _own(spec: Spec) -> Spec:
    """What of the spec is for one program."""
    linux = spec.linux
    return Spec(
        root=spec.root,
        process=spec.process,
        linux=Linux(
            uid_mappings=linux.uid_mappings,
            gid_mappings=linux.gid_mappings,
            seccomp=linux.seccomp,
            memory_policy=linux.memory_policy,
            personality=linux.personality,
        ),
    )


def _join(kind: str, slot: int) -> Join:
    return Join(slot, NAMESPACES[kind], kind, why=WHY)


def _terminal(plan: Builder) -> None:
    """A terminal of the container's devpts, wherever its programs have put another /dev."""
    process = plan.spec.process
    if not process.terminal:
        return
    why = "/process/terminal"
    root, slot = plan.slot(), plan.slot()
    rows, columns = plan.launch.terminal_size
    plan.add(Open(root, "/", "the container's root", why=why))
    plain = int(plan.launch.plain_newlines)
    plan.add(Terminal(root, slot, rows, columns, "dev/pts/ptmx", 1, plain, why=why))
    if process.user.uid or process.user.gid:
        plan.add(Owner(slot, process.user.uid, process.user.gid, about="the terminal", why=why))
    plan.add(StandardStreams(slot, why=why))
