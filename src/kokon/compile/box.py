"""A box: namespaces that are made once, kept by kokon, and entered by one program after another.

``hand_over`` ends the plan that makes them.  ``compile_program`` is the plan of one program: it has
processes and a /proc of its own, so that it ends as a whole and sees itself only, and everything
else of the box's: files, network, host name, IPC, control groups.
"""

from __future__ import annotations

from struct import pack

from kokon.compile import confinement, masks, namespaces, process, terminal
from kokon.compile.builder import Builder
from kokon.compile.inputs import RootFacts
from kokon.compile.mount_options import parse
from kokon.kernel.constants import (
    CLONE_NEWNS,
    MS_SLAVE,
    NAMESPACES,
    PROC_SUPER_MAGIC,
    RESOLVE_NO_SYMLINKS,
)
from kokon.plan.ops import (
    Attach,
    AwaitParent,
    CheckFilesystem,
    Clone,
    CloseDescriptors,
    Dumpable,
    Filesystem,
    HandOver,
    Join,
    Open,
    Propagation,
    Transfer,
    Unshare,
)
from kokon.spec.runtime import Linux, Namespace, Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.compile.inputs import Launch
    from kokon.kernel.facts import HostFacts
    from kokon.plan.plan import Plan

WHY = "the box"
TERMINALS = "terminals"
"""The name of the box's devpts among what is handed over."""

FILES = {
    "user": "user", "network": "net", "ipc": "ipc", "uts": "uts", "cgroup": "cgroup",
    "time": "time_for_children", "mount": "mnt",
}  # fmt: skip
"""Kinds of namespaces that a box keeps, in the order in which they are entered, with their names
below /proc/PID/ns.  Not the processes': those are each program's own."""


def kept(spec: Spec) -> tuple[str, ...]:
    """What a box of this spec hands over, in order."""
    own = {namespace.type for namespace in spec.linux.namespaces}
    return (*(kind for kind in FILES if kind in own), TERMINALS)


def hand_over(plan: Builder) -> None:
    """The end of the plan that makes a box."""
    names = kept(plan.spec)[:-1]
    plan.add(HandOver(
        plan.proc_slot, tuple(f"ns/{FILES[kind]}" for kind in names), pack("<I", plan.devpts_slot),
        "the namespaces", why=WHY,
    ))  # fmt: skip


def compile_program(spec: Spec, host: HostFacts, launch: Launch) -> Plan:
    """The plan of a program in a box: pure.

    :param spec: the box's, with the program's own process.
    """
    names = kept(spec)
    plan = Builder(_own(spec), host, RootFacts("box"), launch)
    plan.user_namespace = "user" in names
    namespaces.take_cgroups(plan)  # the program's own group below the box's
    slots = {name: plan.inherit(f"box:{name}") for name in names}
    plan.devpts_slot = slots.pop(TERMINALS)
    clone(plan, slots)  # stage 2 in the box's user namespace, its processes its own
    process.begin(plan)
    namespaces.release(plan)
    enter(plan, slots)  # everything else of the box
    terminal.make(plan)
    masks.cover(plan)
    process.place(plan)
    confinement.drop(plan)
    if launch.transfer:
        transfer(plan)
    else:
        process.execute(plan)
    return plan.plan()


def _own(spec: Spec) -> Spec:
    """What of the spec is made anew for a program."""
    linux = spec.linux
    own = {namespace.type for namespace in linux.namespaces} & {"pid", "mount"}

    def below_proc(paths: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(path for path in paths if path.startswith("/proc/") and "pid" in own)

    return Spec(
        root=spec.root,
        process=spec.process,
        linux=Linux(
            namespaces=tuple(Namespace(kind) for kind in sorted(own)),
            uid_mappings=linux.uid_mappings,
            gid_mappings=linux.gid_mappings,
            seccomp=linux.seccomp,
            masked_paths=below_proc(linux.masked_paths),
            readonly_paths=below_proc(linux.readonly_paths),
        ),
        mounts=tuple(mount for mount in spec.mounts if mount.destination == "/proc"),
    )


def clone(plan: Builder, slots: dict[str, int]) -> None:
    """The user namespace is entered outside: from it stage 2 gets the right to all that follows."""
    if plan.launch.admitted:
        # As for the box itself: from a login session's scope there is no way in.
        plan.before.append(AwaitParent(why="/linux/resources"))
    user = slots.pop("user", None)
    if user is not None:
        # From now on other programs of the box may have rights over us, and we have the host's
        # files still: with the host's processes they would see us too (row E2).
        plan.before.append(Dumpable(0, why=WHY))
        plan.before.append(Join(user, NAMESPACES["user"], "user", why=WHY))
    plan.before.append(Clone(
        plan.new_namespaces,
        cgroup=0 if plan.launch.cgroup_directory else -1,
        adopt=0 if plan.host.process_1 else 1,
        why=WHY,
    ))  # fmt: skip


def enter(plan: Builder, slots: dict[str, int]) -> None:
    """The mount namespace last: from inside it nothing may mount a /proc that has no masks.

    Its mounts are copied, so that the program's own /proc is seen by nobody else.
    """
    proc = -1
    mount = next((mount for mount in plan.spec.mounts if mount.type == "proc"), None)
    if mount and plan.new_namespaces & NAMESPACES["pid"]:
        proc = plan.slot()
        options = parse("proc", mount.options, "/mounts/0/options")
        plan.add(Filesystem(
            proc, "proc", tuple(options.data), options.set, "/proc", why="/mounts/0",
        ))  # fmt: skip
    for kind, slot in slots.items():
        plan.add(Join(slot, NAMESPACES[kind], kind, why=WHY))
    if proc < 0:
        return
    plan.add(Unshare(CLONE_NEWNS, why=WHY))
    plan.add(Propagation(MS_SLAVE, why=WHY))
    plan.root_slot = plan.slot()
    plan.add(Open(plan.root_slot, "/", "the box's root", why=WHY))
    masks.prepare(plan)
    plan.add(Attach(
        proc, plan.root_slot, "/proc", 0, RESOLVE_NO_SYMLINKS, about="proc", why="/mounts/0",
    ))  # fmt: skip
    plan.add(CheckFilesystem(
        plan.root_slot, "/proc", PROC_SUPER_MAGIC, "proc", why="/mounts/0",
    ))  # fmt: skip


def transfer(plan: Builder) -> None:
    """A file is moved in place of a program; which one is for the runtime to say."""
    plan.add(CloseDescriptors(why="/process"))
    plan.add(Transfer("", 0, why=WHY))
