"""Who is notified by a container's filter (listenerPath): what it is sent, and what it decides."""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import select
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from errno import EADDRNOTAVAIL
from pathlib import Path
from typing import Any

import pytest
from oci_bundle import IDENTITY, Bundle, bundle
from test_failures import statement

from kokon.security.seccomp import syscalls

__all__ = ["bundle"]  # the fixture

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a bundle's owner is the host's"),
]

RECEIVE, ANSWER = 0xC0502100, 0xC0182101  # SECCOMP_IOCTL_NOTIF_RECV, _SEND
CONTINUE = 1
NAMES = {number: name for name, number in syscalls.numbers(os.uname().machine).items()}
PATIENCE = 20


class Agent:
    """Listens; answers what it is asked: with an errno for some calls, else they go on.

    :ivar states: what was sent, in order; :ivar asked: the names of calls that came, with pids.
    """

    def __init__(self, place: Path, **errors: int) -> None:
        self.path = str(place / "agent")
        self.errors = errors
        self.states: list[dict[str, Any]] = []
        self.heard = threading.Condition()
        self.beside: list[int] = []
        self.asked: list[tuple[str, int]] = []
        self.meanwhile: Callable[[int], None] = lambda pid: None
        self.stopped, self._stop = os.pipe()
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.bind(self.path)
        self.socket.listen(8)
        self.threads = [threading.Thread(target=self._accept)]
        self.threads[0].start()

    def _accept(self) -> None:
        while True:
            ready = select.select([self.socket, self.stopped], [], [])[0]
            if self.stopped in ready:
                return
            channel, _ = self.socket.accept()
            self.threads.append(threading.Thread(target=self._hear, args=(channel,)))
            self.threads[-1].start()

    def _hear(self, channel: socket.socket) -> None:
        data, fds = b"", []
        with channel:
            # To the end: the runtime has to close it.
            while self.stopped not in select.select([channel, self.stopped], [], [])[0]:
                part, found, _, _ = socket.recv_fds(channel, 1 << 20, 4)
                self.beside += [len(found)] if part else []
                data, fds = data + part, fds + found
                if not part:
                    break
        if data:
            with self.heard:
                self.states.append(json.loads(data))
                self.heard.notify_all()
        for fd in fds:
            self._answer(fd)
            os.close(fd)

    def _answer(self, listener: int) -> None:
        poller = select.poll()
        poller.register(listener, select.POLLIN)
        poller.register(self.stopped, select.POLLIN)
        while True:
            ready = dict(poller.poll())
            if self.stopped in ready or not ready[listener] & select.POLLIN:
                return
            notice = bytearray(80)
            try:
                fcntl.ioctl(listener, RECEIVE, notice)
                number, pid, _, call = struct.unpack_from("<QIIi", notice)
                name = NAMES[call]
                self.asked.append((name, pid))
                self.meanwhile(pid)
                error = self.errors.get(name, 0)
                flags = 0 if error else CONTINUE
                answer = struct.pack("<QqiI", number, 0, -error, flags)
                fcntl.ioctl(listener, ANSWER, bytearray(answer))
            except FileNotFoundError:
                continue  # who asked has ended

    def state(self, number: int) -> dict[str, Any]:
        """What was sent by itself, when that is there."""
        with self.heard:
            assert self.heard.wait_for(lambda: len(self.states) > number, PATIENCE)
        return self.states[number]

    def calls(self) -> set[str]:
        return {name for name, _ in self.asked}

    def close(self) -> None:
        os.write(self._stop, b"x")
        for thread in self.threads:
            thread.join()
        for fd in (self.stopped, self._stop):
            os.close(fd)
        self.socket.close()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    made = Agent(tmp_path, mkdir=EADDRNOTAVAIL, mkdirat=EADDRNOTAVAIL)
    yield made
    made.close()


def notify(bundle: Bundle, *names: str, path: str = "", **more: Any) -> None:
    """A filter that notifies somebody of calls."""
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": path or str(bundle.place / "agent"),
        "syscalls": [{"names": list(names), "action": "SCMP_ACT_NOTIFY"}],
        **more,
    }


MKDIR = ("mkdir", "mkdirat")


@pytest.mark.parametrize("uid", [0, 1000])
@pytest.mark.parametrize("nothing_new", [False, True])
def test_what_is_sent_and_what_is_answered(
    bundle: Bundle, agent: Agent, uid: int, nothing_new: bool
) -> None:
    """An errno of the agent's is the call's; the others go on."""
    notify(bundle, *MKDIR, "rmdir", "unlinkat", listenerMetadata="about \u20ac")
    bundle.config["annotations"] = {"a.b": "c"}
    bundle.process.update(user={"uid": uid, "gid": uid}, noNewPrivileges=nothing_new)
    script = "mkdir /tmp/made; rmdir /nothing; ls -d /tmp/made; ls /proc/self/task | wc -l"
    bundle.process["args"] = ["sh", "-c", f"({script}) 2>&1; cat /proc/[0-9]*/stat"]
    bundle.create()
    pid = bundle.pid()
    assert agent.states == []
    said = bundle.start()
    bundle.call("delete", IDENTITY)
    assert agent.states == [{
        "ociVersion": "1.3.0", "fds": ["seccompFd"], "pid": pid, "metadata": "about \u20ac",
        "state": {
            "ociVersion": "1.3.0", "id": IDENTITY, "status": "created", "pid": pid,
            "bundle": str(bundle.path), "annotations": {"a.b": "c"},
        },
    }]  # fmt: skip
    assert agent.beside == [1]
    assert "mkdir: can't create directory '/tmp/made': " + os.strerror(EADDRNOTAVAIL) in said
    assert "rmdir: '/nothing': No such file" in said
    # The thread that sent it is gone, and no child of the program's.
    assert "\n1\n1 (" in said and "kokon" not in said and " Z " not in said
    assert agent.calls() >= {"rmdir"} and agent.calls() & set(MKDIR)
    assert bundle.left() == []


WAYS = ("sendmsg", "sendto", "write", "close", "close_range", "execve", "nanosleep", "exit",
        "exit_group", "futex", "sched_yield", "mmap", "munmap", "fcntl", "dup3",
        "read")  # fmt: skip


@pytest.mark.parametrize("flags", [[], ["SECCOMP_FILTER_FLAG_TSYNC"]])
def test_calls_that_a_runtime_makes_itself(bundle: Bundle, agent: Agent, flags: list[str]) -> None:
    """Nobody can be asked about them before the listener is sent: sending makes none of them."""
    notify(bundle, *WAYS, flags=flags)
    bundle.process["args"] = ["sh", "-c", "echo ran"]
    bundle.create()
    pid = bundle.pid()
    assert bundle.start() == "ran\n"
    assert agent.calls() >= {"close_range", "execve", "write", "exit_group"}
    assert agent.asked[0] == ("close_range", pid)


def test_calls_that_end_who_makes_them(bundle: Bundle, agent: Agent) -> None:
    ends = ("sendmsg", "sendto", "nanosleep", "exit", "futex", "sched_yield", "socket", "close")
    notify(bundle, *MKDIR)
    rules = bundle.linux["seccomp"]["syscalls"]
    rules.append({"names": list(ends), "action": "SCMP_ACT_KILL_PROCESS"})
    bundle.process["args"] = ["echo", "ran"]
    bundle.create()
    assert bundle.start() == "ran\n"
    assert agent.state(0)["fds"] == ["seccompFd"]


def test_exec_has_a_listener_of_its_own(bundle: Bundle, agent: Agent) -> None:
    notify(bundle, *MKDIR, "write")
    bundle.process["args"] = ["sleep", "60"]
    assert bundle.call("run", "--detach", IDENTITY).returncode == 0
    pid = bundle.pid()
    assert agent.state(0)["pid"] == pid
    file = bundle.place / "pid"
    script = "mkdir /tmp/made; echo $? ; grep PPid /proc/self/status"
    for number in (1, 2):
        done = bundle.call("exec", "--pid-file", str(file), IDENTITY, "sh", "-c", script)
        assert done.stdout.split()[0] == "1", done
        state = agent.state(number)
        assert (state["pid"], "metadata" in state) == (int(file.read_text()), False)
        assert (state["state"]["status"], state["state"]["pid"]) == ("running", pid)
    assert os.listdir(f"/proc/{pid}/task") == [str(pid)]
    agent.close()
    os.unlink(agent.path)
    done = bundle.call("exec", IDENTITY, "true")
    assert done.returncode == 255
    assert "/linux/seccomp/listenerPath: nobody takes a connection at" in done.stderr
    agent.__init__(bundle.place)  # type: ignore[misc]


def test_hooks_before_the_program_are_asked_about_too(bundle: Bundle, agent: Agent) -> None:
    notify(bundle, *MKDIR)
    hook = {"path": "/bin/busybox", "args": ["sh", "-c", "mkdir /tmp/made; true"]}
    bundle.config["hooks"] = {"startContainer": [hook]}
    bundle.run("true")
    assert not (bundle.root / "tmp/made").exists() and agent.calls()


# --- what is an error ---------------------------------------------------------------------


@pytest.mark.parametrize("there", [False, True])
def test_a_socket_that_nobody_listens_on(bundle: Bundle, there: bool) -> None:
    path = str(bundle.place / "agent")
    if there:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
    notify(bundle, *MKDIR)
    error = bundle.refused()
    assert f"/linux/seccomp/listenerPath: nobody takes a connection at {path}: " in error
    assert ("refused" if there else "No such file") in error and "; start the" in error


def test_a_listener_that_goes_away_before_the_start(bundle: Bundle) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(bundle.place / "agent"))
        listener.listen(1)
        notify(bundle, *MKDIR, "write", "exit_group")
        bundle.process["args"] = ["touch", "/tmp/ran"]
        bundle.create()
    error = bundle.start()
    assert "/linux/seccomp/listenerPath: have the listener of the filter" in error
    assert "Broken pipe; who listens there has closed the connection" in error
    assert not (bundle.root / "tmp/ran").exists()
    assert '"status": "stopped"' in bundle.call("state", IDENTITY).stdout
    assert bundle.call("delete", IDENTITY).returncode == 0
    assert bundle.left() == []


def test_a_listener_that_goes_away_with_its_descriptor(bundle: Bundle) -> None:
    """Calls answer ENOSYS then (seccomp_unotify(2)): nobody of ours holds it too."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(bundle.place / "agent"))
        listener.listen(1)
        notify(bundle, *MKDIR, "close_range")
        bundle.process["args"] = ["sleep", "60"]
        bundle.create()
        channel, _ = listener.accept()

        def take() -> None:
            _, fds, _, _ = socket.recv_fds(channel, 1 << 16, 4)
            os.close(fds[0])

        thread = threading.Thread(target=take)
        thread.start()
        error = bundle.start()
        thread.join()
        channel.close()
    assert "close every descriptor" in error and "Function not implemented" in error


def test_a_state_that_does_not_fit(bundle: Bundle, agent: Agent) -> None:
    """It would be sent when somebody reads: init does not wait for that."""
    notify(bundle, *MKDIR)
    bundle.config["annotations"] = {"a": "x" * 1_000_000}
    error = bundle.refused()
    assert "/linux/seccomp/listenerPath: " in error and "shorten the annotations" in error


def with_listener() -> None:
    """Puts a filter with a listener over this process, which is to keep it."""
    program = b"".join((statement(0x06, 0, 0, 0x7FFF0000),))
    code = ctypes.create_string_buffer(program)
    head = struct.pack("<HxxxxxxQ", 1, ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    seccomp = {"x86_64": 317, "aarch64": 277}[os.uname().machine]
    fd = libc.syscall(seccomp, 1, 8, head)
    assert fd >= 0, os.strerror(ctypes.get_errno())
    os.set_inheritable(fd, True)


def test_another_listener_around(bundle: Bundle, agent: Agent) -> None:
    notify(bundle, *MKDIR)
    done = bundle.call("run", IDENTITY, preexec_fn=with_listener, close_fds=False)
    assert done.returncode == 1
    assert "/linux/seccomp: load the system call filter" in done.stderr
    assert "busy; a filter around kokon has a listener" in done.stderr
    assert bundle.left() == [] and agent.states == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"listenerPath": ""}, "/linux/seccomp/syscalls/0/action: SCMP_ACT_NOTIFY needs"),
        ({"defaultAction": "SCMP_ACT_NOTIFY"}, "/linux/seccomp/defaultAction: "),
        ({"listenerPath": "agent"}, "/linux/seccomp/listenerPath: "),
        ({"listenerPath": "/" + 107 * "a"}, "is longer than a socket's path may be (107 bytes)"),
        ({"syscalls": [], "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]},
         "/linux/seccomp/flags: SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV is for SCMP_ACT_NOTIFY"),
    ],
)  # fmt: skip
def test_documents_that_cannot_be_meant(
    bundle: Bundle, agent: Agent, change: dict[str, Any], words: str
) -> None:
    notify(bundle, *MKDIR)
    bundle.linux["seccomp"].update(change)
    assert words in bundle.refused()


def test_without_a_call_to_be_notified_of_the_path_is_ignored(bundle: Bundle) -> None:
    """As the specification has it."""
    notify(bundle, path="/nobody/listens")
    bundle.linux["seccomp"].update(syscalls=[], listenerMetadata="x")
    assert bundle.run("echo ran") == "ran\n"


def test_only_its_end_interrupts_a_call_that_was_received(bundle: Bundle, agent: Agent) -> None:
    """SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV: SIGSTOP finds it in state D, and waits."""
    if tuple(map(int, os.uname().release.split(".")[:2])) < (5, 19):
        pytest.skip("needs Linux 5.19")
    notify(bundle, *MKDIR, flags=["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"])
    states: list[str] = []

    def stop(pid: int) -> None:
        os.kill(pid, signal.SIGSTOP)
        end = time.monotonic() + PATIENCE
        while states[-1:] not in (["D"], ["T"]) and time.monotonic() < end:
            time.sleep(0.01)
            states.append(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0])
        os.kill(pid, signal.SIGCONT)

    agent.meanwhile = stop
    assert os.strerror(EADDRNOTAVAIL) in bundle.run("mkdir /tmp/made 2>&1")
    assert states[-1] == "D"
