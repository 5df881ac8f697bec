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
from kokon.errors import HostError, KokonError
from kokon.kernel import facts, filesystems
from kokon.plan import wire
from kokon.plan.ops import Clone
from kokon.plan.plan import Plan
from kokon.runtime.process import FirstProcess
from kokon.runtime.spawn import Spawned, occupy_standard_numbers, spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from kokon.cgroup.usage import Hit, Usage
    from kokon.config.options import Options
    from kokon.kernel.facts import HostFacts
    from kokon.runtime.process import Ended
    from kokon.runtime.spawn import Report


class Prepared:
    """A run that is ready: its plan, and what it has to hand over.

    ``close`` takes back all that was made for it.
    """

    __slots__ = (
        "configuration", "host", "limits", "mappings", "notes", "options", "plan", "root", "undo",
    )  # fmt: skip

    def __init__(
        self,
        options: Options,
        root: RootFacts,
        plan: Plan,
        configuration: Configuration,
        host: HostFacts,
        placed: limits.Placed,
        maps: mappings.Mappings | None,
        notes: tuple[str, ...],
        undo: Undo,
    ) -> None:
        self.options = options
        self.root = root
        self.plan = plan
        self.configuration = configuration
        self.host = host
        self.limits = placed
        self.mappings = maps
        self.notes = notes
        self.undo = undo

    def start(self, streams: tuple[int, int, int]) -> FirstProcess:
        """Performs the plan; returns when the container's first process is on its own.

        :param streams: what becomes the program's 0, 1 and 2.
        :raises KokonError: a step outside was refused.
        """
        spawned = self._spawn(streams)
        if not spawned.pid and self._clone3_is_refused(spawned.failed):
            spawned.close()
            spawned = self._spawn(streams)
        if not spawned.pid:
            failed = spawned.failed
            spawned.close()
            raise self.refused(failed)
        return FirstProcess(spawned)

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
            terminal=self.configuration.spec.process.terminal,
            turns=turns,
            linger=bool(self.limits.place_late),
            init=spawned,
        )

    def _clone3_is_refused(self, report: Report | None) -> bool:
        """Whether to try again with clone: filters around us answer ENOSYS to clone3, because they
        cannot look into its arguments.  Into a v2 cgroup only clone3 can clone."""
        if report is None or report.error != ENOSYS:
            return False
        clone = self.plan.ops[report.op]
        if not isinstance(clone, Clone) or clone.legacy or clone.cgroup >= 0:
            return False
        again = Clone(clone.namespaces, clone.cgroup, clone.adopt, legacy=1, why=clone.why)
        before, after = self.plan.ops[: report.op], self.plan.ops[report.op + 1 :]
        self.plan = Plan((*before, again, *after), self.plan.inherited, self.plan.notes)
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

        return failure(self.plan, report, self.host, self.configuration.asked)

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
) -> Prepared:
    """Looks up, configures and compiles a run, and makes what it needs on the machine.

    :param terminal: the program gets a terminal.
    :param progress: called while a tarball is unpacked, with bytes done and in all.
    :raises KokonError: the request or the machine is at fault; nothing is left.
    """
    occupy_standard_numbers()
    sweep.once()
    undo = Undo()
    try:
        return _prepare(options, terminal, terminal_size, parent_death, progress, undo)
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
    undo: Undo,
) -> Prepared:
    host = facts.current()
    kinds = wanted_namespaces(options, host, {})
    found = roots.find(options, host, progress)
    account = roots.account(found, options.user, options.words("user"))
    maps = None
    if "user" in kinds:
        maps = mappings.choose(host)
        undo.push(maps.release)
        files.check_groups(options, host, maps.by_parent)
    around = Surroundings(
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
    recipe = plans.recipe(options, host, around)
    configuration = recipe.configuration.running(options.args)
    table = filesystems.mount_table() if maps and host.may_mount else None
    known: dict[str, Source] = {}
    sources.describe_binds(configuration, host, table, known)
    mapping = maps.uids[0] if maps and host.is_root else None
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
        files=files.small_files(options, configuration.spec),
        terminal_size=terminal_size,
    )
    plan = recipe.plan(options, root, launch)
    told = (
        ("before Linux 6.3 a time namespace needs a process 1 of kokon's own: --init is meant",)
        if needs_child
        else ()
    )
    notes = (*told, *found.notes, *implied(options, kinds), *placed.notes, *plan.notes)
    return Prepared(options, root, plan, configuration, host, placed, maps, notes, undo)


class Outcome:
    """How a run ended.

    :ivar cause: exited, signal, timeout, memory, output or unknown.
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


def finish(prepared: Prepared, process: FirstProcess, ended_by: str = "exit") -> Outcome:
    """Waits for the end, reads what was used, and tells why it ended.

    :param ended_by: ``timeout`` or ``output`` when kokon ended it.
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
