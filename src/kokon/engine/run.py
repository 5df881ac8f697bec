"""One run: looked up, configured, compiled, performed, and everything taken back."""

from __future__ import annotations

import os
from errno import ENOSYS
from time import monotonic

from kokon.compile.inputs import Launch, RootFacts, Source
from kokon.config.container import Configuration, Surroundings, implied
from kokon.config.container import namespaces as wanted_namespaces
from kokon.engine import files, limits, mappings, owner, plans, roots, sources, sweep
from kokon.engine.undo import Undo
from kokon.errors import HostError, KokonError, OptionError, refused
from kokon.kernel import facts, filesystems
from kokon.plan import wire
from kokon.plan.ops import HandOver, Reap
from kokon.plan.plan import Plan
from kokon.runtime.process import FirstProcess
from kokon.runtime.spawn import Spawned, occupy_standard_numbers, spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from kokon.cgroup.usage import Hit, Usage
    from kokon.config.options import Options
    from kokon.engine.ground import Ground
    from kokon.kernel.facts import HostFacts
    from kokon.runtime.process import Ended
    from kokon.runtime.spawn import Report
    from kokon.security.ladder import Guarantees


_without_clone3 = 0
"""The process in which clone3 was refused: it will be again."""


class Prepared:
    """A run that is ready: its plan, and what it has to hand over.

    ``close`` takes back all that was made for it.
    """

    __slots__ = (
        "again", "configuration", "found", "host", "limits", "mappings", "notes", "options", "plan",
        "root", "undo", "without",
    )  # fmt: skip

    def __init__(
        self,
        plan: Plan,
        configuration: Configuration,
        host: HostFacts,
        placed: limits.Placed,
        maps: mappings.Mappings | None,
        notes: tuple[str, ...],
        undo: Undo,
        found: roots.FoundRoot,
        options: Options,
        root: RootFacts,
        without: tuple[str, ...] = (),
    ) -> None:
        self.plan = plan
        self.configuration = configuration
        self.host = host
        self.limits = placed
        self.mappings = maps
        self.notes = notes
        self.undo = undo
        self.found = found
        self.options = options
        self.without = without
        self.root = root
        self.again: Callable[[], Prepared] | None = None

    @property
    def guarantees(self) -> Guarantees:
        """What holds in this run, and by what; before the start: what its plan would hold."""
        from kokon.engine import level

        return level.guarantees(self)

    def start(self, streams: tuple[int, int, int]) -> FirstProcess:
        """Performs the plan; returns when the container's first process is on its own.

        Below the level ``full`` it returns when the program runs, and goes without what is refused.

        :param streams: what becomes the program's 0, 1 and 2.
        :raises KokonError: a step outside was refused.
        """
        try:
            while True:
                failed: Report | None = None
                try:
                    spawned = self._spawn(streams)
                    if not spawned.pid and self._clone3_is_refused(spawned.failed):
                        spawned.close()
                        spawned = self._spawn(streams)
                    if spawned.pid:
                        process = self._first_process(spawned)
                        if not self.again or self._is_box() or self._runs(process):
                            return process
                    spawned.close()
                    failed = spawned.failed
                    error: KokonError = self.refused(failed)
                except mappings.MappingRefused as other:
                    error = self._with_advice(other, None)
                if not self.goes_without(failed, error):
                    raise error
        except OSError as error:
            raise refused(error) from error

    def _first_process(self, spawned: Spawned) -> FirstProcess:
        if any(isinstance(op, Reap) and op.all for op in self.plan.ops[-4:]):
            from kokon.engine.ground import ReapedProcess

            return ReapedProcess(spawned)
        return FirstProcess(spawned)

    def _runs(self, process: FirstProcess) -> bool:
        """Waits until the program runs; False when a step was refused, and all has ended."""
        from kokon.engine import level

        try:
            spec = self.configuration.spec
            failed = level.await_running(process.spawned, spec.process.terminal)
            if failed is None:
                return True
            process.wait()
        except BaseException:
            process.abandon()
            raise
        process.close()
        return False

    def _is_box(self) -> bool:
        """Whether namespaces are handed over: who takes them sees whether a step was refused."""
        return isinstance(self.plan.ops[-1], HandOver)

    def goes_without(self, failed: Report | None, error: KokonError) -> bool:
        """Takes the run back and prepares it again without what was refused, if that is possible
        and may be.

        :raises KokonError: the other way is not possible either.
        """
        from kokon.engine import level

        if self.again is None or not level.learn(self, failed, error):
            return False
        self.undo.run()
        fresh = self.again()
        for name in Prepared.__slots__:
            setattr(self, name, getattr(fresh, name))
        return True

    def _spawn(self, streams: tuple[int, int, int]) -> Spawned:
        turns: list[Callable[[int], None]] = []
        if self.limits.place_late:
            turns.append(self.limits.place_late)
        maps = self.mappings
        if maps and maps.by_parent:
            turns.append(lambda pid: mappings.write_by_helpers(self.host, maps, pid))
        spawned = Spawned()
        # Before it is started: an interrupt may come before anybody has it who would wait for it.
        self.undo.push(spawned.end)
        return spawn(
            wire.encode(self.plan),
            self.limits.descriptors,
            streams,
            receives=self.configuration.spec.process.terminal
            or isinstance(self.plan.ops[-1], HandOver),
            turns=turns,
            linger=bool(self.limits.place_late),
            init=spawned,
        )

    def _clone3_is_refused(self, report: Report | None) -> bool:
        """Whether to try again with clone: a filter around us answers ENOSYS to clone3."""
        if report is None or report.error != ENOSYS:
            return False
        from kokon.compile import lacks

        if not lacks.CLONE3.is_meant(self.plan.ops[report.op], self.plan):
            return False
        global _without_clone3
        _without_clone3 = os.getpid()
        self.plan = lacks.without(self.plan, (lacks.CLONE3.name,), self.host.architecture)
        return True

    def refused(self, report: Report | None) -> KokonError:
        """The error that a failed report stands for."""
        facts.forget()
        if report is None:
            return HostError(
                "init was ended before it could report",
                remedy="see the kernel's log (dmesg): memory may have run out",
            )
        from kokon.runtime.failure import failure

        error = failure(self.plan, report, self.host, self.configuration.asked)
        return self._with_advice(error, report)

    def _with_advice(self, error: KokonError, report: Report | None) -> KokonError:
        if self.options.level in (None, "full"):
            from kokon.engine import level

            level.advise(error, self.plan, report, self.found)
        return error

    def close(self) -> list[Exception]:
        """Takes back everything that was made."""
        return self.undo.run()


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
    without: tuple[str, ...] = ("clone3",) if _without_clone3 == os.getpid() else ()
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
    maps = None
    if "user" in kinds:
        try:
            maps = mappings.choose(host, single="subordinate ids" in without)
        except HostError as error:
            if found.assembly:
                from kokon.engine import level

                level.add(error, level.WITHOUT_NAMESPACES)
            raise
        undo.push(maps.release)
        files.check_groups(options, host, maps.by_parent)
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
