"""The shell script of a plan, as text: what each op becomes, and that no word breaks out of it."""

from __future__ import annotations

import shutil
import subprocess
from struct import pack
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kokon.kernel import constants
from kokon.plan import ops, shell_commands, shell_words
from kokon.plan.explain import sentence
from kokon.plan.op import Op
from kokon.plan.plan import Plan
from kokon.plan.shell import ControlGroup, script
from kokon.plan.table import TABLE
from kokon.spec.runtime import Linux, Process, Root, Spec

HOST = (
    constants.CLONE_NEWNS | constants.CLONE_NEWPID | constants.CLONE_NEWUTS | constants.CLONE_NEWNET
)
NUL = "\0"


def plan(*middle: Op, namespaces: int = HOST, inherited: tuple[str, ...] = ()) -> Plan:
    """A plan with some steps inside."""
    cgroup = 0 if "cgroup" in inherited else -1
    return Plan(
        (
            ops.Clone(namespaces, cgroup, why="/linux/namespaces"),
            ops.Release(why="/linux/namespaces"),
            *middle,
            ops.BoundingSet(1 << 10, why="/process/capabilities/bounding"),
            ops.CloseDescriptors(why="/process"),
            ops.Execute(("/bin/sh",), ("sh", "-c", "id"), ("A=b",), why="/process/args"),
        ),
        inherited,
    )


def text(*middle: Op, asked: dict[str, str] | None = None, **options: Any) -> str:
    groups = options.pop("groups", ())
    spec = Spec(root=Root("/srv/root"), process=Process(("sh", "-c", "id")), linux=Linux())
    printed = script(plan(*middle, **options), spec, asked or {}, groups)
    # Every script is one that a shell can read.
    subprocess.run(["sh", "-n"], input=printed.encode(errors="surrogateescape"), check=True)
    return printed


def commands(printed: str) -> list[str]:
    """The lines of the inner part that are no comments, functions or tools."""
    inner = printed[printed.index('tool="./') :].split("\n")[1:]
    return [line for line in inner if line and not line.startswith("#")]


def test_every_op_has_its_handler() -> None:
    names = {kind.__name__ for kind in shell_commands._COMMANDS} | {"Clone"}
    assert names == {row.name for row in TABLE}


ROOT = ops.Filesystem(0, "tmpfs", ("mode", "755"), 0, "the root", why="x")


@pytest.mark.parametrize(
    ("op", "expected"),
    [
        (ops.Directory(0, "a/b", 0o700, why=""), "mkdir -p -m 700 0-root/a/b"),
        (ops.Link(0, "fd", "/proc/self/fd", why=""), "ln -s -- /proc/self/fd 0-root/fd"),
        (ops.File(0, "x", b"it's\n", why=""), "printf '%s\\n' 'it'\\''s' > 0-root/x"),
        (ops.File(0, "x", b"", why=""), ": > 0-root/x"),
        (ops.Node(0, "null", 0o020666, 0x103, why=""), "mknod -m 666 0-root/null c 1 3"),
        (ops.Node(0, "p", 0o010600, 0, 5, 6, why=""), "chown 5:6 0-root/p"),
        (ops.Filesystem(1, "sysfs", (), 0xF, "/sys", why=""), "mount -o remount,bind,ro 1-sys"),
        (ops.Filesystem(1, "tmpfs", ("size", "1,2"), 2, "/x", why=""),
         "mount -t tmpfs -o 'nosuid,size=\"1,2\"' tmpfs 1-x"),
        (ops.CloneMount(1, -1, "/a b", why=""), "take --bind '/a b' 1-b"),
        (ops.CloneMount(1, 0, "file", 1, why=""), "take --rbind 0-root/file 1-file"),
        (ops.MountAttributes(0, 1, 2, constants.MS_PRIVATE, 1, -1, "x", why=""),
         "attributes ro,suid 0-root"),
        (ops.MountAttributes(0, 0, 0x70, constants.MS_SLAVE, 0, -1, "x", why=""),
         "mount -o remount,bind,relatime 0-root"),
        (ops.MountAttributes(0, 0, 0, constants.MS_SLAVE, 0, -1, "x", why=""),
         "mount --make-slave 0-root"),
        (ops.Mask(0, "/proc/kcore", 0, why=""), "hide 0-root proc/kcore 0-root"),
        (ops.ReadOnly(0, "/proc/sys", why=""), "read_only 0-root proc/sys"),
        (ops.CheckFilesystem(0, "/proc", 0x9FA0, "proc", why=""),
         '[ "$(stat -f -c %t 0-root/proc)" = 9fa0 ] || exit 125'),
        (ops.Pivot(0, why=""), "pivot_root ../0-root ../0-root"),
        (ops.Hostname("x y", why=""), "echo 'x y' > /proc/sys/kernel/hostname"),
        (ops.Hostname("-n", why=""), "printf '%s\\n' -n > /proc/sys/kernel/hostname"),
        (ops.Loopback(why=""), "ip link set lo up"),
        (ops.WriteProc(9, 0, "sys/net/ipv4/x", "0 7", "it", why=""),
         "echo '0 7' > /proc/sys/net/ipv4/x"),
        (ops.WriteChild("oom_score_adj", "7", "it", why=""), "echo 7 > /proc/self/oom_score_adj"),
        (ops.Umask(0o27, why=""), "umask 0027"),
        (ops.WorkingDirectory("/a b", 1, why=""),
         "[ -d '/a b' ] || $tool ./mkdir -p '/a b'"),
    ],
)  # fmt: skip
def test_a_step_is_a_command(op: Op, expected: str) -> None:
    assert expected in commands(text(ROOT, op))


@pytest.mark.parametrize(
    ("op", "expected"),
    [
        (ops.Groups(pack("<2I", 0, 10), why=""), "--groups 0,10"),
        (ops.Groups(b"", why=""), "--clear-groups"),
        (ops.User(5, 6, 1, why=""), "--reuid 5 --regid 6 --keep-groups"),
        (ops.NoNewPrivileges(why=""), "--no-new-privs"),
        (ops.Capabilities(1, 1, 2, why=""), "--inh-caps=-all,+dac_override"),
        (ops.Ambient(1, why=""), "--ambient-caps=-all,+chown"),
        (ops.ParentDeath(9, why=""), "--pdeathsig KILL"),
        (ops.ResourceLimit(7, 5, constants.RLIM_INFINITY, "nofile", why=""),
         "./prlimit --nofile=5:unlimited"),
        (ops.Session(why=""), "exec /proc/self/cwd/$tool ./setsid"),
        (ops.Unshare(constants.CLONE_NEWCGROUP, why=""), "$tool ./unshare --cgroup"),
        (ops.Signals(why=""), "./env -i --default-signal --chdir=/"),
        (ops.WorkingDirectory("/tmp", 0, why=""), "--chdir=/tmp"),
        (ops.Reap(why=""), "./sh -c '\"$@\"; exit $?' sh"),
        (ops.WriteProc(9, 1, "attr/exec", "exec some", "it", why=""), "--apparmor-profile=some"),
    ],
)  # fmt: skip
def test_a_step_is_a_part_of_the_last_command(op: Op, expected: str) -> None:
    printed = text(op)
    last = printed[printed.index("\nexec /proc/self/cwd/") :]
    assert expected in last
    assert "        --bounding-set=-all,+net_bind_service \\\n" in last
    assert "A=b \\\n    sh -c id\nINSIDE\n" in last


@pytest.mark.parametrize(
    "op",
    [
        ops.Keyring(why=""),
        ops.Dumpable(0, why=""),
        ops.Seccomp(b"\0" * 8, why=""),
        ops.Terminal(0, 1, why=""),
        ops.Open(1, "/proc/1/fd/1", "it", why=""),
    ],
)
def test_what_no_tool_does_is_said(op: Op) -> None:
    printed = text(ROOT, op)
    heading, remark = printed.split(f"# 4  {sentence(op)}  []\n")[1], "#   missing: "
    assert heading.startswith(remark)
    words = heading.removeprefix(remark).partition("\n")[0]
    assert f"#   {words} (step 4)" in printed.partition("set -eu")[0]


def test_a_step_has_its_number_its_words_and_who_asked() -> None:
    printed = text(ops.Hostname("x", why="/hostname"), asked={"/hostname": "--hostname x"})
    assert "\n# 3  set the host name x  [--hostname x]\necho x > " in printed
    for number in range(1, 7):
        assert f"\n# {number}  " in printed


def test_the_namespaces_are_those_of_the_plan() -> None:
    late = ops.Unshare(constants.CLONE_NEWTIME, why="")
    offset = ops.WriteProc(1, 1, "timens_offsets", "boottime 60 0", "it", why="")
    slave = ops.Propagation(constants.MS_SLAVE, why="")
    line = next(word for word in text(late, offset, slave).split("\n") if word[:7] == "unshare")
    assert line.split(" \\")[0] == (
        "unshare --mount --pid --uts --net --propagation slave --time --boottime 60"
    )


def test_an_overlay_whose_writes_are_dropped_gets_a_directory_of_the_script() -> None:
    def overlay(*volatile: str | None) -> str:
        options = ("lowerdir+", "/sys/lower0", "lowerdir+", "/sys/lower1",
                   "upperdir", "/sys/writes/upper", "workdir", "/sys/writes/work")  # fmt: skip
        return text(
            ops.CloneMount(1, -1, "/store/writes/7", 1, why=""),
            ops.Filesystem(2, "tmpfs", (), 0, "the layers' places", why=""),
            ops.AttachAnywhere(2, "/sys", "it", why=""),
            ops.Attach(1, 2, "writes", why=""),
            ops.Filesystem(3, "overlay", (*options, *volatile), 0, "the root", why=""),
        )

    dropped, kept = overlay("volatile", None), overlay()
    assert 'take --rbind "$work/writes" 1-7' in dropped
    assert 'mkdir -m 755 "$work/writes"' in dropped
    assert "take --rbind /store/writes/7 1-7" in kept
    assert '"$work/writes"' not in kept
    assert (
        "mount -t overlay -o lowerdir=2-places/lower0:2-places/lower1,"
        "upperdir=2-places/writes/upper,workdir=2-places/writes/work overlay 3-root"
    ) in commands(kept)


def test_a_mount_is_where_it_was_attached() -> None:
    printed = text(
        ROOT,
        ops.Filesystem(1, "tmpfs", (), 0, "/dev", why=""),
        ops.Attach(1, 0, "/dev", 1, why=""),
        ops.File(1, "null", b"", why=""),
    )
    assert "put 1-dev 0-root dev directory" in commands(printed)
    assert ": > 0-root/dev/null" in commands(printed)


def test_control_groups_are_made_entered_last_and_removed() -> None:
    groups = (
        ControlGroup("cgroup", "/cg/a", [("../cgroup.subtree_control", "+pids", "/r"),
                                         ("pids.max", "max", "/r/pids")]),
        ControlGroup("tasks:memory", "/cg/m x", [("memory.limit_in_bytes", "-1", "/r")]),
    )  # fmt: skip
    printed = text(
        ops.JoinCgroup(1, "memory", why=""), inherited=("cgroup", "tasks:memory"), groups=groups,
        asked={"/r": "--memory -1"},
    )  # fmt: skip
    outside = printed.partition("# ---- inside")[0]
    assert 'mkdir /cg/a\nset -- /cg/a "$@"\necho +pids > /cg/a/../cgroup.subtree_control' in outside
    assert "echo -1 > '/cg/m x/memory.limit_in_bytes'  # [--memory -1]" in outside
    lines = commands(printed)
    assert lines[0] == "exec 4> /cg/a/cgroup.procs"
    assert "exec 5> '/cg/m x/tasks'" in lines
    closing = lines.index("exec 3<&- 4<&- 5<&- 6<&- 7<&- 8<&- 9<&-")
    assert lines[closing - 2 : closing] == ["echo 0 >&4", "echo 0 >&5"]


def test_more_control_groups_than_a_shell_has_descriptors() -> None:
    names = tuple(f"tasks:{n}" for n in range(8))
    groups = [ControlGroup(name, f"/cg/{n}") for n, name in enumerate(names)]
    joins = [ops.JoinCgroup(n, str(n), why="") for n in range(8)]
    lines = commands(text(*joins, inherited=names, groups=groups))
    assert [line for line in lines if line.startswith("echo 0 > ")] == [
        "echo 0 > /cg/6/tasks", "echo 0 > /cg/7/tasks",
    ]  # fmt: skip


def test_a_group_that_is_not_known_is_missing() -> None:
    printed = text(ops.JoinCgroup(0, "memory", why=""), inherited=("tasks:memory",))
    assert "#   missing: this script was made without its control groups" in printed


def test_a_user_namespace_is_not_called_exact() -> None:
    user = HOST | constants.CLONE_NEWUSER
    private = text(
        ops.IdMap("uid_map", "0 1000000 65536\n", why=""),
        ops.IdMap("gid_map", "0 1000000 65536\n", why=""),
        ops.User(0, 0, 0, why=""),
        ROOT,
        ops.Node(0, "null", 0o020666, 0x103, why=""),
        ops.MountAttributes(0, constants.MOUNT_ATTR_IDMAP, 0, 0, 1, -1, "x", why=""),
        ops.User(5, 5, 1, why=""),
        namespaces=user,
    )
    assert "# NOT EXACT" in private
    assert "X-mount.idmap" in private
    assert "--map-users=1000000,0,65536 --map-groups=1000000,0,65536 --setuid 0" in private
    assert "mount --bind /dev/null 0-root/null" in private
    assert "mknod -m" not in private
    single = text(
        ops.IdMap("setgroups", "deny", why=""),
        ops.IdMap("uid_map", "0 1000 1\n", why=""),
        ops.Hostname("x", why=""),
        namespaces=user,
    )
    assert "# NOT EXACT" not in single
    assert "--map-root-user" in single
    assert "hostname x" in commands(single)
    helpers = text(ops.AwaitParent(why=""), namespaces=user)
    assert "--map-auto" in helpers
    assert "# NOT EXACT" in helpers
    assert "# NOT EXACT" not in text()


HOSTILE = ("x\nINSIDE\ntouch /tmp/x", "$(id)`id`", "'; id; '", "a\rb", "\N{RIGHT-TO-LEFT OVERRIDE}")


@pytest.mark.parametrize("word", HOSTILE)
def test_no_word_becomes_a_command(word: str) -> None:
    """Not as an argument, in a comment, or as the end of the inner part."""
    harmless = text(*_with("word"), asked={"/x": "word"})
    printed = text(*_with(word), asked={"/x": word})
    comments = [line for line in printed.split("\n") if line.startswith("#")]
    assert len(comments) == sum(line.startswith("#") for line in harmless.split("\n"))
    assert all(line.isprintable() for line in comments)
    # What a shell makes of the lines: as many commands, whatever the word is.
    bare, quoted = printed, shell_words.quote(word)
    assert bare.count(quoted) >= 4
    for part in (quoted, shell_words.quote(f"0-root/{word}"), shell_words.quote(f"A={word}")):
        bare = bare.replace(part, "word")
    assert "touch /tmp/x" not in "\n".join(
        line for line in bare.split("\n") if not line.startswith("#")
    )
    assert bare.split("\n")[-4].rstrip("_") == "INSIDE"


def _with(word: str) -> tuple[Op, ...]:
    return (
        ROOT,
        ops.CloneMount(1, -1, word, why="/x"),
        ops.Attach(1, 0, word, 1, about=word, why=word),
        ops.Link(0, word, word, why="/x"),
        ops.Hostname(word, why="/x"),
        ops.WorkingDirectory(word, 1, why="/x"),
    )


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(st.characters(exclude_characters=NUL)), min_size=1, max_size=20))
def test_a_quoted_word_is_that_word(words: list[str]) -> None:
    line = "printf '%s\\0' " + " ".join(map(shell_words.quote, words))
    printed = _sh(line)
    assert printed == b"".join(word.encode(errors="surrogatepass") + b"\0" for word in words)


@settings(max_examples=60, deadline=None)
@given(st.one_of(st.binary(max_size=40), st.text(max_size=40).map(lambda text: text.encode())))
def test_a_small_file_is_written_byte_by_byte(data: bytes) -> None:
    assert _sh(shell_words.content(data)) == data


def _sh(line: str) -> bytes:
    return subprocess.run(
        [shutil.which("dash") or "sh"], input=line.encode(errors="surrogatepass"),
        capture_output=True, check=True,
    ).stdout  # fmt: skip
