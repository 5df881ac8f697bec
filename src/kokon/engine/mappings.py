"""Which ids of the host a container's ids are."""

from __future__ import annotations

import os
from _functools import partial  # type: ignore[import-not-found]  # functools costs a start

from kokon import paths
from kokon.engine import owner
from kokon.errors import HostError, RetryError
from kokon.kernel import facts
from kokon.kernel.private import private_directory
from kokon.security import idmap
from kokon.spec.runtime import IdMapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.kernel.facts import HostFacts


class Mappings:
    """The maps of one container.

    :ivar by_parent: newuidmap has to write them.
    :ivar first: the first id of a private range, 0 where there is none.
    :ivar helpers: pids of newuidmap and newgidmap that nobody has waited for yet.
    """

    __slots__ = ("_token", "by_parent", "first", "gids", "helpers", "uids")

    def __init__(
        self,
        uids: tuple[IdMapping, ...],
        gids: tuple[IdMapping, ...],
        by_parent: bool = False,
        first: int = 0,
        token: str = "",
    ) -> None:
        self.uids = uids
        self.gids = gids
        self.by_parent = by_parent
        self.helpers: list[int] = []
        self.first = first
        self._token = token

    def release(self) -> None:
        """Gives a private range back, for the next container of this process; waits for a helper
        that an interrupt has left."""
        while self.helpers:
            _status(self.helpers[-1])
            self.helpers.pop()
        if self.first and self._token == _owner_of_free:
            _free.append(self.first)
        self.first = 0


class MappingRefused(HostError):
    """newuidmap or newgidmap would not write a map."""


def choose(host: HostFacts, *, single: bool = False) -> Mappings:
    """Maps for a new user namespace.

    Root of the machine: a private range of 65,536.  Others: themselves as 0, and the whole
    subordinate range above it where newuidmap grants one; else the single id.

    :param single: newuidmap has refused.
    :raises HostError: user namespaces are switched off.
    """
    if not host.user_namespaces:
        from kokon.plan.remedies import user_namespaces

        raise HostError("user namespaces are switched off here", remedy=user_namespaces(host))
    if host.is_root:
        return _private_range(host)
    if host.subordinate_uids and host.subordinate_gids and not single:
        return Mappings(
            idmap.mapping(host.uid, _ranges(host.subordinate_uids)),
            idmap.mapping(host.gid, _ranges(host.subordinate_gids)),
            by_parent=True,
        )
    return Mappings((IdMapping(0, host.uid, 1),), (IdMapping(0, host.gid, 1),))


def _ranges(pairs: tuple[tuple[int, int], ...]) -> list[range]:
    return [range(first, first + count) for first, count in pairs]


_free: list[int] = []
_owner_of_free = ""


def _private_range(host: HostFacts) -> Mappings:
    """A range that no other container and no line of subuid has."""
    if not host.maps_all_ids:
        # Root of a container: the ids that it has itself are all there is.  No line of a map may
        # reach over two of the map around it.
        return Mappings(_same(host.uid_map), _same(host.gid_map))
    global _owner_of_free
    token = owner.current().token
    if _owner_of_free != token:
        _free.clear()
        _owner_of_free = token
    try:
        first = _free.pop()
    except IndexError:
        first = _claim()
    mapping = (IdMapping(0, first, idmap.RANGE),)
    return Mappings(mapping, mapping, first=first, token=token)


def _same(lines: tuple[tuple[int, int, int], ...]) -> tuple[IdMapping, ...]:
    return tuple(IdMapping(inside, inside, size) for inside, _, size in lines)


def _claim() -> int:
    """Claims a range by a link that holds our token: made in one step, and only once."""
    directory = private_directory(private_directory(paths.state()) + "/ids")
    us = owner.current()
    for first in idmap.private_ranges(
        facts.read_text("/etc/subuid"), facts.read_text("/etc/subgid")
    ):
        try:
            os.symlink(us.token, f"{directory}/{first}")
        except FileExistsError:
            continue
        us.files.append(f"{directory}/{first}")
        return first
    raise RetryError(
        "every private range of ids is in use",
        remedy="wait for containers to end, or use --userns host",
    )


def release_claims(tokens: set[str]) -> None:
    """Removes the claims of these owners."""
    directory = paths.state() + "/ids"
    try:
        claims = os.listdir(directory)
    except FileNotFoundError:
        return
    for name in claims:
        try:
            if os.readlink(f"{directory}/{name}") in tokens:
                os.unlink(f"{directory}/{name}")
        except FileNotFoundError:
            pass


def write_by_helpers(host: HostFacts, mappings: Mappings, pid: int) -> None:
    """Runs newuidmap and newgidmap for a process (newuidmap(1)).

    :raises HostError: one of them refused.
    """
    for program, maps in ((host.newuidmap, mappings.uids), (host.newgidmap, mappings.gids)):
        numbers = [str(n) for m in maps for n in (m.container_id, m.host_id, m.size)]
        refused = _helper(program, (program, str(pid), *numbers), mappings.helpers)
        if refused:
            facts.forget()
            name = os.path.basename(program)
            raise MappingRefused(
                f"{name} refused to map the ids: {refused}",
                remedy=f"see that {program} is set-uid root and /etc/subuid, /etc/subgid are right",
            )


def _helper(program: str, arguments: tuple[str, ...], pids: list[int]) -> str:
    """Runs one of the two: what it says when it refuses, "" when all is well.

    :param pids: its pid is here while it has not been waited for.
    """
    read, write = os.pipe2(os.O_CLOEXEC)
    actions = [(os.POSIX_SPAWN_DUP2, write, 1), (os.POSIX_SPAWN_DUP2, write, 2)]
    spawn = partial(os.posix_spawn, file_actions=actions)
    open_ends = [read, write]
    try:
        # One call for Python: a signal handler that raises cannot come before the pid is noted.
        pids.extend(map(spawn, (program,), (arguments,), ({},)))
        os.close(open_ends.pop())
        words = os.read(read, 4096).decode("utf-8", "replace").strip()
        status = _status(pids[-1])
        pids.pop()
        # Another wait of this process may have taken it; it is silent when all is well.
        return words if status is None else (words or str(status)) if status else ""
    finally:
        for fd in open_ends:
            os.close(fd)


def _status(pid: int) -> int | None:
    try:
        return os.waitpid(pid, 0)[1]
    except ChildProcessError:
        return None
