"""Rows E1, E2 and E3: init cannot be written to or looked into, and nothing of the host is open.

What can be reached is kokon's process 1, which stays, and init while it starts, seen from a
container that shares the host's processes; ``test_e_exec.py`` has what joins a container.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import threading
from fcntl import F_DUPFD, fcntl
from pathlib import Path
from typing import Any

import pytest
from conftest import MODES
from harness import NEEDS_ROOT, attempt, forked, run

import kokon
from kokon import paths
from kokon.engine import owner
from kokon.runtime import program

SEEN = {
    "E1": "the memfd is not sealed; process 1 is dumpable",
    "E2": "process 1 is dumpable; stage 2 is until it has become root of the container (it was: "
    "found here); it is closed before the ids change only, with fs.suid_dumpable = 1 (it was)",
    "E3": "descriptors are not closed; a closed number is taken by one of kokon's own (it was: a "
    "way to the host's files); chdir by path without getcwd",
}

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("contained")]
Mode = dict[str, Any]
root_only = pytest.mark.skipif(os.geteuid() != 0, reason=NEEDS_ROOT)


def digest(path: str | Path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


@pytest.mark.parametrize("init", [True, False])
def test_e1_the_program_behind_init(probed: Path, mode: Mode, tmp_path: Path, init: bool) -> None:
    sealed = f"/proc/self/fd/{program.descriptor()}"
    files = [sealed, paths.INIT_PROGRAM, os.path.realpath("/proc/self/exe")]
    before = [digest(path) for path in files]
    script = probed / "bin/script"
    script.write_text("#!/proc/self/exe\necho x > /proc/self/exe\n")
    script.chmod(0o755)
    (probed / "bin/link").symlink_to("/proc/self/exe")
    for args in (["/proc/self/exe"], ["/bin/script"], ["/bin/link"], ["/proc/1/exe"]):
        attempt(probed, args, init=init, **mode)
    out = run(
        probed, "probe open 1 /proc/1/exe /proc/self/exe; probe open 2 /proc/1/exe;"
        " probe open 1001 /proc/1/exe; probe open 0 /proc/1/exe",
        init=init, cap_add=["DAC_READ_SEARCH"], **mode,
    )  # fmt: skip
    assert "/proc/self/exe ok" not in out
    if init:
        assert {line.split()[1] for line in out.splitlines() if "/1/" in line} == {"13"}
    assert [digest(path) for path in files] == before


@root_only
def test_e1_seals(probed: Path) -> None:
    """Even with every capability and no filter the copy that runs cannot be changed."""
    sealed = f"/proc/self/fd/{program.descriptor()}"
    before = digest(sealed)
    out = run(
        probed, "readlink /proc/1/exe; probe open 1 /proc/1/exe; probe open 2 /proc/1/exe;"
        " exec 3< /proc/1/exe; probe open 2 /proc/self/fd/3",
        privileged=True,
    )  # fmt: skip
    assert "memfd:kokon-init" in out and "ok" not in out.split()
    assert digest(sealed) == before
    with pytest.raises(OSError, match=r"Text file busy|Operation not permitted"):
        fd = os.open(sealed, os.O_RDWR)
        try:
            os.write(fd, b"x")
        finally:
            os.close(fd)


def test_e2_process_one_is_closed(probed: Path, mode: Mode) -> None:
    """kokon's process 1 has the program's own ids and capabilities: only dumpable protects it."""
    if mode.get("userns") != "host":
        # SYS_PTRACE of the host's user namespace reaches everything that it sees.
        tried = run(probed, "probe trace 1", init=True, cap_add=["SYS_PTRACE"], **mode)
        assert " ok" not in tried, tried
    tried = run(probed, "probe trace 1; kill -STOP 1; kill -KILL 1; sleep 0.05; echo on",
                init=True, **mode)  # fmt: skip
    assert tried.endswith("on\n")
    assert " ok" not in tried, tried


@root_only
def test_e2_the_caller_of_a_dead_dumpable(probed: Path) -> None:
    """No_new_privileges off, another user, no filter: the closing comes after the ids change."""
    for options in ({"user": "1000"}, {"security_opt": ["no-new-privileges=false"]},
                    {"user": "1000", "security_opt": ["seccomp=unconfined"]}):  # fmt: skip
        out = run(probed, "probe trace 1", init=True, **options)
        assert " ok" not in out, out


@root_only
def test_e2_init_while_it_starts(probed: Path) -> None:
    """A container that sees the host's processes reaches into others that start.

    It has the default capabilities, and the user id that owns the others' user namespaces.
    """
    answers: list[str] = []

    def watch() -> None:
        command = ["/bin/probe", "watch", "2", str(os.getpid())]
        answers.append(str(attempt(probed, command, pid="host")))

    thread = threading.Thread(target=watch)
    thread.start()
    while thread.is_alive():
        for userns in ("host", "private"):
            attempt(probed, ["/bin/true"], userns=userns, init=True)
    thread.join()
    numbers = dict(line.split() for line in answers[0].splitlines())
    assert int(numbers["seen"]) > 1000, answers
    assert numbers["reached"] == "0", answers


FDS = "ls /proc/self/fd 2>/dev/null; stat -c %i . /"


@pytest.mark.parametrize("init", [True, False])
def test_e3_descriptors_of_the_caller(root: Path, mode: Mode, host: Path, init: bool) -> None:
    def work() -> None:
        ours = {program.descriptor(), owner.current().lock.fd}
        directory = fcntl(os.open(host, os.O_RDONLY), F_DUPFD, 900)
        secret = fcntl(os.open(host / "secret", os.O_RDWR), F_DUPFD, 900)
        for number in (*range(3, 12), 60, 100, *range(196, 230), 300, 511, 800, 1000):
            if number not in ours:
                os.dup2(secret if number % 2 else directory, number, inheritable=True)
        os.chdir(host)
        for options in ({}, {"stdin": None}, {"user": "0"}):
            out = run(root, FDS, init=init, **{**mode, **options})
            # ls has its own, 3
            assert out.split()[:-2] == ["0", "1", "2", "3"], out
            assert out.split()[-2] == out.split()[-1], "it starts in its own root"
        out = run(root, "cd /proc/self/fd/3 2>&1; ls; ls -lL /proc/self/fd /proc/1/fd",
                  init=init, **mode)  # fmt: skip
        assert "secret" not in out.replace("/secret", "")

    forked(work)


@pytest.mark.parametrize("closed", [(0,), (0, 1, 2), (1,), (2,)])
def test_e3_closed_standard_streams(root: Path, mode: Mode, closed: tuple[int, ...]) -> None:
    """The number that the caller has closed is not taken by a descriptor of kokon's own."""

    def work() -> None:
        for number in closed:
            os.close(number)
        out = run(root, "for n in 0 1 2; do readlink /proc/self/fd/$n; done;"
                  " ls /proc/self/fd/0/ /proc/self/fd/0/../..", stdin=None, **mode)  # fmt: skip
        names = out.splitlines()
        if 0 in closed:
            assert names[0] == "/dev/null", out
        assert all(name.startswith(("pipe:", "/dev/", "socket:")) for name in names[1:3]), out
        kokon.run(["/bin/sh", "-c", "readlink /proc/self/fd/1 > /v"], root=root, **mode)

    kokon.run(["/bin/true"], root=root)
    forked(work)


PATHS = [f"/proc/self/fd/{number}" for number in (*range(3, 65), 200, 201, 203, 204)]


@pytest.mark.parametrize("options", MODES.values(), ids=MODES)
def test_e3_a_working_directory_that_is_a_descriptor(root: Path, options: Mode, host: Path) -> None:
    directory = os.open(host, os.O_RDONLY)
    os.set_inheritable(directory, True)
    (root / "fds").symlink_to("/proc/self/fd")
    try:
        for number, path in enumerate(PATHS):
            for cwd in (path, f"{path}/..", path.replace("/proc/self/fd", "/fds"))[number % 3 :]:
                out = attempt(root, ["/bin/sh", "-c", "pwd; ls"], cwd=cwd, rw=True, **options)
                assert isinstance(out, kokon.StepError), (cwd, out)
    finally:
        os.close(directory)


def test_e3_a_program_that_is_a_descriptor(root: Path, mode: Mode, host: Path) -> None:
    (root / "link").symlink_to("/proc/self/fd/5")
    for path in (*PATHS[::2], "/link", "/proc/self/fd/5/bin/busybox", "/proc/1/root/bin/busybox"):
        out = attempt(root, [path, "cat", f"{host}/secret"], **mode)
        assert isinstance(out, kokon.CommandError) or "busybox" in path, (path, out)


def test_e3_the_pipe_of_reports(root: Path, mode: Mode) -> None:
    """The program cannot speak for init."""
    out = run(root, "for n in 200 201 202 203; do echo x >&$n; done; ls /proc/self/fd", **mode)
    assert "STARTED" not in out and out.split()[-4:] == ["0", "1", "2", "3"]


@root_only
def test_e3_processes_of_the_host_end_with_it(root: Path) -> None:
    """With the host's processes there is no namespace that ends: the program ends all the same."""
    with pytest.raises(subprocess.TimeoutExpired):
        kokon.run(["/bin/sleep", "61.75"], root=root, pid="host", timeout=0.3)
    left = [
        path for path in Path("/proc").glob("[0-9]*/cmdline") if b"61.75" in read_or_nothing(path)
    ]
    assert left == []


def read_or_nothing(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
