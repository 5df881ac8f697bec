"""Namespaces: what is cloned, how ids are mapped, what the new ones own."""

from __future__ import annotations

from kokon.errors import SpecError
from kokon.kernel.capabilities import BITS
from kokon.kernel.constants import (
    CLONE_NEWCGROUP,
    CLONE_NEWNET,
    CLONE_NEWTIME,
    CLONE_NEWUTS,
)
from kokon.plan.ops import (
    AwaitParent,
    Clone,
    Domainname,
    Dumpable,
    Hostname,
    IdMap,
    Loopback,
    Open,
    Release,
    UserNamespace,
    WriteProc,
)
from kokon.security import idmap
from kokon.spec.pointer import escaped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.compile.builder import Builder

WHY = "/linux/namespaces"

# A clone cannot enter these at once: the cgroup namespace begins at the cgroup that was joined,
# a time namespace is for children (time_namespaces(7)).
LATE = CLONE_NEWCGROUP | CLONE_NEWTIME


def take_cgroups(plan: Builder) -> None:
    """Slots for the cgroups that the runtime made: they are the first ones."""
    if plan.launch.cgroup_directory:
        plan.inherit("cgroup")
    for controller in plan.launch.tasks:
        plan.inherit(f"tasks:{controller}")


def clone(plan: Builder) -> None:
    """Stage 2, in every new namespace that a clone can enter; then its id maps."""
    if plan.launch.admitted:
        # systemd makes a scope with stage 1 in it, and stage 2 inherits that: before anything is
        # entered from where it would not be our process any more.
        plan.before.append(AwaitParent(why="/linux/cgroupsPath"))
    if any(namespace.path for namespace in plan.spec.linux.namespaces):
        from kokon.compile import lifecycle

        lifecycle.join(plan)
    directory = 0 if plan.launch.cgroup_directory else -1
    if plan.launch.late_cgroup:
        # From a login session's scope nothing may be cloned into a delegated cgroup (EACCES):
        # systemd moves stage 1 there first.
        why = "/linux/resources"
        directory = plan.slot()
        plan.before.append(AwaitParent(why=why))
        plan.before.append(
            Open(directory, plan.launch.late_cgroup, "the container's cgroup", why=why)
        )
    # Process 1 of a pid namespace may not use CLONE_PARENT (EINVAL), but inherits what stage 1
    # leaves behind.
    adopt = 0 if plan.host.process_1 else 1
    if plan.maps_ids and plan.host.capabilities & BITS["SYS_PTRACE"]:
        # Who has our user id owns the new user namespace too, and so may trace what is in it: a
        # container that sees the host's processes would reach stage 2, which still has the host's
        # files (row E2).  Stage 1 needs SYS_PTRACE then to open its namespace.
        plan.before.append(Dumpable(0, why=WHY))
    plan.before.append(Clone(plan.new_namespaces & ~LATE, cgroup=directory, adopt=adopt, why=WHY))
    if plan.user_namespace:
        map_ids(plan)


def map_ids(plan: Builder) -> None:
    """uid_map and gid_map (user_namespaces(7)), before anything executes inside."""
    linux = plan.spec.linux
    if plan.launch.map_by_parent:
        plan.outside.append(AwaitParent(why="/linux/uidMappings"))
    else:
        if not plan.privileged:
            # Without CAP_SETGID outside, a gid map is refused until setgroups is denied.
            plan.outside.append(IdMap("setgroups", "deny", why="/linux/gidMappings"))
        for file, mappings in (("uid_map", linux.uid_mappings), ("gid_map", linux.gid_mappings)):
            why = "/linux/uidMappings" if file == "uid_map" else "/linux/gidMappings"
            idmap.check(mappings, why)
            plan.outside.append(IdMap(file, idmap.text(mappings), why=why))
    if plan.maps_ids:
        plan.user_namespace_slot = plan.slot()
        plan.outside.append(UserNamespace(plan.user_namespace_slot, why="/linux/uidMappings"))


def release(plan: Builder) -> None:
    """Stage 1 ends; what it has opened is in the shared table of descriptors."""
    if plan.launch.hooks:
        plan.outside.append(AwaitParent(why="/hooks"))
    plan.outside.append(Release(linger=1 if plan.launch.late_cgroup else 0, why=WHY))


def configure(plan: Builder) -> None:
    """What the new uts and network namespaces own."""
    spec = plan.spec
    given = plan.launch.waits and any(each.type == "uts" for each in spec.linux.namespaces)
    if plan.new_namespaces & CLONE_NEWUTS or given:
        if spec.hostname:
            plan.add(Hostname(spec.hostname, why="/hostname"))
        if spec.domainname:
            plan.add(Domainname(spec.domainname, why="/domainname"))
    if plan.new_namespaces & CLONE_NEWNET:
        plan.add(Loopback(why=WHY))
    for key, value in spec.linux.sysctl.items():
        why = f"/linux/sysctl/{escaped(key)}"
        check_sysctl(plan, key, why)
        path = "sys/" + key.replace(".", "/")
        plan.add(WriteProc(plan.proc_slot, 0, path, value, about=f"sysctl {key}", why=why))


IPC_SYSCTLS = frozenset(
    ("kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall",
     "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced")
)  # fmt: skip


def check_sysctl(plan: Builder, key: str, why: str) -> None:
    """A key is in the dotted form and belongs to a namespace of the container's own (row M19)."""
    kinds = {each.type for each in plan.spec.linux.namespaces} - set(plan.launch.shared)
    if "/" in key or ".." in key or key.startswith(".") or not key.isascii():
        raise SpecError(
            f"{key!r} is no sysctl in dotted form", where=why, remedy="write it like net.core.x"
        )
    if key in IPC_SYSCTLS or key.startswith("fs.mqueue."):
        needed = "ipc"
    elif key.startswith("net."):
        needed = "network"
    elif key in ("kernel.hostname", "kernel.domainname"):
        needed = "uts"
    else:
        raise SpecError(
            f"sysctl {key} belongs to the whole machine, not to a namespace",
            where=why,
            remedy="set it on the host, if it is meant",
        )
    if needed not in kinds:
        raise SpecError(
            f"sysctl {key} would change the host: the container has no own {needed} namespace",
            where=why,
            remedy=f"give it its own {needed} namespace",
        )
