"""kokon.run in the manner of subprocess.run: streams, text, time, ceilings, threads, signals."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from leftovers import Before, busybox_root, own_place, skip_without_namespaces

import kokon
import kokon.errors

pytestmark = pytest.mark.kernel

TALK = ["sh", "-c", "echo out; echo err >&2"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    skip_without_namespaces()
    yield from own_place(monkeypatch, tmp_path)


@pytest.fixture
def root(place: Path) -> Iterator[str]:
    made = busybox_root(place / "root")
    before = Before(place)
    yield made
    assert before.left() == []


def test_an_outcome(root: str) -> None:
    result = kokon.run(["sh", "-c", "exit 7"], root=root)
    assert (result.returncode, result.cause, result.stdout, result.stderr) == (
        7, "exited", None, None,
    )  # fmt: skip
    assert result.usage.user_time >= 0 and result.usage.system_time >= 0
    assert "returncode=7" in repr(result) and "cause='exited'" in repr(result)
    assert kokon.run("/bin/true", root=Path(root)).returncode == 0


@pytest.mark.parametrize("init", [True, False], ids=["init", "alone"])
def test_a_signal(root: str, init: bool) -> None:
    # A process 1 does not die of its own signals: it is the child that has to.
    result = kokon.run(["sh", "-c", "kill -9 $$; exit 3"], root=root, init=init)
    if init:
        assert (result.returncode, result.cause) == (-9, "signal")
    else:
        assert (result.returncode, result.cause) == (3, "exited")


def test_captured_streams(root: str) -> None:
    result = kokon.run(TALK, root=root, capture_output=True)
    assert (result.stdout, result.stderr) == (b"out\n", b"err\n")
    result = kokon.run(TALK, root=root, stdout=kokon.PIPE, stderr=kokon.STDOUT)
    assert (result.stdout, result.stderr) == (b"out\nerr\n", None)
    result = kokon.run(TALK, root=root, stdout=kokon.DEVNULL, stderr=kokon.PIPE)
    assert (result.stdout, result.stderr) == (None, b"err\n")
    assert (kokon.PIPE, kokon.STDOUT, kokon.DEVNULL) == (
        subprocess.PIPE, subprocess.STDOUT, subprocess.DEVNULL,
    )  # fmt: skip


def test_files_and_descriptors_as_streams(root: str, place: Path) -> None:
    with open(place / "in", "w+b") as source, open(place / "out", "w+b") as target:
        source.write(b"from a file")
        source.seek(0)
        kokon.run(["cat"], root=root, stdin=source, stdout=target.fileno())
        assert (place / "out").read_bytes() == b"from a file"
        kokon.run(TALK, root=root, stdout=target, stderr=target)
    assert (place / "out").read_bytes() == b"from a fileout\nerr\n"


def test_inherited_streams(root: str, capfd: pytest.CaptureFixture[str]) -> None:
    kokon.run(TALK, root=root)
    assert capfd.readouterr() == ("out\n", "err\n")


def test_crossed_streams(root: str, place: Path) -> None:
    """Our 1 as their 2 and our 2 as their 1: neither is overwritten before it is used."""
    program = (
        "import kokon, sys\n"
        f"kokon.run({TALK!r}, root={root!r}, stdout=2, stderr=1, stdin=kokon.DEVNULL)\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True)
    assert (result.stdout, result.stderr) == (b"err\n", b"out\n")


def test_input(root: str) -> None:
    big = os.urandom(1 << 20)
    assert kokon.run(["cat"], root=root, input=big, capture_output=True).stdout == big
    assert kokon.run(["cat"], root=root, input=b"", capture_output=True).stdout == b""
    assert kokon.run(["cat"], root=root, stdin=kokon.PIPE, capture_output=True).stdout == b""
    # A program that does not read it all is no error.
    assert kokon.run(["true"], root=root, input=big).returncode == 0


def test_text(root: str) -> None:
    result = kokon.run(["cat"], root=root, input="grüß\n", text=True, capture_output=True)
    assert (result.stdout, result.stderr) == ("grüß\n", "")
    result = kokon.run(["cat"], root=root, input="é", encoding="latin-1", capture_output=True)
    assert result.stdout == "é"
    raw = ["sh", "-c", r"printf 'a\r\nb\rc\377'"]
    result = kokon.run(raw, root=root, text=True, errors="replace", capture_output=True)
    assert result.stdout == "a\nb\nc\ufffd"
    with pytest.raises(UnicodeDecodeError):
        kokon.run(raw, root=root, text=True, capture_output=True)
    result = kokon.run(raw, root=root, errors="surrogateescape", capture_output=True)
    assert result.stdout == "a\nb\nc\udcff"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"capture_output": True, "stdout": kokon.PIPE}, ValueError),
        ({"input": b"", "stdin": kokon.DEVNULL}, ValueError),
        ({"stdout": kokon.STDOUT}, ValueError),
        ({"stdin": kokon.STDOUT}, ValueError),
        ({"env": {"A=B": "c"}}, ValueError),
        ({"env": {"A": None}}, ValueError),
        ({"args": ["echo", "a\0b"]}, ValueError),
        ({"stdout": 987}, OSError),
        ({"memroy": "1G"}, TypeError),
        ({"args": []}, kokon.OptionError),
        ({"max_output": -1}, kokon.OptionError),
        ({"max_output": "many"}, kokon.OptionError),
        ({"root": "no-such"}, kokon.RootError),
        ({"root": "/no/such"}, kokon.RootError),
        ({"root": "@nowhere"}, kokon.RootError),
        ({"root": "/etc/passwd"}, kokon.ArchiveError),
        ({"root": "/dev/null"}, kokon.RootError),
        ({"user": "nobody-here"}, kokon.UserError),
        ({"user": "-1"}, kokon.UserError),
        ({"args": ["no-such"]}, kokon.CommandError),
        ({"volumes": {"/no/such": "/x"}}, kokon.OptionError),
        ({"devices": ["/etc/passwd"]}, kokon.OptionError),
        ({"devices": ["/dev/no-such"]}, kokon.OptionError),
        ({"security_opt": ["seccomp=/etc/passwd"]}, kokon.KokonError),
        ({"security_opt": ["seccomp=/no/such"]}, kokon.OptionError),
        ({"env_file": ["/no/such"]}, kokon.OptionError),
        ({"keep": "/no/such/parent"}, kokon.OptionError),
        ({"keep": "/tmp", "rw": True}, kokon.OptionError),
        ({"dns": ["here"]}, kokon.OptionError),
        ({"add_host": ["db"]}, kokon.OptionError),
        ({"limits": "perhaps"}, kokon.OptionError),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_a_call_that_cannot_be_meant(
    root: str, arguments: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error) as caught:
        kokon.run(**{"args": ["true"], "root": root, **arguments})
    if isinstance(caught.value, kokon.KokonError):
        text = str(caught.value)
        assert "\n" not in text and (caught.value.remedy or caught.value.where), text
        assert caught.value.exit_status == (127 if error is kokon.CommandError else 125)


def test_check(root: str) -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        kokon.run(["sh", "-c", "echo said; exit 3"], root=root, check=True, capture_output=True)
    assert (caught.value.returncode, caught.value.stdout) == (3, b"said\n")
    assert caught.value.result.cause == "exited"
    assert type(caught.value) is kokon.CalledProcessError
    kokon.run(["true"], root=root, check=True).check_returncode()


def test_timeout(root: str) -> None:
    started = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired) as caught:
        kokon.run(["sh", "-c", "echo early; (sleep 60 &); sleep 60"], root=root, timeout=0.3,
                  capture_output=True, text=True)  # fmt: skip
    assert 0.3 <= time.monotonic() - started < 5
    assert (caught.value.output, caught.value.timeout) == ("early\n", 0.3)
    assert type(caught.value) is kokon.TimeoutExpired
    assert caught.value.result is not None and caught.value.result.limits_hit == ("timeout",)
    with pytest.raises(subprocess.TimeoutExpired):
        kokon.run(["sleep", "60"], root=root, timeout=0)
    for long in (60, 1e10, float("inf")):
        assert kokon.run(["true"], root=root, timeout=long).returncode == 0


def test_a_ceiling_of_output(root: str) -> None:
    for ceiling, kept in ((10, 10), ("1k", 1024), (0, 0)):
        result = kokon.run(["yes"], root=root, capture_output=True, max_output=ceiling)
        assert (result.cause, result.returncode) == ("output", -9)
        assert len(result.stdout) == kept
    both = kokon.run(
        ["sh", "-c", "yes | head -c 600; yes | head -c 600 >&2; exit 0"], root=root,
        capture_output=True, max_output=1000,
    )  # fmt: skip
    assert both.cause == "output" and len(both.stdout) + len(both.stderr) == 1000
    exact = kokon.run(["echo", "123"], root=root, capture_output=True, max_output=4)
    assert (exact.cause, exact.stdout) == ("exited", b"123\n")
    large = kokon.run(["head", "-c", "3000000", "/dev/zero"], root=root, capture_output=True,
                      max_output=None)  # fmt: skip
    assert len(large.stdout) == 3_000_000


def test_output_that_was_dropped_is_told(root: str) -> None:
    longer = ["sh", "-c", "yes | head -c 100000; exit 3"]
    result = kokon.run(longer, root=root, capture_output=True, max_output=1000,
                       overflow="truncate")  # fmt: skip
    assert (result.cause, result.returncode, result.limits_hit) == ("exited", 3, ("output",))
    exact = kokon.run(["echo", "123"], root=root, capture_output=True, max_output=4,
                      overflow="truncate")  # fmt: skip
    assert exact.limits_hit == ()


def test_what_was_used_until_it_was_killed(root: str) -> None:
    spin = ["sh", "-c", "while :; do :; done"]
    with pytest.raises(kokon.TimeoutExpired) as caught:
        kokon.run(spin, root=root, timeout=1)
    assert caught.value.result is not None
    assert 0.05 < caught.value.result.usage.user_time + caught.value.result.usage.system_time < 2


def test_words_for_a_call_that_was_mistyped(root: str) -> None:
    with pytest.raises(TypeError, match=r"^'memroy' is no option of a run; is memory meant\?$"):
        kokon.run(["true"], root=root, memroy="1G")
    with pytest.raises(ValueError, match=r"^the environment variable 'A' has to be a str$"):
        kokon.run(["true"], root=root, env={"A": 1})  # type: ignore[dict-item]
    with pytest.raises(TypeError, match=r"^timeout is a number of seconds, not '5s'$"):
        kokon.run(["true"], root=root, timeout="5s")  # type: ignore[arg-type]
    with pytest.raises(kokon.CommandError, match=r"'true -x' was not found .*; give .* as a list$"):
        kokon.run("true -x", root=root)


def test_a_left_over_process_does_not_hold_us(root: str) -> None:
    started = time.monotonic()
    result = kokon.run(["sh", "-c", "sleep 60 & echo done"], root=root, capture_output=True)
    assert (result.stdout, time.monotonic() - started < 5) == (b"done\n", True)


def test_eight_threads_at_once(root: str) -> None:
    results: dict[int, list[bytes]] = {number: [] for number in range(8)}

    def work(number: int) -> None:
        for _ in range(5):
            result = kokon.run(["cat"], root=root, input=b"%d" % number, capture_output=True)
            results[number].append(result.stdout)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {number: [b"%d" % number] * 5 for number in range(8)}


def test_a_container_survives_the_thread_that_started_it(root: str) -> None:
    """PR_SET_PDEATHSIG fires when a thread ends: the one that spawns must not."""
    from kokon.config.options import Options
    from kokon.engine import run

    kept: list[Any] = []

    def begin() -> None:
        prepared = run.prepare(Options(root, ("sh", "-c", "sleep 0.3; exit 5"), {"init": True}))
        kept.extend((prepared, prepared.start((0, 1, 2))))

    thread = threading.Thread(target=begin)
    thread.start()
    thread.join()
    prepared, process = kept
    try:
        assert run.finish(prepared, process).ended.returncode == 5
    finally:
        process.close()
        prepared.close()


def in_process_of_its_own(program: str, **arguments: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **arguments)


@pytest.mark.parametrize("init", [True, False])
@pytest.mark.parametrize("command", [["true"], ["sleep", "0.2"]])
def test_a_caller_that_reaps_everything_is_told(root: str, init: bool, command: list[str]) -> None:
    program = (
        "import signal, kokon\n"
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "try:\n"
        f"    kokon.run({command!r}, root={root!r}, init={init}, stdin=kokon.DEVNULL)\n"
        "except kokon.OutcomeUnknown as error:\n"
        "    print('unknown:', error)\n"
    )
    result = in_process_of_its_own(program)
    assert result.stderr == ""
    assert result.stdout.startswith("unknown: ") and "do not ignore SIGCHLD" in result.stdout


def test_a_time_limit_holds_also_where_sigchld_is_ignored(root: str) -> None:
    program = (
        "import signal, kokon, time\n"
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "started = time.monotonic()\n"
        "try:\n"
        f"    kokon.run(['sleep', '60'], root={root!r}, timeout=0.2, stdin=kokon.DEVNULL)\n"
        "except (kokon.OutcomeUnknown, kokon.TimeoutExpired):\n"
        "    print(time.monotonic() - started < 10)\n"
    )
    assert in_process_of_its_own(program).stdout == "True\n"


def test_the_death_of_the_caller_is_the_death_of_the_container(root: str) -> None:
    program = f"import kokon; kokon.run(['sh', '-c', 'echo up; sleep 60'], root={root!r})"
    caller = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stdin=-3)
    assert caller.stdout and caller.stdout.readline() == b"up\n"
    caller.kill()
    started = time.monotonic()
    # The container holds the other end of the pipe for as long as it lives.
    assert caller.stdout.read() == b""
    assert time.monotonic() - started < 5
    caller.wait()
    caller.stdout.close()
    # The next command removes what it left.
    assert in_process_of_its_own(f"import kokon; kokon.run(['true'], root={root!r})").stderr == ""


def test_an_interrupt_ends_the_container(root: str) -> None:
    program = (
        "import kokon, os, signal, threading\n"
        "threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "try:\n"
        f"    kokon.run(['sh', '-c', 'trap : INT; sleep 60'], root={root!r})\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted')\n"
    )
    result = in_process_of_its_own(program, stdin=subprocess.DEVNULL)
    assert (result.stdout, result.stderr) == ("interrupted\n", "")


def test_a_caller_without_standard_streams(root: str) -> None:
    """Row E3: 0, 1 and 2 of the program are never a descriptor that kokon happened to open."""
    program = (
        "import os, kokon\n"
        "for fd in (0, 1, 2): os.close(fd)\n"
        f"r = kokon.run(['sh', '-c', 'ls -l /proc/self/fd'], root={root!r}, stdout=kokon.PIPE)\n"
        "text = r.stdout.decode()\n"
        "os._exit(0 if '/dev/null' in text and '->' in text and 'memfd' not in text else 9)\n"
    )
    result = in_process_of_its_own(program)
    assert result.returncode == 0


def test_buffered_text_streams(root: str) -> None:
    """A stream needs a descriptor, as for subprocess."""
    with pytest.raises(io.UnsupportedOperation):
        kokon.run(["true"], root=root, stdout=io.BytesIO())  # type: ignore[arg-type]


def test_signals_reach_no_other_child(root: str) -> None:
    """Our own child is still ours to wait for, after runs from other threads."""
    child = subprocess.Popen(["sleep", "0.2"])
    thread = threading.Thread(target=kokon.run, args=(["true"],), kwargs={"root": root})
    thread.start()
    thread.join()
    kokon.run(["true"], root=root)
    assert child.wait() == 0
    assert signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL


HEAVY = {
    "argparse", "ctypes", "dataclasses", "enum", "functools", "inspect", "json", "logging",
    "pathlib", "re", "shutil", "socket", "subprocess", "tempfile", "threading", "typing",
}  # fmt: skip


def modules_after(program: str) -> set[str]:
    """What a bare interpreter has loaded after a program, beyond what it starts with."""
    source = os.path.dirname(os.path.dirname(kokon.__file__))
    loaded = "import sys; print(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": source}
    names = []
    for code in (loaded, f"{program}; {loaded}"):
        command = [sys.executable, "-S", "-c", code]
        result = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert result.returncode == 0, result.stderr
        names.append(set(result.stdout.split()))
    return names[1] - names[0]


def test_an_import_costs_nothing() -> None:
    assert modules_after("import kokon") <= {"kokon", "__future__"}


def test_a_run_loads_nothing_heavy(root: str) -> None:
    run = f"import kokon; r = kokon.run(['true'], root={root!r}, capture_output=True, timeout=60"
    assert modules_after(f"{run})") & HEAVY == set()
    assert modules_after(f"{run}, input=b'x', pids=None, init=False)") & HEAVY == set()


def test_what_is_public() -> None:
    assert sorted(kokon.__all__, key=lambda name: (not name.isupper(), name)) == kokon.__all__
    for name in kokon.__all__:
        assert getattr(kokon, name) is not None
        assert name in dir(kokon)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = kokon.nothing
    # Type checkers see what completion sees.
    import ast

    tree = ast.parse(Path(kokon.__file__).read_text())
    seen = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module != "__future__"
        for alias in node.names
    }
    assert set(kokon.__all__) <= seen
    errors = {name for name, kind in vars(kokon.errors).items()  # type: ignore[attr-defined]
              if isinstance(kind, type) and issubclass(kind, kokon.KokonError)}  # fmt: skip
    assert errors <= set(kokon.__all__)
