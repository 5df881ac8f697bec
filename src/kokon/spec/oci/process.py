"""``process`` (config.md, Process): of a config.json, and of ``exec --process``."""

from __future__ import annotations

from kokon.errors import SpecError
from kokon.spec.oci.json_text import load
from kokon.spec.oci.kinds import Kind, List, Object, Whole, Word, shown
from kokon.spec.oci.shapes import ABSOLUTE, ENTRIES, FLAG, ID, INDICES, INT32, LINE, TEXTS, UINT64
from kokon.spec.oci.values import ConsoleSize, ExecCpuAffinity, IoPriority, Scheduler
from kokon.spec.runtime import Capabilities, Process, ResourceLimit, User

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

CAPABILITIES = tuple(
    "CAP_" + name
    for name in (
        "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID",
        "SETUID", "SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST",
        "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO",
        "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
        "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE",
        "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM",
        "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE",
    )
)  # fmt: skip
"""The document's words; the place is the bit (capabilities(7))."""

RLIMITS = tuple(
    "RLIMIT_" + name
    for name in (
        "CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE", "MEMLOCK", "AS",
        "LOCKS", "SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME",
    )
)  # fmt: skip
"""getrlimit(2)."""

POLICIES = (
    "SCHED_OTHER", "SCHED_FIFO", "SCHED_RR", "SCHED_BATCH", "SCHED_ISO", "SCHED_IDLE",
    "SCHED_DEADLINE",
)  # fmt: skip
"""sched(7); SCHED_ISO is in the specification and in no kernel."""

SCHEDULER_FLAGS = tuple(
    "SCHED_FLAG_" + name
    for name in (
        "RESET_ON_FORK", "RECLAIM", "DL_OVERRUN", "KEEP_POLICY", "KEEP_PARAMS",
        "UTIL_CLAMP_MIN", "UTIL_CLAMP_MAX",
    )
)  # fmt: skip

IO_CLASSES = ("IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE")


class CapabilitySet(Kind):
    """An array of names; a mask as a value.

    A name that is not known is passed over, as the specification asks: see :func:`strangers`.
    """

    __slots__ = ()

    def read(self, value: Any) -> int:
        """The bits of the names."""
        mask = 0
        for name in TEXTS.read(value):
            mask |= BITS.get(name, 0)
        return mask

    def dump(self, value: Any) -> list[str]:
        """The names, lowest bit first."""
        return [name for name, bit in BITS.items() if value & bit]


BITS = {name: 1 << bit for bit, name in enumerate(CAPABILITIES)}
CAPABILITY_SET = CapabilitySet()


def _check_limit(limit: ResourceLimit, members: Mapping[str, Any]) -> None:
    if limit.soft > limit.hard:
        raise SpecError(f"{limit.soft} is above the hard limit {limit.hard}", where="/soft")


def _check_scheduler(scheduler: Scheduler, members: Mapping[str, Any]) -> None:
    """The rules of sched_setattr(2), which answers EINVAL alone."""
    real_time = scheduler.policy in ("SCHED_FIFO", "SCHED_RR")
    if real_time and not 1 <= (scheduler.priority or 0) <= 99:
        raise SpecError(f"{scheduler.policy} needs one from 1 to 99", where="/priority")
    if scheduler.priority and not real_time:
        raise SpecError(f"{scheduler.policy} has none but 0", where="/priority")
    for name in ("runtime", "deadline", "period"):
        if getattr(scheduler, name) and scheduler.policy != "SCHED_DEADLINE":
            raise SpecError(f"is for SCHED_DEADLINE, not {scheduler.policy}", where=f"/{name}")


def _check_process(process: Process, members: Mapping[str, Any]) -> None:
    if not process.args or not process.args[0]:
        raise SpecError("names no program", where="/args")
    if process.console_size is not None:
        # "Runtimes MUST ignore consoleSize if terminal is false or unset."
        if process.terminal:
            for name in ("height", "width"):
                if getattr(process.console_size, name) > 0xFFFF:
                    raise SpecError("is above 65535, the most", where=f"/consoleSize/{name}")
        else:
            process.console_size = None
    seen = set[str]()
    for at, limit in enumerate(process.rlimits):
        if limit.type in seen:
            raise SpecError(f"{limit.type} is there twice", where=f"/rlimits/{at}/type")
        seen.add(limit.type)
    process.notes = tuple(strangers(members.get("capabilities") or {}))


def strangers(sets: Mapping[str, list[str] | None]) -> Iterator[str]:
    """A sentence for each capability that is not known here: none of them is granted."""
    told = set[str]()
    for kind, names in sets.items():
        if kind in CAPABILITY_SETS:
            for at, name in enumerate(names or ()):
                if name not in BITS and name not in told:
                    told.add(name)
                    yield (
                        f"/capabilities/{kind}/{at}: {shown(name)} is no capability that is known "
                        "here; it is not granted"
                    )


CAPABILITY_SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")

USER = Object(
    User,
    (
        ("uid", "uid", ID),
        ("gid", "gid", ID),
        ("umask", "umask", Whole(0, 0o777)),
        ("additionalGids", "additional_gids", List(ID)),
    ),
)

PROCESS = Object(
    Process,
    (
        ("terminal", "terminal", FLAG),
        ("consoleSize", "console_size", Object(
            ConsoleSize,
            (("height", "height", UINT64), ("width", "width", UINT64)),
            required=("height", "width"),
        )),
        ("user", "user", USER),
        ("args", "args", TEXTS),
        ("env", "env", ENTRIES),
        ("cwd", "cwd", ABSOLUTE),
        ("capabilities", "capabilities", Object(
            Capabilities, tuple((name, name, CAPABILITY_SET) for name in CAPABILITY_SETS)
        )),
        ("rlimits", "rlimits", List(Object(
            ResourceLimit,
            (
                ("type", "type", Word("resource limit", RLIMITS)),
                ("soft", "soft", UINT64),
                ("hard", "hard", UINT64),
            ),
            required=("type", "soft", "hard"),
            check=_check_limit,
        ))),
        ("noNewPrivileges", "no_new_privileges", FLAG),
        ("apparmorProfile", "apparmor_profile", LINE),
        ("oomScoreAdj", "oom_score_adj", Whole(-1000, 1000)),
        ("selinuxLabel", "selinux_label", LINE),
        ("scheduler", "scheduler", Object(
            Scheduler,
            (
                ("policy", "policy", Word("scheduling policy", POLICIES)),
                ("nice", "nice", Whole(-20, 19)),
                ("priority", "priority", INT32),
                ("flags", "flags", List(Word("flag of a scheduler", SCHEDULER_FLAGS))),
                ("runtime", "runtime", UINT64),
                ("deadline", "deadline", UINT64),
                ("period", "period", UINT64),
            ),
            required=("policy",),
            check=_check_scheduler,
        )),
        ("ioPriority", "io_priority", Object(
            IoPriority,
            (
                ("class", "class_", Word("I/O class", IO_CLASSES)),
                ("priority", "priority", Whole(0, 7)),
            ),
            required=("class_",),
        )),
        ("execCPUAffinity", "exec_cpu_affinity", Object(
            ExecCpuAffinity, (("initial", "initial", INDICES), ("final", "final", INDICES))
        )),
    ),
    required=("args", "cwd"),
    check=_check_process,
)  # fmt: skip
"""Without ``user`` it is root: the schema requires none, and Go's runtimes have zeros."""


def parse_process(data: bytes) -> Process:
    """What ``exec --process`` is given: a whole ``process`` object.

    :raises SpecError: it breaks the specification; ``where`` is the JSON pointer.
    """
    process: Process = PROCESS.read(load(data))
    return process
