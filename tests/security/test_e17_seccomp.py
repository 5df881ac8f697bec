"""Rows E13 (TIOCSTI), E17, E18 and E19: the default filter on the real kernel, in both ABIs.

Every call is made with arguments that the kernel refuses by itself, in another way than the filter,
so that a hole in the filter shows and does no harm.
"""

from __future__ import annotations

import errno
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from kokon.kernel.capabilities import DEFAULT_MASK
from kokon.security.seccomp import default_program
from kokon.security.seccomp.syscalls import numbers

SEEN = {
    "E13": "64 bits are compared",
    "E17": "64 bits are compared",
    "E18": "unknown calls get another answer (let through, the kernel's own is the same)",
    "E19": "`unshare` and one flag of clone are let through",
}

MACHINE = platform.machine()
NATIVE, COMPAT = 0, 1
ABIS = {NATIVE: MACHINE, COMPAT: "x86"}
BAD = (1 << 64) - 1
HIGH = 1 << 32
PROBE = Path(__file__).with_name("seccomp_probe.c")

Call = tuple[int, int, tuple[int, ...]]
Ask = Callable[[list[Call]], list[int]]

pytestmark = pytest.mark.skipif(
    MACHINE not in ("x86_64", "aarch64"), reason=f"no default filter for {MACHINE}"
)

CLOSED = """
acct add_key bpf clock_settime delete_module fanotify_init finit_module fsconfig fsmount fsopen
fspick init_module io_uring_enter io_uring_register io_uring_setup kcmp kexec_load keyctl
lookup_dcookie mbind migrate_pages mount mount_setattr move_mount move_pages open_by_handle_at
open_tree open_tree_attr perf_event_open pidfd_getfd pivot_root process_madvise quotactl reboot
request_key setdomainname sethostname setns settimeofday swapoff swapon syslog umount2 unshare
userfaultfd
"""


def compiler() -> list[str]:
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name):
            return [name]
    if find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "cc"]
    pytest.skip("there is no C compiler")


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    binary = tmp_path_factory.mktemp("probe") / "probe"
    subprocess.run([*compiler(), "-O1", "-o", binary, PROBE], check=True)
    return binary


def asker(probe: Path, program: Path) -> Ask:
    def ask(calls: list[Call]) -> list[int]:
        lines = "".join(
            " ".join(f"{word:x}" for word in (abi, nr, *args, *(0,) * (6 - len(args)))) + "\n"
            for abi, nr, args in calls
        )
        done = subprocess.run(
            [probe, program],
            input=lines,
            capture_output=True,
            text=True,
            start_new_session=True,
            timeout=20,
        )
        assert done.returncode == 0, done
        return [int(line) for line in done.stdout.split()]

    return ask


@pytest.fixture(scope="module")
def confined(probe: Path, tmp_path_factory: pytest.TempPathFactory) -> Ask:
    program = tmp_path_factory.mktemp("filter") / "bpf"
    program.write_bytes(default_program(MACHINE, DEFAULT_MASK))
    return asker(probe, program)


@pytest.fixture(scope="module")
def unconfined(probe: Path) -> Ask:
    return asker(probe, Path("/dev/null"))


@pytest.fixture(params=[NATIVE, COMPAT], ids=["native", "compat"])
def abi(request: pytest.FixtureRequest, unconfined: Ask) -> int:
    wanted: int = request.param
    if wanted == COMPAT:
        if MACHINE != "x86_64":
            pytest.skip("only int 0x80 leads from a 64-bit program into a 32-bit ABI")
        if unconfined([(COMPAT, numbers("x86")["getpid"], ())]) != [0]:
            pytest.skip("this kernel has no 32-bit calls")
    return wanted


def call(abi: int, name: str, *args: int) -> Call:
    return abi, numbers(ABIS[abi])[name], args


def test_e17_socket_families(abi: int, confined: Ask, unconfined: Ask) -> None:
    open_ones = [call(abi, "socket", high + family, 2) for high in (0, HIGH) for family in (1, 2)]
    assert confined(open_ones) == [0] * 4
    # The type is bad: without the filter the answer is another.
    families = (17, 31, 38, 39, 40, 44)
    closed = [call(abi, "socket", high + n, 0xFF) for high in (0, HIGH) for n in families]
    assert errno.EPERM not in unconfined(closed)
    assert confined(closed) == [errno.EPERM] * len(closed)
    if abi == COMPAT:
        assert confined([call(abi, "socketcall", n, BAD) for n in (1, 8)]) == [errno.EPERM] * 2
        assert confined([call(abi, "socketcall", 3, BAD)]) == [errno.EFAULT]


def test_e13_typing_into_the_terminal(abi: int, confined: Ask, unconfined: Ask) -> None:
    typing = [call(abi, "ioctl", BAD, high + n) for high in (0, HIGH) for n in (0x5412, 0x541C)]
    assert unconfined(typing) == [errno.EBADF] * 4
    assert confined(typing) == [errno.EPERM] * 4
    assert confined([call(abi, "ioctl", BAD, 0x5401)]) == [errno.EBADF]


def test_e17_personality(abi: int, confined: Ask) -> None:
    asked = [
        call(abi, "personality", n) for n in (0xFFFFFFFF, BAD, HIGH, 0x0040000, HIGH + 0x40000)
    ]
    assert confined(asked) == [0, 0, 0, errno.EPERM, errno.EPERM]


def test_e18_calls_above_the_table(abi: int, confined: Ask) -> None:
    newer = [(abi, n, (BAD,) * 6) for n in (472, 480, 1000, 0x3FFFFFFF)]
    assert confined(newer) == [errno.ENOSYS] * 4


@pytest.mark.skipif(MACHINE != "x86_64", reason="x32 is x86_64's")
def test_e18_x32(confined: Ask) -> None:
    """Whatever the kernel was built with, no x32 call comes through."""
    table = numbers("x86_64")
    x32 = [(NATIVE, 0x40000000 + table[name], (BAD,) * 6) for name in CLOSED.split()]
    x32 += [(NATIVE, 0x40000000 + n, (BAD,) * 6) for n in (0, 39, 512, 540)]
    x32 += [(NATIVE, 0x40000000 + table["socket"], (HIGH + 40, 2))]
    assert confined(x32) == [errno.ENOSYS] * len(x32)


def test_e19_closed_calls(abi: int, confined: Ask) -> None:
    known = [name for name in CLOSED.split() if name in numbers(ABIS[abi])]
    answers = confined([call(abi, name, *(BAD,) * 6) for name in known])
    assert {name: n for name, n in zip(known, answers, strict=True) if n != errno.EPERM} == {}


def test_e19_namespaces_by_clone(abi: int, confined: Ask, unconfined: Ask) -> None:
    # CLONE_THREAD alone is EINVAL: nothing is cloned where the filter lets it through.
    flags = (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)
    cloning = [call(abi, "clone", high + n + 0x10000) for high in (0, HIGH) for n in flags]
    assert unconfined(cloning) == [errno.EINVAL] * len(cloning)
    assert confined(cloning) == [errno.EPERM] * len(cloning)
    assert confined([call(abi, "clone", 0x10000)]) == [errno.EINVAL]
    assert confined([call(abi, "clone3", BAD, BAD)]) == [errno.ENOSYS]


def test_a_program_still_runs(probe: Path, tmp_path: Path) -> None:
    """Python, with threads, a child process and sockets, under the default filter."""
    program = tmp_path / "bpf"
    program.write_bytes(default_program(MACHINE, DEFAULT_MASK))
    script = f"""
import ctypes, socket, subprocess, sys, threading
code = open({str(program)!r}, "rb").read()
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Program(len(code) // 8, code)), 0, 0) == 0
thread = threading.Thread(target=print, args=("thread",)); thread.start(); thread.join()
a, b = socket.socketpair(); a.send(b"socket"); print(b.recv(9).decode())
server = socket.create_server(("127.0.0.1", 0)); socket.create_connection(server.getsockname())
print(subprocess.check_output([sys.executable, "-S", "-c", "print('child')"], text=True), end="")
try: socket.socket(38, socket.SOCK_SEQPACKET)
except PermissionError: print("refused")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.split() == ["thread", "socket", "child", "refused"], done.stderr
