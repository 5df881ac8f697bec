"""The OCI runtime configuration (config.json) as typed values.

Names are the specification's in snake_case (runtime-spec config.md and config-linux.md); a value
that the document leaves out is None, or empty for lists.  These are plain values: nothing here
checks them against a machine, that is for ``kokon.compile``.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from kokon.spec.oci.values import (
        ConsoleSize,
        ExecCpuAffinity,
        Hooks,
        IntelRdt,
        IoPriority,
        MemoryPolicy,
        NetDevice,
        Personality,
        Scheduler,
        SeccompDocument,
    )
    from kokon.spec.resources import Resources

VERSION = "1.3.0"
"""Of the specification that is meant here."""


class Root:
    """config.md, Root."""

    __slots__ = ("path", "readonly")

    def __init__(self, path: str, readonly: bool = False) -> None:
        self.path = path
        self.readonly = readonly


class Mount:
    """config.md, Mounts.

    ``options`` are mount(8)'s words; ``source`` is a path for a bind, else a name.  The mappings
    are those of an id-mapped mount alone.
    """

    __slots__ = ("destination", "gid_mappings", "options", "source", "type", "uid_mappings")

    def __init__(
        self,
        destination: str,
        type: str = "",
        source: str = "",
        options: tuple[str, ...] = (),
        uid_mappings: tuple[IdMapping, ...] = (),
        gid_mappings: tuple[IdMapping, ...] = (),
    ) -> None:
        self.destination = destination
        self.type = type
        self.source = source
        self.options = options
        self.uid_mappings = uid_mappings
        self.gid_mappings = gid_mappings


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
    """config.md, Process.

    :ivar notes: what the document asks and nobody can give, to be said once.
    """

    __slots__ = (
        "apparmor_profile",
        "args",
        "capabilities",
        "console_size",
        "cwd",
        "env",
        "exec_cpu_affinity",
        "io_priority",
        "no_new_privileges",
        "notes",
        "oom_score_adj",
        "rlimits",
        "scheduler",
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
        console_size: ConsoleSize | None = None,
        scheduler: Scheduler | None = None,
        io_priority: IoPriority | None = None,
        exec_cpu_affinity: ExecCpuAffinity | None = None,
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
        self.console_size = console_size
        self.scheduler = scheduler
        self.io_priority = io_priority
        self.exec_cpu_affinity = exec_cpu_affinity
        self.notes: tuple[str, ...] = ()


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
        major: int = 0,
        minor: int = 0,
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
    """config-linux.md; ``seccomp_document`` is its ``seccomp``, not compiled yet."""

    __slots__ = (
        "cgroups_path",
        "devices",
        "gid_mappings",
        "intel_rdt",
        "masked_paths",
        "memory_policy",
        "mount_label",
        "namespaces",
        "net_devices",
        "personality",
        "readonly_paths",
        "resources",
        "rootfs_propagation",
        "seccomp",
        "seccomp_document",
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
        cgroups_path: str = "",
        seccomp_document: SeccompDocument | None = None,
        mount_label: str = "",
        net_devices: Mapping[str, NetDevice] | None = None,
        intel_rdt: IntelRdt | None = None,
        memory_policy: MemoryPolicy | None = None,
        personality: Personality | None = None,
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
        self.cgroups_path = cgroups_path
        self.seccomp_document = seccomp_document
        self.mount_label = mount_label
        self.net_devices = dict(net_devices or {})
        self.intel_rdt = intel_rdt
        self.memory_policy = memory_policy
        self.personality = personality


class Spec:
    """config.md: the whole configuration of one container.

    A document without ``process`` has one without ``args``: nothing can be started of it.

    :ivar notes: what the document asks and nobody can give, to be said once.
    """

    __slots__ = (
        "annotations",
        "domainname",
        "hooks",
        "hostname",
        "linux",
        "mounts",
        "notes",
        "oci_version",
        "process",
        "root",
    )

    def __init__(
        self,
        *,
        root: Root,
        process: Process | None = None,
        linux: Linux | None = None,
        hostname: str = "",
        domainname: str = "",
        mounts: tuple[Mount, ...] = (),
        hooks: Hooks | None = None,
        annotations: Mapping[str, str] | None = None,
        oci_version: str = VERSION,
    ) -> None:
        self.root = root
        self.process = process or Process(())
        self.linux = linux or Linux()
        self.hostname = hostname
        self.domainname = domainname
        self.mounts = mounts
        self.hooks = hooks
        self.annotations = dict(annotations or {})
        self.oci_version = oci_version
        self.notes: tuple[str, ...] = ()
