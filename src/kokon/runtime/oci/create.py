"""``create``: a container is made from a bundle, and waits to be started (runtime.md)."""

from __future__ import annotations

import os

from kokon.compile.container import compile_container
from kokon.compile.inputs import Launch
from kokon.errors import KokonError, OptionError
from kokon.kernel import cgroups, facts
from kokon.plan import check, wire
from kokon.runtime.oci import bundle as bundles
from kokon.runtime.oci import environment, groups, hooks, namespaces, privileges, streams, turn
from kokon.runtime.oci.agent import Agent
from kokon.runtime.oci.pid_file import write_pid
from kokon.runtime.oci.record import SOCKET, Record, start_of
from kokon.runtime.oci.refusal import refused
from kokon.runtime.spawn import REPORT_CREATED, Spawned, occupy_standard_numbers, spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from kokon.kernel.facts import HostFacts
    from kokon.plan.plan import Plan
    from kokon.runtime.spawn import Report
    from kokon.spec.runtime import Spec


class Creation:
    """What a caller of ``create`` may say.

    :param console_socket: path of the socket that gets the terminal's master; "" for none.
    :param pid_file: where the pid is written; "" for nowhere.
    :param preserved: descriptors from 3 on that the program gets.
    :param keeps_keyring: the program, and every later one, has its caller's session keyring.
    :param systemd: its control group is a scope of systemd.
    :param relays: the caller takes the terminal itself, from ``spawned``.
    :param beginnings: what may stand before the verb in later calls, which are saved then.
    :ivar spawned: the container's first process, when it is there.
    :ivar notes: sentences on what was done in another sense than it was asked.
    """

    __slots__ = (
        "beginnings", "console_socket", "keeps_keyring", "notes", "pid_file", "preserved", "relays",
        "spawned", "systemd",
    )  # fmt: skip

    def __init__(
        self,
        *,
        console_socket: str = "",
        pid_file: str = "",
        preserved: int = 0,
        keeps_keyring: bool = False,
        relays: bool = False,
        beginnings: tuple[tuple[str, ...], ...] = (),
        systemd: bool = False,
    ) -> None:
        self.console_socket = console_socket
        self.pid_file = pid_file
        self.preserved = preserved
        self.keeps_keyring = keeps_keyring
        self.relays = relays
        self.beginnings = beginnings
        self.systemd = systemd
        self.spawned: Spawned | None = None
        self.notes: tuple[str, ...] = ()


def create(root: str, identity: str, bundle: str, asked: Creation) -> Record:
    """Makes a container; it is the caller's child, and its record is locked.

    :param root: the runtime's directory.
    :raises KokonError: nothing is left of it.
    """
    occupy_standard_numbers()
    bundle = os.path.abspath(bundle)
    document = bundles.read(bundle)
    spec = bundles.parse(document, bundle)
    check_terminal(spec, asked)
    host = facts.current()
    bundles.compile_filter(spec, host)
    if spec.linux.mount_label or spec.process.selinux_label:
        from kokon.runtime.oci import labels

        labels.check(spec)
    record = Record.make(root, identity, _values(spec, identity, bundle))
    undo: list[Callable[[], object]] = [record.close, record.remove]
    closing: list[Callable[[], object]] = []
    try:
        # What exec needs is read from here: the bundle is the caller's.
        record.keep(bundles.CONFIG, document)
        return _create(record, spec, host, asked, undo, closing)
    except BaseException:
        for step in reversed(undo):
            try:
                step()
            except (OSError, KokonError):
                pass
        raise
    finally:
        for step in closing:
            step()


def check_terminal(spec: Spec, asked: Creation) -> None:
    """A terminal needs somebody who gets it.

    :raises OptionError: one is asked for and the other is not.
    """
    if spec.process.terminal and not asked.console_socket and not asked.relays:
        raise OptionError(
            "a terminal needs a socket that gets it", where="--console-socket",
            remedy="name one, or set /process/terminal to false",
        )  # fmt: skip
    if asked.console_socket and not spec.process.terminal:
        raise OptionError(
            "the process has no terminal", where="--console-socket",
            remedy="leave it out, or set /process/terminal to true",
        )  # fmt: skip


def _values(spec: Spec, identity: str, bundle: str) -> dict[str, Any]:
    import time

    from kokon.spec.oci.config import HOOKS

    return {
        "version": 1,
        "id": identity,
        "bundle": bundle,
        "rootfs": spec.root.path,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "owner": os.geteuid(),
        "annotations": dict(spec.annotations or {}),
        "hooks": HOOKS.dump(spec.hooks) if spec.hooks else {},
        "args": list(spec.process.args),
        "own_pids": any(n.type == "pid" and not n.path for n in spec.linux.namespaces),
    }


def _create(
    record: Record,
    spec: Spec,
    host: HostFacts,
    asked: Creation,
    undo: list[Callable[[], object]],
    closing: list[Callable[[], object]],
) -> Record:
    layout = cgroups.read_moved(host.cgroups)
    placement = groups.place(spec, record, host, layout, undo, systemd=asked.systemd)
    closing.append(placement.close)
    record.values["keyring"] = "kept" if asked.keeps_keyring else "optional"
    inherited = placement.descriptors
    given = namespaces.open_given(spec, closing)
    states = hooks.states(spec, closing)
    agent = Agent(spec)
    closing.append(agent.close)
    handed = {"start": _listener(record, closing), **given, **states, **agent.handed}
    root_facts = bundles.root_facts(spec, host)
    environment.complete_new(spec)
    notes = privileges.limit(spec, host)
    outside = turn.prepare(spec, record, states, undo, closing)
    plan = compile_container(
        spec,
        host,
        root_facts,
        Launch(
            parent_death=False,
            tasks=placement.tasks,
            cgroup_directory=placement.directory_fd is not None,
            admitted=placement.admit is not None,
            waits=True,
            hooks=outside is not None,
            keyring=record.values["keyring"],
            preserved=asked.preserved,
            maps_mounts=False,
            cgroup_mounts=bundles.cgroup_mounts(layout, placement.paths),
            owned=namespaces.owned(given),
            shared=namespaces.shared(spec, given),
            terminal_size=streams.terminal_size(spec),
            plain_newlines=bool(asked.console_socket),
        ),
    )
    check.check(plan)
    asked.notes = (*notes, *placement.notes, *plan.notes)
    inherited += [handed[name] for name in plan.inherited[len(inherited) :]]
    spawned = asked.spawned = Spawned()
    undo.append(spawned.end)

    turns = [] if placement.admit is None else [placement.admit]
    if outside is not None:
        turns.append(outside)
    for fd in range(3, 3 + asked.preserved):
        os.set_inheritable(fd, True)
    streams.give(spec)
    spawn(
        wire.encode(plan),
        inherited,
        (0, 1, 2),
        receives=spec.process.terminal,
        preserved=asked.preserved,
        turns=turns,
        init=spawned,
    )
    # For delete, should we be killed from here on.
    record.values.update(pid=spawned.pid, pid_start=start_of(spawned.pid))
    record.save()
    # The filter is loaded when it is started, before the program runs.
    agent.tell(spawned.pid, record.state("created"))
    if spec.process.terminal and spawned.await_terminal() and asked.console_socket:
        master, spawned.terminal = spawned.terminal, -1
        streams.send_terminal(master, asked.console_socket)
    failed = await_created(spawned)
    if failed is not None or not spawned.pid:
        raise refused(plan, failed, host)
    record.values.update(pid=spawned.pid, pid_start=start_of(spawned.pid), steps=_later(plan))
    if asked.pid_file:
        write_pid(asked.pid_file, spawned.pid)
    record.save()
    if asked.beginnings:
        from kokon.runtime.oci import calls

        calls.keep(record, host, spec.hooks, asked.beginnings)
    return record


def _later(plan: Plan) -> dict[str, list[str]]:
    """What is left for ``start``, in words: the number of a step, what it does, who asked, and the
    kind of op."""
    from kokon.plan.explain import sentence
    from kokon.plan.ops import AwaitStart

    ops = plan.ops
    first = next(at for at, op in enumerate(ops) if isinstance(op, AwaitStart)) + 1
    return {
        str(first + at): [sentence(op), op.why, type(op).__name__]
        for at, op in enumerate(ops[first:])
    }


def _listener(record: Record, closing: list[Callable[[], object]]) -> int:
    """The socket on which init waits; a file of the container's own directory (row S1)."""
    import _socket

    listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    # Through the descriptor: a path of a socket has 107 bytes at most.
    listener.bind(f"/proc/self/fd/{record.directory}/{SOCKET}")
    listener.listen(1)
    fd = listener.detach()
    closing.append(lambda: os.close(fd))
    return fd


def await_created(spawned: Spawned) -> Report | None:
    """Waits until the container waits; the report of the step that failed, if one did."""
    while not spawned.failed:
        report = spawned.read()
        if report is None or report.kind == REPORT_CREATED:
            break
    return spawned.failed
