"""What the compiler may know of this machine, as one value that can be saved as JSON."""

from __future__ import annotations

import os
from time import monotonic

from kokon.kernel import filesystems
from kokon.kernel.capabilities import BITS
from kokon.kernel.cgroups import CgroupLayout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

ALL_IDS = ((0, 0, 2**32 - 1),)

KEPT = 10.0
"""Seconds for which facts are kept: what an administrator changes is seen soon."""


class HostFacts:
    """This machine and who we are on it.

    :ivar kernel: (major, minor) of the running kernel.
    :ivar landlock: the version of Landlock that such a kernel has at least, 0 without it.
    :ivar architecture: as uname(2) names it: x86_64, aarch64.
    :ivar uid: effective user id; :ivar gid: effective group id.
    :ivar process_1: we are process 1 of our pid namespace (CLONE_PARENT is refused there).
    :ivar capabilities: effective set as a mask; :ivar bounding: bounding set as a mask.
    :ivar uid_map: ``/proc/self/uid_map`` as (inside, outside, size) triples; :ivar gid_map.
    :ivar user_namespaces: how many user namespaces may be made (0: switched off).
    :ivar restriction: what restricts unprivileged user namespaces: "", "apparmor", "sysctl".
    :ivar security_module: "", "apparmor" or "selinux".
    :ivar subordinate_uids: (first, count) ranges of /etc/subuid for us; :ivar subordinate_gids.
    :ivar newuidmap: path of newuidmap; :ivar newgidmap.  Empty where they are missing.
    :ivar owns_mounts: our mount namespace belongs to our user namespace: mounting in it is ours.
    :ivar sets_groups: setgroups(2) is not denied in our user namespace, nor so in those below.
    :ivar swap: whether the machine has any.
    :ivar cgroups: the layout of control groups and our place in it.
    """

    __slots__ = (
        "architecture",
        "bounding",
        "capabilities",
        "cgroups",
        "gid",
        "gid_map",
        "kernel",
        "landlock",
        "newgidmap",
        "newuidmap",
        "owns_mounts",
        "process_1",
        "restriction",
        "security_module",
        "sets_groups",
        "subordinate_gids",
        "subordinate_uids",
        "swap",
        "uid",
        "uid_map",
        "user_namespaces",
    )

    def __init__(
        self,
        *,
        kernel: tuple[int, int],
        landlock: int,
        architecture: str,
        uid: int,
        gid: int,
        process_1: bool,
        capabilities: int,
        bounding: int,
        uid_map: tuple[tuple[int, int, int], ...],
        gid_map: tuple[tuple[int, int, int], ...],
        user_namespaces: int,
        restriction: str,
        security_module: str,
        subordinate_uids: tuple[tuple[int, int], ...],
        subordinate_gids: tuple[tuple[int, int], ...],
        newuidmap: str,
        newgidmap: str,
        owns_mounts: bool,
        sets_groups: bool,
        swap: bool,
        cgroups: CgroupLayout,
    ) -> None:
        self.kernel = kernel
        self.landlock = landlock
        self.architecture = architecture
        self.uid = uid
        self.gid = gid
        self.process_1 = process_1
        self.capabilities = capabilities
        self.bounding = bounding
        self.uid_map = uid_map
        self.gid_map = gid_map
        self.user_namespaces = user_namespaces
        self.restriction = restriction
        self.security_module = security_module
        self.subordinate_uids = subordinate_uids
        self.subordinate_gids = subordinate_gids
        self.newuidmap = newuidmap
        self.newgidmap = newgidmap
        self.owns_mounts = owns_mounts
        self.sets_groups = sets_groups
        self.swap = swap
        self.cgroups = cgroups

    @property
    def may_mount(self) -> bool:
        """Whether we may mount where we are: CAP_SYS_ADMIN over our own mount namespace."""
        return self.owns_mounts and bool(self.capabilities & BITS["SYS_ADMIN"])

    @property
    def is_root(self) -> bool:
        """Root with the capabilities to make namespaces and map ids by itself."""
        return self.uid == 0 and self.may_mount and bool(self.capabilities & BITS["SETUID"])

    @property
    def maps_all_ids(self) -> bool:
        """Whether every id of the machine is ours to map: we are in its first user namespace."""
        return self.uid_map == self.gid_map == ALL_IDS

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        value: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        value["cgroups"] = self.cgroups.to_dict()
        return value

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> HostFacts:
        """What :meth:`to_dict` gave, also after a trip through JSON."""
        fields = dict(value)
        fields["cgroups"] = CgroupLayout.from_dict(value["cgroups"])
        fields["kernel"] = tuple(value["kernel"])
        for name in ("uid_map", "gid_map", "subordinate_uids", "subordinate_gids"):
            fields[name] = tuple(tuple(entry) for entry in value[name])
        return cls(**fields)


def read_text(path: str) -> str:
    """A small file whole, or nothing where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read().decode("utf-8", "surrogateescape")
    except OSError:
        return ""


def _number(path: str, default: int) -> int:
    text = read_text(path).strip()
    return int(text) if text.isdecimal() else default


def own_status() -> dict[str, str]:
    """``/proc/self/status`` as name to value (proc_pid_status(5))."""
    pairs = (line.partition(":") for line in read_text("/proc/self/status").splitlines())
    return {name: value.strip() for name, _, value in pairs}


def subordinate_ranges(text: str, name: str, uid: int) -> tuple[tuple[int, int], ...]:
    """The ranges of a user in the text of /etc/subuid or /etc/subgid (subuid(5))."""
    ranges = []
    for line in text.splitlines():
        owner, _, rest = line.partition(":")
        first, _, count = rest.partition(":")
        if (owner == name or owner == str(uid)) and first.isdecimal() and count.isdecimal():
            ranges.append((int(first), int(count)))
    return tuple(ranges)


def _user_name(uid: int) -> str:
    """Our own name, from /etc/passwd: subuid names people rather than numbers."""
    for line in read_text("/etc/passwd").splitlines():
        fields = line.split(":")
        if len(fields) > 2 and fields[2] == str(uid):
            return fields[0]
    return ""


def find_program(name: str) -> str:
    """A set-uid helper in the usual places; PATH has no say in what we execute."""
    for directory in ("/usr/bin", "/bin", "/usr/local/bin", "/run/wrappers/bin"):
        path = f"{directory}/{name}"
        if os.access(path, os.X_OK):
            return path
    return ""


def _id_map(path: str) -> tuple[tuple[int, int, int], ...]:
    lines = (line.split() for line in read_text(path).splitlines())
    return tuple((int(inside), int(outside), int(size)) for inside, outside, size in lines)


def _restriction(uid: int) -> str:
    if uid == 0:
        return ""
    if _number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", 0):
        return "apparmor"
    if not _number("/proc/sys/kernel/unprivileged_userns_clone", 1):
        return "sysctl"
    return ""


LANDLOCK = ((5, 13), (5, 19), (6, 2), (6, 7), (6, 10), (6, 12), (6, 15))
"""The kernels that brought each version of Landlock's interface (landlock(7), Kernel support)."""


def landlock_version(kernel: tuple[int, int]) -> int:
    """The version of Landlock's interface that this kernel has, as far as its age and the list of
    security modules tell: only a refused step says that it is switched off where nobody may look.
    """
    modules = read_text("/sys/kernel/security/lsm")
    if modules and "landlock" not in modules.split(","):
        return 0
    return sum(kernel >= brought for brought in LANDLOCK)


def _security_module() -> str:
    if read_text("/sys/module/apparmor/parameters/enabled").startswith("Y"):
        return "apparmor"
    return "selinux" if os.path.exists("/sys/fs/selinux/enforce") else ""


NS_GET_USERNS = 0xB701  # ioctl_nsfs(2)


def _owns_mounts(first_user_namespace: bool) -> bool:
    """Whether the mount namespace's owner is our user namespace: not after ``unshare -U`` alone."""
    if first_user_namespace:
        return True
    from fcntl import ioctl

    fd = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        owner = ioctl(fd, NS_GET_USERNS)
    except OSError:
        # It belongs to a user namespace above ours, which we may not see.
        return False
    finally:
        os.close(fd)
    try:
        return os.fstat(owner).st_ino == os.stat("/proc/self/ns/user").st_ino
    finally:
        os.close(owner)


def read() -> HostFacts:
    """The facts of this machine, read now; it costs a few reads of /proc and no probe."""
    from kokon.kernel import cgroups

    system = os.uname()
    major, _, rest = system.release.partition(".")
    minor = "".join(c for c in rest.partition(".")[0] if c.isdigit())
    kernel = int(major), int(minor or "0")
    uid = os.geteuid()
    status = own_status()
    newuidmap = newgidmap = ""
    subuids: tuple[tuple[int, int], ...] = ()
    subgids: tuple[tuple[int, int], ...] = ()
    if uid:
        newuidmap, newgidmap = find_program("newuidmap"), find_program("newgidmap")
        if newuidmap and newgidmap:
            name = _user_name(uid)
            subuids = subordinate_ranges(read_text("/etc/subuid"), name, uid)
            subgids = subordinate_ranges(read_text("/etc/subgid"), name, uid)
    uid_map, gid_map = _id_map("/proc/self/uid_map"), _id_map("/proc/self/gid_map")
    return HostFacts(
        kernel=kernel,
        landlock=landlock_version(kernel),
        architecture=system.machine,
        uid=uid,
        gid=os.getegid(),
        process_1=os.getpid() == 1,
        capabilities=int(status.get("CapEff", "0"), 16),
        bounding=int(status.get("CapBnd", "0"), 16),
        uid_map=uid_map,
        gid_map=gid_map,
        user_namespaces=_number("/proc/sys/user/max_user_namespaces", 0),
        restriction=_restriction(uid),
        security_module=_security_module(),
        subordinate_uids=subuids,
        subordinate_gids=subgids,
        newuidmap=newuidmap,
        newgidmap=newgidmap,
        owns_mounts=_owns_mounts(uid_map == gid_map == ALL_IDS),
        sets_groups=not read_text("/proc/self/setgroups").startswith("deny"),
        # The first line is a heading (proc_swaps(5)).
        swap=read_text("/proc/swaps").count("\n") > 1,
        cgroups=cgroups.read(),
    )


_kept: tuple[float, tuple[object, ...], HostFacts] | None = None


def current() -> HostFacts:
    """The facts of this machine, kept while we stay who and where we are, with the same mounts.

    Our place in the cgroups may have changed since: see :func:`kokon.kernel.cgroups.read_moved`.
    """
    global _kept
    uid = os.geteuid()
    key = (
        os.getpid(), uid, os.getegid(), os.readlink("/proc/self/ns/user"),
        filesystems.mount_table(), uid and (_dates("/etc/subuid"), _dates("/etc/subgid")),
    )  # fmt: skip
    now = monotonic()
    if _kept is not None and now < _kept[0] and key == _kept[1]:
        return _kept[2]
    host = read()
    if _kept is not None and host.to_dict() == _kept[2].to_dict():
        host = _kept[2]  # plans are known by it
    # That something is switched off is not kept: who is told so switches it on and tries again.
    _kept = (now + KEPT, key, host) if host.user_namespaces and not host.restriction else None
    return host


def _dates(path: str) -> tuple[int, ...] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def forget() -> None:
    """Has the next :func:`current` read again: a step was refused that ought not to be."""
    global _kept
    _kept = None
