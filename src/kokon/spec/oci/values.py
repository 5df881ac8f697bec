"""What only an OCI document says: values beside those of ``kokon.spec.runtime``.

Names are the document's in snake_case; None or empty means that nothing was said.
"""

from __future__ import annotations

from kokon.spec.resources import Values


class ConsoleSize(Values):
    """config.md, Process: of the terminal, in characters."""

    __slots__ = ("height", "width")
    height: int
    width: int


class Scheduler(Values):
    """config.md, Linux Process: sched_setattr(2); times in nanoseconds."""

    __slots__ = ("deadline", "flags", "nice", "period", "policy", "priority", "runtime")
    policy: str
    nice: int | None
    priority: int | None
    flags: tuple[str, ...] | None
    runtime: int | None
    deadline: int | None
    period: int | None


class IoPriority(Values):
    """config.md, Linux Process: ioprio_set(2); ``priority`` from 0, the highest, to 7."""

    __slots__ = ("class_", "priority")
    class_: str
    priority: int | None


class ExecCpuAffinity(Values):
    """config.md, Linux Process: lists of CPUs for ``exec``, before and after it is moved."""

    __slots__ = ("final", "initial")
    initial: str | None
    final: str | None


class Hook(Values):
    """config.md, Hooks: ``timeout`` in seconds."""

    __slots__ = ("args", "env", "path", "timeout")
    path: str
    args: tuple[str, ...] | None
    env: tuple[str, ...] | None
    timeout: int | None


class Hooks:
    """config.md, Hooks: the six kinds, each in the order in which they are called."""

    __slots__ = (
        "create_container",
        "create_runtime",
        "poststart",
        "poststop",
        "prestart",
        "start_container",
    )

    def __init__(
        self,
        *,
        prestart: tuple[Hook, ...] = (),
        create_runtime: tuple[Hook, ...] = (),
        create_container: tuple[Hook, ...] = (),
        start_container: tuple[Hook, ...] = (),
        poststart: tuple[Hook, ...] = (),
        poststop: tuple[Hook, ...] = (),
    ) -> None:
        self.prestart = prestart
        self.create_runtime = create_runtime
        self.create_container = create_container
        self.start_container = start_container
        self.poststart = poststart
        self.poststop = poststop


class NetDevice(Values):
    """config-linux.md, Network Devices: ``name`` is the one inside, None for the same."""

    __slots__ = ("name",)
    name: str | None


class IntelRdt(Values):
    """config-linux.md, IntelRdt: what goes into resctrl."""

    __slots__ = ("clos_id", "enable_monitoring", "l3_cache_schema", "mem_bw_schema", "schemata")
    clos_id: str | None
    l3_cache_schema: str | None
    mem_bw_schema: str | None
    schemata: tuple[str, ...] | None
    enable_monitoring: bool | None


class MemoryPolicy(Values):
    """config-linux.md, Memory policy: set_mempolicy(2); ``nodes`` is a list such as ``0-3,7``."""

    __slots__ = ("flags", "mode", "nodes")
    mode: str
    nodes: str | None
    flags: tuple[str, ...] | None


class Personality(Values):
    """config-linux.md, Personality: LINUX or LINUX32; no flag is known to the specification."""

    __slots__ = ("domain", "flags")
    domain: str
    flags: tuple[str, ...] | None


class SeccompArgument(Values):
    """A member of ``args``; for SCMP_CMP_MASKED_EQ ``value`` is the mask."""

    __slots__ = ("index", "op", "value", "value_two")
    index: int
    value: int
    value_two: int | None
    op: str


class SeccompRule(Values):
    """A member of ``syscalls``."""

    __slots__ = ("action", "args", "errno_ret", "names")
    names: tuple[str, ...]
    action: str
    errno_ret: int | None
    args: tuple[SeccompArgument, ...] | None


class SeccompDocument(Values):
    """config-linux.md, Seccomp: what ``kokon.security.seccomp`` compiles."""

    __slots__ = (
        "architectures",
        "default_action",
        "default_errno_ret",
        "flags",
        "listener_metadata",
        "listener_path",
        "syscalls",
    )
    default_action: str
    default_errno_ret: int | None
    architectures: tuple[str, ...] | None
    flags: tuple[str, ...] | None
    listener_path: str | None
    listener_metadata: str | None
    syscalls: tuple[SeccompRule, ...] | None
