"""Bad input: one sentence with its place, in the log too, a status, and nothing is left.

``create`` is called in this process, which is quicker than a process for each.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from typing import Any

import pytest
from leftovers import children, descriptors
from oci_bundle import IDENTITY, Bundle, bundle

import kokon.cli.oci.state
from kokon.cli.oci.main import main
from kokon.errors import KokonError
from kokon.plan import ops
from kokon.plan.plan import Plan
from kokon.runtime.oci import create, execute, streams
from kokon.runtime.oci.create import Creation
from kokon.runtime.oci.delete import delete
from kokon.runtime.oci.execution import Execution
from kokon.runtime.oci.start import start

__all__ = ["bundle"]  # the fixture

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a bundle's owner is the host's"),
]

PTS = {"destination": "/dev/pts", "type": "devpts", "options": ["ptmxmode=0666"]}


def told(bundle: Bundle, *words: str, status: int = 1) -> str:
    """What the log says of a command that fails; nothing is left of it."""
    log = bundle.place / "log"
    log.unlink(missing_ok=True)
    running = children()
    given = ["--root", f"{bundle.place}/run", "--log", str(log), "--log-format", "json", *words]
    assert main(given) == status
    (line,) = log.read_text().splitlines()
    entry = json.loads(line)
    assert entry["level"] == "error"
    message: str = entry["msg"]
    assert message.isprintable() and len(message) < 500, message
    assert bundle.left() == [] and children() == running
    return message


def refused(bundle: Bundle, *words: str) -> str:
    return told(bundle, "create", "--bundle", str(bundle.path), *words, IDENTITY)


def nested(depth: int) -> bytes:
    return b'{"annotations":' + b'{"a":[' * (depth // 2) + b"]}" * (depth // 2) + b"}"


TEXTS: dict[str, tuple[bytes | None, str]] = {
    "missing": (None, "config.json cannot be read: No such file"),
    "empty": (b"", "is empty"),
    "cut": (b'{"ociVersion": "1.0.0", "process": {"args": ["a', "it is cut short"),
    "no UTF-8": (b'{"ociVersion": "\xff"}', "not UTF-8"),
    "a name twice": (b'{"root": {"path": "a", "path": "b"}}', "/root: the object has 'path' twice"),
    "100 MB": (b" " * 100_000_000, "is larger than 16 MiB"),
    "100,000 deep": (nested(100_000), "nested deeper"),
    "a list": (b"[]", "object"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_document_that_cannot_be_read(bundle: Bundle, name: str) -> None:
    text, words = TEXTS[name]
    if text is not None:
        (bundle.path / "config.json").write_bytes(text)
    assert words in refused(bundle)


def setting(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Sets a member; None takes it away."""

    def change(config: dict[str, Any]) -> None:
        *above, last = path.strip("/").split("/")
        at: Any = config
        for part in above:
            at = at[int(part)] if isinstance(at, list) else at.setdefault(part, {})
        if isinstance(at, list):
            at.append(value)
        elif value is None:
            del at[last]
        else:
            at[last] = value

    return change


ONE = {"containerID": 0, "hostID": 5, "size": 2}
SECCOMP = {"defaultAction": "SCMP_ACT_ALLOW"}
HOOK = {"path": "/bin/sh", "args": ["sh", "-c", "exit 3"]}

MEMBERS: list[tuple[str, Callable[[dict[str, Any]], None], str]] = [
    ("/process", setting("/process", [1]), ""),
    ("/process/args/1", setting("/process/args", ["sh", 1]), ""),
    ("/mounts", setting("/mounts", "x"), ""),
    ("/linux/resources/pids/limit", setting("/linux/resources", {"pids": {"limit": "1"}}), ""),
    ("/ociVersion", setting("/ociVersion", "2.0.0"), "newer"),
    ("/ociVersion", setting("/ociVersion", None), "missing"),
    ("/root", setting("/root", None), "missing"),
    ("/root/path", setting("/root/path", "nowhere"), "No such file"),
    ("/root/path", setting("/root/path", "config.json"), "Not a directory"),
    ("/process/args", setting("/process/args", []), "no program"),
    ("/process/args", setting("/process", None), "no program"),
    ("/mounts/2", setting("/mounts/-", {"destination": "/tmp", "type": "nosuchfs"}), "nosuchfs"),
    ("/mounts/2/source", setting("/mounts/-", {"destination": "/tmp", "source": "/no/such",
                                               "options": ["bind"]}), "No such file"),
    ("/linux/namespaces/5/type", setting("/linux/namespaces/-", {"type": "pid"}), "twice"),
    ("/linux/namespaces/5/type", setting("/linux/namespaces/-", {"type": "pids"}), "pids"),
    ("/linux/namespaces/5/path", setting("/linux/namespaces/-", {"type": "cgroup", "path": "/"}),
     "no cgroup namespace"),
    ("/linux/uidMappings/1/containerID", setting("/linux", {
        "namespaces": [{"type": "user"}, {"type": "mount"}], "gidMappings": [ONE],
        "uidMappings": [ONE, {**ONE, "containerID": 1, "hostID": 9}]}), "another mapping"),
    ("/linux/seccomp/syscalls/0/action", setting("/linux/seccomp", {
        **SECCOMP, "syscalls": [{"names": ["read"], "action": "SCMP_ACT_MAYBE"}]}), "MAYBE"),
    ("/linux/seccomp/syscalls/0/args/0/op", setting("/linux/seccomp", {
        **SECCOMP, "syscalls": [{"names": ["read"], "action": "SCMP_ACT_LOG",
                                 "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_X"}]}]}), ""),
    ("/linux/seccomp/architectures/0",
     setting("/linux/seccomp", {**SECCOMP, "architectures": ["SCMP_ARCH_PDP11"]}), "PDP11"),
    ("/linux/cgroupsPath", setting("/linux/cgroupsPath", "/a/../b"), ".."),
    ("/linux/resources/unified/nosuch.limit",
     setting("/linux/resources", {"unified": {"nosuch.limit": "1"}}), ""),
    ("/linux/resources/unified/memory.nosuch",
     setting("/linux/resources", {"unified": {"memory.nosuch": "1"}}), ""),
    ("/hooks/createRuntime/0", setting("/hooks", {"createRuntime": [HOOK]}), "status 3"),
    ("/hooks/prestart/0", setting("/hooks", {"prestart": [{"path": "/no/such"}]}), "No such file"),
    ("/hooks/createContainer/0", setting("/hooks", {"createContainer": [HOOK]}), "status 3"),
    ("/linux/sysctl/kernel.panic", setting("/linux/sysctl", {"kernel.panic": "1"}), "machine"),
]  # fmt: skip


@pytest.mark.parametrize(("pointer", "change", "words"), MEMBERS)
def test_a_member_that_cannot_be(
    bundle: Bundle, pointer: str, change: Callable[[dict[str, Any]], None], words: str
) -> None:
    change(bundle.config)
    bundle.write()
    message = refused(bundle)
    assert f"{pointer}: " in message or f"(asked by {pointer}): " in message, message
    assert words in message


IDS = ["..", "../x", "a/b", "", "a" * 5000, ".", "a\nb", "-a", "a b", "\u00e9"]


@pytest.mark.parametrize("identity", IDS)
def test_s2_an_id_that_is_none(bundle: Bundle, identity: str) -> None:
    bundle.write()
    here = [path.name for path in bundle.place.iterdir()]
    for verb in ("create", "run", "start", "state", "kill", "delete", "pause", "exec"):
        own = ["--bundle", str(bundle.path)] if verb in ("create", "run") else []
        more = ["true"] if verb == "exec" else []
        status = 255 if verb == "exec" else 1
        message = told(bundle, verb, *own, "--", identity, *more, status=status)
        assert "is no id of a container" in message, (verb, message)
    found = {path.name for path in bundle.place.iterdir()} - set(here)
    assert found <= {"log", "run"}


def test_a_console_socket_that_nobody_reads(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its queue is full; it is no socket; there is none."""
    monkeypatch.setattr(streams, "PATIENCE", 0.05)
    bundle.config["mounts"].append(PTS)
    bundle.process["terminal"] = True
    bundle.write()
    path = bundle.place / "console"
    waiting = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(0)
        try:
            while True:
                waiting.append(socket.socket(socket.AF_UNIX))
                waiting[-1].setblocking(False)
                waiting[-1].connect(str(path))
        except BlockingIOError:
            pass
        messages = [refused(bundle, "--console-socket", str(path))]
    for each in waiting:
        each.close()
    for at in (path, bundle.path / "config.json", bundle.place / "nowhere"):
        messages.append(refused(bundle, "--console-socket", str(at)))
    assert all("--console-socket: nobody takes the terminal" in each for each in messages)
    assert "/process/terminal" in refused(bundle)


def test_a_process_of_exec_that_cannot_be(bundle: Bundle) -> None:
    bundle.process["args"] = ["sleep", "60"]
    assert bundle.call("run", "--detach", IDENTITY).returncode == 0
    path = bundle.place / "process.json"
    for text, words in (
        ("{", "cut short"), ('{"cwd": "/", "args": []}', "/args"), ('{"args": ["a"]}', "/cwd"),
        ('{"cwd": "/", "args": ["a"], "user": {"uid": -1}}', "/user/uid"),
    ):  # fmt: skip
        path.write_text(text)
        ended = bundle.call("exec", "--process", str(path), IDENTITY)
        assert ended.returncode == 255 and words in ended.stderr, ended.stderr
    ended = bundle.call("exec", "--process", "/dev/zero", IDENTITY)  # it never ends
    assert ended.returncode == 255 and "larger than 16 MiB" in ended.stderr


def test_a_mistake_of_ours_is_in_the_log(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Engines show nothing else."""

    def mistaken(*_: object) -> int:
        raise AttributeError("no such thing")

    monkeypatch.setattr(kokon.cli.oci.state, "main", mistaken)
    message = told(bundle, "state", IDENTITY)
    assert "AttributeError: no such thing (test_oci_bad_input.py, line " in message
    assert "mistake in kokon" in message
    assert "Traceback" in capfd.readouterr().err
    log = bundle.place / "text"
    assert main(["--log", str(log), "state", IDENTITY]) == 1
    assert ' level=error msg="AttributeError: no such thing (' in log.read_text()


def test_every_step_of_the_plan_fails_in_turn(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it a step is put that the kernel refuses."""
    bundle.users()
    for name in ("dev", "proc", "tmp", "home"):
        os.chown(bundle.root / name, 100000, 100000)
    bundle.config["mounts"] += [
        PTS,
        {"destination": "/tmp", "type": "tmpfs", "options": ["tmpcopyup"]},
    ]
    bundle.config["hooks"] = {
        kind: [{"path": "/bin/busybox", "args": ["true"]}]
        for kind in ("createRuntime", "createContainer", "startContainer")
    }
    bundle.process.update(
        oomScoreAdj=5, rlimits=[{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}],
        scheduler={"policy": "SCHED_BATCH"}, noNewPrivileges=True,
    )  # fmt: skip
    bundle.linux.update(
        maskedPaths=["/proc/kcore", "/proc/fs"], readonlyPaths=["/proc/sys"],
        sysctl={"net.ipv4.ip_forward": "1"}, seccomp=SECCOMP,
        resources={"pids": {"limit": 50}},
    )  # fmt: skip
    bundle.config["hostname"] = "here"
    bundle.write()
    compile_container = create.compile_container
    at, count, waits = 0, 1, 0

    def failing(*given: Any) -> Plan:
        nonlocal count, waits
        made = compile_container(*given)
        count = len(made.ops)
        waits = next(n for n, op in enumerate(made.ops) if isinstance(op, ops.AwaitStart))
        wrong = ops.Dumpable(7, why="/the/test")
        return Plan((*made.ops[:at], wrong, *made.ops[at:]), made.inherited)

    monkeypatch.setattr(create, "compile_container", failing)
    monkeypatch.setattr(create.check, "check", lambda plan: None)
    running, opened = children(), descriptors()
    while at < count:
        with pytest.raises(KokonError, match="/the/test") as caught:
            asked = Creation()
            record = create.create(f"{bundle.place}/run", IDENTITY, str(bundle.path), asked)
            assert at > waits and asked.spawned is not None
            try:
                start(record)
            finally:
                assert record.status == "stopped"
                os.waitpid(record.values["pid"], 0)
                delete(record)
                record.close()
                asked.spawned.close()
        assert "Invalid argument" in str(caught.value), at
        assert bundle.left() == [], at
        assert (children(), descriptors()) == (running, opened), at
        at += 1
    assert count > 60


def test_every_step_of_an_exec_fails_in_turn(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle.users()
    bundle.process["args"] = ["sleep", "60"]
    bundle.process["execCPUAffinity"] = {"initial": "0", "final": "0"}
    bundle.linux["seccomp"] = SECCOMP
    assert bundle.call("run", "--detach", IDENTITY).returncode == 0
    compile_execution = execute.compile_execution
    at, count = 0, 1

    def failing(*given: Any) -> Plan:
        nonlocal count
        made = compile_execution(*given)
        count = len(made.ops)
        wrong = ops.Dumpable(7, why="/the/test")
        return Plan((*made.ops[:at], wrong, *made.ops[at:]), made.inherited)

    monkeypatch.setattr(execute, "compile_execution", failing)
    monkeypatch.setattr(execute.check, "check", lambda plan: None)
    running, opened = children(), descriptors()
    while at < count:
        with pytest.raises(KokonError, match="/the/test"):
            execute.execute(f"{bundle.place}/run", IDENTITY, Execution(("true",)))
        assert (children(), descriptors()) == (running, opened), at
        at += 1
    assert count > 30
    assert '"status": "running"' in bundle.call("state", IDENTITY).stdout
