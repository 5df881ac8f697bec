"""The store's worker: one Python process as root of a user namespace with our subordinate ids.

Without root, files of other owners can only be made and removed where those owners are ours: in a
user namespace that maps the whole subordinate range.  The worker enters nothing but that; a
container's own namespaces it never joins.
"""

from __future__ import annotations

import os
import sys

from kokon import errors, paths
from kokon.engine import mappings
from kokon.errors import HostError, KokonError
from kokon.kernel.constants import CLONE_NEWUSER
from kokon.plan import wire
from kokon.plan.ops import (
    AwaitParent,
    Clone,
    CloseDescriptors,
    Execute,
    ParentDeath,
    Release,
    Signals,
)
from kokon.plan.plan import Plan
from kokon.runtime.spawn import spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.kernel.facts import HostFacts

WHY = "the store's worker"
START = (
    "import sys; sys.path[:] = sys.argv[1].split(':'); "
    "from kokon.engine import worker; worker.serve(sys.argv[2:])"
)


def unpack(host: HostFacts, tarball: str) -> None:
    """Unpacks a tarball into the store, its files with their own owners.

    :raises KokonError: what the store raises.
    """
    _call(host, ("unpack", os.path.abspath(tarball), paths.store()))


def remove(host: HostFacts, directory: str, name: str) -> None:
    """Removes a tree that has files of subordinate owners.

    :raises KokonError: it cannot be removed.
    """
    _call(host, ("remove", directory, name))


def _call(host: HostFacts, arguments: tuple[str, ...]) -> None:
    maps = mappings.choose(host)
    read, write = os.pipe2(os.O_CLOEXEC)
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        plan = _plan(host, arguments)
        init = spawn(
            wire.encode(plan), (), (null, write, null),
            turns=[lambda pid: mappings.write_by_helpers(host, maps, pid)],
        )  # fmt: skip
    finally:
        maps.release()
        os.close(write)
        os.close(null)
    with open(read, encoding="utf-8", errors="surrogateescape") as answers:
        answer = answers.read()
    if init.pid:
        os.waitpid(init.pid, 0)
    init.drain()
    failed = init.failed
    init.close()
    if failed:
        from kokon.runtime.failure import failure

        raise failure(plan, failed, host, {})
    if answer != "done\n":
        raise _error(answer)


def _plan(host: HostFacts, arguments: tuple[str, ...]) -> Plan:
    python = sys.executable or "/usr/bin/python3"
    search = ":".join(entry for entry in sys.path if entry.startswith("/"))
    command = (python, "-I", "-S", "-c", START, search, *arguments)
    ops = (
        Clone(CLONE_NEWUSER, adopt=0 if host.process_1 else 1, why=WHY),
        AwaitParent(why=WHY),
        Release(why=WHY),
        Signals(why=WHY),
        ParentDeath(9, why=WHY),
        CloseDescriptors(why=WHY),
        Execute((python,), command, (), why=WHY),
    )
    return Plan(ops)


def serve(arguments: list[str]) -> None:
    """What the worker does, in its own process; its answer is on standard output."""
    try:
        if arguments[0] == "unpack":
            from kokon.image.store import Store

            with Store(arguments[2] + "/roots") as store:
                store.root_from_tarball(arguments[1])
        else:
            from kokon.kernel.removal import remove_tree

            parent = os.open(arguments[1], os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            remove_tree(parent, arguments[2])
        sys.stdout.write("done\n")
    except KokonError as error:
        sys.stdout.write(_told(error))
    except OSError as error:
        name = error.filename or "the store"
        sys.stdout.write(_told(HostError(f"{name} cannot be worked on", errno=error.errno or 0)))


def _told(error: KokonError) -> str:
    """An error as a line that :func:`_error` makes the same error of."""
    import json

    return json.dumps([type(error).__name__, vars(error)])


def _error(answer: str) -> KokonError:
    import json

    try:
        name, fields = json.loads(answer)
    except ValueError:
        return HostError(
            "the store's worker ended before it was done", remedy="see that memory is left"
        )
    kind: type[KokonError] = getattr(errors, name)
    # Its class may want more than these to be made: they have all that it had.
    error = kind.__new__(kind, fields["what"])
    vars(error).update(fields)
    return error


def needed(host: HostFacts) -> bool:
    """Whether files can have owners that only the worker reaches."""
    return not host.is_root and bool(host.subordinate_uids and host.subordinate_gids)
