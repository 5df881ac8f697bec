"""The script of ``explain --format shell`` runs, and its program sees what kokon's own run shows.

A probe looks around inside, once in each; what it says is compared line by line.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from leftovers import busybox_root, groups_of, skip_without_namespaces

import kokon
from kokon.config.options import Options
from kokon.engine import explain, owner
from kokon.engine.run import prepare

TOOLS = ("unshare", "mount", "findmnt", "pivot_root", "setpriv", "prlimit", "setsid", "ip", "ldd")

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="--userns host needs root")

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(
        not all(shutil.which(tool) for tool in TOOLS),
        reason="needs the tools of the script (util-linux, iproute2, ldd)",
    ),
]

PROBE = r"""
for kind in cgroup ipc mnt net pid time user uts; do
    echo "namespace $kind $(busybox readlink /proc/self/ns/$kind)"
done
busybox sed 's/^/mount /' /proc/self/mountinfo
busybox grep -E '^(Cap|NoNewPrivs|Seccomp:|Umask|Uid|Gid|Groups|Sig[IB]|NSsid)' /proc/$$/status
busybox sed 's/^/limit /' /proc/self/limits
busybox sed 's/^/group /' /proc/self/cgroup
for file in $(busybox find /groups -name cgroup.procs 2>/dev/null); do
    if busybox grep -qxs $$ $file; then
        for limit in memory.limit_in_bytes memory.max pids.max cpu.cfs_quota_us cpu.max; do
            file=${file%/*}/$limit
            [ ! -e $file ] || echo "control $limit $(busybox cat $file)"
        done
    fi
done
for process in /proc/[0-9]*; do echo "process $(busybox cat $process/comm 2>/dev/null)"; done
busybox tr '\0' '\n' < /proc/$$/cmdline | busybox sed 's/^/argument /;/looks around/q'
echo "name $(busybox hostname) $(busybox cat /proc/sys/kernel/domainname)"
echo "here $(pwd) $(umask)"
busybox env | busybox sort | busybox sed 's/^/variable /'
busybox id
for file in /dev/* /dev/pts/*; do
    busybox stat -c 'device %n %F %a %u:%g %t:%T' $file
    [ ! -L $file ] || echo "link $(busybox readlink $file)"
done
busybox ls / /etc /var/src 2>/dev/null | busybox sed 's/^/file /'
busybox cat /etc/hosts /etc/hostname /etc/resolv.conf
busybox ls /proc/self/fd | busybox sed 's/^/descriptor /'
echo "score $(busybox cat /proc/self/oom_score_adj)"
echo "loopback $(busybox cat /sys/class/net/lo/flags)"
busybox cat /proc/self/timens_offsets
echo written > /tmp/file && busybox stat -c 'written %a %u:%g' /tmp/file
: # looks around
"""

DIFFERENCES = {
    r"^Seccomp:.*": "the filter, which no tool of the shell loads",
    r"(?<=/)(kokon/)?kokon-[0-9a-f]{8}-[0-9]+": "each run has control groups of its own; on v2"
    " kokon's lie below one that keeps systemd from switching controllers off",
    r"(?<=^SigIgn:\t)[0-9a-f]{9}": "signals of the C library's own that the caller"
    " ignores: a shell has no word for them",
    r"(?<=^NSsid:\t)[0-9]{2,}": "the session's number among the host's processes",
    r"(?<=overlay overlay ).*": "the layers of the root have other paths",
}
"""What may differ, as regular expressions; the keyring cannot be seen with busybox."""


def seen(output: str, hidden: tuple[str, ...] = ()) -> list[str]:
    """What the probe said, without what may differ and without the numbers of mounts."""
    lines = []
    for line in output.splitlines():
        word, _, rest = line.partition(" ")
        if word == "namespace":
            kind, name = rest.split()
            host = os.readlink(f"/proc/self/ns/{kind}")
            line = f"namespace {kind} {'of the host' if name == host else 'its own'}"
        elif word == "mount":
            line = mount_seen(rest)
        for pattern in DIFFERENCES:
            line = re.sub(pattern, "(differs)", line)
        # A controller that the group above hands on unasked limits nothing.
        unlimited = word == "control" and rest.split()[1:2] == ["max"]
        if word not in hidden and not unlimited:
            lines.append(line)
    return sorted(lines)


def mount_seen(line: str) -> str:
    """One line of mountinfo(5): where, what part of it, options, propagation, type, its options."""
    before, _, after = line.partition(" - ")
    _, _, _, part, point, options, *tags = before.split()
    propagation = [tag.partition(":")[0] for tag in tags]
    kind, source, own = after.split()
    # The name of a source has no meaning where there is no device.
    source = source if source.startswith("/") else kind
    return f"mount {point} {part} {options} {propagation} {kind} {source} {own}"


def by_kokon(root: str, words: tuple[str, ...], **options: Any) -> str:
    options = {"init": False, **options}
    done = kokon.run(
        words, root=root, capture_output=True, stdin=kokon.DEVNULL, text=True, **options
    )
    assert (done.returncode, done.stderr) == (0, "")
    return str(done.stdout)


def script_of(root: str, words: tuple[str, ...], **options: Any) -> str:
    prepared = prepare(Options(root, words, options))
    try:
        return explain.script(prepared)
    finally:
        prepared.close()


def by_script(
    script: str, place: Path, shell: str = "sh", status: int = 0
) -> subprocess.CompletedProcess[str]:
    """Runs a script that leaves its files in a place of the test's; it is to leave nothing."""
    file = saved(script, place)
    done = subprocess.run(
        [shell, str(file)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
        env={"PATH": f"{place}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    assert left(place) == []
    return done


def saved(script: str, place: Path) -> Path:
    (place / "work").mkdir(exist_ok=True)
    file = place / "script"
    text = script.replace("mktemp -d /var/tmp/", f"mktemp -d {place}/work/")
    assert text != script
    file.write_bytes(text.encode(errors="surrogateescape"))
    return file


def left(place: Path) -> list[str]:
    """What a script has not removed."""
    return [str(path) for path in (place / "work").iterdir()] + groups_of(owner.current().token)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return busybox_root(tmp_path_factory.mktemp("root"))


@pytest.fixture
def source(tmp_path: Path) -> str:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/page").write_text("seen\n")
    return str(tmp_path / "src")


GROUPS = "/sys/fs/cgroup:/groups:ro"


@needs_root
@pytest.mark.parametrize(
    "options",
    [
        {"memory": "100M", "pids": 50, "hostname": "x", "volumes": ("SRC:/var/src:ro", GROUPS)},
        {"user": "user", "read_only": True, "tmpfs": ("/tmp:mode=1777,noexec",), "cwd": "/etc",
         "umask": "077", "ulimits": ("nofile=100:200", "core=0"), "oom_score_adj": 7,
         "cap_add": ("NET_RAW",), "domainname": "example", "cpus": "1.5"},
        {"env": ("A=it's\n\"two\" lines $HOME", "B= "), "cap_drop": ("ALL",), "cwd": "/new/place",
         "sysctls": ("net.ipv4.ping_group_range=0 7",), "time": "boottime=86400",
         "mounts": ("type=bind,src=SRC,dst=/var/src,bind-propagation=rslave",),
         "security_opt": ("no-new-privileges=false",)},
        {"privileged": True, "group_add": ("5", "77"), "rw": True},
        {"network": "host", "pid": "host", "ipc": "host", "uts": "host", "cgroupns": "host",
         "memory": "200M"},
        {"init": True, "pids": 50, "time": "monotonic=7"},
    ],
    ids=["the-thesis", "user", "words", "privileged", "shared", "reaper"],
)  # fmt: skip
def test_the_program_sees_the_same(
    root: str, source: str, tmp_path: Path, options: dict[str, Any]
) -> None:
    options = {
        name: tuple(entry.replace("SRC", source) for entry in value)
        if isinstance(value, tuple)
        else value
        for name, value in options.items()
    }
    words = ("sh", "-c", PROBE)
    done = by_script(script_of(root, words, userns="host", **options), tmp_path)
    environment = {
        name: value for name, _, value in (entry.partition("=") for entry in options.pop("env", ()))
    }
    theirs = by_kokon(root, words, userns="host", env=environment, **options)
    # Before Linux 6.3 a time namespace takes a process 1 that is not the program.
    reaped = "init" in options or "time" in options
    hidden = ("process",) if reaped or options.get("pid") == "host" else ()
    assert seen(done.stdout, hidden) == seen(theirs, hidden)
    assert done.stderr == ""
    for word in ("mount /proc ", "Cap", "limit Max open files", "device /dev/null character"):
        assert any(line.startswith(word) for line in seen(done.stdout)), word


@needs_root
def test_limits_are_the_programs(root: str, tmp_path: Path) -> None:
    """The probe of the thesis's options finds its groups, and a limit of one process is enough."""
    words = ("sh", "-c", PROBE)
    script = script_of(root, words, userns="host", memory="100M", pids=50, volumes=(GROUPS,))
    limits = [line for line in seen(by_script(script, tmp_path).stdout) if "control" in line]
    assert "control pids.max 50" in limits
    assert {"control memory.limit_in_bytes 104857600", "control memory.max 104857600"} & {*limits}
    script = script_of(root, ("busybox", "id", "-u"), userns="host", pids=1)
    assert by_script(script, tmp_path).stdout == "0\n"


@needs_root
def test_a_program_beyond_its_memory_is_killed(root: str, tmp_path: Path) -> None:
    words = ("busybox", "dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1")
    script = script_of(root, words, userns="host", memory="16M", memory_swap="16M")
    assert by_script(script, tmp_path, status=137).stdout == ""


@needs_root
@pytest.mark.parametrize("shell", ["dash", "bash"])
@pytest.mark.parametrize("reaper", [False, True])
def test_the_status_is_the_programs(root: str, tmp_path: Path, shell: str, reaper: bool) -> None:
    found = shutil.which(shell)
    if not found:
        pytest.skip(f"needs {shell}")
    # Inside it is a shell by the name of sh.
    (tmp_path / "sh").symlink_to(found)
    script = script_of(root, ("sh", "-c", "exit 7"), userns="host", init=reaper)
    assert by_script(script, tmp_path, found, status=7).stderr == ""


@needs_root
@pytest.mark.parametrize("name", ["@host", "@python"])
def test_the_built_in_roots(tmp_path: Path, name: str) -> None:
    if name == "@python":
        words = ("python3", "-c", "import os; print(os.getpid(), *sorted(os.listdir('/')))")
    else:
        words = ("sh", "-c", "echo $$ $(ls /)")
    done = by_script(script_of(name, words, userns="host"), tmp_path)
    assert done.stdout == by_kokon(name, words, userns="host")


@needs_root
def test_words_stay_words(root: str, tmp_path: Path) -> None:
    """Nothing in a plan becomes a command of the script, or ends its inner part."""
    mark = tmp_path / "mark"
    hostile = f"a\nINSIDE\ntouch {mark}\n'; touch {mark}; $(touch {mark}) `touch {mark}`\n#"
    folder = tmp_path / f"x\n$(touch {mark.name})"
    folder.mkdir()
    (folder / "page").write_text("")
    script = script_of(
        root, ("sh", "-c", 'echo "$0"; echo "$1"; ls /src', hostile, "\udcff"), userns="host",
        env=(f"A={hostile}",), mounts=(f"type=bind,src={folder},dst=/src",),
    )  # fmt: skip
    file = saved(script, tmp_path)
    done = subprocess.run(
        ["sh", str(file)], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, cwd=tmp_path
    )
    assert (done.stdout, done.stderr) == (f"{hostile}\n".encode() + b"\xff\npage\n", b"")
    assert not mark.exists()


@needs_root
def test_a_link_of_the_root_is_not_followed(root: str, tmp_path: Path) -> None:
    """mount(8) and mkdir(1) would follow it out of the root (row M3)."""
    outside = tmp_path / "outside"
    outside.mkdir()
    copy = tmp_path / "root"
    shutil.copytree(root, copy, symlinks=True)
    (copy / "var").symlink_to(outside)
    script = script_of(str(copy), ("true",), userns="host", volumes=(f"{tmp_path}:/var/src/deep",))
    done = by_script(script, tmp_path, status=125)
    assert "runs through a link" in done.stderr
    assert list(outside.iterdir()) == []


@needs_root
def test_it_can_be_ended(root: str, tmp_path: Path) -> None:
    script = script_of(
        root, ("sh", "-c", "echo ready; exec sleep 1000"), userns="host", memory="100M"
    )
    process = subprocess.Popen(
        ["sh", str(saved(script, tmp_path))], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, start_new_session=True,
        # A shell cannot trap what was ignored when it began.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert process.stdout
    assert process.stdout.readline() == b"ready\n"
    os.killpg(process.pid, signal.SIGINT)
    try:
        process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130
    assert left(tmp_path) == []


@needs_root
def test_the_command_prints_it(root: str, tmp_path: Path) -> None:
    """As it is in the documentation, with its control groups."""
    done = subprocess.run(
        [sys.executable, "-m", "kokon", "explain", "--format", "shell", "run", "--userns", "host",
         "--memory", "100M", root, "sh", "-c", "exit 9"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "104857600" in done.stdout
    by_script(done.stdout, tmp_path, status=9)


@pytest.mark.skipif(os.geteuid() == 0, reason="is about ordinary users")
def test_without_root(root: str, source: str, tmp_path: Path) -> None:
    """With a single id the user namespace of unshare(1) is the one that kokon makes."""
    skip_without_namespaces()
    options: dict[str, Any] = {"hostname": "x", "volumes": (f"{source}:/var/src:ro",)}
    words = ("sh", "-c", PROBE)
    script = script_of(root, words, **options)
    if "NOT EXACT" in script:
        pytest.skip("with subordinate ids the script is not exact, and says so")
    assert seen(by_script(script, tmp_path).stdout) == seen(by_kokon(root, words, **options))
