"""The control groups of ``linux.cgroupsPath`` and ``linux.resources`` (config-linux.md)."""

from __future__ import annotations

import os
from errno import EEXIST

from kokon.cgroup.group import DELEGATION
from kokon.cgroup.manager import Manager
from kokon.cgroup.tables import EVERY, group_path
from kokon.cgroup.usage import UNIFIED
from kokon.errors import HostError
from kokon.runtime.oci.record import NOTED
from kokon.security import devices
from kokon.spec.resources import Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kokon.cgroup.manager import Placement
    from kokon.kernel.cgroups import CgroupLayout
    from kokon.kernel.facts import HostFacts
    from kokon.runtime.oci.record import Record
    from kokon.spec.resources import DeviceRule
    from kokon.spec.runtime import Spec


def place(
    spec: Spec,
    record: Record,
    host: HostFacts,
    layout: CgroupLayout,
    undo: list[Callable[[], object]],
    *,
    systemd: bool = False,
) -> Placement:
    """The control groups of ``linux.cgroupsPath``, or below our own.

    Where they will be is noted before they are made, for whoever deletes what we leave when we
    are killed.

    :param systemd: the path names a scope of systemd.
    :raises KokonError: they cannot be made, or are in use.
    """
    resources, rules = spec.linux.resources or Resources(), None
    if host.uid or not host.maps_all_ids:
        # Only the machine's root may; others open no node that their user may not open anyway.
        resources.devices = None
    elif layout.of("devices"):
        resources.devices = devices.rules(resources.devices or ())
    else:
        rules, resources.devices = devices.rules(resources.devices or ()), None
    if systemd:
        placement = _scope(spec, record, host, layout, resources, rules or (), undo)
    else:
        placement = _groups(spec, record, layout, resources, undo)
        _attach_rules(placement, rules or ())
    record.values["groups"] = placement.paths
    return placement


def _groups(
    spec: Spec,
    record: Record,
    layout: CgroupLayout,
    resources: Resources,
    undo: list[Callable[[], object]],
) -> Placement:
    parent, name = None, f"kokon-{record.identity}"
    if path := spec.linux.cgroups_path:
        *above, name = group_path(path)
        parent = "/" + "/".join(above)
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
    except HostError as error:
        if error.errno == EEXIST:
            error.where = "/linux/cgroupsPath" if path else record.identity
        if error.remedy == DELEGATION:
            error.remedy = "have the engine use systemd's groups, or one that is delegated to you"
        raise
    finally:
        os.close(noted)
    undo.append(manager.remove)
    return placement


def _scope(
    spec: Spec,
    record: Record,
    host: HostFacts,
    layout: CgroupLayout,
    resources: Resources,
    rules: Sequence[DeviceRule],
    undo: list[Callable[[], object]],
) -> Placement:
    from kokon.cgroup.scope import Scope

    scope = Scope.named(layout, spec.linux.cgroups_path, record.identity, _machine_uid(host))
    # The programs of a group and of those above it must all allow a device: neither does systemd
    # take ours away, nor would rules of its own (DeviceAllow) open anything.
    placement = scope.place(resources, lambda: _attach_rules(placement, rules))
    record.values.update(groups=placement.paths, scope=scope.uid)
    record.save()
    undo.append(scope.remove)
    return placement


def _machine_uid(host: HostFacts) -> int:
    """Our number on the machine, which systemd and its bus know us by; also from within a user
    namespace, as under rootless Podman."""
    for inside, outside, count in host.uid_map:
        if inside <= host.uid < inside + count:
            return outside + host.uid - inside
    return host.uid


def _attach_rules(placement: Placement, rules: Sequence[DeviceRule]) -> None:
    """Device rules on version 2, if there are any, before the container's first process is there.

    :raises HostError: there is no such group, or we have no right to.
    """
    from kokon.kernel.bpf import attach_device_program
    from kokon.security.device_program import device_program

    if not rules:
        return
    where, path = "/linux/resources/devices", placement.paths.get(UNIFIED)
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
