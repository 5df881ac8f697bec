"""Linux as numbers: the flags that plans are made of, with their names for explain."""

from __future__ import annotations

# clone(2), unshare(2)
CLONE_NEWTIME = 0x00000080
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

NAMESPACES = {
    "user": CLONE_NEWUSER,
    "mount": CLONE_NEWNS,
    "pid": CLONE_NEWPID,
    "ipc": CLONE_NEWIPC,
    "uts": CLONE_NEWUTS,
    "network": CLONE_NEWNET,
    "cgroup": CLONE_NEWCGROUP,
    "time": CLONE_NEWTIME,
}
"""By the names of the OCI runtime specification (config-linux.md, Namespaces)."""

# mount_setattr(2), fsmount(2)
MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
MOUNT_ATTR_ATIME = 0x70
MOUNT_ATTR_NOATIME = 0x10
MOUNT_ATTR_STRICTATIME = 0x20
MOUNT_ATTR_NODIRATIME = 0x80
MOUNT_ATTR_IDMAP = 0x100000
MOUNT_ATTR_NOSYMFOLLOW = 0x200000

MOUNT_ATTRIBUTES = {
    "ro": MOUNT_ATTR_RDONLY,
    "nosuid": MOUNT_ATTR_NOSUID,
    "nodev": MOUNT_ATTR_NODEV,
    "noexec": MOUNT_ATTR_NOEXEC,
    "noatime": MOUNT_ATTR_NOATIME,
    "strictatime": MOUNT_ATTR_STRICTATIME,
    "nodiratime": MOUNT_ATTR_NODIRATIME,
    "nosymfollow": MOUNT_ATTR_NOSYMFOLLOW,
}

# mount(2): propagation
MS_UNBINDABLE = 1 << 17
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20

PROPAGATION = {
    "private": MS_PRIVATE,
    "slave": MS_SLAVE,
    "shared": MS_SHARED,
    "unbindable": MS_UNBINDABLE,
}

# openat2(2)
RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

# statfs(2)
PROC_SUPER_MAGIC = 0x9FA0
SYSFS_MAGIC = 0x62656572

# stat(2), mknod(2)
S_IFCHR = 0o020000
S_IFBLK = 0o060000
S_IFIFO = 0o010000

# landlock(7): rights over files, over TCP ports, and scopes
# seccomp(2)
SECCOMP_TSYNC = 1 << 0
SECCOMP_NEW_LISTENER = 1 << 3
SECCOMP_WAIT_KILLABLE_RECV = 1 << 5

LANDLOCK_EXECUTE = 1 << 0
LANDLOCK_WRITE_FILE = 1 << 1
LANDLOCK_READ_FILE = 1 << 2
LANDLOCK_READ_DIR = 1 << 3
LANDLOCK_MAKE_CHAR = 1 << 6
LANDLOCK_MAKE_FILE = 1 << 8
LANDLOCK_MAKE_BLOCK = 1 << 11
LANDLOCK_REFER = 1 << 13
LANDLOCK_TRUNCATE = 1 << 14
LANDLOCK_IOCTL_DEV = 1 << 15
LANDLOCK_BIND = 1 << 0
LANDLOCK_CONNECT = 1 << 1
LANDLOCK_TCP = LANDLOCK_BIND | LANDLOCK_CONNECT
LANDLOCK_SOCKETS = 1 << 0
LANDLOCK_SIGNALS = 1 << 1
LANDLOCK_SCOPES = {"abstract socket": LANDLOCK_SOCKETS, "process by a signal": LANDLOCK_SIGNALS}

# getrlimit(2), by the names that Docker's --ulimit takes
RESOURCE_LIMITS = {
    "cpu": 0,
    "fsize": 1,
    "data": 2,
    "stack": 3,
    "core": 4,
    "rss": 5,
    "nproc": 6,
    "nofile": 7,
    "memlock": 8,
    "as": 9,
    "locks": 10,
    "sigpending": 11,
    "msgqueue": 12,
    "nice": 13,
    "rtprio": 14,
    "rttime": 15,
}
RLIM_INFINITY = 2**64 - 1


def device_number(major: int, minor: int) -> int:
    """The number that mknod(2) takes (makedev(3), Linux's encoding of 32 bits)."""
    return (minor & 0xFF) | (major << 8) | ((minor & ~0xFF) << 12)
