"""The process of config.json and of ``exec``, one container each: what it has when it runs."""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
from errno import EDQUOT, ENOSYS

import pytest
from oci_bundle import IDENTITY, Bundle, bind, bundle, folder
from test_failures import refuse

from kokon.security.seccomp import syscalls

__all__ = ["bundle"]  # the fixture

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a bundle's owner is the host's"),
]


def test_an_environment_with_a_name_twice_and_no_home(bundle: Bundle) -> None:
    """A later entry wins, and HOME is never missing: that of passwd, else the root."""
    bundle.process["env"] = ["PATH=/bin", "HOME=/first", "A=1", "HOME=", "A=2"]
    assert bundle.run("echo $A $HOME; env | grep -c ^A=") == "2 /home\n1\n"
    bundle.process.update(env=["PATH=/bin"], user={"uid": 4242, "gid": 1})
    assert bundle.run("echo $HOME").endswith("\n/\n")


def test_a_pid_file_is_relative_to_the_caller(bundle: Bundle) -> None:
    words = ("--bundle", str(bundle.path), "--pid-file", "pid")
    made = bundle.call("create", *words, IDENTITY, cwd=bundle.place)
    assert made.returncode == 0, made.stderr
    assert int((bundle.place / "pid").read_text()) == bundle.pid()
    assert not (bundle.path / "pid").exists()


@pytest.mark.parametrize("closed", [(0,), (0, 1, 2)])
def test_a_terminal_without_the_callers_streams(bundle: Bundle, closed: tuple[int, ...]) -> None:
    pts = {"destination": "/dev/pts", "type": "devpts", "options": ["ptmxmode=0666"]}
    bundle.config["mounts"].append(pts)
    bundle.process.update(terminal=True, args=["sh", "-c", "tty > /tmp/said; exit 3"])
    (bundle.root / "bin/tty").symlink_to("busybox")
    ended = bundle.call("run", IDENTITY, preexec_fn=lambda: [os.close(fd) for fd in closed])
    assert (ended.returncode, (bundle.root / "tmp/said").read_text()) == (3, "/dev/pts/0\n")


@pytest.mark.parametrize("users", [False, True])
def test_pipes_of_an_engine_are_the_users(bundle: Bundle, users: bool) -> None:
    """Who may open /dev/stdout anew then; a device is given to nobody."""
    if users:
        bundle.users()
    null = os.stat("/dev/null")
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    bundle.process["args"] = ["sleep", "60"]
    assert bundle.call("run", "--detach", IDENTITY).returncode == 0
    run = ["exec", IDENTITY, "sh", "-c", "echo one > /dev/stdout; echo two > /dev/stderr"]
    ended = subprocess.run(
        [*bundle.command, *run], capture_output=True, text=True, timeout=20, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert (ended.stdout, ended.stderr) == ("one\n", "two\n")
    assert bundle.call("delete", "--force", IDENTITY).returncode == 0
    bundle.process["args"] = run[2:]
    bundle.write()
    ended = subprocess.run(
        [*bundle.command, "run", IDENTITY], capture_output=True, text=True, timeout=20,
        check=False, stdin=subprocess.DEVNULL, cwd=bundle.path,
    )  # fmt: skip
    assert (ended.stdout, ended.stderr) == ("one\n", "two\n")
    assert (os.stat("/dev/null").st_uid, os.stat("/dev/null").st_gid) == (null.st_uid, null.st_gid)


def with_keys() -> None:
    """A session keyring with a key that a container is not to have."""
    libc = ctypes.CDLL(None)
    keyctl, add = ((250, 248), (219, 217))[os.uname().machine == "aarch64"]
    assert libc.syscall(keyctl, 1, b"kokon-test") > 0
    assert libc.syscall(add, b"user", b"kokon-test-key", b"x", 1, -3) > 0


def test_the_session_keyring_is_not_the_callers(bundle: Bundle) -> None:
    """But where that is asked for, of ``exec`` too; whatever the container's filter says."""
    if not os.path.exists("/proc/sys/kernel/keys"):
        pytest.skip("this kernel has no keyrings")
    calls = {"names": ["keyctl"], "action": "SCMP_ACT_ERRNO"}
    bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [calls]}
    # Keys of others are shown to who possesses them.
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    for words, seen in (((), 0), (("--no-new-keyring",), 1)):
        bundle.process["args"] = ["cat", "/proc/keys"]
        run = bundle.call("run", *words, IDENTITY, preexec_fn=with_keys)
        assert (run.returncode, run.stdout.count("kokon-test-key")) == (0, seen), run.stderr
        bundle.process["args"] = ["sleep", "60"]
        assert bundle.call("run", "--detach", *words, IDENTITY).returncode == 0
        run = bundle.call("exec", IDENTITY, "cat", "/proc/keys", preexec_fn=with_keys)
        assert (run.returncode, run.stdout.count("kokon-test-key")) == (0, seen), run.stderr
        bundle.call("delete", "--force", IDENTITY)


def test_a_kernel_without_keyrings(bundle: Bundle) -> None:
    run = bundle.call("run", IDENTITY, preexec_fn=lambda: refuse(("keyctl",), ENOSYS))
    assert run.returncode == 0, run.stderr
    run = bundle.call("run", IDENTITY, preexec_fn=lambda: refuse(("keyctl",), EDQUOT))
    assert run.returncode == 1 and "take a new session keyring" in run.stderr


def program_of(call: int) -> bytes:
    """An executable that makes a system call and ends with the error's number (elf(5))."""
    code = b"\xb8" + struct.pack("<I", call) + bytes.fromhex("0f05 f7d8 89c7 b83c000000 0f05")
    base, size = 0x400000, 0x78 + len(code)
    fields = 2, 62, 1, base + 0x78, 64, 0, 0, 64, 56, 1, 0, 0, 0
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", *fields)
    return header + struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 4096) + code


def test_calls_newer_than_the_profile(bundle: Bundle) -> None:
    """They answer ENOSYS, so that programs do without; older ones what the profile says."""
    if os.uname().machine != "x86_64":
        pytest.skip("has a program for x86-64 only")
    old, newest, new = 154, 436, 460  # modify_ldt, close_range, lsm_set_self_attr
    table = syscalls.numbers("x86_64")
    allowed = [name for name, number in table.items() if number <= newest and number != old]
    for name, call in (("old", old), ("new", new)):
        path = bundle.root / "bin" / name
        path.write_bytes(program_of(call))
        path.chmod(0o755)
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
        "syscalls": [{"names": allowed, "action": "SCMP_ACT_ALLOW"}],
    }  # fmt: skip
    assert bundle.run("old; echo $?; new; echo $?").split() == ["1", "38"]


def test_exec_is_scheduled_as_the_container_is(bundle: Bundle) -> None:
    """And on its own processors, also where a list goes beyond 1024 of them."""
    bundle.process["scheduler"] = {"policy": "SCHED_BATCH", "nice": -5}
    bundle.process["ioPriority"] = {"class": "IOPRIO_CLASS_IDLE", "priority": 0}
    bundle.process["execCPUAffinity"] = {"initial": "0-4095", "final": "0,2000-3000"}
    bundle.linux["personality"] = {"domain": "LINUX32"}
    bundle.process["args"] = ["sleep", "60"]
    assert bundle.call("run", "--detach", IDENTITY).returncode == 0
    script = "cat /proc/self/personality /proc/self/stat; ionice; grep _list /proc/self/status"
    done = bundle.call("exec", IDENTITY, "sh", "-c", script)
    personality, stat, priority, processors = done.stdout.splitlines()[:4]
    fields = stat.rpartition(")")[2].split()
    assert (personality, fields[16], fields[38]) == ("00000008", "-5", "3"), done
    assert "idle" in priority and processors == "Cpus_allowed_list:\t0"


def test_nothing_of_the_callers_is_open(bundle: Bundle) -> None:
    """Whatever the caller has left open, and the working directory is one of the container's."""

    def leak() -> None:
        for number in (3, 7, 300):
            os.dup2(os.open("/", os.O_RDONLY), number, inheritable=True)

    bundle.process["args"] = ["sh", "-c", "ls /proc/self/fd; pwd"]
    run = bundle.call("run", IDENTITY, preexec_fn=leak, close_fds=False)
    assert run.stdout.split() == ["0", "1", "2", "3", "/"]  # the last is of ls itself
    bundle.process["cwd"] = "/proc/self/fd/7"
    run = bundle.call("run", IDENTITY, preexec_fn=leak, close_fds=False)
    assert run.returncode == 1 and "/process/cwd" in run.stderr, run.stderr
    bundle.process.update(args=["sleep", "60"], cwd="/")
    assert bundle.call("run", "--detach", IDENTITY).returncode == 0
    run = bundle.call("exec", IDENTITY, "ls", "/proc/self/fd", preexec_fn=leak, close_fds=False)
    assert run.stdout.split() == ["0", "1", "2", "3"]
    words = ("exec", "--cwd", "/proc/self/fd/7", IDENTITY, "pwd")
    run = bundle.call(*words, preexec_fn=leak, close_fds=False)
    assert run.returncode == 255 and run.stdout == ""


def test_a_scheduler_and_priorities(bundle: Bundle) -> None:
    bundle.process["scheduler"] = {"policy": "SCHED_BATCH", "nice": -5}
    bundle.process["ioPriority"] = {"class": "IOPRIO_CLASS_IDLE", "priority": 0}
    said = bundle.run("cat /proc/self/stat; ionice 2>&1")
    assert said.rpartition(")")[2].split()[16] == "-5"
    assert said.rpartition(")")[2].split()[38] == "3"


def test_better_than_the_callers_in_a_user_namespace(bundle: Bundle) -> None:
    bundle.users()
    bundle.process["scheduler"] = {"policy": "SCHED_OTHER", "nice": -5}
    bundle.process["oomScoreAdj"] = 700
    said = bundle.run("cat /proc/self/oom_score_adj; cat /proc/self/stat")
    assert said.splitlines()[0] == "700"
    assert said.rpartition(")")[2].split()[16] == "-5"


def test_a_policy_that_no_kernel_has(bundle: Bundle) -> None:
    bundle.process["scheduler"] = {"policy": "SCHED_ISO"}
    assert "/process/scheduler" in bundle.refused()


def test_a_memory_policy_and_a_personality(bundle: Bundle) -> None:
    bundle.linux["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "0"}
    bundle.linux["personality"] = {"domain": "LINUX32"}
    said = bundle.run("cat /proc/self/numa_maps | head -n 1; cat /proc/self/personality; uname -m")
    if "bind:0" not in said:
        assert "numa_maps" in said  # a kernel without NUMA, or without the file
    assert "00000008" in said


def test_a_memory_node_that_is_not_there(bundle: Bundle) -> None:
    bundle.linux["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "1000"}
    assert "/linux/memoryPolicy" in bundle.refused()


@pytest.mark.parametrize("entry", ["NAME", "=value", ""])
def test_an_entry_of_the_environment_that_has_no_name(bundle: Bundle, entry: str) -> None:
    bundle.process["env"] = ["PATH=/bin", entry]
    error = bundle.refused()
    assert "/process/env/1" in error and "is not NAME=VALUE" in error
    bundle.process["env"] = ["PATH=/bin"]
    bundle.config["hooks"] = {"poststop": [{"path": "/bin/true", "env": [entry]}]}
    assert "/hooks/poststop/0/env/0" in bundle.refused()


def test_a_home_is_what_the_containers_passwd_says(bundle: Bundle) -> None:
    source = folder(bundle)
    (source / "passwd").write_text("root:x:0:0::/of/the/volume:/bin/sh\n")
    own = bundle.config["mounts"]
    for mount, home in (
        (bind(source / "passwd", "/etc/passwd", "ro"), "/of/the/volume"),
        (bind(source, "/etc"), "/of/the/volume"),
        ({"destination": "/etc", "type": "tmpfs", "source": "tmpfs"}, "/"),
        (bind(source, "/srv"), "/home"),
    ):
        bundle.config["mounts"] = [*own, mount]
        assert bundle.run("echo $HOME").splitlines()[-1] == home


def test_a_working_directory_that_is_missing(bundle: Bundle) -> None:
    bundle.process["cwd"] = "/made/there"
    bundle.process["user"] = {"uid": 1000, "gid": 1000, "umask": 0o777}
    bundle.config["root"]["readonly"] = True
    said = bundle.run("pwd; umask; stat -c %a:%u /made /made/there; mkdir /x 2>&1")
    assert said.split()[:4] == ["/made/there", "0777", "755:0", "755:0"]
    assert "Read-only file system" in said
