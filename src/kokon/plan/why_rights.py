"""Who the program is once it runs, by the plan: ids, capabilities, namespaces, labels."""

from __future__ import annotations

from struct import unpack

from kokon.kernel import constants
from kokon.kernel.capabilities import BITS
from kokon.plan import ops
from kokon.plan.answer import ALLOWED, DENIED, UNDECIDED, Answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.plan.answer import Entry, Known
    from kokon.plan.op import Op
    from kokon.plan.plan import Plan

READ, WRITE, EXECUTE = 4, 2, 1

Map = tuple[tuple[int, int, int], ...]


class Rights:
    """The program's credentials (credentials(7), capabilities(7)), after its execve.

    :ivar namespaces: CLONE_NEW* of all that are new.  :ivar clone: the step that makes them.
    :ivar uid: and ``gid``, inside; ``groups`` too, None where they are not known.
    :ivar effective: the mask of capabilities, :ivar bounding: of what could be got.
    :ivar became: the step that set the ids; :ivar kept: the one that set the capabilities.
    :ivar labelled: the step that sets a security module's label, or 0.
    """

    def __init__(self, plan: Plan, known: Known) -> None:
        steps = {type(op): number for number, op in enumerate(plan.ops, 1)}
        self.namespaces = 0
        maps: dict[str, Map] = {"uid_map": known.uid_map, "gid_map": known.gid_map}
        self.bounding = self.labelled = 0
        self.uid, self.gid, self.groups = known.uid, known.gid, known.groups
        permitted = inheritable = ambient = 0
        for number, op in enumerate(plan.ops, 1):
            if isinstance(op, ops.Clone | ops.Unshare):
                self.namespaces |= op.namespaces
            elif isinstance(op, ops.IdMap) and op.file in maps:
                maps[op.file] = _triples(op.content)
            elif isinstance(op, ops.User):
                self.uid, self.gid = op.uid, op.gid
            elif isinstance(op, ops.Groups):
                self.groups = unpack(f"<{len(op.groups) // 4}I", op.groups)
            elif isinstance(op, ops.BoundingSet):
                self.bounding = op.mask
            elif isinstance(op, ops.Capabilities):
                permitted, inheritable = op.permitted, op.inheritable
            elif isinstance(op, ops.Ambient):
                ambient = op.mask
            elif isinstance(op, ops.WriteProc) and op.path.startswith("attr/"):
                self.labelled = number
        self.user_namespace = bool(self.namespaces & constants.CLONE_NEWUSER)
        self.uid_map, self.gid_map = maps["uid_map"], maps["gid_map"]
        self.clone = steps.get(ops.Clone, 0)
        self.became = steps.get(ops.User, 0)
        self.bounded = steps.get(ops.BoundingSet, 0)
        self.kept = steps.get(ops.Capabilities, 0)
        self.closed = steps.get(ops.NoNewPrivileges, 0)
        self.filtered = steps.get(ops.Seccomp, 0)
        # capabilities(7), transformation during execve: root has what is bounding or inheritable,
        # but with no_new_privs no more than before; another user has the ambient ones.
        self.effective = ambient
        if self.uid == 0:
            self.effective = self.bounding | inheritable
            if self.closed:
                self.effective &= permitted

    def has(self, name: str) -> bool:
        """Whether a capability is in the effective set."""
        return bool(self.effective & BITS[name])

    def lost(self, name: str) -> tuple[int, ...]:
        """The steps by which the program does not have a capability."""
        if not self.bounding & BITS[name]:
            return (self.bounded,)
        return (self.became, self.kept)

    def kernel_uid(self, uid: int) -> int | None:
        """The id outside of one inside; None for one that has none."""
        return _outside(self.uid_map, uid) if self.user_namespace else uid

    def kernel_gid(self, gid: int) -> int | None:
        """The same for groups."""
        return _outside(self.gid_map, gid) if self.user_namespace else gid

    def inside_uid(self, uid: int | None) -> int | None:
        """The id inside of one outside; None for one that has none."""
        return _inside(self.uid_map, uid) if self.user_namespace else uid

    def inside_gid(self, gid: int | None) -> int | None:
        """The same for groups."""
        return _inside(self.gid_map, gid) if self.user_namespace else gid

    def may(self, entry: Entry, mask: int) -> Answer:
        """What the mode of a file says to READ, WRITE and EXECUTE (path_resolution(7))."""
        uid, gid = self.inside_uid(entry.uid), self.inside_gid(entry.gid)
        whose = f"its mode {entry.mode:04o} of user {'(none)' if uid is None else uid}"
        if mask & WRITE and (entry.uid is None or entry.gid is None):
            return Answer(DENIED, "its owner has no id in the container", self.clone)
        granted = self._granted(entry, uid, gid, mask)
        if granted:
            return Answer(ALLOWED, f"{whose} lets user {self.uid}", self.became)
        # privileged_wrt_inode_uidgid: capabilities hold for files whose ids are mapped.
        mapped = uid is not None and gid is not None
        directory = entry.kind == "directory"
        if mapped and self.has("DAC_OVERRIDE"):
            if directory or not mask & EXECUTE or entry.mode & 0o111:
                return Answer(ALLOWED, "DAC_OVERRIDE goes over its mode", self.kept)
        elif (
            mapped
            and self.has("DAC_READ_SEARCH")
            and (mask == READ or (directory and not mask & WRITE))
        ):
            return Answer(ALLOWED, "DAC_READ_SEARCH goes over its mode", self.kept)
        if granted is None:
            return Answer(UNDECIDED, "an access control list, or a group of the caller's, decides")
        lacking = "" if mapped else " (which is not the container's to override)"
        return Answer(
            DENIED, f"{whose}{lacking} does not let user {self.uid}", self.became, self.kept
        )

    def _granted(self, entry: Entry, uid: int | None, gid: int | None, mask: int) -> bool | None:
        """By the bits of the one class that holds; None where it cannot be told."""
        if uid == self.uid:
            return not mask & ~(entry.mode >> 6)
        if entry.acl:
            return None
        group, other = not mask & ~(entry.mode >> 3), not mask & ~entry.mode
        if group == other or gid == self.gid:
            return group
        if self.groups is None:
            return None
        return group if gid in self.groups else other

    def capability(self, name: str) -> Answer:
        """Whether the program has a capability when it begins."""
        bit = BITS[name]
        if self.effective & bit:
            over = " (over what the container's own user namespace has)"
            return Answer(
                ALLOWED, f"the program has it{over if self.user_namespace else ''}", self.kept
            )
        if not self.bounding & bit:
            return Answer(DENIED, "it is not in the bounding set", self.bounded)
        if self.closed:
            return Answer(DENIED, "the program does not have it and can get no new privileges",
                          self.kept, self.closed)  # fmt: skip
        return Answer(UNDECIDED, "the program begins without it; one with file capabilities, or"
                      " one of root's that is set-user-id, would have it")  # fmt: skip


def _triples(content: str) -> Map:
    rows = (line.split() for line in content.strip().splitlines())
    return tuple((int(inside), int(outside), int(size)) for inside, outside, size in rows)


def _outside(rows: Map, number: int) -> int | None:
    for inside, outside, size in rows:
        if inside <= number < inside + size:
            return outside + number - inside
    return None


def _inside(rows: Map, number: int | None) -> int | None:
    for inside, outside, size in rows:
        if number is not None and outside <= number < outside + size:
            return inside + number - outside
    return None


def step_of(plan: Plan, kind: type[Op]) -> int:
    """The number of the last op of a kind, or 0."""
    return max((number for number, op in enumerate(plan.ops, 1) if type(op) is kind), default=0)
