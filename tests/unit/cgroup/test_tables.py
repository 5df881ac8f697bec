"""The tables of writes: golden for v1, v2 and hybrid, and every value that is refused."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import kokon.cgroup
from kokon.cgroup.table_v2 import cpu_weight, io_weight
from kokon.cgroup.tables import accounting, group_path, writes
from kokon.errors import HostError, KokonError, OptionError, SpecError
from kokon.kernel.cgroups import CgroupLayout, Hierarchy
from kokon.spec.resources import (
    BlockIo,
    Cpu,
    DeviceRate,
    DeviceRule,
    DeviceWeight,
    HugepageLimit,
    InterfacePriority,
    Memory,
    Network,
    Pids,
    RdmaLimit,
    Resources,
)


def v1_tree(controller: str) -> Hierarchy:
    return Hierarchy(1, [controller], f"/sys/fs/cgroup/{controller}", "/", "/")


V1_CONTROLLERS = (
    "cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "hugetlb", "rdma",
    "net_cls", "net_prio",
)  # fmt: skip
V1 = CgroupLayout("v1", [v1_tree(controller) for controller in V1_CONTROLLERS])
V2 = CgroupLayout(
    "v2",
    [
        Hierarchy(
            2,
            ["cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc"],
            "/sys/fs/cgroup",
            "/",
            "/user.slice",
        )
    ],
)
HYBRID = CgroupLayout(
    "hybrid",
    [
        *(v1_tree(controller) for controller in ("cpu", "cpuacct", "memory", "pids", "blkio")),
        Hierarchy(2, ["hugetlb"], "/sys/fs/cgroup/unified", "/", "/"),
    ],
)
NONE = CgroupLayout("none", [])

MANY = Resources(
    memory=Memory(
        limit=100, swap=150, reservation=50, swappiness=0, disable_oom_killer=False, kernel=-1
    ),
    cpu=Cpu(shares=512, quota=50_000, period=100_000, burst=1_000, idle=0, cpus="0-1", mems="0"),
    pids=Pids(limit=32),
    block_io=BlockIo(
        weight=500,
        weight_device=(DeviceWeight(major=8, minor=0, weight=300),),
        throttle_read_bps_device=(DeviceRate(major=8, minor=0, rate=1_000),),
        throttle_write_iops_device=(DeviceRate(major=8, minor=16, rate=0),),
    ),
    hugepage_limits=(HugepageLimit(page_size="2MB", limit=4_194_304),),
    rdma={"mlx5_1": RdmaLimit(hca_handles=3, hca_objects=10_000)},
)


def lines(resources: Resources, layout: CgroupLayout) -> list[str]:
    return [f"{write.file}={write.value}" for write in writes(resources, layout)]


def test_golden_v1() -> None:
    assert lines(MANY, V1) == [
        "memory.limit_in_bytes=100",
        "memory.memsw.limit_in_bytes=150",
        "memory.soft_limit_in_bytes=50",
        "memory.swappiness=0",
        "cpu.shares=512",
        "cpu.cfs_period_us=100000",
        "cpu.cfs_quota_us=50000",
        "cpu.cfs_burst_us=1000",
        "cpu.idle=0",
        "cpuset.cpus=0-1",
        "cpuset.mems=0",
        "pids.max=32",
        "blkio.bfq.weight=500",
        "blkio.bfq.weight_device=8:0 300",
        "blkio.throttle.read_bps_device=8:0 1000",
        "blkio.throttle.write_iops_device=8:16 0",
        "hugetlb.2MB.rsvd.limit_in_bytes=4194304",
        "rdma.max=mlx5_1 hca_handle=3 hca_object=10000",
    ]


def test_golden_v2() -> None:
    assert lines(MANY, V2) == [
        "memory.max=100",
        "memory.swap.max=0",
        "memory.low=50",
        "cpu.weight=59",
        "cpu.max=50000 100000",
        "cpu.max.burst=1000",
        "cpu.idle=0",
        "cpuset.cpus=0-1",
        "cpuset.mems=0",
        "pids.max=32",
        "io.bfq.weight=500",
        "io.bfq.weight=8:0 300",
        "io.max=8:0 rbps=1000",
        "io.max=8:16 wiops=max",
        "hugetlb.2MB.rsvd.max=4194304",
        "rdma.max=mlx5_1 hca_handle=3 hca_object=10000",
    ]


def test_golden_hybrid() -> None:
    resources = Resources(
        memory=Memory(limit=100),
        pids=Pids(limit=-1),
        hugepage_limits=MANY.hugepage_limits,
        unified={"hugetlb.1GB.max": "max"},
    )
    assert [(write.controller, write.file, write.value) for write in writes(resources, HYBRID)] == [
        ("memory", "memory.limit_in_bytes", "100"),
        ("pids", "pids.max", "max"),
        ("hugetlb", "hugetlb.2MB.rsvd.max", "4194304"),
        ("hugetlb", "hugetlb.1GB.max", "max"),
    ]


def test_why_is_the_pointer_or_the_option() -> None:
    resources = Resources(memory=Memory(limit=100), pids=Pids(limit=1))
    first, second = writes(resources, V2, {"/linux/resources/memory/limit": "--memory"})
    assert (first.why, second.why) == ("--memory", "/linux/resources/pids/limit")


def test_nothing_asked_writes_nothing() -> None:
    zeros = Resources(
        memory=Memory(limit=0, swap=0, kernel=0, disable_oom_killer=False),
        cpu=Cpu(shares=0, quota=0, period=0, cpus="", realtime_runtime=0),
        block_io=BlockIo(weight=0, leaf_weight=0, weight_device=()),
        hugepage_limits=(),
        rdma={},
        unified={},
        devices=(),
    )
    for layout in (V1, V2, HYBRID, NONE):
        assert writes(Resources(), layout) == ()
        assert writes(zeros, layout) == ()


@pytest.mark.parametrize(
    "resources",
    [
        Resources(memory=Memory(limit=-1, swappiness=0, disable_oom_killer=False)),
        Resources(pids=Pids(limit=-1)),
        Resources(cpu=Cpu(quota=-1, idle=0)),
        Resources(network=Network(class_id=0, priorities=())),
    ],
)
def test_no_limit_is_accepted_where_there_is_no_controller(resources: Resources) -> None:
    assert writes(resources, NONE) == ()


@pytest.mark.parametrize(
    ("resources", "controller"),
    [
        (Resources(memory=Memory(limit=100)), "memory"),
        (Resources(pids=Pids(limit=5)), "pids"),
        (Resources(cpu=Cpu(shares=5)), "cpu"),
        (Resources(cpu=Cpu(cpus="0")), "cpuset"),
        (Resources(block_io=BlockIo(weight=10)), "blkio or io"),
        (Resources(hugepage_limits=MANY.hugepage_limits), "hugetlb"),
        (Resources(rdma=MANY.rdma), "rdma"),
        (Resources(network=Network(class_id=1)), "net_cls"),
        (
            Resources(network=Network(priorities=(InterfacePriority(name="lo", priority=1),))),
            "net_prio",
        ),
        (Resources(unified={"memory.high": "1"}), "memory"),
    ],
)
def test_a_missing_controller_is_named(resources: Resources, controller: str) -> None:
    with pytest.raises(HostError, match=f"no {controller} controller") as caught:
        writes(resources, NONE)
    assert caught.value.where.startswith("/linux/resources/") and caught.value.remedy


def test_swap_is_a_sum_on_v1_and_a_difference_on_v2() -> None:
    resources = Resources(memory=Memory(limit=100, swap=150))
    assert lines(resources, V1)[1] == "memory.memsw.limit_in_bytes=150"
    assert lines(resources, V2)[1] == "memory.swap.max=50"
    unlimited = Resources(memory=Memory(limit=100, swap=-1))
    assert lines(unlimited, V1)[1] == "memory.memsw.limit_in_bytes=-1"
    assert lines(unlimited, V2)[1] == "memory.swap.max=max"
    none = Resources(memory=Memory(limit=100, swap=100))
    assert lines(none, V2)[1] == "memory.swap.max=0"


def test_swappiness_on_v2() -> None:
    (write,) = writes(Resources(memory=Memory(swappiness=0)), V2)
    assert (write.file, write.value) == ("memory.swap.max", "0")
    assert "no swappiness" in write.note
    with pytest.raises(HostError, match="cgroup v2 has no swappiness; leave it out, or give 0"):
        writes(Resources(memory=Memory(swappiness=60)), V2)
    assert lines(Resources(memory=Memory(swappiness=60)), V1) == ["memory.swappiness=60"]


@pytest.mark.parametrize(
    ("resources", "word"),
    [
        (Resources(memory=Memory(disable_oom_killer=True)), "OOM killer"),
        (Resources(memory=Memory(kernel_tcp=100)), "TCP"),
        (Resources(memory=Memory(kernel=100)), "kernel memory"),
        (Resources(cpu=Cpu(realtime_runtime=100)), "real-time"),
        (Resources(block_io=BlockIo(leaf_weight=10)), "leaf weights"),
        (Resources(devices=(DeviceRule(allow=False),)), "eBPF"),
    ],
)
def test_what_v2_does_not_have(resources: Resources, word: str) -> None:
    with pytest.raises(HostError, match=word):
        writes(resources, V2)


@pytest.mark.parametrize(
    "resources",
    [
        Resources(memory=Memory(limit=-2)),
        Resources(memory=Memory(limit=1 << 63)),
        Resources(memory=Memory(limit=100, swap=50)),
        Resources(memory=Memory(swap=50)),
        Resources(memory=Memory(swappiness=101)),
        Resources(memory=Memory(limit=1.5)),
        Resources(memory=Memory(limit=True)),
        Resources(cpu=Cpu(quota=999)),
        Resources(cpu=Cpu(quota=-5)),
        Resources(cpu=Cpu(period=10)),
        Resources(cpu=Cpu(period=2_000_000)),
        Resources(cpu=Cpu(quota=2_000, burst=3_000)),
        Resources(cpu=Cpu(idle=2)),
        Resources(cpu=Cpu(cpus="0-99999")),
        Resources(cpu=Cpu(mems="0\n1")),
        Resources(pids=Pids(limit=-2)),
        Resources(pids=Pids(limit=5_000_000)),
        Resources(block_io=BlockIo(weight=9)),
        Resources(block_io=BlockIo(weight=1001)),
        Resources(
            block_io=BlockIo(throttle_read_bps_device=(DeviceRate(major=-1, minor=0, rate=1),))
        ),
        Resources(hugepage_limits=(HugepageLimit(page_size="../2MB", limit=1),)),
        Resources(hugepage_limits=(HugepageLimit(page_size="2mb", limit=1),)),
        Resources(rdma={"a b": RdmaLimit(hca_handles=1)}),
        Resources(rdma={"a\nb": RdmaLimit(hca_handles=1)}),
    ],
)
def test_values_that_no_kernel_takes(resources: Resources) -> None:
    for layout in (V1, V2):
        with pytest.raises(SpecError) as caught:
            writes(resources, layout)
        assert caught.value.where.startswith("/linux/resources/")


def test_a_wrong_value_from_an_option_is_that_options_error() -> None:
    with pytest.raises(OptionError, match=r"^--pids-limit: "):
        writes(Resources(pids=Pids(limit=-2)), V2, {"/linux/resources/pids/limit": "--pids-limit"})


def test_pids_zero_is_a_limit() -> None:
    assert lines(Resources(pids=Pids(limit=0)), V2) == ["pids.max=0"]


def test_cpu_weight_meets_the_three_points() -> None:
    assert [cpu_weight(shares) for shares in (2, 1024, 262_144)] == [1, 100, 10_000]
    assert cpu_weight(1) == 1 and cpu_weight(1 << 40) == 10_000
    weights = [cpu_weight(shares) for shares in range(2, 5_000)]
    assert weights == sorted(weights)
    assert (io_weight(10), io_weight(1000)) == (1, 10_000)


def test_cpu_max_on_v2() -> None:
    assert lines(Resources(cpu=Cpu(quota=5_000)), V2) == ["cpu.max=5000"]
    assert lines(Resources(cpu=Cpu(period=5_000)), V2) == ["cpu.max=max 5000"]
    assert lines(Resources(cpu=Cpu(quota=-1)), V2) == ["cpu.max=max"]


def test_device_rules_on_v1() -> None:
    rules = (
        DeviceRule(allow=False),
        DeviceRule(allow=True, type="c", major=1, minor=3, access="rw"),
        DeviceRule(allow=True, type="a", major=10, access="r"),
        DeviceRule(allow=True, type="b", access="m"),
    )
    assert lines(Resources(devices=rules), V1) == [
        "devices.deny=a *:* rwm",
        "devices.allow=c 1:3 rw",
        "devices.allow=b 10:* r",
        "devices.allow=c 10:* r",
        "devices.allow=b *:* m",
    ]
    with pytest.raises(SpecError):
        writes(Resources(devices=(DeviceRule(allow=True, type="c", access="x"),)), V1)


def test_unified() -> None:
    files = {"memory.high": "5", "io.max": "8:0 rbps=1\n8:16 wiops=2", "cgroup.max.depth": "3"}
    assert lines(Resources(unified=files), V2) == [
        "memory.high=5",
        "io.max=8:0 rbps=1",
        "io.max=8:16 wiops=2",
        "cgroup.max.depth=3",
    ]


def test_accounting() -> None:
    wishes = ("memory", "cpu", "freeze", "processes")
    assert accounting(wishes, V1) == ("memory", "cpuacct", "freezer", "pids")
    assert accounting(wishes, V2) == ("memory", "cgroup")
    assert accounting(wishes, HYBRID) == ("memory", "cgroup")
    assert accounting(wishes, NONE) == ()


def test_group_path() -> None:
    assert group_path("/engine/abc") == ("engine", "abc")
    assert group_path("a//b/") == ("a", "b")
    with pytest.raises(KokonError):
        group_path("/")


def test_the_tables_are_pure() -> None:
    room = Path(kokon.cgroup.__file__).parent
    for file in ("tables.py", "table_v1.py", "table_v2.py", "write.py"):
        for node in ast.walk(ast.parse((room / file).read_text())):
            if isinstance(node, ast.Import):
                assert not node.names, f"{file} imports {node.names[0].name}"
