"""``linux.resources`` and control groups of an OCI container, and who is in them at its end."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
from oci_bundle import IDENTITY, Bundle, bundle

from kokon.kernel import cgroups

__all__ = ["bundle"]  # the fixture

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a bundle's owner is the host's"),
]

MKNOD = {name: ["CAP_MKNOD"] for name in ("bounding", "permitted", "effective")}


def limit(bundle: Bundle, controller: str, *files: str) -> list[str]:
    """What a created container's group has in each file."""
    groups = json.loads((bundle.place / f"run/{IDENTITY}/state.json").read_text())["groups"]
    if controller not in groups:
        pytest.skip(f"{controller} is not on version 1")
    return [Path(groups[controller], name).read_text().strip() for name in files]


@pytest.mark.parametrize(("asked", "found"), [(-1, "max"), (0, "0"), (7, "7")])
def test_a_limit_of_processes(bundle: Bundle, asked: int, found: str) -> None:
    """0 is a limit (config-linux.md, PIDs): the program runs, and starts no other."""
    bundle.linux["resources"] = {"pids": {"limit": asked}}
    bundle.process["args"] = ["sh", "-c", "echo one; (echo two) && echo three"]
    bundle.create()
    assert limit(bundle, "pids", "pids.max") == [found]
    assert bundle.start() == ("one\n" if asked == 0 else "one\ntwo\nthree\n")


@pytest.mark.parametrize(
    ("cpu", "quota", "period"),
    [
        ({"quota": 50000}, "50000", "100000"), ({"period": 50000}, "-1", "50000"),
        ({"quota": -1}, "-1", "100000"), ({"quota": 0, "period": 0}, "-1", "100000"),
    ],
)  # fmt: skip
def test_a_quota_or_a_period_alone(
    bundle: Bundle, cpu: dict[str, int], quota: str, period: str
) -> None:
    bundle.linux["resources"] = {"cpu": cpu}
    bundle.create()
    assert limit(bundle, "cpu", "cpu.cfs_quota_us", "cpu.cfs_period_us") == [quota, period]


@pytest.mark.parametrize("cpus", ["5000", "0-1,4000-5000"])
def test_processors_beyond_1024(bundle: Bundle, cpus: str) -> None:
    """A list is read as it is, and the kernel says that they are not there."""
    bundle.linux["resources"] = {"cpu": {"cpus": cpus}}
    error = bundle.refused()
    assert "/linux/resources/cpu/cpus" in error and f"'{cpus}'" in error


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ([(True, "rwm"), (False, "w")], "made unwritten"),
        ([(False, "w"), (True, "rwm")], "made written"),
        ([(True, "m")], "made unwritten"),
        # Archives have nodes: any may be made.
        ([(True, "w"), (False, "m")], "made written"),
    ],
)
def test_device_rules_hold_in_their_order(
    bundle: Bundle, rules: list[tuple[bool, str]], said: str
) -> None:
    """The last that names an access decides; one for mknod alone lets nothing be opened."""
    # The kernel's log, which whoever has a node of it may open for writing.
    device = {"type": "c", "major": 1, "minor": 11}
    (bundle.root / "bin/mknod").symlink_to("busybox")
    os.mknod(bundle.root / "log", 0o20666, os.makedev(1, 11))
    bundle.process["capabilities"] = MKNOD
    bundle.linux["resources"] = {"devices": [
        {"allow": False, "access": "rwm"},
        *({"allow": allow, "access": access, **device} for allow, access in rules),
    ]}  # fmt: skip
    script = "mknod /new c 1 11 && echo made; (: >> /log) && echo written || echo unwritten"
    assert bundle.run(script).split() == said.split()


@contextmanager
def groups_before(name: str) -> Iterator[list[str]]:
    """A control group in every hierarchy, made by somebody else."""
    made = [f"{tree.mount_point}/{name}" for tree in cgroups.read().hierarchies]
    for path in made:
        os.mkdir(path)
    try:
        yield made
        assert all(os.path.isdir(path) for path in made)
    finally:
        for path in made:
            end = monotonic() + 10
            while True:
                try:
                    os.rmdir(path)
                    break
                except OSError:
                    assert monotonic() < end, path
                    sleep(0.01)


@pytest.mark.parametrize("frozen", [False, True])
def test_groups_that_somebody_else_is_in(bundle: Bundle, frozen: bool) -> None:
    """Limits would be theirs too, and a frozen one would never let us go on."""
    name = f"kokon-test-{os.getpid()}"
    bundle.linux["cgroupsPath"] = f"/{name}"
    freezer = cgroups.read().of("freezer")
    if freezer is None:
        pytest.skip("has no freezer on version 1")
    with groups_before(name):
        place = Path(freezer.mount_point, name)
        other = None if frozen else subprocess.Popen(["sleep", "60"])
        if other is not None:
            (place / "cgroup.procs").write_text(str(other.pid))
        else:
            (place / "freezer.state").write_text("FROZEN")
        try:
            assert f"{name} cannot be made: File exists" in bundle.refused()
            assert other is None or other.poll() is None
        finally:
            if other is not None:
                other.kill()
                other.wait()


def test_a_group_that_is_there_in_one_hierarchy_alone(bundle: Bundle) -> None:
    """It would be joined everywhere but there."""
    name = f"kokon-test-{os.getpid()}"
    bundle.linux["cgroupsPath"] = f"/{name}"
    freezer = cgroups.read().of("freezer")
    if freezer is None:
        pytest.skip("has no freezer on version 1")
    place = Path(freezer.mount_point, name)
    place.mkdir()
    try:
        assert f"/linux/cgroupsPath: the control group {place} cannot be made" in bundle.refused()
    finally:
        place.rmdir()


def processes_of(word: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word.encode() in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            continue
    return found


@pytest.mark.parametrize("verb", ["kill", "delete"])
def test_all_end_where_the_first_process_has_gone(bundle: Bundle, verb: str) -> None:
    """Without processes of its own, nothing ends them but the control group."""
    word = f"7{os.getpid()}"
    namespaces: list[dict[str, Any]] = bundle.linux["namespaces"]
    bundle.linux["namespaces"] = [each for each in namespaces if each["type"] != "pid"]
    bundle.process["args"] = ["sh", "-c", f"sleep {word} & echo started"]
    bundle.create()
    assert bundle.start() == "started\n"
    assert '"status": "stopped"' in bundle.call("state", IDENTITY).stdout
    assert processes_of(word)
    if verb == "kill":
        assert "not running" in bundle.call("kill", IDENTITY, "TERM").stderr
        assert bundle.call("kill", IDENTITY, "KILL").returncode == 0
        assert processes_of(word) == []
    assert bundle.call("delete", IDENTITY).returncode == 0
    assert processes_of(word) == [] and bundle.left() == []


def test_delete_by_force_of_what_is_dead_or_unknown(bundle: Bundle) -> None:
    bundle.create()
    bundle.start()
    for _ in range(2):
        done = bundle.call("delete", "--force", IDENTITY)
        assert (done.returncode, done.stderr, bundle.left()) == (0, "", [])
