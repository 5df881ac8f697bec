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
import time
from pathlib import Path
from typing import Any

import pytest
from leftovers import busybox_root

import kokon
from kokon.config.options import Options
from kokon.engine.run import finish, prepare
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
    # Who may mount without one needs none.
    result = inside(WITH_MOUNTS, tmp_path / "store", level="best")
    assert check(result) == {**all_but(), "limits": False}
    assert "--userns host" in result["guarantees"]["notes"][0]


@pytest.mark.skipif(not facts.read().subordinate_uids, reason="needs subordinate ids")
def test_where_newuidmap_gains_nothing(tmp_path: Path) -> None:
    """No new privileges are possible around kokon, as in most pods."""
    place = ["setpriv", "--no-new-privs"]
    full = inside(place, tmp_path / "store")
    assert "newuidmap refused to map the ids" in full["error"]
    assert "or: level='best' goes on without it: the only user is its first one" in full["error"]
    result = inside(place, tmp_path / "store", level="best")
    assert check(result) == {**all_but(), "limits": False}


def test_the_second_wall(tmp_path: Path) -> None:
    """With Landlock nothing can be mounted, whatever capabilities there are."""
    script = (
        "mount -t tmpfs none /tmp && echo mounted; echo a > /tmp/a && cat /tmp/a; echo >/dev/null"
    )
    said = {}
    for landlock in (False, True):
        done = kokon.run(
            ["sh", "-c", script], root="@host", cap_add=["SYS_ADMIN"], landlock=landlock,
            security_opt=["seccomp=unconfined"], capture_output=True, text=True,
        )  # fmt: skip
        said[landlock] = done.stdout.split()
        assert "Permission" not in done.stderr.replace("mount: /tmp: permission denied", "")
    assert said == {False: ["mounted", "a"], True: ["a"]}


@pytest.mark.parametrize("level", ["full", "landlock"])
def test_volumes(tmp_path: Path, level: str) -> None:
    """They appear where they are, read-only where that is asked."""
    (tmp_path / "file").write_text("content")
    place, only = tmp_path / "place", tmp_path / "only"
    for path in (place, only):
        path.mkdir()
        (path / "file").write_text("content")
    script = f"cat {only}/file; echo x > {place}/file; echo x > {only}/file; cat {tmp_path}/file"
    done = kokon.run(
        ["sh", "-c", script], root="@host", volumes=[f"{place}:{place}", f"{only}:{only}:ro"],
        level=level, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout == "content"
    assert [(path / "file").read_text() for path in (place, only)] == ["x\n", "content"]


def test_what_the_lowest_rung_cannot_give(tmp_path: Path) -> None:
    words = {
        "volumes": ([f"{tmp_path}:/data"], "a volume appears where it is, and nowhere else"),
        "tmpfs": (["/x"], "cannot be had without namespaces"),
        "root": (str(tmp_path), "only @host and @python can be run"),
    }
    for name, (value, sentence) in words.items():
        with pytest.raises(kokon.OptionError, match=sentence):
            kokon.run(["true"], level="landlock", **{"root": "@host", name: value})


def test_what_no_level_can_give(tmp_path: Path) -> None:
    """An error that says what this machine lacks, whether that is just learned or known."""
    for known in ("once", "again"):
        result = inside(BARE, tmp_path / "store", level="best", hostname=known)
        assert result["class"] == "HostError"
        assert f"hostname='{known}': this machine gives no namespaces: it cannot" in result["error"]
        assert "map ours there (unshare --map-root-user); or leave it out" in result["error"]
    wrong = inside(BARE, tmp_path / "store", level="best", memory="much")
    assert wrong["class"] == "OptionError"


def test_a_terminal(tmp_path: Path) -> None:
    """Waiting until the program runs does not lose it."""
    root = busybox_root(tmp_path / "root")
    asked = Options(root, ("sh", "-c", "test -t 1 && echo terminal"), {"level": "best"})
    prepared = prepare(asked, terminal=True)
    null = os.open(os.devnull, os.O_RDWR)
    try:
        process = prepared.start((null, null, null))
        assert process.spawned.await_terminal() and process.spawned.await_terminal()
        assert os.read(process.spawned.terminal, 100) == b"terminal\r\n"
        os.close(process.spawned.terminal)
        finish(prepared, process)
        process.close()
    finally:
        os.close(null)
        prepared.close()


def test_packages(tmp_path: Path) -> None:
    """Those of the interpreter are not there, whatever lies beside its library."""
    program = "import importlib; importlib.import_module('pytest')"
    said = []
    for packages in (False, True):
        done = kokon.run(
            ["python3", "-c", program], root="@python", level="landlock", packages=packages,
            capture_output=True, text=True,
        )  # fmt: skip
        said.append(done.stderr.strip().rpartition("\n")[2])
    assert said == ["ModuleNotFoundError: No module named 'pytest'", ""]


def test_no_directory_is_made_on_the_machine(tmp_path: Path) -> None:
    with pytest.raises(kokon.HostError, match="it is missing"):
        kokon.run(["true"], root="@host", cwd=tmp_path / "new", level="landlock")
    assert not (tmp_path / "new").exists()


LEAVES = "sleep 3000 & setsid sleep 3001 & (setsid sleep 3002 &) ; "


def sleeping(tmp_path: Path) -> list[str]:
    """Our processes that sleep beyond the end of a run."""
    done = subprocess.run(["pgrep", "-u", str(os.geteuid()), "-af", f"^{tmp_path}/sleep 300[0-9]"],
                          capture_output=True, text=True)  # fmt: skip
    return done.stdout.splitlines()


@pytest.mark.parametrize("end", ["exit", "timeout", "killed"])
def test_the_tree_ends(tmp_path: Path, end: str) -> None:
    """Without a pid namespace: kokon's process 1 ends what has left its parents."""
    shutil.copy(shutil.which("sleep") or "", tmp_path / "sleep")
    script = LEAVES.replace("sleep", f"{tmp_path}/sleep") + ("sleep 100" if end != "exit" else "")
    call = ["sh", "-c", script]
    options = {"root": "@host", "level": "landlock", "volumes": [f"{tmp_path}:{tmp_path}:ro"]}
    if end == "exit":
        kokon.run(call, **options)
    elif end == "timeout":
        with pytest.raises(subprocess.TimeoutExpired):
            kokon.run(call, timeout=1, **options)
    else:
        pid = os.fork()
        if pid == 0:
            try:
                kokon.run(call, **options)
            finally:
                os._exit(1)
        until = time.monotonic() + 10
        while len(sleeping(tmp_path)) < 3 and time.monotonic() < until:
            time.sleep(0.05)
        assert len(sleeping(tmp_path)) == 3
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    until = time.monotonic() + 10
    while sleeping(tmp_path) and time.monotonic() < until:
        time.sleep(0.05)
    assert sleeping(tmp_path) == []


def test_the_program_cannot_end_what_ends_it() -> None:
    script = "kill -9 $PPID && echo ended; kill -STOP $PPID && echo stopped"
    done = kokon.run(["sh", "-c", script], root="@host", level="landlock", capture_output=True)
    assert (done.stdout, done.returncode) == (b"", 1)


def test_what_is_required_and_not_held(tmp_path: Path) -> None:
    """An error before anything runs, and nothing is left."""
    store = tmp_path / "store"
    result = inside(BARE, store, level="best", require=["processes"])
    assert result["class"] == "HostError"
    assert "require='processes': it is required, and here Landlock keeps signals" in result["error"]
    assert not list((store / "writes").iterdir())
    assert check(inside(BARE, store, level="best", require=["files", "network"]))["files"]


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


def refusing(
    path: Path, name: str, errno: int = 38, argument: tuple[int, int] | None = None
) -> list[str]:
    """A profile that refuses a call, with this argument (index, value of 32 bits), and no other."""
    rule: dict[str, Any] = {"names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": errno}
    if argument:
        index, value = argument
        rule["args"] = [{"index": index, "value": 0xFFFFFFFF, "valueTwo": value,
                         "op": "SCMP_CMP_MASKED_EQ"}]  # fmt: skip
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
    ("call", "errno", "argument", "note"),
    [
        ("sethostname", 1, None, "the host name is the machine's"),
        ("keyctl", 1, None, "there is no session keyring"),
        ("keyctl", 38, None, "there is no session keyring"),
        ("unshare", 1, (0, 0x02000000), "/proc/self/cgroup shows the path"),
        ("ioctl", 1, (1, 0x8914), "the loopback device is down"),
    ],
)
def test_a_step_that_is_refused(
    tmp_path: Path, call: str, errno: int, argument: tuple[int, int] | None, note: str
) -> None:
    profile = refusing(tmp_path / "profile", call, errno, argument)
    full = in_kokon(tmp_path, {}, privileged=True, security_opt=profile)
    assert "around kokon" in full["error"] and "allow it there" in full["error"]
    assert f"or: level='best' goes on without it: {note}" in full["error"]
    result = in_kokon(tmp_path, {"level": "best"}, privileged=True, security_opt=profile)
    assert check(result) == {**all_but(), "limits": False}
    assert result["guarantees"]["notes"][0].startswith(note)


def test_where_nothing_may_be_mounted(tmp_path: Path) -> None:
    """As under AppArmor's restriction: a user namespace is made, and gives no rights."""
    at_fdcwd = 2**32 - 100  # of all mounts at once
    profile = refusing(tmp_path / "profile", "mount_setattr", 1, (0, at_fdcwd))
    full = in_kokon(tmp_path, {}, privileged=True, security_opt=profile)
    assert "mounting is refused here: allow it in the filter" in full["error"]
    assert "or: level='best' runs it without namespaces" in full["error"]
    result = in_kokon(tmp_path, {"level": "best"}, privileged=True, security_opt=profile)
    assert check(result) == {**all_but("processes"), "limits": False}


def test_without_network_namespaces(tmp_path: Path) -> None:
    place = [*MAPPED, "sh", "-c", 'echo 0 > /proc/sys/user/max_net_namespaces && exec "$@"', "sh"]
    full = inside(place, tmp_path / "store")
    assert "clone3: No space left on device" in full["error"]
    assert "see the other max_* there" in full["error"]
    result = inside(place, tmp_path / "store", level="best")
    assert check(result) == {**all_but(), "limits": False}
    assert result["guarantees"]["network"]["by"] == "a filter that refuses sockets"
    notes = result["guarantees"]["notes"]
    assert notes[0] == "there is no network namespace: a filter refuses every socket"


@pytest.mark.parametrize("level", ["best", "landlock"])
def test_limits(tmp_path: Path, level: str) -> None:
    """They hold where there is a control group, and nobody says so where there is none."""
    result = inside([], tmp_path / "store", level=level, pids=15, memory="200M")
    held = check(result)
    assert held["limits"] == held["pids"] == held["memory"]
    if os.geteuid() == 0:
        assert held["pids"]
