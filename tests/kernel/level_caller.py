"""A caller of kokon, and what it is called from: run by tests inside of whatever is around it.

    python3 level_caller.py JSON

JSON has the options of a run.  A program tries to get out of it, at what is beside it: a file, a
server on loopback, sockets, a process, the number of processes.  What it got, and what was
guaranteed, is printed as JSON.  It needs nothing but kokon.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import kokon

SECRET = "what the program must not see"

PROGRAM = """
import ctypes, json, os, socket, sys, time
world = json.loads(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
got = {}

def attempt(name, work):
    try:
        got[name] = work() is not False
    except Exception as error:
        got[name] = False

def read(path):
    with open(path) as file:
        return world["word"] in file.read()

def write(path):
    with open(path, "a") as file:
        file.write("x")

def change_through_what_is_seen():
    fd = os.open(world["seen"], os.O_RDONLY)
    os.fchmod(fd, 0o777)

INET, UNIX, STREAM, DGRAM = socket.AF_INET, socket.AF_UNIX, socket.SOCK_STREAM, socket.SOCK_DGRAM

def unheard(work):
    work()  # whoever hears it says so
    return False

def named(word, entry):
    try:
        with open("/proc/%s/cmdline" % entry) as file:
            return file.read().startswith(word + " " + world["name"])
    except OSError:
        return False

def talk(family, kind, address):
    with socket.socket(family, kind) as s:
        s.settimeout(2)
        s.connect(address)
        s.send(b"out")

def by_pair(path):
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    a.connect(path)
    a.send(b"out")

def call(name, *arguments):
    if getattr(libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)

secret = world["secret"]
attempt("files: read", lambda: read(secret))
attempt("files: write", lambda: write(secret))
attempt("files: truncate", lambda: os.truncate(secret, 0))
attempt("files: write what is seen", lambda: write(world["own"]))
attempt("files: empty what is seen", lambda: os.open(world["own"], os.O_RDONLY | os.O_TRUNC))
attempt("files: chmod", lambda: os.chmod(secret, 0o777))
attempt("files: chmod of what is seen", change_through_what_is_seen)
attempt("files: times", lambda: os.utime(secret, (1, 1)))
attempt("files: attribute", lambda: os.setxattr(secret, "user.a", b"b"))
attempt("files: rename", lambda: os.rename(secret, secret + "-2"))
attempt("files: link", lambda: os.link(secret, os.path.expanduser("~/link")))
attempt("files: make", lambda: write(secret + "-new"))
attempt("files: by /proc", lambda: read("/proc/%d/root%s" % (world["pid"], secret)))
attempt("network: tcp", lambda: talk(INET, STREAM, ("127.0.0.1", world["port"])))
attempt("udp", lambda: unheard(lambda: talk(INET, DGRAM, ("127.0.0.1", world["udp"]))))
attempt("network: socket with a path", lambda: talk(UNIX, STREAM, world["path"]))
attempt("network: abstract socket", lambda: talk(UNIX, STREAM, "\\0" + world["name"]))
attempt("network: a pair's end", lambda: by_pair(world["datagrams"]))
attempt("processes: seen", lambda: any(named("outside", p) for p in os.listdir("/proc")))
attempt("processes: signal", lambda: os.kill(world["pid"], 10))
attempt("processes: trace", lambda: call("ptrace", 16, world["pid"], 0, 0))
attempt("processes: limit", lambda: __import__("resource").prlimit(world["pid"], 7, (3, 3)))
attempt("processes: priority", lambda: os.setpriority(os.PRIO_PROCESS, world["pid"], 19))
attempt("processes: System V", lambda: call("shmget", world["key"], 4096, 0o600))
keyctl = {"x86_64": 250, "aarch64": 219}[os.uname().machine]
attempt("system calls: keyctl", lambda: call("syscall", keyctl, 0, -5, 0))
attempt("system calls: unshare", lambda: call("unshare", 0x10000000))
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        words = ["left " + world["name"], "-S", "-c", "import time; time.sleep(60)"]
        os.execve(sys.executable, words, {})
    os._exit(0)
children = 0
try:
    while children < 40:
        if os.fork() == 0:
            time.sleep(30)
            os._exit(0)
        children += 1
except OSError:
    pass
got["children"] = children
print(json.dumps(got))
"""


@contextmanager
def world() -> Iterator[dict[str, Any]]:
    """What is beside the program."""
    with tempfile.TemporaryDirectory(prefix="level-", dir="/var/tmp") as directory:
        place = Path(directory)
        place.chmod(0o755)
        (place / "secret").write_text(SECRET)
        name = f"level-{os.getpid()}"
        hits: list[str] = []
        bound = {
            "port": (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
            "udp": (socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
            "path": (socket.AF_UNIX, socket.SOCK_STREAM, f"{place}/socket"),
            "name": (socket.AF_UNIX, socket.SOCK_STREAM, f"\0{name}"),
            "datagrams": (socket.AF_UNIX, socket.SOCK_DGRAM, f"{place}/datagrams"),
        }
        found: dict[str, Any] = {"secret": f"{place}/secret", "name": name, "word": SECRET}
        open_sockets = []
        for key, (family, kind, address) in bound.items():
            server = socket.socket(family, kind)
            server.bind(address)
            if kind == socket.SOCK_STREAM:
                server.listen()
            threading.Thread(target=_serve, args=(server, key, hits), daemon=True).start()
            open_sockets.append(server)
            found[key] = server.getsockname()[1] if family == socket.AF_INET else address
        found["name"] = name
        found["key"] = 0x4B000000 | os.getpid()
        libc = ctypes.CDLL(None)
        shared = libc.shmget(found["key"], 4096, 0o1600)  # IPC_CREAT
        found["own"] = f"{place}/own"
        (place / "own").write_text(SECRET)
        found["seen"] = os.path.realpath(sys.executable)
        pid = os.fork()
        if pid == 0:
            words = [f"outside {name}", "-S", "-c", "import time; time.sleep(60)"]
            os.execv(sys.executable, words)
        found["pid"] = pid
        found["hits"] = hits
        try:
            yield found
            time.sleep(0.1)
            ended, status = os.waitpid(pid, os.WNOHANG)
            found["victim"] = os.waitstatus_to_exitcode(status) if ended else None
        finally:
            libc.shmctl(shared, 0, None)  # IPC_RMID
            if "victim" not in found or found["victim"] is None:
                os.kill(pid, 9)
                os.waitpid(pid, 0)
        found["content"] = [
            path.read_text() if path.exists() else "" for path in (place / "secret", place / "own")
        ]


def _serve(server: socket.socket, key: str, hits: list[str]) -> None:
    while True:
        try:
            if server.type == socket.SOCK_STREAM:
                server.accept()[0].close()
            else:
                server.recv(10)
        except OSError:
            return
        hits.append(key)


def left(name: str) -> list[int]:
    """Processes that the program has left behind, by their name."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                words = Path(f"/proc/{entry}/cmdline").read_bytes()
            except OSError:
                continue
            if words.startswith(f"left {name}".encode()):
                found.append(int(entry))
    return found


def main(options: dict[str, Any]) -> dict[str, Any]:
    """Runs the program once; what happened."""
    with world() as beside:
        told = {key: beside[key] for key in beside if key != "hits"}
        try:
            done = kokon.run(
                ["python3", "-c", PROGRAM, json.dumps(told)], root="@python",
                volumes=[f"{beside['own']}:{beside['own']}:ro"],
                capture_output=True, text=True, timeout=60, **options,
            )  # fmt: skip
        except kokon.KokonError as error:
            return {"error": str(error), "class": type(error).__name__}
        result: dict[str, Any] = {"guarantees": done.guarantees.to_dict(), "notes": done.notes}
        result["said"] = done.stderr
        result["got"] = json.loads(done.stdout or "{}")
        survivors = left(beside["name"])
        for pid in survivors:
            os.kill(pid, 9)
        result["left"] = len(survivors)
    result["got"].update({f"network: {hit} heard it": True for hit in beside["hits"]})
    result["got"]["files: content"] = beside["content"] != [SECRET] * 2
    result["got"]["processes: the other one ended"] = beside["victim"] is not None
    return result


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
