"""kokon.Sandbox: many programs in one container, its files, its limits, its end."""

from __future__ import annotations

import errno
import gc
import os
import signal
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from leftovers import Before, busybox_root, own_place, skip_without_namespaces

import kokon

pytestmark = pytest.mark.kernel


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    skip_without_namespaces()
    for place in own_place(monkeypatch, tmp_path):
        made = busybox_root(place / "root")
        before = Before(place)
        yield made
        gc.collect()
        assert before.left() == []


@pytest.fixture
def box(root: str) -> Iterator[kokon.Sandbox]:
    with kokon.Sandbox(root=root) as made:
        yield made


def said(box: kokon.Sandbox, script: str, **options: object) -> str:
    result = box.run(["sh", "-c", script], capture_output=True, text=True, **options)  # type: ignore[arg-type]
    assert result.returncode == 0, result.stderr
    return str(result.stdout)


def test_programs_share_files_and_network(box: kokon.Sandbox) -> None:
    said(box, "echo one > /tmp/a; mkdir -p /x")
    assert said(box, "cat /tmp/a; ls -d /x") == "one\n/x\n"
    namespaces = "for n in net ipc uts user; do readlink /proc/self/ns/$n; done"
    assert said(box, namespaces) == said(box, namespaces)
    assert os.readlink("/proc/self/ns/net") not in said(box, namespaces)


def test_a_program_sees_itself_only_and_ends_whole(box: kokon.Sandbox) -> None:
    with box.popen(["sleep", "60"]) as sleeper:
        assert said(box, "ls /proc | grep -c '^[0-9]'", init=False) in ("2\n", "3\n", "4\n")
        assert "sleep 60" not in said(box, "cat /proc/*/cmdline | tr '\\0' ' '")
        said(box, "kill -9 -1 2>/dev/null; true", init=False)
        assert sleeper.poll() is None
        said(box, "setsid sleep 61 >/dev/null 2>&1 & true")
        sleeper.kill()
    assert _running("sleep\x0061") == []


def _running(words: str) -> list[str]:
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = Path(f"/proc/{pid}/cmdline").read_text()
        except OSError:
            continue
        if line.startswith(words):
            found.append(pid)
    return found


def test_a_timeout_ends_the_program_and_never_the_box(box: kokon.Sandbox) -> None:
    with box.popen(["sleep", "60"]) as other:
        with pytest.raises(kokon.TimeoutExpired) as caught:
            box.run(["sh", "-c", "trap '' TERM; setsid sleep 62 & echo said; sleep 62"],
                    timeout=0.3, capture_output=True)  # fmt: skip
        assert caught.value.result is not None and caught.value.result.cause == "timeout"
        assert caught.value.output == b"said\n"
        assert _running("sleep\x0062") == []
        assert other.poll() is None
        assert said(box, "echo alive") == "alive\n"
        other.kill()


def test_files(box: kokon.Sandbox) -> None:
    data = os.urandom(300_000)
    box.files.write("/deep/er/in.bin", data, mode=0o640)
    assert box.files.read("/deep/er/in.bin") == data
    assert said(box, "stat -c %a:%u /deep/er/in.bin") == "640:0\n"
    box.files.write("/deep/er/in.bin", "short")
    assert box.files.read("/deep/er/in.bin") == b"short"
    with pytest.raises(FileNotFoundError) as caught:
        box.files.read("/none")
    assert caught.value.filename == "/none"
    with pytest.raises(IsADirectoryError):
        box.files.read("/deep")
    with pytest.raises(IsADirectoryError):
        box.files.write("/deep", b"")
    with pytest.raises(OSError) as large:
        box.files.read("/deep/er/in.bin", max_size=4)
    assert large.value.errno == errno.EFBIG


def test_files_are_the_container_s_whatever_its_links_say(box: kokon.Sandbox, root: str) -> None:
    said(
        box,
        "ln -s /etc/kokon-own /tmp/link; ln -s ../../../../../../tmp/up /tmp/up2; mkfifo /tmp/f",
    )
    box.files.write("/tmp/link", b"inside")
    assert said(box, "cat /etc/kokon-own") == "inside"
    assert not os.path.exists("/etc/kokon-own")
    for path in ("/tmp/f", "/dev/zero"):
        with pytest.raises(OSError) as caught:
            box.files.read(path)
        assert caught.value.errno == errno.EINVAL


def test_files_with_the_rights_of_the_program(root: str) -> None:
    if os.geteuid():
        pytest.skip("a second user id needs root here")
    os.chmod(f"{root}/tmp", 0o1777)
    with kokon.Sandbox(root=root, user="1000:1000") as box:
        with pytest.raises(PermissionError):
            box.files.write("/etc/passwd", b"")
        box.files.write("/tmp/mine", b"x")
        assert said(box, "stat -c %u /tmp/mine; id -u") == "1000\n1000\n"


def test_where_programs_start(root: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    with kokon.Sandbox(root=root, volumes={str(tmp_path): "/work"}) as box:
        assert said(box, "pwd; cat a.json") == "/work\n{}"
        assert said(box, "pwd", cwd="/etc") == "/etc\n"
        if not os.geteuid():
            box.files.write("b.txt", "new")
            assert (tmp_path / "b.txt").read_text() == "new"
            assert (tmp_path / "b.txt").stat().st_uid == 0


def test_variables_of_the_box_and_of_a_program(root: str) -> None:
    with kokon.Sandbox(root=root, env={"A": "box", "B": "box"}) as box:
        assert said(box, "echo $A $B $C", env={"B": "own", "C": "own"}) == "box own own\n"
        assert said(box, "echo $A $B $C") == "box box\n"


def test_confinement_is_that_of_a_run(box: kokon.Sandbox, root: str) -> None:
    script = "grep -E 'Cap|NoNew|Seccomp:|NSpid' /proc/self/status; id; umask; hostname; ls /dev"
    script += "; grep -v ' / ' /proc/mounts | cut -d' ' -f2,3 | sort -u; cat /proc/keys 2>&1"
    script += "; echo x 2>&1 > /proc/sys/kernel/hostname; ulimit -a"
    own = kokon.run(["sh", "-c", script], root=root, capture_output=True, text=True)
    ours = box.run(["sh", "-c", script], capture_output=True, text=True)
    # Below a program's own /proc lies what covers are taken from.
    assert ours.stdout.replace("/proc tmpfs\n", "") == own.stdout


def test_descriptors_and_variables_of_the_caller_stay_out(box: kokon.Sandbox) -> None:
    os.environ["KOKON_TEST_SECRET"] = "no"
    try:
        assert said(box, "ls -l /proc/self/fd | grep -c -- '->'") == "3\n"
        assert "SECRET" not in said(box, "env; cat /proc/1/environ 2>&1; true")
    finally:
        del os.environ["KOKON_TEST_SECRET"]


def test_a_terminal_in_a_box(box: kokon.Sandbox) -> None:
    with box.popen(["sh", "-c", "tty; read x; echo got $x"], tty=True) as process:
        assert process.terminal is not None
        process.terminal.write(b"word\n")
        text = b""
        while b"got word" not in text:
            text += process.terminal.read(4096)
        assert b"/dev/pts/" in text
        assert process.wait(5) == 0


def test_sixteen_threads(box: kokon.Sandbox) -> None:
    results: list[str] = []

    def work(number: int) -> None:
        for _ in range(5):
            results.append(said(box, f"echo {number} > /tmp/{number}; cat /tmp/{number}"))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == sorted(f"{n}\n" for n in range(16) for _ in range(5))


def test_the_end_of_the_box_is_the_end_of_its_programs(root: str) -> None:
    with kokon.Sandbox(root=root) as box:
        process = box.popen(["sleep", "63"])
    assert process.wait(5) == -signal.SIGKILL
    for call in (lambda: box.run(["true"]), lambda: box.files.read("/etc/passwd")):
        with pytest.raises(kokon.RequestError, match="the box is closed"):
            call()


def test_a_box_that_is_forgotten(root: str) -> None:
    box = kokon.Sandbox(root=root)
    with pytest.warns(ResourceWarning, match="never closed"):
        del box
        gc.collect()


def test_the_end_of_the_caller_is_the_end_of_the_box(root: str) -> None:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        box = kokon.Sandbox(root=root)
        process = box.popen(["sleep", "64"])
        os.write(write, b"ready")
        process.wait()
        os._exit(0)
    os.close(write)
    assert os.read(read, 5) == b"ready"
    os.close(read)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    deadline = time.monotonic() + 5
    while _running("sleep\x0064") and time.monotonic() < deadline:
        time.sleep(0.02)
    assert _running("sleep\x0064") == []
    from kokon.engine import sweep

    sweep.sweep()


def test_its_words(root: str) -> None:
    with kokon.Sandbox(root=root) as box:
        assert repr(box) == f"<kokon.Sandbox: root: {root}>"
    assert repr(box).endswith(" (closed)>")


def test_options_that_belong_to_the_box(box: kokon.Sandbox) -> None:
    with pytest.raises(TypeError, match="'network' is no option of a program in a box"):
        box.run(["true"], network="host")
    with pytest.raises(kokon.HostError, match="the box has no control groups"):
        box.run(["true"], memory="10M")


def test_what_is_guaranteed_of_its_programs(root: str) -> None:
    with kokon.Sandbox(root=root, require="files,processes,network,system-calls") as box:
        assert "Seccomp:\t2" in said(box, "cat /proc/self/status")
        assert box.guarantees.system_calls and box.run(["true"]).guarantees.system_calls
    with kokon.Sandbox(root=root, security_opt="seccomp=unconfined") as box:
        assert "Seccomp:\t0" in said(box, "cat /proc/self/status")
        assert not box.guarantees.system_calls
    with pytest.raises(kokon.OptionError, match=r"^landlock=True: the programs of a box"):
        kokon.Sandbox(root=root, landlock=True)


def test_a_program_that_is_not_there(box: kokon.Sandbox) -> None:
    with pytest.raises(kokon.CommandError) as caught:
        box.run(["no-such-program"])
    assert caught.value.exit_status == 127
    assert said(box, "echo alive") == "alive\n"


def test_a_box_that_cannot_be_made_leaves_nothing(root: str) -> None:
    with pytest.raises(kokon.KokonError):
        kokon.Sandbox(root=root, volumes={"/no/such/place": "/x"})
    with pytest.raises(kokon.RequestError):
        kokon.Sandbox(root=root, tmpfs=["/proc/x"])


@pytest.mark.parametrize(
    "options", [{"userns": "host"}, {"network": "host"}, {"pid": "host"},
                {"time": "boottime=900000"}, {"read_only": True},
                {"ipc": "host", "uts": "host", "cgroupns": "host"}],
    ids=str,
)  # fmt: skip
def test_boxes_of_many_kinds(root: str, options: dict[str, object]) -> None:
    if options.get("userns") and os.geteuid():
        pytest.skip("--userns host is for root")
    with kokon.Sandbox(root=root, **options) as box:  # type: ignore[arg-type]
        assert said(box, "id -u; [ -r /proc/uptime ] && echo there") == "0\nthere\n"
        if "time" in options:
            assert float(said(box, "cut -d. -f1 /proc/uptime")) > 900_000


def test_limits_are_of_all_and_of_one(root: str) -> None:
    if os.geteuid():
        pytest.skip("limits need root where control groups are not delegated")
    hungry = ["sh", "-c", "x=$(head -c 40000000 /dev/zero | tr '\\0' x); echo ${#x}"]
    with kokon.Sandbox(root=root, memory="32M", pids=30) as box:
        ended = box.run(hungry, capture_output=True)
        assert (ended.limits_hit, (ended.usage.oom_kills or 0) > 0) == (("memory",), True)
        fine = box.run(["true"])
        assert (fine.cause, fine.limits_hit) == ("exited", ())
        assert fine.usage.peak_memory is None or fine.usage.peak_memory < 8 << 20
        own = box.run(["sh", "-c", "head -c 20000000 /dev/zero | tail -c 20000000 | wc -c"],
                      memory="8M", capture_output=True)  # fmt: skip
        assert own.limits_hit == ("memory",)
        forks = "for i in $(seq 40); do sleep 1 & done; wait"
        assert box.run(["sh", "-c", forks], capture_output=True).limits_hit == ("processes",)
        used = box.usage()
        assert used is not None and used.oom_kills in (None, 2) and used.pids_peak == 30


def test_usage_is_each_program_s_own(box: kokon.Sandbox) -> None:
    busy = box.run(["sh", "-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"])
    idle = box.run(["true"])
    assert busy.usage.user_time > 5 * idle.usage.user_time
    assert box.usage() is None


def test_modes_of_the_store(box: kokon.Sandbox) -> None:
    from kokon import paths

    assert stat.S_IMODE(os.stat(paths.store()).st_mode) == 0o700


def test_limits_of_a_process(root: str) -> None:
    with kokon.Sandbox(root=root, ulimits={"nofile": 90}) as box:
        assert said(box, "ulimit -n", ulimits={"nofile": 80}) == "80\n"
    lowest = kokon.run(["sh", "-c", "ulimit -n"], root="@host", level="landlock",
                       ulimits={"nofile": 70}, capture_output=True, init=False)  # fmt: skip
    assert lowest.stdout == b"70\n"
