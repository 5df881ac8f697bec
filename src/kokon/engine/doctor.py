"""``examine``: reads and tries what this machine can do for kokon, and has it judged."""

from __future__ import annotations

import os
import stat
import sys

from kokon import paths
from kokon.config.diagnosis import Machine, Report, diagnose
from kokon.engine import probes
from kokon.kernel import facts, filesystems
from kokon.kernel.cgroups import available
from kokon.kernel.private import is_private_directory
from kokon.security import idmap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.config.diagnosis import Probe
    from kokon.kernel.facts import HostFacts


def examine() -> Report:
    """What this machine can do for kokon, here and as who we are.

    It runs containers (of a program that there is not), makes namespaces, mounts in them, and
    control groups where limits work; nothing of it is left.
    """
    facts.forget()
    return diagnose(_machine(facts.read()))


def _machine(host: HostFacts) -> Machine:
    status = facts.own_status()
    subuid, subgid = facts.read_text("/etc/subuid"), facts.read_text("/etc/subgid")
    user = _user(host.uid)
    store = _existing(paths.store())
    table = filesystems.mount_table()
    mount = table.of(store)
    kind = mount.filesystem if mount else ""
    manager = f"/run/user/{host.uid}"
    best, held = probes.run_best()
    return Machine(
        facts=host,
        user=user,
        distribution=_distribution(facts.read_text("/etc/os-release")),
        executable=_executable(),
        container=_container(table),
        settings=_settings(),
        filtered=status.get("Seccomp", "0") == "2",
        no_new_privileges=status.get("NoNewPrivs", "0") == "1",
        label=facts.read_text("/proc/self/attr/current").strip("\0\n"),
        enforcing=facts.read_text("/sys/fs/selinux/enforce") == "1",
        landlock=_landlock(),
        helpers=_helpers(table),
        subordinate=(
            bool(facts.subordinate_ranges(subuid, user, host.uid)),
            bool(facts.subordinate_ranges(subgid, user, host.uid)),
        ),
        free_ids=next(idmap.free_ranges(subuid, subgid), 100_000),
        systemd=os.path.isdir("/run/systemd/system"),
        manager=os.path.exists(f"{manager}/systemd") or not host.uid,
        bus=os.path.exists(f"{manager}/bus" if host.uid else "/run/dbus/system_bus_socket"),
        jeepney=_has_jeepney(),
        delegated=_delegated(host),
        cgroups_read_only=_cgroups_read_only(host),
        store=paths.store(),
        store_filesystem=kind,
        store_fit=kind.partition(".")[0] not in filesystems.UNFIT,
        state=paths.state(),
        foreign=tuple(path for path in (paths.store(), paths.state()) if not _ours(path)),
        open_files=_open_files(),
        held=held,
        probes={**probes.all_of(host, store), **_runs(), "run best": best},
    )


LIMITS: dict[str, dict[str, object]] = {
    "memory": {"memory": "64M"}, "pids": {"pids": 64}, "cpu": {"cpus": 1},
}  # fmt: skip
"""Options that a small run is within, by the controller that they need."""


def _runs() -> dict[str, Probe]:
    """Whole runs, without and with limits."""
    found = {"run @host": probes.run("@host"), "run directory": probes.run_of_directory()}
    options = {name: value for limit in LIMITS.values() for name, value in limit.items()}
    found["limits"] = probes.run("@host", **options)
    if not found["limits"].works and found["run @host"].works:
        for name, limit in LIMITS.items():
            found[f"limit {name}"] = probes.run("@host", **limit)
    return found


SETTINGS = (
    "user.max_user_namespaces", "user.max_mnt_namespaces", "user.max_pid_namespaces",
    "user.max_ipc_namespaces", "user.max_uts_namespaces", "user.max_net_namespaces",
    "user.max_cgroup_namespaces", "user.max_time_namespaces", "kernel.unprivileged_userns_clone",
    "kernel.apparmor_restrict_unprivileged_userns", "kernel.yama.ptrace_scope", "vm.memfd_noexec",
)  # fmt: skip


def _settings() -> dict[str, str]:
    found = {"lsm": facts.read_text("/sys/kernel/security/lsm").strip()}
    for name in SETTINGS:
        found[name] = facts.read_text("/proc/sys/" + name.replace(".", "/")).strip()
    return {name: value for name, value in found.items() if value}


def _user(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


def _existing(path: str) -> str:
    """The nearest directory above that is there already: the store is made by the first run."""
    while not os.path.isdir(path) and path != "/":
        path = os.path.dirname(path)
    return path


def _ours(path: str) -> bool:
    """Whether it is ours alone, or can be made."""
    if os.path.lexists(path):
        return is_private_directory(path)
    return os.access(_existing(path), os.W_OK)


FAMILIES = {
    "debian": ("debian", "ubuntu"),
    "fedora": ("fedora", "rhel", "centos"),
    "suse": ("suse", "opensuse", "sles"),
    "arch": ("arch",),
    "alpine": ("alpine",),
}


def _distribution(os_release: str) -> str:
    """The family of a distribution, by ID and ID_LIKE (os-release(5))."""
    words: list[str] = []
    for line in os_release.splitlines():
        name, _, value = line.partition("=")
        if name in ("ID", "ID_LIKE"):
            words += value.strip("\"'").replace("-", " ").split()
    for family, names in FAMILIES.items():
        if any(word in names for word in words):
            return family
    return ""


def _executable() -> str:
    """The command where the launcher has started us, else Python: what AppArmor sees first."""
    import shutil

    if os.path.basename(sys.argv[0]) == "kokon":
        found = shutil.which(sys.argv[0])
        if found and _begins(found) == b"\x7fELF":
            return os.path.realpath(found)
    return os.path.realpath(sys.executable)


def _begins(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(4)
    except OSError:
        return b""


def _container(table: filesystems.MountTable) -> str:
    """Which container we are in, by the marks that engines leave (systemd-detect-virt(1))."""
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        return "kubernetes"
    if os.path.exists("/run/.containerenv"):
        return "podman"
    # An image that became a machine's root has the file too; a container's hosts is a mount.
    hosts = table.of("/etc/hosts")
    if os.path.exists("/.dockerenv") and hosts and hosts.mount_point != "/":
        return "docker"
    named = facts.read_text("/run/systemd/container").strip()
    if not named:
        for entry in facts.read_text("/proc/1/environ").split("\0"):
            if entry.startswith("container="):
                named = entry.partition("=")[2]
    return named if named.isascii() and named.replace("-", "").isalnum() else ""


def _landlock() -> int:
    """The version of Landlock's ABI, else the negative errno (landlock_create_ruleset(2))."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    number, version_flag = 444, 1
    found = int(libc.syscall(number, None, ctypes.c_size_t(0), version_flag))
    return found if found >= 0 else -ctypes.get_errno()


def _helpers(table: filesystems.MountTable) -> dict[str, str]:
    """The paths of newuidmap and newgidmap, and what gives them their rights."""
    found = {}
    for name in ("newuidmap", "newgidmap"):
        path = facts.find_program(name)
        if not path:
            continue
        try:
            capability = os.getxattr(path, "security.capability") != b""
        except OSError:
            capability = False
        status = os.stat(path)
        set_uid = bool(status.st_mode & stat.S_ISUID) and status.st_uid == 0
        mount = table.of(path)
        if mount and "nosuid" in mount.options:
            found[path] = "nosuid"
        else:
            found[path] = "capability" if capability else "set-uid" if set_uid else "plain"
    return found


def _has_jeepney() -> bool:
    import importlib.util

    return importlib.util.find_spec("jeepney") is not None


def _delegated(host: HostFacts) -> tuple[str, ...] | None:
    """The controllers of our manager's group of systemd; None where it has none."""
    tree = host.cgroups.unified
    if tree is None or not host.uid:
        return None
    uid = host.uid
    group = f"{tree.mount_point}/user.slice/user-{uid}.slice/user@{uid}.service"
    return tuple(available(group).split()) if os.path.isdir(group) else None


def _cgroups_read_only(host: HostFacts) -> bool:
    tree = host.cgroups.unified or next(iter(host.cgroups.hierarchies), None)
    if tree is None:
        return False
    try:
        return bool(os.statvfs(tree.mount_point).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def _open_files() -> int:
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else 2**31
