"""On which rung of the ladder each resource stands, read off the plan that is performed."""

from __future__ import annotations

from kokon.kernel import constants
from kokon.kernel.capabilities import BITS
from kokon.plan import ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.plan.plan import Plan

OVER_THE_MACHINE = (
    BITS["SYS_ADMIN"] | BITS["SYS_MODULE"] | BITS["SYS_RAWIO"] | BITS["SYS_PTRACE"]
    | BITS["DAC_READ_SEARCH"] | BITS["BPF"] | BITS["SYS_BOOT"]
)  # fmt: skip
"""Capabilities that, without a user namespace, lead out of every other one."""


def rungs(plan: Plan) -> dict[str, str]:
    """Resource to rung (:data:`kokon.security.ladder.RUNGS`), for all but the limits."""
    own = bounding = 0
    rules: ops.Landlock | None = None
    filters: list[bytes] = []
    up = ends_all = root = False
    for op in plan.ops:
        if isinstance(op, ops.Clone):
            own |= op.namespaces
        elif isinstance(op, ops.Join):
            own |= op.namespace
            root = root or op.namespace == constants.CLONE_NEWNS
        elif isinstance(op, ops.Pivot):
            root = True
        elif isinstance(op, ops.BoundingSet):
            bounding = op.mask
        elif isinstance(op, ops.Landlock):
            rules = rules or op
        elif isinstance(op, ops.Seccomp):
            filters.append(op.program)
        elif isinstance(op, ops.Loopback):
            up = True
        elif isinstance(op, ops.Reap):
            ends_all = bool(op.all)
    found = {"system_calls": "filter" if filters else "none"}
    if not own & constants.CLONE_NEWUSER and bounding & OVER_THE_MACHINE and root:
        return {**found, **dict.fromkeys(("files", "processes", "network"), "machine")}
    found["files"] = _files(own, root, rules, filters)
    found["processes"] = _processes(own, rules, ends_all)
    found["network"] = _network(own, up, filters)
    return found


def _files(own: int, root: bool, rules: ops.Landlock | None, filters: list[bytes]) -> str:
    if own & constants.CLONE_NEWNS and root:
        return "mounts-landlock" if rules else "mounts"
    if rules and rules.files:
        from kokon.security.seccomp import walls

        if rules.files & constants.LANDLOCK_TRUNCATE or walls.refuses_truncation(filters):
            return "landlock"
    return "machine"


def _processes(own: int, rules: ops.Landlock | None, ends_all: bool) -> str:
    if own & constants.CLONE_NEWPID:
        return "namespace"
    if not rules or own & constants.CLONE_NEWNS:
        return "host"
    if not rules.scopes & constants.LANDLOCK_SIGNALS:
        return "traces"
    return "landlock" if ends_all else "landlock-alone"


def _network(own: int, up: bool, filters: list[bytes]) -> str:
    if own & constants.CLONE_NEWNET:
        return "namespace" if up else "namespace-down"
    from kokon.security.seccomp import walls

    return "filter" if walls.refuses_sockets(filters) else "host"
