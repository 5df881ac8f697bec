"""Runs that went well, saved for the launcher: it performs them again without starting Python.

Python decides once, and the *outside* of the run becomes data as the inside (the plan) is:
docs/saved-runs.md tells what is saved, when it is used, and what never is.
"""

from __future__ import annotations

import os
from marshal import dumps

from kokon import paths
from kokon.cgroup.usage import UNIFIED
from kokon.compile.process import candidates
from kokon.engine import conditions, owner
from kokon.kernel import facts
from kokon.kernel.private import keep, private_directory
from kokon.plan import ops, saved
from kokon.plan.saved import Record, Unsaved
from kokon.runtime import program
from kokon.security import idmap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from kokon.cgroup.group import Group
    from kokon.cgroup.manager import Manager
    from kokon.engine.prepared import Prepared

MOST = 64
"""Saved runs that are kept."""

CANDIDATES = 256
"""Ranges of ids that the launcher may try."""

COUNTERS = (
    ("memory", "memory.oom_control", "oom_kill 0\n"),
    ("pids", "pids.events", "max 0\n"),
    (UNIFIED, "memory.events", "oom_kill 0\n"),
    (UNIFIED, "pids.events", "max 0\n"),
)
"""Of each group the lines that say that no limit was met (cgroup/usage.py)."""


def save(
    prepared: Prepared,
    words: Sequence[str],
    launcher: str,
    begun: int,
    *,
    interactive: bool,
    at_terminal: bool,
) -> None:
    """Saves a run that has just ended well; does nothing where it is of a kind that is not saved.

    :param prepared: not closed yet: its counters are read.
    :param words: the command line from the verb to ROOT.
    :param interactive: standard input is the caller's.
    :param at_terminal: see :func:`kokon.engine.conditions.of_run`, as for the others.
    """
    try:
        _refuse(prepared)
        records = conditions.of_run(prepared, launcher, begun, at_terminal)
        # What was looked at before the run is what the conditions say now.
        if facts.read().to_dict() != prepared.host.to_dict():
            raise Unsaved("the machine was changed meanwhile")
        records += _steps(prepared, interactive)
        _write(words, _encode(prepared, words, records))
    except (Unsaved, OSError):
        pass  # the next run is Python's too


def _refuse(prepared: Prepared) -> None:
    """What is never saved.

    :raises Unsaved: this is.
    """
    options, kinds = prepared.options, [type(op) for op in prepared.plan.ops]
    if prepared.root.path != os.path.abspath(options.root) or prepared.root.kind == "assembly":
        raise Unsaved("its root is no directory")
    if options.keep is not None or options.devices or options.env_file:
        raise Unsaved("it looks at what no condition tells")
    if options.timeout is not None or options.cgroup_parent is not None:
        raise Unsaved("it has an end, or a place, of its own")
    if options.events or options.level or options.require or options.landlock or prepared.without:
        raise Unsaved("it is told, judged or made in a manner of its own")
    if any("=" not in entry for entry in options.env):
        raise Unsaved("it takes variables of the caller")
    if any(getattr(options, f"device_{name}") for name in ("read_bps", "write_bps", "read_iops",
                                                           "write_iops")):  # fmt: skip
        raise Unsaved("it looks at devices")
    if ops.Reap in kinds or ops.Terminal in kinds or prepared.host.process_1:
        raise Unsaved("it reports more than its end")
    if prepared.notes or prepared.limits.place_late or options.cpuset_cpus or options.cpuset_mems:
        raise Unsaved("something is said or done for each run")


def _steps(prepared: Prepared, interactive: bool) -> list[Record]:
    """What is made outside, in order; it is taken back in reverse."""
    records = []
    maps = prepared.mappings
    if maps and maps.first:
        records.append(_claim(maps.first))
    if maps and maps.by_parent:
        for path, ids in (
            (prepared.host.newuidmap, maps.uids),
            (prepared.host.newgidmap, maps.gids),
        ):
            numbers = b"".join(b"%d\0" % n for m in ids for n in m.key())
            records.append(Record(saved.HELPER, os.fsencode(path), numbers))
    upper = prepared.root.upper
    if upper:
        # A sweep has to find it, whatever the store of whoever sweeps is.
        records.append(Record(saved.NOTE, b=os.fsencode(os.path.dirname(upper)) + b"\0"))
        records.append(_directory(upper, 0o700 | saved.TREE))
        records.append(_directory(f"{upper}/upper", 0o755 | saved.EXACT | saved.KEEP))
        records.append(_directory(f"{upper}/work", 0o700 | saved.KEEP))
    if prepared.limits.manager:
        records += _groups(prepared.limits.manager)
    if not interactive:
        records.append(Record(saved.INPUT))
    return records


def _claim(first: int) -> Record:
    """The ranges that the launcher may claim: all are written with as many digits."""
    found: list[int] = []
    for start in idmap.private_ranges(
        facts.read_text("/etc/subuid"), facts.read_text("/etc/subgid")
    ):
        if len(found) == CANDIDATES:
            break
        found.append(start)
    if any(len(str(start)) != saved.RANGE_DIGITS for start in (first, *found)):
        raise Unsaved("ids of fewer digits")
    return Record(saved.CLAIM, b=b"".join(b"%d\0" % start for start in found))


def _directory(path: str, number: int) -> Record:
    return Record(saved.DIRECTORY, _open(path), number=number)


def _open(path: str) -> bytes:
    """A path with a hole in the place of our token."""
    if "\x01" in path or "\x02" in path:
        raise Unsaved(f"{path!r} has a byte that marks a hole")
    return os.fsencode(path.replace(owner.current().token, saved.TOKEN))


def _groups(manager: Manager) -> list[Record]:
    """The cgroups: made, written to, opened in the order of the plan's slots; their counters."""
    made = _distinct(manager)
    records = []
    for group in made:
        for path, value, may_exist in group.log:
            if value is not None:
                records.append(Record(saved.WRITE, _open(path), value.encode()))
                continue
            # A sweep has to find it, wherever whoever sweeps is (cgroup/group.py, make).
            place = path + "/" if may_exist else path.rpartition("/")[0]
            records.append(Record(saved.NOTE, b=os.fsencode(place) + b"\0"))
            records.append(_directory(path, 0o755 | (saved.MAY_EXIST if may_exist else 0)))
    for group in made:
        if group.version == 2:
            records.append(Record(saved.DESCRIPTOR, _open(group.path), number=1))
    for group in made:
        if group.version == 1:
            records.append(Record(saved.DESCRIPTOR, _open(group.path + "/tasks")))
    for key, file, line in COUNTERS:
        counted = manager.groups.get(key)
        if counted and line in (counted.read(file) or ""):
            records.append(Record(saved.COUNTER, _open(f"{counted.path}/{file}"), line.encode()))
    return records


def _distinct(manager: Manager) -> list[Group]:
    """Controllers that are mounted together share a group."""
    return list({group.path: group for group in manager.groups.values()}.values())


def _encode(prepared: Prepared, words: Sequence[str], records: list[Record]) -> bytes:
    maps, last = prepared.mappings, prepared.plan.ops[-1]
    assert isinstance(last, ops.Execute)
    plan = saved.SavedPlan(prepared.plan, owner.current().token, maps.first if maps else 0)
    environment = tuple(entry for entry in last.environment if entry)
    places = b"".join(os.fsencode(path) + b"\0" for path in candidates("", environment))
    return saved.encode(
        saved.key(words), records, plan, program.read(), places, dumps(_rest(prepared), 2)
    )


def _rest(prepared: Prepared) -> dict[str, object]:
    """What Python wants to know when it takes the run over (engine/takeover.py)."""
    manager = prepared.limits.manager
    return {
        "asked": dict(prepared.configuration.asked),
        "upper": _open(prepared.root.upper),
        "groups": [
            (key, _open(group.path)) for key, group in (manager.groups.items() if manager else ())
        ],
    }


def _write(words: Sequence[str], data: bytes) -> None:
    directory = private_directory(private_directory(paths.state()) + "/saved")
    keep(directory, saved.file_name(words), data, MOST)
