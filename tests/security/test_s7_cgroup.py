"""S7: a container in no or the wrong control group, or a limit string that burns the host."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time

import pytest

from kokon.cgroup.manager import Manager
from kokon.cgroup.tables import writes
from kokon.config import sizes
from kokon.errors import HostError, KokonError, OptionError, SpecError
from kokon.kernel import cgroups
from kokon.kernel.cgroups import CgroupLayout, Hierarchy
from kokon.spec.resources import Cpu, HugepageLimit, Memory, Pids, Resources

SEEN = {
    "S7": "`..` in paths, keys that are not listed, refused writes that are passed over",
}

V2 = CgroupLayout(
    "v2",
    [
        Hierarchy(
            2,
            ["cpuset", "cpu", "memory", "hugetlb", "pids"],
            "/sys/fs/cgroup",
            "/",
            "/user.slice",
        )
    ],
)

HUGE_LISTS = ["1-999999999", "0-99999999999999999999", "0," * 1_000_000, "0-8192"]


@pytest.mark.parametrize("text", HUGE_LISTS)
def test_s7_a_cpu_list_costs_nothing(text: str) -> None:
    begin = time.perf_counter()
    with pytest.raises(OptionError):
        sizes.cpuset(text)
    with pytest.raises(SpecError):
        writes(Resources(cpu=Cpu(cpus=text)), V2)
    with pytest.raises(SpecError):
        writes(Resources(cpu=Cpu(mems=text)), V2)
    assert time.perf_counter() - begin < 1


@pytest.mark.parametrize(
    "path", ["../../x", "/../x", "a/../../b", "/a/./b", "a/cgroup.procs", "a b", "a\nb", "tasks"]
)
def test_s7_a_path_stays_in_its_tree(path: str) -> None:
    with pytest.raises(SpecError):
        Manager.for_host(V2, name="c", parent=path)


@pytest.mark.parametrize("name", ["..", "a/b", "", "../x", "memory.max", "\0", "x" * 256])
def test_s7_a_name_is_one_component(name: str) -> None:
    with pytest.raises(SpecError):
        Manager.for_host(V2, name=name)


@pytest.mark.parametrize(
    "key",
    [
        "../x",
        "../memory.max",
        "memory/../../x.max",
        "cgroup.procs",
        "cgroup.threads",
        "cgroup.subtree_control",
        "cgroup.kill",
        "cgroup.freeze",
        "cgroup.type",
        "cpuset.cpus.partition",
        "memory.reclaim",
        "memory.",
        "memory",
        "",
        "hugetlb.../x.max",
        "hugetlb.2MB/../x.max",
        "unknown.max",
        "memory.max\n",
    ],
)
def test_s7_keys_of_unified_are_on_a_list(key: str) -> None:
    with pytest.raises(SpecError, match="no file of a limit"):
        writes(Resources(unified={key: "1"}), V2)


@pytest.mark.parametrize("value", ["1\n2", "", "\n", "1\0"])
def test_s7_values_of_unified_are_one_line(value: str) -> None:
    with pytest.raises(SpecError, match="no value"):
        writes(Resources(unified={"memory.max": value}), V2)


@pytest.mark.parametrize("size", ["2MB/../x", "..", "2MB\n", "", "0MB", "2"])
def test_s7_a_page_size_is_no_path(size: str) -> None:
    with pytest.raises(SpecError):
        writes(Resources(hugepage_limits=(HugepageLimit(page_size=size, limit=1),)), V2)


def groups() -> set[str]:
    return {
        path
        for tree in cgroups.read().hierarchies
        for path, _, _ in os.walk(tree.mount_point)
        if "kokon-s7-" in path
    }


@pytest.mark.kernel
@pytest.mark.skipif(os.geteuid() != 0, reason="making control groups needs root")
def test_s7_a_limit_that_the_kernel_refuses_is_fatal_and_leaves_nothing() -> None:
    layout = cgroups.read()
    if layout.of("pids") is None or layout.of("cpuset") is None:
        pytest.skip("needs the pids and the cpuset controller")
    before = groups()
    resources = Resources(
        memory=Memory(limit=64 << 20) if layout.of("memory") else None,
        pids=Pids(limit=8),
        cpu=Cpu(cpus="8000"),
    )
    manager = Manager.for_host(layout, name="kokon-s7-refused")
    with pytest.raises(HostError) as caught:
        manager.create(resources, account=("memory", "cpu"))
    assert caught.value.where == "/linux/resources/cpu/cpus"
    assert "8000" in str(caught.value) and caught.value.remedy
    assert groups() == before


@pytest.mark.kernel
@pytest.mark.skipif(os.geteuid() != 0, reason="making control groups needs root")
def test_s7_a_process_of_its_own_user_namespace_is_in_every_group() -> None:
    layout, unshare = cgroups.read(), shutil.which("unshare")
    if layout.mode not in ("v1", "hybrid") or layout.of("pids") is None or unshare is None:
        pytest.skip("needs a version 1 pids controller and unshare(1)")
    manager = Manager.for_host(layout, name="kokon-s7-user")
    placement = manager.create(Resources(pids=Pids(limit=8)), account=("memory",))
    try:
        attach = (
            f"import os\n[os.write(fd, b'0') for fd in {placement.tasks_fds}]\n"
            "print(open('/proc/self/cgroup').read())"
        )
        done = subprocess.run(
            [unshare, "--user", sys.executable, "-I", "-S", "-c", attach],
            pass_fds=placement.tasks_fds,
            capture_output=True,
            text=True,
            check=True,
        )
        moved = layout.moved(done.stdout)
        for controller, path in placement.paths.items():
            tree = moved.of(controller)
            assert tree is not None and tree.directory() == path
    finally:
        placement.close()
        manager.remove()


@pytest.mark.kernel
@pytest.mark.skipif(os.geteuid() != 0, reason="making control groups needs root")
def test_s7_an_existing_group_is_not_joined() -> None:
    layout = cgroups.read()
    if layout.of("pids") is None:
        pytest.skip("needs the pids controller")
    first = Manager.for_host(layout, name="kokon-s7-twice")
    first.create(Resources(pids=Pids(limit=8))).close()
    try:
        second = Manager.for_host(layout, name="kokon-s7-twice")
        with pytest.raises(KokonError, match="choose another name"):
            second.create(Resources(pids=Pids(limit=9)))
        assert os.path.isdir(next(iter(first.groups.values())).path)
    finally:
        first.remove()
