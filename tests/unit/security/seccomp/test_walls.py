"""The filter that stands in for namespaces, as the kernel would read it."""

from __future__ import annotations

import pytest
from bpf_interpreter import check, run

from kokon.security.seccomp import walls
from kokon.security.seccomp.compiler import AUDIT
from kokon.security.seccomp.syscalls import numbers

ALLOW, EPERM, ENOTSUP = 0x7FFF0000, 0x50001, 0x5005F
HIGH = 1 << 32
ARCHITECTURES = {"x86_64": "x86_64", "x86": "x86_64", "aarch64": "aarch64", "arm": "aarch64"}


def ask(call: str, *arguments: int, kind: str = "files", arch: str = "x86_64") -> int:
    filter_ = walls.program(ARCHITECTURES[arch], kind)
    padded = (*arguments, 0, 0, 0, 0, 0, 0)[:6]
    return run(filter_, numbers(arch)[call], AUDIT[arch], padded)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("kind", walls.KINDS)
def test_the_kernel_takes_it(machine: str, kind: str) -> None:
    check(walls.program(machine, kind))


@pytest.mark.parametrize(
    ("call", "arguments", "answer"),
    [
        ("fchmod", (3, 0o777), EPERM), ("fchownat", (), EPERM), ("io_uring_setup", (), EPERM),
        ("setxattr", (), ENOTSUP), ("fgetxattr", (), ALLOW), ("keyctl", (), EPERM),
        ("shmget", (1,), EPERM), ("inotify_add_watch", (), EPERM), ("mq_open", (), EPERM),
        ("openat", (), ALLOW),
        # futimens(3) has no path
        ("utimensat", (3, 0), ALLOW), ("utimensat", (3, 1), EPERM), ("utimensat", (3, HIGH), EPERM),
        ("prlimit64", (0, 7), ALLOW), ("prlimit64", (HIGH, 7), ALLOW), ("prlimit64", (9, 7), EPERM),
        ("sched_setaffinity", (9,), EPERM),
        ("setpriority", (0, 0), ALLOW), ("setpriority", (0, 9), EPERM),
        ("setpriority", (2, 0), EPERM), ("setpriority", (HIGH + 2, 0), EPERM),
        ("ioprio_set", (1, 0), ALLOW), ("ioprio_set", (3, 0), EPERM), ("ioprio_set", (1, 9), EPERM),
        ("socketpair", (1, 1), ALLOW), ("socketpair", (1, 0x80805), ALLOW),
        ("socketpair", (1, 2), EPERM), ("socketpair", (1, 3), EPERM),
        ("socketpair", (1, HIGH + 2), EPERM),
    ],
)  # fmt: skip
def test_what_it_answers(call: str, arguments: tuple[int, ...], answer: int) -> None:
    assert ask(call, *arguments) == answer


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("family", [1, 2, 10, 16, 40, HIGH + 1, HIGH + 2])
def test_sockets(arch: str, family: int) -> None:
    if "socket" not in numbers(arch):
        pytest.skip("it has none")
    assert ask("socket", family, arch=arch) == EPERM
    named = family & 0xFFFFFFFF == 1
    with_network = ask("socket", family, kind="files-network", arch=arch)
    assert with_network == (EPERM if named else ALLOW)
    assert ask("socket", family, kind="keys", arch=arch) == ALLOW


@pytest.mark.parametrize(
    ("call", "arguments", "answer"),
    [
        ("truncate", (), EPERM), ("ftruncate", (), ALLOW), ("openat2", (), 0x50026),
        ("open", (0, 0), ALLOW), ("open", (0, 0o1001), ALLOW), ("open", (0, 0o1102), ALLOW),
        ("open", (0, 0o1000), EPERM), ("open", (0, 0o1100), EPERM), ("open", (0o1000, 0), ALLOW),
        ("openat", (0, 0, 0o1000), EPERM), ("openat", (0, 0, HIGH | 0o1000), EPERM),
        ("openat", (0, 0, 0o1101), ALLOW), ("creat", (), ALLOW),
    ],
)  # fmt: skip
def test_truncation(call: str, arguments: tuple[int, ...], answer: int) -> None:
    assert ask(call, *arguments, kind="truncation") == answer


def test_what_hides_its_arguments_is_refused() -> None:
    assert ask("socketcall", 1, arch="x86") == ask("ipc", 23, arch="x86") == EPERM


def test_which_programs_refuse_sockets() -> None:
    found = {kind: walls.program("x86_64", kind) for kind in walls.KINDS}
    assert [kind for kind in found if walls.refuses_sockets([found[kind]])] == ["network", "files"]
    assert not walls.refuses_sockets([])
