"""Namespaces, what is mounted in them, and ids: findings (pure)."""

from __future__ import annotations

from errno import EINVAL, ENODEV, ENOSPC, EUSERS

from kokon.config.diagnosis.findings import MISSING, OK, PARTIAL, UNKNOWN, Finding, Machine
from kokon.plan import remedies

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.config.diagnosis.findings import Probe


def user_namespaces(machine: Machine) -> Finding:
    """Whether one can be made that gives rights, and who forbids it."""
    area, host = "user namespaces", machine.facts
    if machine.works("user"):
        found = "can be made"
        if host.restriction == "apparmor":
            found += "; AppArmor restricts them, but not for this program"
        return Finding(area, OK, found, needed=True)
    if not machine.works("memory"):
        return Finding(area, UNKNOWN, "not tried: init cannot be started", needed=True)
    found, remedy = _refused(machine)
    follows = "no container can be made with a user namespace of its own"
    if host.is_root:
        follows += "; with --userns host root can make others"
    return Finding(area, MISSING, found, follows, remedy, needed=True)


def _refused(machine: Machine) -> tuple[str, tuple[str, ...]]:
    """The cause, the surest first, and what mends it."""
    settings, probe = machine.settings, machine.probes["user"]
    if machine.unmapped:
        return (
            "our own ids are not mapped in the user namespace around us",
            ("unshare --user --map-root-user COMMAND  # in place of unshare --user",),
        )
    name, value = remedies.MOST_NAMESPACES
    if settings.get(name) == "0":
        return f"switched off: {name}=0", remedies.set_sysctl(name, value)
    name, value = remedies.UNPRIVILEGED
    if not machine.is_root and settings.get(name) == "0":
        return f"only for root: {name}=0", remedies.set_sysctl(name, value)
    name, _ = remedies.APPARMOR_RESTRICTION
    if not machine.is_root and settings.get(name) == "1":
        return (
            f"AppArmor gives no rights in them: {name}=1",
            remedies.apparmor_profile(machine.executable),
        )
    if probe.errno == ENOSPC:
        return (
            "no more can be made: user.max_user_namespaces is reached here or above",
            remedies.set_sysctl(*remedies.MOST_NAMESPACES),
        )
    if probe.errno == EUSERS:
        return "they are nested too deep (32 levels)", ("# run kokon outside of some of them",)
    if probe.errno == EINVAL:
        return (
            "this kernel has none",
            ("# use a kernel with CONFIG_USER_NS, as every distribution has",),
        )
    if machine.container or machine.filtered:
        return f"refused here: {probe.said}", remedies.around(machine.container)
    if machine.confined and machine.facts.security_module == "apparmor":
        return (
            f"refused, perhaps by our AppArmor profile {machine.label}: {probe.said}",
            ("sudo journalctl -k -g 'apparmor=.DENIED'  # what it has refused",),
        )
    if machine.enforcing:
        return (
            f"refused, perhaps by SELinux: {probe.said}",
            ("sudo ausearch -m avc -ts recent  # what it has refused",),
        )
    return f"refused: {probe.said}", _lines(probe)


def _lines(probe: Probe) -> tuple[str, ...]:
    return (f"# {probe.remedy}",) if probe.remedy else ()


def _untried(area: str, machine: Machine, name: str) -> Finding | None:
    """What could not be tried says for want of what."""
    probe = machine.probes.get(name)
    if not machine.works("user"):
        found = "not tried: it needs a user namespace"
    elif probe is not None and probe.step == "Clone":
        found = "not tried: it needs the namespaces"
    else:
        return None
    return Finding(area, UNKNOWN, found, needed=True)


LIMITS = {
    "mount": "mnt", "pid": "pid", "ipc": "ipc", "uts": "uts", "network": "net",
    "cgroup": "cgroup", "time": "time",
}  # fmt: skip
"""Namespaces to their name in user.max_*_namespaces (namespaces(7))."""


def namespaces(machine: Machine) -> Finding:
    """Those that every container has, and cgroup and time."""
    area = "namespaces"
    if unknown := _untried(area, machine, ""):
        return unknown
    refused = {
        name: probe
        for name in LIMITS
        if (probe := machine.probes.get(f"namespace {name}")) and not probe.works
    }
    if not refused:
        return Finding(area, OK, f"{', '.join(LIMITS)}", needed=True)
    remedy: list[str] = []
    for name, probe in refused.items():
        if probe.errno == ENOSPC:
            remedy += remedies.set_sysctl(f"user.max_{LIMITS[name]}_namespaces", 15000)
    if not remedy:
        remedy += (
            ("# use a kernel that has them, as every distribution's has",)
            if all(probe.errno == EINVAL for probe in refused.values())
            else remedies.around(machine.container)
        )
    optional = set(refused) <= {"cgroup", "time"}
    said = next(iter(refused.values())).said
    return Finding(
        area,
        PARTIAL if optional else MISSING,
        f"not {', '.join(refused)}: {said}",
        "they cannot be asked for" if optional else "a container cannot be made",
        tuple(remedy),
        needed=True,
    )


def loopback(machine: Machine) -> Finding:
    """A network of its own, with lo."""
    area = "network"
    if unknown := _untried(area, machine, "loopback"):
        return unknown
    probe = machine.probes["loopback"]
    if probe.works:
        return Finding(area, OK, "a network of its own, with its loopback up", needed=True)
    return Finding(
        area, MISSING, probe.said, "only --network host works", _from_around(machine, probe), True
    )


def proc(machine: Machine) -> Finding:
    """The two that show the container's own processes and network."""
    area = "proc and sysfs"
    for name, place, way in (("proc", "/proc", "pid"), ("sysfs", "/sys", "network")):
        if unknown := _untried(area, machine, name):
            return unknown
        probe = machine.probes[name]
        if not probe.works:
            found = probe.said
            if machine.container or not machine.facts.maps_all_ids:
                # The kernel gives no new one to who sees only parts of the old (EPERM).
                found += f" (parts of {place} are hidden around us)"
            return Finding(
                area, MISSING, found, f"only --{way} host works", _from_around(machine, probe), True
            )
    return Finding(area, OK, "can be mounted", needed=True)


def _from_around(machine: Machine, probe: Probe) -> tuple[str, ...]:
    """What mends a refusal that comes from a container around us, if there is one."""
    inside = machine.container or machine.filtered or not machine.facts.maps_all_ids
    return remedies.around(machine.container) if inside else _lines(probe)


def filesystems(machine: Machine) -> Finding:
    """What /dev and /tmp are made of."""
    area = "file systems"
    if unknown := _untried(area, machine, "filesystems"):
        return unknown
    probe = machine.probes["filesystems"]
    if probe.works:
        return Finding(area, OK, "tmpfs, devpts and mqueue can be mounted", needed=True)
    return Finding(area, MISSING, probe.said, "a container cannot be made", _lines(probe), True)


def overlay(machine: Machine) -> Finding:
    """What a directory or tarball needs for writes that are dropped."""
    area = "overlay"
    if unknown := _untried(area, machine, "overlay"):
        return unknown
    probe = machine.probes["overlay"]
    if probe.works:
        return Finding(area, OK, "can be mounted", needed=True)
    remedy = _lines(probe)
    if probe.errno == ENODEV:
        remedy = (
            "sudo modprobe overlay",
            "echo overlay | sudo tee /etc/modules-load.d/overlay.conf  # after a restart too",
        )
    return Finding(
        area, MISSING, probe.said,
        "a directory or tarball runs with --rw or --read-only only; @host and @python run",
        remedy, needed=True,
    )  # fmt: skip


def idmapped_mounts(machine: Machine) -> Finding:
    """How files keep their owners under root's ranges of ids."""
    area, host = "id-mapped mounts", machine.facts
    probe = machine.probes.get("idmap")
    if not host.is_root or probe is None:
        return Finding(area, OK, "not needed: only root maps the owners of files")
    if not machine.works("user"):
        return Finding(area, UNKNOWN, "not tried: it needs a user namespace")
    on = f"the store's {machine.store_filesystem}"
    if probe.works and host.kernel < (5, 19):
        return Finding(
            area, PARTIAL, f"{on} can map ids, but not as layers of an overlay (Linux 5.19)",
            "roots are copied for each run, which takes longer",
            ("# use a newer kernel, or --userns host",),
        )  # fmt: skip
    if probe.works:
        tmpfs = "" if host.kernel >= (6, 3) else "; a tmpfs cannot (Linux 6.3)"
        return Finding(area, OK, f"{on} can map ids{tmpfs}")
    return Finding(
        area, PARTIAL, f"{on} cannot map ids: {probe.said}",
        "roots there are copied for each run, which takes longer; volumes there need --userns host",
        ("export KOKON_STORE=/srv/kokon  # a directory on ext4, xfs or btrfs",),
    )  # fmt: skip


def subordinate_ids(machine: Machine) -> Finding:
    """The ids that a user may give to a container (subuid(5))."""
    area, host = "subordinate ids", machine.facts
    if machine.is_root:
        found = "not needed: root takes ranges of its own"
        if not host.maps_all_ids:
            found = "not needed: root of a user namespace gives on the ids it has"
        return Finding(area, OK, found)
    if machine.unmapped:
        return Finding(area, UNKNOWN, "not judged: our own ids are not mapped here")
    have = [f"/etc/sub{kind}" for kind, is_there in zip(("uid", "gid"), machine.subordinate,
                                                        strict=True) if is_there]  # fmt: skip
    if len(have) == 2:
        uids = sum(count for _, count in host.subordinate_uids)
        return Finding(area, OK, f"{uids} for us" if uids else "there are some for us")
    found = f"only {have[0]} has a line for us" if have else "neither file has a line for us"
    return Finding(
        area, PARTIAL, f"{found} (/etc/subuid, /etc/subgid)",
        "a container has one id: no other --user, and files of a tarball lose their owners",
        remedies.subordinate_ids(machine.user, host.uid, machine.free_ids),
    )  # fmt: skip


def newuidmap(machine: Machine) -> Finding:
    """The helpers that map subordinate ids (newuidmap(1))."""
    area, helpers = "newuidmap", machine.helpers
    if machine.is_root:
        return Finding(area, OK, "not needed: root maps ids itself")
    if machine.unmapped:
        return Finding(area, UNKNOWN, "not judged: our own ids are not mapped here")
    follows = "a container has one id, and subordinate ids are of no use"
    if len(helpers) < 2:
        missing = " and ".join(sorted({"newuidmap", "newgidmap"} - {*map(_name, helpers)}))
        return Finding(
            area, PARTIAL, f"{missing} not found", follows, remedies.newuidmap(machine.distribution)
        )
    probe = machine.probes.get("newuidmap")
    if probe and probe.works:
        return Finding(area, OK, f"{', '.join(sorted(helpers))}: they map our ids")
    # Where there are ids, a run calls the helpers, and fails with them.
    used = probe is not None
    if used:
        follows = "no container can be made: a run asks them for our subordinate ids"
    plain = sorted(path for path, how in helpers.items() if how in ("plain", "nosuid"))
    if machine.no_new_privileges:
        found = "set-uid programs have no effect: no_new_privs is set around us"
        remedy: tuple[str, ...] = ("# start it without (systemd: NoNewPrivileges=no)",)
    elif any(helpers[path] == "nosuid" for path in plain):
        found = f"{plain[0]} is on a mount with nosuid"
        remedy = (f'sudo mount -o remount,suid "$(findmnt -no TARGET -T {plain[0]})"',)
    elif plain:
        found = f"{' and '.join(plain)} not set-uid root"
        remedy = (f"sudo chown root:root {' '.join(plain)} && sudo chmod 4755 {' '.join(plain)}",)
    elif used and machine.works("user"):
        assert probe is not None
        found, remedy = probe.said, _lines(probe)
    elif used:
        return Finding(area, UNKNOWN, "not tried: it needs a user namespace")
    else:
        return Finding(area, OK, f"{', '.join(sorted(helpers))}")
    return Finding(area, MISSING if used else PARTIAL, found, follows, remedy, needed=used)


def _name(path: str) -> str:
    return path.rpartition("/")[2]
