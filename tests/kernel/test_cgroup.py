"""Real groups, on whatever hierarchies this machine has."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kokon.cgroup.group import write_file
from kokon.cgroup.leftovers import remove_left
from kokon.cgroup.manager import Manager, Placement
from kokon.cgroup.v2 import find_parent
from kokon.errors import HostError
from kokon.kernel import cgroups
from kokon.kernel.cgroups import CgroupLayout
from kokon.spec.resources import Cpu, Memory, Pids, Resources

LAYOUT = cgroups.read()
ME = f"test-{os.getpid()}"
"""Others may make groups of theirs at the same time."""


def can_limit() -> bool:
    tree = LAYOUT.unified
    if LAYOUT.mode == "v2" and tree is not None:
        return find_parent(tree, ("memory", "pids")) is not None
    return os.geteuid() == 0 and None not in (LAYOUT.of("memory"), LAYOUT.of("pids"))


pytestmark = pytest.mark.kernel
NEEDED = pytest.mark.skipif(not can_limit(), reason="needs root or a delegated control group")


def directories() -> set[str]:
    return {
        path
        for tree in LAYOUT.hierarchies
        for path, _, _ in os.walk(tree.mount_point)
        if f"kokon-{ME}" in path
    }


def layouts() -> list[CgroupLayout]:
    """This machine's, and where it is hybrid what it would be without the version 2 tree."""
    if LAYOUT.mode != "hybrid":
        return [LAYOUT]
    return [LAYOUT, CgroupLayout("v1", [tree for tree in LAYOUT.hierarchies if tree.version == 1])]


@pytest.fixture(params=layouts(), ids=lambda layout: layout.mode)
def manager(request: pytest.FixtureRequest) -> Iterator[Manager]:
    before = directories()
    made = Manager.for_host(request.param, name=f"kokon-{ME}")
    yield made
    made.remove()
    assert directories() == before


def attached(placement: Placement, work: Callable[[], None]) -> int:
    """A child that attaches itself as init does (v2: by a write, as Python has no clone3)."""
    pid = os.fork()
    if pid:
        return pid
    status = 70
    try:
        for fd in placement.tasks_fds:
            os.write(fd, b"0")
        if placement.directory_fd is not None:
            fd = os.open("cgroup.procs", os.O_WRONLY, dir_fd=placement.directory_fd)
            os.write(fd, b"0")
        work()
        status = 0
    except BlockingIOError:
        status = 11
    finally:
        os._exit(status)
    return 0


def ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@NEEDED
def test_memory_limit(manager: Manager) -> None:
    limit = 32 << 20
    resources = Resources(memory=Memory(limit=limit, swappiness=0))
    placement = manager.create(resources, account=("cpu",))

    def hungry() -> None:
        kept = bytearray()
        while True:
            kept += b"x" * (1 << 20)

    assert ended(attached(placement, hungry)) == -9
    placement.close()
    used = manager.usage()
    assert used.oom_kills == 1
    assert used.peak_memory is None or limit - (4 << 20) < used.peak_memory <= limit
    assert used.cpu_user is not None and used.cpu_system is not None
    assert used.cpu_user + used.cpu_system > 0
    (hit,) = manager.limits_hit()
    assert (hit.limit, hit.amount, hit.count, hit.own) == ("memory", limit, 1, True)


@NEEDED
def test_pids_limit(manager: Manager) -> None:
    placement = manager.create(Resources(pids=Pids(limit=1)))

    def fork() -> None:
        if os.fork() == 0:
            os._exit(0)

    assert ended(attached(placement, fork)) == 11
    placement.close()
    (hit,) = manager.limits_hit()
    assert (hit.limit, hit.amount) == ("pids", 1)


@NEEDED
def test_cpu_quota(manager: Manager) -> None:
    try:
        placement = manager.create(Resources(cpu=Cpu(quota=10_000, period=100_000)))
    except HostError as error:
        pytest.skip(str(error))

    def spin() -> None:
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            pass

    assert ended(attached(placement, spin)) == 0
    placement.close()
    assert (manager.usage().throttled or 0) > 0.1


@NEEDED
@pytest.mark.parametrize("field", ["cpus", "mems"])
def test_a_processor_that_is_not_there(manager: Manager, field: str) -> None:
    if LAYOUT.of("cpuset") is None:
        pytest.skip("needs the controller cpuset")
    with pytest.raises(HostError) as caught:
        manager.create(Resources(cpu=Cpu(**{field: "4000"})))
    assert re.search(r"; name some of [0-9,-]+$", str(caught.value))


@NEEDED
def test_every_hierarchy_holds_the_process(manager: Manager) -> None:
    resources = Resources(memory=Memory(limit=64 << 20), pids=Pids(limit=8))
    placement = manager.create(resources, account=("cpu", "freeze"))
    pid = attached(placement, lambda: time.sleep(60))
    placement.close()
    until(lambda: manager.processes() == [pid])
    with open(f"/proc/{pid}/cgroup") as file:
        moved = LAYOUT.moved(file.read())
    for key, path in placement.paths.items():
        tree = moved.unified if key == "unified" else moved.of(key)
        assert tree is not None and tree.directory() == path
    manager.kill()
    assert ended(pid) == -9
    assert manager.processes() == []


@NEEDED
def test_only_what_is_asked_for_is_made(manager: Manager) -> None:
    placement = manager.create(Resources(pids=Pids(limit=8)))
    placement.close()
    assert len(placement.paths) == 1
    assert len(directories()) == 1


@NEEDED
def test_nothing_asked_makes_nothing(manager: Manager) -> None:
    placement = manager.create(Resources())
    assert placement.paths == {} and placement.tasks_fds == []
    assert manager.processes() == [] and manager.usage().peak_memory is None
    manager.kill()


@NEEDED
def test_freeze_and_thaw_and_kill_while_frozen(manager: Manager) -> None:
    placement = manager.create(Resources(), account=("freeze",))
    pid = attached(placement, lambda: time.sleep(60))
    placement.close()
    until(lambda: manager.processes() == [pid])
    manager.freeze()
    manager.thaw()
    manager.freeze()
    again = Manager.reopen(manager.layout, placement.paths)
    again.kill()
    assert ended(pid) == -9


@NEEDED
def test_without_a_freezer_freeze_says_so(manager: Manager) -> None:
    with pytest.raises(HostError, match="no group that can be frozen"):
        manager.freeze()


@NEEDED
def test_remove_kills_and_takes_groups_below_with_it(manager: Manager) -> None:
    placement = manager.create(Resources(pids=Pids(limit=8)))
    (path,) = placement.paths.values()
    os.makedirs(f"{path}/a/b")
    pid = attached(placement, lambda: time.sleep(60))
    placement.close()
    until(lambda: manager.processes() == [pid])
    manager.remove()
    assert ended(pid) == -9
    manager.remove()


@NEEDED
def test_update(manager: Manager) -> None:
    placement = manager.create(Resources(memory=Memory(limit=64 << 20), pids=Pids(limit=8)))
    placement.close()
    manager.update(Resources(memory=Memory(limit=128 << 20), pids=Pids(limit=16)))
    key = "pids" if "pids" in placement.paths else "unified"
    with open(placement.paths[key] + "/pids.max") as file:
        assert file.read() == "16\n"
    with pytest.raises(HostError):
        Manager.for_host(LAYOUT, name="kokon-none").update(Resources(pids=Pids(limit=1)))


@NEEDED
def test_what_a_killed_kokon_left_is_removed(manager: Manager) -> None:
    account = ("cpu", "memory")
    manager.create(Resources(pids=Pids(limit=8)), account=account).close()
    noted: list[str] = []
    stale = Manager.for_host(LAYOUT, name=f"kokon-{ME}-stale-1", note=noted.append)
    placement = stale.create(Resources(pids=Pids(limit=8)), account=account)
    pid = attached(placement, lambda: time.sleep(60))
    placement.close()
    until(lambda: stale.processes() == [pid])
    assert remove_left(LAYOUT, f"{ME}-other", noted) == []
    assert all(os.path.isdir(path) for path in placement.paths.values())
    assert remove_left(LAYOUT, f"{ME}-stale", [*noted, "/tmp"]) == ["/tmp"]
    assert not any(os.path.isdir(path) for path in placement.paths.values())
    assert ended(pid) == -9
    assert all(os.path.isdir(group.path) for group in manager.groups.values())


@NEEDED
def test_a_group_is_noted_before_it_is_made() -> None:
    class Killed(BaseException):
        pass

    def killed(noted: str) -> None:
        raise Killed

    manager = Manager.for_host(LAYOUT, name=f"kokon-{ME}-1", note=killed)
    with pytest.raises(Killed):
        manager.create(Resources(pids=Pids(limit=8)))
    assert directories() == set()


def test_only_what_lies_below_a_mount_of_control_groups_is_removed(tmp_path: Path) -> None:
    (tmp_path / f"kokon-{ME}-1").mkdir()
    top = LAYOUT.hierarchies[0].mount_point
    places = [str(tmp_path), f"{tmp_path}/", f"{top}/../../..{tmp_path}", f"{top}-other"]
    assert remove_left(LAYOUT, ME, places) == places
    assert (tmp_path / f"kokon-{ME}-1").is_dir()


@NEEDED
@pytest.mark.skipif(os.geteuid() != 0, reason="paths from the top need root")
def test_a_path_from_the_top(manager: Manager) -> None:
    noted: list[str] = []
    parent = f"/kokon-{ME}/b"
    deep = Manager.for_host(LAYOUT, name="kokon-deep-1", parent=parent, note=noted.append)
    controllers = LAYOUT.of("cpuset")
    cpu = Cpu(cpus="0") if controllers is not None and controllers.version == 1 else None
    placement = deep.create(Resources(pids=Pids(limit=8), cpu=cpu))
    assert all(path.endswith(f"{parent}/kokon-deep-1") for path in placement.paths.values())
    # In a cpuset that has no CPUs the process could not attach itself.
    assert ended(attached(placement, lambda: None)) == 0
    placement.close()
    deep.remove()
    # As if it had been killed: what was made for the parent goes too.
    dead = Manager.for_host(LAYOUT, name="kokon-deep-2", parent=parent, note=noted.append)
    dead.create(Resources(pids=Pids(limit=8))).close()
    remove_left(LAYOUT, "deep", noted)
    assert directories() == set()


@NEEDED
def test_twenty_at_once_leave_nothing(manager: Manager) -> None:
    import threading

    failures: list[BaseException] = []

    def one(number: int) -> None:
        try:
            ours = Manager.for_host(LAYOUT, name=f"kokon-{ME}-{number}")
            for _ in range(5):
                ours.create(Resources(pids=Pids(limit=8)), account=("memory",)).close()
                ours.remove()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_scope_in_a_login_session() -> None:
    resources = Resources(memory=Memory(limit=64 << 20), pids=Pids(limit=8))
    manager = Manager.for_host(LAYOUT, name=f"kokon-{ME}-scope")
    if not manager.needs_pid(resources):
        pytest.skip("needs a login session on cgroup v2 with a user manager of systemd")
    stage = os.fork()
    if stage == 0:
        time.sleep(60)
        os._exit(0)
    try:
        placement = manager.create(resources, account=("cpu",), pid=stage)
        scope = f"/kokon-{ME}-scope.scope"
        assert placement.paths["unified"].endswith(scope + "/container")
        with open(f"/proc/{stage}/cgroup") as file:
            assert file.read().strip().endswith(scope + "/stage")
        # Only from the stage can the container's group be entered; so can the stage itself.
        with pytest.raises(PermissionError):
            os.write(os.open(placement.paths["unified"] + "/cgroup.procs", os.O_WRONLY), b"0")
        write_file(placement.paths["unified"] + "/cgroup.procs", str(stage))
        assert manager.processes() == [stage]
        placement.close()
        manager.kill()
    finally:
        os.kill(stage, 9)
        assert ended(stage) == -9
    manager.remove()
    until(lambda: not directories())
