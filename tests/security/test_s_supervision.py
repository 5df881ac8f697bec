"""Rows S4, S6, S9 and N9: pids that come again, secrets, words for systemd, and no open door."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from harness import NEEDS_ROOT, attempt, forked_in_pid_namespace, run

import kokon
from kokon import paths
from kokon.cgroup import systemd, unit
from kokon.config.options import Options
from kokon.engine.run import finish, prepare

SEEN = {
    "S4": "it is ended by its pid",
    "S6": "the message of an unusable variable has its value (it had: found here)",
    "S9": "the words of a cgroup parent are not looked at; a property is added",
    "N9": "kokon listens on a port",
}

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("contained")]
Mode = dict[str, Any]
TOKEN = "the-token-that-nobody-may-see"


# --- S4 -------------------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason=NEEDS_ROOT)
def test_s4_a_stranger_with_the_same_pid(root: Path) -> None:
    """In a pid namespace of its own, where the next pid can be chosen (ns_last_pid, proc(5))."""

    def caller() -> None:
        prepared = prepare(Options(os.fspath(root), ("/bin/true",), {"init": True}))
        process = prepared.start((0, 1, 2))
        finish(prepared, process)
        Path("/proc/sys/kernel/ns_last_pid").write_text(str(process.pid - 1))
        stranger = os.fork()
        if stranger == 0:
            time.sleep(20)
            os._exit(0)
        assert stranger == process.pid, "the kernel gave it another pid"
        process.kill()
        process.close()
        prepared.close()
        time.sleep(0.05)
        assert os.waitpid(stranger, os.WNOHANG) == (0, 0), "the stranger was ended"
        os.kill(stranger, signal.SIGKILL)
        os.waitpid(stranger, 0)

    forked_in_pid_namespace(caller)


# --- S6 -------------------------------------------------------------------------------------


def files_with(token: str, *tops: str) -> list[str]:
    found = []
    for top in tops:
        for where, _, names in os.walk(top):
            for name in names:
                path = os.path.join(where, name)
                if os.path.isfile(path) and not os.path.islink(path):
                    with open(path, "rb") as file:
                        found += [path] if token.encode() in file.read(1 << 20) else []
    return found


def test_s6_a_run_writes_no_secret_down(
    root: Path, mode: Mode, store: Path, tmp_path: Path
) -> None:
    """Neither in the state, nor in the store, nor on a command line while the program runs."""
    secrets = tmp_path / "secrets"
    secrets.write_text(f"FROM_FILE={TOKEN}\n")
    seen: list[str] = []
    done: list[kokon.CompletedProcess] = []

    def live() -> None:
        done.append(kokon.run(
            ["/bin/sh", "-c", "cat > /dev/null; sleep 0.5; echo $A$FROM_FILE"], root=root,
            env={"A": TOKEN}, env_file=[str(secrets)], input=TOKEN, stdout=kokon.PIPE, **mode,
        ))  # fmt: skip

    thread = threading.Thread(target=live)
    thread.start()
    while thread.is_alive():
        seen += files_with(TOKEN, paths.state(), str(store))
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                seen += [str(path)] if TOKEN.encode() in path.read_bytes() else []
            except OSError:
                continue
    thread.join()
    assert done[0].stdout == (TOKEN * 2 + "\n").encode()
    assert TOKEN not in repr(done[0]) and TOKEN not in repr(done[0].usage)
    seen += files_with(TOKEN, paths.state(), str(store))
    assert seen == []


@pytest.mark.parametrize("options", [
    {"args": ["/nothing"]}, {"args": ["/etc/passwd"]}, {"cwd": "/etc/passwd"}, {"user": "x y"},
    {"volumes": ["/nothing:/v"]}, {"tmpfs": ["/proc"]}, {"sysctls": ["kernel.x=1"]},
    {"env": {"A": TOKEN + "\0"}}, {"env": {"": TOKEN}}, {"env": {"A=B": TOKEN}},
    {"env": {"A": TOKEN * 100_000}}, {"security_opt": ["seccomp=/nothing"]},
], ids=lambda options: str(options)[:60])  # fmt: skip
def test_s6_no_message_says_a_secret(root: Path, mode: Mode, options: Mode) -> None:
    with pytest.raises((kokon.KokonError, ValueError)) as caught:
        kokon.run(**{"args": ["/bin/true"], "root": root, "env": {"A": TOKEN}, "input": TOKEN,
                     **options, **mode})  # fmt: skip
    assert TOKEN[:12] not in f"{caught.value!s} {caught.value!r} {caught.value.args}"


def test_s6_no_message_says_a_line_of_a_file(root: Path, mode: Mode, tmp_path: Path) -> None:
    for text in (f"={TOKEN}\n", f"A={TOKEN}\0\n", f"A={TOKEN}\n =x"):
        (tmp_path / "file").write_text(text)
        error = attempt(root, ["/bin/true"], env_file=[str(tmp_path / "file")], **mode)
        assert isinstance(error, kokon.OptionError) and TOKEN not in str(error)


# --- S9 -------------------------------------------------------------------------------------


@pytest.mark.parametrize("parent", [
    "x.slice\nExecStart=/bin/sh", "a.slice DevicePolicy=auto", "x.slice\0y", "../x.slice",
])  # fmt: skip
def test_s9_a_parent_is_no_more_than_a_path(root: Path, mode: Mode, parent: str) -> None:
    error = attempt(root, ["/bin/echo", "STARTED"], memory="64M", cgroup_parent=parent, **mode)
    assert isinstance(error, kokon.KokonError), error


def test_s9_a_scope_has_our_properties_only() -> None:
    named = systemd.scope_properties("kokon-1", 7, "user.slice")
    begun = {"Description", "Slice", "PIDs", "Delegate", "DefaultDependencies", "CollectMode"}
    assert {name for name, _ in named} == begun - {"DefaultDependencies"}
    # The others are limits: none starts, mounts or names anything.
    assert set(unit.PROPERTIES) - begun == {
        "MemoryMin", "MemoryLow", "MemoryHigh", "MemoryMax", "MemorySwapMax", "CPUWeight",
        "CPUQuotaPerSecUSec", "CPUQuotaPeriodUSec", "AllowedCPUs", "AllowedMemoryNodes", "IOWeight",
        "TasksMax",
    }  # fmt: skip
    assert dict(named)["PIDs"] == ("au", [7]) and dict(named)["Delegate"] == ("b", True)


# --- N9 -------------------------------------------------------------------------------------


def listening() -> set[str]:
    """Inodes of this network namespace's sockets that take connections or datagrams."""
    found = set()
    for kind, state in (("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")):
        for line in Path(f"/proc/net/{kind}").read_text().splitlines()[1:]:
            words = line.split()
            found |= {words[9]} if words[3] == state else set()
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        words = line.split()
        found |= {words[6]} if words[3] == "00010000" or len(words) > 7 else set()
    return found


def sockets(pid: str | int) -> set[str]:
    found = set()
    for path in Path(f"/proc/{pid}/fd").iterdir():
        try:
            name = os.readlink(path)
        except OSError:
            continue
        found |= {name[8:-1]} if name.startswith("socket:") else set()
    return found


@pytest.mark.parametrize("network", ["none", "host"])
def test_n9_nothing_listens(root: Path, mode: Mode, network: str) -> None:
    before = sockets("self")
    answers: list[str] = []
    script = "sleep 0.3; cat /proc/net/tcp /proc/net/udp | grep -c :"
    thread = threading.Thread(
        target=lambda: answers.append(run(root, script, network=network, init=True, **mode))
    )
    thread.start()
    opened: set[str] = set()
    while thread.is_alive():
        opened |= (sockets("self") - before) & listening()
        time.sleep(0.005)
    thread.join()
    assert opened == set()
    if network == "none":
        assert answers == ["0\n"]
