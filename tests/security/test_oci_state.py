"""Rows S1 to S10 against the OCI runtime: state, control groups, what it was told before."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import forked_in_pid_namespace
from oci_container import Container

from kokon.cgroup import unit
from kokon.cgroup.manager import Manager
from kokon.errors import HostError, SpecError
from kokon.kernel import cgroups
from kokon.runtime.oci import kill
from kokon.runtime.oci.record import Record

SEEN = {
    "S1": "the socket is bound in the abstract namespace",
    "S2": "ids are not checked",
    "S3": "a FIFO as the log is waited for, a pid file's beginning stays, a link of another user is"
    " taken for the state's directory (it was so: found here)",
    "S4": "a signal to all goes to whoever has a pid that was listed (it did: found here); the time"
    " of the start is not compared",
    "S7": "`..` in paths; a group that is somebody else's is removed for a create that was killed"
    " (it was: found here)",
    "S8": "what was mounted on is removed with the container, through its links",
    "S9": "the words of a scope's name are not looked at",
    "S10": "exec reads the bundle again",
}

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("host")]


def test_s1_no_abstract_socket(container: Container) -> None:
    def abstract() -> set[str]:
        text = Path("/proc/net/unix").read_text()
        return {line.split()[-1] for line in text.splitlines() if " @" in line}

    before = abstract()
    container.linux["namespaces"] = [
        each for each in container.linux["namespaces"] if each["type"] != "network"
    ]
    container.create()
    assert abstract() <= before
    socket = container.record / "start"
    assert socket.is_socket() and container.record.stat().st_mode & 0o777 == 0o700


IDS = ("..", ".", "../x", "a/b", "/a", "", "x" * 5000, "x" * 129, "a\nb", "-x", ".x", "é", "a b")


@pytest.mark.parametrize("verb", [
    "create", "run", "start", "state", "kill", "delete", "exec", "ps", "pause", "resume", "update",
    "events",
])  # fmt: skip
def test_s2_ids_that_are_paths(container: Container, tmp_path: Path, verb: str) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    more = {"exec": ["true"], "events": [], "update": []}.get(verb, [])
    options = {"update": ["--pids-limit", "5"], "events": ["--stats"]}.get(verb, [])
    for word in IDS:
        said = container.refused(verb=(verb, *options, "--", word, *more))
        assert "is no id of a container" in said, word
    assert os.listdir(tmp_path / "state") == []


@pytest.mark.parametrize("kind", ["link", "fifo", "directory"])
def test_s3_files_of_the_caller(
    container: Container, host: Path, tmp_path: Path, kind: str
) -> None:
    (tmp_path / "files").mkdir()
    for name in ("pid", "log"):
        path = tmp_path / "files" / name
        if kind == "link":
            path.symlink_to(host / "secret")
        elif kind == "fifo":
            os.mkfifo(path)
        else:
            path.mkdir()
    log, pid_file = (f"{tmp_path}/files/{name}" for name in ("log", "pid"))
    status, _ = container.attempt("sleep", "30", verb=(
        "--log", log, "create", "--pid-file", pid_file, container.name,
    ))  # fmt: skip
    assert container.call("--log", log, "state", "nosuch") == 1
    assert status == (kind == "directory")
    assert sorted(os.listdir(tmp_path / "files")) == ["log", "pid"]
    if status == 0:
        assert Path(pid_file).is_file() and not Path(pid_file).is_symlink()


def test_s3_the_directory_of_containers(container: Container, tmp_path: Path) -> None:
    """A link in a place that is others' too, to a directory that is ours."""
    ours, sticky = tmp_path / "ours", tmp_path / "sticky"
    (ours / container.name).mkdir(parents=True)
    (ours / container.name / "file").write_text("x")
    sticky.mkdir()
    sticky.chmod(0o1777)
    (sticky / "root").symlink_to(ours)
    (sticky / "nowhere").symlink_to(tmp_path / "new")
    for name in ("root", "nowhere"):
        for verb in ("create", "delete", "list"):
            words = () if verb == "list" else (container.name,)
            container.call("--root", f"{sticky}/{name}", verb, *words)
            status, _ = container.attempt(verb=("--root", f"{sticky}/{name}", verb, *words))
            assert status or name == "nowhere", verb
    container.call("--root", f"{sticky}/root", "delete", "--force", container.name)
    assert (ours / container.name / "file").exists() and not (tmp_path / "new").exists()
    assert os.listdir(ours) == [container.name]


def test_s4_a_stranger_with_the_same_pid(container: Container) -> None:
    """In a pid namespace of its own, where the next pid can be chosen (ns_last_pid, proc(5))."""

    def caller() -> None:
        container.start("true")
        pid = json.loads((container.record / "state.json").read_text())["pid"]
        os.waitpid(pid, 0)
        Path("/proc/sys/kernel/ns_last_pid").write_text(str(pid - 1))
        stranger = os.fork()
        if stranger == 0:
            time.sleep(30)
            os._exit(0)
        assert stranger == pid, "the kernel gave it another pid"
        container.refused(verb=("kill", container.name, "KILL"))
        container.refused(verb=("exec", container.name, "true"))
        assert container.call("delete", "--force", container.name) == 0
        assert os.waitpid(stranger, os.WNOHANG) == (0, 0), "the stranger was ended"
        os.kill(stranger, signal.SIGKILL)
        os.waitpid(stranger, 0)

    forked_in_pid_namespace(caller)


class Late(Manager):
    """Groups of which a process has gone when the list of them is there."""

    gone = False

    def processes(self) -> list[int]:
        found = super().processes()
        if not self.gone:
            self.gone = True
            for tree in self.layout.hierarchies:
                for pid in found:
                    Path(tree.mount_point, "cgroup.procs").write_text(str(pid))
        return found


def test_s4_one_that_is_no_longer_the_containers(container: Container) -> None:
    """Its pid is anybody's when the signal is sent; here it is its own still, elsewhere."""
    container.start("sleep", "30")
    with Record.open(f"{container.place}/state", container.name) as record:
        late = Late.reopen(cgroups.read(), record.values["groups"])
        kill._send_to_all(late, signal.SIGKILL)
        time.sleep(0.1)
        assert record.pid, "it was ended"
        kill._send_to_all(Manager.reopen(cgroups.read(), record.values["groups"]), signal.SIGKILL)
        assert record.pid
        assert kill.send(record, signal.SIGKILL)


@pytest.mark.parametrize("users", [False, True])
def test_s7_its_place(container: Container, users: bool) -> None:
    if users:
        container.users()
    pid = container.create()
    groups = json.loads((container.record / "state.json").read_text())["groups"]
    own = {line.partition(":")[2] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()}
    trees = cgroups.read().hierarchies
    assert len(own) >= len(trees) and all(f"kokon-{container.name}" in line for line in own), own
    assert all(os.path.isdir(path) for path in groups.values())


@pytest.mark.parametrize("change", [
    {"cgroupsPath": "../../x"}, {"cgroupsPath": "/x/../../y"}, {"cgroupsPath": "/x/tasks"},
    {"cgroupsPath": "/cgroup.procs"}, {"cgroupsPath": "/x\ny"},
    {"resources": {"cpu": {"cpus": "1-999999999"}}}, {"resources": {"cpu": {"mems": "0-1,-5"}}},
    {"resources": {"unified": {"../x": "1"}}}, {"resources": {"unified": {"cgroup.procs": "1"}}},
    {"resources": {"unified": {"memory.max": "1\n2"}}}, {"resources": {"pids": {"limit": 1 << 40}}},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("users", [False, True])
def test_s7_words(container: Container, change: dict[str, Any], users: bool) -> None:
    if users:
        container.users()
    container.linux.update(change)
    container.refused()
    if "resources" in change:
        del container.linux["resources"]
        container.start("sleep", "30")
        (container.place / "resources").write_text(json.dumps(change["resources"]))
        container.refused(verb=("update", "-r", f"{container.place}/resources", container.name))
    for word in ("../x", "/..", "cpu:../x", "nosuch", "nosuch:/"):
        container.call("exec", "--cgroup", word, container.name, "echo", "STARTED")
    assert "STARTED" not in container.said()


@pytest.fixture
def others(container: Container) -> Iterator[Container]:
    """Another container, in a group that everybody knows."""
    other = Container(container.place, container.root)
    other.name += "other"
    other.linux["cgroupsPath"] = container.linux["cgroupsPath"] = f"/{other.name}"
    other.start("sleep", "30")
    yield other
    other.call("delete", "--force", other.name)


def test_s7_the_group_of_another(container: Container, others: Container) -> None:
    """It is refused; also when whoever refuses is killed, and its container deleted, nobody in the
    group is."""
    said = container.refused()
    assert "cannot be made" in said
    script = (
        "import os, runpy, sys\n"
        f"ours = '/{others.name}'\n"
        "def hook(event, given):\n"
        "    if event == 'os.mkdir' and str(given[0]).endswith(ours): os.kill(os.getpid(), 9)\n"
        "sys.addaudithook(hook)\n"
        f"sys.argv = {container.command('create', container.name)[3:]!r}\n"
        "runpy.run_module('kokon.cli.oci.main', run_name='__main__')\n"
    )
    pid = os.fork()
    if pid == 0:
        os.chdir(container.place)
        os.execv(sys.executable, [sys.executable, "-P", "-c", script])
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert container.record.exists()
    assert container.call("delete", "--force", container.name) == 0, container.said()
    assert '"status":"running"' in others.attempt(verb=("state", others.name))[1].replace(" ", "")


@pytest.mark.parametrize("users", [False, True])
def test_s8_what_a_container_leaves(
    container: Container, host: Path, tmp_path: Path, users: bool
) -> None:
    """It puts links in the place of what was mounted on, and has a mount left."""
    volume = tmp_path / "V"
    (volume / "sub").mkdir(parents=True)
    (container.root / "own").mkdir()
    (container.root / "own/file").write_text("of the image")
    container.permit("SYS_ADMIN", "DAC_OVERRIDE", "CHOWN")
    if users:
        container.users()
    container.bind(volume, "/v")
    container.bind(host, "/h")
    container.start(
        "sh", "-c", f"rm -r /v/sub /own; ln -s {host} /v/sub; ln -s {host} /own;"
        f" mkdir /kept; mount -o bind /h /kept; umount -l /v; rmdir /v; ln -s {host} /v; sleep 30",
    )  # fmt: skip
    deadline = time.monotonic() + 10
    while not (container.root / "v").is_symlink() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert (container.root / "v").is_symlink()
    assert container.call("delete", "--force", container.name) == 0, container.said()
    for path in (volume / "sub", container.root / "own", container.root / "v"):
        assert os.readlink(path) == str(host)


def test_s9_annotations_are_words(container: Container) -> None:
    script = "cat /proc/self/status | grep -E '^(Cap|Groups|Seccomp:|NoNew)'; cat /proc/self/limits"
    plain = container.run(script)
    container.config["annotations"] = {
        "org.systemd.property.MemoryMax": "uint64 1", "org.systemd.property.ExecStart": "'/x'",
        "run.oci.keep_original_groups": "1", "run.oci.hooks.stdout": "/tmp/x",
        "run.oci.mount_context_type": "rootcontext", "io.kubernetes.cri-o.userns-mode": "auto",
        "kokon.privileged": "true",
    }  # fmt: skip
    assert container.run(script) == plain


@pytest.mark.parametrize("path", [
    "a.slice:x:y\nz", "a.slice:x:../y", "../a.slice:x:y", "a.slice/b.slice:x:y", "a:x:y",
    "a--b.slice:x:y", "a.slice:x", "a.slice:x:y/z", "a.slice:x:y z", "a.slice:x:\\x2f",
])  # fmt: skip
def test_s9_words_of_a_scope(path: str) -> None:
    try:
        slice_name, name = unit.scope_name(path, "id", "system.slice")
        below = unit.scope_path(slice_name, name)
    except (SpecError, HostError):
        return
    assert below.count("/") >= 2 and ".." not in below.split("/") and below.isprintable()
    assert " " not in below and name.endswith(".scope")


def test_s10_a_bundle_that_is_exchanged(container: Container, tmp_path: Path) -> None:
    """What was decided at create holds: nobody reads the bundle again."""
    container.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}],
    }  # fmt: skip
    container.process["noNewPrivileges"] = True
    container.process["args"] = ["sleep", "30"]
    container.create()
    del container.linux["seccomp"]
    container.permit("SYS_ADMIN", "NET_ADMIN")
    container.process.update(noNewPrivileges=False, args=["sh", "-c", "echo STARTED"])
    container.linux["cgroupsPath"] = "/elsewhere"
    container.config["root"]["path"] = "/"
    container.bind("/", "/machine")
    hook = {"path": "/bin/busybox", "args": ["touch", f"{tmp_path}/hooked"]}
    container.config["hooks"] = {
        kind: [hook] for kind in ("startContainer", "poststart", "poststop")
    }
    assert container.call("start", container.name) == 0
    script = "mkdir /new; ls -d /machine; grep -E 'CapBnd|NoNew' /proc/self/status"
    _, said = container.attempt(verb=("exec", container.name, "sh", "-c", script))
    assert "Operation not supported" in said and "NoNewPrivs:\t1" in said
    bound = int(next(line for line in said.splitlines() if "CapBnd" in line).split()[1], 16)
    assert not bound >> 21 & 1, "SYS_ADMIN"
    assert "/machine: No such file" in said and "STARTED" not in said
    assert container.call("delete", "--force", container.name) == 0
    assert not (tmp_path / "hooked").exists()


def test_s10_an_update_gives_no_device(container: Container) -> None:
    os.mknod(container.root / "made", 0o600 | 0o020000, os.makedev(10, 229))
    container.linux["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
    container.start("sleep", "30")
    try_it = ("exec", container.name, "sh", "-c", "true < /made")
    assert "Operation not permitted" in container.attempt(verb=try_it)[1]
    for document in (
        {"devices": [{"allow": True, "access": "rwm"}]},
        {"devices": [{"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"}]},
        {"unified": {"devices.allow": "a"}}, {"unified": {"../devices.allow": "a"}},
    ):  # fmt: skip
        (container.place / "resources").write_text(json.dumps(document))
        container.call("update", "-r", f"{container.place}/resources", container.name)
        assert "Operation not permitted" in container.attempt(verb=try_it)[1], document
