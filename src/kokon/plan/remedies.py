"""What to do when the kernel refuses a step: by op, error and machine."""

from __future__ import annotations

from errno import (
    E2BIG,
    EACCES,
    EAGAIN,
    EBUSY,
    EINVAL,
    ELOOP,
    EMFILE,
    ENAMETOOLONG,
    ENFILE,
    ENODEV,
    ENOENT,
    ENOMEM,
    ENOSPC,
    ENOSYS,
    ENOTDIR,
    EOPNOTSUPP,
    EOVERFLOW,
    EPERM,
    EPIPE,
    ERANGE,
    EROFS,
    EUSERS,
)

from kokon.plan import ops
from kokon.plan.op import Op

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.kernel.facts import HostFacts

OLD_KERNEL = "kokon needs Linux 5.14 or newer"

AROUND = "the system call filter around kokon refuses the call: allow it there"

# (op, errno) to what helps; an errno of 0 stands for any.
_TABLE: dict[tuple[type[Op], int], str] = {
    (ops.Clone, EAGAIN): "too many processes: raise the limit of pids or wait for some to end",
    (ops.Clone, ENOMEM): "free memory, or raise the limit of pids of the cgroup around kokon",
    (ops.Clone, EBUSY): "the cgroup is in use by others or has a domain below it",
    (ops.IdMap, EPERM): "the ids are not ours to map: see /etc/subuid and /etc/subgid",
    (ops.IdMap, EINVAL): "the ids overlap, or are beyond what this user namespace has",
    (ops.WriteChild, EACCES): "a value below the caller's own needs CAP_SYS_RESOURCE",
    (ops.JoinCgroup, EINVAL): "what runs in real time needs realtimeRuntime in its group's cpu",
    (ops.JoinCgroup, ENOSPC): "the cpuset of the cgroup above has no cpus or mems",
    (ops.Unshare, ENOSPC): "raise /proc/sys/user/max_cgroup_namespaces",
    (ops.Propagation, EPERM): "mounting is refused here: allow it in the filter or the security"
    " module around kokon",
    (ops.Propagation, EINVAL): "the caller's / is no mount: start kokon outside of the chroot",
    (ops.Filesystem, EPERM): "a container around kokon forbids it: start that one with its /proc"
    " and /sys unmasked, or share the namespace (--pid host, --network host)",
    (ops.Filesystem, ENODEV): "this kernel does not have that file system",
    (ops.Filesystem, EINVAL): "this kernel does not take one of the options or layers",
    (ops.CloneMount, ENOENT): "it is not there (any more)",
    (ops.CloneMount, EACCES): "a directory on the way is closed to us",
    (ops.CloneMount, EINVAL): "a part of that tree of mounts is locked by the namespace around us",
    (ops.CloneMount, EPERM): "mounting is not allowed to us here",
    (ops.MountAttributes, EINVAL): "its file system, or one mounted below it, cannot map ids:"
    " use --userns host",
    (ops.MountAttributes, EPERM): "an attribute is locked by the namespace around us: leave such"
    " an option out (noatime, or what the host's mount forbids)",
    (ops.Attach, ELOOP): "a part of the path is a symbolic link in the root: name the real path",
    (ops.Attach, ENOTDIR): "one is a file and the other a directory: both have to be alike",
    (ops.Attach, EINVAL): "one is a file and the other a directory: both have to be alike",
    (ops.Attach, EROFS): "the mount point is missing and the root is read-only: make it first",
    (ops.Attach, ENAMETOOLONG): "shorten the path",
    (ops.Attach, EACCES): "the mount point cannot be made there",
    (ops.CheckFilesystem, 0): "something stands in its place: the root is not to be trusted",
    (ops.Mask, ELOOP): "the path runs through a symbolic link: the root is not to be trusted",
    (ops.ReadOnly, ELOOP): "the path runs through a symbolic link: the root is not to be trusted",
    (ops.Pivot, EINVAL): "the caller's / is the initial ramfs: kokon cannot leave that one",
    (ops.Directory, EOVERFLOW): "the caller's id is not mapped in the user namespace",
    (ops.Node, EPERM): "devices cannot be made here: use --userns private",
    (ops.Hostname, EPERM): AROUND,
    (ops.Hostname, EINVAL): "a host name has 64 bytes at most",
    (ops.Loopback, 0): "what is around kokon forbids it: allow it there, or share the network"
    " (--network host)",
    (ops.Unshare, EPERM): AROUND,
    (ops.Landlock, EOPNOTSUPP): "Landlock is switched off: have landlock in the lsm= of the"
    " kernel's command line",
    (ops.Landlock, EPERM): AROUND,
    (ops.Landlock, EINVAL): "this kernel's Landlock is older than its version says",
    (ops.Landlock, E2BIG): "there are 16 layers of Landlock around kokon already",
    (ops.WriteProc, ENOENT): "this kernel does not have it",
    (ops.WriteProc, EACCES): "only the host's root may set that value",
    (ops.WriteProc, EPERM): "only the host's root may set that value",
    (ops.WriteProc, EINVAL): "the kernel does not take that value",
    (ops.WriteProc, ERANGE): "a clock may not go below 0, nor beyond 146 years",
    (ops.WriteProc, EROFS): "/proc/sys is read-only around kokon",
    (ops.ResourceLimit, EPERM): "a hard limit cannot be raised without CAP_SYS_RESOURCE:"
    " ask for less",
    (ops.RaiseLimit, EPERM): "a hard limit cannot be raised without CAP_SYS_RESOURCE: ask for less",
    (ops.ResourceLimit, EINVAL): "the soft limit is above the hard one",
    (ops.WorkingDirectory, ELOOP): "the kernel's own links below /proc are not followed",
    (ops.WorkingDirectory, ENOTDIR): "a part of it is no directory",
    (ops.WorkingDirectory, EACCES): "the user may not enter it",
    (ops.WorkingDirectory, EROFS): "it is missing and the root is read-only: make it first",
    (ops.WorkingDirectory, ENOENT): "it is missing, or no longer beneath the root",
    (ops.Scheduler, EPERM): "what is better than the caller's own needs CAP_SYS_NICE on the"
    " machine, and a cpu group that may have real time",
    (ops.Scheduler, EINVAL): "this kernel does not have the policy, or not with these values",
    (ops.Scheduler, EBUSY): "the processors are promised to others already",
    (ops.IoPriority, EPERM): "the real-time class needs CAP_SYS_NICE on the machine",
    (ops.CpuAffinity, EINVAL): "none of these CPUs is there, or in the cpuset of the container",
    (ops.MemoryPolicy, EINVAL): "a node is not there, or not in the cpuset of the container",
    (ops.Personality, EINVAL): "this kernel does not have it",
    (ops.MapNamespace, EPERM): "the ids are not ours to map",
    (ops.MapNamespace, ENOSPC): "raise /proc/sys/user/max_user_namespaces",
    (ops.CopyUp, ENOSPC): "the file system is too small for it: raise its size",
    (ops.Groups, EINVAL): "one of them is not mapped in the container",
    (ops.Groups, EPERM): "without subordinate ids the groups cannot be changed",
    (ops.User, EINVAL): "the id is not mapped in the container: it has 65536 ids, or without"
    " subordinate ids only user 0 (see subuid(5))",
    (ops.User, EAGAIN): "the user has too many processes (ulimit -u)",
    (ops.Capabilities, EPERM): "kokon itself does not have one of them",
    (ops.Ambient, EPERM): "an ambient capability has to be permitted and inheritable too",
    (ops.BoundingSet, EPERM): "kokon itself needs CAP_SETPCAP for it",
    (ops.Reap, EAGAIN): "raise the limit of processes (--ulimit nproc, --pids-limit)",
    (ops.Seccomp, EINVAL): "this kernel does not know a part of the filter",
    (ops.Seccomp, EBUSY): "a filter around kokon has a listener, and the kernel allows one only",
    (ops.SendListener, EPIPE): "who listens there has closed the connection: see that it runs, and"
    " keeps its connections",
    (ops.SendListener, EAGAIN): "the thread that sends it needs one process more than the limits"
    " allow: raise them, or the pids limit",
    (ops.SendListener, EINVAL): "beside a new time namespace a thread needs Linux 6.1",
    (ops.Seccomp, EACCES): "a filter needs no-new-privileges or CAP_SYS_ADMIN",
    (ops.Keyring, EPERM): AROUND,
    (ops.Keyring, 0): "raise /proc/sys/kernel/keys/maxkeys",
    (ops.Terminal, 0): "raise /proc/sys/kernel/pty/max, or let other terminals go",
}  # fmt: skip


def remedy(kind: type[Op], errno: int, host: HostFacts) -> str:
    """What to do about a refused op of a kind; "" where nothing is known."""
    if errno == ENOSYS:
        return AROUND if host.kernel >= (5, 14) else OLD_KERNEL
    if kind is ops.Clone and errno in (EPERM, ENOSPC, EUSERS, EACCES, EINVAL):
        return user_namespaces(host, errno)
    if errno == EPERM and host.restriction == "apparmor":
        return user_namespaces(host, errno)
    if errno in (EMFILE, ENFILE):
        return "raise the limit of open files (ulimit -n), or ask for fewer mounts"
    return _TABLE.get((kind, errno)) or _TABLE.get((kind, 0), "")


def user_namespaces(host: HostFacts, errno: int = EPERM) -> str:
    """How to get user namespaces on a machine that refuses them."""
    if host.restriction == "apparmor":
        return (
            "AppArmor keeps user namespaces from unprivileged programs here: kokon doctor has a"
            f" profile for this one; for all: {set_sysctl(*APPARMOR_RESTRICTION)[0]}"
        )
    if host.restriction == "sysctl":
        return f"run: {set_sysctl(*UNPRIVILEGED)[0]}"
    if not host.uid_map:
        return "no id is mapped around kokon: map ours there (unshare --map-root-user)"
    if not host.user_namespaces or errno == ENOSPC:
        return f"run: {set_sysctl(*MOST_NAMESPACES)[0]} (and see the other max_* there)"
    if errno == EUSERS:
        return "user namespaces are nested too deep here (32 levels)"
    if errno == EINVAL:
        return "this kernel was built without one of these namespaces"
    return (
        "namespaces are refused here (a container around kokon, or its system call filter):"
        " allow user namespaces there"
    )


# What mends a machine, as lines for a shell; those that begin with # are for people.

APPARMOR_RESTRICTION = "kernel.apparmor_restrict_unprivileged_userns", 0
UNPRIVILEGED = "kernel.unprivileged_userns_clone", 1
MOST_NAMESPACES = "user.max_user_namespaces", 15000


def set_sysctl(name: str, value: int) -> tuple[str, ...]:
    """A setting of the kernel, now and after a restart (sysctl.d(5))."""
    return (
        f"sudo sysctl -w {name}={value}",
        f"echo {name}={value} | sudo tee -a /etc/sysctl.d/60-kokon.conf  # after a restart too",
    )


def apparmor_profile(executable: str) -> tuple[str, ...]:
    """A profile that restricts nothing and gives user namespaces to one program
    (apparmor.d(5)), else the restriction taken away for all."""
    name = "kokon-" + executable.strip("/").replace("/", "-")
    text = (
        "abi <abi/4.0>,\\ninclude <tunables/global>\\n"
        f"profile {name} {executable} flags=(unconfined) {{ userns, }}\\n"
    )
    return (
        f"# for {executable} alone, which is the safer way:",
        f"printf '{text}' | sudo tee /etc/apparmor.d/{name}"
        f" && sudo apparmor_parser -r /etc/apparmor.d/{name}",
        "# or for every program:",
        *set_sysctl(*APPARMOR_RESTRICTION),
    )


def subordinate_ids(name: str, uid: int, first: int) -> tuple[str, ...]:
    """A range of 65,536 ids for a user (usermod(8), subuid(5))."""
    if not name:
        return (f"echo {uid}:{first}:65536 | sudo tee -a /etc/subuid /etc/subgid",)
    ids = f"{first}-{first + 65535}"
    return (f"sudo usermod --add-subuids {ids} --add-subgids {ids} {name}",)


_NEWUIDMAP = {
    "debian": "sudo apt install uidmap",
    "fedora": "sudo dnf install shadow-utils",
    "suse": "sudo zypper install shadow",
    "arch": "sudo pacman -S shadow",
    "alpine": "sudo apk add shadow-uidmap",
}


def newuidmap(distribution: str) -> tuple[str, ...]:
    """The package that has newuidmap and newgidmap."""
    line = _NEWUIDMAP.get(distribution)
    return (line,) if line else ("# install the package that has newuidmap and newgidmap (shadow)",)


def around(container: str) -> tuple[str, ...]:
    """How the container around kokon is started so that it may make containers."""
    if container == "docker":
        return (
            "docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined"
            " --security-opt systempaths=unconfined IMAGE",
        )
    if container == "podman":
        return (
            "podman run --security-opt seccomp=unconfined --security-opt unmask=ALL"
            " --security-opt label=disable IMAGE",
        )
    if container == "kubernetes":
        return (
            "# in the pod's spec: hostUsers: false, and in the container's securityContext:",
            "# {procMount: Unmasked, seccompProfile: {type: Unconfined},"
            " appArmorProfile: {type: Unconfined}}",
        )
    return ("# allow user namespaces, and an unmasked /proc, in what is around kokon",)


def kernel_argument(distribution: str, argument: str) -> tuple[str, ...]:
    """An argument for the kernel, from the next start of the machine on."""
    if distribution == "fedora":
        return (f'sudo grubby --update-kernel=ALL --args="{argument}" && sudo reboot',)
    if distribution == "debian":
        return (
            f"echo 'GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX {argument}\"' | sudo tee -a"
            " /etc/default/grub && sudo update-grub && sudo reboot",
        )
    return (f"# add {argument} to the kernel's command line, and start the machine again",)


DELEGATE = (
    "sudo mkdir -p /etc/systemd/system/user@.service.d && printf"
    " '[Service]\\nDelegate=cpu cpuset io memory pids\\n'"
    " | sudo tee /etc/systemd/system/user@.service.d/delegate.conf",
    "sudo systemctl daemon-reload  # then log in again",
)
"""All controllers for the users' managers of systemd (systemd.resource-control(5))."""


def empty_group(directory: str) -> tuple[str, ...]:
    """Its processes into a group of their own: one that holds some limits none below it
    (cgroups(7), no internal processes)."""
    return (
        f"mkdir -p {directory}/init && for pid in $(cat {directory}/cgroup.procs); do"
        f" echo $pid > {directory}/init/cgroup.procs; done 2> /dev/null",
    )


def linger(name: str) -> tuple[str, ...]:
    """A manager of systemd for a user (name or id) who has none (loginctl(1))."""
    return (f"sudo loginctl enable-linger {name}",)


def bus(distribution: str) -> tuple[str, ...]:
    """A bus for the user's manager of systemd."""
    if distribution == "debian":
        return ("sudo apt install dbus-user-session  # then log in again",)
    return ("systemctl --user start dbus.socket",)
