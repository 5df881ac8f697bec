"""Ranges of user and group ids (user_namespaces(7), subuid(5))."""

from __future__ import annotations

from kokon.errors import HostError, OptionError
from kokon.spec.runtime import IdMapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MOST = 0xFFFFFFFE
"""The largest id: 4294967295 is (uid_t) -1, "no change" in chown(2) and others."""

LINES = 340
"""How many lines the kernel takes in uid_map (since Linux 4.15)."""

RANGE = 65536
"""How many ids a container gets."""

OWNER = "kokon"
"""The name in subuid and subgid whose lines are for containers that root starts."""

GAP = range(0x70000000, 0x80000000, RANGE)
"""Where private ranges come from without such a line: 4096 of them below the sign bit, above what
shadow-utils (100000 to 600100000) and systemd (524288 to 1879048191) hand out.
"""

USERS = range(100_000, 600_100_000, RANGE)
"""Where shadow-utils gives ranges to users (login.defs(5), SUB_UID_MIN)."""


def check(mappings: Iterable[IdMapping], where: str = "") -> None:
    """Refuse what the kernel would refuse with EINVAL.

    :param where: the option or JSON pointer that the mappings came with.
    :raises OptionError: no mapping, an id out of bounds, or two that overlap.
    """
    found = list(mappings)
    if not 0 < len(found) <= LINES:
        raise OptionError(
            f"{len(found)} id mappings were given", where=where, remedy=f"give 1 to {LINES}"
        )
    for mapping in found:
        container, host, size = mapping.key()
        if size < 1 or min(container, host) < 0 or max(container, host) + size - 1 > MOST:
            raise OptionError(
                f"{mapping} is out of bounds", where=where, remedy=f"ids go from 0 to {MOST}"
            )
    for side in (0, 1):
        ordered = sorted(found, key=lambda mapping: mapping.key()[side])
        for at, upper in enumerate(ordered[1:]):
            lower = ordered[at]
            if lower.key()[side] + lower.size > upper.key()[side]:
                raise OptionError(
                    f"{lower} and {upper} overlap on the {('container', 'host')[side]}'s side",
                    where=where,
                    remedy="give each id once",
                )


def text(mappings: Iterable[IdMapping]) -> str:
    """What is written to /proc/PID/uid_map and gid_map, in one write(2)."""
    return "".join(f"{m.container_id} {m.host_id} {m.size}\n" for m in mappings)


def to_host(mappings: Iterable[IdMapping], container: int) -> int | None:
    """The host's id for one of the container's, None where there is none."""
    for mapping in mappings:
        if mapping.container_id <= container < mapping.container_id + mapping.size:
            return mapping.host_id + container - mapping.container_id
    return None


def entries(subid: str) -> Iterator[tuple[str, range]]:
    """Every valid line of subuid or subgid text, as (owner, ids); others are passed over, as
    newuidmap(1) does.
    """
    for line in subid.splitlines():
        owner, _, rest = line.partition(":")
        start, _, count = rest.partition(":")
        if owner and all(word.isascii() and word.isdigit() for word in (start, count)):
            ids = range(int(start), int(start) + int(count))
            if ids and ids[-1] <= MOST:
                yield owner, ids


def mapping(own: int, ranges: Iterable[range]) -> tuple[IdMapping, ...]:
    """The mapping of an ordinary user: 0 is the user's own id, from 1 on come the granted ones."""
    mappings = [IdMapping(0, own, 1)]
    following = 1
    for ids in ranges:
        if own not in ids:
            mappings.append(IdMapping(following, ids.start, len(ids)))
            following += len(ids)
    return tuple(mappings)


def private_ranges(subuid: str, subgid: str) -> Iterator[int]:
    """Where a range of 65,536 ids for a container that root starts may begin, best first.

    They come from the lines ``kokon`` that both texts have in common; without one, from
    :data:`GAP`, less what either text gives to someone.

    :raises HostError: the lines of ``kokon`` are too small, or someone has the whole gap.
    """
    owned = [[ids for owner, ids in entries(each) if owner == OWNER] for each in (subuid, subgid)]
    any_free = False
    for start in _common(*owned) if any(owned) else free_ranges(subuid, subgid, GAP):
        any_free = True
        yield start
    if not any_free:
        raise HostError(
            "no range of 65536 ids is free for a container",
            where="/etc/subuid and /etc/subgid",
            remedy="give the name kokon the same range in both, a multiple of 65536 long",
        )


def _common(uids: list[range], gids: list[range]) -> Iterator[int]:
    for u in uids:
        for g in gids:
            yield from range(max(u.start, g.start), min(u.stop, g.stop) - RANGE + 1, RANGE)


def free_ranges(subuid: str, subgid: str, starts: range = USERS) -> Iterator[int]:
    """Where 65,536 ids begin that neither text gives to anybody."""
    taken = [ids for each in (subuid, subgid) for _, ids in entries(each)]
    for start in starts:
        if not any(ids.start < start + RANGE and start < ids.stop for ids in taken):
            yield start
