"""The end of init: limits, ids, capabilities, no new privileges, and the filter last (row E16)."""

from __future__ import annotations

from struct import pack

from kokon.compile import process as processes
from kokon.errors import HostError
from kokon.kernel.capabilities import BITS
from kokon.kernel.constants import SECCOMP_NEW_LISTENER
from kokon.plan.ops import (
    Ambient,
    BoundingSet,
    Capabilities,
    Dumpable,
    Groups,
    NoNewPrivileges,
    ParentDeath,
    Seccomp,
    SendListener,
    User,
)
from kokon.security import idmap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.compile.builder import Builder


def drop(plan: Builder) -> None:
    """Everything that only ever takes rights away, in the one order that leaves no gap."""
    processes.limit(plan)
    process = plan.spec.process
    user, sets = process.user, process.capabilities
    check_user(plan)
    plan.add(BoundingSet(sets.bounding, why="/process/capabilities/bounding"))
    if _may_set_groups(plan):
        # Also when empty: else the caller's groups would stay (row E9).
        groups = tuple(dict.fromkeys((user.gid, *user.additional_gids)))
        plan.add(Groups(pack(f"<{len(groups)}I", *groups), why="/process/user"))
    plan.add(User(user.uid, user.gid, keep=1 if user.uid else 0, why="/process/user"))
    # A change of ids sets it to fs.suid_dumpable, which a machine may have at 1 (row E2).
    plan.add(Dumpable(0, why="/process"))
    filter_ = plan.spec.linux.seccomp
    if process.no_new_privileges:
        plan.add(NoNewPrivileges(why="/process/noNewPrivileges"))
    # A filter is refused (EACCES) without no_new_privs or SYS_ADMIN.  Where new privileges stay
    # possible SYS_ADMIN is kept over the filter; the execve takes it away, for it is in neither
    # the bounding, the inheritable nor the ambient set.
    extra = BITS["SYS_ADMIN"] if filter_ and not process.no_new_privileges else 0
    plan.add(Capabilities(
        sets.effective | extra, sets.permitted | extra, sets.inheritable,
        why="/process/capabilities",
    ))  # fmt: skip
    # One that is not permitted and inheritable cannot be raised (capabilities(7)).
    ambient = sets.ambient & sets.permitted & sets.inheritable
    if ambient != sets.ambient:
        plan.notes.append(
            "ambient capabilities that are not permitted and inheritable too are left out"
        )
    if ambient:
        plan.add(Ambient(ambient, why="/process/capabilities/ambient"))
    if plan.launch.parent_death:
        # A change of ids clears it (prctl(2)), so it comes after them.
        plan.add(ParentDeath(9, why="the caller"))
    if plan.launch.landlock:
        from kokon.compile.landlock import wall

        wall(plan)
    if filter_:
        if filter_.flags & SECCOMP_NEW_LISTENER:
            plan.add(SendListener(*plan.agent_slots, why="/linux/seccomp/listenerPath"))
        plan.add(Seccomp(filter_.program, filter_.flags, why="/linux/seccomp"))


def check_user(plan: Builder) -> None:
    """The user and the group have an id outside.

    :raises HostError: they have none, as every one but 0 without subordinate ids.
    """
    linux, user = plan.spec.linux, plan.spec.process.user
    if not plan.user_namespace:
        return
    for number, mappings, kind in (
        (user.uid, linux.uid_mappings, "user"),
        (user.gid, linux.gid_mappings, "group"),
    ):
        if idmap.to_host(mappings, number) is None:
            only_zero = [m.key()[::2] for m in mappings] == [(0, 1)]
            raise HostError(
                f"{kind} {number} has no id on this machine",
                where="/process/user",
                remedy="get subordinate ids (usermod --add-subuids, and newuidmap): without them"
                " there is only user 0"
                if only_zero
                else "name one that is in its range of ids",
            )


def _may_set_groups(plan: Builder) -> bool:
    """With a map of one id by ourselves setgroups is denied, and must have been."""
    if not plan.host.sets_groups:
        return False
    return not plan.user_namespace or plan.privileged or plan.launch.map_by_parent
