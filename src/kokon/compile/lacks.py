"""What a container may do without where a machine refuses a step, and what stands in for it.

``LACKS`` is the one table.  A step that is in no row is not done without: the run fails, or, where
the root is one of this machine's own, takes the lowest rung.  No row ever shows the program
something of the outside: an old /proc would lead to it by /proc/PID/root.
"""

from __future__ import annotations

from errno import (
    EACCES,
    EAFNOSUPPORT,
    EDQUOT,
    EINVAL,
    ENODEV,
    ENOSPC,
    ENOSYS,
    EPERM,
    EROFS,
    EUSERS,
)

from kokon.kernel.constants import CLONE_NEWCGROUP, CLONE_NEWNET, MOUNT_ATTR_RDONLY
from kokon.plan import ops
from kokon.plan.plan import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from kokon.plan.op import Op

REFUSALS = frozenset(
    (EACCES, EAFNOSUPPORT, EDQUOT, EINVAL, ENODEV, ENOSPC, ENOSYS, EPERM, EROFS, EUSERS)
)
"""What the kernel says when it does not let us; anything else is not of this machine's making."""

NAMESPACES = "namespaces"
"""The lack of what every container is made of: only the lowest rung is left."""

DENIED = frozenset((EACCES, ENOSYS, EPERM))
FOUNDATIONS = {
    ops.Clone: DENIED | {EINVAL, ENOSPC, EUSERS},
    ops.IdMap: DENIED,
    ops.Propagation: DENIED | {EINVAL},
    ops.Filesystem: DENIED,
    ops.CloneMount: frozenset((ENOSYS, EPERM)),  # EACCES: a volume that we may not reach ourselves
    ops.AttachAnywhere: DENIED,
    ops.Pivot: DENIED | {EINVAL},
}
"""Steps that every container needs, and the errors by which a machine refuses them."""


class Lack:
    """One row.

    :param name: of what is lacking.
    :param is_meant: whether a step is what is refused; called with the step and the plan.
    :param instead: the plan without it; called with the plan, the step's place and the
        machine's architecture.
    :param note: what the program goes without, for ``guarantees`` and notes.
    """

    __slots__ = ("instead", "is_meant", "name", "note")

    def __init__(
        self,
        name: str,
        is_meant: Callable[[Any, Plan], bool],
        instead: Callable[[Plan, int, str], list[Op]],
        note: str,
    ) -> None:
        self.name = name
        self.is_meant = is_meant
        self.instead = instead
        self.note = note


def lack_of(op: Op, errno: int, plan: Plan) -> Lack | None:
    """The row of a refused step, if it may be done without."""
    if errno not in REFUSALS:
        return None
    rows = (row for row in LACKS if row.name not in KNOWN_BEFORE)
    return next((row for row in rows if row.is_meant(op, plan)), None)


def is_foundation(op: Op, errno: int) -> bool:
    """Whether such a refusal means that no container of namespaces can be made here."""
    return errno in FOUNDATIONS.get(type(op), ())


def without(plan: Plan, names: tuple[str, ...], architecture: str) -> Plan:
    """The plan without what this machine has refused, each lack in its turn."""
    for row in (row for name in names for row in (*LACKS, CLONE3) if row.name == name):
        places = [at for at, op in enumerate(plan.ops) if row.is_meant(op, plan)]
        for at in reversed(places):
            plan = Plan(tuple(row.instead(plan, at, architecture)), plan.inherited, plan.notes)
    return plan


def notes(names: tuple[str, ...]) -> tuple[str, ...]:
    """What is said of lacks; the second one of /proc says what the first one would."""
    said = [row.name for row in LACKS if row.name in names]
    if PROC in said and WHOLE_PROC in said:
        said.remove(WHOLE_PROC)
    return tuple(row.note for row in LACKS if row.name in said)


def _is_mount(kind: str, at: str, *options: str) -> Callable[[Any, Plan], bool]:
    """A new file system of a kind for a place, with these options."""

    def is_meant(op: Op, plan: Plan) -> bool:
        return (
            isinstance(op, ops.Filesystem)
            and (op.type, op.about) == (kind, at)
            and all(option in op.options for option in options)
        )

    return is_meant


def _dropped(plan: Plan, at: int, architecture: str) -> list[Op]:
    return [*plan.ops[:at], *plan.ops[at + 1 :]]


def _dropped_with_slot(plan: Plan, at: int, architecture: str) -> list[Op]:
    """Neither made nor mounted."""
    slot = plan.ops[at].slot  # type: ignore[attr-defined]
    return [op for op in plan.ops if getattr(op, "slot", -1) != slot]


def _processes_only(plan: Plan, at: int, architecture: str) -> list[Op]:
    op: Any = plan.ops[at]
    proc = ops.Filesystem(
        op.slot, "proc", (*op.options, "subset", "pid"), op.attributes, op.about, why=op.why
    )
    return [*plan.ops[:at], proc, *plan.ops[at + 1 :]]


def _empty(plan: Plan, at: int, architecture: str) -> list[Op]:
    """An empty directory in its place, that nobody takes for the kernel's own."""
    op: Any = plan.ops[at]
    empty = ops.Filesystem(
        op.slot, "tmpfs", ("size", "4k", "mode", "555"), op.attributes | MOUNT_ATTR_RDONLY,
        op.about, why=op.why,
    )  # fmt: skip
    steps = (*plan.ops[:at], empty, *plan.ops[at + 1 :])
    return [s for s in steps if not (isinstance(s, ops.CheckFilesystem) and s.path == op.about)]


def _without_keys(plan: Plan, at: int, architecture: str) -> list[Op]:
    """The caller's session keyring stays, and a filter refuses every call about keys."""
    from kokon.security.seccomp import walls

    keys = walls.program(architecture, "keys")
    return _filtered(_dropped(plan, at, architecture), keys, plan.ops[at].why)


def _without_network(plan: Plan, at: int, architecture: str) -> list[Op]:
    """The host's network namespace, and a filter that refuses sockets."""
    from kokon.security.seccomp import walls

    op: Any = plan.ops[at]
    clone = ops.Clone(op.namespaces & ~CLONE_NEWNET, op.cgroup, op.adopt, op.legacy, why=op.why)
    steps = [*plan.ops[:at], clone, *plan.ops[at + 1 :]]
    steps = [step for step in steps if not isinstance(step, ops.Loopback)]
    return _filtered(steps, walls.program(architecture, "network"), op.why)


def _filtered(steps: list[Op], program: bytes, why: str) -> list[Op]:
    """With one more filter, if there is a program."""
    last = (n for n, op in enumerate(steps) if isinstance(op, (ops.Reap, ops.CloseDescriptors)))
    place = next(last, None)
    if place is None:  # namespaces that are handed over: nothing runs in them yet
        return steps
    return [*steps[:place], ops.Seccomp(program, why=why), *steps[place:]]


def _without_cgroup_namespace(plan: Plan, at: int, architecture: str) -> list[Op]:
    op: Any = plan.ops[at]
    rest = op.namespaces & ~CLONE_NEWCGROUP
    kept = [ops.Unshare(rest, why=op.why)] if rest else []
    return [*plan.ops[:at], *kept, *plan.ops[at + 1 :]]


def _by_clone(plan: Plan, at: int, architecture: str) -> list[Op]:
    op: Any = plan.ops[at]
    clone = ops.Clone(op.namespaces, op.cgroup, op.adopt, legacy=1, why=op.why)
    return [*plan.ops[:at], clone, *plan.ops[at + 1 :]]


def _no_step(op: Op, plan: Plan) -> bool:
    return False


def _is_network_clone(op: Op, plan: Plan) -> bool:
    return isinstance(op, ops.Clone) and bool(op.namespaces & CLONE_NEWNET)


def _has(kind: type[Op], plan: Plan) -> bool:
    return any(isinstance(op, kind) for op in plan.ops)


WHOLE_PROC, PROC = "all of /proc", "/proc"

USER_NAMESPACE, SUBORDINATE_IDS = "user namespace", "subordinate ids"
NETWORK_NAMESPACE = "network namespace"
KNOWN_BEFORE = (USER_NAMESPACE, SUBORDINATE_IDS, NETWORK_NAMESPACE)
"""Rows that no refused step stands for: one refusal of Clone is like another."""

CLONE3 = Lack(
    "clone3",
    # Into a v2 cgroup only clone3 can clone.
    lambda op, plan: isinstance(op, ops.Clone) and not op.legacy and op.cgroup < 0,
    _by_clone,
    "",
)
"""Filters answer ENOSYS to it, because they cannot look into its arguments: at every level clone
does the same."""

LACKS = (
    Lack(USER_NAMESPACE, _no_step, _dropped,
         "for root: the ids inside are the machine's own, with few capabilities (--userns host)"),
    Lack(SUBORDINATE_IDS, _no_step, _dropped,
         "the only user is its first one: newuidmap does not map the subordinate ids"),
    Lack(NETWORK_NAMESPACE, _is_network_clone, _without_network,
         "there is no network namespace: a filter refuses every socket"),
    Lack(
        WHOLE_PROC,
        lambda op, plan: (
            _is_mount("proc", "/proc")(op, plan)
            and not _is_mount("proc", "/proc", "subset")(op, plan)
        ),
        _processes_only,
        "/proc shows processes and nothing else of the kernel",
    ),
    Lack(
        PROC,
        _is_mount("proc", "/proc", "subset"),
        _empty,
        "/proc is an empty directory: where parts of it are covered the kernel makes no new one",
    ),
    Lack("/sys", _is_mount("sysfs", "/sys"), _empty, "/sys is an empty directory"),
    Lack("/dev/mqueue", _is_mount("mqueue", "/dev/mqueue"), _dropped_with_slot,
         "/dev/mqueue is an empty directory"),
    Lack(
        "/dev/pts",
        lambda op, plan: (
            _is_mount("devpts", "/dev/pts")(op, plan) and not _has(ops.Terminal, plan)
        ),
        _dropped_with_slot,
        "there are no terminals in /dev/pts",
    ),
    Lack("loopback", lambda op, plan: isinstance(op, ops.Loopback), _dropped,
         "the loopback device is down"),
    Lack("host name", lambda op, plan: isinstance(op, (ops.Hostname, ops.Domainname)), _dropped,
         "the host name is the machine's"),
    Lack("keyring", lambda op, plan: isinstance(op, ops.Keyring), _without_keys,
         "there is no session keyring: a filter refuses all calls about keys"),
    Lack(
        "cgroup namespace",
        lambda op, plan: isinstance(op, ops.Unshare) and bool(op.namespaces & CLONE_NEWCGROUP),
        _without_cgroup_namespace,
        "/proc/self/cgroup shows the path of its control group on the machine",
    ),
)  # fmt: skip
"""Every step that may be done without, in the order in which rows are tried."""
