"""What must hold of every plan as a whole, whatever was asked."""

from __future__ import annotations

from kokon.errors import KokonError
from kokon.kernel.constants import LANDLOCK_SIGNALS, SECCOMP_NEW_LISTENER
from kokon.plan import ops
from kokon.plan.op import Op
from kokon.plan.plan import Plan

MOUNTS = (
    ops.Attach, ops.AttachAnywhere, ops.CloneMount, ops.Filesystem, ops.Mask, ops.ReadOnly,
)  # fmt: skip
FILLERS = (
    ops.Open, ops.UserNamespace, ops.MapNamespace, ops.Filesystem, ops.CloneMount,
    ops.CloneDescriptor, ops.Terminal,
)  # fmt: skip
"""What puts a descriptor into its ``slot``."""
ENDS = (ops.Execute, ops.HandOver, ops.Transfer)
LAST = (ops.Reap, ops.CloseDescriptors, *ENDS)


class BrokenPlan(KokonError):
    """A plan that must not be performed: a mistake of kokon's own."""


def check(plan: Plan) -> None:
    """Raises BrokenPlan, with every invariant that the plan breaks."""
    broken = violations(plan)
    if broken:
        raise BrokenPlan(
            "the plan is not safe: " + "; ".join(broken),
            remedy="this is a mistake in kokon: report it with the command",
        )


def violations(plan: Plan) -> list[str]:
    """The invariants that a plan breaks, in words; none for a sound one."""
    kinds = [type(op) for op in plan.ops]
    broken = []
    # Where namespaces are handed over, nothing runs that rights could be taken from.
    runs = kinds[-1:] != [ops.HandOver]
    for kind in (ops.Clone, ops.Release, *((ops.CloseDescriptors, ops.BoundingSet) * runs)):
        if kinds.count(kind) != 1:
            broken.append(f"{kind.__name__} occurs {kinds.count(kind)} times, not once")
    ends = sum(kind in ENDS for kind in kinds)
    if ends != 1:
        broken.append(f"the step that ends a plan occurs {ends} times, not once")
    if broken:
        return broken
    clone, release = kinds.index(ops.Clone), kinds.index(ops.Release)
    if kinds[-1] not in ENDS:
        broken.append("something comes after the step that ends a plan")
    if clone > release:
        broken.append("Release comes before Clone")
    for number, op in enumerate(plan.ops):
        if op.PLACE not in ("either", "host" if number <= release else "container"):
            name = type(op).__name__
            broken.append(f"step {number + 1}, {name}, is on the wrong side of Release")
    return broken + _order(kinds) + _listener(plan) + _landlock(plan, kinds) + _slots(plan)


def _order(kinds: list[type[Op]]) -> list[str]:
    """Mounts before the pivot; rights only ever taken; the filter last."""
    broken = []
    if ops.Pivot in kinds:
        pivot = kinds.index(ops.Pivot)
        late = [kind.__name__ for kind in kinds[pivot:] if kind in MOUNTS]
        if late:
            broken.append(f"{late[0]} comes after Pivot")
        if ops.Propagation not in kinds or kinds.index(ops.Propagation) > pivot:
            broken.append("mounts are made before their propagation is cut")
    sequence = [
        ops.BoundingSet, ops.Groups, ops.User, ops.NoNewPrivileges, ops.Capabilities,
        ops.Ambient, ops.ParentDeath, ops.Seccomp, *LAST,
    ]  # fmt: skip
    # The last of each counts: User may also occur early, to become root of the container.
    places = [len(kinds) - 1 - kinds[::-1].index(kind) for kind in sequence if kind in kinds]
    if places != sorted(places):
        broken.append("rights are not taken away in the one order that leaves no gap")
    if ops.Seccomp in kinds:
        after = kinds[kinds.index(ops.Seccomp) + 1 :]
        if any(kind not in (ops.Seccomp, ops.Landlock, ops.Hook, *LAST) for kind in after):
            broken.append("steps follow the filter")
    return broken


def _listener(plan: Plan) -> list[str]:
    """The one waits for the other, without a word."""
    broken = []
    for number, (op, after) in enumerate(zip(plan.ops, plan.ops[1:], strict=False), 1):
        sends = isinstance(op, ops.SendListener)
        has = isinstance(after, ops.Seccomp) and bool(after.flags & SECCOMP_NEW_LISTENER)
        if sends != has:
            broken.append(f"step {number + has} has to do with a filter's listener, alone")
    return broken


def _landlock(plan: Plan, kinds: list[type[Op]]) -> list[str]:
    """Rules over files hold what the mounts do not; a scope bounds what kokon's process 1 ends."""
    broken = []
    scoped = False
    for number, op in enumerate(plan.ops):
        if isinstance(op, ops.Landlock):
            before, after = kinds[:number], kinds[number + 1 :]
            if ops.NoNewPrivileges not in before:
                broken.append("Landlock comes before NoNewPrivileges")
            if any(kind in (ops.Pivot, *MOUNTS) for kind in after):
                broken.append("Landlock comes before the last mount")
            if ops.Seccomp in before and (op.files or ops.Reap not in before):
                broken.append("Landlock comes after the filter")
            scoped = scoped or bool(op.scopes & LANDLOCK_SIGNALS)
        elif isinstance(op, ops.Reap) and op.all and not scoped:
            broken.append("process 1 would end what is not ours: no scope of signals is before it")
    return broken


def _slots(plan: Plan) -> list[str]:
    """A slot is filled before it is used."""
    broken = []
    filled = set(range(len(plan.inherited)))
    for number, op in enumerate(plan.ops, 1):
        made = op.slot if isinstance(op, FILLERS) else -1
        for name in op.SLOTS:
            value = getattr(op, name)
            if value >= 0 and value not in filled and (value != made or name != "slot"):
                broken.append(f"step {number}, {type(op).__name__}, uses slot {value}: it is empty")
        filled.add(made)
    return broken
