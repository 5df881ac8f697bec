"""The OCI runtime configuration (config.json) as typed values.

Names are the specification's in snake_case (runtime-spec config.md and config-linux.md); a value
that the document leaves out is None, or empty for lists.  These are plain values: nothing here
checks them against a machine, that is for ``kokon.compile``.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from kokon.spec.resources import Resources


class Root:
    """config.md, Root."""

    __slots__ = ("path", "readonly")

    def __init__(self, path: str, readonly: bool = False) -> None:
        self.path = path
        self.readonly = readonly


class Mount:
    """config.md, Mounts.

    ``options`` are mount(8)'s words; ``source`` is a path for a bind, else a name.
    """

    __slots__ = ("destination", "options", "source", "type")

    def __init__(
        self, destination: str, type: str, source: str = "", options: tuple[str, ...] = ()
    ) -> None:
        self.destination = destination
        self.type = type
        self.source = source
        self.options = options


class User:
    """config.md, POSIX-platform User; ids are those inside the container."""

    __slots__ = ("additional_gids", "gid", "uid", "umask")

    def __init__(
        self,
        uid: int = 0,
        gid: int = 0,
        additional_gids: tuple[int, ...] = (),
        umask: int | None = None,
    ) -> None:
        self.uid = uid
        self.gid = gid
        self.additional_gids = additional_gids
        self.umask = umask


class Capabilities:
    """config.md, Linux Process: the five sets of capabilities(7), as bit masks."""

    __slots__ = ("ambient", "bounding", "effective", "inheritable", "permitted")

    def __init__(
        self,
        bounding: int = 0,
        effective: int = 0,
        permitted: int = 0,
        inheritable: int = 0,
        ambient: int = 0,
    ) -> None:
        self.bounding = bounding
        self.effective = effective
        self.permitted = permitted
        self.inheritable = inheritable
        self.ambient = ambient


class ResourceLimit:
    """config.md, POSIX process, rlimits; ``type`` is RLIMIT_NOFILE, …"""

    __slots__ = ("hard", "soft", "type")

    def __init__(self, type: str, soft: int, hard: int) -> None:
        self.type = type
        self.soft = soft
        self.hard = hard


class Process:
    """config.md, Process."""

    __slots__ = (
        "apparmor_profile",
        "args",
        "capabilities",
        "cwd",
        "env",
        "no_new_privileges",
        "oom_score_adj",
        "rlimits",
        "selinux_label",
        "terminal",
        "user",
    )

    def __init__(
        self,
        args: tuple[str, ...],
        *,
        env: tuple[str, ...] = (),
        cwd: str = "/",
        user: User | None = None,
        terminal: bool = False,
        capabilities: Capabilities | None = None,
        rlimits: tuple[ResourceLimit, ...] = (),
        no_new_privileges: bool = False,
        apparmor_profile: str = "",
        selinux_label: str = "",
        oom_score_adj: int | None = None,
    ) -> None:
        self.args = args
        self.env = env
        self.cwd = cwd
        self.user = user or User()
        self.terminal = terminal
        self.capabilities = capabilities or Capabilities()
        self.rlimits = rlimits
        self.no_new_privileges = no_new_privileges
        self.apparmor_profile = apparmor_profile
        self.selinux_label = selinux_label
        self.oom_score_adj = oom_score_adj


class Namespace:
    """config-linux.md, Namespaces: pid, network, mount, ipc, uts, user, cgroup, time."""

    __slots__ = ("path", "type")

    def __init__(self, type: str, path: str = "") -> None:
        self.type = type
        self.path = path


class IdMapping:
    """config-linux.md, User namespace mappings: ``size`` ids from ``container_id`` on."""

    __slots__ = ("container_id", "host_id", "size")

    def __init__(self, container_id: int, host_id: int, size: int) -> None:
        self.container_id = container_id
        self.host_id = host_id
        self.size = size

    def key(self) -> tuple[int, int, int]:
        """The three numbers, in the order of uid_map."""
        return self.container_id, self.host_id, self.size

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IdMapping) and self.key() == other.key()

    def __hash__(self) -> int:
        return hash(self.key())

    def __repr__(self) -> str:
        return f"IdMapping{self.key()}"


class Device:
    """config-linux.md, Devices; ``type`` is c, u, b or p, ``file_mode`` octal bits."""

    __slots__ = ("file_mode", "gid", "major", "minor", "path", "source", "type", "uid")

    def __init__(
        self,
        path: str,
        type: str,
        major: int,
        minor: int,
        *,
        file_mode: int = 0o666,
        uid: int = 0,
        gid: int = 0,
        source: str = "",
    ) -> None:
        self.path = path
        self.type = type
        self.major = major
        self.minor = minor
        self.file_mode = file_mode
        self.uid = uid
        self.gid = gid
        self.source = source or path


class Seccomp:
    """The filter as a program of struct sock_filter, with the flags of seccomp(2)."""

    __slots__ = ("flags", "program")

    def __init__(self, program: bytes, flags: int = 0) -> None:
        self.program = program
        self.flags = flags


class Linux:
    """config-linux.md."""

    __slots__ = (
        "devices",
        "gid_mappings",
        "masked_paths",
        "namespaces",
        "readonly_paths",
        "resources",
        "rootfs_propagation",
        "seccomp",
        "sysctl",
        "time_offsets",
        "uid_mappings",
    )

    def __init__(
        self,
        *,
        namespaces: tuple[Namespace, ...] = (),
        uid_mappings: tuple[IdMapping, ...] = (),
        gid_mappings: tuple[IdMapping, ...] = (),
        devices: tuple[Device, ...] = (),
        resources: Resources | None = None,
        seccomp: Seccomp | None = None,
        masked_paths: tuple[str, ...] = (),
        readonly_paths: tuple[str, ...] = (),
        sysctl: Mapping[str, str] | None = None,
        rootfs_propagation: str = "",
        time_offsets: Mapping[str, tuple[int, int]] | None = None,
    ) -> None:
        self.namespaces = namespaces
        self.uid_mappings = uid_mappings
        self.gid_mappings = gid_mappings
        self.devices = devices
        self.resources = resources
        self.seccomp = seccomp
        self.masked_paths = masked_paths
        self.readonly_paths = readonly_paths
        self.sysctl = dict(sysctl or {})
        self.rootfs_propagation = rootfs_propagation
        self.time_offsets = dict(time_offsets or {})


class Spec:
    """config.md: the whole configuration of one container."""

    __slots__ = ("domainname", "hostname", "linux", "mounts", "process", "root")

    def __init__(
        self,
        *,
        root: Root,
        process: Process,
        linux: Linux,
        hostname: str = "",
        domainname: str = "",
        mounts: tuple[Mount, ...] = (),
    ) -> None:
        self.root = root
        self.process = process
        self.linux = linux
        self.hostname = hostname
        self.domainname = domainname
        self.mounts = mounts
