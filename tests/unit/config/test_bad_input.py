"""What cannot be meant: one sentence that names the option, what is wrong and what to do."""

from __future__ import annotations

from typing import Any

import pytest

from kokon.config.container import Surroundings, configure
from kokon.config.options import Options
from kokon.errors import HostError, KokonError, OptionError, RequestError
from kokon.kernel.cgroups import CgroupLayout
from kokon.kernel.facts import HostFacts
from kokon.plan.remedies import user_namespaces

EVERY = 2**41 - 1


def machine(**changes: Any) -> HostFacts:
    facts: dict[str, Any] = {
        "kernel": (6, 6), "architecture": "x86_64", "uid": 0, "gid": 0, "process_1": False,
        "capabilities": EVERY, "bounding": EVERY, "uid_map": ((0, 0, 2**32 - 1),),
        "gid_map": ((0, 0, 2**32 - 1),),
        "user_namespaces": 1000, "restriction": "", "security_module": "",
        "subordinate_uids": (), "subordinate_gids": (), "newuidmap": "", "newgidmap": "",
        "cgroups": CgroupLayout("none", []),
    }  # fmt: skip
    # A fact that is not of interest here is what every usual machine has.
    return HostFacts(**{**dict.fromkeys(HostFacts.__slots__, True), **facts, **changes})


def error(options: dict[str, Any], host: HostFacts | None = None) -> KokonError:
    around = Surroundings(uid=0, gid=0, groups=(), home="/", caller={},
                          devices={"/dev/null": ("c", 1, 3, 0o666)})  # fmt: skip
    with pytest.raises(KokonError) as caught:
        configure(Options("/root", ("x",), options), host or machine(), around)
    return caught.value


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"memory": "100"}, "--memory: '100' has no unit; write for example 100M, or 100B"),
        ({"memory": "-5M"}, "--memory: '-5M' is negative; write"),
        ({"memory": "100X"}, "--memory: '100X' has the unknown unit 'x'; units are B, K, M, G"),
        ({"memory": "9E"}, "--memory: '9E' has the unknown unit 'e'; units are"),
        ({"memory": "9999999P"}, "--memory: '9999999P' is more than the kernel takes; write"),
        ({"memory": "4k"}, "--memory: '4k' is less than the smallest possible, "),
        ({"memory": ""}, "--memory: '' is no size; write"),
        ({"memory": True}, "--memory: True is no size; write"),
        ({"memory_swap": "1G"}, "--memory-swap: is memory and swap together, and says nothing alo"),
        ({"memory": "2G", "memory_swap": "1G"}, "--memory-swap 1G: is memory and swap together, s"),
        ({"memory": "1G", "memory_reservation": "2G"}, "--memory-reservation 2G: is left to it"
         " under pressure, so it cannot be more than --memory; give at most what --memory says"),
        ({"sysctls": ("kernel.hostname=x",)}, "--sysctl kernel.hostname=x: has an option of its own"
         "; write --hostname x"),
        ({"time": "boottime=99999999999"}, "--time boottime=99999999999: 99999999999 is not"
         " between -4611686018 and 4611686018; give another"),
        ({"memory_swappiness": 101}, "--memory-swappiness: 101 is not between 0 and 100; give"),
        ({"cpus": "0"}, "--cpus: '0' is not above zero; write for example 1.5"),
        ({"cpus": "many"}, "--cpus: 'many' is no number of CPUs; write"),
        ({"cpus": "nan"}, "--cpus: 'nan' is no number of CPUs; write"),
        ({"cpu_shares": 1}, "--cpu-shares: 1 is not between 2 and 262144; give"),
        ({"cpuset_cpus": "3-1"}, "--cpuset-cpus: '3-1' is no list of numbers: "),
        ({"pids": "1.5"}, "--pids-limit: '1.5' is no whole number; give -1 to 4194304"),
        ({"pids": -2}, "--pids-limit: -2 is not between -1 and 4194304; give"),
        ({"blkio_weight": 5}, "--blkio-weight: 5 is not between 10 and 1000; give"),
        ({"hugetlb": ("2M",)}, "--hugetlb 2M: is not PAGESIZE=BYTES; write for example 2MB=64M"),
        ({"rdma": ("x=y=1",)}, "--rdma x=y=1: is not DEVICE=hca_handle=N,hca_object=N; write"),
        ({"cgroup_conf": ("memory.high",)}, "--cgroup-conf memory.high: is not KEY=VALUE; write"),
        ({"ulimits": ("nofile=5:4",)}, "--ulimit: 'nofile=5:4' has a soft limit above the hard on"),
        ({"ulimits": ("open=5",)}, "--ulimit: 'open=5' names no limit; Linux has as, core,"),
        ({"volumes": ("./a:/",)}, "-v ./a:/: nothing can be mounted onto /: the container's own"),
        ({"volumes": ("./a:/proc",)}, "-v ./a:/proc: nothing can be mounted onto /proc: "),
        ({"volumes": ("./a:/proc/sys",)}, "-v ./a:/proc/sys: nothing can be mounted onto /proc/sy"),
        ({"volumes": ("./a://proc/",)}, "-v ./a://proc/: nothing can be mounted onto //proc/: "),
        ({"volumes": ("./a:/x/../proc",)}, "-v ./a:/x/../proc: '/x/../proc' is no absolute path"),
        ({"volumes": ("./a:/dev",)}, "-v ./a:/dev: nothing can be mounted onto /dev: "),
        ({"volumes": ("./a:b",)}, "-v ./a:b: 'b' is no absolute path without . and ..; write"),
        ({"volumes": ("./a",)}, "-v ./a: is not SRC:DST[:OPTIONS]; write for example ./src:"),
        ({"volumes": ("./a:/b:rw:x",)}, "-v ./a:/b:rw:x: is not SRC:DST[:OPTIONS]; write"),
        ({"volumes": ("data:/b",)}, "-v data:/b: 'data' is no path: there are no named volumes ye"),
        ({"volumes": ("./a:/b:rx",)}, "-v ./a:/b:rx: 'rx' is no option of a volume; use some of"),
        ({"volumes": ("./a:/b:z",)}, "-v ./a:/b:z: relabelling (z) is not possible; label the"),
        ({"volumes": ("./a:/b:ro,rw",)}, "-v ./a:/b:ro,rw: ro and rw contradict each other; leave"),
        ({"tmpfs": ("/a:rw,ro",)}, "--tmpfs /a:rw,ro: ro and rw contradict each other; leave"),
        ({"mounts": ("src=/a,dst=/a,ro=yes",)}, "--mount src=/a,dst=/a,ro=yes: 'ro=yes' is neithe"),
        ({"mounts": ("src=/a,dst=/a,bind-recursive=disabled",)}, "--mount src=/a,dst=/a,bind-recu"),
        ({"mounts": ("src=/a,dst=/a,bind-propagation=ro",)}, "--mount src=/a,dst=/a,bind-propagat"),
        ({"mounts": ("src=/a,dst=/a,bind-recursive=readonly",)}, "--mount src=/a,dst=/a,bind-recu"),
        ({"volumes": ("./a:/b", "./c:/b/")}, "-v ./c:/b/: /b is already the destination of -v ./a"),
        ({"tmpfs": ("/a:sise=1m",)}, "--tmpfs /a:sise=1m: 'sise=1m' is no option of a tmpfs; use"),
        ({"tmpfs": ("/",)}, "--tmpfs /: nothing can be mounted onto /: "),
        ({"mounts": ("type=bind,dst=/a",)}, "--mount type=bind,dst=/a: names no src; add src=PATH"),
        ({"mounts": ("type=bind,src=/a",)}, "--mount type=bind,src=/a: names no dst; add dst=/pat"),
        ({"mounts": ("type=nfs,src=a,dst=/a",)}, "--mount type=nfs,src=a,dst=/a: type 'nfs' is un"),
        ({"mounts": ("bind",)}, "--mount bind: 'bind' is unknown; write for example type=bind"),
        ({"cap_add": ("NET_BINDS_SERVICE",)}, "--cap-add: unknown capability 'NET_BINDS_SERVICE';"),
        ({"cap_drop": ("EVERYTHING",)}, "--cap-drop: unknown capability 'EVERYTHING'; "),
        ({"security_opt": ("secomp=x",)}, "--security-opt secomp=x: is unknown; use seccomp=FILE|"),
        ({"network": "bridge"}, "--network: there is no network 'bridge'; give none (loopback onl"),
        ({"pid": "shared"}, "--pid shared: 'shared' is neither private nor host; give one of them"),
        ({"privileged": True, "userns": "private"}, "--userns private: cannot be had together wit"),
        ({"devices": ("/dev/null:/dev/",)}, "--device /dev/null:/dev/: appears below /dev only; "),
        ({"devices": ("/dev/null:/etc/x",)}, "--device /dev/null:/etc/x: appears below /dev only"),
        ({"devices": ("/dev/null:/dev/a/../b",)}, "--device /dev/null:/dev/a/../b: appears below"),
        ({"devices": ("/dev/null:/dev/pts/5",)}, "--device /dev/null:/dev/pts/5: would take the"),
        ({"umask": "89"}, "--umask 89: is no octal mask; write for example 027"),
        ({"cwd": "tmp"}, "--workdir: 'tmp' is no absolute path; begin it with /"),
        ({"oom_score_adj": 1001}, "--oom-score-adj: 1001 is not between -1000 and 1000; give"),
        ({"sysctls": ("net.ipv4.ip_forward",)}, "--sysctl net.ipv4.ip_forward: is not KEY=VALUE;"),
        ({"time": "realtime=5"}, "--time: 'realtime=5' is no offset; write for example --time boo"),
        ({"time": "boottime=soon"}, "--time boottime=soon: 'soon' is no whole number; give"),
        ({"env": ("=x",)}, "--env '=…': has no name; write NAME=VALUE"),
        ({"env": ("A=\0",)}, "--env 'A=…': has a NUL byte; write NAME=VALUE"),
        ({"shm_size": "much"}, "--shm-size: 'much' is no size; write"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)  # fmt: skip
def test_an_option_that_cannot_be_meant(options: dict[str, Any], words: str) -> None:
    found = error(options)
    assert isinstance(found, RequestError)
    assert str(found).startswith(words)
    assert found.remedy
    assert found.exit_status == 125
    assert "\n" not in str(found)


def test_a_capability_that_is_misspelled_gets_a_guess() -> None:
    assert "NET_BIND_SERVICE" in str(error({"cap_add": ("NET_BINDS_SERVICE",)}))
    assert "SYS_ADMIN" in str(error({"cap_add": ("CAP_SYSADMIN",)}))
    assert "NET_BIND_SERVICE" in str(error({"cap_add": ("NET_BIN",)}))
    assert "did you mean" not in str(error({"cap_add": ("EVERYTHING",)}))


def test_a_line_of_a_file_is_named() -> None:
    options = Options("/root", ("x",), {"env_file": ("a.env", "b.env"), "env": ("C=3",)})

    def around(text: str) -> Surroundings:
        return Surroundings(uid=0, gid=0, groups=(), home="/", caller={},
                            environment_files=("A=1\n", text))  # fmt: skip

    env = configure(options, machine(), around("# x\n\n B=2\r\n")).spec.process.env
    assert env[-3:] == ("A=1", "B=2", "C=3")
    with pytest.raises(OptionError) as caught:
        configure(options, machine(), around("# x\n\n =2\n"))
    assert str(caught.value) == "--env-file b.env, line 3: has no name; write NAME=VALUE"


def test_an_empty_value_is_seen() -> None:
    assert Options("/root", ("x",), {"user": ""}).words("user") == "--user ''"


def test_what_is_dropped_is_dropped_also_from_everything() -> None:
    def held(**options: object) -> int:
        around = Surroundings(uid=0, gid=0, groups=(), home="/", caller={})
        asked = Options("/root", ("x",), {"privileged": True, **options})
        return configure(asked, machine(), around).spec.process.capabilities.bounding

    assert held() == EVERY
    assert held(cap_drop=("SYS_ADMIN",)) == EVERY ^ 1 << 21
    assert held(cap_drop=("ALL",)) == 0
    assert held(cap_drop=("ALL",), cap_add=("CHOWN",)) == 1


def test_a_seccomp_file_that_is_no_profile() -> None:
    options = Options("/root", ("x",), {"security_opt": ("seccomp=/p.json",)})
    for text in (b"", b"not json", b"[]", b'{"defaultAction": "SCMP_ACT_MAYBE"}', b"\xff\xfe"):
        around = Surroundings(uid=0, gid=0, groups=(), home="/", caller={}, seccomp=text)
        with pytest.raises(RequestError) as caught:
            configure(options, machine(), around)
        assert str(caught.value).startswith("--security-opt seccomp=/p.json"), text
        assert caught.value.exit_status == 125


def test_what_only_root_may_ask() -> None:
    user = machine(uid=1000, gid=1000, capabilities=0)
    found = error({"userns": "host"}, user)
    assert isinstance(found, OptionError)
    assert str(found) == (
        "--userns host: needs root: without it a user namespace gives the right to mount;"
        " leave it out"
    )


def test_a_capability_that_is_not_to_be_had() -> None:
    found = error({"userns": "host", "cap_add": ("SYS_TIME",)}, machine(bounding=EVERY ^ 1 << 25))
    assert isinstance(found, HostError)
    assert str(found).startswith("--cap-add SYS_TIME: this machine does not let us have it: ")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"restriction": "apparmor"}, "AppArmor keeps user namespaces from unprivileged programs"),
        ({"restriction": "sysctl"}, "run: sudo sysctl -w kernel.unprivileged_userns_clone=1"),
        ({"user_namespaces": 0}, "run: sudo sysctl -w user.max_user_namespaces=15000"),
        ({}, "namespaces are refused here (a container around kokon, or its system call filter)"),
    ],
    ids=["apparmor", "sysctl", "limit", "container"],
)
def test_how_to_get_user_namespaces(changes: dict[str, Any], words: str) -> None:
    assert user_namespaces(machine(uid=1000, **changes)).startswith(words)


def test_nothing_of_the_caller_gets_in() -> None:
    """Row E15: only what is named is taken from the caller's environment."""
    options = Options("/root", ("x",), {"env": ("TOKEN", "MISSING", "A=1")})
    around = Surroundings(
        uid=0, gid=0, groups=(), home="/h", caller={"TOKEN": "t", "SECRET": "s", "PATH": "/evil"}
    )
    spec = configure(options, machine(), around).spec
    assert spec.process.env == (
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME=kokon",
        "HOME=/h", "TOKEN=t", "A=1",
    )  # fmt: skip


def test_a_filter_that_needs_a_listener() -> None:
    options = Options("/root", ("x",), {"security_opt": ("seccomp=/p.json",)})
    text = (
        b'{"defaultAction": "SCMP_ACT_ALLOW",'
        b' "syscalls": [{"names": ["mount"], "action": "SCMP_ACT_NOTIFY"}]}'
    )
    around = Surroundings(uid=0, gid=0, groups=(), home="/", caller={}, seccomp=text)
    with pytest.raises(OptionError, match=r"seccomp=/p.json: the profile asks a listener"):
        configure(options, machine(), around)


PROFILE = b"""{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"action": "SCMP_ACT_ERRNO",
 "names": ["mkdri", "mkdir", "s390_pci_mmio_read", "swapcontext", "sync_file_range2"]}]}"""


def test_a_misspelt_system_call_is_noted() -> None:
    """Names of other architectures and newer kernels say nothing, as in Docker."""
    around = Surroundings(uid=0, gid=0, groups=(), home="/", caller={}, seccomp=PROFILE)
    options = Options("/root", ("x",), {"security_opt": ("seccomp=p.json",)})
    made = configure(options, machine(), around)
    words = "--security-opt seccomp=p.json: there is no system call mkdri: was mkdir meant?"
    assert made.notes == made.running(("y",)).notes == (words,)
