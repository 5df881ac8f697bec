"""What the backends decide, on directories that look like control groups."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from kokon.cgroup import v2
from kokon.cgroup.group import refused
from kokon.cgroup.systemd import scope_properties
from kokon.cgroup.usage import hits, usage
from kokon.cgroup.v1 import GroupV1
from kokon.cgroup.v2 import GroupV2, find_parent
from kokon.cgroup.write import Write
from kokon.errors import HostError
from kokon.kernel.cgroups import Hierarchy


def group(path: Path, controllers: str, handed_on: str, processes: str, root: bool = False) -> None:
    path.mkdir(exist_ok=True)
    (path / "cgroup.controllers").write_text(controllers)
    (path / "cgroup.subtree_control").write_text(handed_on)
    (path / "cgroup.procs").write_text(processes)
    if not root:
        (path / "cgroup.type").write_text("domain\n")


def tree(top: Path, own: str) -> Hierarchy:
    return Hierarchy(2, ["cpu", "memory", "pids"], str(top), "/", own)


def test_a_group_with_processes_is_no_parent_of_limits(tmp_path: Path) -> None:
    group(tmp_path, "cpu memory pids", "cpu memory pids", "1\n", root=True)
    group(tmp_path / "slice", "cpu memory pids", "memory pids", "")
    group(tmp_path / "slice" / "own", "memory pids", "", "7\n")
    found = tree(tmp_path, "/slice/own")
    # Nothing to limit: below us.  What the slice hands on, or can hand on: beside us.
    assert find_parent(found, ()) == str(tmp_path / "slice" / "own")
    assert find_parent(found, ("memory", "pids")) == str(tmp_path / "slice")
    assert find_parent(found, ("cpu",)) == str(tmp_path / "slice")
    (tmp_path / "slice" / "cgroup.procs").write_text("8\n")
    assert find_parent(found, ("cpu",)) == str(tmp_path)
    assert find_parent(found, ("memory",)) == str(tmp_path / "slice")
    assert find_parent(found, ("io",)) is None


def test_what_a_user_was_given_of_the_machines_controllers(tmp_path: Path) -> None:
    group(tmp_path, "cpu memory pids hugetlb", "cpu memory pids", "1\n")
    group(tmp_path / "own", "cpu memory pids", "memory pids", "")
    group(tmp_path / "own" / "service", "memory pids", "", "7\n")
    found = tree(tmp_path, "/own/service")
    wished = ("cpu", "memory", "pids", "hugetlb")
    assert v2.at_hand(found, ("memory",), wished) == ("cpu", "memory", "pids")
    # Without limits it is beside nothing, below us, where nothing can be handed on.
    assert v2.at_hand(found, (), wished) == ("memory", "pids")
    assert v2.at_hand(found, ("hugetlb",), wished) == ("hugetlb",)


def test_a_threaded_group_is_no_parent(tmp_path: Path) -> None:
    group(tmp_path, "pids", "pids", "", root=True)
    group(tmp_path / "own", "pids", "pids", "")
    (tmp_path / "own" / "cgroup.type").write_text("threaded\n")
    assert find_parent(tree(tmp_path, "/own"), ("pids",)) == str(tmp_path)


def test_what_can_be_said_where_there_is_no_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group(tmp_path, "memory pids", "", "1\n")
    found = tree(tmp_path, "/")
    with pytest.raises(HostError, match="was not given the controllers cpu; delegate them"):
        v2.place(found, "kokon-x", ("cpu", "memory"))
    with pytest.raises(HostError, match="holds processes, so it cannot limit") as caught:
        v2.place(found, "kokon-x", ("memory",), why="--memory")
    assert caught.value.where == "--memory"
    with pytest.raises(HostError, match=r"our own control group /\.\./x"):
        v2.place(tree(tmp_path, "/../x"), "kokon-x", ("memory",))
    monkeypatch.setattr(v2, "writable", lambda directory: False)
    with pytest.raises(HostError, match="systemd-run --user --scope -p Delegate=yes"):
        v2.place(found, "kokon-x", ("memory",))


def test_cpus_that_are_not_there_are_an_error_on_v2(tmp_path: Path) -> None:
    for file in ("cpuset.cpus", "cpuset.cpus.effective"):
        (tmp_path / file).write_text("")
    (tmp_path / "cpuset.cpus.effective").write_text("0-3,8\n")
    ours = GroupV2(str(tmp_path))
    ours.apply([Write("cpuset", "cpuset.cpus", "1-2,8", "--cpuset-cpus")])
    with pytest.raises(HostError, match=r"--cpuset-cpus: .* name some of 0-3,8"):
        ours.apply([Write("cpuset", "cpuset.cpus", "2-5", "--cpuset-cpus")])


@pytest.mark.parametrize(
    ("present", "order"), [("9223372036854771712", [0, 1]), ("50", [1, 0]), ("200", [0, 1])]
)
def test_memory_and_swap_in_the_order_that_v1_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, present: str, order: list[int]
) -> None:
    (tmp_path / "memory.memsw.limit_in_bytes").write_text(present + "\n")
    written: list[str] = []
    monkeypatch.setattr("kokon.cgroup.group.write_file", lambda path, value: written.append(value))
    values = ["100", "150"]
    GroupV1(str(tmp_path)).apply(
        [
            Write("memory", "memory.limit_in_bytes", values[0], ""),
            Write("memory", "memory.memsw.limit_in_bytes", values[1], ""),
        ]
    )
    assert written == [values[at] for at in order]


def test_alternatives_and_files_that_may_lack(tmp_path: Path) -> None:
    (tmp_path / "io.weight").write_text("")
    ours = GroupV2(str(tmp_path))
    ours.apply([Write("io", "io.bfq.weight", "5", "", alternatives=(("io.weight", "50"),))])
    assert (tmp_path / "io.weight").read_text() == "50"
    ours.apply([Write("cpu", "cpu.idle", "0", "", may_lack=True)])
    with pytest.raises(HostError, match=r"this kernel has no memory\.swap\.max") as caught:
        ours.apply([Write("memory", "memory.swap.max", "5", "--memory-swap")])
    assert "swapaccount=1" in caught.value.remedy
    assert not (tmp_path / "memory.swap.max").exists()


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EACCES, errno.EBUSY, errno.ENODEV, 99])
def test_a_refusal_is_one_sentence(number: int) -> None:
    error = refused("/sys/fs/cgroup/x", "cpu.max", "5 5", "--cpus", OSError(number, ""))
    text = str(error)
    assert text.startswith("--cpus: '5 5' was not taken by /sys/fs/cgroup/x/cpu.max: ")
    assert error.remedy and "\n" not in text


def test_usage_and_hits_on_v2(tmp_path: Path) -> None:
    files = {
        "cpu.stat": "usage_usec 30\nuser_usec 2500000\nsystem_usec 5\nthrottled_usec 1000000\n",
        "memory.current": "10\n",
        "memory.peak": "99\n",
        "memory.max": "100\n",
        "memory.events": "low 0\nmax 7\noom 1\noom_kill 2\noom_group_kill 0\n",
        "pids.max": "max\n",
        "pids.events": "max 0\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    ours = GroupV2(str(tmp_path))
    used = usage({}, ours)
    assert (used.cpu_user, used.throttled, used.peak_memory) == (2.5, 1.0, 99)
    assert (used.oom_kills, used.oom_events, used.pids_peak) == (2, 1, None)
    (hit,) = hits({"unified": ours}, usage({}, ours))
    assert (hit.limit, hit.amount, hit.count, hit.own) == ("memory", 100, 2, True)
    # Killed, but never at its own limit: a group above or the machine was short.
    (tmp_path / "memory.events").write_text("oom 0\noom_kill 1\n")
    (hit,) = hits({"unified": ours}, usage({}, ours))
    assert (hit.own, hit.amount) == (False, None)
    # Before Linux 5.19 there is no peak, and nothing else is called so.
    (tmp_path / "memory.peak").unlink()
    assert usage({}, ours).peak_memory is None


def test_hits_on_v1_tell_whose_limit_it_was(tmp_path: Path) -> None:
    (tmp_path / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n")
    (tmp_path / "memory.limit_in_bytes").write_text("104857600\n")
    ours = {"memory": GroupV1(str(tmp_path))}
    for peak, own in (("104853504", True), ("50000000", False)):
        (tmp_path / "memory.max_usage_in_bytes").write_text(peak + "\n")
        (hit,) = hits(ours, usage(ours, None))
        assert hit.own is own


def test_properties_of_a_scope_are_typed() -> None:
    properties = scope_properties("kokon-x", 7, "user.slice")
    assert dict(properties)["PIDs"] == ("au", [7])
    assert dict(properties)["Delegate"] == ("b", True)
