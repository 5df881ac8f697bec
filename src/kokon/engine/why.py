"""``why`` of a prepared run: its plan, with what this machine has at the places that it shows."""

from __future__ import annotations

import os
import stat
from errno import EACCES, EINVAL, ELOOP, ENOENT, ENOTDIR, EPERM

from kokon.engine import explain
from kokon.engine.run import prepare
from kokon.kernel import constants, facts, mountinfo, safe_paths
from kokon.plan import why as plan_why
from kokon.plan.answer import Answer, Entry, Known
from kokon.plan.provenance import asked_by
from kokon.security.seccomp.compiler import AUDIT, SIBLINGS
from kokon.security.seccomp.syscalls import numbers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.config.options import Options
    from kokon.engine.prepared import Prepared
    from kokon.kernel.mountinfo import Mount

PLAIN = frozenset(
    ("ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "tmpfs", "ramfs", "devtmpfs", "overlay",
     "squashfs", "erofs", "bcachefs", "zfs")
)  # fmt: skip
"""File systems whose files have modes and owners that the kernel itself goes by."""

MADE_UP = frozenset(
    ("proc", "sysfs", "cgroup", "cgroup2", "devpts", "mqueue", "debugfs", "tracefs", "securityfs",
     "bpf", "configfs", "pstore", "efivarfs", "fusectl", "binfmt_misc", "nsfs", "selinuxfs",
     "rpc_pipefs", "hugetlbfs", "autofs")
)  # fmt: skip

LIMITS = {
    "memory.max": "memory", "memory.limit_in_bytes": "memory", "pids.max": "pids",
    "cpu.max": "cpus", "cpu.cfs_quota_us": "cpus",
}  # fmt: skip

KINDS = {
    stat.S_IFDIR: "directory", stat.S_IFREG: "file", stat.S_IFLNK: "link",
    stat.S_IFCHR: "character", stat.S_IFBLK: "block", stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
}  # fmt: skip

FS_IOC_GETFLAGS, FS_IMMUTABLE, FS_APPEND = 0x80086601, 0x10, 0x20  # ioctl_iflags(2)


def why(action: str, subject: str, options: Options) -> Answer:
    """Whether the program of a run might do something; nothing runs.

    :raises KokonError: as for a run, or the question cannot be meant.
    """
    prepared = prepare(options)
    try:
        with Machine(prepared) as machine:
            return machine.why(action, subject)
    finally:
        prepared.close()


class Machine:
    """What ``why`` may know of this machine for one prepared run; to be closed."""

    def __init__(self, prepared: Prepared) -> None:
        self.prepared = prepared
        self._sources: dict[str, int] = {}
        self._mounts: dict[int, Mount] = {}
        spec, host = prepared.configuration.spec, prepared.host
        kinds = SIBLINGS.get(host.architecture, ())
        self.known = Known(
            look=self.look,
            uid=os.geteuid(),
            gid=os.getegid(),
            groups=tuple(os.getgroups()) if not spec.linux.uid_mappings else None,
            uid_map=tuple(mapping.key() for mapping in spec.linux.uid_mappings),
            gid_map=tuple(mapping.key() for mapping in spec.linux.gid_mappings),
            calls={kind: (AUDIT[kind], numbers(kind)) for kind in kinds},
            architecture=host.architecture,
            filtered=facts.own_status().get("Seccomp") == "2",
            port_start=_port_start(),
            limits=tuple(_limits(prepared)),
        )

    def why(self, action: str, subject: str) -> Answer:
        """The answer to one question.

        :raises OptionError: it cannot be meant.
        """
        asked = self.prepared.configuration.asked
        return plan_why.why(self.prepared.plan, action, subject, self.known, asked)

    def look(self, source: str, path: str) -> Entry | None:
        """What is at a path below a source of the plan's mounts, a link not followed."""
        try:
            if source not in self._sources:
                self._sources[source] = os.open(source, os.O_PATH | os.O_CLOEXEC)
                self._mounts = {}
            fd = self._open(self._sources[source], path)
        except OSError as error:
            if error.errno in (ENOENT, ENOTDIR):
                return None
            if error.errno in (EACCES, EPERM, ELOOP, EINVAL):
                return Entry("unknown", target=f"kokon itself cannot look at {source}/{path}")
            raise
        try:
            return self._entry(fd, self._sources[source])
        finally:
            os.close(fd)

    def _open(self, base: int, path: str) -> int:
        if not path:
            return os.dup(base)
        return safe_paths.open_in_root(
            base, path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, resolve=safe_paths.BENEATH
        )

    def _entry(self, fd: int, base: int) -> Entry:
        found = os.fstat(fd)
        mount = self._mount_of(fd)
        below = mount is not self._mount_of(base)
        if mount is None or (below and "unbindable" in mount.propagation):
            return Entry("unknown", target="the mount there is not known")
        kind = "kernel" if mount.filesystem in MADE_UP else KINDS[stat.S_IFMT(found.st_mode)]
        changeable = kind in ("file", "directory")
        return Entry(
            kind, stat.S_IMODE(found.st_mode), self._known(found.st_uid), self._known(found.st_gid),
            target=os.readlink("", dir_fd=fd) if kind == "link" else "",
            device=(os.major(found.st_rdev), os.minor(found.st_rdev)),
            flags=_flags(mount),
            below=below,
            acl=kind not in ("link", "kernel") and _has_acl(fd),
            fixed=changeable and ("ro" in mount.super_options or _is_fixed(fd)),
            remote=mount.filesystem not in PLAIN,
        )  # fmt: skip

    def _known(self, number: int) -> int | None:
        """In a user namespace, what has no id there is shown as the overflow id."""
        return None if number == 65534 and not self.prepared.host.maps_all_ids else number

    def _mount_of(self, fd: int) -> Mount | None:
        if not self._mounts:
            text = facts.read_text("/proc/self/mountinfo")
            self._mounts = {mount.mount_id: mount for mount in mountinfo.parse(text)}
        for line in facts.read_text(f"/proc/self/fdinfo/{fd}").splitlines():
            if line.startswith("mnt_id:"):
                return self._mounts.get(int(line[7:]))
        return None

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        for fd in self._sources.values():
            os.close(fd)
        self._sources.clear()


def _flags(mount: Mount) -> int:
    flags = 0
    for option in mount.options:
        flags |= constants.MOUNT_ATTRIBUTES.get(option, 0)
    return flags


def _has_acl(fd: int) -> bool:
    try:
        return bool(os.getxattr(f"/proc/self/fd/{fd}", "system.posix_acl_access"))
    except OSError:
        return False


def _is_fixed(fd: int) -> bool:
    """Whether a file cannot be changed, or that cannot be found out."""
    from fcntl import ioctl

    try:
        opened = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        flags = int.from_bytes(ioctl(opened, FS_IOC_GETFLAGS, bytes(8))[:4], "little")
        return bool(flags & (FS_IMMUTABLE | FS_APPEND))
    except OSError:
        return False  # a file system without such attributes
    finally:
        os.close(opened)


def _port_start() -> int | None:
    text = facts.read_text("/proc/sys/net/ipv4/ip_unprivileged_port_start").strip()
    return int(text) if text.isdecimal() else None


def _limits(prepared: Prepared) -> list[tuple[str, str, str]]:
    asked = prepared.configuration.asked
    return [
        (LIMITS[file], value + (" bytes" if LIMITS[file] == "memory" else ""), asked_by(why, asked))
        for _, writes in explain.written(prepared)
        for file, value, why in writes
        if file in LIMITS
    ]
