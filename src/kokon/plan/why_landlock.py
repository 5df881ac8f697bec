"""What a plan's Landlock rules say: rights that are handled and in no rule are refused."""

from __future__ import annotations

from struct import iter_unpack

from kokon.kernel import constants
from kokon.plan import ops
from kokon.plan.answer import DENIED, Answer
from kokon.plan.why_mounts import Walked
from kokon.plan.why_tree import Tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.plan.plan import Plan

OPEN = {
    "read": constants.LANDLOCK_READ_FILE,
    "write": constants.LANDLOCK_WRITE_FILE,
    "device": constants.LANDLOCK_READ_FILE,
    "execute": constants.LANDLOCK_EXECUTE,
}
MAKE = constants.LANDLOCK_MAKE_FILE | constants.LANDLOCK_WRITE_FILE
"""To make a file is also to open it for writing."""


def path(plan: Plan, tree: Tree, walked: Walked, action: str) -> Answer | None:
    """The refusal of a path by one of the plan's rulesets, or None."""
    directory = walked.entry.kind == "directory"
    needed = MAKE if directory or action == "create" else OPEN[action]
    if directory and action == "read":
        needed = constants.LANDLOCK_READ_DIR
    for number, op in enumerate(plan.ops, 1):
        if not isinstance(op, ops.Landlock):
            continue
        given = 0
        for place, (access,) in zip(op.paths, iter_unpack("<Q", op.accesses), strict=True):
            rule = tree.walk(place or "/")
            if rule.end == "found" and rule.place in walked.way:
                given |= access
        if needed & op.files & ~given:
            return Answer(DENIED, "no rule of Landlock's gives that right there", number)
    return None


def port(plan: Plan, access: int, port: int | None) -> Answer | None:
    """The refusal of a TCP port by one of the plan's rulesets, or None.

    :param port: None for any.
    """
    for number, op in enumerate(plan.ops, 1):
        if isinstance(op, ops.Landlock) and op.network & access:
            rules = iter_unpack("<QQ", op.ports)
            if not any(given & access and allowed == port for given, allowed in rules):
                return Answer(DENIED, "no rule of Landlock's gives that port", number)
    return None


def signals(plan: Plan) -> Answer | None:
    """The refusal of a signal to a process outside, or None."""
    for number, op in enumerate(plan.ops, 1):
        if isinstance(op, ops.Landlock) and op.scopes & constants.LANDLOCK_SIGNALS:
            return Answer(DENIED, "Landlock keeps the program's signals inside", number)
    return None
