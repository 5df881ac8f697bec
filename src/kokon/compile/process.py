"""The process: how it begins, where it is put, how it becomes the program."""

from __future__ import annotations

from kokon.errors import SpecError
from kokon.kernel.capabilities import BITS
from kokon.kernel.constants import (
    CLONE_NEWCGROUP,
    CLONE_NEWNS,
    CLONE_NEWTIME,
    MS_SLAVE,
    RESOURCE_LIMITS,
)
from kokon.plan.ops import (
    CloneMount,
    CloseDescriptors,
    Dumpable,
    Execute,
    Filesystem,
    JoinCgroup,
    Keyring,
    Propagation,
    RaiseLimit,
    Reap,
    ResourceLimit,
    Session,
    Signals,
    Umask,
    Unshare,
    User,
    WorkingDirectory,
    WriteChild,
    WriteProc,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.compile.builder import Builder

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Docker's: PATH of a program, and where it is looked for, when nothing is said."""

RESOURCES = {
    "cpuset": "cpu", "cpuacct": "cpu", "blkio": "blockIO", "hugetlb": "hugepageLimits",
    "net_cls": "network", "net_prio": "network",
}  # fmt: skip
"""Where in ``linux.resources`` a v1 controller's limits are, if not under its own name."""


def begin(plan: Builder) -> None:
    """The first steps inside."""
    first = 1 if plan.launch.cgroup_directory else 0
    for number, controller in enumerate(plan.launch.tasks):
        why = f"/linux/resources/{RESOURCES.get(controller, controller)}"
        plan.add(JoinCgroup(first + number, controller, why=why))
    late = plan.new_namespaces & (CLONE_NEWCGROUP | CLONE_NEWTIME)
    if late:
        plan.add(Unshare(late, why="/linux/namespaces"))
    if plan.maps_ids or plan.joins_user or plan.is_unmapped:
        # We are still the host's root, or who has called us, whom the map does not know: nothing
        # we make would have an owner (EOVERFLOW).
        plan.add(User(0, 0, keep=0, why="/linux/uidMappings"))
        if plan.spec.linux.time_offsets:
            # They are written to a file of /proc that is ours only while we are open.
            plan.add(Dumpable(1, why="/linux/timeOffsets"))
    plan.add(Signals(why="/process"))
    # Mount points are made with their modes, whatever the caller's mask is.
    plan.add(Umask(0o022, why="/process"))
    plan.add(Session(why="/process/terminal"))
    if plan.launch.keyring != "kept":
        plan.add(Keyring(int(plan.launch.keyring == "optional"), why="/process"))
    if plan.new_namespaces & CLONE_NEWNS:
        plan.add(Propagation(MS_SLAVE, why="/linux/rootfsPropagation"))
    _own_proc(plan)
    label(plan)
    # After what is written to our own /proc files: they belong to nobody once we are closed.
    plan.add(Dumpable(0, why="/process"))


def adjust(plan: Builder) -> None:
    """What only the outside may set where it is more than the caller has: the OOM score, how it is
    scheduled, and the largest hard limits."""
    score = plan.spec.process.oom_score_adj
    if score is not None:
        plan.with_rights(WriteChild(
            "oom_score_adj", str(score), "the OOM score adjustment", why="/process/oomScoreAdj",
        ))  # fmt: skip
    if plan.spec.process.scheduler or plan.spec.process.io_priority:
        from kokon.compile import scheduling

        scheduling.prioritize(plan)
    confined = plan.joins_user or (plan.user_namespace and plan.launch.waits)
    if confined and plan.host.capabilities & BITS["SYS_RESOURCE"]:
        for index, limit in enumerate(plan.spec.process.rlimits):
            name = limit.type.removeprefix("RLIMIT_").lower()
            if name in RESOURCE_LIMITS:
                plan.early.append(RaiseLimit(
                    RESOURCE_LIMITS[name], limit.hard, name, why=f"/process/rlimits/{index}/hard",
                ))  # fmt: skip


def _own_proc(plan: Builder) -> None:
    """A detached procfs, made before any mount of the container, for every write to /proc."""
    process, linux = plan.spec.process, plan.spec.linux
    needed = process.apparmor_profile or process.selinux_label or linux.sysctl or linux.time_offsets
    if plan.proc_slot < 0 and (needed or plan.launch.box):
        plan.proc_slot = plan.slot()
        if not plan.owns("pid"):
            # It may not be mounted anew for processes that our user namespace does not own.
            plan.add(CloneMount(plan.proc_slot, -1, "/proc", 1, why="/process"))
        else:
            # Only sysctls need more than /proc/PID.
            subset = () if linux.sysctl else ("subset", "pid")
            plan.add(Filesystem(
                plan.proc_slot, "proc", subset, 0, "kokon's own writes", why="/process",
            ))  # fmt: skip
    for clock, (seconds, nanoseconds) in linux.time_offsets.items():
        plan.add(WriteProc(
            plan.proc_slot, 1, "timens_offsets", f"{clock} {seconds} {nanoseconds}",
            about=f"the {clock} clock's offset", why=f"/linux/timeOffsets/{clock}",
        ))  # fmt: skip


def label(plan: Builder) -> None:
    """The security module's label for the next execve (apparmor(7), selinux(8))."""
    process = plan.spec.process
    if process.apparmor_profile:
        plan.add(WriteProc(
            plan.proc_slot, 1, "attr/apparmor/exec", f"exec {process.apparmor_profile}",
            about="the AppArmor profile", why="/process/apparmorProfile",
        ))  # fmt: skip
    if process.selinux_label:
        from kokon.compile.mount_label import require_selinux

        require_selinux(plan, "/process/selinuxLabel")
        plan.add(WriteProc(
            plan.proc_slot, 1, "attr/exec", process.selinux_label,
            about="the SELinux label", why="/process/selinuxLabel",
        ))  # fmt: skip


def place(plan: Builder) -> None:
    """The working directory, which is not made with the program's mask, and the mode mask."""
    process = plan.spec.process
    umask = process.user.umask
    # Without a root of its own it would be made on the machine.
    create = 0 if plan.launch.reach else 1
    plan.add(WorkingDirectory(process.cwd, create, why="/process/cwd"))
    plan.add(Umask(0o022 if umask is None else umask, why="/process/user/umask"))
    if plan.spec.linux.memory_policy or plan.spec.linux.personality:
        from kokon.compile import scheduling

        scheduling.place(plan)


def limit(plan: Builder) -> None:
    """Resource limits, while they may still be raised; a small one of open files would be met by
    our own before."""
    for index, limit in enumerate(plan.spec.process.rlimits):
        name = limit.type.removeprefix("RLIMIT_").lower()
        if name not in RESOURCE_LIMITS:
            raise SpecError(
                f"{limit.type} is no resource limit",
                where=f"/process/rlimits/{index}/type",
                remedy="see getrlimit(2)",
            )
        plan.add(ResourceLimit(
            RESOURCE_LIMITS[name], limit.soft, limit.hard, name,
            why=f"/process/rlimits/{index}",
        ))  # fmt: skip
    for name, value in plan.launch.resource_limits:
        plan.add(ResourceLimit(
            RESOURCE_LIMITS[name], value, value, name, why="--limits best-effort",
        ))  # fmt: skip


def execute(plan: Builder) -> None:
    """The last steps."""
    process = plan.spec.process
    if plan.launch.reaper:
        plan.add(Reap(why="--init"))
    plan.add(CloseDescriptors(plan.launch.preserved, why="/process"))
    plan.add(execution(process.args, process.env))


def execution(arguments: tuple[str, ...], environment: tuple[str, ...]) -> Execute:
    """The last op of every plan."""
    if not arguments:
        raise SpecError("there is no program to run", where="/process/args")
    found = candidates(arguments[0], environment)
    return Execute(found, arguments, environment, why="/process/args")


def candidates(program: str, environment: tuple[str, ...]) -> tuple[str, ...]:
    """Where execvp(3) would look for a program, by the PATH of the container's environment."""
    if "/" in program:
        return (program,)
    path = DEFAULT_PATH
    for entry in environment:
        if entry.startswith("PATH="):
            path = entry[5:]
    return tuple(f"{directory or '.'}/{program}" for directory in path.split(":"))
