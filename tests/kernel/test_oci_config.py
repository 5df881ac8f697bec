"""Members of config.json, one container each: what a program inside sees, or the refusal."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import sleep
from typing import Any

import pytest
from oci_bundle import IDENTITY, Bundle, bind, bundle, folder

__all__ = ["bundle"]  # the fixture

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a bundle's owner is the host's"),
]

# --- what is refused ----------------------------------------------------------------------


def put(path: str, value: Any) -> Callable[[Bundle], None]:
    """Sets a member by its pointer."""

    def change(bundle: Bundle) -> None:
        *above, last = path.strip("/").split("/")
        at: Any = bundle.config
        for part in above:
            at = at[int(part)] if isinstance(at, list) else at.setdefault(part, {})
        if isinstance(at, list):
            at.append(value)
        else:
            at[last] = value

    return change


REFUSED = {
    "/linux/netDevices/no-such-device": put("/linux/netDevices", {"no-such-device": {}}),
    "/linux/intelRdt": put("/linux/intelRdt", {"closID": "kokon-no-such-class"}),
    "/linux/mountLabel": put("/linux/mountLabel", "no_such_label"),
    "/process/selinuxLabel": put("/process/selinuxLabel", "no_such_label"),
    "/linux/devices/0/path": put(
        "/linux/devices", [{"path": "/srv/x", "type": "c", "major": 1, "minor": 3}]
    ),
    "/linux/namespaces": put("/linux", {}),
    "/mounts/2/type": put("/mounts/-", {"destination": "/tmp"}),
    "/mounts/2": put("/mounts/-", {"destination": "/tmp", "type": "nosuchfs", "source": "x"}),
    "/mounts/2/uidMappings": put("/mounts/-", {
        "destination": "/tmp", "type": "tmpfs",
        "uidMappings": [{"containerID": 0, "hostID": 1, "size": 1}],
        "gidMappings": [{"containerID": 0, "hostID": 1, "size": 1}],
    }),
}  # fmt: skip


@pytest.mark.parametrize("pointer", REFUSED)
def test_what_is_not_done_is_refused_by_its_pointer(bundle: Bundle, pointer: str) -> None:
    REFUSED[pointer](bundle)
    assert pointer in bundle.refused()


# --- hooks --------------------------------------------------------------------------------

SAY = 'echo {0} $(cat | tr -d " ") >> {1}; exit {2}'


def hook(word: str, path: Path | str, status: int = 0, **more: Any) -> dict[str, Any]:
    script = SAY.format(word, path, status)
    return {"path": "/bin/busybox", "args": ["sh", "-c", script, word], **more}


def test_hooks_in_their_order_with_the_state(bundle: Bundle) -> None:
    said = bundle.place / "said"
    inside = "/tmp/said"
    (bundle.root / "tmp").chmod(0o777)
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    bundle.config["hooks"] = {
        "prestart": [hook("prestart", said)],
        "createRuntime": [hook("createRuntime", said)],
        "createContainer": [hook("createContainer", said), hook("second", said)],
        "startContainer": [hook("startContainer $(id -u)", inside)],
        "poststart": [hook("poststart", said)],
        "poststop": [hook("poststop", said)],
    }
    bundle.create()
    created = said.read_text()
    pid = json.loads((bundle.place / f"run/{IDENTITY}/state.json").read_text())["pid"]
    assert not (bundle.root / "tmp/said").exists()
    bundle.start()
    bundle.call("delete", IDENTITY)
    words = [line.partition(" ") for line in said.read_text().splitlines()]
    assert [word for word, _, _ in words] == [
        "prestart", "createRuntime", "createContainer", "second", "poststart", "poststop",
    ]  # fmt: skip
    statuses = ["creating"] * 4 + ["running", "stopped"]
    for (_, _, rest), status in zip(words, statuses, strict=True):
        state = json.loads(rest)
        assert (state["id"], state["bundle"]) == (IDENTITY, str(bundle.path))
        assert state["status"] == status or (status == "running" and state["status"] == "stopped")
    assert f'"pid":{pid}' in created.splitlines()[2]
    word, user, rest = (bundle.root / "tmp/said").read_text().split(" ", 2)
    assert (word, user) == ("startContainer", "1000")
    assert json.loads(rest)["status"] == "created"
    assert json.loads(rest)["pid"] == pid


def test_a_hook_before_the_pivot_sees_the_mounts_below_the_bundles_root(bundle: Bundle) -> None:
    said = bundle.place / "said"
    script = (
        f"grep -c {bundle.root}/proc /proc/self/mounts > {said}; ls {bundle.root}/dev >> {said}"
    )
    bundle.config["hooks"] = {
        "createContainer": [{"path": "/bin/busybox", "args": ["sh", "-c", script]}]
    }
    assert "full" in bundle.run("ls /dev")
    assert said.read_text().split()[0] == "1"
    assert "null" in said.read_text()
    assert str(bundle.root) not in Path("/proc/self/mounts").read_text()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, "status 7"),
        ({"path": "/no/such/hook"}, "No such file"),
        ({"args": ["sh", "-c", "sleep 60"], "timeout": 1}, "timed out"),
        ({"args": ["sh", "-c", "kill -9 $$"]}, "signal 9"),
    ],
)
@pytest.mark.parametrize("kind", ["createContainer", "startContainer"])
def test_a_hook_that_fails(bundle: Bundle, kind: str, change: dict[str, Any], words: str) -> None:
    bundle.config["hooks"] = {kind: [{**hook("x", "/dev/null", 7), **change}]}
    if kind == "createContainer":
        error = bundle.refused()
    else:
        bundle.create()
        error = bundle.start()
        assert '"status": "stopped"' in bundle.call("state", IDENTITY).stdout
    assert words in error
    assert f"/hooks/{kind}/0" in error


def test_a_hook_inside_is_under_the_programs_filter(bundle: Bundle) -> None:
    """The other, before the pivot, is not."""
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}
    bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    bundle.config["hooks"] = {
        kind: [{"path": "/bin/busybox", "args": ["sh", "-c", f"mkdir {at}/made 2>{at}/said; true"]}]
        for kind, at in (("createContainer", bundle.root), ("startContainer", "/tmp"))
    }
    bundle.run("true")
    assert (bundle.root / "made").is_dir() and not (bundle.root / "tmp/made").exists()
    assert "not supported" in (bundle.root / "tmp/said").read_text()


# --- namespaces ---------------------------------------------------------------------------


def test_sysfs_of_a_network_that_is_not_the_user_namespaces(bundle: Bundle) -> None:
    bundle.users()
    bundle.linux["namespaces"] = [
        each for each in bundle.linux["namespaces"] if each["type"] not in ("network", "ipc")
    ]
    os.chown(bundle.root / "dev", 100000, 100000)
    bundle.config["mounts"] += [
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid"]},
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue"},
    ]
    said = bundle.run("ls /sys/class | head -n 1; cat /proc/self/mounts; touch /dev/mqueue/x")
    options = {line.split()[1]: line.split()[3] for line in said.splitlines() if "/" in line}
    for path in ("/sys", "/dev/mqueue"):
        assert options[path].startswith("ro"), said
    below = [value for path, value in options.items() if path.startswith("/sys/")]
    assert all(value.startswith("ro") for value in below)


@contextmanager
def held(kind: str) -> Iterator[str]:
    """The path of a namespace that a process holds."""
    holder = subprocess.Popen(["unshare", f"--{kind}", "sleep", "60"])
    path = f"/proc/{holder.pid}/ns/{kind}"
    try:
        deadline = 100
        while os.readlink(path) == os.readlink(f"/proc/self/ns/{kind}"):
            deadline -= 1
            assert deadline
            sleep(0.05)
        if kind == "user":
            for name in ("uid_map", "gid_map"):
                Path(f"/proc/{holder.pid}/{name}").write_text("0 100000 65536")
        yield path
    finally:
        holder.kill()
        holder.wait()


def test_a_user_namespace_by_path(bundle: Bundle) -> None:
    source = folder(bundle)
    bundle.place.chmod(0o700)  # the container's root could not come here
    try:
        with held("user") as path:
            bundle.linux["namespaces"].append({"type": "user", "path": path})
            os.chown(bundle.root / "tmp", 100000, 100000)
            bundle.config["mounts"] += [bind(source, "/tmp/a"), bind(source, "/tmp/b", "idmap")]
            bundle.process["oomScoreAdj"] = 5
            said = bundle.run(
                "id -u; stat -c %u /tmp/a/file /tmp/b/file; cat /proc/self/oom_score_adj"
            )
    finally:
        bundle.place.chmod(0o755)
    assert said.split() == ["0", "65534", "0", "5"]


def test_a_device_in_a_user_namespace_by_path(bundle: Bundle) -> None:
    # None can be made there, so it is the machine's of that path, and has to be that one.
    full = {"path": "/dev/full", "type": "c", "major": 1, "minor": 7}
    with held("user") as path:
        bundle.linux["namespaces"].append({"type": "user", "path": path})
        bundle.linux["devices"] = [full]
        assert bundle.run("echo >/dev/full 2>/dev/null || echo it is full") == "it is full\n"
        bundle.linux["devices"] = [{**full, "minor": 3}]
        error = bundle.refused()
    assert "/dev/full of this machine is another device (1:7)" in error
    assert "/linux/devices/0" in error


def test_a_host_name_in_a_namespace_that_is_joined(bundle: Bundle) -> None:
    with held("uts") as path:
        for each in bundle.linux["namespaces"]:
            if each["type"] == "uts":
                each["path"] = path
        bundle.config["hostname"] = "another"
        assert bundle.run("hostname") == "another\n"


def test_a_given_namespace_that_is_none_of_its_kind(bundle: Bundle) -> None:
    pipe = bundle.place / "pipe"
    os.mkfifo(pipe)
    uts = next(each for each in bundle.linux["namespaces"] if each["type"] == "uts")
    for path, said in (
        ("/proc/self/ns/ipc", "is no uts namespace"),
        (os.fspath(pipe), "is no uts namespace"),  # and nobody waits for its other end
        ("/no/such/namespace", "cannot be opened: No such file"),
    ):
        uts["path"] = path
        error = bundle.refused()
        assert said in error and "/linux/namespaces/3/path" in error, error
    # A bind of one has no link by whose name it could be known.
    bound = bundle.place / "bound"
    bound.touch()
    subprocess.run(["mount", "--bind", "/proc/self/ns/uts", bound], check=True)
    try:
        uts["path"] = os.fspath(bound)
        assert bundle.run("hostname") == f"{os.uname().nodename}\n"
    finally:
        subprocess.run(["umount", bound], check=True)
