"""Probes: small plans that init performs to their last step, which leave nothing behind.

A plan that is refused says at which step, as in a run.  Its last step is to run a program that
there is not: when that is what fails, everything before it works.
"""

from __future__ import annotations

import os
from errno import ENOENT, ENOSYS

from kokon import paths
from kokon.config.diagnosis import Probe
from kokon.config.options import Options
from kokon.engine import mappings
from kokon.engine.run import finish, prepare
from kokon.errors import CommandError, KokonError
from kokon.kernel.capabilities import BITS
from kokon.kernel.constants import (
    MOUNT_ATTR_IDMAP,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    MS_PRIVATE,
    MS_SLAVE,
    NAMESPACES,
)
from kokon.kernel.private import private_directory
from kokon.plan import ops, wire
from kokon.plan.plan import Plan
from kokon.runtime.failure import failure
from kokon.runtime.spawn import occupy_standard_numbers, spawn
from kokon.security.ladder import RESOURCES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kokon.kernel.facts import HostFacts
    from kokon.plan.op import Op

WHY = "doctor"
NOWHERE = "/proc/self/there-is-no-such-program"
ALLOW_ALL = bytes((0x06, 0, 0, 0, 0, 0, 0xFF, 0x7F))
"""A filter of one instruction: return SECCOMP_RET_ALLOW."""


def perform(
    host: HostFacts,
    namespaces: Sequence[str],
    inside: Sequence[Op] = (),
    outside: Sequence[Op] = (),
    turn: Callable[[int], None] | None = None,
) -> Probe:
    """One plan: a process in new namespaces that does ``inside``, and nothing more.

    :param outside: what stage 1 does once the process is there.
    :param turn: maps its ids from outside, in place of the single id that it gets else.
    """
    flags = sum(NAMESPACES[name] for name in namespaces)
    between: list[Op] = []
    if "user" in namespaces:
        if turn:
            between.append(ops.AwaitParent(why=WHY))
        else:
            between += (
                ops.IdMap("setgroups", "deny", why=WHY),
                ops.IdMap("uid_map", f"0 {host.uid} 1", why=WHY),
                ops.IdMap("gid_map", f"0 {host.gid} 1", why=WHY),
            )
    start: list[Op] = [ops.Propagation(MS_SLAVE, why=WHY)] if "mount" in namespaces else []
    clone = ops.Clone(flags, adopt=0 if host.process_1 else 1, why=WHY)
    probe, refused = _spawn(clone, [*between, *outside], [*start, *inside], host, turn)
    if refused is clone and probe.errno == ENOSYS:
        # As a run does: filters around us answer ENOSYS to clone3.
        legacy = ops.Clone(flags, adopt=clone.adopt, legacy=1, why=WHY)
        probe, _ = _spawn(legacy, [*between, *outside], [*start, *inside], host, turn)
    return probe


def _spawn(
    clone: Op,
    outside: list[Op],
    inside: list[Op],
    host: HostFacts,
    turn: Callable[[int], None] | None,
) -> tuple[Probe, Op | None]:
    """Performs it; the probe, and the op at which it ended."""
    last = ops.Execute((NOWHERE,), ("",), (), why=WHY)
    plan = Plan((clone, *outside, ops.Release(why=WHY), *inside, last))
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        occupy_standard_numbers()
        spawned = spawn(wire.encode(plan), (), (null,) * 3, turns=[turn] if turn else ())
        try:
            while spawned.failed is None and spawned.read():
                pass
            report = spawned.failed
        finally:
            spawned.end()
    except KokonError as error:
        return Probe(False, error.errno, "spawn", _words(error), error.remedy), None
    finally:
        os.close(null)
    if report is None:
        return Probe(False, 0, "", "init was ended before it could report"), None
    op = plan.ops[report.op] if report.op < len(plan.ops) else None
    if op is last and report.error == ENOENT:
        return Probe(True), op
    refused = failure(plan, report, host, {})
    said = f"{refused.what}: {os.strerror(report.error)}"
    return Probe(False, report.error, type(op).__name__ if op else "", said, refused.remedy), op


def all_of(host: HostFacts, store: str) -> dict[str, Probe]:
    """Every probe, by name (:class:`kokon.config.diagnosis.Machine` says what each is).

    :param store: a directory on the store's file system.
    """
    # Only what has rights in its namespace may drop from the bounding set: under Ubuntu's
    # restriction a user namespace can be made, and gives none.
    rights = ops.BoundingSet(0, why=WHY)
    mounting = ("user", "mount")
    found = {
        "memory": perform(host, ()),
        "user": perform(host, ("user",), [rights]),
        "proc": perform(host, (*mounting, "pid"), [_filesystem("proc", CLOSED)]),
        "sysfs": perform(
            host, (*mounting, "network"), [_filesystem("sysfs", CLOSED | MOUNT_ATTR_RDONLY)]
        ),
        "filesystems": perform(
            host, (*mounting, "ipc"), [_filesystem(name) for name in ("tmpfs", "devpts", "mqueue")]
        ),
        "loopback": perform(host, ("user", "network"), [ops.Loopback(why=WHY)]),
        "overlay": perform(host, mounting, _overlay()),
        "seccomp": perform(
            host, (), [ops.NoNewPrivileges(why=WHY), ops.Seccomp(ALLOW_ALL, why=WHY)]
        ),
    }
    for name in ("mount", "pid", "ipc", "uts", "network", "cgroup", "time"):
        late = name in ("cgroup", "time")
        inside: list[Op] = [ops.Unshare(NAMESPACES[name], why=WHY)] if late else []
        if name == "uts":
            inside.append(ops.Hostname("kokon", why=WHY))
        found[f"namespace {name}"] = perform(host, ("user",) if late else ("user", name), inside)
    if host.capabilities & BITS["SYS_ADMIN"] and host.owns_mounts:
        found["idmap"] = perform(host, ("user",), outside=_idmap(store))
    if host.subordinate_uids and host.subordinate_gids:
        found["newuidmap"] = _mapped_by_helpers(host)
    return found


CLOSED = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC
"""As a run mounts /proc and /sys: where the old ones are so, new ones have to be (EPERM)."""


def _filesystem(kind: str, attributes: int = 0) -> Op:
    return ops.Filesystem(0, kind, (), attributes, kind, why=WHY)


PLACE = "/sys"
"""A directory that every machine has; what is mounted there is in the probe's namespace only."""


def _overlay() -> list[Op]:
    """An overlay whose layers lie on a tmpfs, as in a user namespace."""
    layers = ("lower", "upper", "work")
    options = ("lowerdir", f"{PLACE}/lower", "upperdir", f"{PLACE}/upper",
               "workdir", f"{PLACE}/work", "userxattr", None)  # fmt: skip
    return [
        _filesystem("tmpfs"),
        *(ops.Directory(0, name, why=WHY) for name in layers),
        ops.AttachAnywhere(0, PLACE, "the layers' places", why=WHY),
        ops.Filesystem(1, "overlay", options, 0, "a root", why=WHY),
    ]


def _idmap(store: str) -> list[Op]:
    return [
        ops.UserNamespace(0, why=WHY),
        ops.CloneMount(1, -1, store, why=WHY),
        ops.MountAttributes(1, MOUNT_ATTR_IDMAP, 0, MS_PRIVATE, 0, 0, "the store", why=WHY),
    ]


def _mapped_by_helpers(host: HostFacts) -> Probe:
    maps = mappings.choose(host)
    try:
        return perform(host, ("user",), turn=lambda pid: mappings.write_by_helpers(host, maps, pid))
    finally:
        maps.release()


def run(root: str, **limits: object) -> Probe:
    """A whole run as ``kokon run`` would do it, of a program that there is not.

    :param limits: options of the run.
    """
    return _attempt(lambda: _run(root, limits))


def run_of_directory() -> Probe:
    """The same of a directory, as roots from tarballs are: the one that holds those, which every
    store has."""
    return _attempt(
        lambda: _run(private_directory(private_directory(paths.store()) + "/roots"), {})
    )


def run_best() -> tuple[Probe, dict[str, tuple[bool, str]]]:
    """A run of @host at the level ``best``, and what holds in it: whether, and by what."""
    held: dict[str, tuple[bool, str]] = {}
    return _attempt(lambda: _run("@host", {"level": "best"}, held)), held


def _run(
    root: str, options: dict[str, object], held: dict[str, tuple[bool, str]] | None = None
) -> None:
    prepared = prepare(Options(root, (NOWHERE,), options))
    try:
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            process = prepared.start((null, null, null))
            try:
                finish(prepared, process)
            finally:
                process.close()
        finally:
            os.close(null)
            if held is not None:
                guarantees = prepared.guarantees
                held.update({name: (guarantees[name].holds, guarantees[name].by)
                             for name in RESOURCES if name != "limits"})  # fmt: skip
    finally:
        prepared.close()


def _attempt(action: Callable[[], None]) -> Probe:
    try:
        action()
    except CommandError:
        return Probe(True)
    except KokonError as error:
        return Probe(False, error.errno, type(error).__name__, _words(error), error.remedy)
    except OSError as error:
        return Probe(False, error.errno or 0, "OSError", str(error))
    return Probe(True)


def _words(error: KokonError) -> str:
    """What it says, without the remedy and without the option, which is the probe's own."""
    words = str(error).removesuffix(f"; {error.remedy}")
    return words.removeprefix(f"{error.where}: ") if error.where.startswith("--") else words
