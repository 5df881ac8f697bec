"""Names of units from cgroupsPath, and what systemd is told of limits."""

from __future__ import annotations

import pytest

from kokon.cgroup import tables, unit
from kokon.cgroup.write import Write
from kokon.errors import SpecError
from kokon.kernel.cgroups import CgroupLayout, Hierarchy
from kokon.spec.resources import BlockIo, Cpu, Memory, Pids, Resources

CONTROLLERS = ("cpuset", "cpu", "io", "memory", "pids")
LAYOUT = CgroupLayout("v2", [Hierarchy(2, CONTROLLERS, "/sys/fs/cgroup", "/", "/")])


@pytest.mark.parametrize(
    ("path", "slice_name", "name"),
    [
        ("", "system.slice", "kokon-web.scope"),
        ("user.slice:libpod:1f", "user.slice", "libpod-1f.scope"),
        (":libpod:1f", "system.slice", "libpod-1f.scope"),
        ("a-b.slice:cri-containerd:x.y_z", "a-b.slice", "cri-containerd-x.y_z.scope"),
        ("machine.slice::web", "machine.slice", "web.scope"),
    ],
)
def test_names_of_scopes(path: str, slice_name: str, name: str) -> None:
    assert unit.scope_name(path, "web", "system.slice") == (slice_name, name)


def test_an_id_that_is_no_name_of_a_unit() -> None:
    """As systemd-escape(1) writes it."""
    assert unit.scope_name("", "a+b", "user.slice") == ("user.slice", "kokon-a\\x2bb.scope")


@pytest.mark.parametrize(
    "path",
    [
        "/a/b", "web", "a.slice:b", "a.slice:b:c:d", "a.slice:b:", "::", "../x.slice:p:n",
        "a.slice:p:../n", "a.slice:p/q:n", "a.slice:p:n\n", "a.slice:p: n", "a.slice:_p:n",
        "a.slice:.p:n", "a.slice:é:n", "a.slice:p:n.slice", "a.slice:p@:n",
        "a.slice:p:" + "n" * 250,
    ],
)  # fmt: skip
def test_paths_that_name_no_scope(path: str) -> None:
    with pytest.raises(SpecError) as refusal:
        unit.scope_name(path, "web", "system.slice")
    assert refusal.value.where == "/linux/cgroupsPath" and refusal.value.remedy


@pytest.mark.parametrize(
    ("slice_name", "path"),
    [
        ("a.slice", "/a.slice/x.scope"),
        ("a-b-c.slice", "/a.slice/a-b.slice/a-b-c.slice/x.scope"),
        ("-.slice", "/x.scope"),
        (
            "kubepods-burstable-pod1_2.slice",
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice/x.scope",
        ),
    ],
)
def test_where_a_scope_is(slice_name: str, path: str) -> None:
    assert unit.scope_path(slice_name, "x.scope") == path


@pytest.mark.parametrize(
    "slice_name",
    ["a", "a.scope", ".slice", "-a.slice", "a-.slice", "a--b.slice", "--.slice", "memory.x.slice"],
)
def test_slices_that_are_none(slice_name: str) -> None:
    with pytest.raises(SpecError) as refusal:
        unit.scope_path(slice_name, "x.scope")
    assert refusal.value.where == "/linux/cgroupsPath" and refusal.value.remedy


def test_a_scope_that_would_be_a_control_file() -> None:
    """systemd would make it with another name."""
    with pytest.raises(SpecError):
        unit.scope_path("a.slice", "memory.max-x.scope")


def told(**fields: object) -> dict[str, object]:
    resources = Resources(**fields)  # type: ignore[arg-type]
    made = unit.known(tables.writes(resources, LAYOUT), lambda file: file != "io.bfq.weight")
    return unit.limits(made)


def test_limits_in_systemds_words() -> None:
    assert told(
        memory=Memory(limit=1 << 26, reservation=1 << 25, swap=1 << 27), pids=Pids(limit=20),
        cpu=Cpu(shares=1024, quota=33333, period=50000, cpus="0,3-9", mems="0"),
        block_io=BlockIo(weight=10),
    ) == {
        "MemoryMax": 1 << 26, "MemoryLow": 1 << 25, "MemorySwapMax": 1 << 26, "TasksMax": 20,
        "CPUWeight": 100, "CPUQuotaPerSecUSec": 670_000, "CPUQuotaPeriodUSec": 50_000,
        "AllowedCPUs": b"\xf9\x03", "AllowedMemoryNodes": b"\x01", "IOWeight": 1,
    }  # fmt: skip


def test_no_limit_in_systemds_words() -> None:
    assert told(
        memory=Memory(limit=-1, swap=-1), pids=Pids(limit=-1), cpu=Cpu(quota=-1, period=20000)
    ) == {
        "MemoryMax": unit.INFINITY, "MemorySwapMax": unit.INFINITY, "TasksMax": unit.INFINITY,
        "CPUQuotaPerSecUSec": unit.INFINITY, "CPUQuotaPeriodUSec": 20_000,
    }  # fmt: skip
    assert told() == {}


def test_files_by_name_in_systemds_words() -> None:
    values = told(
        unified={"memory.high": "3M", "memory.min": "max", "memory.low": "much", "pids.max": "0",
                 "io.weight": "default 7", "io.max": "8:0 rbps=1", "cpu.weight.nice": "3"},
    )  # fmt: skip
    assert values == {
        "MemoryHigh": 3 << 20, "MemoryMin": unit.INFINITY, "TasksMax": 1, "IOWeight": 7,
    }  # fmt: skip
    assert told(unified={"cpu.idle": "1"}) == {"CPUWeight": 0}
    assert told(cpu=Cpu(idle=0)) == {"CPUWeight": unit.INFINITY}


@pytest.mark.parametrize("weight", [10, 100, 101, 500, 1000])
def test_a_weight_of_bfq_is_what_systemd_makes_of_it(weight: int) -> None:
    value = unit.limits([Write("io", "io.bfq.weight", str(weight), "")])["IOWeight"]
    # BFQ_WEIGHT of systemd's src/core/cgroup.c.
    assert (
        value if value <= 100 else 100 + (value - 100) * (1000 - 100) // (10000 - 100)
    ) == weight


def test_every_property_has_a_type() -> None:
    """A property is one of the closed list, or cannot be said."""
    values = told(memory=Memory(limit=1 << 26), cpu=Cpu(cpus="1"))
    assert unit.typed(values) == [
        ("MemoryMax", ("t", 1 << 26)), ("AllowedCPUs", ("ay", b"\x02")),
    ]  # fmt: skip
    with pytest.raises(KeyError):
        unit.typed({"ExecStart": "x"})
