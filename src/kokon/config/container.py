"""``configure``: what a person asks becomes a spec, with who asked for what."""

from __future__ import annotations

from kokon.config import confinement, devices, environment, sizes
from kokon.config import resources as limits
from kokon.errors import OptionError
from kokon.kernel import capabilities
from kokon.spec.resources import Resources
from kokon.spec.runtime import (
    Linux,
    Mount,
    Namespace,
    Process,
    Root,
    Spec,
    User,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from kokon.config.options import Options
    from kokon.kernel.facts import HostFacts
    from kokon.spec.runtime import IdMapping

HOSTNAME = "kokon"
NAMESPACES = ("user", "mount", "pid", "ipc", "uts", "network", "cgroup")
SHARED = {"userns": "user", "pid": "pid", "ipc": "ipc", "uts": "uts", "cgroupns": "cgroup"}
"""Options that take private or host, with the namespace they are about."""


class Surroundings:
    """What was looked up for a run, beside the facts of the machine.

    :param uid: who runs, with ``gid`` and ``groups``; ``home`` is the home directory inside.
    :param caller: the caller's environment; only what is asked for by name is taken from it.
    :param devices: type, numbers and mode of each device of the host that an option names.
    :param seccomp: the text of the file that ``--security-opt seccomp=`` names.
    :param environment_files: the texts of ``--env-file``.
    :param masked: paths of this machine that are hidden beside those that every machine has.
    :param root_environment: variables that programs in the root need.
    :param root_working_directory: where programs start when nothing is said.
    :param lowest: there are no namespaces: the program has this machine's own root.
    """

    __slots__ = (
        "caller", "devices", "environment_files", "gid", "gid_mappings", "groups", "home", "lowest",
        "masked",
        "root_environment", "root_working_directory", "seccomp", "terminal", "uid",
        "uid_mappings",
    )  # fmt: skip

    def __init__(
        self,
        *,
        uid: int,
        gid: int,
        groups: tuple[int, ...],
        home: str,
        caller: Mapping[str, str],
        uid_mappings: tuple[IdMapping, ...] = (),
        gid_mappings: tuple[IdMapping, ...] = (),
        devices: Mapping[str, tuple[str, int, int, int]] | None = None,
        seccomp: bytes | None = None,
        environment_files: tuple[str, ...] = (),
        root_environment: Mapping[str, str] | None = None,
        root_working_directory: str = "/",
        masked: tuple[str, ...] = (),
        terminal: bool = False,
        lowest: bool = False,
    ) -> None:
        self.uid = uid
        self.gid = gid
        self.groups = groups
        self.home = home
        self.caller = caller
        self.uid_mappings = uid_mappings
        self.gid_mappings = gid_mappings
        self.devices = devices or {}
        self.seccomp = seccomp
        self.environment_files = environment_files
        self.root_environment = root_environment or {}
        self.root_working_directory = root_working_directory
        self.masked = masked
        self.terminal = terminal
        self.lowest = lowest

    def key(self) -> tuple[object, ...]:
        """Equal for equal values; ``caller`` is left out."""
        return (
            self.uid, self.gid, self.groups, self.home, self.uid_mappings, self.gid_mappings,
            tuple(self.devices.items()), self.seccomp, self.environment_files,
            tuple(self.root_environment.items()), self.root_working_directory, self.masked,
            self.terminal, self.lowest,
        )  # fmt: skip


class Configuration:
    """A spec, and JSON pointers of it to the options that set them (``--memory 100M``).

    :ivar notes: what is said of it once.
    """

    __slots__ = ("asked", "notes", "spec")

    def __init__(self, spec: Spec, asked: dict[str, str], notes: tuple[str, ...] = ()) -> None:
        self.spec = spec
        self.asked = asked
        self.notes = notes

    def running(self, args: tuple[str, ...]) -> Configuration:
        """The same for another program; what both have in common is shared."""
        spec = _with(self.spec, "process", _with(self.spec.process, "args", args))
        asked = {**self.asked, "/process/args": " ".join(args)}
        return Configuration(spec, asked, self.notes)


def _with(value: Any, field: str, other: object) -> Any:
    """A copy of a value with slots, one field of it replaced."""
    copy = object.__new__(type(value))
    for name in value.__slots__:
        setattr(copy, name, getattr(value, name))
    setattr(copy, field, other)
    return copy


def configure(options: Options, host: HostFacts, around: Surroundings) -> Configuration:
    """The spec of a run: pure.

    :raises OptionError: an option has a value that cannot be meant.
    :raises HostError: this machine cannot give what is asked.
    """
    asked = {"/root/path": options.root, "/process/args": " ".join(options.args)}
    kinds = () if around.lowest else namespaces(options, host, asked)
    security = confinement.SecurityOptions(options.security_opt)
    security.check(host)
    mask = confinement.capability_mask(options, host, own_user_namespace="user" in kinds)
    if around.lowest:
        mask = capabilities.DEFAULT_MASK  # for the filter alone: every capability is dropped
    resources, resources_asked = limits.resources(options, around.devices, swap=host.swap)
    asked.update(resources_asked)
    shown = devices.devices(options, around.devices)
    if "user" not in kinds and mask & capabilities.BITS["MKNOD"] and not options.privileged:
        resources = resources or Resources()
        resources.devices = devices.rules(shown)
        asked["/linux/resources/devices"] = "--cap-add MKNOD with --userns host"
    hostname = options.hostname or HOSTNAME
    for name in ("hostname", "domainname"):
        if getattr(options, name) is not None:
            check_name(getattr(options, name), options.words(name))
    process = _process(options, around, security, mask, hostname)
    notes: list[str] = []
    bare = options.privileged or around.lowest
    masked, readonly = ((), ()) if bare else _hidden(around)
    mapped = "user" in kinds
    linux = Linux(
        namespaces=tuple(Namespace(kind) for kind in kinds),
        uid_mappings=around.uid_mappings if mapped else (),
        gid_mappings=around.gid_mappings if mapped else (),
        devices=shown,
        resources=resources,
        seccomp=confinement.seccomp(options, host, mask, security.seccomp, around.seccomp, notes),
        masked_paths=masked,
        readonly_paths=readonly,
        sysctl=_sysctls(options),
        time_offsets=_time_offsets(options),
    )
    spec = Spec(
        root=Root(options.root, options.read_only),
        process=process,
        linux=linux,
        hostname=hostname if "uts" in kinds else "",
        domainname=options.domainname or "",
        mounts=mounts(options, kinds, asked, defaults=not around.lowest),
    )
    _ask(asked, options)
    return Configuration(spec, asked, tuple(notes))


def _process(
    options: Options,
    around: Surroundings,
    security: confinement.SecurityOptions,
    mask: int,
    hostname: str,
) -> Process:
    return Process(
        options.args,
        env=environment.variables(
            options.env,
            zip(options.env_file, around.environment_files, strict=True),
            around.caller, home=around.home, hostname=hostname,
            terminal=around.terminal, root=around.root_environment,
        ),
        cwd=_working_directory(options, around),
        user=User(around.uid, around.gid, around.groups, _umask(options)),
        terminal=around.terminal,
        capabilities=confinement.capability_sets(mask, around.uid),
        rlimits=confinement.resource_limits(options.ulimits),
        no_new_privileges=security.no_new_privileges and not options.privileged,
        apparmor_profile=security.apparmor,
        selinux_label=security.label,
        oom_score_adj=_oom_score(options),
    )  # fmt: skip


def namespaces(options: Options, host: HostFacts, asked: dict[str, str]) -> tuple[str, ...]:
    """Which namespaces are the container's own.

    For root, the host's network or pid namespace cannot be used from a user namespace that does
    not own them, so they (and ``--privileged``) imply ``--userns host``.
    """
    shared = set()
    for name, kind in SHARED.items():
        value = getattr(options, name)
        if value not in (None, "private", "host"):
            raise OptionError(
                f"{value!r} is neither private nor host",
                where=options.words(name),
                remedy="give one of them",
            )
        if value == "host":
            shared.add(kind)
            asked["/linux/namespaces"] = options.words(name)
    if options.network not in (None, "none", "private", "host"):
        raise OptionError(
            f"there is no network {options.network!r}",
            where="--network",
            remedy="give none (loopback only) or host",
        )
    if options.network == "host":
        shared.add("network")
        asked["/linux/namespaces"] = "--network host"
    if host.is_root and (options.privileged or {"network", "pid"} & shared):
        if options.userns == "private":
            raise OptionError(
                "cannot be had together with the host's network, its processes, or --privileged",
                where="--userns private",
                remedy="leave one of them out",
            )
        shared.add("user")
    if "user" in shared and not host.is_root:
        raise OptionError(
            "needs root: without it a user namespace gives the right to mount",
            where="--userns host",
            remedy="leave it out",
        )
    kinds = [kind for kind in NAMESPACES if kind not in shared]
    if options.time is not None:
        kinds.append("time")
    return tuple(kinds)


def implied(options: Options, kinds: tuple[str, ...]) -> tuple[str, ...]:
    """What is said aloud: a choice that one option made for another."""
    if "user" not in kinds and options.userns != "host":
        return ("the container shares the host's user namespace (--userns host is implied)",)
    return ()


def mounts(
    options: Options, kinds: tuple[str, ...], asked: dict[str, str], *, defaults: bool = True
) -> tuple[Mount, ...]:
    """Docker's default mounts, then tmpfs, volumes and mounts by depth of their destination."""
    writable = "rw" if options.privileged else "ro"
    locked = ("nosuid", "noexec", "nodev")
    proc = Mount("/proc", "proc", "proc", locked)
    sys = Mount("/sys", "sysfs", "sysfs", (*locked, writable))
    # A user namespace cannot mount these for namespaces that it does not own.
    if "user" in kinds and "pid" not in kinds:
        proc = Mount("/proc", "bind", "/proc", ("rbind", "rprivate"))
    if "user" in kinds and "network" not in kinds:
        sys = Mount("/sys", "bind", "/sys", ("rbind", "rprivate", "rro"))
    shm = options.shm_size
    size = sizes.memory_bytes(shm, "--shm-size") if shm is not None else 64 << 20
    result = [
        proc,
        Mount("/dev", "tmpfs", "tmpfs", ("nosuid", "mode=755", "size=65536k")),
        Mount("/dev/pts", "devpts", "devpts",
              ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5")),
        Mount("/dev/shm", "tmpfs", "shm", (*locked, "mode=1777", f"size={size}")),
        sys,
    ]  # fmt: skip
    if "ipc" in kinds:
        result.append(Mount("/dev/mqueue", "mqueue", "mqueue", locked))
    if not defaults:
        result.clear()
    if not (options.tmpfs or options.volumes or options.mounts):
        return tuple(result)
    from kokon.config import volumes

    own = [(volumes.tmpfs(text), f"--tmpfs {text}") for text in options.tmpfs]
    own += [(volumes.volume(text), f"-v {text}") for text in options.volumes]
    own += [(volumes.mount(text), f"--mount {text}") for text in options.mounts]
    own.sort(key=lambda pair: pair[0].destination.rstrip("/").count("/"))
    seen: dict[str, str] = {}
    for mount, words in own:
        where = mount.destination.rstrip("/")
        if where in seen:
            raise OptionError(
                f"{where} is already the destination of {seen[where]}",
                where=words,
                remedy="give each its own",
            )
        seen[where] = words
        asked[f"/mounts/{len(result)}"] = words
        result.append(mount)
    return tuple(result)


def _hidden(around: Surroundings) -> tuple[tuple[str, ...], tuple[str, ...]]:
    from kokon.security import masks

    return (*masks.DEFAULT_MASKED, *around.masked), masks.DEFAULT_READONLY


def check_name(name: str, words: str) -> None:
    """A host name is letters, digits, hyphens and dots (hostname(7)): it becomes a line of files.

    :raises OptionError: it is not.
    """
    plain = name.replace("-", "").replace(".", "").replace("_", "")
    if not (plain.isascii() and plain.isalnum()) or len(name) > 64 or name[0] in "-.":
        raise OptionError(
            f"{name!r} is no host name",
            where=words if name.isprintable() else words.partition(" ")[0],
            remedy="use letters, digits, hyphens and dots, 64 at most",
        )


def _umask(options: Options) -> int:
    text = options.umask
    if text is None:
        return 0o022
    digits = f"{text:o}" if isinstance(text, int) else str(text)
    if not digits or len(digits) > 4 or any(digit not in "01234567" for digit in digits):
        raise OptionError(
            "is no octal mask", where=f"--umask {text}", remedy="write for example 027"
        )
    return int(digits, 8)


def _working_directory(options: Options, around: Surroundings) -> str:
    path = str(options.cwd) if options.cwd is not None else around.root_working_directory
    if not path.startswith("/") or "\0" in path:
        raise OptionError(
            f"{path!r} is no absolute path", where="--workdir", remedy="begin it with /"
        )
    return path


def _oom_score(options: Options) -> int | None:
    if options.oom_score_adj is None:
        return None
    return limits.number(options.oom_score_adj, "--oom-score-adj", -1000, 1000)


NAME_SYSCTLS = {"kernel.hostname": "--hostname", "kernel.domainname": "--domainname"}
FURTHEST = (2**63 - 1) // 10**9 // 2
"""Seconds, some 146 years: half of what a clock of the kernel can show (KTIME_SEC_MAX)."""


def _sysctls(options: Options) -> dict[str, str]:
    pairs = {}
    for entry in options.sysctls:
        key, equals, value = entry.partition("=")
        if not equals or not key:
            raise OptionError(
                "is not KEY=VALUE",
                where=f"--sysctl {entry}",
                remedy="write for example net.ipv4.ip_forward=1",
            )
        if key in NAME_SYSCTLS:
            raise OptionError(
                "has an option of its own", where=f"--sysctl {entry}",
                remedy=f"write {NAME_SYSCTLS[key]} {value}",
            )  # fmt: skip
        pairs[key] = value
    return pairs


def _time_offsets(options: Options) -> dict[str, tuple[int, int]]:
    offsets = {}
    for entry in (options.time or "").split(","):
        if not entry or entry == "private":
            continue
        clock, _, seconds = entry.partition("=")
        if clock not in ("boottime", "monotonic"):
            raise OptionError(
                f"{entry!r} is no offset",
                where="--time",
                remedy="write for example --time boottime=86400",
            )
        offsets[clock] = (limits.number(seconds, f"--time {entry}", -FURTHEST, FURTHEST), 0)
    return offsets


# Where in the spec each remaining option ends, for explain and for errors.
POINTERS = {
    "hostname": "/hostname", "domainname": "/domainname", "cwd": "/process/cwd",
    "user": "/process/user", "umask": "/process/user/umask", "env": "/process/env",
    "tty": "/process/terminal", "cap_add": "/process/capabilities",
    "cap_drop": "/process/capabilities", "ulimits": "/process/rlimits",
    "oom_score_adj": "/process/oomScoreAdj", "read_only": "/root/readonly",
    "devices": "/linux/devices", "sysctls": "/linux/sysctl", "time": "/linux/timeOffsets",
    "security_opt": "/linux/seccomp", "privileged": "/process/capabilities",
}  # fmt: skip


def _ask(asked: dict[str, str], options: Options) -> None:
    for name, pointer in POINTERS.items():
        if getattr(options, name) not in (None, (), False):
            asked[pointer] = options.words(name)
    for pointer in ("/linux", "/process", "/mounts", "/root", "/hostname"):
        asked.setdefault(pointer, "default")
