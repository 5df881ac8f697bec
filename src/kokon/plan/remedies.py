"""What to do when the kernel refuses a step: by op, error and machine."""

from __future__ import annotations

from errno import (
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
    EOVERFLOW,
    EPERM,
    EROFS,
    EUSERS,
)

from kokon.plan import ops
from kokon.plan.op import Op

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.kernel.facts import HostFacts

OLD_KERNEL = "kokon needs Linux 5.14 or newer"

# (op, errno) to what helps; an errno of 0 stands for any.
_TABLE: dict[tuple[type[Op], int], str] = {
    (ops.Clone, ENOSYS): "the system call filter around kokon refuses clone3; allow it there",
    (ops.Clone, EAGAIN): "too many processes: raise the limit of pids or wait for some to end",
    (ops.Clone, ENOMEM): "free memory, or raise the limit of pids of the cgroup around kokon",
    (ops.Clone, EBUSY): "the cgroup is in use by others or has a domain below it",
    (ops.IdMap, EPERM): "the ids are not ours to map: see /etc/subuid and /etc/subgid",
    (ops.IdMap, EINVAL): "the ids overlap, or are beyond what this user namespace has",
    (ops.WriteChild, EACCES): "a value below the caller's own needs CAP_SYS_RESOURCE",
    (ops.JoinCgroup, ENOSPC): "the cpuset of the cgroup above has no cpus or mems",
    (ops.Unshare, ENOSPC): "raise /proc/sys/user/max_cgroup_namespaces",
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
    (ops.Hostname, EINVAL): "a host name has 64 bytes at most",
    (ops.Loopback, EPERM): "a security module forbids it: share the network (--network host)",
    (ops.WriteProc, ENOENT): "this kernel does not have it",
    (ops.WriteProc, EACCES): "only the host's root may set that value",
    (ops.WriteProc, EPERM): "only the host's root may set that value",
    (ops.WriteProc, EINVAL): "the kernel does not take that value",
    (ops.WriteProc, EROFS): "/proc/sys is read-only around kokon",
    (ops.ResourceLimit, EPERM): "a hard limit cannot be raised without CAP_SYS_RESOURCE:"
    " ask for less",
    (ops.ResourceLimit, EINVAL): "the soft limit is above the hard one",
    (ops.WorkingDirectory, ELOOP): "the kernel's own links below /proc are not followed",
    (ops.WorkingDirectory, ENOTDIR): "a part of it is no directory",
    (ops.WorkingDirectory, EACCES): "the user may not enter it",
    (ops.WorkingDirectory, EROFS): "it is missing and the root is read-only: make it first",
    (ops.WorkingDirectory, ENOENT): "it is missing, or no longer beneath the root",
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
    (ops.Seccomp, EACCES): "a filter needs no-new-privileges or CAP_SYS_ADMIN",
    (ops.Keyring, 0): "raise /proc/sys/kernel/keys/maxkeys",
    (ops.Terminal, 0): "raise /proc/sys/kernel/pty/max, or let other terminals go",
}  # fmt: skip


def remedy(op: Op, errno: int, host: HostFacts) -> str:
    """What to do about a refused op; "" where nothing is known."""
    if errno == ENOSYS and not (isinstance(op, ops.Clone) and host.kernel >= (5, 14)):
        return OLD_KERNEL
    if isinstance(op, ops.Clone) and errno in (EPERM, ENOSPC, EUSERS, EACCES, EINVAL):
        return user_namespaces(host, errno)
    if errno == EPERM and host.restriction == "apparmor":
        return user_namespaces(host, errno)
    if errno in (EMFILE, ENFILE):
        return "raise the limit of open files (ulimit -n), or ask for fewer mounts"
    return _TABLE.get((type(op), errno)) or _TABLE.get((type(op), 0), "")


def user_namespaces(host: HostFacts, errno: int = EPERM) -> str:
    """How to get user namespaces on a machine that refuses them."""
    if host.restriction == "apparmor":
        return (
            "AppArmor keeps user namespaces from unprivileged programs here: install a profile"
            " with 'userns,' for kokon, or as root run"
            " sysctl kernel.apparmor_restrict_unprivileged_userns=0"
        )
    if host.restriction == "sysctl":
        return "as root run: sysctl kernel.unprivileged_userns_clone=1"
    if not host.user_namespaces or errno == ENOSPC:
        return "as root run: sysctl user.max_user_namespaces=15000 (and see the other max_* there)"
    if errno == EUSERS:
        return "user namespaces are nested too deep here (32 levels)"
    if errno == EINVAL:
        return "this kernel was built without one of these namespaces"
    return (
        "namespaces are refused here (a container around kokon, or its system call filter):"
        " allow user namespaces there"
    )
