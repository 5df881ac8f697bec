"""What is said of many machines: facts and probes in, findings out."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from errno import EACCES, EBUSY, EINVAL, ENODEV, ENOSPC, ENOSYS, EOPNOTSUPP, EPERM
from pathlib import Path
from typing import Any

import pytest

from kokon.config.diagnosis import (
    MISSING,
    OK,
    PARTIAL,
    UNKNOWN,
    Finding,
    Machine,
    Probe,
    Report,
    diagnose,
)
from kokon.config.diagnosis.words import text
from kokon.kernel.facts import HostFacts
from kokon.security.ladder import RUNGS

HOSTS = Path(__file__).parents[2] / "golden/hosts"
WORKS = Probe(True)
PROBES = (
    "memory", "user", "proc", "sysfs", "filesystems", "loopback", "overlay", "seccomp",
    *(f"namespace {name}"
      for name in ("mount", "pid", "ipc", "uts", "network", "cgroup", "time")),
    "run @host", "run directory", "limits",
    "run best",
)  # fmt: skip
HELD = dict.fromkeys(("files", "processes", "network", "system_calls"), (True, "namespaces"))


def refused(errno: int, step: str = "", said: str = "the words", remedy: str = "") -> Probe:
    return Probe(False, errno, step, said, remedy)


NO_RUN = {
    "run @host": refused(EPERM, "StepError"),
    "run directory": refused(EPERM, "StepError"),
    "limits": refused(EPERM, "StepError"),
}
NO_USER = {name: refused(EPERM, "Clone") for name in PROBES if name not in ("memory", "seccomp")}
NO_LIMITS = {
    name: refused(EACCES, "HostError", "it cannot be made", "be another")
    for name in ("limits", "limit memory", "limit pids", "limit cpu")
}
HELPERS = {"/usr/bin/newuidmap": "set-uid", "/usr/bin/newgidmap": "set-uid"}


def host(name: str, **changes: Any) -> HostFacts:
    value = json.loads((HOSTS / f"{name}.json").read_text())
    return HostFacts.from_dict(value | changes)


def user(changes: dict[str, Any] | None = None, **facts: Any) -> Machine:
    """A user of a desktop where everything works."""
    machine = Machine(
        facts=host("user-subids", **facts),
        user="ada", distribution="debian", executable="/usr/bin/python3.12", landlock=5,
        settings={"user.max_user_namespaces": "60000", "lsm": "lockdown,yama,apparmor"},
        helpers=HELPERS, subordinate=(True, True), free_ids=165536, systemd=True, manager=True,
        bus=True, delegated=("cpu", "memory", "pids"), store="/home/ada/.local/share/kokon",
        store_filesystem="ext4", state="/run/user/1000/kokon",
        probes={**dict.fromkeys(PROBES, WORKS), "newuidmap": WORKS}, held=HELD,
    )  # fmt: skip
    return _changed(machine, changes)


def root(changes: dict[str, Any] | None = None, name: str = "root-v2", **facts: Any) -> Machine:
    machine = replace(
        user(), facts=host(name, **facts), user="root", helpers={}, subordinate=(False, False),
        store="/var/lib/kokon", state="/run/kokon", delegated=None,
        probes={**dict.fromkeys(PROBES, WORKS), "idmap": WORKS},
    )  # fmt: skip
    return _changed(machine, changes)


def _changed(machine: Machine, changes: dict[str, Any] | None) -> Machine:
    """``probes`` and ``settings`` are added to; every other value is replaced."""
    changes = dict(changes or {})
    for name in ("probes", "settings"):
        changes[name] = {**getattr(machine, name), **changes.get(name, {})}
    return replace(machine, **changes)


def of(report: Report, area: str) -> Finding:
    (finding,) = (finding for finding in report if finding.area == area)
    return finding


def userns(**settings: str) -> dict[str, Any]:
    names = {name.replace("__", "."): value for name, value in settings.items()}
    return {"settings": names, "probes": NO_USER}


CASES: dict[str, tuple[Machine, str, str, str, str]] = {
    # machine: area, state, what is found, a part of the remedy
    "ubuntu-24.04": (
        user(userns(kernel__apparmor_restrict_unprivileged_userns="1"), restriction="apparmor"),
        "user namespaces", MISSING, "AppArmor gives no rights",
        "profile kokon-usr-bin-python3.12 /usr/bin/python3.12 flags=(unconfined) { userns, }",
    ),
    "ubuntu-24.04-for-all": (
        user(userns(kernel__apparmor_restrict_unprivileged_userns="1"), restriction="apparmor"),
        "user namespaces", MISSING, "",
        "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    ),
    "ubuntu-with-a-profile": (
        user({"settings": {"kernel.apparmor_restrict_unprivileged_userns": "1"}},
             restriction="apparmor"),
        "user namespaces", OK, "not for this program", "",
    ),
    "debian-old": (
        user(userns(kernel__unprivileged_userns_clone="0"), restriction="sysctl"),
        "user namespaces", MISSING, "only for root",
        "sudo sysctl -w kernel.unprivileged_userns_clone=1",
    ),
    "switched-off": (
        user(userns(user__max_user_namespaces="0"), user_namespaces=0),
        "user namespaces", MISSING, "user.max_user_namespaces=0",
        "sudo sysctl -w user.max_user_namespaces=15000",
    ),
    "switched-off-for-root": (
        root(userns(user__max_user_namespaces="0"), user_namespaces=0),
        "user namespaces", MISSING, "switched off", "sysctl -w user.max_user_namespaces=15000",
    ),
    "used-up": (
        user({"probes": {**NO_USER, "user": refused(ENOSPC, "Clone")}}),
        "user namespaces", MISSING, "no more", "user.max_user_namespaces=15000",
    ),
    "no-config-user-ns": (
        user({"probes": {**NO_USER, "user": refused(EINVAL, "Clone")}}),
        "user namespaces", MISSING, "this kernel has none", "CONFIG_USER_NS",
    ),
    "unshare-U": (
        user({"probes": NO_USER}, uid=65534, uid_map=[], gid_map=[]),
        "user namespaces", MISSING, "not mapped", "unshare --user --map-root-user",
    ),
    "docker": (
        root({"container": "docker", "filtered": True, "probes": NO_USER}),
        "user namespaces", MISSING, "refused here", "docker run --security-opt seccomp=unconfined",
    ),
    "kubernetes-runtime-default": (
        root({"container": "kubernetes", "filtered": True, "probes": NO_USER}),
        "user namespaces", MISSING, "refused here", "hostUsers: false",
    ),
    "docker-with-masked-proc": (
        root({"container": "docker",
              "probes": {"proc": refused(EPERM, "Filesystem"), **NO_RUN}}),
        "proc and sysfs", MISSING, "parts of /proc are hidden", "systempaths=unconfined",
    ),
    "podman-rootless": (
        root({"container": "podman", "probes": {"proc": refused(EPERM, "Filesystem"), **NO_RUN}},
             name="root-in-container"),
        "proc and sysfs", MISSING, "parts of /proc", "--security-opt unmask=ALL",
    ),
    "centos-8": (
        root(kernel=[4, 18]), "kernel", MISSING, "Linux 4.18", "RHEL 9",
    ),
    "debian-11": (
        user(kernel=[5, 10]), "kernel", MISSING, "Linux 5.10", "Debian 12",
    ),
    "linux-5.14": (user(kernel=[5, 14]), "kernel", OK, "Linux 5.14", ""),
    "riscv": (user(architecture="riscv64"), "kernel", MISSING, "riscv64", "x86_64"),
    "old-overlay": (
        root(kernel=[5, 15]), "id-mapped mounts", PARTIAL, "Linux 5.19", "--userns host",
    ),
    "store-on-nfs": (
        root({"store_filesystem": "nfs4", "store_fit": False,
              "probes": {"idmap": refused(EINVAL, "MountAttributes")}}),
        "id-mapped mounts", PARTIAL, "nfs4 cannot map ids", "KOKON_STORE",
    ),
    "writes-on-nfs": (
        user({"store_filesystem": "nfs4", "store_fit": False}),
        "store", PARTIAL, "cannot hold", "KOKON_STORE",
    ),
    "no-subuid": (
        user({"subordinate": (False, False)}, subordinate_uids=[], subordinate_gids=[]),
        "subordinate ids", PARTIAL, "neither file",
        "sudo usermod --add-subuids 165536-231071 --add-subgids 165536-231071 ada",
    ),
    "no-subgid": (
        user({"subordinate": (True, False)}, subordinate_gids=[]),
        "subordinate ids", PARTIAL, "only /etc/subuid", "usermod --add-subuids",
    ),
    "user-of-no-passwd": (
        user({"user": "", "subordinate": (False, False)}),
        "subordinate ids", PARTIAL, "neither",
        "echo 1000:165536:65536 | sudo tee -a /etc/subuid /etc/subgid",
    ),
    "no-newuidmap": (
        user({"helpers": {}}), "newuidmap", PARTIAL, "newgidmap and newuidmap not found",
        "sudo apt install uidmap",
    ),
    "no-newuidmap-on-fedora": (
        user({"helpers": {}, "distribution": "fedora"}), "newuidmap", PARTIAL, "not found",
        "sudo dnf install shadow-utils",
    ),
    "newuidmap-not-set-uid": (
        user({"helpers": dict.fromkeys(HELPERS, "plain"),
              "probes": {"newuidmap": refused(0, "spawn"), **NO_RUN}}),
        "newuidmap", MISSING, "not set-uid root", "sudo chmod 4755 /usr/bin/newgidmap",
    ),
    "newuidmap-on-nosuid": (
        user({"helpers": dict.fromkeys(HELPERS, "nosuid"),
              "probes": {"newuidmap": refused(0, "spawn"), **NO_RUN}}),
        "newuidmap", MISSING, "nosuid", "sudo mount -o remount,suid",
    ),
    "no-new-privileges": (
        user({"no_new_privileges": True,
              "probes": {"newuidmap": refused(0, "spawn"), **NO_RUN}}),
        "newuidmap", MISSING, "no_new_privs", "NoNewPrivileges=no",
    ),
    "newuidmap-by-capabilities": (
        user({"helpers": dict.fromkeys(HELPERS, "capability")}), "newuidmap", OK, "map our ids", "",
    ),
    "no-overlay": (
        user({"probes": {"overlay": refused(ENODEV, "Filesystem")}}),
        "overlay", MISSING, "the words", "sudo modprobe overlay",
    ),
    "no-network-namespaces": (
        user({"probes": {"namespace network": refused(ENOSPC, "Clone"),
                         "loopback": refused(ENOSPC, "Clone"),
                         "sysfs": refused(ENOSPC, "Clone"), **NO_RUN}}),
        "namespaces", MISSING, "not network", "sudo sysctl -w user.max_net_namespaces=15000",
    ),
    "and-so-no-network": (
        user({"probes": {"loopback": refused(ENOSPC, "Clone")}}),
        "network", UNKNOWN, "needs the namespaces", "",
    ),
    "no-time-namespaces": (
        user({"probes": {"namespace time": refused(EINVAL, "Unshare")}}),
        "namespaces", PARTIAL, "not time", "every distribution's",
    ),
    "lo-stays-down": (
        user({"probes": {"loopback": refused(EPERM, "Loopback", remedy="share the network"),
                         **NO_RUN}}),
        "network", MISSING, "the words", "share the network",
    ),
    "memfd-noexec": (
        user({"settings": {"vm.memfd_noexec": "2"},
              "probes": dict.fromkeys(PROBES, refused(EACCES, "spawn"))}),
        "programs in memory", MISSING, "vm.memfd_noexec=2", "sudo sysctl -w vm.memfd_noexec=1",
    ),
    "memfd-refused-by-a-profile": (
        user({"label": "confined (enforce)",
              "probes": dict.fromkeys(PROBES, refused(EACCES, "spawn"))},
             security_module="apparmor"),
        "programs in memory", MISSING, "apparmor label confined", "/memfd:kokon-init",
    ),
    "refused-by-a-profile": (
        user({"label": "confined (enforce)", "probes": NO_USER}, security_module="apparmor"),
        "user namespaces", MISSING, "AppArmor profile confined", "journalctl -k -g",
    ),
    "memfd-noexec-and-so": (
        user({"settings": {"vm.memfd_noexec": "2"},
              "probes": dict.fromkeys(PROBES, refused(EACCES, "spawn"))}),
        "user namespaces", UNKNOWN, "init cannot be started", "",
    ),
    "few-files": (user({"open_files": 256}), "open files", PARTIAL, "256", "ulimit -n 1024"),
    "too-few-files": (
        user({"open_files": 64, "probes": NO_RUN}), "open files", MISSING, "64", "ulimit -n 1024",
    ),
    "no-cgroups": (
        root({"probes": NO_LIMITS}, cgroups={"mode": "none", "hierarchies": []}),
        "control groups", PARTIAL, "none are mounted", "mount -t cgroup2",
    ),
    "v1-as-user": (
        user({"probes": NO_LIMITS}, cgroups={"mode": "hybrid", "hierarchies": []}),
        "limits", MISSING, "not --memory, --pids-limit, --cpus",
        "systemd.unified_cgroup_hierarchy=1",
    ),
    "v1-as-user-on-rhel": (
        user({"probes": NO_LIMITS, "distribution": "fedora"},
             cgroups={"mode": "v1", "hierarchies": []}),
        "limits", MISSING, "cannot be made", "sudo grubby --update-kernel=ALL",
    ),
    "v1-without-systemd": (
        user({"probes": NO_LIMITS, "systemd": False},
             cgroups={"mode": "hybrid", "hierarchies": []}),
        "limits", MISSING, "", "as root",
    ),
    "no-manager": (
        user({"probes": NO_LIMITS, "manager": False, "bus": False, "delegated": None}),
        "limits", MISSING, "", "sudo loginctl enable-linger ada",
    ),
    "no-bus": (
        user({"probes": NO_LIMITS, "bus": False}),
        "limits", MISSING, "", "sudo apt install dbus-user-session",
    ),
    "no-jeepney": (
        user({"probes": NO_LIMITS, "jeepney": False}), "limits", MISSING, "", "pip install jeepney",
    ),
    "delegated-without-cpu": (
        user({"delegated": ("memory", "pids"),
              "probes": {**NO_LIMITS, "limit memory": WORKS, "limit pids": WORKS}}),
        "limits", PARTIAL, "not --cpus: it cannot be made",
        "Delegate=cpu cpuset io memory pids",
    ),
    "read-only-cgroups": (
        root({"container": "docker", "cgroups_read_only": True, "probes": NO_LIMITS}),
        "limits", MISSING, "", "docker run --privileged",
    ),
    "top-group-holds-processes": (
        root({"container": "podman", "probes": {
            name: refused(EBUSY, "HostError", "it holds processes") for name in NO_LIMITS
        }}, name="root-in-container"),
        "limits", MISSING, "it holds processes",
        "for pid in $(cat /sys/fs/cgroup/cgroup.procs); do echo $pid >",
    ),
    "something-else": (user({"probes": NO_LIMITS}), "limits", MISSING, "", "# be another"),
    "no-run-no-limits": (user({"probes": NO_RUN}), "limits", UNKNOWN, "see below", ""),
    "no-seccomp": (
        user({"probes": {"seccomp": refused(EINVAL, "Seccomp"), **NO_RUN}}),
        "seccomp", MISSING, "the words", "CONFIG_SECCOMP_FILTER",
    ),
    "landlock-off": (
        user({"landlock": -EOPNOTSUPP}), "Landlock", PARTIAL, "switched off",
        "lsm=landlock,lockdown,yama,apparmor",
    ),
    "landlock-not-built": (
        user({"landlock": -ENOSYS}), "Landlock", PARTIAL, "does not have it",
        "CONFIG_SECURITY_LANDLOCK",
    ),
    "landlock-filtered": (
        root({"landlock": -EPERM, "container": "docker"}), "Landlock", PARTIAL, "refused",
        "docker run",
    ),
    "selinux": (
        user({"label": "unconfined_t", "enforcing": True}, security_module="selinux"),
        "security module", OK, "SELinux enforces; kokon is unconfined_t", "",
    ),
    "selinux-refuses": (
        user({"label": "user_t", "enforcing": True, "probes": NO_RUN}, security_module="selinux"),
        "security module", PARTIAL, "user_t", "ausearch -m avc",
    ),
    "yama-2": (
        user({"settings": {"kernel.yama.ptrace_scope": "2"}}),
        "tracing", PARTIAL, "CAP_SYS_PTRACE", "sudo sysctl -w kernel.yama.ptrace_scope=1",
    ),
    "yama-3": (
        user({"settings": {"kernel.yama.ptrace_scope": "3"}}),
        "tracing", PARTIAL, "until the next start", "sysctl.d",
    ),
    "yama-1": (user({"settings": {"kernel.yama.ptrace_scope": "1"}}), "tracing", OK, "", ""),
    "state-of-somebody": (
        user({"state": "/tmp/kokon-1000", "foreign": ("/tmp/kokon-1000",), "probes": NO_RUN}),
        "store", MISSING, "/tmp/kokon-1000", "export XDG_RUNTIME_DIR=$(mktemp -d)",
    ),
    "no-session": (
        user({"state": "/tmp/kokon-1000"}), "store", PARTIAL, "/tmp/kokon-1000",
        "export XDG_RUNTIME_DIR=/run/user/$(id -u)",
    ),
    "run-refused": (
        user({"probes": {"run @host": refused(EPERM, "StepError", "step 3", "do this")}}),
        "run of @host", MISSING, "step 3", "# do this",
    ),
    "lowest-rung": (
        user({"probes": NO_RUN, "held": {**HELD, "processes": (False, "that is best effort")}}),
        "level best", PARTIAL, "files, network, system calls held",
        "kokon run --level best @host PROGRAM",
    ),
    "no-rung": (
        user({"probes": {**NO_RUN, "run best": refused(EPERM, "StepError")}}),
        "level best", MISSING, "the words", "",
    ),
    "store-on-overlay": (
        root({"container": "docker", "store_filesystem": "overlay", "store_fit": False}),
        "store", PARTIAL, "on overlay", "docker run -v kokon:/var/lib/kokon IMAGE",
    ),
    "nothing-around": (user(), "around kokon", OK, "nothing", ""),
    "in-podman": (
        root({"container": "podman"}, name="root-in-container"),
        "around kokon", OK, "in a container (podman), in a user namespace", "",
    ),
}  # fmt: skip


LANDLOCK_ALONE = RUNGS["processes", "traces"][1]


def sample() -> Machine:
    """The machine of docs/doctor.md: Ubuntu 24.04 as it is installed, as an ordinary user."""
    return user(
        {
            **userns(kernel__apparmor_restrict_unprivileged_userns="1"),
            "held": {**HELD, "processes": (False, LANDLOCK_ALONE)},
            "helpers": {}, "label": "unconfined", "landlock": 4,
            "probes": {
                **NO_USER, "run best": WORKS,
                **dict.fromkeys(("run @host", "run directory"), refused(
                    EPERM, "StepError",
                    "step 9 of 139 (asked by default): make every mount slave: mount_setattr:"
                    " Operation not permitted",
                    "AppArmor keeps user namespaces from unprivileged programs here",
                )),
            },
        },
        restriction="apparmor", security_module="apparmor", kernel=[6, 8],
    )  # fmt: skip


DOCUMENT = Path(__file__).parents[3] / "docs/doctor.md"


def test_the_document_shows_what_is_printed() -> None:
    document = DOCUMENT.read_text()
    shown = "".join(
        f"    {line}".rstrip() + "\n" for line in text(diagnose(sample()), 90).splitlines()
    )
    assert shown in document
    for finding in diagnose(sample()):
        assert f"| {finding.area} |" in document


@pytest.mark.parametrize("name", CASES)
def test_a_machine(name: str) -> None:
    machine, area, state, found, remedy = CASES[name]
    report = diagnose(machine)
    finding = of(report, area)
    assert (finding.state, report.works) == (
        state,
        not any(f.needed and f.state == MISSING for f in report),
    )
    assert found in finding.found
    assert remedy in "\n".join(finding.remedy)
    assert not (state == OK and finding.remedy)


@pytest.mark.parametrize("machine", [user(), root()], ids=["user", "root"])
def test_a_machine_where_all_is_well(machine: Machine) -> None:
    report = diagnose(machine)
    assert report.works
    assert [f for f in report if f.state != OK] == []


@pytest.mark.parametrize(
    ("name", "works"),
    [("ubuntu-24.04", False), ("no-subuid", True), ("no-newuidmap", True), ("v1-as-user", True),
     ("newuidmap-not-set-uid", False), ("centos-8", False), ("memfd-noexec", False),
     ("landlock-off", True), ("delegated-without-cpu", True), ("unshare-U", False)],
)  # fmt: skip
def test_only_what_a_plain_run_needs_decides(name: str, works: bool) -> None:
    assert diagnose(CASES[name][0]).works is works


def test_the_areas_are_always_the_same() -> None:
    """Scripts look for them by name."""
    areas = {tuple(f.area for f in diagnose(machine)) for machine, *_ in CASES.values()}
    assert len(areas) == 1
    (names,) = areas
    assert len(set(names)) == len(names)


def test_what_is_missing_has_a_remedy() -> None:
    """A cause that is known has one; a run that is refused for an unknown cause has the words."""
    for machine, *_ in CASES.values():
        for finding in diagnose(machine):
            if finding.state in (MISSING, PARTIAL) and finding.area.split()[0] != "run":
                probed = "the words" in finding.found
                assert probed or finding.remedy or finding.area == "limits", finding


def test_every_remedy_is_a_line_of_shell() -> None:
    lines = {line for machine, *_ in CASES.values() for f in diagnose(machine) for line in f.remedy}
    assert len(lines) > 40
    assert not [line for line in lines if not line.isprintable()]
    checked = subprocess.run(
        ["sh", "-n"], input="\n".join(sorted(lines)), text=True, capture_output=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


def test_what_the_lines_write(tmp_path: Path) -> None:
    """The profile and the drop-in, with ``tee`` into a file of ours and nothing executed."""
    for name, expected in (
        ("ubuntu-24.04", "abi <abi/4.0>,\ninclude <tunables/global>\nprofile kokon-usr-bin-python3"
         ".12 /usr/bin/python3.12 flags=(unconfined) { userns, }\n"),
        ("delegated-without-cpu", "[Service]\nDelegate=cpu cpuset io memory pids\n"),
        ("landlock-off",
         'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX lsm=landlock,lockdown,yama,apparmor"\n'),
    ):  # fmt: skip
        machine, area, *_ = CASES[name]
        line = next(line for line in of(diagnose(machine), area).remedy if " tee " in line)
        written = line.partition("| sudo tee")[0].removeprefix(
            "sudo mkdir -p /etc/systemd/system/user@.service.d && "
        )
        assert subprocess.run(
            ["sh", "-c", written], capture_output=True, text=True, check=True
        ).stdout == expected  # fmt: skip


def test_root_needs_no_sudo() -> None:
    machine, area, *_ = CASES["switched-off-for-root"]
    assert "sudo" not in "".join(of(diagnose(machine), area).remedy)


def test_a_machine_comes_back_from_json() -> None:
    """The report of somebody else can be judged again."""
    for machine, *_ in CASES.values():
        saved = json.loads(json.dumps(diagnose(machine).to_dict()))
        again = Machine.from_dict(saved["machine"])
        assert json.loads(json.dumps(diagnose(again).to_dict())) == saved


@pytest.mark.parametrize("columns", [60, 80, 110])
def test_the_text_is_as_wide_as_the_terminal(columns: int) -> None:
    for machine, *_ in CASES.values():
        report = diagnose(machine)
        remedies = {f"    {line}" for f in report for line in f.remedy}
        for line in text(report, columns).splitlines():
            assert len(line) <= columns or line in remedies, line
    assert "\x1b[31mmissing" in text(diagnose(CASES["centos-8"][0]), columns, bold=True)


def test_names_cannot_steer_a_terminal() -> None:
    printed = text(diagnose(user({"store": "/home/\x1b[2Jada"})), 80)
    assert "\x1b" not in printed
    assert "\\x1b[2Jada" in printed


def test_the_last_line_says_what_stops_a_run() -> None:
    assert "without options needs" in text(diagnose(user()), 80)
    assert "does not work: kernel" in text(diagnose(CASES["centos-8"][0]), 80)
