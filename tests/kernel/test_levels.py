"""The ladder: what is guaranteed where a machine refuses something, and whether that is true.

``level_caller.py`` runs inside of each place: a program tries to get out, and everything that the
guarantees say is held has to hold.  ``docker-seccomp.json`` is the default profile of Docker Engine
(github.com/moby/profiles, seccomp/default.json at cd3bed80, Apache-2.0).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import kokon
from kokon.kernel import facts

HERE = Path(__file__).parent
SOURCE = Path(kokon.__file__).parent.parent
CALLER = HERE / "level_caller.py"
RESOURCES = ("files", "processes", "network", "system calls")
NO_LANDLOCK = "needs Landlock with signals (Linux 6.12)"

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(facts.read().landlock < 6, reason=NO_LANDLOCK),
    pytest.mark.skipif(not shutil.which("unshare"), reason="needs unshare (util-linux)"),
]

BARE = ["unshare", "--user"]
MAPPED = ["unshare", "--user", "--map-root-user"]
SWITCHED_OFF = [
    *MAPPED, "sh", "-c", 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"', "sh",
]  # fmt: skip
WITH_MOUNTS = [*MAPPED, "--mount", *SWITCHED_OFF[3:]]


def check(result: dict[str, Any]) -> dict[str, bool]:
    """What is guaranteed holds; returns what is."""
    assert result.get("guarantees"), result
    held = {name: value["holds"] for name, value in result["guarantees"].items() if name != "notes"}
    got = [name for name, did in result["got"].items() if did and name != "children"]
    for name in got:
        resource = name.partition(":")[0].replace(" ", "_")
        assert not held[resource], f"{name}, though it is held by {result['guarantees'][resource]}"
    if held["processes"]:
        assert not result["left"]
    if held.get("pids"):
        assert result["got"]["children"] < 20
    elif "pids" not in held:
        assert result["got"]["children"] == 40
    return held


def inside(place: list[str], store: Path, **options: Any) -> dict[str, Any]:
    """What a caller in such a place gets."""
    store.mkdir(mode=0o700, exist_ok=True)
    # Who has no id of his own has no place of his own in /tmp either.
    own = {"KOKON_STORE": str(store), "XDG_RUNTIME_DIR": str(store)}
    environment = {**os.environ, **own, "PYTHONPATH": str(SOURCE)}
    done = subprocess.run(
        [*place, sys.executable, CALLER, json.dumps(options)],
        capture_output=True, text=True, env=environment, timeout=90,
    )  # fmt: skip
    if done.returncode == 1 and done.stderr.startswith("unshare:"):
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def in_kokon(store: Path, options: dict[str, Any], **around: Any) -> dict[str, Any]:
    """What a caller in a container of kokon's gets."""
    done = kokon.run(
        ["python3", "/kokon/tests/kernel/level_caller.py", json.dumps(options)],
        root="@python", tmpfs=["/run:exec", "/var/tmp:exec"],
        volumes=[f"{SOURCE}:/kokon/src:ro", f"{HERE}:/kokon/tests/kernel:ro"],
        env={"PYTHONPATH": "/kokon/src", "KOKON_STORE": "/tmp/store"},
        capture_output=True, text=True, timeout=90, **around,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def all_but(*names: str) -> dict[str, bool]:
    return {name: name not in names for name in ("files", "processes", "network", "system_calls")}


def test_where_nothing_is_around(tmp_path: Path) -> None:
    held = check(inside([], tmp_path / "store"))
    assert held == {**all_but(), "limits": False}


def test_landlock_above_namespaces(tmp_path: Path) -> None:
    result = inside([], tmp_path / "store", landlock=True)
    assert check(result) == {**all_but(), "limits": False}
    assert "Landlock" in result["guarantees"]["files"]["by"]


@pytest.mark.parametrize("init", [True, False], ids=["init", ""])
def test_the_lowest_rung_where_it_is_asked(tmp_path: Path, init: bool) -> None:
    result = inside([], tmp_path / "store", level="landlock", init=init)
    assert check(result) == {**all_but("processes"), "limits": False}
    # More than is guaranteed, and what its words say.
    assert not [name for name, did in result["got"].items() if did and name.startswith("proc")]
    if init:
        assert not result["left"]
    assert result["notes"][0].startswith("there are no namespaces")


def test_without_any_id(tmp_path: Path) -> None:
    """``unshare --user``: no namespace can be made."""
    full = inside(BARE, tmp_path / "store")
    assert full["class"] == "StepError"
    assert "no id is mapped around kokon: map ours there" in full["error"]
    assert "or: level='best' runs it without namespaces" in full["error"]
    result = inside(BARE, tmp_path / "store", level="best")
    assert check(result) == {**all_but("processes"), "limits": False}


def test_as_root_of_a_user_namespace(tmp_path: Path) -> None:
    """``unshare --user --map-root-user``: everything can be had."""
    for options in ({}, {"level": "best"}):
        held = check(inside(MAPPED, tmp_path / "store", **options))
        assert held == {**all_but(), "limits": False}


def test_where_user_namespaces_are_switched_off(tmp_path: Path) -> None:
    full = inside(SWITCHED_OFF, tmp_path / "store")
    assert full["class"] == "HostError"
    assert "user namespaces are switched off here" in full["error"]
    assert "user.max_user_namespaces=15000" in full["error"]
    assert "or: level='best' runs it without namespaces" in full["error"]
    result = inside(SWITCHED_OFF, tmp_path / "store", level="best")
    assert check(result) == {**all_but("processes"), "limits": False}


def test_under_dockers_filter(tmp_path: Path) -> None:
    """clone3 answers ENOSYS, clone refuses namespaces, keyctl is refused."""
    filter_ = {"security_opt": [f"seccomp={HERE}/docker-seccomp.json"]}
    full = in_kokon(tmp_path, {}, **filter_)
    assert "namespaces: clone: Operation not permitted; namespaces are refused" in full["error"]
    assert "or: level='best' runs it without namespaces" in full["error"]
    result = in_kokon(tmp_path, {"level": "best"}, **filter_)
    assert check(result) == {**all_but("processes"), "limits": False}
    keys = "there is no session keyring: a filter refuses all calls about keys"
    assert keys in result["guarantees"]["notes"]


def refusing(path: Path, *names: str, errno: int = 38) -> list[str]:
    """A profile that refuses these calls and no other."""
    rule = {"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": errno}
    path.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
    path.chmod(0o644)
    return [f"seccomp={path}"]


def test_where_clone3_is_not_known(tmp_path: Path) -> None:
    """As under RuntimeDefault: clone does the same."""
    profile = refusing(tmp_path / "profile", "clone3")
    for options in ({}, {"level": "best"}):
        result = in_kokon(tmp_path, options, privileged=True, security_opt=profile)
        assert check(result) == {**all_but(), "limits": False}


def test_where_proc_is_covered(tmp_path: Path) -> None:
    """A container's own /proc is masked, so the kernel makes no new one (user_namespaces(7))."""
    profile = refusing(tmp_path / "profile", "clone3")
    full = in_kokon(tmp_path, {}, security_opt=profile)
    assert "make a file system of type proc for /proc" in full["error"]
    assert "start that one with its /proc" in full["error"]
    assert "or: level='best' goes on without it: /proc" in full["error"]
    result = in_kokon(tmp_path, {"level": "best"}, security_opt=profile)
    assert check(result) == {**all_but(), "limits": False}
    notes = result["guarantees"]["notes"]
    assert notes[0].startswith("/proc is an empty directory")
    assert notes[1] == "/sys is an empty directory"


@pytest.mark.parametrize(
    ("call", "errno", "note"),
    [
        ("sethostname", 1, "the host name is the machine's"),
        ("keyctl", 1, "there is no session keyring"),
        ("keyctl", 38, "there is no session keyring"),
    ],
)
def test_a_step_that_is_refused(tmp_path: Path, call: str, errno: int, note: str) -> None:
    profile = refusing(tmp_path / "profile", call, errno=errno)
    full = in_kokon(tmp_path, {}, privileged=True, security_opt=profile)
    assert "the system call filter around kokon refuses the call: allow it there" in full["error"]
    assert f"or: level='best' goes on without it: {note}" in full["error"]
    result = in_kokon(tmp_path, {"level": "best"}, privileged=True, security_opt=profile)
    assert check(result) == {**all_but(), "limits": False}
    assert result["guarantees"]["notes"][0].startswith(note)


@pytest.mark.parametrize("level", ["best", "landlock"])
def test_limits(tmp_path: Path, level: str) -> None:
    """They hold where there is a control group, and nobody says so where there is none."""
    result = inside([], tmp_path / "store", level=level, pids=15, memory="200M")
    held = check(result)
    assert held["limits"] == held["pids"] == held["memory"]
    if os.geteuid() == 0:
        assert held["pids"]
