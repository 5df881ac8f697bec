"""What an OCI document comes to as a plan, and what of it is refused."""

from __future__ import annotations

from typing import Any

import pytest
from test_container import machine

from kokon.compile import oci_checks
from kokon.compile.container import compile_container
from kokon.compile.execution import compile_execution
from kokon.compile.inputs import Launch, RootFacts, Source
from kokon.errors import HostError, SpecError
from kokon.plan import check, ops
from kokon.plan.plan import Plan
from kokon.spec.oci.config import CONFIG
from kokon.spec.runtime import Seccomp

MAPS = [{"containerID": 0, "hostID": 100000, "size": 65536}]
ONE = [{"containerID": 0, "hostID": 5, "size": 1}]


def spec_of(**members: Any) -> Any:
    document: dict[str, Any] = {
        "ociVersion": "1.3.0", "root": {"path": "/r"}, "process": {"args": ["/x"], "cwd": "/"},
        "linux": {}, **members,
    }  # fmt: skip
    document["linux"].setdefault(
        "namespaces", [{"type": kind} for kind in ("mount", "pid", "ipc", "uts", "network")]
    )
    return CONFIG.read(document)


def plan(
    capabilities: int | None = None, owned: tuple[str, ...] = (), module: str = "", **members: Any
) -> Plan:
    spec = spec_of(**members)
    for mount in spec.mounts:
        if "bind" in mount.options:
            mount.type = "bind"
    host = machine(security_module=module)
    if capabilities is not None:
        host = machine(capabilities=capabilities, uid=1000)
    sources = {mount.source: Source(True, True) for mount in spec.mounts}
    made = compile_container(
        spec, host, RootFacts("directory", path="/r", sources=sources, shifted=True),
        Launch(waits=True, parent_death=False, maps_mounts=False, owned=owned),
    )  # fmt: skip
    check.check(made)
    return made


def found(made: Plan, kind: type[Any]) -> list[Any]:
    return [op for op in made.ops if isinstance(op, kind)]


def users(path: str = "") -> dict[str, Any]:
    namespaces = [{"type": kind} for kind in ("mount", "pid", "ipc", "uts", "network")]
    if path:
        return {"namespaces": [*namespaces, {"type": "user", "path": path}]}
    return {
        "namespaces": [*namespaces, {"type": "user"}], "uidMappings": MAPS, "gidMappings": MAPS,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("pointer", "members"),
    [
        ("/linux/namespaces", {"linux": {"namespaces": []}}),
        ("/linux/namespaces", {"linux": {"namespaces": [{"type": "pid"}]}}),
        ("/linux/netDevices",
         {"linux": {"netDevices": {"eth0": {}}, "namespaces": [{"type": "mount"}]}}),
        ("/linux/devices/0/path",
         {"linux": {"devices": [{"path": "/dev/../x", "type": "p"}]}}),
        ("/mounts/0/uidMappings",
         {"mounts": [{"destination": "/a", "type": "tmpfs", "uidMappings": ONE,
                      "gidMappings": ONE}]}),
    ],
)  # fmt: skip
def test_what_is_not_done_is_refused(pointer: str, members: dict[str, Any]) -> None:
    with pytest.raises(SpecError) as error:
        oci_checks.check(spec_of(**members))
    assert error.value.where == pointer


def test_how_it_is_scheduled() -> None:
    process = {
        "args": ["/x"], "cwd": "/",
        "scheduler": {"policy": "SCHED_DEADLINE", "runtime": 10, "deadline": 20, "period": 30,
                      "flags": ["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_RECLAIM"]},
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 6},
    }  # fmt: skip
    made = plan(process=process)
    (schedule,), (priority,) = found(made, ops.Scheduler), found(made, ops.IoPriority)
    assert (schedule.policy, schedule.flags, schedule.period) == (6, 3, 30)
    assert priority.value == 2 << 13 | 6
    clone = [type(op) for op in made.ops].index(ops.Clone)
    assert made.ops.index(schedule) > clone
    joined = plan(process=process, linux=users("/proc/1/ns/user"))
    kinds = [type(op) for op in joined.ops]
    assert kinds.index(ops.Scheduler) < kinds.index(ops.Join)


def test_nodes_and_processors_are_bits() -> None:
    made = plan(linux={"memoryPolicy": {
        "mode": "MPOL_INTERLEAVE", "nodes": "0-1,64", "flags": ["MPOL_F_STATIC_NODES"],
    }, "personality": {"domain": "LINUX32"}})  # fmt: skip
    (policy,), (personality,) = found(made, ops.MemoryPolicy), found(made, ops.Personality)
    assert policy.mode == 3 | 1 << 15
    assert policy.nodes == (3 | 1 << 64).to_bytes(16, "little")
    assert personality.domain == 8


def test_hooks_where_they_run() -> None:
    def hook(name: str) -> dict[str, Any]:
        return {"path": f"/{name}", "timeout": 3, "env": ["A=b"]}

    made = plan(hooks={
        "createContainer": [hook("one"), hook("two")], "startContainer": [hook("three")],
    }, linux={"seccomp": None})  # fmt: skip
    kinds = [type(op) for op in made.ops]
    one, two, three = found(made, ops.Hook)
    assert [op.path for op in (one, two, three)] == ["/one", "/two", "/three"]
    assert (one.arguments, one.environment, one.timeout) == (("/one",), ("A=b",), 3)
    assert made.ops.index(two) < kinds.index(ops.Pivot) < made.ops.index(three)
    assert made.ops.index(three) > kinds.index(ops.Capabilities)
    assert made.inherited[-2:] == ("state:creating", "state:created")
    # A hook finds the root where the bundle has it.
    assert "/r" in [op.path for op in found(made, ops.AttachAnywhere)]


def notifying(**process: Any) -> Any:
    spec = spec_of(process={"args": ["/x"], "cwd": "/", **process})
    spec.linux.seccomp = Seccomp(bytes(8), 8)
    return spec


def test_the_listener_of_a_filter_is_sent() -> None:
    """init inherits the connection; exec waits until the state is written."""
    root, launch = RootFacts("directory", path="/r", shifted=True), Launch(waits=True)
    made = compile_container(notifying(), machine(), root, launch)
    check.check(made)
    kinds = [type(op) for op in made.ops]
    at = kinds.index(ops.SendListener)
    assert kinds[at + 1] is ops.Seccomp and kinds.index(ops.AwaitStart) < at
    send = made.ops[at]
    assert isinstance(send, ops.SendListener)
    assert [made.inherited[slot] for slot in (send.socket, send.state)] == ["agent", "agent:state"]
    assert send.why == "/linux/seccomp/listenerPath"
    assert ops.AwaitParent not in kinds
    made = compile_execution(notifying(), machine(), Launch(parent_death=False), ("pid",))
    check.check(made)
    kinds = [type(op) for op in made.ops]
    assert made.inherited[-2:] == ("agent", "agent:state") and ops.SendListener in kinds
    clone, wait, release = map(kinds.index, (ops.Clone, ops.AwaitParent, ops.Release))
    assert clone < wait < release
    spec = notifying()
    spec.linux.seccomp.flags = 0
    made = compile_execution(spec, machine(), Launch(parent_death=False), ("pid",))
    assert "agent" not in made.inherited and not found(made, ops.AwaitParent)


@pytest.mark.parametrize(
    ("policy", "values"),
    [("SCHED_FIFO", {"priority": 1}),
     ("SCHED_DEADLINE", {"runtime": 10, "deadline": 20, "period": 30})],
)  # fmt: skip
def test_no_listener_where_its_thread_may_not_run(policy: str, values: dict[str, int]) -> None:
    spec = notifying(scheduler={"policy": policy, **values})
    root, launch = RootFacts("directory", path="/r", shifted=True), Launch(waits=True)
    with pytest.raises(SpecError, match=policy) as error:
        compile_container(spec, machine(), root, launch)
    assert error.value.where == "/process/scheduler/policy"


def test_limits_are_raised_where_there_is_the_right() -> None:
    process = {
        "args": ["/x"], "cwd": "/",
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2000000}],
    }  # fmt: skip
    made = plan(process=process, linux=users())
    kinds = [type(op) for op in made.ops]
    assert kinds.index(ops.RaiseLimit) < kinds.index(ops.Clone)
    assert not found(plan(process=process), ops.RaiseLimit)


def test_one_user_namespace_for_each_mapping() -> None:
    mount = {"type": "bind", "source": "/s", "uidMappings": ONE, "gidMappings": ONE}
    made = plan(mounts=[
        {"destination": "/a", **mount}, {"destination": "/b", "options": ["ridmap"], **mount},
    ])  # fmt: skip
    assert len(found(made, ops.MapNamespace)) == 1
    mapped = [op for op in found(made, ops.MountAttributes) if op.set & 0x100000]
    assert [op.recursive for op in mapped] == [0, 1]
    with pytest.raises(HostError):
        plan(capabilities=0, linux=users(), mounts=[{"destination": "/a", **mount}])


@pytest.mark.parametrize(
    ("type", "kind"), [("sysfs", "network"), ("mqueue", "ipc"), ("proc", "pid")]
)
def test_what_shows_a_namespace_of_others_is_the_machines_and_read_only(
    type: str, kind: str
) -> None:
    linux = users()
    linux["namespaces"] = [each for each in linux["namespaces"] if each["type"] != kind]
    destination = {"sysfs": "/sys", "mqueue": "/dev/mqueue", "proc": "/proc"}[type]
    mounts = [{"destination": destination, "type": type}]
    made = plan(linux=linux, mounts=mounts)
    assert any(
        op.set & 1 and op.recursive and op.about == destination
        for op in found(made, ops.MountAttributes)
    )
    own = plan(linux=users(), mounts=mounts)
    assert any(op.type == type for op in found(own, ops.Filesystem))


def test_a_given_namespace_may_be_the_given_user_namespaces() -> None:
    linux = users("/proc/1/ns/user")
    linux["namespaces"] = [
        {**each, "path": "/proc/1/ns/net"} if each["type"] == "network" else each
        for each in linux["namespaces"]
    ]
    mounts = [{"destination": "/sys", "type": "sysfs"}]
    assert not any(op.type == "sysfs" for op in found(plan(linux=linux, mounts=mounts),
                                                      ops.Filesystem))  # fmt: skip
    made = plan(owned=("network",), linux=linux, mounts=mounts)
    assert any(op.type == "sysfs" for op in found(made, ops.Filesystem))


@pytest.mark.parametrize(("uid", "becomes"), [(1000, True), (100005, False)])
def test_who_is_not_mapped_becomes_root_of_the_container(uid: int, becomes: bool) -> None:
    """Rootless Podman's ``--userns auto``: what the caller makes would have no owner."""
    spec = spec_of(linux=users())
    host = machine(uid=uid, gid=uid, uid_map=((0, 1000, 1),), gid_map=((0, 1000, 1),))
    made = compile_container(
        spec, host, RootFacts("directory", path="/r", shifted=True),
        Launch(waits=True, parent_death=False, maps_mounts=False),
    )  # fmt: skip
    first = next(op for op in made.ops if isinstance(op, (ops.User, ops.Umask)))
    assert isinstance(first, ops.User) is becomes


def test_systemd_takes_stage_1_before_anything_is_entered() -> None:
    """From another pid namespace its number would be another's to systemd."""
    spec = spec_of(linux={"namespaces": [
        {"type": "mount"}, {"type": "pid", "path": "/proc/1/ns/pid"}, {"type": "cgroup"},
    ]})  # fmt: skip
    launch = Launch(waits=True, parent_death=False, maps_mounts=False, admitted=True)
    made = compile_container(
        spec, machine(), RootFacts("directory", path="/r", shifted=True), launch
    )
    kinds = [type(op) for op in made.ops]
    waits, joins, clones = (kinds.index(op) for op in (ops.AwaitParent, ops.Join, ops.Clone))
    assert waits < joins < clones
    assert made.ops[waits].why == "/linux/cgroupsPath"
    other = compile_execution(spec, machine(), launch, ("pid", "mount", "cgroup"))
    kinds = [type(op) for op in other.ops]
    assert kinds.index(ops.AwaitParent) < kinds.index(ops.Join)


LABEL = "system_u:object_r:container_file_t:s0:c1,c2"


def test_mounts_of_its_own_have_the_label() -> None:
    kinds = {"/dev": "tmpfs", "/proc": "proc", "/dev/pts": "devpts", "/dev/mqueue": "mqueue",
             "/o": "overlay", "/sys": "sysfs", "/r": "ramfs", "/x": "ext4"}  # fmt: skip
    mounts = [{"destination": path, "type": type} for path, type in kinds.items()]
    mounts.append({"destination": "/own", "type": "overlay", "options": ["rootcontext=x"]})
    linux = {**users(), "mountLabel": LABEL, "maskedPaths": ["/proc/kcore"]}
    made = plan(module="selinux", mounts=mounts, linux=linux)
    labels = {
        op.about: dict(zip(op.options[::2], op.options[1::2], strict=True)).get("context")
        for op in found(made, ops.Filesystem)
    }
    labelled = {"/dev", "/dev/pts", "/o", "/r", "covers and small files"}
    assert {about for about, label in labels.items() if label} == labelled
    assert {labels[about] for about in labelled} == {LABEL}
    without = plan(module="selinux", mounts=mounts, linux={**linux, "mountLabel": ""})
    assert [type(op) for op in without.ops] == [type(op) for op in made.ops]


@pytest.mark.parametrize("module", ["", "apparmor"])
@pytest.mark.parametrize(
    ("pointer", "members"),
    [
        ("/linux/mountLabel", {"linux": {"mountLabel": LABEL}}),
        ("/process/selinuxLabel",
         {"process": {"args": ["/x"], "cwd": "/", "selinuxLabel": LABEL}}),
    ],
)  # fmt: skip
def test_a_label_without_selinux(pointer: str, members: dict[str, Any], module: str) -> None:
    with pytest.raises(HostError) as error:
        plan(module=module, **members)
    assert error.value.where == pointer
    plan(module="selinux", **members)
