"""``why`` on plans that are written out here, with a machine that is a dictionary."""

from __future__ import annotations

from struct import pack
from typing import Any

import pytest

from kokon.errors import OptionError
from kokon.kernel import constants
from kokon.kernel.capabilities import ALL, DEFAULT_MASK
from kokon.plan import ops
from kokon.plan.answer import Entry
from kokon.plan.op import Op
from kokon.plan.plan import Plan
from kokon.plan.why import Known, why
from kokon.plan.why_calls import UnknownInstruction, results
from kokon.security import seccomp
from kokon.security.seccomp.compiler import AUDIT
from kokon.security.seccomp.syscalls import numbers

RDONLY, NODEV, NOEXEC = (
    constants.MOUNT_ATTR_RDONLY, constants.MOUNT_ATTR_NODEV, constants.MOUNT_ATTR_NOEXEC,
)  # fmt: skip
NEW = constants.CLONE_NEWUSER | constants.CLONE_NEWPID | constants.CLONE_NEWNET
IDS = "0 100000 65536\n"
CALLS = {arch: (AUDIT[arch], numbers(arch)) for arch in ("x86_64", "x86")}

HOST: dict[str, Entry] = {
    "/R": Entry("directory", 0o755, 0, 0),
    "/R/etc": Entry("directory", 0o755, 0, 0),
    "/R/etc/secret": Entry("file", 0o600, 0, 0),
    "/R/etc/open": Entry("file", 0o644, 0, 0),
    "/R/etc/away": Entry("link", 0o777, 0, 0, target="/../../data/file"),
    "/R/etc/round": Entry("link", 0o777, 0, 0, target="round"),
    "/R/etc/foreign": Entry("file", 0o600, 70000, 70000),
    "/R/etc/listed": Entry("file", 0o640, 5, 5, acl=True),
    "/R/etc/fixed": Entry("file", 0o666, 0, 0, fixed=True),
    "/R/etc/null": Entry("character", 0o666, 0, 0, device=(1, 3)),
    "/R/bin": Entry("directory", 0o755, 0, 0),
    "/R/bin/program": Entry("file", 0o755, 0, 0),
    "/R/closed": Entry("directory", 0o700, 0, 0),
    "/V": Entry("directory", 0o777, 0, 0),
    "/V/file": Entry("file", 0o666, 0, 0),
    "/V/below": Entry("directory", 0o777, 0, 0, flags=RDONLY, below=True),
    "/V/remote": Entry("file", 0o666, 0, 0, remote=True),
}


def look(source: str, path: str) -> Entry | None:
    return HOST.get(f"{source}/{path}".rstrip("/"))


def plan(
    *,
    namespaces: int = NEW,
    root: int = 0,
    data: tuple[int, int] = (0, 0),
    recursive: int = 1,
    uid: int = 0,
    bounding: int = DEFAULT_MASK,
    closed: bool = True,
    also: tuple[Op, ...] = (),
    program: bytes = b"",
) -> Plan:
    """A directory as root (slot 0), a volume on /data (1), a tmpfs on /tmp (2), /proc with a mask.

    :param root: flags of the root's mount, :param data: flags set and cleared on the volume's.
    """
    mapped = constants.MOUNT_ATTR_IDMAP if namespaces & constants.CLONE_NEWUSER else 0
    steps: list[Op] = [
        ops.Clone(namespaces, why="/linux/namespaces"),
        ops.IdMap("uid_map", IDS, why=""), ops.IdMap("gid_map", IDS, why=""),
        ops.CloneMount(0, -1, "/R", 1, why="/root"),
        ops.MountAttributes(0, NODEV | mapped | root, 0, 0, 1, 9, about="", why="/root"),
        ops.CloneMount(1, -1, "/V", recursive, why="/mounts/0"),
        ops.MountAttributes(1, mapped | data[0], data[1], 0, 0, 9, about="", why="/mounts/0"),
        ops.Release(why=""),
        ops.Filesystem(5, "tmpfs", ("mode", "755"), RDONLY, "", why=""),
        ops.Directory(5, "empty-directory", why=""),
        ops.File(5, "empty-file", b"", why=""),
        ops.AttachAnywhere(5, "/proc", "", why=""),
        ops.AttachAnywhere(0, "/", "", why=""),
        ops.Attach(1, 0, "/data", 1, why="/mounts/0"),
        ops.Filesystem(2, "tmpfs", ("mode", "1777"), NOEXEC, "/tmp", why="/mounts/1"),
        ops.Attach(2, 0, "/tmp", 1, why="/mounts/1"),
        ops.Filesystem(3, "proc", (), NOEXEC, "/proc", why="/mounts/2"),
        ops.Attach(3, 0, "/proc", 1, why="/mounts/2"),
        ops.Mask(0, "/proc/deep/kcore", 5, why="/linux/maskedPaths/0"),
        ops.ReadOnly(0, "/proc/sys", why="/linux/readonlyPaths/0"),
        ops.Loopback(why=""),
        *also,
        ops.Pivot(0, why="/root"),
        ops.BoundingSet(bounding, why="/process/capabilities"),
        ops.Groups(pack("<I", uid), why="/process/user"),
        ops.User(uid, uid, 1, why="/process/user"),
        *([ops.NoNewPrivileges(why="")] if closed else []),
        ops.Capabilities(*(0 if uid else bounding,) * 2, 0, why="/process/capabilities"),
        *([ops.Seccomp(program, why="/linux/seccomp")] if program else []),
        ops.Execute(("/bin/program",), ("program",), (), why="/process/args"),
    ]  # fmt: skip
    return Plan(tuple(steps))


def ask(question: str, known: Known | None = None, **options: Any) -> str:
    action, subject = question.split(" ", 1)
    return why(plan(**options), action, subject, known or Known(look=look)).verdict


@pytest.mark.parametrize(
    ("question", "verdict", "options"),
    [
        ("read /etc/secret", "allowed", {}),
        ("read /etc/secret", "denied", {"uid": 1000}),
        ("read /etc/open", "allowed", {"uid": 1000}),
        ("write /etc/open", "denied", {"uid": 1000}),
        ("write /etc/open", "denied", {"root": RDONLY}),
        ("write /etc/new", "denied", {"root": RDONLY}),
        ("write /etc/new", "allowed", {}),
        ("create /etc/open", "denied", {}),
        ("create /etc/new", "allowed", {}),
        ("write /etc/no/such", "undecided", {}),
        ("read /etc/no", "undecided", {}),
        ("read /closed/x", "denied", {"uid": 1000}),
        # DAC_OVERRIDE is for files whose owner has an id inside
        ("read /etc/foreign", "denied", {}),
        ("read /etc/foreign", "allowed", {"namespaces": 0}),
        ("read /etc/secret", "allowed", {"bounding": 0}),
        ("write /etc/listed", "allowed", {}),
        ("write /etc/listed", "undecided", {"uid": 1000}),
        ("write /etc/fixed", "undecided", {}),
        # Links, and what lies at their ends
        ("write /etc/away", "allowed", {}),
        ("write /etc/away", "denied", {"data": (RDONLY, 0)}),
        ("create /etc/away", "denied", {}),
        ("read /etc/round", "undecided", {}),
        ("read /etc/away", "denied", {"root": constants.MOUNT_ATTR_NOSYMFOLLOW}),
        ("write /etc/../../data/./file", "allowed", {}),
        # The host's own flags of what was taken, and the plan's
        ("write /data/file", "allowed", {"uid": 1000}),
        ("write /data/file", "denied", {"data": (RDONLY, 0)}),
        ("write /data/below/x", "denied", {}),
        ("write /data/below/x", "denied", {"data": (0, RDONLY)}),
        ("write /data/below/x", "undecided", {"recursive": 0}),
        ("write /data/remote", "undecided", {}),
        ("execute /bin/program", "allowed", {"uid": 1000}),
        ("execute /bin/program", "denied", {"root": NOEXEC}),
        ("execute /etc/open", "denied", {}),
        ("execute /etc", "denied", {}),
        ("execute /tmp/new", "denied", {}),
        ("write /bin/program", "undecided", {}),
        ("device /etc/null", "denied", {}),
        ("device /etc/open", "undecided", {}),
        ("write /tmp/new", "allowed", {"uid": 1000}),
        # What the kernel makes up
        ("read /proc/deep/kcore", "denied", {}),
        ("write /proc/sys/kernel/x", "denied", {}),
        ("write /proc/self/root/tmp/x", "undecided", {}),
        ("read /proc/version", "undecided", {}),
        ("write /proc", "undecided", {}),
    ],
)
def test_paths(question: str, verdict: str, options: dict[str, Any]) -> None:
    assert ask(question, **options) == verdict


def test_without_the_machine_only_the_plan_speaks() -> None:
    unknown = Known()
    assert ask("write /etc/open", unknown) == "undecided"
    assert ask("write /tmp/new", unknown) == "undecided", "/ may be closed to the user"
    assert ask("execute /tmp/new", unknown) == "denied"
    assert ask("read /proc/deep/kcore", unknown) == "denied"


def test_the_step_and_who_asked_for_it() -> None:
    answer = why(plan(data=(RDONLY, 0)), "write", "/data/file", Known(look=look),
                 {"/mounts/0": "-v /V:/data:ro"})  # fmt: skip
    assert [(row["step"], row["why"]) for row in answer.steps] == [(7, "-v /V:/data:ro")]
    assert answer.allowed is False
    assert answer.to_dict()["verdict"] == "denied"


def test_a_label_or_a_filter_may_forbid_what_modes_allow() -> None:
    label = ops.WriteProc(3, 1, "attr/apparmor/exec", "exec x", about="", why="")
    assert ask("write /etc/new", also=(label,)) == "undecided"
    assert ask("listen 8080", also=(label,)) == "undecided"
    refuses = pack("<HBBI", 0x06, 0, 0, 0x00050001)
    known = Known(look=look, calls=CALLS, architecture="x86_64")
    for question in ("read /etc/open", "listen 8080", "connect 127.0.0.1", "execute /bin/program"):
        assert ask(question, known, program=refuses) == "denied"
        assert ask(question, program=refuses) == "undecided"
        assert ask(question, Known(look=look, filtered=True)) == "undecided"


def sysctl(value: str) -> tuple[Op, ...]:
    path = "sys/net/ipv4/ip_unprivileged_port_start"
    return (ops.WriteProc(3, 0, path, value, about="", why="/linux/sysctl"),)


@pytest.mark.parametrize(
    ("question", "verdict", "options"),
    [
        ("listen 80", "allowed", {}),
        ("listen 80", "denied", {"uid": 1000}),
        ("listen 80/udp", "denied", {"bounding": 0}),
        ("listen 80", "allowed", {"uid": 1000, "also": sysctl("80")}),
        ("listen 79", "denied", {"uid": 1000, "also": sysctl("80")}),
        ("listen 1024", "allowed", {"uid": 1000}),
        ("listen 0", "allowed", {"uid": 1000}),
        ("listen 8080", "undecided", {"namespaces": 0}),
        ("listen 80", "denied", {"namespaces": constants.CLONE_NEWUSER}),
        ("connect 10.0.0.1:80", "denied", {}),
        ("connect localhost", "allowed", {}),
        ("connect [::1]:80", "undecided", {}),
        ("connect 10.0.0.1", "undecided", {"namespaces": 0}),
        ("signal 1", "denied", {}),
        ("see 1", "undecided", {"namespaces": 0}),
        ("capability CHOWN", "allowed", {}),
        ("capability cap_chown", "denied", {"uid": 1000}),
        ("capability CHOWN", "undecided", {"uid": 1000, "closed": False}),
        ("capability SYS_ADMIN", "denied", {"closed": False}),
        ("capability SYS_ADMIN", "allowed", {"bounding": ALL}),
        ("limit memory", "undecided", {}),
        ("limit nofile", "denied", {"also": (ops.ResourceLimit(7, 9, 9, "nofile", why=""),)}),
        ("limit memory", "denied", {"also": (ops.ResourceLimit(9, 9, 9, "as", why=""),)}),
    ],
)
def test_the_rest(question: str, verdict: str, options: dict[str, Any]) -> None:
    known = Known(look=look, port_start=1024)
    assert ask(question, known, **options) == verdict


def wall(*rules: tuple[str, int], network: int = 0, ports: bytes = b"") -> tuple[Op, ...]:
    files = (1 << 15) - 1
    paths = tuple(path for path, _ in rules)
    rights = pack(f"<{len(rules)}Q", *(right for _, right in rules))
    signals = constants.LANDLOCK_SIGNALS
    return (ops.Landlock(files, network, signals, paths, rights, ports, why="--landlock"),)


SEE = (
    constants.LANDLOCK_READ_FILE | constants.LANDLOCK_READ_DIR | constants.LANDLOCK_EXECUTE
)  # fmt: skip
CHANGE = SEE | constants.LANDLOCK_WRITE_FILE | constants.LANDLOCK_MAKE_FILE


@pytest.mark.parametrize(
    ("question", "verdict", "rules"),
    [
        ("read /etc/open", "allowed", (("/", SEE),)),
        ("read /etc/open", "denied", (("/bin", SEE),)),
        ("read /etc", "denied", (("/", constants.LANDLOCK_READ_FILE),)),
        ("write /etc/open", "denied", (("/", SEE),)),
        ("write /etc/open", "allowed", (("/", SEE), ("/etc/open", CHANGE))),
        ("write /etc/new", "denied", (("/", SEE | constants.LANDLOCK_WRITE_FILE),)),
        ("write /etc/away", "allowed", (("/", SEE), ("/data", CHANGE))),
        ("write /etc/../etc/new", "denied", (("/", SEE), ("/data", CHANGE))),
        ("execute /bin/program", "denied", (("/", constants.LANDLOCK_READ_FILE),)),
    ],
)
def test_rules_of_landlock(question: str, verdict: str, rules: tuple[tuple[str, int], ...]) -> None:
    assert ask(question, also=wall(*rules)) == verdict


def test_ports_and_signals_by_landlock() -> None:
    rule = pack("<QQ", constants.LANDLOCK_BIND, 8080)
    walls = wall(network=constants.LANDLOCK_TCP, ports=rule)
    assert ask("listen 8080", also=walls) == "allowed"
    assert ask("listen 8081", also=walls) == "denied"
    assert ask("listen 8081/udp", also=walls) == "allowed"
    assert ask("connect 127.0.0.1:8080", also=walls) == "denied"
    assert ask("signal 1", namespaces=0, also=walls) == "denied"


def test_of_several_filters_the_hardest_counts() -> None:
    known = Known(calls=CALLS, architecture="x86_64")
    lets, refuses = (pack("<HBBI", 0x06, 0, 0, value) for value in (0x7FFF0000, 0x00050001))
    for first, second in ((lets, refuses), (refuses, lets)):
        also = (ops.Seccomp(first, why=""),)
        assert ask("call getpid", known, also=also, program=second) == "denied"


def test_limits_of_control_groups() -> None:
    answer = why(plan(), "limit", "memory", Known(limits=(("memory", "9 bytes", "--memory 9"),)))
    assert answer.verdict == "denied"
    assert "9 bytes" in answer.sentence and "--memory 9" in answer.sentence


@pytest.mark.parametrize(
    "question",
    ["reed /x", "read x", "listen http", "listen 70000", "listen 1/sctp", "connect nowhere",
     "connect 1.2.3.4:x", "call clne", "call clone(", "call clone(x)", "call clone(1,2,3,4,5,6,7)",
     "call vax:clone", "capability FLY", "signal me", "limit sky"],
)  # fmt: skip
def test_what_cannot_be_asked(question: str) -> None:
    with pytest.raises(OptionError) as caught:
        ask(question, Known(look=look, calls=CALLS, architecture="x86_64"))
    assert str(caught.value).startswith("why")
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("call", "verdict"),
    [
        ("getpid", "allowed"),
        ("mount", "denied"),
        ("x86:mount", "denied"),
        ("clone", "undecided"),
        ("clone(0x10000000)", "denied"),
        ("clone(_, 5)", "undecided"),
        ("clone(17)", "allowed"),
        ("socket(40)", "denied"),
        ("socket(2, _, 0)", "allowed"),
        ("personality(0xffffffff)", "allowed"),
        ("personality(0x99)", "denied"),
        # Its upper half is not the call's: the default profile leaves it out
        ("personality(0x1ffffffff)", "allowed"),
    ],
)
def test_calls_by_the_default_filter(call: str, verdict: str) -> None:
    known = Known(calls=CALLS, architecture="x86_64")
    program = seccomp.default_program("x86_64", DEFAULT_MASK)
    assert ask(f"call {call}", known, program=program) == verdict
    assert ask(f"call {call}", known) == "allowed", "there is no filter"
    known.filtered = True
    assert ask("call getpid", known, program=program) == "undecided"


def test_each_action_of_a_filter() -> None:
    known = Known(calls=CALLS, architecture="x86_64")
    for value, verdict, words in (
        (0x7FFF0000, "allowed", "through"), (0x7FFC0000, "allowed", "through"),
        (0x00050000 | 38, "denied", "ENOSYS"), (0x80000000, "denied", "ends the container"),
        (0, "denied", "ends the thread"), (0x00030000, "denied", "SIGSYS"),
        (0x7FF00000, "undecided", "tracer"), (0x7FC00000, "undecided", "supervisor"),
    ):  # fmt: skip
        program = pack("<HBBI", 0x06, 0, 0, value)
        answer = why(plan(program=program), "call", "getpid", known)
        assert (answer.verdict, words in answer.sentence) == (verdict, True), answer


def test_the_program_is_run_step_by_step() -> None:
    def code(*rows: tuple[int, int, int, int]) -> bytes:
        return b"".join(pack("<HBBI", *row) for row in rows)

    masked = code(
        (0x20, 0, 0, 16), (0x54, 0, 0, 0xF0), (0x15, 0, 1, 0x10), (6, 0, 0, 1), (6, 0, 0, 2)
    )
    assert results(masked, {16: 0x1F}) == {1}
    assert results(masked, {16: 0x2F}) == {2}
    assert results(masked, {}) == {1, 2}
    nothing = code((0x20, 0, 0, 16), (0x54, 0, 0, 0), (0x15, 0, 1, 0), (6, 0, 0, 1), (6, 0, 0, 2))
    assert results(nothing, {}) == {1}
    shifted = code(
        (0x20, 0, 0, 0), (0x74, 0, 0, 4), (0x25, 1, 0, 2), (5, 0, 0, 1), (6, 0, 0, 1), (6, 0, 0, 2)
    )
    assert results(shifted, {0: 0x3F}) == {1}
    assert results(shifted, {0: 0x2F}) == {2}
    upper = code((0x20, 0, 0, 20), (0x15, 0, 1, 1), (6, 0, 0, 0x7FFF0000), (6, 0, 0, 0))
    known = Known(calls=CALLS, architecture="x86_64")
    for argument, verdict in (("0x1ffffffff", "allowed"), ("0xffffffff", "denied")):
        assert ask(f"call getpid({argument})", known, program=upper) == verdict
    with pytest.raises(UnknownInstruction):
        results(code((0x1C, 0, 0, 0), (6, 0, 0, 1)), {})
    answer = why(plan(program=code((0x1C, 0, 0, 0))), "call", "getpid",
                 Known(calls=CALLS, architecture="x86_64"))  # fmt: skip
    assert answer.verdict == "undecided"
