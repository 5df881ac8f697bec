"""One run: looked up, configured, compiled, performed, and everything taken back."""

from __future__ import annotations

import os
from time import monotonic

from kokon.compile.inputs import Launch, RootFacts, Source
from kokon.config.container import Surroundings, implied
from kokon.config.container import namespaces as wanted_namespaces
from kokon.engine import files, limits, mappings, owner, plans, roots, sources, sweep
from kokon.engine.prepared import Prepared, is_without_clone3
from kokon.engine.undo import Undo
from kokon.errors import HostError, OptionError, refused
from kokon.kernel import facts, filesystems
from kokon.runtime.process import FirstProcess
from kokon.runtime.spawn import occupy_standard_numbers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from kokon.cgroup.usage import Hit, Usage
    from kokon.config.options import Options
    from kokon.engine.ground import Ground
    from kokon.kernel.facts import HostFacts
    from kokon.runtime.process import Ended


def prepare(
    options: Options,
    *,
    terminal: bool = False,
    terminal_size: tuple[int, int] = (0, 0),
    parent_death: bool = True,
    progress: Callable[[int, int], object] | None = None,
    box: bool = False,
) -> Prepared:
    """Looks up, configures and compiles a run, and makes what it needs on the machine.

    :param terminal: the program gets a terminal.
    :param box: no program is run: its namespaces are handed over.
    :param progress: called while a tarball is unpacked, with bytes done and in all.
    :raises KokonError: the request or the machine is at fault; nothing is left.
    """

    def make(undo: Undo) -> Prepared:
        try:
            return _prepare(options, terminal, terminal_size, parent_death, progress, box, undo)
        except OptionError as error:
            from kokon.engine import level

            other = level.impossible(error) if options.level == "best" else None
            if other is None:
                raise
            raise other from error

    prepared = taken_back(make)
    if options.level in ("best", "landlock"):

        def again() -> Prepared:
            fresh = taken_back(make)
            fresh.again = again
            return fresh

        prepared.again = again
    return prepared


def taken_back(make: Callable[[Undo], Prepared]) -> Prepared:
    """What ``make`` prepares; where it cannot, what it has made until then is taken back."""
    undo = Undo()
    try:
        occupy_standard_numbers()
        sweep.once()
        return make(undo)
    except OSError as error:
        undo.run()
        raise refused(error) from error
    except Exception:
        undo.run()
        raise
    except BaseException:
        undo.run()
        # An interrupt may have come after a thing was made and before it was noted.
        owner.current().leaves = True
        raise


def _prepare(
    options: Options,
    terminal: bool,
    terminal_size: tuple[int, int],
    parent_death: bool,
    progress: Callable[[int, int], object] | None,
    box: bool,
    undo: Undo,
) -> Prepared:
    host = facts.current()
    without: tuple[str, ...] = ("clone3",) if is_without_clone3() else ()
    lacking: tuple[str, ...] = ()
    ground: Ground | None = None
    if options.level is not None:
        from kokon.engine import level

        without += level.lacking(options, host)
        lacking = level.notes(without)
        if "user namespace" in without and options.userns is None:
            options = options.changed(userns="host")
    found = roots.find(options, host, progress)
    if "namespaces" in without:
        ground = level.lowest(options, found, box, undo)
    kinds = () if ground else wanted_namespaces(options, host, {})
    if not ground:
        lacking += implied(options, kinds)
    maps = _mappings(options, host, found, without, undo) if "user" in kinds else None
    if ground:
        around = ground.surroundings(options, host, terminal)
    else:
        around = surroundings(options, found, maps, terminal)
    recipe = plans.recipe(options, host, around)
    configuration = recipe.configuration.running(options.args)
    table = filesystems.mount_table() if maps and host.may_mount else None
    known: dict[str, Source] = {}
    sources.describe_binds(configuration, host, table, known)
    mapping = maps.uids[0] if maps and host.is_root else None
    reach = None
    if ground:
        root = RootFacts("machine", sources=known)
        reach = ground.reach(options, host, configuration, known)
    else:
        root = roots.describe(found, options, host, table, known, undo, mapping)
    placed = limits.place(options, configuration, host, undo)
    # Before Linux 6.3 execve does not enter a new time namespace, and what has not entered it may
    # not vfork (EINVAL): the program has to be a child.
    needs_child = options.time is not None and host.kernel < (6, 3)
    launch = Launch(
        reaper=bool(options.init) or needs_child,
        parent_death=parent_death,
        tasks=placed.tasks,
        cgroup_directory=placed.directory,
        late_cgroup=placed.late_path,
        resource_limits=placed.resource_limits,
        map_by_parent=bool(maps and maps.by_parent),
        files={} if ground else files.small_files(options, configuration.spec),
        terminal_size=terminal_size,
        box=box,
        landlock=bool(options.landlock),
        reach=reach,
        without=without,
    )
    plan = recipe.plan(options, root, launch)
    told = (
        ("before Linux 6.3 a time namespace needs a process 1 of kokon's own: --init is meant",)
        if needs_child
        else ()
    )
    noted = () if ground and placed.manager is None else placed.notes
    notes = (
        *told, *found.notes, *lacking, *configuration.notes, *noted, *plan.notes,
    )  # fmt: skip
    prepared = Prepared(
        plan, configuration, host, placed, maps, notes, undo, found, options, root, without
    )
    if options.require:
        from kokon.engine import level

        level.check_requirements(prepared)
    return prepared


def _mappings(
    options: Options,
    host: HostFacts,
    found: roots.FoundRoot,
    without: tuple[str, ...],
    undo: Undo,
) -> mappings.Mappings:
    """Which ids the container has.

    :raises HostError: it can have none; where the root allows it, with the level that needs none.
    """
    try:
        maps = mappings.choose(host, single="subordinate ids" in without)
    except HostError as error:
        if found.assembly:
            from kokon.engine import level

            level.add(error, level.WITHOUT_NAMESPACES)
        raise
    undo.push(maps.release)
    files.check_groups(options, host, maps.by_parent)
    return maps


def surroundings(
    options: Options, found: roots.FoundRoot, maps: mappings.Mappings | None, terminal: bool
) -> Surroundings:
    """What is to be looked up for a program in a root."""
    account = roots.account(found, options.user, options.words("user"))
    return Surroundings(
        uid=account.uid,
        gid=account.gid,
        groups=(*account.groups, *files.extra_groups(found, options)),
        home=account.home,
        caller=os.environ,
        uid_mappings=maps.uids if maps else (),
        gid_mappings=maps.gids if maps else (),
        devices=sources.device_numbers(options),
        seccomp=sources.seccomp_text(options),
        environment_files=sources.environment_files(options),
        root_environment=found.assembly.environment if found.assembly else None,
        root_working_directory=account.home if found.assembly else "/",
        masked=sources.masked_on_this_machine(),
        terminal=terminal,
    )


class Outcome:
    """How a run ended.

    :ivar cause: exited, signal, timeout, memory, output, caller or unknown.
    :ivar ended: status and times of the program.
    :ivar usage: what its cgroups counted, None without limits.
    :ivar hits: the limits that were met.
    """

    __slots__ = ("cause", "ended", "hits", "usage")

    def __init__(
        self, cause: str, ended: Ended, usage: Usage | None, hits: tuple[Hit, ...]
    ) -> None:
        self.cause = cause
        self.ended = ended
        self.usage = usage
        self.hits = hits

    @property
    def limits_hit(self) -> tuple[str, ...]:
        """The limits of its own that the program met on the way."""
        met = [LIMIT_NAMES[hit.limit] for hit in self.hits if hit.own]
        if self.usage and self.usage.throttled:
            met.append("cpus")
        if self.cause in ("output", "timeout"):
            met.append(self.cause)
        return tuple(met)


LIMIT_NAMES = {"memory": "memory", "pids": "processes"}


def finish(prepared: Prepared, process: FirstProcess, ended_by: str = "exit") -> Outcome:
    """Waits for the end, reads what was used, and tells why it ended.

    :param ended_by: ``timeout``, ``output`` or ``caller`` when kokon ended it.
    :raises KokonError: a step inside was refused: the program did not run.
    """
    ended = process.wait()
    if process.spawned.failed:
        raise prepared.refused(process.spawned.failed)
    return outcome(prepared.limits, ended, ended_by)


def outcome(placed: limits.Placed, ended: Ended, ended_by: str = "exit") -> Outcome:
    """Reads what was used, and tells why it ended."""
    usage, hits = placed.read()
    if ended_by != "exit":
        cause = ended_by
    elif any(hit.limit == "memory" for hit in hits) and ended.returncode in (-9, 137):
        cause = "memory"
    else:
        cause = "signal" if ended.returncode < 0 else "exited"
    return Outcome(cause, ended, usage, hits)


def deadline(timeout: float | None) -> float | None:
    """The moment of time.monotonic() at which a timeout is over."""
    return None if timeout is None else monotonic() + timeout
