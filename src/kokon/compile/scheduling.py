"""When and where the process runs (config.md, Linux Process; config-linux.md): scheduler, I/O
priority, CPUs of an ``exec``, memory policy, and its personality."""

from __future__ import annotations

from struct import pack

from kokon.plan.ops import CpuAffinity, IoPriority, MemoryPolicy, Personality, Scheduler
from kokon.spec.resources import index_ranges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.compile.builder import Builder

POLICIES = {
    "SCHED_OTHER": 0, "SCHED_FIFO": 1, "SCHED_RR": 2, "SCHED_BATCH": 3, "SCHED_ISO": 4,
    "SCHED_IDLE": 5, "SCHED_DEADLINE": 6,
}  # fmt: skip
"""linux/sched.h; 4 is reserved there, and the kernel refuses it."""

FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 1, "SCHED_FLAG_RECLAIM": 2, "SCHED_FLAG_DL_OVERRUN": 4,
    "SCHED_FLAG_KEEP_POLICY": 8, "SCHED_FLAG_KEEP_PARAMS": 16, "SCHED_FLAG_UTIL_CLAMP_MIN": 32,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 64,
}  # fmt: skip

IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}

MODES = {
    "MPOL_DEFAULT": 0, "MPOL_PREFERRED": 1, "MPOL_BIND": 2, "MPOL_INTERLEAVE": 3, "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5, "MPOL_WEIGHTED_INTERLEAVE": 6,
}  # fmt: skip
"""linux/mempolicy.h"""

MODE_FLAGS = {
    "MPOL_F_NUMA_BALANCING": 1 << 13, "MPOL_F_RELATIVE_NODES": 1 << 14,
    "MPOL_F_STATIC_NODES": 1 << 15,
}  # fmt: skip

DOMAINS = {"LINUX": 0, "LINUX32": 8}
"""linux/personality.h"""


def prioritize(plan: Builder) -> None:
    """What only the outside may set of stage 2, where it is more than the caller has."""
    process = plan.spec.process
    wanted = process.scheduler
    if wanted is not None:
        flags = sum(FLAGS[name] for name in wanted.flags or ())
        plan.with_rights(Scheduler(
            POLICIES[wanted.policy], flags, (wanted.nice or 0) & 0xFFFFFFFF,
            wanted.priority or 0, wanted.runtime or 0, wanted.deadline or 0, wanted.period or 0,
            wanted.policy, why="/process/scheduler",
        ))  # fmt: skip
    priority = process.io_priority
    if priority is not None:
        value = IO_CLASSES[priority.class_] << 13 | (priority.priority or 0)
        name = f"{priority.class_} {priority.priority or 0}"
        plan.with_rights(IoPriority(value, name, why="/process/ioPriority"))


def pin(cpus: str, why: str) -> CpuAffinity:
    """The CPUs of a list such as ``0-3,7``."""
    return CpuAffinity(_mask(cpus), cpus, why=why)


def place(plan: Builder) -> None:
    """What is the process's own: memory when its control group is joined, and the personality."""
    linux = plan.spec.linux
    policy = linux.memory_policy
    if policy is not None:
        mode = MODES[policy.mode] | sum(MODE_FLAGS[name] for name in policy.flags or ())
        words = f"{policy.mode} {policy.nodes or ''}".rstrip()
        plan.add(MemoryPolicy(mode, _mask(policy.nodes or ""), words, why="/linux/memoryPolicy"))
    if linux.personality is not None:
        domain = linux.personality.domain
        plan.add(Personality(DOMAINS[domain], domain, why="/linux/personality"))


def _mask(indices: str) -> bytes:
    """Bits as the kernel takes them: words of 64, the lowest first."""
    bits = 0
    for low, high in index_ranges(indices) if indices else ():
        bits |= (1 << high + 1) - (1 << low)
    count = (bits.bit_length() + 63) // 64
    return pack(f"<{count}Q", *(bits >> 64 * at & 0xFFFFFFFFFFFFFFFF for at in range(count)))
