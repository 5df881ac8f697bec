"""``exec``: another program in a container that runs."""

from __future__ import annotations

import os

from kokon.compile.execution import INSIDE, OUTSIDE, compile_execution
from kokon.compile.inputs import Launch
from kokon.errors import KokonError, OptionError, RequestError
from kokon.kernel import cgroups, facts
from kokon.plan import check, wire
from kokon.plan.ops import Execute
from kokon.runtime.oci import bundle as bundles
from kokon.runtime.oci import environment, privileges, streams
from kokon.runtime.oci.agent import Agent
from kokon.runtime.oci.execution import process_of
from kokon.runtime.oci.namespaces import FILES
from kokon.runtime.oci.pid_file import write_pid
from kokon.runtime.oci.record import Record, start_of
from kokon.runtime.oci.refusal import refused
from kokon.runtime.oci.start import cannot_execute
from kokon.runtime.spawn import Spawned, occupy_standard_numbers, spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.cgroup.manager import Placement
    from kokon.kernel.cgroups import CgroupLayout
    from kokon.kernel.facts import HostFacts
    from kokon.plan.plan import Plan
    from kokon.runtime.oci.execution import Execution
    from kokon.spec.runtime import Spec


class Entrance:
    """What is open while a program is being started; :meth:`close` lets it go."""

    __slots__ = ("agent", "directory", "namespaces", "placement", "root")

    def __init__(self, record: Record) -> None:
        self.namespaces: dict[str, int] = {}
        self.placement: Placement | None = None
        self.root = -1
        pid = record.values.get("pid", 0)
        self.agent: Agent | None = None
        self.directory = os.open(f"/proc/{pid}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def open(self, record: Record) -> None:
        """The container's root and those of its namespaces that are not ours.

        All of it through one descriptor, which is of one process whoever gets its number (row S4).
        """
        if start_of(0, self.directory) != record.values.get("pid_start"):
            raise stopped(record)
        flags = os.O_RDONLY | os.O_CLOEXEC
        for kind in (*OUTSIDE, *INSIDE):
            name = f"ns/{FILES[kind]}"
            try:
                ours = os.stat(f"/proc/self/{name}")
                fd = os.open(name, flags, dir_fd=self.directory)
            except FileNotFoundError:
                continue  # a kind that this kernel does not have
            if os.path.samestat(ours, os.fstat(fd)):
                os.close(fd)
            else:
                self.namespaces[kind] = fd
        self.root = os.open("root", flags | os.O_PATH | os.O_DIRECTORY, dir_fd=self.directory)

    @property
    def handed(self) -> list[int]:
        """What init inherits, in the order of the plan."""
        groups = self.placement.descriptors if self.placement is not None else []
        agent = self.agent.handed.values() if self.agent is not None else ()
        return [*groups, *self.namespaces.values(), *agent]

    def close(self) -> None:
        """Closes it all."""
        for fd in (self.directory, self.root, *self.namespaces.values()):
            if fd >= 0:
                os.close(fd)
        if self.agent is not None:
            self.agent.close()
        if self.placement is not None:
            self.placement.close()


def execute(root: str, identity: str, asked: Execution) -> Spawned:
    """Starts a program, our child, in a container, and returns when it runs.

    :returns: with its pid, and its terminal's master unless a socket has got that.
    :raises KokonError: it does not run; nothing is left of it.
    """
    occupy_standard_numbers()
    spawned = Spawned()
    try:
        with Record.open(root, identity) as record:
            _check_status(record, asked)
            plan, host, terminal = _start(record, asked, spawned)
        # Without the lock from here on: in a paused container this waits for resume.
        if terminal and spawned.await_terminal() and asked.console_socket:
            master, spawned.terminal = spawned.terminal, -1
            streams.send_terminal(master, asked.console_socket)
        while spawned.read():
            pass
        if spawned.failed is not None or not spawned.pid:
            raise _refused(plan, spawned, host, identity)
        if asked.pid_file:
            write_pid(asked.pid_file, spawned.pid)
    except BaseException:
        spawned.end()
        raise
    return spawned


def stopped(record: Record) -> RequestError:
    """There is no process to join."""
    return RequestError("cannot exec in a stopped container", where=record.identity)


def _check_status(record: Record, asked: Execution) -> None:
    status = record.status
    if status in ("stopped", "creating"):
        raise stopped(record)
    if status == "created":
        # Its init has all rights yet, and who has SYS_PTRACE beside it would have them (row E2).
        raise RequestError(
            "cannot exec in a container that has not been started", where=record.identity,
            remedy="start it first",
        )  # fmt: skip
    if status == "paused" and not asked.ignores_pause:
        raise RequestError(
            "cannot exec in a paused container (use --ignore-paused to override)",
            where=record.identity,
        )


def _start(record: Record, asked: Execution, spawned: Spawned) -> tuple[Plan, HostFacts, bool]:
    """Starts init; its first stage has ended when this returns."""
    spec = bundles.parse(record.kept(bundles.CONFIG), record.values["bundle"])
    host = facts.current()
    before = spec.process
    spec.process = process_of(before, asked)
    if spec.process.oom_score_adj is None:
        spec.process.oom_score_adj = before.oom_score_adj
    _check_terminal(spec, asked)
    bundles.compile_filter(spec, host)
    asked.notes = privileges.limit(spec, host)
    try:
        entrance = Entrance(record)
    except OSError:
        raise stopped(record) from None
    try:
        entrance.open(record)
        environment.complete(spec.process, entrance.root)
        entrance.placement = _placement(record, asked, cgroups.read_moved(host.cgroups))
        entrance.agent = agent = Agent(spec)
        admit, turns = entrance.placement.admit, []
        if admit is not None:
            turns.append(admit)
        classed = "resctrl" in record.values
        if classed:
            from kokon.runtime.oci import resctrl

            turns.append(lambda pid: resctrl.join(record, pid))
        size = spec.process.console_size
        plan = compile_execution(
            spec,
            host,
            Launch(
                parent_death=False,
                tasks=entrance.placement.tasks,
                cgroup_directory=entrance.placement.directory_fd is not None,
                keyring=record.values.get("keyring", "optional"),
                admitted=admit is not None,
                hooks=classed,
                preserved=asked.preserved,
                terminal_size=streams.terminal_size(spec) if size else asked.size,
                plain_newlines=bool(asked.console_socket),
            ),
            tuple(entrance.namespaces),
        )
        check.check(plan)
        if agent.handed:
            turns.append(lambda pid: agent.tell(pid, record.state()))
        for fd in range(3, 3 + asked.preserved):
            os.set_inheritable(fd, True)
        streams.give(spec)
        spawn(
            wire.encode(plan),
            entrance.handed,
            (0, 1, 2),
            receives=spec.process.terminal,
            preserved=asked.preserved,
            turns=turns,
            init=spawned,
        )
    finally:
        entrance.close()
    return plan, host, spec.process.terminal


def _check_terminal(spec: Spec, asked: Execution) -> None:
    if asked.console_socket and not spec.process.terminal:
        raise OptionError(
            "the process has no terminal", where="--console-socket", remedy="add --tty"
        )
    if spec.process.terminal and asked.detached and not asked.console_socket:
        raise OptionError(
            "a terminal needs somebody who gets it", where="--detach",
            remedy="name a socket with --console-socket, or leave --detach out",
        )  # fmt: skip


def _placement(record: Record, asked: Execution, layout: CgroupLayout) -> Placement:
    """The container's control groups, or those below them that are asked for."""
    from kokon.cgroup.manager import Manager, Placement
    from kokon.cgroup.tables import group_path
    from kokon.cgroup.usage import UNIFIED

    own: dict[str, str] = record.values.get("groups", {})
    groups = dict(own)
    if UNIFIED in own and not any(":" not in word for word in asked.groups):
        groups[UNIFIED] = _leaf(record, own[UNIFIED], layout)
    for word in asked.groups:
        controllers, colon, path = word.rpartition(":")
        below = "".join(f"/{part}" for part in group_path(path, "--cgroup")) if path != "/" else ""
        for key in controllers.split(",") if colon else own:
            if key not in own:
                raise OptionError(f"the container has no {key} group", where="--cgroup")
            # Controllers that are mounted together are joined together.
            groups.update({each: own[each] + below for each in own if own[each] == own[key]})
    for path in groups.values():
        if not os.path.isdir(path):
            raise OptionError(f"the control group {path} is not there", where="--cgroup")
    if record.values.get("scope"):
        from kokon.cgroup.scope import Scope

        # An ordinary user's: whether we could clone into it depends on where we are.
        placement = Placement(groups, ())
        below = groups[UNIFIED][len(own[UNIFIED]) + 1 :]
        scope = Scope.reopened(layout, own, record.values["scope"])
        placement.admit = lambda pid: scope.join(pid, below)
        return placement
    return Manager.reopen(layout, groups).placement()


def _leaf(record: Record, path: str, layout: CgroupLayout) -> str:
    """Where a process may be on version 2: a group that gives controllers on has none itself
    (cgroups(7)), and a container's manager of services has moved the first process below."""
    from kokon.cgroup.group import read_file

    try:
        if not read_file(f"{path}/cgroup.subtree_control").strip():
            return path
        lines = read_file(f"/proc/{record.values['pid']}/cgroup").splitlines()
    except OSError:
        return path
    own = next((line[3:] for line in lines if line.startswith("0::")), "")
    found = layout.unified.directory(own) if layout.unified is not None else None
    return found if found is not None and f"{found}/".startswith(f"{path}/") else path


def _refused(plan: Plan, spawned: Spawned, host: HostFacts, identity: str) -> KokonError:
    failed = spawned.failed
    if failed is not None and failed.op == len(plan.ops) - 1:
        last = plan.ops[-1]
        assert isinstance(last, Execute)
        return cannot_execute(last.arguments[0] or "", failed.error, failed.detail, identity)
    return refused(plan, failed, host)
