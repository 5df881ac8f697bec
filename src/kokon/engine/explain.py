"""``explain`` of a prepared run: its plan, and its control groups, which are no part of that."""

from __future__ import annotations

import os

from kokon.errors import OptionError
from kokon.plan import explain, shell
from kokon.plan.provenance import asked_by

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from kokon.cgroup.group import Group
    from kokon.cgroup.manager import Manager
    from kokon.cgroup.write import Write
    from kokon.engine.prepared import Prepared


def text(prepared: Prepared) -> str:
    """What is written to control groups, then the steps, each with who asked for it."""
    asked = prepared.configuration.asked
    lines = []
    for directory, writes in written(prepared):
        lines.append(f"Before that, the control group {directory}:\n")
        for file, value, why in writes:
            lines.append(f"      write {value} to {file}  [{asked_by(why, asked)}]\n")
    return "".join(lines) + explain.text(prepared.plan, asked)


def values(prepared: Prepared) -> dict[str, Any]:
    """The same as plain values for JSON."""
    asked = prepared.configuration.asked
    return {
        "control_groups": [
            {
                "directory": directory,
                "writes": [
                    {"file": file, "value": value, "why": asked_by(why, asked)}
                    for file, value, why in writes
                ],
            }
            for directory, writes in written(prepared)
        ],
        "steps": explain.steps(prepared.plan, asked),
    }


def script(prepared: Prepared) -> str:
    """The script that does what a run would do; encode it with ``surrogateescape``.

    :param prepared: a run that is not started; it is to be closed before the script runs, which
        makes the same control groups anew.
    """
    configuration = prepared.configuration
    if "namespaces" in prepared.without:
        raise OptionError(
            "without namespaces nothing would hold the program: no tool sets Landlock's rules",
            where="--format shell",
            remedy="leave --level out",
        )
    return shell.script(
        prepared.plan, configuration.spec, configuration.asked, _control_groups(prepared)
    )


def written(prepared: Prepared) -> list[tuple[str, tuple[tuple[str, str, str], ...]]]:
    """Each control group, and (file, value, why) of what is written to it."""
    groups = [(group.directory, group.writes) for group in _control_groups(prepared)]
    limits = _limits(prepared)
    if limits and not groups:
        rows = tuple((write.file, write.value, write.why) for write in limits[1])
        return [("that systemd makes for it", rows)]
    return groups


def _limits(prepared: Prepared) -> tuple[Manager, tuple[Write, ...]] | None:
    """Who makes the control groups, and the limits in them; None without limits."""
    manager, resources = prepared.limits.manager, prepared.configuration.spec.linux.resources
    if manager is None or resources is None:
        return None
    from kokon.cgroup import tables

    return manager, tables.writes(resources, manager.layout, prepared.configuration.asked)


def _control_groups(prepared: Prepared) -> tuple[shell.ControlGroup, ...]:
    """The control groups of a prepared run; none where systemd makes them later."""
    limits = _limits(prepared)
    if limits is None:
        return ()
    manager, writes = limits
    made = {group.path: (key, group) for key, group in reversed(manager.groups.items())}
    return tuple(
        _control_group(prepared, key, group, writes) for key, group in reversed(made.values())
    )


def _control_group(
    prepared: Prepared, key: str, group: Group, writes: tuple[Write, ...]
) -> shell.ControlGroup:
    """One group with the writes of its hierarchy, each in the first of its files that is there."""
    name = group.path.rpartition("/")[2]
    if group.version == 1:
        tree = prepared.host.cgroups.of(key)
        controllers = tree.controllers if tree else ()
        first = [(file, _read(f"{group.path}/{file}"), "/linux/resources/cpu")
                 for file in ("cpuset.cpus", "cpuset.mems") if "cpuset" in controllers]  # fmt: skip
        directory, handed = group.path, f"tasks:{key}"
    else:
        # kokon has a group of its own above it, which is removed with its last container.
        directory = (group.made[0] if group.made else group.path).rpartition("/")[0] + f"/{name}"
        needed = [write.controller for write in writes if write.controller in _given(group)]
        words = " ".join(f"+{word}" for word in dict.fromkeys(needed))
        first = [("../cgroup.subtree_control", words, "/linux/resources")] if words else []
        controllers, handed = (*_given(group), "cgroup"), "cgroup"
    for write in writes:
        if write.controller in controllers:
            for file, value in ((write.file, write.value), *write.alternatives):
                if os.path.exists(f"{group.path}/{file}"):
                    first.append((file, value, write.why))
                    break
    return shell.ControlGroup(handed, directory, first)


def _given(group: Group) -> tuple[str, ...]:
    return tuple((group.read("cgroup.controllers") or "").split())


def _read(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read().strip()
