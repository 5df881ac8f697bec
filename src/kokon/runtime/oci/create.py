"""``create``: a container is made from a bundle, and waits to be started (runtime.md)."""

from __future__ import annotations

import os

from kokon.compile.container import compile_container
from kokon.compile.inputs import Launch
from kokon.errors import HostError, KokonError, OptionError
from kokon.kernel import cgroups, facts
from kokon.plan import check, wire
from kokon.runtime.oci import bundle as bundles
from kokon.runtime.oci import environment, hooks, privileges
from kokon.runtime.oci.record import NOTED, SOCKET, Record, start_of
from kokon.runtime.oci.start import cannot_execute
from kokon.runtime.spawn import REPORT_CREATED, Spawned, occupy_standard_numbers, spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from kokon.cgroup.manager import Placement
    from kokon.kernel.facts import HostFacts
    from kokon.plan.plan import Plan
    from kokon.runtime.spawn import Report
    from kokon.spec.resources import DeviceRule
    from kokon.spec.runtime import Spec


class Creation:
    """What a caller of ``create`` may say.

    :param console_socket: path of the socket that gets the terminal's master; "" for none.
    :param pid_file: where the pid is written; "" for nowhere.
    :param preserved: descriptors from 3 on that the program gets.
    :param systemd: control groups are asked of systemd.
    :param relays: the caller takes the terminal itself, from ``spawned``.
    :ivar spawned: the container's first process, when it is there.
    :ivar notes: sentences on what was done in another sense than it was asked.
    """

    __slots__ = (
        "console_socket", "keyring", "notes", "pid_file", "preserved", "relays", "spawned",
        "systemd",
    )  # fmt: skip

    def __init__(
        self,
        *,
        console_socket: str = "",
        pid_file: str = "",
        preserved: int = 0,
        systemd: bool = False,
        keyring: bool = True,
        relays: bool = False,
    ) -> None:
        self.console_socket = console_socket
        self.pid_file = pid_file
        self.preserved = preserved
        self.systemd = systemd
        self.keyring = keyring
        self.relays = relays
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
    placement = place(spec, record, host, layout, undo)
    closing.append(placement.close)
    record.values["groups"] = placement.paths
    inherited = inherited_groups(placement)
    for at, namespace in enumerate(spec.linux.namespaces):
        if namespace.path:
            check_namespace(namespace.path, namespace.type, f"/linux/namespaces/{at}/path")
    states = hooks.states(spec, closing)
    handed = {"start": _listener(record, closing), **_namespaces(spec, closing), **states}
    root_facts = bundles.root_facts(spec, host)
    _complete(spec)
    notes = privileges.limit(spec, host)
    hooked = bool(states or (spec.hooks and (spec.hooks.prestart or spec.hooks.create_runtime)))
    plan = compile_container(
        spec,
        host,
        root_facts,
        Launch(
            parent_death=False,
            tasks=distinct_tasks(placement),
            cgroup_directory=placement.directory_fd is not None,
            waits=True,
            hooks=hooked,
            preserved=asked.preserved,
            maps_mounts=False,
            cgroup_mounts=bundles.cgroup_mounts(layout, placement.paths),
            owned=_owned(handed),
            terminal_size=terminal_size(spec),
            plain_newlines=bool(asked.console_socket),
        ),
    )
    check.check(plan)
    asked.notes = (*notes, *placement.notes, *plan.notes)
    inherited += [handed[name] for name in plan.inherited[len(inherited) :]]
    spawned = asked.spawned = Spawned()
    undo.append(spawned.end)

    def call_hooks(pid: int) -> None:
        record.values.update(pid=pid, pid_start=start_of(pid))
        state = record.state("creating")
        hooks.tell(states, record)
        assert spec.hooks is not None
        hooks.run("prestart", spec.hooks.prestart, state)
        hooks.run("createRuntime", spec.hooks.create_runtime, state)

    for fd in range(3, 3 + asked.preserved):
        os.set_inheritable(fd, True)
    spawn(
        wire.encode(plan),
        inherited,
        (0, 1, 2),
        receives=spec.process.terminal,
        preserved=asked.preserved,
        turns=[call_hooks] if hooked else [],
        init=spawned,
    )
    # For delete, should we be killed from here on.
    record.values.update(pid=spawned.pid, pid_start=start_of(spawned.pid))
    record.save()
    if spec.process.terminal and spawned.await_terminal() and asked.console_socket:
        send_terminal(spawned.terminal, asked.console_socket)
    failed = await_created(spawned)
    if failed is not None or not spawned.pid:
        raise refused(plan, failed, host)
    record.values.update(pid=spawned.pid, pid_start=start_of(spawned.pid), steps=_later(plan))
    if asked.pid_file:
        write_pid(asked.pid_file, spawned.pid)
    record.save()
    return record


def _later(plan: Plan) -> dict[str, list[str]]:
    """What is left for ``start``, in words: the number of a step, what it does, who asked."""
    from kokon.plan.explain import sentence
    from kokon.plan.ops import AwaitStart

    ops = plan.ops
    first = next(at for at, op in enumerate(ops) if isinstance(op, AwaitStart)) + 1
    return {str(at): [sentence(ops[at]), ops[at].why] for at in range(first, len(ops))}


def place(
    spec: Spec,
    record: Record,
    host: HostFacts,
    layout: cgroups.CgroupLayout,
    undo: list[Callable[[], object]],
) -> Placement:
    """The control groups of ``linux.cgroupsPath``, or below our own.

    Where they will be is noted before they are made, for whoever deletes what we leave when we
    are killed.

    :raises KokonError: they cannot be made, or are in use.
    """
    from kokon.cgroup.manager import Manager
    from kokon.cgroup.tables import EVERY, group_path
    from kokon.security import devices
    from kokon.spec.resources import Resources

    parent, name = None, f"kokon-{record.identity}"
    path = spec.linux.cgroups_path
    if path:
        *above, name = group_path(path)
        parent = "/" + "/".join(above)
    resources, rules = spec.linux.resources or Resources(), None
    if host.uid or not host.maps_all_ids:
        # Only the machine's root may; others open no node that their user may not open anyway.
        resources.devices = None
    elif layout.of("devices"):
        resources.devices = devices.rules(resources.devices or ())
    else:
        rules, resources.devices = devices.rules(resources.devices or ()), None
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    noted = os.open(NOTED, flags, 0o600, dir_fd=record.directory)

    def note(directory: str) -> None:
        # With a slash at its end it is one that others may use too.
        if not directory.endswith("/"):
            os.write(noted, f"{directory}/{name}\n".encode())

    manager = Manager.for_host(layout, name=name, parent=parent, note=note)
    try:
        # Engines look into each hierarchy, by /proc/PID/cgroup.
        placement = manager.create(resources, account=(EVERY,))
    finally:
        os.close(noted)
    undo.append(manager.remove)
    if rules and facts.current().maps_all_ids:
        _attach_rules(placement, rules)
    return placement


def _attach_rules(placement: Placement, rules: Sequence[DeviceRule]) -> None:
    """Device rules on version 2, before the container's first process is there.

    :raises HostError: there is no such group, or we have no right to.
    """
    from kokon.kernel.bpf import attach_device_program
    from kokon.security.device_program import device_program

    where, path = "/linux/resources/devices", placement.paths.get("unified")
    if path is None:
        raise HostError("there is neither a devices controller nor control groups v2", where=where)
    group = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        attach_device_program(group, device_program(rules))
    except OSError as error:
        raise HostError(
            "the program of device rules is refused", where=where, errno=error.errno or 0,
            remedy="it needs CAP_SYS_ADMIN on the machine, and a kernel with CONFIG_CGROUP_BPF",
        ) from error  # fmt: skip
    finally:
        os.close(group)


def inherited_groups(placement: Placement) -> list[int]:
    """Descriptors of the groups, in the order of the plan's slots."""
    first = [] if placement.directory_fd is None else [placement.directory_fd]
    return [*first, *placement.tasks_fds]


def distinct_tasks(placement: Placement) -> tuple[str, ...]:
    """The controllers whose groups have to be joined; those mounted together once."""
    seen: dict[str, str] = {}
    for key, path in placement.paths.items():
        if key != "unified":
            seen.setdefault(path, key)
    return tuple(seen.values())


def check_namespace(path: str, kind: str, where: str) -> None:
    """A path is a namespace of its kind.

    :raises KokonError: it is not.
    """
    from kokon.errors import SpecError

    names = {"network": "net", "mount": "mnt"}
    try:
        # A bind of /proc/PID/ns/net has the link's own name for it.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise SpecError(
            f"the namespace {path} cannot be opened", where=where, errno=error.errno or 0
        ) from error
    try:
        found = os.readlink(f"/proc/self/fd/{fd}")
        word = names.get(kind, kind)
        known = found.startswith(f"{word}:[") or _kind_of(fd) == word
    finally:
        os.close(fd)
    if not known:
        raise SpecError(f"{path} is no {kind} namespace", where=where)


NS_GET_NSTYPE = 0xB703


def _kind_of(fd: int) -> str:
    from fcntl import ioctl

    from kokon.kernel.constants import NAMESPACES

    try:
        kind = ioctl(fd, NS_GET_NSTYPE)
    except OSError:
        return ""
    names = {"network": "net", "mount": "mnt"}
    return next((names.get(n, n) for n, flag in NAMESPACES.items() if flag == kind), "")


def _namespaces(spec: Spec, closing: list[Callable[[], object]]) -> dict[str, int]:
    """Given namespaces, opened, by what the plan calls them."""
    opened = {}
    for each in spec.linux.namespaces:
        if each.path:
            fd = opened[f"namespace:{each.type}"] = os.open(each.path, os.O_RDONLY | os.O_CLOEXEC)
            closing.append(lambda fd=fd: os.close(fd))  # type: ignore[misc]
    return opened


NS_GET_USERNS = 0xB701


def _owned(handed: Mapping[str, int]) -> tuple[str, ...]:
    """Kinds of given namespaces that the given user namespace owns (ioctl_ns(2))."""
    if "namespace:user" not in handed:
        return ()
    from fcntl import ioctl

    user = os.fstat(handed["namespace:user"]).st_ino
    owned = []
    for name, fd in handed.items():
        if name.startswith("namespace:") and name != "namespace:user":
            try:
                owner = ioctl(fd, NS_GET_USERNS)
            except PermissionError:
                continue  # it is of a namespace above ours
            if os.fstat(owner).st_ino == user:
                owned.append(name.partition(":")[2])
            os.close(owner)
    return tuple(owned)


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


def _complete(spec: Spec) -> None:
    root = os.open(spec.root.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        environment.complete(spec.process, root)
    finally:
        os.close(root)


def terminal_size(spec: Spec) -> tuple[int, int]:
    """Rows and columns, where the document says."""
    size = spec.process.console_size
    return (size.height, size.width) if size else (0, 0)


def await_created(spawned: Spawned) -> Report | None:
    """Waits until the container waits; the report of the step that failed, if one did."""
    while not spawned.failed:
        report = spawned.read()
        if report is None or report.kind == REPORT_CREATED:
            break
    return spawned.failed


def refused(plan: Plan, failed: Report | None, host: HostFacts) -> KokonError:
    """The error of a container that could not be made."""
    from kokon.plan.ops import Execute, FindProgram
    from kokon.runtime.failure import failure

    if failed is None:
        return HostError(
            "init was ended before it could report",
            remedy="see the kernel's log (dmesg): memory may have run out",
        )
    last = plan.ops[-1]
    if isinstance(plan.ops[failed.op], FindProgram) and isinstance(last, Execute):
        return cannot_execute(last.arguments[0] or "", failed.error, failed.detail, "")
    return failure(plan, failed, host, {})


def send_terminal(master: int, path: str) -> None:
    """Hands the terminal's master to whoever listens (runC's ``--console-socket``).

    :raises OptionError: nobody does.
    """
    import _socket

    channel = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        channel.connect(path)
        rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, master.to_bytes(4, "little"))
        channel.sendmsg([b"/dev/ptmx"], [rights])
    except OSError as error:
        raise OptionError(
            f"nobody takes the terminal at {path}", where="--console-socket",
            errno=error.errno or 0,
        ) from error  # fmt: skip
    finally:
        channel.close()
        os.close(master)


def write_pid(path: str, pid: int) -> None:
    """Writes a pid file in one step; its directory is the caller's business."""
    new = f"{path}.{os.getpid()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(new, flags, 0o644)
    try:
        os.write(fd, str(pid).encode())
    finally:
        os.close(fd)
    os.rename(new, path)
