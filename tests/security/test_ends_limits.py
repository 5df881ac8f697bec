"""Rows L1, L3, L4, L5, L10 and S5: more processes, output, memory and files than there may be."""

from __future__ import annotations

import gc
import os
import time
from pathlib import Path
from typing import Any

import pytest
from attack import attack, flat, needs, resident

import kokon

SEEN = {
    "L1": "refused forks are not counted",
    "L3": "the ceiling is not looked at; what is beyond it is kept",
    "L4": "the kernel's count of ended processes is not read",
    "L5": "a tmpfs has no size; the group has no limit of memory",
    "L10": "a descriptor of each run stays open",
    "S5": "what is beyond the ceiling is kept",
}

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("contained")]
Mode = dict[str, Any]
MIB = 1 << 20

# --- L1 -------------------------------------------------------------------------------------

BOMB = """
import mmap
count = mmap.mmap(-1, 8)
def bomb():
    while True:
        # Where nothing holds it, it ends itself: a test that fails must not take the machine.
        if int.from_bytes(count[:8], "little") > 3000: os._exit(0)
        count[:8] = (int.from_bytes(count[:8], "little") + 1).to_bytes(8, "little")
        try:
            if os.fork() == 0: os.setsid()
        except OSError:
            count[:8] = bytes(8)
            time.sleep(0.001)
"""


def test_l1_a_fork_bomb(mode: Mode) -> None:
    needs(pids=64)
    result = attack(BOMB + "bomb()", pids=64, timeout=2, **mode)
    assert (result.cause, set(result.limits_hit)) == ("timeout", {"processes", "timeout"})
    assert result.usage.pids_peak in (None, 64) and result.seconds < 10


def test_l1_its_first_process_ends(mode: Mode) -> None:
    needs(pids=64)
    result = attack(BOMB + "daemon(bomb); time.sleep(0.5); sys.exit(3)", pids=64, **mode)
    assert (result.cause, result.returncode) == ("exited", 3)
    assert result.limits_hit == ("processes",)


def test_l1_without_control_groups(mode: Mode) -> None:
    """RLIMIT_NPROC, counted in the container's user namespace."""
    if mode.get("userns") == "host":
        pytest.skip("it does not hold for root of the host (setrlimit(2))")
    user = {"user": "1000"} if os.geteuid() == 0 else {}
    result = attack(BOMB + "bomb()", ulimits=["nproc=64"], timeout=2, **user, **mode)
    assert (result.cause, result.limits_hit) == ("timeout", ("timeout",))
    assert result.seconds < 30


# --- L3, S5 ---------------------------------------------------------------------------------

PRINT = "block = b'x' * 65536\nwhile True: os.write(%s, block)\n"


@pytest.mark.parametrize("stream", ["1", "2", "1 + time.monotonic_ns() % 2"])
def test_l3_s5_it_prints_without_end(mode: Mode, stream: str) -> None:
    with flat(16 * MIB):
        result = attack(PRINT % stream, max_output=2 * MIB, timeout=3, **mode)
    assert (result.cause, result.limits_hit) == ("output", ("output",))
    assert len(result.stdout) + len(result.stderr) == 2 * MIB and result.seconds < 10


def test_l3_s5_the_rest_is_dropped_until_the_time_is_over(mode: Mode) -> None:
    with flat(16 * MIB):
        result = attack(PRINT % "1", max_output=2 * MIB, overflow="truncate", timeout=1.5, **mode)
    assert result.cause == "timeout" and "timeout" in result.limits_hit
    assert len(result.stdout) == 2 * MIB


def test_l3_many_write_at_once_and_do_not_end(mode: Mode) -> None:
    script = "def loud():\n    while True: os.write(1, b'y' * 4096)\n"
    with flat(16 * MIB):
        result = attack(script + "[daemon(loud) for _ in range(8)]; for_ever()",
                        max_output=MIB, timeout=3, **mode)  # fmt: skip
    assert (result.cause, len(result.stdout)) == ("output", MIB)
    with flat(16 * MIB):
        result = attack(script + "[daemon(loud) for _ in range(8)]; time.sleep(0.3); sys.exit(4)",
                        max_output=MIB, overflow="truncate", **mode)  # fmt: skip
    assert (result.cause, result.returncode, len(result.stdout)) == ("exited", 4, MIB)


def test_s5_nobody_reads(mode: Mode) -> None:
    """It waits in its write, and the end comes all the same."""
    before = len(os.listdir("/proc/self/fd"))
    with flat(16 * MIB):
        for _ in range(10):
            live = kokon.popen(["python3", "-c", "import os\n" + PRINT % "1"], root="@python",
                               stdout=kokon.PIPE, stdin=kokon.DEVNULL, **mode)  # fmt: skip
            time.sleep(0.1)
            assert live.poll() is None
            live.kill()
            live.wait(10)
            assert live.stdout is not None
            live.stdout.close()
            del live
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


TEN_GB = """
block = b'x' * (1 << 20)
left = 10 << 30
while left > 0:
    left -= os.write(1, block)
"""


@pytest.mark.slow
def test_l3_ten_gigabytes() -> None:
    with flat(16 * MIB):
        result = attack(TEN_GB, max_output=2 * MIB, overflow="truncate", timeout=80)
    assert (result.cause, result.returncode, len(result.stdout)) == ("exited", 0, 2 * MIB)
    print(f"10 GiB in {result.seconds:.1f} s")


# --- L4 -------------------------------------------------------------------------------------

CHILDREN = """
def eat():
    kept = bytearray(16 << 20)
    for at in range(0, len(kept), 4096): kept[at] = 1
    time.sleep(0.2)
    os._exit(0)
pids = []
for _ in range(64):
    pid = os.fork()
    if pid == 0: eat()
    pids.append(pid)
ends = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
print(ends.count(-9), ends.count(0), flush=True)
"""


def test_l4_sixty_four_children(mode: Mode) -> None:
    needs(memory="96M")
    result = attack(CHILDREN + "sys.exit(5)", memory="96M", **mode)
    assert (result.cause, result.returncode) == ("exited", 5), result.stderr
    assert result.limits_hit == ("memory",)
    killed, whole = map(int, result.stdout.split())
    assert killed and killed + whole == 64 and result.usage.oom_kills == killed
    assert result.usage.peak_memory is None or 90 * MIB < result.usage.peak_memory <= 96 * MIB


def test_l4_the_program_itself(mode: Mode) -> None:
    needs(memory="64M")
    result = attack("kept = [b'x' * number for number in range(1 << 20, 2 << 20, 1 << 11)]",
                    memory="64M", **mode)  # fmt: skip
    assert (result.cause, result.limits_hit) == ("memory", ("memory",))
    assert result.returncode == -9 and (result.usage.oom_kills or 0) >= 1


def test_l4_daemons_that_eat_until_the_time_is_over(mode: Mode) -> None:
    needs(memory="64M", pids=64)
    script = """
def eat():
    kept = [b'x' * number for number in range(1 << 20, 2 << 20, 1 << 13)]
    for_ever()
def feed():
    while True:
        try:
            if os.fork() == 0: eat()
        except OSError: pass
        time.sleep(0.01)
daemon(feed)
for_ever()
"""
    result = attack(script, memory="64M", pids=64, timeout=2, **mode)
    # The kernel chooses who is ended: it may be the program itself.
    assert result.cause in ("timeout", "memory") and "memory" in result.limits_hit
    assert result.seconds < 10


# --- L5 -------------------------------------------------------------------------------------

FILL = """
word, size, number = "", 0, 0
try:
    while size < 160 << 20:
        with open(f"{PATH}/{number}", "wb") as file:
            for _ in range(16): size += file.write(b"x" * (1 << 20)); file.flush()
        number += 1
except OSError as error: word = errno.errorcode[error.errno]
print(word, size >> 20, flush=True)
"""


def shared_memory() -> int:
    """Bytes of all tmpfs of the machine."""
    line = next(x for x in Path("/proc/meminfo").read_text().splitlines() if x.startswith("Shmem:"))
    return int(line.split()[1]) << 10


@pytest.mark.parametrize("path, options, most", [
    ("/tmp", {"tmpfs": ["/tmp:size=16m"]}, 16), ("/dev/shm", {}, 64), ("/dev", {}, 1),
    ("/dev/shm", {"shm_size": "8M"}, 8),
])  # fmt: skip
def test_l5_a_place_in_memory(mode: Mode, path: str, options: Mode, most: int) -> None:
    before = shared_memory()
    result = attack(f"PATH = {path!r}\n{FILL}", **options, **mode)
    word, size = result.stdout.split()
    assert (result.cause, result.limits_hit, word) == ("exited", (), b"ENOSPC"), result.stderr
    assert int(size) <= most
    assert shared_memory() - before < 4 * MIB


def test_l5_memory_counts_what_lies_in_tmp(mode: Mode) -> None:
    needs(memory="64M")
    before = shared_memory()
    result = attack(f"PATH = '/tmp'\n{FILL}", tmpfs=["/tmp:size=1g"], memory="64M", timeout=20,
                    **mode)  # fmt: skip
    assert (result.cause, result.limits_hit) == ("memory", ("memory",))
    assert result.usage.peak_memory is None or result.usage.peak_memory <= 64 * MIB
    assert shared_memory() - before < 4 * MIB


def test_l5_files_without_contents(mode: Mode) -> None:
    script = """
number = 0
try:
    while number < 5000: open(f"/tmp/{number}", "w").close(); number += 1
except OSError as error: print(errno.errorcode[error.errno], number)
"""
    result = attack(script, tmpfs=["/tmp:size=16m,nr_inodes=1000"], **mode)
    word, number = result.stdout.split()
    assert word == b"ENOSPC" and int(number) < 1000


def test_l5_what_is_written_to_the_root_goes_with_it(mode: Mode, store: Path) -> None:
    script = "open('/tmp/big', 'wb').write(b'x' * (64 << 20)); print('written')"
    assert attack(script, **mode).stdout == b"written\n"
    assert os.listdir(store / "writes") == []


# --- L10 ------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [200, pytest.param(10_000, marks=pytest.mark.slow)])
def test_l10_run_after_run(root: Path, count: int) -> None:
    import signal

    options: Mode = {"root": root, "stdin": kokon.DEVNULL, "stdout": kokon.PIPE}
    try:
        kokon.run(["/bin/true"], memory="64M", pids=32, **options)
        options |= {"memory": "64M", "pids": 32}
    except kokon.HostError:
        pass  # without groups there is less that could be left
    for _ in range(50):
        kokon.run(["/bin/true"], **options)
    signal.alarm(900)
    gc.collect()
    before, descriptors = resident(), len(os.listdir("/proc/self/fd"))
    begun = time.monotonic()
    for number in range(count):
        done = kokon.run(["/bin/echo", str(number)], **options)
        assert done.stdout == b"%d\n" % number
    seconds = time.monotonic() - begun
    gc.collect()
    grown = resident() - before
    print(f"{count} runs in {seconds:.0f} s; {grown >> 10} KiB more")
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert grown < 4 * MIB
