"""Every op fails for real: the message names step, words, call and the kernel's word, and what to
do; nothing is left behind.

An op fails by its own arguments where it can.  Where the kernel would not refuse, the run is made
in a forked process under a filter that answers one system call with an error (seccomp(2)).
"""

from __future__ import annotations

import ctypes
import os
import struct
import tempfile
from collections.abc import Callable, Iterator
from errno import (
    EAGAIN,
    EBADF,
    EDQUOT,
    EEXIST,
    EINVAL,
    EIO,
    EISDIR,
    ELOOP,
    ENAMETOOLONG,
    ENODEV,
    ENOENT,
    ENOMSG,
    ENOSPC,
    ENOTDIR,
    ENOTSOCK,
    EOPNOTSUPP,
    EPERM,
    EPIPE,
)
from pathlib import Path
from typing import Any

import pytest
from leftovers import (
    Before,
    busybox_root,
    files_below,
    own_place,
    skip_without_namespaces,
)

import kokon
from kokon import paths
from kokon.config.options import Options
from kokon.engine import owner, prepared, run
from kokon.kernel import facts
from kokon.plan import ops
from kokon.plan.explain import sentence
from kokon.plan.op import Op
from kokon.plan.plan import Plan
from kokon.runtime import program

pytestmark = pytest.mark.kernel

X86_64 = os.uname().machine == "x86_64"
CALLS = {
    "clone": (56, 220), "clone3": (435, 435), "unshare": (272, 97), "mount_setattr": (442, 442),
    "fsmount": (432, 432), "pivot_root": (155, 41), "socket": (41, 198), "keyctl": (250, 219),
    "ioctl": (16, 29), "setsid": (112, 157), "rt_sigprocmask": (14, 135), "umask": (95, 166),
    "prctl": (157, 167), "close_range": (436, 436), "write": (1, 64), "capset": (126, 91),
    "seccomp": (317, 277), "personality": (135, 92), "openat2": (437, 437), "open_tree": (428, 428),
}  # fmt: skip
"""Numbers on x86-64 and aarch64."""


class Case:
    """One op that fails.

    :param make: the op, from the slots of the root and of /dev; None leaves the plan alone.
    :param error: what the kernel answers; ``call``: to which call of the op.
    :param filter: (call, argument, value) of the call that is refused; no argument: always.
    """

    def __init__(
        self, kind: type[Op], make: Callable[[int, int], Op] | None, error: int, call: str,
        remedy: str = "", filter: tuple[str, int, int] | tuple[str] | None = None,
        **options: Any,
    ) -> None:  # fmt: skip
        self.kind, self.make, self.error, self.call = kind, make, error, call
        self.remedy, self.filter, self.options = remedy, filter, options


def case(kind: type[Op], *fields: object, error: int, call: str, remedy: str = "") -> Case:
    """An op whose own arguments make it fail; ROOT and DEV stand for the slots of those."""

    def make(root: int, dev: int) -> Op:
        known = {ROOT: root, DEV: dev}
        return kind(*(known.get(f, f) if isinstance(f, str) else f for f in fields), why="the test")

    return Case(kind, make, error, call, remedy)


ROOT, DEV = "slot of the root", "slot of /dev"
ORDINARY = 54321
BY_HELPERS = not facts.read().is_root and bool(facts.read().subordinate_uids)
MANY_IDS = facts.read().is_root or BY_HELPERS
NOBODY = 4_000_000_000
LANDLOCK = facts.read().landlock
AT_FDCWD = 2**32 - 100  # as the filter sees it: 32 bits

FIVE = 0x7C020000  # new namespaces: user, mount, pid, ipc, uts, network
CLONE_FILES, CLONE_PARENT = 0x400, 0x8000

CASES = [
    Case(ops.Clone, lambda _, __: ops.Clone(FIVE, legacy=1, why="the test"), EPERM, "clone",
         "namespaces are refused here", filter=("clone", 0, FIVE | CLONE_FILES | CLONE_PARENT)),
    # Nobody answers: there is no reply, or it has ended.
    case(ops.AwaitParent, error=EPIPE if BY_HELPERS else EBADF, call="read"),
    Case(ops.Release, None, EIO, "write", filter=("write", 2, 1)),
    case(ops.IdMap, "setgroups", "perhaps", error=EINVAL, call="write", remedy="overlap"),
    case(ops.JoinCgroup, -1, "memory", error=EBADF, call="write"),
    Case(ops.Unshare, None, ENOSPC, "unshare", "max_cgroup_namespaces", filter=("unshare",)),
    Case(ops.Propagation, None, EINVAL, "mount_setattr", "outside of the chroot",
         filter=("mount_setattr", 0, AT_FDCWD)),
    case(ops.Filesystem, 90, "nosuchfs", (), 0, "x", error=ENODEV, call="fsopen",
         remedy="does not have that file system"),
    case(ops.Filesystem, 90, "tmpfs", ("nosuch", "1"), 0, "x", error=EINVAL, call="fsconfig",
         remedy="does not take one of the options"),
    case(ops.Filesystem, 90, "tmpfs", (), 1 << 30, "x", error=EINVAL, call="fsmount"),
    case(ops.CloneMount, 90, -1, "/no/such/path", error=ENOENT, call="open_tree",
         remedy="not there"),
    case(ops.CloneMount, 90, -1, "/etc/passwd/x", error=ENOTDIR, call="open_tree"),
    case(ops.MountAttributes, -1, 1, 0, 0, 0, -1, "x", error=EBADF, call="mount_setattr"),
    case(ops.AttachAnywhere, -1, "/no/such/path", "x", error=ENOENT, call="move_mount"),
    case(ops.Attach, DEV, ROOT, "/etc/alias/x", 1, 4, 0, "x", error=ELOOP, call="openat2",
         remedy="symbolic link"),
    Case(ops.Attach, None, EINVAL, "move_mount", "both have to be alike",
         volumes=("/etc/passwd:/home",)),
    case(ops.Attach, DEV, ROOT, "/no/" + "x" * 300, 1, 0, 0, "x", error=ENAMETOOLONG,
         call="openat", remedy="shorten"),
    case(ops.CheckFilesystem, ROOT, "/etc", 0x9FA0, "proc", error=EINVAL, call="compare",
         remedy="something stands in its place"),
    case(ops.Mask, ROOT, "/etc/alias/x", -1, error=ELOOP, call="openat2", remedy="symbolic link"),
    case(ops.ReadOnly, ROOT, "/etc/alias/x", error=ELOOP, call="openat2", remedy="symbolic link"),
    case(ops.Pivot, -1, error=EBADF, call="fchdir"),
    Case(ops.Pivot, None, EINVAL, "pivot_root", "initial ramfs", filter=("pivot_root",)),
    case(ops.Directory, DEV, "fd/x", error=ENOTDIR, call="openat"),
    case(ops.Link, DEV, "pts", "x", error=EEXIST, call="symlinkat"),
    case(ops.File, DEV, "pts", b"", error=EEXIST, call="openat"),
    case(ops.Node, DEV, "pts", 0o20666, 259, error=EEXIST, call="mknodat"),
    case(ops.Hostname, "h" * 65, error=EINVAL, call="sethostname", remedy="64 bytes at most"),
    case(ops.Domainname, "d" * 65, error=EINVAL, call="setdomainname"),
    Case(ops.Loopback, None, EPERM, "socket", "--network host", filter=("socket",)),
    Case(ops.WriteProc, None, ENOENT, "openat2", "does not have it",
         sysctls=("net.ipv4.no_such_thing=1",)),
    Case(ops.WriteProc, None, EINVAL, "write", "does not take that value",
         sysctls=("net.ipv4.ip_forward=many",)),
    Case(ops.Keyring, None, EDQUOT, "keyctl", "keys/maxkeys", filter=("keyctl",)),
    case(ops.Terminal, -1, 90, error=EBADF, call="openat2", remedy="pty/max"),
    Case(ops.Terminal, None, EIO, "ioctl(TIOCGPTPEER)", "pty/max", filter=("ioctl", 1, 0x5441),
         terminal=True),
    case(ops.CloneDescriptor, 90, -1, "x", error=EBADF, call="open_tree"),
    case(ops.StandardStreams, -1, error=EBADF, call="dup3"),
    Case(ops.StandardStreams, None, EPERM, "ioctl(TIOCSCTTY)", filter=("ioctl", 1, 0x540E),
         terminal=True),
    case(ops.Owner, -1, 0, 0, "x", error=EBADF, call="fchown"),
    Case(ops.Session, None, EPERM, "setsid", filter=("setsid",)),
    Case(ops.Signals, None, EPERM, "rt_sigprocmask", filter=("rt_sigprocmask", 0, 2)),
    case(ops.ParentDeath, 99, error=EINVAL, call="prctl"),
    case(ops.Dumpable, 7, error=EINVAL, call="prctl"),
    case(ops.ResourceLimit, 7, 5, 4, "nofile", error=EINVAL, call="prlimit64",
         remedy="above the hard one"),
    Case(ops.ResourceLimit, None, EPERM, "prlimit64", "CAP_SYS_RESOURCE",
         ulimits=("nofile=2000000000",)),
    Case(ops.Umask, None, EPERM, "umask", filter=("umask",)),
    case(ops.WorkingDirectory, "/etc/passwd", error=ENOTDIR, call="fchdir", remedy="no directory"),
    case(ops.WorkingDirectory, "/etc/passwd/x", 1, error=ENOTDIR, call="openat2",
         remedy="no directory"),
    case(ops.Open, 90, "/etc/passwd", "x", error=ENOTDIR, call="openat"),
    case(ops.WriteChild, "oom_score_adj", "5000", "x", error=EINVAL, call="write"),
    case(ops.Groups, struct.pack("<I", NOBODY), error=EINVAL if MANY_IDS else EPERM,
         call="setgroups", remedy="not mapped" if MANY_IDS else "without subordinate ids"),
    Case(ops.BoundingSet, None, EPERM, "prctl", "CAP_SETPCAP", filter=("prctl", 0, 24)),
    case(ops.User, NOBODY, 0, 0, error=EINVAL, call="setresuid", remedy="not mapped"),
    case(ops.User, 0, NOBODY, 0, error=EINVAL, call="setresgid", remedy="not mapped"),
    case(ops.Capabilities, 0, 0, 1 << 16, error=EPERM, call="capset", remedy="does not have one"),
    case(ops.Ambient, 1 << 7, error=EPERM, call="prctl(PR_CAP_AMBIENT_RAISE)",
         remedy="permitted and inheritable"),
    Case(ops.NoNewPrivileges, None, EPERM, "prctl", filter=("prctl", 0, 38)),
    case(ops.Landlock, 0, 0, 1 << 40, (), b"", b"", error=EINVAL if LANDLOCK else EOPNOTSUPP,
         call="landlock_create_ruleset", remedy="Landlock"),
    *(case(ops.Landlock, 1, 0, 0, (path,), bytes(8), b"", error=error, call=call)
      for path, error, call in (("/no/such", ENOENT, "openat"), ("/", ENOMSG, "landlock_add_rule"))
      if LANDLOCK),
    case(ops.Seccomp, b"\xff" * 8, error=EINVAL, call="seccomp", remedy="does not know a part"),
    case(ops.SendListener, ROOT, ROOT, error=EBADF, call="lseek"),
    Case(ops.CloseDescriptors, None, EPERM, "close_range", filter=("close_range", 0, 201)),
    Case(ops.Reap, None, EAGAIN, "clone", filter=("clone", 0, 0x4011), init=True),
    case(ops.Reap, 1, error=EINVAL, call="kill(scope)"),  # no scope: it would end others
    case(ops.Join, -1, 0x40000000, "network", error=EBADF, call="setns"),
    Case(ops.Join, lambda root, _: ops.Join(root, 0x40000000, "network", why="the test"),
         EBADF, "setns"),  # what is open is no namespace
    case(ops.MapNamespace, 90, f"0 {NOBODY + 200_000_000} 99999999", "0 0 1", "x", error=EINVAL,
         call="write"),
    case(ops.RaiseLimit, 99, 5, "x", error=EINVAL, call="prlimit64"),
    case(ops.Hook, -1, "/x", ("x",), (), "x", error=EBADF, call="lseek"),
    case(ops.TakeMode, -1, ROOT, "/etc", error=EBADF, call="openat"),
    case(ops.CopyUp, -1, ROOT, "/etc", error=EBADF, call="copy"),
    Case(ops.Personality, lambda _, __: ops.Personality(0, "x", why="the test"), EPERM,
         "personality", filter=("personality",)),
    case(ops.Scheduler, 4, 0, 0, 0, 0, 0, 0, "SCHED_ISO", error=EINVAL, call="sched_setattr",
         remedy="does not have the policy"),
    case(ops.IoPriority, 7 << 13, "x", error=EINVAL, call="ioprio_set"),
    case(ops.CpuAffinity, bytes(8), "x", error=EINVAL, call="sched_setaffinity",
         remedy="none of these CPUs"),
    case(ops.MemoryPolicy, 77, b"", "x", error=EINVAL, call="set_mempolicy",
         remedy="a node is not there"),
    case(ops.AwaitStart, -1, error=EBADF, call="accept4"),
    case(ops.FindProgram, ("/no/such", "/no/such/either"), error=ENOENT, call="newfstatat"),
    case(ops.HandOver, -1, ("ns/net",), b"", "the namespaces", error=EBADF, call="openat2"),
    Case(ops.HandOver, lambda root, _: ops.HandOver(-1, (), struct.pack("<I", root), "the root",
                                                    why="the test"),
         ENOTSOCK, "sendmsg"),  # there is a pipe for the reports
    case(ops.Transfer, "/no/such/file", 1, error=ENOENT, call="openat"),
    case(ops.Transfer, "/etc", 1, error=EISDIR, call="fstat"),
    case(ops.Transfer, "/etc/passwd/x", 0, error=ENOTDIR, call="openat"),
]  # fmt: skip


def test_every_op_has_its_failure() -> None:
    assert {c.kind for c in CASES} | {ops.Execute, ops.UserNamespace} == set(ops.OPS)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    skip_without_namespaces()
    yield from own_place(monkeypatch, tmp_path)


def put(plan: Plan, kind: type[Op], op: Op) -> Plan:
    """The plan with ``op``: outside or late for one of its kind, else before the pivot."""
    kinds = [type(each) for each in plan.ops]
    pivot = kinds.index(ops.Pivot)
    replaced = kind in kinds and kind is not ops.AwaitParent
    if replaced and (kind.PLACE == "host" or kinds.index(kind) > pivot):
        at = kinds.index(kind)
        return Plan((*plan.ops[:at], op, *plan.ops[at + 1 :]), plan.inherited)
    at = kinds.index(ops.Release) if kind.PLACE == "host" else pivot
    return Plan((*plan.ops[:at], op, *plan.ops[at:]), plan.inherited)


def error_of(options: Options, change: Callable[[Plan], Plan], terminal: bool) -> tuple[Any, Plan]:
    """What a run with a changed plan raises, and that plan."""
    prepared = run.prepare(options, terminal=terminal)
    prepared.plan = change(prepared.plan)
    process = None
    try:
        process = prepared.start((0, 1, 2))
        if terminal:
            process.spawned.await_terminal()
        run.finish(prepared, process)
    except kokon.KokonError as error:
        return error, prepared.plan
    finally:
        if process:
            if process.spawned.terminal >= 0:
                os.close(process.spawned.terminal)
            process.close()
        assert prepared.close() == []
    return None, prepared.plan


def statement(code: int, yes: int, no: int, value: int) -> bytes:
    """One struct sock_filter (seccomp(2), bpf(4))."""
    return struct.pack("<HBBI", code, yes, no, value)


def refuse(filter: tuple[Any, ...], error: int) -> None:
    """Puts a filter over this process: one call, with one argument perhaps, gets an error."""
    load, equal, answer = 0x20, 0x15, 0x06
    name, *argument = filter
    program = [statement(load, 0, 0, 0)]
    if argument:
        number, value = argument
        program += [
            statement(equal, 0, 3, CALLS[name][0 if X86_64 else 1]),
            statement(load, 0, 0, 16 + 8 * number),
            statement(equal, 0, 1, value),
        ]
    else:
        program.append(statement(equal, 0, 1, CALLS[name][0 if X86_64 else 1]))
    program += [statement(answer, 0, 0, 0x50000 | error), statement(answer, 0, 0, 0x7FFF0000)]
    code = ctypes.create_string_buffer(b"".join(program))
    head = struct.pack("<HxxxxxxQ", len(program), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    assert libc.prctl(22, 2, head, 0, 0) == 0, os.strerror(ctypes.get_errno())


def in_filtered_process(work: Callable[[], str], filter: tuple[Any, ...], error: int) -> str:
    """What ``work`` returns in a forked process under a filter."""

    def filtered() -> str:
        # The set-uid newuidmap would not work under no_new_privs.
        host = facts.read()
        host.subordinate_uids = host.subordinate_gids = ()
        facts.read = lambda: host
        refuse(filter, error)
        answer = work()
        owner.current().release()
        return answer

    return in_child(filtered)


def in_child(work: Callable[[], str]) -> str:
    """What ``work`` returns, or raises, in a forked process."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answer = work()
        except BaseException as problem:
            answer = f"{type(problem).__name__}: {problem}"
        os.write(write, answer.encode())
        os._exit(0)
    os.close(write)
    with open(read, encoding="utf-8") as pipe:
        answer = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    return answer


def as_ordinary_user(work: Callable[[], str]) -> str:
    """What ``work`` returns in a forked process without root, with directories of its own."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o700)
        if os.geteuid() == 0:
            os.chown(directory, ORDINARY, ORDINARY)

        def become() -> str:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setresgid(ORDINARY, ORDINARY, ORDINARY)
                os.setresuid(ORDINARY, ORDINARY, ORDINARY)
                # Else /proc/self is root's, as after a start of a set-uid program.
                ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(paths, "state", lambda: f"{directory}/state")
                patch.setenv("KOKON_STORE", f"{directory}/store")
                answer = work()
                owner.current().release()
            return answer

        return in_child(become)


def name_of(case: Case) -> str:
    return f"{case.kind.__name__}-{case.call}"


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_an_op_that_fails_says_so_and_is_undone(case: Case, place: Path) -> None:
    values = dict(case.options)
    terminal = values.pop("terminal", False)
    options = Options(busybox_root(place / "root"), ("/bin/true",), values)
    before = Before(place)

    (place / "root/etc/alias").symlink_to("/tmp")

    def change(plan: Plan) -> Plan:
        if not case.make:
            return plan
        made = [op for op in plan.ops if isinstance(op, ops.Filesystem)]
        dev = next(op.slot for op in made if op.about == "/dev")
        root = next(op.root for op in plan.ops if isinstance(op, ops.Pivot))
        return put(plan, case.kind, case.make(root, dev))

    def work() -> str:
        error, plan = error_of(options, change, terminal)
        assert isinstance(error, kokon.StepError), error
        op = plan.ops[error.step - 1]
        assert type(op) is case.kind, str(error)
        head = f"step {error.step} of {len(plan.ops)} (asked by "
        said = f"): {sentence(op)}: {case.call}: {os.strerror(case.error)}"
        text = str(error)
        assert text.startswith(head) and said in text, text
        assert bool(error.remedy) >= bool(case.remedy) and case.remedy in error.remedy, text
        assert "\n" not in text
        assert before.left() == []
        return "as it should be"

    if case.filter:

        def work_in_child() -> str:
            nonlocal before
            before = Before(place)
            return work()

        assert in_filtered_process(work_in_child, case.filter, case.error) == "as it should be"
    else:
        work()
    assert before.left() == []


def test_a_user_namespace_that_is_gone(place: Path) -> None:
    """Tried before there is a stage 2, whose namespace it would be."""
    options = Options(busybox_root(place / "root"), ("/bin/true",), {})
    op = ops.UserNamespace(90, why="the test")
    before = Before(place)
    error, _ = error_of(options, lambda plan: Plan((op, *plan.ops), plan.inherited), False)
    assert str(error).endswith("user namespace: open: No such file or directory")
    assert error.step == 1
    assert before.left() == []


@pytest.mark.parametrize(
    ("args", "status", "words"),
    [
        (["no-such"], 127, "'no-such' was not found in the root in PATH=/usr/local/sbin:"),
        (["/bin/no-such"], 127, "'/bin/no-such' was not found in the root; name a program that"),
        (["/bin/lost"], 127, "'/bin/lost' is there, but the interpreter or loader it names is not"),
        (["/bin/text"], 126, "'/bin/text' is no program for this machine (" + os.uname().machine +
         "), nor a script with #!; begin a script with a line like #!/bin/sh; a program's root"),
        (["/bin/foreign"], 126, "'/bin/foreign' is no program for this machine ("),
        (["/bin/closed"], 126, "'/bin/closed' may not be executed by this user: Permission denied"),
        (["/etc"], 126, "'/etc' may not be executed by this user: Permission denied"),
        (["/bin/true", "x" * 200_000], 126, "'/bin/true' cannot be executed: Argument list too"),
        (["/bin/loop"], 126, "'/bin/loop' cannot be executed: Too many levels of symbolic links"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("init", [True, False], ids=["init", "alone"])
def test_a_program_that_cannot_run(
    args: list[str], status: int, words: str, init: bool, place: Path
) -> None:
    root = Path(busybox_root(place / "root"))
    other = 183 if X86_64 else 62  # e_machine of the other architecture (elf(5))
    image = bytearray((root / "bin/busybox").read_bytes()[:4096])
    image[18:20] = struct.pack("<H", other)
    for name, content in {
        "lost": b"#!/no/such/shell\n", "text": b"hello\n", "foreign": bytes(image), "closed": b"",
    }.items():  # fmt: skip
        (root / "bin" / name).write_bytes(content)
        (root / "bin" / name).chmod(0o644 if name == "closed" else 0o755)
    (root / "bin/loop").symlink_to("loop")
    before = Before(place)
    with pytest.raises(kokon.CommandError) as caught:
        kokon.run(args, root=str(root), init=init)
    assert str(caught.value).startswith(words)
    assert caught.value.exit_status == status
    assert before.left() == []


@pytest.mark.parametrize("which", ["newuidmap", "newgidmap"])
def test_a_helper_that_refuses_the_ids(which: str, tmp_path: Path) -> None:
    skip_without_namespaces()
    helper = Path(tempfile.mkdtemp()) / which
    helper.parent.chmod(0o755)
    helper.write_text("#!/bin/sh\necho 'uid range [1-65536) not allowed' >&2\nexit 1\n")
    helper.chmod(0o755)
    good = "/bin/true"

    def work() -> str:
        host = facts.read()
        host.subordinate_uids = host.subordinate_gids = ((100000, 65536),)
        host.newuidmap = str(helper) if which == "newuidmap" else good
        host.newgidmap = str(helper)
        facts.read = lambda: host
        before = Before(Path(paths.state()).parent)
        with pytest.raises(kokon.HostError) as caught:
            kokon.run(["true"], root="@host")
        assert before.left() == []
        return str(caught.value)

    text = as_ordinary_user(work)
    assert text.startswith(f"{which} refused to map the ids: uid range [1-65536) not allowed; see")
    assert "/etc/subuid" in text


@pytest.mark.parametrize("terminal", [False, True], ids=["streams", "terminal"])
def test_a_plan_that_init_cannot_read(
    place: Path, terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = Options(busybox_root(place / "root"), ("/bin/true",), {})
    before = Before(place)
    encode = prepared.wire.encode
    monkeypatch.setattr(prepared.wire, "encode", lambda plan: encode(plan)[:-8] + b"\0" * 7 + b"x")
    error, _ = error_of(options, lambda plan: plan, terminal)
    assert type(error) is kokon.HostError
    assert str(error).startswith("init cannot read its plan: Invalid argument; this is a mistake")
    assert before.left() == []


def test_an_init_that_is_missing_or_another(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "_sealed", {})
    root = busybox_root(place / "root")
    other = place / "init"
    monkeypatch.setattr(program, "INIT_PROGRAM", str(other))
    with pytest.raises(kokon.HostError, match=f"init cannot be read from {other}: No such file.*;"):
        kokon.run(["true"], root=root)
    other.write_bytes(Path(paths.INIT_PROGRAM).read_bytes() + b"\0")
    with pytest.raises(kokon.HostError, match="is not the init that was built with this kokon; in"):
        kokon.run(["true"], root=root)
    assert files_below(place / "store/writes") == []
    other.write_bytes(Path(paths.INIT_PROGRAM).read_bytes())
    assert kokon.run(["true"], root=root).returncode == 0
    os.close(program.descriptor())
