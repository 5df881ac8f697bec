"""Pods as a kubelet makes them: containerd's CRI plugin, whose handler ``kokon`` is kokon."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engines import Machine, eventually, need_root
from kubelet import CNI, Kubelet, Pod

from kokon.kernel import cgroups

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def kubelet() -> Iterator[Kubelet]:
    need_root("containerd", "ctr", "containerd-shim-runc-v2", "unshare", "nsenter", "iptables")
    if not os.path.exists(f"{CNI}/bridge"):
        pytest.skip(f"needs {CNI}/bridge (Debian: containernetworking-plugins)")
    for name in ("grpc", "grpc_tools"):
        if not importlib.util.find_spec(name):
            pytest.skip(f"needs {name} (PyPI: grpcio-tools)")
    machine = Machine()
    kubelet = Kubelet()
    name = kubelet.place.name
    try:
        kubelet.begin()
        before = kubelet.inside("findmnt", "--list")
        assert "/run" in before
        yield kubelet
        assert not kubelet.call("ListPodSandbox").items
        assert kubelet.inside("findmnt", "--list") == before
        assert not kubelet.inside("find", "/run/containerd/runc", "/run/netns", "-mindepth", "2")
        assert "veth" not in kubelet.inside("ip", "-oneline", "link")
    finally:
        kubelet.end()
        shutil.rmtree(kubelet.place, ignore_errors=True)
    assert eventually(lambda: not machine.left(kubelet.place, (name,)), 5), machine.left(
        kubelet.place, (name,)
    )


@pytest.fixture(scope="module")
def pod(kubelet: Kubelet) -> Iterator[Pod]:
    """One for all who ask nothing of their pod."""
    with kubelet.pod() as made:
        yield made


def user(uid: int) -> dict[str, Any]:
    return {"run_as_user": {"value": uid}, "run_as_group": {"value": uid}}


def test_a_life(kubelet: Kubelet) -> None:
    script = 'echo up; trap "echo down; exit 7" TERM; while :; do sleep 0.1; done'
    with kubelet.pod() as pod:
        sandbox = kubelet.call("PodSandboxStatus", pod_sandbox_id=pod.identity).status
        assert sandbox.state == 0 and sandbox.runtime_handler == "kokon"
        state = kubelet.inside("cat", f"/run/containerd/runc/k8s.io/{pod.identity}/state.json")
        assert json.loads(state)["version"] == 1  # kokon's own format
        main = pod.create("sh", "-c", script)
        assert pod.status(main).state == 0
        kubelet.call("StartContainer", container_id=main)
        assert pod.status(main).state == 1
        assert eventually(lambda: pod.log() == "up")
        kubelet.call("StopContainer", container_id=main, timeout=5)
        assert (pod.status(main).state, pod.status(main).exit_code) == (2, 7)
        assert eventually(lambda: pod.log() == "up\ndown")
        kubelet.call("RemoveContainer", container_id=main)
        # The pod's processes are killed with it.
        pod.start("sleep", "100")
        again = pod.start("sleep", "100", metadata={"name": "again", "attempt": 1})
        kubelet.call("StopContainer", container_id=again, timeout=0)
        assert pod.status(again).exit_code == 137


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("nothing", 'exec: "nothing": executable file not found in $PATH'),
        ("/etc/passwd", "permission denied"),
    ],
)
def test_a_program_that_cannot_run(pod: Pod, program: str, words: str) -> None:
    """The kubelet shows the words; the container is kept as one that has ended with 128."""
    identity = pod.create(program)
    with pytest.raises(pod.kubelet.failure) as failure:
        pod.kubelet.call("StartContainer", container_id=identity)
    assert words in failure.value.details()
    status = pod.status(identity)
    assert status.exit_code == 128 and words in status.message


def test_programs_of_a_container(pod: Pod) -> None:
    identity = pod.start(
        "sleep", "100", envs=[{"key": "A", "value": "B"}], working_dir="/tmp", security=user(1000)
    )
    said = pod.output(identity, "sh", "-c", "id -u; pwd; echo $A; grep Cap.*ff /proc/self/status")
    assert said.split()[:3] == ["1000", "/tmp", "B"]
    assert said.split()[-1] == "0" * 16
    done = pod.run(identity, "sh", "-c", "echo out; echo err >&2; exit 9")
    assert (done.stdout, done.stderr, done.exit_code) == (b"out\n", b"err\n", 9)
    with pytest.raises(pod.kubelet.failure) as failure:
        pod.run(identity, "nothing")
    assert 'exec: "nothing": executable file not found in $PATH' in failure.value.details()
    with pytest.raises(pod.kubelet.failure) as failure:
        pod.kubelet.call("ExecSync", container_id=identity, cmd=["sleep", "50"], timeout=1)
    assert "timeout" in failure.value.details()
    assert "sleep 50" not in pod.output(identity, "ps")


def test_a_terminal(pod: Pod) -> None:
    assert "/dev/pts/0" in pod.said("sh", "-c", "tty; ls /dev/console", tty=True)


def test_limits(pod: Pod) -> None:
    limits = {
        "memory_limit_in_bytes": 50 << 20, "cpu_period": 100000, "cpu_quota": 50000,
        "cpu_shares": 512, "oom_score_adj": 900,
    }  # fmt: skip
    identity = pod.start("sleep", "100", resources=limits)
    groups = cgroups.read()
    version = 1 if any("memory" in tree.controllers for tree in groups.hierarchies) else 2
    name = "memory.limit_in_bytes" if version == 1 else "memory.max"

    def limit() -> str:
        files = [
            Path(tree.mount_point, pod.kubelet.place.name, identity, name)
            for tree in groups.hierarchies
        ]
        return next(file.read_text().strip() for file in files if file.exists())

    assert limit() == str(50 << 20)
    assert pod.output(identity, "cat", "/proc/1/oom_score_adj") == "900"
    pod.kubelet.call(
        "UpdateContainerResources", container_id=identity,
        linux={"memory_limit_in_bytes": 64 << 20, "cpu_shares": 256, "cpu_quota": 20000,
               "cpu_period": 100000},
    )  # fmt: skip
    assert limit() == str(64 << 20)
    stats = pod.kubelet.call("ContainerStats", container_id=identity).stats
    assert stats.attributes.id == identity
    assert stats.memory.working_set_bytes.value > 0 and stats.cpu.usage_core_nano_seconds.value > 0
    listed = pod.kubelet.call("ListContainerStats", filter={"pod_sandbox_id": pod.identity}).stats
    assert identity in {one.attributes.id for one in listed}
    whole = pod.kubelet.call("PodSandboxStats", pod_sandbox_id=pod.identity).stats.linux
    assert identity in {one.attributes.id for one in whole.containers}


def test_memory_runs_out(pod: Pod) -> None:
    # containerd looks for it only when `start` has returned.
    identity = pod.start(
        "sh", "-c", "sleep 1; exec dd if=/dev/zero of=/dev/null bs=60M count=1",
        resources={"memory_limit_in_bytes": 20 << 20, "memory_swap_limit_in_bytes": 20 << 20},
    )  # fmt: skip
    status = pod.ended(identity)
    assert status.exit_code == 137
    assert eventually(lambda: pod.status(identity).reason == "OOMKilled"), status


def test_the_network_of_a_pod(kubelet: Kubelet) -> None:
    port = {"container_port": 80, "host_port": 8098}
    dns = {"servers": ["10.99.0.77"], "searches": ["test.cluster"]}
    with kubelet.pod(hostname="cocoon", port_mappings=[port], dns_config=dns) as pod:
        pod.start(
            "sh", "-c", "echo a page > /tmp/index.html; exec httpd -f -p 80 -h /tmp",
            security={"capabilities": {"drop_capabilities": ["ALL"],
                                       "add_capabilities": ["NET_BIND_SERVICE"]}},
        )  # fmt: skip
        other = pod.start("sleep", "100")
        fetch = ("wget", "-qO-", "http://127.0.0.1/")
        assert eventually(lambda: pod.run(other, *fetch).stdout == b"a page\n")
        assert pod.output(other, "cat", "/proc/sys/kernel/hostname") == "cocoon"
        assert "nameserver 10.99.0.77" in pod.output(other, "cat", "/etc/resolv.conf")
        address = kubelet.call("PodSandboxStatus", pod_sandbox_id=pod.identity).status.network.ip
        web = ("/bin/busybox", "wget", "-qO-")
        assert kubelet.inside(*web, f"http://{address}/") == "a page\n"
        assert kubelet.inside(*web, "http://10.99.0.1:8098/") == "a page\n"


def test_the_network_of_the_node(kubelet: Kubelet) -> None:
    options = {"namespace_options": {"network": "NODE", "pid": "CONTAINER"}}
    with kubelet.pod(linux={"security_context": options}) as pod:
        assert "pods0" in pod.said("ls", "/sys/class/net", security=options).split()


def test_containers_share(kubelet: Kubelet) -> None:
    """A pod's pid namespace where asked; its network, ipc and host name always."""
    shared = {"namespace_options": {"pid": "POD"}}
    with kubelet.pod(linux={"security_context": shared}) as pod:
        first = pod.start("sleep", "111", security=shared)
        second = pod.start("sleep", "222", security=shared)
        apart = pod.start("sleep", "333")
        look = "for kind in net ipc uts pid; do readlink /proc/self/ns/$kind; done"

        def namespaces(identity: str) -> list[str]:
            return pod.output(identity, "sh", "-c", look).split()

        assert namespaces(first) == namespaces(second)
        assert namespaces(first)[:3] == namespaces(apart)[:3]
        assert namespaces(first)[3] != namespaces(apart)[3]
        seen = pod.output(second, "ps")
        assert "sleep 111" in seen and "sleep 222" in seen and "sleep 10000" in seen
        assert "sleep 111" not in pod.output(apart, "ps")
        pod.output(first, "touch", "/dev/shm/of-the-pod")
        assert "of-the-pod" in pod.output(apart, "ls", "/dev/shm")
        target = {"namespace_options": {"pid": "TARGET", "target_id": apart}}
        debugger = pod.start("sleep", "444", security=target)
        assert "sleep 333" in pod.output(debugger, "ps")
        # The first process of a container in another's pid namespace is not that of the namespace.
        kubelet.call("StopContainer", container_id=second, timeout=0)
        assert "sleep 222" not in pod.output(first, "ps")


def test_volumes(pod: Pod) -> None:
    volume = pod.kubelet.place / "volume"
    volume.mkdir()
    volume.chmod(0o777)
    (volume / "later").mkdir()
    mounts = [
        {"container_path": "/var/run/data", "host_path": str(volume)},
        {"container_path": "/fixed", "host_path": str(volume), "readonly": True,
         "propagation": "PROPAGATION_HOST_TO_CONTAINER"},
    ]  # fmt: skip
    identity = pod.start("sleep", "100", mounts=mounts, security=user(1000))
    said = pod.output(
        identity, "sh", "-c", "echo v > /run/data/f; cat /fixed/f; touch /fixed/g || echo fixed"
    )
    assert said.splitlines() == ["v", "fixed"]
    assert (volume / "f").stat().st_uid == 1000
    # What the node mounts later is seen where that was asked, and there only.
    try:
        pod.kubelet.inside("mount", "-t", "tmpfs", "later", f"{volume}/later")
        mounted = pod.output(identity, "grep", "later", "/proc/self/mounts").split()
        assert mounted[1] == "/fixed/later"
    finally:
        pod.kubelet.inside("umount", f"{volume}/later")


def test_who_it_is(pod: Pod) -> None:
    security = {**user(1000), "supplemental_groups": [7, 8], "no_new_privs": True}
    said = pod.said(
        "sh", "-c", "id -u; id -G; grep NoNewPrivs /proc/self/status", security=security
    )
    assert said.split() == ["1000", "1000", "7", "8", "NoNewPrivs:", "1"]
    assert pod.said("id", "-u", security={"run_as_username": "user"}) == "1000"


def test_capabilities(pod: Pod) -> None:
    shows = ("grep", "CapBnd", "/proc/self/status")
    some = {"add_capabilities": ["NET_ADMIN"], "drop_capabilities": ["ALL"]}
    assert int(pod.said(*shows, security={"capabilities": some}).split()[1], 16) == 1 << 12
    less = {"drop_capabilities": ["CHOWN"]}
    assert not int(pod.said(*shows, security={"capabilities": less}).split()[1], 16) & 1


def test_a_root_that_is_read_only(pod: Pod) -> None:
    status = pod.ended(pod.start("touch", "/x", security={"readonly_rootfs": True}))
    assert status.exit_code == 1
    assert eventually(lambda: "Read-only file system" in pod.log())


def test_covered_paths(pod: Pod) -> None:
    security = {
        "masked_paths": ["/proc/timer_list", "/proc/acpi", "/sys/firmware"],
        "readonly_paths": ["/proc/sys", "/proc/bus"],
    }
    said = pod.said(
        "sh", "-c", "exec 2>/dev/null; cat /proc/timer_list; ls /sys/firmware;"
        " (echo x > /proc/sys/kernel/domainname) || echo kept",
        security=security,
    )  # fmt: skip
    assert said == "kept"


def test_seccomp(pod: Pod) -> None:
    """The engine's profile, one of the node, none."""
    profile = pod.kubelet.place / "profile.json"
    profile.write_text(json.dumps({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}],
    }))  # fmt: skip
    shows = ("sh", "-c", "grep Seccomp: /proc/self/status; mkdir /tmp/d; ls /tmp")

    def said(**kind: object) -> list[str]:
        return pod.said(*shows, security={"seccomp": kind}).split()

    assert said(profile_type="Unconfined") == ["Seccomp:", "0", "d"]
    assert said(profile_type="RuntimeDefault") == ["Seccomp:", "2", "d"]
    refused = " ".join(said(profile_type="Localhost", localhost_ref=str(profile)))
    assert "Seccomp: 2" in refused and "Operation not permitted" in refused


def test_a_privileged_one(kubelet: Kubelet) -> None:
    options = {"privileged": True}
    with kubelet.pod(linux={"security_context": options}) as pod:
        said = pod.said(
            "sh", "-c", "mount -t tmpfs none /tmp && echo mounted; grep CapBnd /proc/self/status;"
            " grep Seccomp: /proc/self/status; echo x > /proc/sys/kernel/domainname; ls /dev",
            security=options,
        ).split()  # fmt: skip
        assert said[0] == "mounted" and said[said.index("Seccomp:") + 1] == "0"
        own = Path("/proc/self/status").read_text().split("CapBnd:")[1].split()[0]
        assert said[2] == own
        assert {entry.name for entry in Path("/dev").iterdir()} & {"kmsg", "full"} <= set(said)
        # Not the node's: the pod has a host name of its own.
        assert subprocess.run(["domainname"], capture_output=True, text=True).stdout.strip() != "x"


def test_sysctls_of_a_pod(kubelet: Kubelet) -> None:
    linux = {
        "sysctls": {"net.ipv4.ip_unprivileged_port_start": "80", "kernel.shm_rmid_forced": "1"}
    }
    with kubelet.pod(linux=linux) as pod:
        said = pod.said(
            "cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start",
            "/proc/sys/kernel/shm_rmid_forced",
        )  # fmt: skip
        assert said.split() == ["80", "1"]


def test_a_pod_of_other_users(kubelet: Kubelet) -> None:
    """``hostUsers: false``: a range of ids of its own, which volumes are mapped to."""
    handlers = {one.name: one.features for one in kubelet.call("Status").runtime_handlers}
    if "kokon" not in handlers:
        pytest.skip("needs containerd 2: this one asks no runtime what it can do")
    assert handlers["kokon"].user_namespaces and handlers["kokon"].recursive_read_only_mounts
    ids = [{"host_id": 1 << 20, "container_id": 0, "length": 1 << 16}]
    users = {"mode": "POD", "uids": ids, "gids": ids}
    security: dict[str, Any] = {"namespace_options": {"pid": "CONTAINER", "userns_options": users}}
    volume = kubelet.place / "mapped"
    volume.mkdir()
    mount = {"container_path": "/volume", "host_path": str(volume), "uidMappings": ids,
             "gidMappings": ids}  # fmt: skip
    strict = {
        **security, "capabilities": {"drop_capabilities": ["ALL"]}, "no_new_privs": True,
        "seccomp": {"profile_type": "RuntimeDefault"},
    }  # fmt: skip
    with kubelet.pod(linux={"security_context": security}) as pod:
        script = "cat /proc/self/uid_map; touch /volume/f; id -u"
        said = pod.said("sh", "-c", script, security=strict, mounts=[mount])
        assert said.split() == ["0", str(1 << 20), str(1 << 16), "0"]
        assert (volume / "f").stat().st_uid == 0
