"""The default profile, as a table of calls and answers, and its committed programs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import libseccomp_oracle
import pytest
from bpf_interpreter import Meaning, check, run

from kokon.kernel import capabilities
from kokon.kernel.capabilities import DEFAULT_MASK, mask
from kokon.security.seccomp import default_program, program
from kokon.security.seccomp.compiler import AUDIT
from kokon.security.seccomp.default import (
    ABSENT,
    ALLOWED,
    NEEDING,
    REFUSED,
    profile,
)
from kokon.security.seccomp.profile import ALLOW, ENOSYS, EPERM, ERRNO
from kokon.security.seccomp.syscalls import TABLES, numbers

NOT_PERMITTED, NO_CALL = ERRNO | EPERM, ERRNO | ENOSYS
TOOLS = Path(__file__).parents[4] / "tools"


def ask(name: str, *args: int, arch: str = "x86_64", caps: int = DEFAULT_MASK) -> int:
    machine = {"x86": "x86_64", "arm": "aarch64"}.get(arch, arch)
    padded = (*args, *(0,) * (6 - len(args)))
    return run(default_program(machine, caps), numbers(arch)[name], AUDIT[arch], padded)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_committed_program_is_fresh(machine: str) -> None:
    assert default_program(machine, DEFAULT_MASK) == program(
        profile(machine, DEFAULT_MASK), machine
    ), "run tools/update_syscalls.py"


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("caps", [0, DEFAULT_MASK, capabilities.ALL])
def test_program_is_small_and_right(machine: str, caps: int) -> None:
    code = default_program(machine, caps)
    check(code)
    assert len(code) // 8 < 200
    meaning = Meaning(profile(machine, caps), machine)
    for arch in AUDIT.values():
        for nr in (*range(480), 0xF0002, 0xF0005, 0x3FFFFFFF, 0x40000000, 0xFFFFFFFF):
            for value in (0, 1, 2, 8, 10, 16, 17, 38, 40, 0x5412, 0x541C, 0x10000000, 1 << 32):
                args = (value,) * 6
                assert run(code, nr, arch, args) == meaning.action(nr, arch, args)


def test_every_call_is_on_one_list() -> None:
    """A new table brings new calls: decide about them."""
    known = {name for arch in TABLES for name in numbers(arch)}
    by_argument = {"socket", "socketpair", "personality", "ioctl", "socketcall"}
    needing = {name for names in NEEDING.values() for name in names.split()}
    lists = [set(ALLOWED.split()), set(REFUSED.split()), set(ABSENT.split()), by_argument, needing]
    assert set().union(*lists) == known
    assert sum(len(found) for found in lists) == len(known)


ABIS = ("x86_64", "x86", "aarch64", "arm")


@pytest.mark.parametrize("arch", ABIS)
@pytest.mark.parametrize("high", [0, 1 << 32, 0xFFFFFFFF << 32])
def test_32_bit_arguments(arch: str, high: int) -> None:
    for call in ("socket", "socketpair"):
        for family in (1, 2, 10, 16):
            assert ask(call, high + family, arch=arch) == ALLOW
        for family in (0, 3, 9, 17, 31, 38, 39, 40, 41, 44, 45):
            assert ask(call, high + family, arch=arch) == NOT_PERMITTED
    for command in (0x5412, 0x541C):
        assert ask("ioctl", 0, high + command, arch=arch) == NOT_PERMITTED
    assert ask("ioctl", 0, high + 0x5401, arch=arch) == ALLOW
    assert ask("personality", high + 8, arch=arch) == ALLOW
    assert ask("personality", high + 0x40000, arch=arch) == NOT_PERMITTED
    assert ask("clone", high + 0x11, arch=arch) == ALLOW
    for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        assert ask("clone", high + flag + 17, arch=arch) == NOT_PERMITTED
    assert ask("clone3", arch=arch) == NO_CALL


def test_socketcall_hides_no_family() -> None:
    for call in (1, 8, (1 << 32) + 1):
        assert ask("socketcall", call, arch="x86") == NOT_PERMITTED
    assert ask("socketcall", 3, arch="x86") == ALLOW


CLOSED = """
bpf perf_event_open userfaultfd keyctl add_key request_key io_uring_setup io_uring_enter
io_uring_register open_by_handle_at unshare setns mount umount2 move_mount fsopen fsmount fsconfig
fspick open_tree open_tree_attr mount_setattr pivot_root reboot swapon kexec_load init_module
finit_module delete_module acct settimeofday clock_settime sethostname setdomainname quotactl
lookup_dcookie kcmp pidfd_getfd process_madvise mbind migrate_pages move_pages fanotify_init
syslog vhangup nfsservctl
"""


@pytest.mark.parametrize("arch", ABIS)
def test_refused(arch: str) -> None:
    for name in CLOSED.split():
        if name in numbers(arch):
            assert ask(name, arch=arch) == NOT_PERMITTED, name


@pytest.mark.parametrize("arch", ABIS)
def test_newer_calls_answer_enosys(arch: str) -> None:
    machine = {"x86": "x86_64", "arm": "aarch64"}.get(arch, arch)
    code = default_program(machine, DEFAULT_MASK)
    for nr in (472, 473, 600, 0x3FFFFFFF):
        assert run(code, nr, AUDIT[arch]) == NO_CALL
    for name in ABSENT.split():
        if name in numbers(arch):
            assert ask(name, arch=arch) == NO_CALL


def test_x32_and_foreign_architectures() -> None:
    code = default_program("x86_64", DEFAULT_MASK)
    for nr in (0, 1, 41, 59, 165, 512, 547):
        assert run(code, 0x40000000 + nr, AUDIT["x86_64"]) == NO_CALL
    for arch in (AUDIT["arm"], AUDIT["aarch64"], 0, 0xC0000016):
        assert run(code, 0, arch) == 0


def test_capabilities_open_what_they_are_for() -> None:
    for capability, names in NEEDING.items():
        for name in names.split():
            for arch in ABIS:
                if name in numbers(arch):
                    assert ask(name, 1 << 28, arch=arch, caps=mask([capability])) == ALLOW
    assert ask("socket", 17, caps=mask(["NET_RAW"])) == ALLOW
    assert ask("socket", 17) == NOT_PERMITTED


def test_tables_agree_with_libseccomp() -> None:
    if libseccomp_oracle.library is None:
        pytest.skip("libseccomp.so.2 is not here")
    import ctypes

    resolve = libseccomp_oracle.library.seccomp_syscall_resolve_name_arch
    for arch, token in libseccomp_oracle.TOKENS.items():
        for name, number in numbers(arch).items():
            theirs = resolve(ctypes.c_uint32(token), name.encode())
            assert theirs == number or theirs < 0, (arch, name)


def test_start_imports_little() -> None:
    """The default program needs neither the compiler nor the tables."""
    script = (
        "import sys, kokon.errors; before = set(sys.modules)\n"
        "from kokon.security.seccomp import default_program\n"
        "from kokon.kernel.capabilities import DEFAULT_MASK\n"
        "default_program('x86_64', DEFAULT_MASK)\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    source = str(Path(capabilities.__file__).parents[2])
    command = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        f"import sys; sys.path[:0] = [{source!r}]\n{script}",
    ]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert set(loaded) <= {
        "kokon.kernel",
        "kokon.security",
        "kokon.kernel.capabilities",
        "kokon.security.seccomp",
        "kokon.security.seccomp.precompiled",
    }


def test_generated_files_are_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    ziglang = pytest.importorskip("ziglang", reason="the kernel's headers come with ziglang")
    monkeypatch.syspath_prepend(str(TOOLS))
    update = __import__("update_syscalls")
    include = Path(str(ziglang.__file__)).parent / "lib/libc/include"
    where = update.SECCOMP
    if update.kernel_version(include) not in (where / "syscalls.py").read_text():
        pytest.skip("these headers are of another kernel")
    assert (where / "syscalls.py").read_text() == update.syscalls_module(include)
    assert (where / "precompiled.py").read_text() == update.precompiled_module()
