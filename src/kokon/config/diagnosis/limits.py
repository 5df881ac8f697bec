"""Control groups, and who may have limits: findings (pure)."""

from __future__ import annotations

from errno import EBUSY

from kokon.config.diagnosis.findings import MISSING, OK, PARTIAL, UNKNOWN, Finding, Machine, Probe
from kokon.plan import remedies

LIMITS = {"memory": "--memory", "pids": "--pids-limit", "cpu": "--cpus"}
"""The limits that people ask for, by controller."""

V2 = "systemd.unified_cgroup_hierarchy=1"


def control_groups(machine: Machine) -> Finding:
    """Which hierarchies there are."""
    area, layout = "control groups", machine.facts.cgroups
    if layout.mode == "none":
        inside = machine.container or not machine.facts.maps_all_ids
        return Finding(
            area, PARTIAL, "none are mounted", "a run with limits is refused",
            _writable_around(machine.container) if inside
            else ("sudo mount -t cgroup2 cgroup2 /sys/fs/cgroup",),
        )  # fmt: skip
    names = {
        "v1": "version 1",
        "v2": "version 2",
        "hybrid": "version 1, and a version 2 tree beside it",
    }
    controllers = sorted({
        controller
        for tree in layout.hierarchies
        for controller in tree.controllers
        if not controller.startswith("name=")
    })  # fmt: skip
    return Finding(area, OK, f"{names[layout.mode]}: {', '.join(controllers) or 'no controllers'}")


def limits(machine: Machine) -> Finding:
    """Which limits can be set by us, here; each was tried in a run."""
    area = "limits"
    whole = machine.probes.get("limits")
    if whole and whole.works:
        return Finding(area, OK, f"{', '.join(LIMITS.values())}: they hold")
    if not machine.works("run @host"):
        return Finding(area, UNKNOWN, "not tried: no run works, see below")
    have = [word for name, word in LIMITS.items() if machine.works(f"limit {name}")]
    lack = [word for word in LIMITS.values() if word not in have]
    refused = next(
        (
            probe
            for name in LIMITS
            if (probe := machine.probes.get(f"limit {name}")) and not probe.works
        ),
        whole,
    )
    found = f"not {', '.join(lack)}"
    if refused and refused.said:
        found += f": {refused.said}"
    return Finding(
        area,
        PARTIAL if have else MISSING,
        found,
        "a run with them is refused, or takes --limits best-effort: limits of each process only",
        _delegation(machine, refused or Probe(False)),
    )


def _delegation(machine: Machine, refused: Probe) -> tuple[str, ...]:
    """How such a user gets control groups on such a machine."""
    host = machine.facts
    said = (f"# {refused.remedy}",) if refused.remedy else ()
    if machine.cgroups_read_only:
        return (
            *_writable_around(machine.container),
            "# or leave limits to what is around kokon",
        )
    if host.cgroups.mode == "none":
        return ()  # the finding above has the line
    tree = host.cgroups.unified
    if tree and host.cgroups.mode == "v2" and refused.errno == EBUSY:
        return remedies.empty_group(tree.mount_point)
    if machine.is_root and host.maps_all_ids:
        return said
    if host.cgroups.mode in ("v1", "hybrid"):
        if machine.container or not machine.systemd:
            return ("# run kokon as root, or on a machine with control groups of version 2",)
        return remedies.kernel_argument(machine.distribution, V2)
    if not machine.systemd:
        return said
    if not machine.manager:
        return remedies.linger(machine.name)
    if not machine.bus:
        return remedies.bus(machine.distribution)
    if not machine.jeepney:
        return ("python3 -m pip install jeepney",)
    if machine.delegated is not None and not set(LIMITS) <= set(machine.delegated):
        return remedies.DELEGATE
    return said


def _writable_around(container: str) -> tuple[str, ...]:
    if container == "docker":
        return ("docker run --privileged IMAGE  # /sys/fs/cgroup can be written there",)
    if container == "podman":
        return ("podman run --security-opt unmask=/sys/fs/cgroup IMAGE",)
    return ("# have /sys/fs/cgroup mounted read-write around kokon",)
