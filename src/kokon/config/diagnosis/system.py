"""The kernel, what is around us, what guards it, and whole runs: findings (pure)."""

from __future__ import annotations

from errno import EACCES, ENOSYS, EOPNOTSUPP, EPERM

from kokon.config.diagnosis.findings import MISSING, OK, PARTIAL, UNKNOWN, Finding, Machine
from kokon.plan import remedies

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.config.diagnosis.findings import Probe

FLOOR = (5, 14)
ARCHITECTURES = ("x86_64", "aarch64")
FEWEST_FILES = 300
"""Descriptors that a start may need: init's numbers begin at 200."""


def kernel(machine: Machine) -> Finding:
    """Its version and architecture."""
    host = machine.facts
    found = f"Linux {host.kernel[0]}.{host.kernel[1]} on {host.architecture}"
    if host.kernel < FLOOR:
        return Finding(
            "kernel", MISSING, found, "steps of every run are refused: kokon needs Linux 5.14",
            ("# use a newer release: Debian 12, Ubuntu 22.04 and RHEL 9 have it",), needed=True,
        )  # fmt: skip
    if host.architecture not in ARCHITECTURES:
        return Finding(
            "kernel", MISSING, found, "kokon's init is not built for it",
            (f"# use a machine of {' or '.join(ARCHITECTURES)}",), needed=True,
        )  # fmt: skip
    return Finding("kernel", OK, found, needed=True)


def container(machine: Machine) -> Finding:
    """What is around us already."""
    host, parts = machine.facts, []
    if machine.container:
        parts.append(f"in a container ({machine.container})")
    if not host.maps_all_ids:
        parts.append("in a user namespace")
    if machine.filtered:
        parts.append("under a system call filter")
    if machine.no_new_privileges:
        parts.append("with no_new_privs")
    if host.process_1:
        parts.append("as process 1")
    if not parts:
        return Finding("around kokon", OK, "nothing: neither container nor filter")
    return Finding(
        "around kokon", OK, ", ".join(parts), "what is refused there is refused to kokon too"
    )


def programs_in_memory(machine: Machine) -> Finding:
    """Whether init can be executed from a sealed memfd."""
    area, probe = "programs in memory", machine.probes.get("memory")
    if probe is None or probe.works:
        return Finding(area, OK, "can be executed", needed=True)
    found, remedy = probe.said, _lines(probe)
    if machine.settings.get("vm.memfd_noexec") == "2":
        found, remedy = "vm.memfd_noexec=2", remedies.set_sysctl("vm.memfd_noexec", 1)
    elif probe.errno in (EACCES, EPERM) and machine.confined:
        found = f"refused, perhaps by our {machine.facts.security_module} label {machine.label}"
        remedy = (f"# allow {machine.label} to execute /memfd:kokon-init",)
    return Finding(area, MISSING, found, "kokon's init cannot be started", remedy, needed=True)


def open_files(machine: Machine) -> Finding:
    """The soft limit of descriptors of this process."""
    found = f"{machine.open_files} may be open"
    if machine.open_files >= FEWEST_FILES:
        return Finding("open files", OK, found, needed=True)
    return Finding(
        "open files", PARTIAL if machine.works("run @host") else MISSING, found,
        "a start may not have the descriptors that it needs", ("ulimit -n 1024",), needed=True,
    )  # fmt: skip


def seccomp(machine: Machine) -> Finding:
    """Whether a filter can be loaded."""
    area, probe = "seccomp", machine.probes.get("seccomp")
    if probe is None or not machine.works("memory"):
        return Finding(area, UNKNOWN, "not tried: init cannot be started", needed=True)
    if probe.works:
        return Finding(area, OK, "filters can be loaded", needed=True)
    return Finding(
        area, MISSING, probe.said, "no container can be made",
        ("# use a kernel with CONFIG_SECCOMP_FILTER, as every distribution has",), needed=True,
    )  # fmt: skip


def landlock(machine: Machine) -> Finding:
    """Rules of a process for itself (landlock(7)): a second wall, and one without namespaces."""
    area, version = "Landlock", machine.landlock
    if version > 0:
        return Finding(area, OK, f"version {version}")
    follows = "there is no such wall, neither a second one nor one in place of namespaces"
    if version == -EOPNOTSUPP:
        modules = machine.settings.get("lsm", "")
        argument = f"lsm=landlock,{modules}" if modules else "lsm=landlock"
        return Finding(
            area, PARTIAL, "switched off when the machine was started", follows,
            remedies.kernel_argument(machine.distribution, argument),
        )  # fmt: skip
    if version == -ENOSYS:
        remedy: tuple[str, ...] = ("# use a kernel with CONFIG_SECURITY_LANDLOCK",)
        if machine.filtered:
            remedy = (*remedies.around(machine.container), *remedy)
        return Finding(area, PARTIAL, "this kernel does not have it", follows, remedy)
    return Finding(area, PARTIAL, f"refused (errno {-version})", follows,
                   remedies.around(machine.container))  # fmt: skip


def security_module(machine: Machine) -> Finding:
    """AppArmor and SELinux, and what they make of us."""
    area, kind = "security module", machine.facts.security_module
    works = machine.works("run @host")
    if kind == "apparmor":
        return Finding(area, OK, f"AppArmor; kokon is {machine.label or 'unconfined'}")
    if kind == "selinux":
        mode = "enforces" if machine.enforcing else "only notes"
        found = f"SELinux {mode}; kokon is {machine.label or 'without a label'}"
        if machine.enforcing and not works:
            return Finding(
                area, PARTIAL, found, "it may be what refuses the run below",
                ("sudo ausearch -m avc -ts recent  # what it has refused",),
            )  # fmt: skip
        return Finding(area, OK, found)
    return Finding(area, OK, "neither AppArmor nor SELinux")


def tracing(machine: Machine) -> Finding:
    """Yama: whether debuggers work in containers (ptrace(2))."""
    area, scope = "tracing", machine.settings.get("kernel.yama.ptrace_scope", "")
    follows = "strace and debuggers do not work in containers"
    if scope == "2":
        return Finding(
            area, PARTIAL, "only with CAP_SYS_PTRACE: kernel.yama.ptrace_scope=2", follows,
            remedies.set_sysctl("kernel.yama.ptrace_scope", 1),
        )  # fmt: skip
    if scope == "3":
        return Finding(
            area, PARTIAL, "switched off until the next start: kernel.yama.ptrace_scope=3", follows,
            ("grep -rl ptrace_scope=3 /etc/sysctl.d /etc/sysctl.conf  # take it out, and restart",),
        )  # fmt: skip
    return Finding(area, OK, "a program may trace its children")


def places(machine: Machine) -> Finding:
    """Where roots and running containers are kept."""
    area = "store"
    found = f"{machine.store} on {machine.store_filesystem or 'an unknown file system'}"
    if machine.foreign:
        remedy = []
        if machine.store in machine.foreign:
            remedy.append("export KOKON_STORE=$(mktemp -d)")
        if machine.state in machine.foreign:
            remedy.append("export XDG_RUNTIME_DIR=$(mktemp -d)")
        return Finding(
            area, MISSING, f"not ours to use: {' and '.join(machine.foreign)}",
            "no run has a place of its own", tuple(remedy), needed=True,
        )  # fmt: skip
    if not machine.store_fit and machine.container in ("docker", "podman"):
        return Finding(
            area, PARTIAL, f"{found}, which cannot hold an overlay's writes",
            "roots are copied for each run, which takes longer",
            (f"{machine.container} run -v kokon:{machine.store} IMAGE",),
        )  # fmt: skip
    if not machine.store_fit:
        return Finding(
            area, PARTIAL, f"{found}, which cannot hold an overlay's writes",
            "roots are copied for each run, which takes longer",
            ("export KOKON_STORE=/srv/kokon  # a directory on ext4, xfs or btrfs",),
        )  # fmt: skip
    if machine.state.startswith("/tmp/") and machine.systemd:
        return Finding(
            area, PARTIAL, f"{found}; the state is in {machine.state}",
            "there is no XDG_RUNTIME_DIR, so it may stay after the session",
            (*remedies.linger(machine.name), "export XDG_RUNTIME_DIR=/run/user/$(id -u)"),
        )  # fmt: skip
    return Finding(area, OK, f"{found}, state in {machine.state}")


def run_of_host(machine: Machine) -> Finding:
    """The whole path, with a root that needs no store."""
    return _run(machine, "@host", "run of @host")


def run_of_directory(machine: Machine) -> Finding:
    """The whole path, with an overlay and the store."""
    return _run(machine, "directory", "run of a directory")


def run_at_best(machine: Machine) -> Finding:
    """What a run goes without where it may (docs/levels.md)."""
    area, probe = "level best", machine.probes.get("run best")
    if probe is None:
        return Finding(area, UNKNOWN, "not tried")
    if not probe.works:
        return Finding(area, MISSING, probe.said, "no run works at all", _lines(probe))
    words = {name: name.replace("_", " ") for name in machine.held}
    loose = [f"{words[name]}: {by}" for name, (holds, by) in machine.held.items() if not holds]
    if loose:
        kept = ", ".join(words[name] for name, (holds, _) in machine.held.items() if holds)
        return Finding(
            area, PARTIAL, f"@host runs; {kept or 'nothing'} held", f"not held: {'; '.join(loose)}",
            ("kokon run --level best @host PROGRAM  # where that is enough",),
        )  # fmt: skip
    return Finding(area, OK, f"{', '.join(words.values())} are held")


def _lines(probe: Probe) -> tuple[str, ...]:
    return (f"# {probe.remedy}",) if probe.remedy else ()


def _run(machine: Machine, root: str, area: str) -> Finding:
    probe = machine.probes.get(f"run {root}")
    if probe is None:
        return Finding(area, UNKNOWN, "not tried", needed=True)
    if probe.works:
        return Finding(area, OK, "works", needed=True)
    return Finding(area, MISSING, probe.said, "", _lines(probe), needed=True)
