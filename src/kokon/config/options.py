"""What a person may ask of a run: one table of options, for the Python API and the command line."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


class Option:
    """One row of the table.

    :param name: of the command line, without dashes; the Python name has underscores for dashes.
    :param kind: flag (a switch), text, list (may be given again), number.
    :param metavar: what stands for the value in help; empty for a flag.
    :param help: one line, without a full stop.
    :param short: one letter, or nothing.
    :param group: the heading of help that it belongs to.
    :param python: the keyword of ``kokon.run``, where it is another word.
    """

    __slots__ = ("group", "help", "kind", "metavar", "name", "python", "short")

    def __init__(
        self,
        group: str,
        name: str,
        kind: str,
        metavar: str,
        help: str,
        short: str = "",
        python: str = "",
    ) -> None:
        self.group = group
        self.name = name
        self.kind = kind
        self.metavar = metavar
        self.help = help
        self.short = short
        self.python = python or name.replace("-", "_")


TABLE = (
    Option("Program", "env", "list", "NAME[=VALUE]", "set a variable; without a value, take the caller's", "e"),
    Option("Program", "env-file", "list", "FILE", "read variables from a file"),
    Option("Program", "workdir", "text", "DIR", "start in this directory", "w", "cwd"),
    Option("Program", "user", "text", "USER[:GROUP]", "run as this user (name or id) of the root", "u"),
    Option("Program", "group-add", "list", "GROUP", "add a supplementary group"),
    Option("Program", "umask", "text", "MASK", "umask of the program, octal (default 022)"),
    Option("Program", "init", "flag", "", "run a small process 1 that reaps and forwards signals"),
    Option("Program", "interactive", "flag", "", "keep standard input open", "i"),
    Option("Program", "tty", "flag", "", "give the program a terminal of its own", "t"),
    Option("Program", "timeout", "text", "DURATION", "end the container after this time, like 5s or 1m30s"),
    Option("Program", "events", "text", "json[:FD]", "report what happens as lines of JSON"),
    Option("Root and files", "read-only", "flag", "", "make the root read-only"),
    Option("Root and files", "rw", "flag", "", "write to the root directory itself, not to a copy"),
    Option("Root and files", "keep", "text", "DIR", "keep what the program writes in this directory"),
    Option("Root and files", "packages", "flag", "", "@python: with the packages of the caller's environment"),
    Option("Root and files", "volume", "list", "SRC:DST[:OPTIONS]", "show a file or directory of the host", "v", "volumes"),
    Option("Root and files", "mount", "list", "type=…,src=…,dst=…", "the same, and more, in Docker's long words", "", "mounts"),
    Option("Root and files", "tmpfs", "list", "DST[:OPTIONS]", "an empty file system in memory"),
    Option("Root and files", "device", "list", "SRC[:DST[:rwm]]", "show a device of the host", "", "devices"),
    Option("Root and files", "shm-size", "text", "SIZE", "size of /dev/shm (default 64M)"),
    Option("Isolation", "hostname", "text", "NAME", "host name inside (default kokon)", "h"),
    Option("Isolation", "domainname", "text", "NAME", "NIS domain name inside"),
    Option("Isolation", "network", "text", "none|host", "network namespace: none has loopback only (default)"),
    Option("Isolation", "pid", "text", "private|host", "pid namespace"),
    Option("Isolation", "ipc", "text", "private|host", "ipc namespace"),
    Option("Isolation", "uts", "text", "private|host", "uts namespace (host name)"),
    Option("Isolation", "userns", "text", "private|host", "user namespace: host turns the mapping of ids off"),
    Option("Isolation", "cgroupns", "text", "private|host", "cgroup namespace"),
    Option("Isolation", "time", "text", "CLOCK=SECONDS", "a time namespace with this offset (boottime=, monotonic=)"),
    Option("Isolation", "dns", "list", "ADDRESS", "name server for resolv.conf"),
    Option("Isolation", "add-host", "list", "NAME:ADDRESS", "a line for /etc/hosts"),
    Option("Isolation", "sysctl", "list", "KEY=VALUE", "set a sysctl of a namespace of the container", "", "sysctls"),
    Option("Confinement", "cap-add", "list", "CAPABILITY", "add a capability (or ALL)"),
    Option("Confinement", "cap-drop", "list", "CAPABILITY", "drop a capability (or ALL)"),
    Option("Confinement", "privileged", "flag", "", "every capability, no filter, no masks: not isolated"),
    Option("Confinement", "security-opt", "list", "KEY=VALUE", "seccomp=FILE|unconfined, no-new-privileges[=false], apparmor=…, label=…"),
    Option("Confinement", "landlock", "flag", "", "a second wall of Landlock's rules above the namespaces"),
    Option("Confinement", "level", "text", "full|best|landlock", "full or an error (default), what there is, or no namespace"),
    Option("Confinement", "require", "list", "NAME[,NAME…]", "what must hold: files, processes, network, limits, system-calls, memory, …"),
    Option("Confinement", "oom-score-adj", "number", "NUMBER", "how soon the kernel ends it when memory runs out"),
    Option("Confinement", "ulimit", "list", "NAME=SOFT[:HARD]", "a limit of setrlimit(2)", "", "ulimits"),
    Option("Limits", "memory", "text", "SIZE", "memory at most, like 100M or 2G", "m"),
    Option("Limits", "memory-swap", "text", "SIZE", "memory and swap together at most; -1 is no limit"),
    Option("Limits", "memory-swappiness", "number", "0..100", "how readily memory is swapped"),
    Option("Limits", "memory-reservation", "text", "SIZE", "memory that is left to it under pressure"),
    Option("Limits", "memory-high", "text", "SIZE", "memory above which it is slowed (v2)"),
    Option("Limits", "cpus", "text", "NUMBER", "processors at most, like 1.5"),
    Option("Limits", "cpu-shares", "number", "NUMBER", "weight against others (default 1024)"),
    Option("Limits", "cpuset-cpus", "text", "LIST", "processors it may use, like 0-2,4"),
    Option("Limits", "cpuset-mems", "text", "LIST", "memory nodes it may use"),
    Option("Limits", "pids-limit", "number", "NUMBER", "processes and threads at most", "", "pids"),
    Option("Limits", "blkio-weight", "number", "10..1000", "weight of its io"),
    Option("Limits", "device-read-bps", "list", "DEVICE:SIZE", "bytes a second at most"),
    Option("Limits", "device-write-bps", "list", "DEVICE:SIZE", "bytes a second at most"),
    Option("Limits", "device-read-iops", "list", "DEVICE:NUMBER", "operations a second at most"),
    Option("Limits", "device-write-iops", "list", "DEVICE:NUMBER", "operations a second at most"),
    Option("Limits", "hugetlb", "list", "SIZE=BYTES", "huge pages at most, like 2MB=64M"),
    Option("Limits", "rdma", "list", "DEVICE=hca_handle=N,…", "RDMA resources at most"),
    Option("Limits", "cgroup-conf", "list", "KEY=VALUE", "any file of cgroup v2"),
    Option("Limits", "cgroup-parent", "text", "PATH", "make its cgroup below this one"),
    Option("Limits", "limits", "text", "enforce|best-effort", "what happens where limits cannot be enforced"),
)  # fmt: skip
"""Every option, in the order of help."""

FLAGS = frozenset(option.python for option in TABLE if option.kind == "flag")
LISTS = frozenset(option.python for option in TABLE if option.kind == "list")
KNOWN = frozenset(option.python for option in TABLE)

_DEFAULTS: dict[str, Any] = {
    option.python: {"flag": False, "list": ()}.get(option.kind) for option in TABLE
}


def _no_switch(name: str, value: object) -> Exception:
    """A text such as "false", from a file of settings, would switch on (row C8)."""
    from kokon.errors import OptionError

    return OptionError(
        f"{value!r} is neither True nor False", where=name, remedy="give one of them"
    )


class Options:
    """The options of one run, by their Python names; what was not given is None, () or False.

    :param values: what was given, by Python name.
    """

    def __init__(self, root: str, args: tuple[str, ...], values: Mapping[str, Any]) -> None:
        given = {name: value for name, value in values.items() if value is not None}
        for name in FLAGS & given.keys():
            if given[name] not in (True, False):
                raise _no_switch(name, given[name])
        self.__dict__.update(_DEFAULTS, **given)
        self.root = root
        self.args = args
        self._given = given

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def changed(self, **values: Any) -> Options:
        """The same with other values."""
        return Options(self.root, self.args, {**self._given, **values})

    def key(self) -> tuple[object, ...]:
        """Equal for equal options, whatever their program is; a value may have no hash."""
        # True and 1 are equal, but not the same thing to ask for.
        return (self.root, *self._given.items(), *map(type, self._given.values()))

    def words(self, name: str) -> str:
        """An option as a person wrote it: ``--memory 100M``."""
        option = next(option for option in TABLE if option.python == name)
        value = self._given.get(name)
        if option.kind == "flag" or value is None:
            return f"--{option.name}"
        if option.kind == "list":
            return " ".join(f"--{option.name} {entry}" for entry in value)
        return f"--{option.name} {value}" if value != "" else f"--{option.name} ''"
