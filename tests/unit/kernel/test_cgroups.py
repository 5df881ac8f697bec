from __future__ import annotations

import json

import pytest

from kokon.kernel import cgroups, mountinfo
from kokon.kernel.cgroups import CgroupLayout, layout

HYBRID_MOUNTS = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
HYBRID_OWN = "3:name=systemd:/\n2:memory:/job/7\n1:cpu:/\n0::/\n"

V1_MOUNTS = """\
30 25 0:26 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/systemd rw shared:10 - cgroup cgroup rw,xattr,name=systemd
33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:11 - cgroup cgroup rw,cpu,cpuacct
34 30 0:30 / /sys/fs/cgroup/pids rw shared:12 - cgroup cgroup rw,pids
"""
V1_OWN = "12:pids:/user.slice\n4:cpu,cpuacct:/user.slice\n1:name=systemd:/user.slice/s\n"

V2_MOUNTS = "31 23 0:28 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V2_OWN = "0::/user.slice/user-1000.slice/session-3.scope\n"


def test_hybrid() -> None:
    found = layout(HYBRID_MOUNTS, HYBRID_OWN, "hugetlb\n")
    assert found.mode == "hybrid"
    memory, hugetlb = found.of("memory"), found.of("hugetlb")
    assert memory is not None and (memory.version, memory.own) == (1, "/job/7")
    assert memory.directory() == "/sys/fs/cgroup/memory/job/7"
    assert hugetlb is found.unified and hugetlb is not None and hugetlb.version == 2
    assert found.of("pids") is None


def test_v1_with_controllers_that_share_a_hierarchy() -> None:
    found = layout(V1_MOUNTS, V1_OWN)
    assert found.mode == "v1" and found.unified is None
    cpu = found.of("cpu")
    assert cpu is found.of("cpuacct") and cpu is not None
    assert cpu.directory() == "/sys/fs/cgroup/cpu,cpuacct/user.slice"


def test_v2() -> None:
    found = layout(V2_MOUNTS, V2_OWN, "cpu memory pids\n")
    assert found.mode == "v2"
    tree = found.of("pids")
    assert tree is not None
    assert tree.directory() == "/sys/fs/cgroup/user.slice/user-1000.slice/session-3.scope"


def test_a_named_v1_hierarchy_alone_leaves_v2() -> None:
    mounts = V2_MOUNTS + "40 31 0:37 / /run/named rw - cgroup cgroup rw,name=systemd\n"
    assert layout(mounts, "1:name=systemd:/\n" + V2_OWN).mode == "v2"


def test_names_of_directories_say_nothing() -> None:
    # Directories called memory, cpu, unified on a tmpfs: nothing is mounted there.
    mounts = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs cgroup rw,memory\n"
    assert layout(mounts, "2:memory:/\n").mode == "none"
    assert layout("", "").hierarchies == ()


def test_in_a_container_the_mount_shows_our_own_group_only() -> None:
    mounts = "33 30 0:29 /docker/abc /sys/fs/cgroup/pids ro - cgroup cgroup rw,pids\n"
    tree = layout(mounts, "4:pids:/docker/abc\n").of("pids")
    assert tree is not None
    assert tree.directory() == "/sys/fs/cgroup/pids"
    assert tree.directory("/docker/abc/x") == "/sys/fs/cgroup/pids/x"
    assert tree.directory("/docker/abcd") is None


@pytest.mark.parametrize("own", ["/..", "/../other", "/a/../../b"])
def test_a_group_outside_our_namespace_has_no_directory(own: str) -> None:
    tree = layout(V2_MOUNTS, f"0::{own}\n", "pids").of("pids")
    assert tree is not None and tree.directory() is None


def test_of_two_mounts_the_one_that_shows_us() -> None:
    mounts = (
        "33 30 0:29 /other /mnt/a rw - cgroup cgroup rw,pids\n"
        "34 30 0:29 /ours /mnt/b rw - cgroup cgroup rw,pids\n"
        "35 30 0:29 / /mnt/c rw - cgroup cgroup rw,pids\n"
    )
    tree = layout(mounts, "4:pids:/ours\n").of("pids")
    assert tree is not None and tree.directory() == "/mnt/c/ours"


def test_as_json_and_back() -> None:
    found = layout(HYBRID_MOUNTS, HYBRID_OWN, "hugetlb")
    again = CgroupLayout.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.to_dict() == found.to_dict()
    assert again.mode == "hybrid" and again.of("memory") is not None


def test_a_saved_layout_moves_with_the_process() -> None:
    saved = layout(HYBRID_MOUNTS, HYBRID_OWN, "hugetlb")
    moved = saved.moved("2:memory:/job/8\n1:cpu:/x\n0::/y\n3:name=systemd:/z\n")
    assert [tree.own for tree in moved.hierarchies] == ["/x", "/job/8", "/z", "/y"]


def test_this_machine() -> None:
    found = cgroups.read()
    assert found.mode in ("v1", "v2", "hybrid", "none")
    assert cgroups.read_moved(found).to_dict() == found.to_dict()


def test_mountinfo_fields() -> None:
    line = (
        "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue\n"
    )
    (mount,) = mountinfo.parse(line)
    assert (mount.mount_id, mount.parent_id, mount.device) == (36, 35, "98:0")
    assert (mount.root, mount.mount_point, mount.filesystem) == ("/mnt1", "/mnt2", "ext3")
    assert mount.options == ("rw", "noatime")
    assert mount.propagation == ("master:1", "shared:2")
    assert (mount.source, mount.super_options) == ("/dev/root", ("rw", "errors=continue"))


def test_mountinfo_escapes_and_filter() -> None:
    text = (
        "1 0 0:1 / /a\\040b\\134040\\011c rw - tmpfs none rw\n"
        "2 0 0:2 / /x\x0b\x85y rw - proc proc rw\n"
    )
    first, second = mountinfo.parse(text)
    assert first.mount_point == "/a b\\040\tc"
    assert second.mount_point == "/x\x0b\x85y"
    assert [mount.mount_id for mount in mountinfo.parse(text, only=("proc",))] == [2]


@pytest.mark.parametrize("line", ["nonsense", "1 2 3 4 5 6 7", "1 2 3 4 - 5"])
def test_mountinfo_that_is_none(line: str) -> None:
    with pytest.raises(ValueError, match="not a line of mountinfo"):
        mountinfo.parse(line)
