"""Rows E8, E10, E13, E14, E15 and E17 to E19: what comes in, and what can be asked of the kernel.

The default filter by itself is tested in test_e17_seccomp.py; here it is the one of a container.
"""

from __future__ import annotations

import errno
import os
import platform
import pty
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from crafted_tar import snapshot
from harness import attempt, forked, run, with_terminal

import kokon
from kokon.paths import INIT_PROGRAM
from kokon.security.seccomp.syscalls import numbers

SEEN = {
    "E8": "kokon writes passwd; a home of the image is not checked",
    "E10": "the root is on sys.path; init is a dynamic program",
    "E13": "no new session; no filter",
    "E14": "texts are cut at 65,535 bytes",
    "E15": "it is passed on to the program; to init",
    "E17": "no filter",
    "E18": "no filter",
    "E19": "no filter; ids of the host by default",
    "E20": "no filter",
}

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("contained")]
Mode = dict[str, Any]
MACHINE = platform.machine()
BAD = "ffffffffffffffff"
TOKEN = "a-token-of-the-caller"
CLOSED = """
acct add_key bpf clock_settime delete_module finit_module fsconfig fsmount fsopen fspick init_module
io_uring_enter io_uring_register io_uring_setup kexec_load keyctl mount mount_setattr move_mount
open_by_handle_at open_tree perf_event_open pivot_root quotactl reboot request_key setdomainname
sethostname setns settimeofday swapoff swapon umount2 unshare userfaultfd
"""


# --- E8 -------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [
    {"env": {"HOME": "/x\nroot2::0:0::/:/bin/sh"}},
    {"env": {"USER": "x:y", "LOGNAME": "a\nb::0:0:::"}},
    {"hostname": "a\nroot2::0:0::/:/bin/sh"},
    {"add_host": ["a\nroot2::0:0::/:10.0.0.1"]},
    {"cwd": "/x\nroot2::0:0::/:/bin/sh"},
], ids=str)  # fmt: skip
def test_e8_no_value_gets_into_the_accounts(root: Path, mode: Mode, options: Mode) -> None:
    before = (root / "etc/passwd").read_bytes()
    out = attempt(root, ["/bin/cat", "/etc/passwd"], rw=True, **options, **mode)
    if isinstance(out, str):
        assert out.encode() == before
    assert (root / "etc/passwd").read_bytes() == before
    assert not (root / "etc/group").exists() and not (root / "etc/shadow").exists()


@pytest.mark.parametrize("home", ["/x\\nroot2::0:0", "x", "/\x7f", "/\x1b[31m"])
def test_e8_a_home_of_the_image(root: Path, mode: Mode, home: str) -> None:
    (root / "etc/passwd").write_text(f"root:x:0:0::{home}:/bin/sh\n")
    out = run(root, "echo $HOME", user="root", **mode)
    assert out.isascii() and out.strip().isprintable()


# --- E10 ------------------------------------------------------------------------------------


def test_e10_init_loads_nothing() -> None:
    """No interpreter and no dynamic section: the image cannot give init any code."""
    image = Path(INIT_PROGRAM).read_bytes()
    offset = int.from_bytes(image[32:40], "little")
    size, count = image[54], image[56]
    kinds = {
        int.from_bytes(image[at : at + 4], "little")
        for at in range(offset, offset + size * count, size)
    }
    assert image[:4] == b"\x7fELF" and not kinds & {2, 3}
    assert len(image) < 32 << 10


def test_e10_nothing_is_loaded_from_the_root(
    root: Path, mode: Mode, host: Path, tmp_path: Path
) -> None:
    plant = f"open({str(tmp_path / 'loaded')!r}, 'w')"
    at_home = root / os.path.dirname(os.__file__).lstrip("/")
    at_home.mkdir(parents=True)
    for name in sys.stdlib_module_names | {"sitecustomize", "usercustomize"}:
        (root / f"{name}.py").write_text(plant)
        (at_home / f"{name}.py").write_text(plant)
    for name in ("ld.so.preload", "ld.so.cache", "nsswitch.conf", "group", "localtime"):
        (root / "etc" / name).write_text("/lib/libevil.so\npasswd: evil\n")
    opened: list[str] = []
    late: list[str] = []

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str | bytes):
            path = os.fsdecode(arguments[0])
            if path.startswith(str(root)):
                opened.append(path)
        elif event == "import" and str(arguments[1]).startswith(str(root)):
            late.append(str(arguments[1]))

    def work() -> None:
        os.chdir(root)
        sys.addaudithook(hook)
        for user in ("root", "0"):
            attempt(root, ["/bin/true"], user=user, **mode)
        attempt(root, ["/nothing"], **mode)
        attempt(root, ["/bin/true"], user="nobody-here", **mode)
        assert late == []
        assert {os.path.relpath(path, root) for path in opened} <= {".", "etc/passwd", "etc/group"}
        inside = [name for name, module in sys.modules.items()
                  if str(getattr(module, "__file__", "")).startswith(str(root))]  # fmt: skip
        assert inside == []

    forked(work)
    assert not (tmp_path / "loaded").exists()


# --- E13 ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seccomp", ["default", "unconfined"])
@pytest.mark.parametrize("init", [True, False])
def test_e13_the_terminal_of_the_caller(
    probed: Path, mode: Mode, tmp_path: Path, seccomp: str, init: bool
) -> None:
    """kokon is called on a terminal, and its program gets it as standard input."""
    options = {"security_opt": ["seccomp=unconfined"]} if seccomp == "unconfined" else {}
    answer = tmp_path / "answer"

    def on_terminal() -> None:
        out = run(
            probed, "probe type; cut -d' ' -f6,7 /proc/self/stat; echo x > /dev/tty", stdin=0,
            init=init, **options, **mode,
        )  # fmt: skip
        os.set_blocking(0, False)
        try:
            typed = os.read(0, 100)
        except BlockingIOError:
            typed = b""
        answer.write_text(f"{out}---{typed!r}---{os.getsid(0)}")

    pid, master = pty.fork()
    if pid == 0:
        try:
            on_terminal()
        finally:
            os._exit(0)
    try:
        while os.read(master, 1024):
            pass
    except OSError:
        pass
    os.close(master)
    os.waitpid(pid, 0)
    out, typed, _ = answer.read_text().split("---")
    assert typed == "b''"
    lines = out.splitlines()
    assert [line for line in lines if line.endswith("ok")] == []
    if seccomp == "default":
        assert {line.split()[-1] for line in lines if line.startswith("TIOC")} == {"1"}
    session, terminal = lines[4].split()
    assert terminal == "0", "no controlling terminal"
    assert session == "1", "a session of the container's own"
    assert "/dev/tty" in lines[5]


def test_e13_a_terminal_of_its_own(probed: Path, mode: Mode) -> None:
    out = with_terminal(probed, "probe type; readlink /proc/self/fd/0; echo x > /dev/tty", **mode)
    lines = out.splitlines()
    assert {line.split()[-1] for line in lines if line.startswith("TIOC")} == {"1"}
    assert lines[-2:] == ["/dev/pts/0", "x"]


# --- E14 ------------------------------------------------------------------------------------


def test_e14_long_and_many(root: Path, mode: Mode) -> None:
    for value in ("é" * 35_000, "x\n" * 32_000, "\udcff" * 60_000):
        done = kokon.run(["/bin/echo", value], root=root, capture_output=True, **mode)
        assert done.stdout == os.fsencode(value) + b"\n"
    many = {f"NAME_{number}": f"{number}\n" for number in range(30_000)}
    out = run(root, "env -0 2>/dev/null || env", env=many, **mode)
    assert out.count("NAME_") == 30_000
    error = attempt(root, ["/bin/echo", "x" * 200_000], **mode)
    assert isinstance(error, kokon.CommandError)


def test_e14_numbers_of_mounts_and_limits(root: Path, mode: Mode) -> None:
    out = run(root, "grep -c ' /m/' /proc/self/mountinfo",
              tmpfs=[f"/m/{number}:size=4k" for number in range(300)], **mode)  # fmt: skip
    assert out == "300\n"
    for entry in ("nofile=99999999999999999999", "nofile=-5", "x=1", "nofile=1:2:3", "nofile="):
        error = attempt(root, ["/bin/true"], ulimits=[entry], **mode)
        assert isinstance(error, kokon.KokonError), entry


def test_e14_too_many_mounts_are_refused(root: Path, mode: Mode) -> None:
    error = attempt(root, ["/bin/echo", "STARTED"],
                    tmpfs=[f"/m/{number}:size=4k" for number in range(2100)], **mode)  # fmt: skip
    assert isinstance(error, kokon.KokonError)


# --- E15 ------------------------------------------------------------------------------------


@pytest.mark.parametrize("init", [True, False])
def test_e15_nothing_of_the_callers_environment(
    root: Path, mode: Mode, monkeypatch: pytest.MonkeyPatch, init: bool
) -> None:
    for name in ("SECRET", "https_proxy", "LD_PRELOAD_X", "PYTHONPATH_X", "HOME_TOKEN"):
        monkeypatch.setenv(name, TOKEN)
    out = run(
        root, f"env; grep -l {TOKEN} /proc/*/environ /proc/*/cmdline /etc/* 2>/dev/null",
        init=init, env={"MINE": "1"}, **mode,
    )  # fmt: skip
    assert "a-token-of" not in out.replace(f"grep -l {TOKEN}", "")
    names = {line.partition("=")[0] for line in out.splitlines() if "=" in line}
    assert names <= {"PATH", "HOME", "HOSTNAME", "MINE", "PWD", "SHLVL", "_", "OLDPWD"}
    assert "MINE" in names


@pytest.mark.skipif(os.geteuid() != 0, reason="only root sees the environment of a closed process")
def test_e15_init_has_no_environment(
    root: Path, mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", TOKEN)
    seen: dict[str, bytes] = {}
    ended = threading.Event()

    def look() -> None:
        while not ended.is_set():
            for path in Path("/proc").glob("[0-9]*"):
                try:
                    if "memfd:kokon-init" in os.readlink(path / "exe"):
                        seen[path.name] = (path / "environ").read_bytes()
                except OSError:
                    continue
            time.sleep(0.001)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        for _ in range(5):
            run(root, "sleep 0.05", init=True, **mode)
    finally:
        ended.set()
        thread.join()
    assert len(seen) >= 5
    assert set(seen.values()) == {b""}


# --- E17, E18, E19 --------------------------------------------------------------------------


def calls(abi: str) -> dict[str, list[str]]:
    """What to ask, by the error that is expected."""
    table = numbers(MACHINE if abi == "n" else "x86")

    def call(name: str, *arguments: str) -> str:
        return f"{abi}:{table[name]:x}:" + ",".join(arguments)

    # The second argument is bad, so that what comes through makes nothing.
    families = [f"{high}{family:08x}" for family in (38, 40, 17, 31, 44) for high in ("", "1")]
    refused = [call("socket", family, "ff") for family in families]
    refused += [call("ioctl", "0", number, "0") for number in
                ("5412", "100005412", "541c", "10000541c", "ffffffff00005412")]  # fmt: skip
    refused += [call("personality", number) for number in ("40000", "100040000", "10")]
    closed = CLOSED.split()
    refused += [call(name, *[BAD] * 6) for name in closed if name in table]
    refused += [call("clone", f"{high}{flags + 0x10000:08x}")
                for flags in (0x20000, 0x10000000, 0x20000000, 0x40000000)
                for high in ("", "1")]  # fmt: skip
    unknown = [f"{abi}:{number:x}" for number in (480, 1000, 0x3FFFFFFF)]
    unknown.append(call("clone3", BAD, BAD))
    if abi == "n" and MACHINE == "x86_64":
        unknown += [f"n:{0x40000000 + table[name]:x}:{BAD}" for name in closed]
        unknown += [f"n:{0x40000000 + number:x}" for number in (0, 39, 512, 547)]
        unknown.append(f"n:{0x40000000 + table['socket']:x}:100000028,2")
    return {"1": refused, str(errno.ENOSYS): unknown, "ok": [call("getpid")]}


@pytest.mark.parametrize("abi", ["n", "c"], ids=["native", "compat"])
@pytest.mark.parametrize("init", [True, False])
def test_e17_e18_e19_e20_calls(probed: Path, mode: Mode, abi: str, init: bool) -> None:
    if abi == "c" and MACHINE != "x86_64":
        pytest.skip("only int 0x80 leads from a 64-bit program into a 32-bit ABI")
    expected = calls(abi)
    asked = [text for texts in expected.values() for text in texts]
    out = attempt(probed, ["/bin/probe", "call", *asked], init=init, **mode)
    assert isinstance(out, str)
    answers = dict(line.split() for line in out.splitlines())
    if abi == "c" and set(answers.values()) == {str(errno.ENOSYS)}:
        pytest.skip("this kernel has no 32-bit calls")
    for wanted, texts in expected.items():
        assert {text: answers[text] for text in texts if answers[text] != wanted} == {}


def test_e19_confinement_by_default(root: Path, mode: Mode) -> None:
    out = run(root, "grep -E '^(Seccomp|NoNewPrivs|CapBnd):' /proc/self/status", **mode)
    words = dict(line.split() for line in out.splitlines())
    assert (words["Seccomp:"], words["NoNewPrivs:"]) == ("2", "1")
    bounding = int(words["CapBnd:"], 16)
    for number, name in {12: "NET_ADMIN", 13: "NET_RAW", 16: "SYS_MODULE", 19: "SYS_PTRACE",
                         21: "SYS_ADMIN", 27: "MKNOD", 39: "BPF"}.items():  # fmt: skip
        assert not bounding >> number & 1, name


@pytest.mark.skipif(os.geteuid() != 0, reason="root's containers have a range of their own")
def test_e19_a_user_namespace_by_default(root: Path, host: Path, tmp_path: Path) -> None:
    """Root of a container is nobody on the host, and reads nothing of its root's."""
    first = run(root, "cat /proc/self/uid_map").split()
    assert first[0] == "0" and int(first[1]) > 65536 and first[2] == "65536"
    before = snapshot(host)
    out = run(root, "id -u; cat /proc/sys/kernel/core_pattern > /dev/null;"
              " echo x > /proc/sys/kernel/core_pattern", rw=True)  # fmt: skip
    assert out.startswith("0\n") and "can't create" in out
    assert snapshot(host) == before
