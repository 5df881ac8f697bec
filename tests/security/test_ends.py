"""Rows L2, L6, L7 and L8: programs that do not want to end, and what they say of their end."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
from attack import attack
from harness import NEEDS_ROOT

SEEN = {
    "L2": "only the program is ended, in a pid namespace that it shares; process 1 is ended before"
    " it has waited for the others (it was: found here)",
    "L6": "descriptors have no limit of their own",
    "L7": "the end is SIGTERM, not SIGKILL (it does not come)",
    "L8": "process 1 is dumpable; it has no handlers of a process 1",
}

ALONE = "assert os.getpid() < 3, 'a signal to -1 would reach the host'\n"

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("contained")]
Mode = dict[str, Any]


@pytest.fixture(params=[True, False], ids=["reaper", "no reaper"])
def init(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


# --- L2 -------------------------------------------------------------------------------------


def test_l2_it_goes_on_for_ever(mode: Mode, init: bool) -> None:
    result = attack("[daemon(for_ever) for _ in range(8)]; print('on', flush=True); for_ever()",
                    timeout=1, init=init, **mode)  # fmt: skip
    assert (result.cause, result.stdout) == ("timeout", b"on\n")
    assert result.limits_hit == ("timeout",)
    assert result.returncode == -signal.SIGKILL and result.seconds < 5


def test_l2_it_ends_and_its_daemons_do_not(mode: Mode, init: bool) -> None:
    """They hold the pipes open too."""
    result = attack("[daemon(for_ever) for _ in range(8)]; sys.exit(7)", init=init, **mode)
    assert (result.cause, result.returncode, result.limits_hit) == ("exited", 7, ())
    assert result.seconds < 5


def test_l2_daemons_that_fork_as_fast_as_they_can(mode: Mode) -> None:
    script = """
def run_away():
    while True:
        if os.fork(): os._exit(0)
        os.setsid()
[daemon(run_away) for _ in range(4)]
time.sleep(0.3)
"""
    result = attack(script, **mode)
    assert (result.cause, result.returncode) == ("exited", 0)


@pytest.mark.skipif(os.geteuid() != 0, reason=NEEDS_ROOT)
def test_l2_among_the_processes_of_the_host() -> None:
    """There is no process 1 of its own whose end would end the others: its group does."""
    result = attack("[daemon(for_ever) for _ in range(8)]; for_ever()", timeout=1, pid="host")
    assert (result.cause, result.limits_hit) == ("timeout", ("timeout",))
    result = attack("[daemon(for_ever) for _ in range(8)]; sys.exit(7)", pid="host")
    assert (result.cause, result.returncode) == ("exited", 7)


BURN = """
def burn():
    while True: pass
"""


@pytest.mark.parametrize("script, most", [
    ("burn()", 0.9), ("daemon(burn); for_ever()", 0.9),
    ("daemon(burn); time.sleep(0.8); sys.exit(0)", 0.8),
    ("daemon(burn); time.sleep(0.8); [os.write(1, b'x' * 4096) for _ in range(99)]", 0.8),
], ids=["timeout", "timeout of a daemon", "a daemon that is left", "output"])  # fmt: skip
def test_l2_the_time_of_the_processor_counts(mode: Mode, script: str, most: float) -> None:
    """Also that of processes which nobody has waited for when the end comes."""
    used = attack(BURN + script, timeout=0.9, max_output=1000, init=True, **mode).usage
    assert most / 8 < used.user_time + used.system_time < most + 1


def test_l2_the_time_of_children_counts(mode: Mode, init: bool) -> None:
    script = """
pid = os.fork()
while time.process_time() < 0.4: pass
if pid: os.waitpid(pid, 0)
"""
    used = attack(script, init=init, **mode).usage
    assert 0.7 < used.user_time + used.system_time < 2


# --- L6 -------------------------------------------------------------------------------------


def test_l6_every_descriptor(mode: Mode) -> None:
    script = """
kept = []
try:
    while True:
        kept += os.pipe()
        kept.append(os.open("/", os.O_RDONLY))
        kept.append(os.memfd_create("x"))
except OSError as error:
    print(errno.errorcode[error.errno], len(kept))
for_ever() if len(sys.argv) > 1 else None
"""
    result = attack(script, ulimits=["nofile=512"], **mode)
    word, count = result.stdout.split()
    assert (result.cause, word) == ("exited", b"EMFILE") and int(count) < 512
    # The next one has all that it needs.
    assert attack("print('on')", **mode).stdout == b"on\n"


def test_l6_the_limit_holds_for_all_of_them(mode: Mode) -> None:
    """Raising it again, and passing descriptors on, do not help."""
    script = """
import resource, socket
try: resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096)); print("raised")
except (ValueError, PermissionError): print("held")
"""
    assert attack(script.replace("-I", ""), ulimits=["nofile=512"], **mode).stdout == b"held\n"


# --- L7 -------------------------------------------------------------------------------------


@pytest.mark.parametrize("whom", ["os.getpid()", "0", "1", "-1"])
def test_l7_it_stops(mode: Mode, init: bool, whom: str) -> None:
    script = f"""
{ALONE}
[daemon(for_ever) for _ in range(3)]
print("on", flush=True)
for number in (signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN):
    os.kill({whom}, number)
for_ever()
"""
    result = attack(script, timeout=1, init=init, **mode)
    assert (result.cause, result.limits_hit, result.stdout) == ("timeout", ("timeout",), b"on\n")
    assert result.seconds < 5


def test_l7_stopped_children_do_not_hold_the_end(mode: Mode, init: bool) -> None:
    script = "daemon(lambda: os.kill(os.getpid(), signal.SIGSTOP)); time.sleep(0.1); sys.exit(3)"
    result = attack(script, init=init, **mode)
    assert (result.cause, result.returncode) == ("exited", 3) and result.seconds < 5


# --- L8 -------------------------------------------------------------------------------------

REAPER = """
words = []
for number in (*range(1, 32), *range(34, 65)):
    # 32 and 33 are glibc's: they cannot be ignored, and the reaper passes on what it gets.
    try: os.kill(1, number)
    except OSError as error: words.append(errno.errorcode[error.errno])
try: os.kill(-1, signal.SIGKILL)
except ProcessLookupError: pass
PTRACE_ATTACH, PTRACE_SEIZE = 16, 0x4206
for request in (PTRACE_SEIZE, PTRACE_ATTACH):
    if libc.ptrace(request, 1, 0, 0) == 0: words.append("TRACED")
for name in ("mem", "environ", "fd/200", "root/etc", "cwd/."):
    try: os.close(os.open(f"/proc/1/{name}", os.O_RDONLY)); words.append(name)
    except OSError: pass
for fd in range(3, 1024):
    try: os.write(fd, b"\\0" * 64); words.append(f"fd {fd}")
    except OSError: pass
print(sorted(set(words)), flush=True)
"""


@pytest.mark.parametrize("options", [{}, {"cap_add": ["SYS_PTRACE"]}, {"user": "1000"}], ids=str)
def test_l8_the_reaper_is_attacked(mode: Mode, options: Mode) -> None:
    """It neither ends before its program nor tells anything but the program's own end."""
    if options and (os.geteuid() != 0 or mode):
        pytest.skip("as another user, and with SYS_PTRACE, in a range of root's")
    result = attack(ALONE + REAPER + "sys.exit(7)", init=True, **options, **mode)
    assert result.stdout in (b"[]\n", b"['EPERM']\n"), result.stderr
    assert (result.cause, result.returncode, result.limits_hit) == ("exited", 7, ())
    result = attack(ALONE + REAPER + "signal.signal(6, signal.SIG_DFL); os.kill(os.getpid(), 6)",
                    init=True, **options, **mode)  # fmt: skip
    assert (result.cause, result.returncode) == ("signal", -6)
    result = attack(ALONE + REAPER + "for_ever()", init=True, timeout=1, **options, **mode)
    assert (result.cause, result.limits_hit) == ("timeout", ("timeout",))


def test_l8_thousands_of_orphans(mode: Mode) -> None:
    """The reaper takes every one of them, and still knows whose end it waits for."""
    script = """
for _ in range(1500): daemon(lambda: os._exit(5))
while True:
    try: os.waitpid(-1, 0)
    except ChildProcessError: break
time.sleep(0.2)
print(sum(name.isdigit() for name in os.listdir("/proc")), flush=True)
sys.exit(9)
"""
    result = attack(script, init=True, **mode)
    assert (result.stdout, result.returncode) == (b"2\n", 9)


def test_l8_without_a_reaper_it_is_process_1_itself(mode: Mode) -> None:
    """Signals of its own do not reach it (pid_namespaces(7)), whatever it does about them."""
    script = "os.kill(1, signal.SIGKILL); os.kill(1, signal.SIGSTOP); sys.exit(7)"
    result = attack(script, init=False, **mode)
    assert (result.cause, result.returncode) == ("exited", 7)
