"""Configurations at random: what of ``process``, ``root``, ``mounts`` and ``linux`` they all may be
asked to do, words that take each other back included."""

from __future__ import annotations

from typing import Any

from configurations import (
    RANGE,
    SETS,
    Config,
    argument,
    bind,
    device,
    made,
    new,
    only,
    rule,
    seccomp,
)
from hypothesis import strategies as st
from known import plain

CAPABILITIES = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_SETGID", "CAP_SETUID",
    "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SYS_CHROOT", "CAP_MKNOD",
    "CAP_NET_ADMIN", "CAP_SYS_ADMIN", "CAP_SYS_NICE",
)  # fmt: skip
WORDS = (
    "ro", "rw", "nosuid", "suid", "nodev", "dev", "noexec", "exec", "noatime", "relatime",
    "strictatime", "nodiratime", "diratime", "defaults",
)  # fmt: skip
RECURSIVE = ("rro", "rrw", "rnosuid", "rnoexec", "rnodev", "rnoatime")
PROPAGATIONS = ("private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable")
PLACES = (
    "/real", "/data", "/data/sub", "/tmp", "/sticky", "/made/here", "/link/below", "/up",
    "/real/below", "//tmp/./x",
)  # fmt: skip


def some(values: tuple[str, ...], most: int) -> st.SearchStrategy[list[str]]:
    """A few of them, each once, in any order."""
    return st.lists(st.sampled_from(values), max_size=most, unique=True)


def maybe(draw: Any, member: str, strategy: st.SearchStrategy[Any], odds: int = 3) -> Config:
    """A member, in one case of so many."""
    return {member: draw(strategy)} if draw(st.integers(1, odds)) == 1 else {}


def sets(draw: Any) -> Config:
    """Five sets that the kernel takes: nothing that is not in the one before."""
    found, before = {}, list(CAPABILITIES)
    for name in ("bounding", "permitted", "effective", "inheritable", "ambient"):
        within = before if name != "inheritable" else found["permitted"]
        found[name] = draw(some(tuple(within), 6)) if within else []
        before = found[name] if name in ("bounding", "permitted") else found["permitted"]
        if name == "inheritable":
            before = found[name]
    return {name: found[name] for name in SETS}


NAMES = st.sampled_from(("A", "B", "HOME", "PATH", "TERM", "A.b", "a-c"))
ENTRIES = st.builds("{}={}".format, NAMES, st.sampled_from(("", "1", "x=y", "/bin", "ä b")))
LIMITS = st.lists(
    st.builds(
        lambda kind, soft, more: {"type": f"RLIMIT_{kind}", "soft": soft, "hard": soft + more},
        st.sampled_from(("NOFILE", "CORE", "NPROC", "STACK", "CPU", "MEMLOCK", "MSGQUEUE")),
        st.integers(64, 1 << 16), st.integers(0, 1000),
    ),
    max_size=3, unique_by=lambda limit: limit["type"],
)  # fmt: skip


def process(draw: Any) -> Config:
    user = {
        "uid": draw(st.sampled_from((0, 0, 1000, 7))), "gid": draw(st.sampled_from((0, 1000, 5))),
        **maybe(draw, "additionalGids", st.lists(st.sampled_from((0, 5, 6, 1000)), max_size=4)),
        **maybe(draw, "umask", st.sampled_from((0, 0o22, 0o27, 0o777))),
    }  # fmt: skip
    made = {
        "user": user,
        "cwd": draw(st.sampled_from(("/", "/", "/data/sub", "/tmp", "/link", "/made/dir"))),
        "noNewPrivileges": draw(st.booleans()), "terminal": False,
        **maybe(draw, "env", st.lists(ENTRIES, max_size=5), 2),
        **maybe(draw, "capabilities", st.none(), 6),
        **maybe(draw, "rlimits", LIMITS),
        **maybe(draw, "oomScoreAdj", st.integers(0, 1000)),
        **maybe(draw, "scheduler", st.builds(
            lambda policy, nice: {"policy": policy, "nice": nice},
            st.sampled_from(("SCHED_OTHER", "SCHED_BATCH")), st.integers(-5, 19)), 6),
        **maybe(draw, "ioPriority", st.builds(
            lambda kind, level: {"class": f"IOPRIO_CLASS_{kind}", "priority": level},
            st.sampled_from(("BE", "IDLE")), st.integers(0, 7)), 6),
    }  # fmt: skip
    return {"capabilities": sets(draw), **made}


def mount(draw: Any) -> Config:
    words = draw(some(WORDS, 4))
    place = draw(st.sampled_from(PLACES))
    kind = draw(st.sampled_from(("tmpfs", "plain", "tree", "file")))
    if kind == "tmpfs":
        words = [word for word in words if word != "defaults"]
        words += draw(some(("size=1m", "mode=0710", "mode=1777", "tmpcopyup", "nr_inodes=100"), 2))
        if {"mode=0710", "mode=1777"} <= set(words):
            words.remove("mode=1777")
        return new(place, "tmpfs", *draw(st.permutations(words)))
    if kind == "file":
        place = draw(st.sampled_from(("/data/sub/file", "/etc/group", "/made/file")))
        return bind(place, "plain/file", *words)
    words += draw(some(PROPAGATIONS, 1)) + draw(some(RECURSIVE, 1))
    if kind == "tree":
        return bind(place, "tree", *draw(st.permutations(["rbind", *words])))
    return bind(place, "plain", *words)


def filter_of(draw: Any) -> Config:
    rules = []
    for name in draw(some(("mkdir", "chroot", "mount", "setpriority", "mknod", "unshare"), 4)):
        action = draw(st.sampled_from(("ERRNO", "ERRNO", "KILL", "KILL_PROCESS", "TRAP", "LOG")))
        more = maybe(draw, "errnoRet", st.integers(1, 120), 2) if action == "ERRNO" else {}
        rules.append(rule(f"SCMP_ACT_{action}", name, **more))
    for value in draw(st.lists(st.sampled_from((1, 2, 17)), max_size=2, unique=True)):
        operator = draw(st.sampled_from(("EQ", "EQ", "GE", "LT")))
        rules.append(rule("SCMP_ACT_ERRNO", "socket", args=[argument(0, value, operator)]))
    default = draw(st.sampled_from(("SCMP_ACT_ALLOW", "SCMP_ACT_ALLOW", "SCMP_ACT_LOG")))
    return seccomp(default, *rules)["linux"]["seccomp"]  # type: ignore[no-any-return]


def resources(draw: Any) -> Config:
    memory = st.builds(
        lambda limit, more: {"limit": limit << 20, "swap": (limit + more) << 20},
        st.integers(100, 500), st.integers(0, 100),
    )  # fmt: skip
    cpu = st.builds(
        lambda shares, quota: {"shares": shares, "quota": quota, "period": 100000},
        st.integers(2, 5000), st.integers(20000, 200000),
    )  # fmt: skip
    found = {
        **maybe(draw, "memory", memory, 2), **maybe(draw, "cpu", cpu, 2),
        **maybe(draw, "pids", st.builds(lambda limit: {"limit": limit}, st.integers(20, 900)), 2),
    }  # fmt: skip
    if draw(st.booleans()):
        rules = [{"allow": False, "access": "rwm"}]
        for minor in draw(st.lists(st.sampled_from((229, 200, 237)), max_size=2, unique=True)):
            access = draw(st.sampled_from(("r", "rw", "rwm", "m")))
            rules.append(
                {"allow": True, "type": "c", "major": 10, "minor": minor, "access": access}
            )
        found["devices"] = rules
    return found


SYSCTLS = {
    "network": {"net.ipv4.ip_forward": "1", "net.core.somaxconn": "100"},
    "ipc": {"kernel.msgmax": "4096", "kernel.shmmni": "128"},
    "uts": {},
}
DEVICES = (
    device("/dev/fuse", "c", 10, 229, fileMode=0o666, uid=0, gid=0),
    device("/dev/deep/zero", "c", 1, 5, fileMode=0o640, uid=3, gid=4),
    device("/dev/loop", "b", 7, 0, fileMode=0o600),
    {"path": "/dev/pipe", "type": "p", "fileMode": 0o600},
)


def linux(draw: Any) -> Config:
    users = draw(st.integers(1, 4)) == 1
    kinds = ["pid", *draw(some(("ipc", "uts", "network", "cgroup"), 4))]
    if draw(st.booleans()):
        kinds = ["pid", "ipc", "uts", "network"]
    sysctls = {key: value for kind in kinds for key, value in SYSCTLS.get(kind, {}).items()}
    masked = ("/proc/kcore", "/proc/keys", "/proc/timer_list", "/data/sub", "/proc/none")
    closed = ("/proc/sys", "/proc/bus", "/proc/irq", "/proc/sysrq-trigger", "/data", "/none")
    found = {
        **maybe(draw, "maskedPaths", some(masked, 4)),
        **maybe(draw, "readonlyPaths", some(closed, 4)),
        **maybe(draw, "sysctl", some(tuple(sysctls), 3).map(
            lambda keys: {key: sysctls[key] for key in keys}) if sysctls else st.just({})),
        **maybe(draw, "rootfsPropagation", st.sampled_from(("private", "slave", "rslave")), 4),
    }  # fmt: skip
    if draw(st.integers(1, 3)) == 1:
        found["resources"] = resources(draw)
    if draw(st.integers(1, 3)) == 1:
        found["seccomp"] = filter_of(draw)
    if draw(st.integers(1, 6)) == 1:
        found["personality"] = {"domain": draw(st.sampled_from(("LINUX", "LINUX32")))}
    if draw(st.integers(1, 3)) == 1 and not users:
        found["devices"] = draw(st.lists(
            st.sampled_from(DEVICES), max_size=3, unique_by=lambda each: each["path"]))  # fmt: skip
    if users:
        found.update(uidMappings=RANGE, gidMappings=RANGE)
        kinds.append("user")
    return {"linux": found, **only(*kinds)}


@st.composite
def configurations(draw: Any) -> Config:
    """A whole document; four of five are what all three should do."""
    about = linux(draw)
    kinds = about["only"]
    changes: list[Config] = [
        about,
        {"process": process(draw)},
        {"root": {"readonly": draw(st.booleans())}},
    ]
    if "uts" in kinds:
        changes.append(maybe(draw, "hostname", st.sampled_from(("a", "x.example", "h" * 64))))
        changes.append(maybe(draw, "domainname", st.sampled_from(("d", "example"))))
    found = [mount(draw) for _ in range(draw(st.integers(0, 4)))]
    mounts = list({plain(each["destination"]): each for each in found}.values())
    if draw(st.booleans()) and ("network" in kinds or "user" not in kinds):
        mounts.insert(0, new("/sys", "sysfs", "nosuid", "noexec", "nodev", "ro"))
    if draw(st.integers(1, 3)) == 1 and "ipc" in kinds:
        mounts.append(new("/dev/mqueue", "mqueue", "nosuid", "noexec", "nodev"))
    changes += [{"mounts": mounts}, maybe(draw, "annotations", st.just({"org.example": "x"}))]
    return made(*changes)
