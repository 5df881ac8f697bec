"""Rows E1 to E18 against the OCI runtime: what its init and its hooks have, and the program."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
from fcntl import F_GET_SEALS, F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_WRITE, fcntl
from pathlib import Path
from typing import Any

import pytest
from harness import forked
from oci_container import Container

from kokon import paths

SEEN = {
    "E1": "the copy that runs is not sealed",
    "E3": "the working directory is opened through the kernel's own links",
    "E4": "the filter is left out of exec",
    "E5": "the inheritable set is the bounding set",
    "E6": "exec takes whatever int() takes",
    "E7": "passwd is opened through links, as the host would",
    "E9": "the groups of the caller stay",
    "E10": "the root is on sys.path",
    "E12": "hooks have what their caller has left open (they had: found here)",
    "E13": "no new session",
    "E14": "texts are cut at 65,535 bytes",
    "E15": "it is passed on to init",
    "E18": "the filter is for the first architecture only",
}

pytestmark = [pytest.mark.kernel]
HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


def digest(path: str | Path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_e1_the_program_behind_init(container: Container) -> None:
    """As the program, and as that of a script; by who may trace everything that it sees."""
    files = [paths.INIT_PROGRAM, os.path.realpath("/proc/self/exe")]
    before = [digest(path) for path in files]
    script = container.root / "bin/script"
    script.write_text("#!/proc/self/exe\necho x > /proc/self/exe\n")
    script.chmod(0o755)
    (container.root / "bin/link").symlink_to("/proc/self/exe")
    for program in ("/proc/self/exe", "/bin/script", "/bin/link", "/proc/1/exe"):
        container.attempt(program)
    pid = container.create()
    waiting = f"/proc/{pid}/exe"
    assert "memfd:kokon-init" in os.readlink(waiting)
    assert digest(waiting) == before[0]
    copy = os.open(waiting, os.O_RDONLY)
    try:
        # Also when nobody executes it any more.
        assert fcntl(copy, F_GET_SEALS) == F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE
    finally:
        os.close(copy)
    with pytest.raises(OSError, match=r"Text file busy|Operation not permitted"):
        os.open(waiting, os.O_RDWR)
    assert [digest(path) for path in files] == before


NUMBERS = (*range(3, 12), 60, 199, 200, 201, 203, 204, 213)


def test_e3_a_working_directory_that_is_a_descriptor(container: Container, host: Path) -> None:
    directory = os.open(host, os.O_RDONLY)
    os.set_inheritable(directory, True)
    (container.root / "fds").symlink_to("/proc/self/fd")
    container.process["args"] = ["sleep", "30"]
    container.create()
    assert container.call("start", container.name) == 0
    other = Container(container.place, container.root)
    script = ("sh", "-c", "echo STARTED; cat secret")
    try:
        for number in NUMBERS:
            for cwd in (f"/proc/self/fd/{number}", f"/fds/{number}/..")[number % 2 :]:
                joins = ("exec", "--cwd", cwd, container.name, *script)
                assert container.call(*joins, close_fds=False) == 255
                other.process.update(cwd=cwd, args=script)
                assert other.call("run", other.name, close_fds=False) == 1
    finally:
        os.close(directory)
    assert "STARTED" not in container.said()


def test_e3_a_program_that_is_a_descriptor(container: Container, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    shutil.copy(container.root / "bin/busybox", outside / "busybox")
    directory = os.open(outside, os.O_RDONLY)
    os.set_inheritable(directory, True)
    try:
        for number in NUMBERS:
            for path in (f"/proc/self/fd/{number}/busybox", f"/proc/self/fd/{number}"):
                container.process["args"] = [path, "echo", "STARTED"]
                assert container.call("run", container.name, close_fds=False) == 1
    finally:
        os.close(directory)
    assert "STARTED" not in container.said()


def test_e4_exec_is_confined_as_the_container_is(container: Container) -> None:
    """Beside ``test_exec_is_confined_as_the_container_is``: under a filter and in every group."""
    container.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}],
    }  # fmt: skip
    container.process.update(
        noNewPrivileges=True, oomScoreAdj=321, user={"uid": 1, "gid": 2, "additionalGids": [7]},
        rlimits=[{"type": "RLIMIT_NOFILE", "soft": 99, "hard": 99}],
    )  # fmt: skip
    container.linux["resources"] = {"pids": {"limit": 20}}
    container.start("sleep", "30")
    files = ("limits", "cgroup", "oom_score_adj", "status")
    kept = ("Cap", "Seccomp:", "NoNewPrivs", "Groups", "Uid", "Gid", "Max", "/", "3")
    for path in files:
        seen = []
        for process in ("self", "1"):
            status, said = container.attempt(verb=(
                "exec", container.name, "cat", f"/proc/{process}/{path}"
            ))  # fmt: skip
            assert status == 0, said
            seen.append([line for line in said.splitlines() if path != "status"
                         or line.startswith(kept)])  # fmt: skip
        assert seen[0] == seen[1] and seen[0], path
    made = container.attempt(verb=("exec", container.name, "mkdir", "/tmp/new"))
    assert made[0] == 1 and "Operation not supported" in made[1]


@pytest.mark.parametrize("uid", [0, 1000])
def test_e5_the_inheritable_set(container: Container, uid: int) -> None:
    container.process["user"] = {"uid": uid, "gid": uid}
    script = "grep -E 'Cap(Inh|Amb)' /proc/self/status"
    none = "CapInh:\t0000000000000000\nCapAmb:\t0000000000000000\n"
    assert container.run(script) == none
    container.start("sleep", "30")
    assert container.attempt(verb=(
        "exec", "--cap", "CAP_NET_RAW", container.name, "sh", "-c", script,
    )) == (0, none)  # fmt: skip


def test_e6_users_that_are_no_numbers(container: Container) -> None:
    (container.root / "etc/passwd").write_text("1000:x:0:0::/:/bin/sh\nroot:x:0:0::/:/bin/sh\n")
    wrong: tuple[Any, ...] = (-1, 1 << 32, (1 << 32) - 1, "0", "root", 1.5, True, None, [0])
    for value in wrong:
        for name in ("uid", "gid"):
            container.process["user"] = {"uid": 5, "gid": 5, name: value}
            if value is None:  # Go's word for what is left out
                continue
            container.refused()
        container.process["user"] = {"uid": 5, "gid": 5, "additionalGids": [value]}
        container.refused()
    container.process["user"] = {"uid": 1000, "gid": 1000}
    container.start("sleep", "30")
    for word in ("1:", ":1", "+0", "-1", "4294967296", "4294967295", " 0", "0x0", "0 ", "٣", "root",
                 "1:2:3", ""):  # fmt: skip
        if word:
            container.refused(verb=("exec", "--user", word, container.name, "echo", "STARTED"))
        container.refused(verb=("exec", f"-g={word}", container.name, "echo", "STARTED"))
    for word in ("1000", "2147483648"):
        assert container.attempt(verb=("exec", "--user", word, container.name, "id", "-u")) == (
            0, f"{word}\n",
        )  # fmt: skip


@pytest.mark.parametrize("lie", ["shadow", "host", "fifo", "huge", "long", "many", "directory"])
def test_e7_accounts_that_lie(container: Container, host: Path, tmp_path: Path, lie: str) -> None:
    """They are looked into for a program's HOME, at its create and by exec."""
    passwd = container.root / "etc/passwd"
    passwd.unlink()
    told = tmp_path / "told"
    told.write_text("x:y:0:0:z:/a-home-of-the-host:9\n")
    if lie in ("shadow", "host"):
        passwd.symlink_to(told if lie == "host" else "/etc/shadow")
    elif lie == "fifo":
        os.mkfifo(passwd)
    elif lie == "directory":
        passwd.mkdir()
    else:
        passwd.write_bytes({"long": b"x" * (1 << 25), "many": b"a:b:1:1:::\n" * 2_000_000}
                           .get(lie, b""))  # fmt: skip
        if lie == "huge":
            os.truncate(passwd, 50 << 30)
    container.start("sleep", "30")
    status, said = container.attempt(verb=("exec", container.name, "sh", "-c", "echo $HOME"))
    assert (status, said) == (0, "/\n")


def test_e9_groups(container: Container) -> None:
    """The primary one is among them; the caller's are not."""

    def work() -> None:
        os.setgroups([0, 4242])
        container.process["user"] = {"uid": 1000, "gid": 1001}
        assert container.run("id -G") == "1001\n"
        (container.root / "closed").write_text("x")
        os.chown(container.root / "closed", 0, 1001)
        (container.root / "closed").chmod(0o604)
        assert "denied" in container.run("cat /closed")
        container.start("sleep", "30")
        for words, groups in (((), "1001\n"), (("-g", "7"), "1001 7\n"),
                              (("--user", "5"), "1001\n"), (("--user", "5:6"), "6\n")):  # fmt: skip
            verb = ("exec", *words, container.name, "id", "-G")
            assert container.attempt(verb=verb) == (0, groups)

    forked(work)


def test_e10_what_is_in_the_root_is_not_used(
    container: Container, host: Path, tmp_path: Path
) -> None:
    """Python's modules, NSS, the loader, and programs, where the runtime would look for its own;
    the engine's working directory is the bundle, here the root."""
    trap = f"#!/bin/sh\necho used > {host}/used\n"
    for name in ("newuidmap", "systemctl", "ip", "mount", "python3", "kokon-init", "nsenter"):
        for top in (container.root, container.root / "bin"):
            (top / name).unlink(missing_ok=True)
            (top / name).write_text(trap)
            (top / name).chmod(0o755)
    module = f"open({str(host / 'used')!r}, 'w')\n"
    for name in ("sitecustomize", "encodings", "os", "codecs", "json", "kokon", "ctypes"):
        (container.root / f"{name}.py").write_text(module)
    for name in ("ld.so.preload", "nsswitch.conf"):
        (container.root / "etc" / name).write_text(f"{host}/used\n")
    (container.root / "config.json").write_text("{}")
    container.start("sleep", "30")
    for words in (("exec", container.name, "true"), ("ps", "-f", "json", container.name),
                  ("state", container.name), ("exec", container.name, "nosuch"),
                  ("kill", container.name, "9"), ("delete", "-f", container.name)):  # fmt: skip
        container.call(*words, cwd=container.root)
    assert not (host / "used").exists()


@pytest.mark.parametrize("users", [False, True])
def test_e12_hooks(container: Container, host: Path, tmp_path: Path, users: bool) -> None:
    """Their environment is their own, and nothing of ours or of our caller is open; they are not
    where the root is."""
    said = tmp_path / "said"
    said.mkdir()
    if users:
        container.users()
    container.process["env"] += ["LD_PRELOAD=./x.so", "BASH_ENV=./x", "PYTHONPATH=/x"]
    script = (
        "exec > $OUT/$0; for f in /proc/self/fd/*; do n=${f##*/}; [ -e $f ] && echo fd $n; done;"
        " echo cwd $(pwd); env"
    )
    (container.root / "said").mkdir()
    container.bind(said, "/said")
    container.config["hooks"] = {
        kind: [{
            "path": "/bin/busybox", "args": ["sh", "-c", script, kind],
            "env": [f"OUT={'/said' if kind == 'startContainer' else said}", "PATH=/bin:/usr/bin"],
        }]
        for kind in HOOKS
    }  # fmt: skip

    def work() -> None:
        os.environ.update(SECRET="1", LD_PRELOAD="", BASH_ENV="/x")
        secret = os.open(host / "secret", os.O_RDWR)
        for number in (*range(3, 12), 60, 200, 250):
            if number != secret:
                os.dup2(secret, number, inheritable=True)
        container.process["args"] = ["true"]
        status = container.call("run", "--preserve-fds", "3", container.name, close_fds=False)
        assert status == 0, container.said()

    forked(work)
    assert sorted(os.listdir(said)) == sorted(HOOKS)
    for kind in HOOKS:
        lines = (said / kind).read_text().splitlines()
        # A shell has one of its own, 10, for a script that is redirected.
        open_ = {int(line[3:]) for line in lines if line.startswith("fd ")}
        assert open_ <= {0, 1, 2, 3, 10, 255}, (kind, open_)
        # Those are the shell's own.
        own = {line for line in lines if "=" in line and not line.startswith(("PWD=", "SHLVL="))}
        assert own == set(container.config["hooks"][kind][0]["env"]), kind
        cwd = "/" if kind == "startContainer" else str(container.place)
        assert f"cwd {cwd}" in lines, kind


def test_e13_the_callers_terminal(container: Container) -> None:
    """A session of its own, and no controlling terminal, at create and by exec."""
    master, slave = os.openpty()
    try:
        container.process["args"] = ["sleep", "30"]
        assert container.call("create", container.name, stdin=slave) == 0, container.said()
        assert container.call("start", container.name) == 0
        words = ("exec", container.name, "sh", "-c", "probe type; cat /proc/self/stat")
        out = container.said()
        assert container.call(*words, stdin=slave, start_new_session=True) == 0
        out = container.said()[len(out) :]
        os.set_blocking(master, False)
        with pytest.raises(BlockingIOError):
            os.read(master, 10)
        fields = out.splitlines()[-1].rpartition(")")[2].split()
        assert fields[4] == "0", "it has a controlling terminal"
        pid = json.loads((container.record / "state.json").read_text())["pid"]
        assert os.getsid(pid) == pid != os.getsid(0)
    finally:
        os.close(master)
        os.close(slave)


def test_e14_long_texts(container: Container) -> None:
    for size in (65_535, 65_536, 70_000, 131_000):
        container.process["env"] = ["PATH=/bin", f"LONG={'x' * size}"]
        assert container.run("echo ${#LONG}") == f"{size}\n"
    container.process["env"] = ["PATH=/bin", *(f"N{at}={at}" for at in range(20_000))]
    assert container.run("echo $N0 $N19999") == "0 19999\n"
    container.process["env"] = ["PATH=/bin"]
    container.process["cwd"] = "/" + "x" * 70_000
    container.refused()
    container.process["cwd"] = "/"
    container.process["rlimits"] = [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}] * 70_000
    container.refused()
    del container.process["rlimits"]
    container.config["annotations"] = {"long": "x" * 70_000}
    container.config["hooks"] = {"createRuntime": [{
        "path": "/bin/busybox", "args": ["sh", "-c", "[ $(cat | wc -c) -gt 70000 ]", "y" * 70_000],
        "env": ["PATH=/bin:/usr/bin", "Z=" + "z" * 70_000],
    }]}  # fmt: skip
    assert container.run("echo ran") == "ran\n"


def test_e15_the_callers_environment(container: Container) -> None:
    """Neither in the program, nor in init, nor on a command line."""

    def work() -> None:
        os.environ["SECRET_OF_THE_CALLER"] = "here"
        pid = container.create()
        for name in ("environ", "cmdline"):
            assert b"here" not in Path(f"/proc/{pid}/{name}").read_bytes()
        assert Path(f"/proc/{pid}/environ").read_bytes() == b""
        os.kill(pid, signal.SIGKILL)
        assert container.call("delete", "-f", container.name) == 0
        container.start("sh", "-c", "env; cat /proc/*/environ; sleep 30")
        joins = ("exec", container.name, "sh", "-c", "env; cat /proc/*/environ")
        assert container.call(*joins) == 0
        assert "here" not in container.said() and "PATH=/bin" in container.said()

    forked(work)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the 32-bit ABI of x86")
def test_e18_other_abis(container: Container) -> None:
    """A document's filter holds in each architecture that it names, and there are no others."""
    names = ["mkdir"]
    container.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "syscalls": [{"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": 95}],
    }
    container.process["noNewPrivileges"] = True
    # mkdir: 83 of x86-64, 39 of x86, and x32's.  Without a path it would be EFAULT.
    said = container.attempt("probe", "call", "n:53", "c:27")[1]
    assert [line.split()[-1] for line in said.splitlines()] == ["95", "95"], said
    assert "14" not in container.attempt("probe", "call", "n:40000053")[1]
    container.linux["seccomp"]["architectures"].pop()
    assert container.attempt("probe", "call", "c:27")[1].split()[-1:] not in (["14"], ["ok"])
