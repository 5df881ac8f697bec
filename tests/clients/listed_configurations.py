"""Configurations that are always tried, so that each known difference is there."""

from __future__ import annotations

from configurations import (
    CAPS,
    RANGE,
    SETS,
    SYS,
    USERS,
    Config,
    argument,
    bind,
    capabilities,
    device,
    linux,
    made,
    mounts,
    new,
    only,
    process,
    rule,
    seccomp,
)
from runtimes import IDENTITY, OWNER

LISTED: dict[str, Config] = {
    "nothing": made(),
    "a user namespace": made(USERS),
    # --- process ---
    "a user": made(process(user={"uid": 1000, "gid": 1000, "additionalGids": [5, 1000, 5, 7]})),
    "a user who is not in passwd": made(process(user={"uid": 4242, "gid": 7})),
    "an umask": made(process(user={"uid": 0, "gid": 0, "umask": 0o77})),
    "an umask of none": made(process(user={"uid": 0, "gid": 0, "umask": 0})),
    "a user in a user namespace": made(USERS, process(user={
        "uid": 1000, "gid": 1000, "additionalGids": [5], "umask": 0o27,
    })),
    "a user whom the namespace lacks": made(USERS, process(user={"uid": 70000, "gid": 0})),
    "a directory": made(process(cwd="/data/sub")),
    "a directory that is missing": made(process(cwd="/made/by/cwd")),
    "a directory missing for a user": made(process(cwd="/made/x", user={"uid": 1000, "gid": 5})),
    "a directory through a link": made(process(cwd="/link")),
    "a directory that is relative": made(process(cwd="data")),
    "an environment": made(process(env=["PATH=/bin", "B=2", "A=1", "B=3", "HOME=/h", "EMPTY="])),
    "no environment": made(process(env=None)),
    "an environment without HOME": made(process(env=["A=1"], user={"uid": 1000, "gid": 5})),
    "a volume of accounts": made(process(env=None), mounts(bind("/etc/passwd", "plain/passwd"))),
    "accounts that are covered": made(process(env=None), mounts(new("/etc", "tmpfs"))),
    "no HOME for who is not there": made(process(env=None, user={"uid": 4242, "gid": 7})),
    "an empty HOME": made(process(env=["HOME=", "A=1"])),
    "an entry without =": made(process(env=["HOME=/", "NOTHING"])),
    "an entry without a name": made(process(env=["HOME=/", "=x"])),
    "no capabilities at all": made(process(capabilities=None)),
    "no capabilities for a user": made(process(capabilities=None, user={"uid": 5, "gid": 5})),
    "empty sets": made(capabilities(**{name: [] for name in SETS})),
    "ambient": made(capabilities(**dict.fromkeys(SETS, CAPS)),
                    process(user={"uid": 1000, "gid": 1000})),
    "ambient of root": made(capabilities(**dict.fromkeys(SETS, CAPS))),
    "ambient that is not permitted": made(
        capabilities(bounding=CAPS, effective=[], permitted=[], inheritable=CAPS, ambient=CAPS),
        process(user={"uid": 1000, "gid": 1000}),
    ),
    "effective that is not permitted": made(
        capabilities(bounding=CAPS, effective=CAPS, permitted=CAPS[:1])
    ),
    "permitted beyond bounding": made(
        capabilities(bounding=CAPS[:1], effective=CAPS, permitted=CAPS, inheritable=CAPS)
    ),
    "inheritable of a user": made(
        capabilities(bounding=CAPS, effective=CAPS, permitted=CAPS, inheritable=CAPS[:2]),
        process(user={"uid": 1000, "gid": 1000}),
    ),
    "a capability that nobody knows": made(
        capabilities(bounding=["CAP_MADE_UP", *CAPS], effective=CAPS, permitted=CAPS)
    ),
    "limits": made(process(rlimits=[
        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
        {"type": "RLIMIT_STACK", "soft": 1 << 20, "hard": (1 << 64) - 1},
        {"type": "RLIMIT_NPROC", "soft": 50, "hard": 60},
    ])),
    "a limit twice": made(process(rlimits=[
        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
        {"type": "RLIMIT_NOFILE", "soft": 64, "hard": 64},
    ])),
    "a limit above its hard one": made(process(rlimits=[
        {"type": "RLIMIT_NOFILE", "soft": 200, "hard": 100},
    ])),
    "a limit of no kind": made(process(rlimits=[{"type": "RLIMIT_X", "soft": 1, "hard": 1}])),
    "no new privileges": made(process(noNewPrivileges=True)),
    "an OOM score": made(process(oomScoreAdj=500)),
    "an OOM score of 0": made(process(oomScoreAdj=0)),
    "a scheduler": made(process(scheduler={"policy": "SCHED_BATCH", "nice": 5})),
    "a scheduler that is not nice": made(process(scheduler={"policy": "SCHED_OTHER", "nice": -5})),
    "a scheduler in real time": made(process(scheduler={"policy": "SCHED_RR", "priority": 3})),
    "an I/O priority": made(process(ioPriority={"class": "IOPRIO_CLASS_BE", "priority": 6})),
    "a terminal's size without one": made(
        process(terminal=False, consoleSize={"height": 10, "width": 20})
    ),
    # --- names ---
    "a read-only root": made({"root": {"readonly": True}}),
    "a read-only root of a user namespace": made(USERS, {"root": {"readonly": True}}),
    "names": made({"hostname": "inside", "domainname": "example"}),
    "a name without its namespace": made(only("pid", "ipc", "network"), {"hostname": "inside"}),
    "annotations": made({"annotations": {"org.example.key": "value", "run.oci.unknown": "x"}}),
    # --- mounts ---
    "file systems": made(mounts(
        SYS, new("/dev/shm", "tmpfs", "nosuid", "noexec", "nodev", "mode=1777", "size=64m"),
        new("/dev/mqueue", "mqueue", "nosuid", "noexec", "nodev"),
    )),
    "file systems in a user namespace": made(USERS, mounts(
        SYS, new("/dev/shm", "tmpfs", "nosuid", "noexec", "nodev", "mode=1777", "size=64m"),
        new("/dev/mqueue", "mqueue", "nosuid", "noexec", "nodev"),
    )),
    "a tmpfs without options": made(mounts(new("/real", "tmpfs"), new("/sticky", "tmpfs"))),
    "a tmpfs at a new place": made(mounts(new("/made/here", "tmpfs", "size=1m"))),
    "a tmpfs with an owner": made(mounts(new("/real", "tmpfs", "mode=700", "uid=5", "gid=6"))),
    "access times": made(mounts(
        new("/real", "tmpfs", "noatime"), new("/data", "tmpfs", "strictatime"),
        new("/tmp", "tmpfs", "relatime", "nodiratime"),
    )),
    "options that take each other back": made(mounts(
        new("/real", "tmpfs", "ro", "rw"), new("/data", "tmpfs", "rw", "ro"),
        new("/tmp", "tmpfs", "nosuid", "suid", "nodev", "noexec", "exec", "dev", "nosuid"),
    )),
    "a volume": made(mounts(bind("/real", "plain"), bind("/tmp", "tree", "rbind"))),
    "a volume that is a file": made(mounts(
        bind("/data/sub/file", "plain/file"), bind("/made/file", "plain/file", "ro"),
    )),
    "a volume read-only": made(mounts(
        bind("/real", "tree", "ro"), bind("/tmp", "tree", "rbind", "ro", "nosuid", "noexec"),
    )),
    "a volume read-only to its end": made(mounts(
        bind("/real", "tree", "rbind", "rro"), bind("/tmp", "tree", "rbind", "rnosuid", "rnodev"),
    )),
    "a volume in a user namespace": made(USERS, mounts(
        bind("/real", "plain", "ro"), bind("/tmp", "tree", "rbind"), bind("/made/x", "plain"),
    )),
    "a volume from a source that is locked": made(mounts(
        bind("/real", "tree/below", "rbind", "exec", "suid"), bind("/tmp", "tree/fixed", "rw"),
    )),
    "a locked source in a user namespace": made(USERS, mounts(
        bind("/real", "tree/below", "rbind"), bind("/tmp", "tree/fixed"),
    )),
    "options of a volume that take each other back": made(mounts(
        bind("/real", "plain", "ro", "rw", "noexec"), bind("/tmp", "plain", "rw", "ro", "exec"),
        bind("/data", "plain", "nosuid", "suid", "nodev", "dev"),
    )),
    "access times of volumes": made(mounts(
        bind("/real", "plain", "noatime"), bind("/data", "plain", "strictatime"),
        bind("/tmp", "plain", "nodiratime", "relatime"),
    )),
    "words of a whole tree and of its top": made(mounts(
        bind("/real", "tree", "rbind", "nodev", "rro", "dev", "rw"),
        bind("/data", "plain", "rro", "rw"),
        bind("/tmp", "plain", "dev", "suid", "rnodev", "rnosuid"),
    )),
    "a mount below a tmpfs that is read-only": made(mounts(
        new("/real", "tmpfs", "ro"), bind("/real/missing", "plain"),
    )),
    "a whole tree and then its top": made(mounts(
        bind("/real", "tree", "rbind", "rrw", "ro"), bind("/tmp", "plain", "bind", "rnodev", "dev"),
    )),
    "a volume on one that is shared": made(mounts(
        bind("/real", "tree", "rbind", "rshared"), bind("/real/sub", "plain", "private"),
    )),
    "a tree in a user namespace that is to allow more": made(USERS, mounts(
        bind("/real", "tree", "rbind", "rrw", "rexec", "rsuid"),
    )),
    "access times in a user namespace": made(USERS, mounts(bind("/real", "plain", "noatime"))),
    "access times of a whole tree": made(mounts(bind("/real", "plain", "rnoatime"))),
    "a cover below what is read-only": made(linux(
        maskedPaths=["/data/sub"], readonlyPaths=["/data"],
    )),
    "a volume below what is read-only": made(
        linux(readonlyPaths=["/data"]), mounts(bind("/data/sub/file", "plain/file")),
    ),
    "the word for no word": made(mounts(new("/real", "tmpfs", "defaults"))),
    "two words of times": made(mounts(bind("/real", "plain", "strictatime", "noatime"))),
    "propagation of volumes": made(mounts(
        bind("/real", "tree", "rbind", "rslave"), bind("/tmp", "tree", "rbind", "rshared"),
        bind("/data", "plain", "unbindable"), bind("/sticky", "tree", "rbind", "private"),
    )),
    "a volume that is not there": made(mounts(bind("/real", "nothing"))),
    "a type of bind and no word": made(mounts(
        {"destination": "/real", "type": "bind", "source": "../sources/tree"},
    )),
    "a word of bind and another type": made(mounts(
        {"destination": "/real", "type": "none", "source": "../sources/tree", "options": ["rbind"]},
    )),
    "no type and a word": made(mounts(
        {"destination": "/real", "source": "../sources/plain", "options": ["bind", "ro"]},
    )),
    "a mount over another": made(mounts(
        bind("/real", "plain"), new("/real", "tmpfs"), bind("/real/deep", "tree", "rbind"),
    )),
    "a mount below one that is read-only": made(mounts(
        bind("/real", "plain", "ro"), new("/real/missing", "tmpfs"),
    )),
    "a file onto a directory": made(mounts(bind("/real", "plain/file"))),
    "a directory onto a file": made(mounts(bind("/data/sub/file", "plain"))),
    "through links": made(mounts(
        bind("/link/deep", "plain"), bind("/up", "plain"), bind("/dangling/x", "plain"),
    )),
    "destinations that are not plain": made(mounts(
        bind("/real/./", "plain"), bind("relative", "plain"), bind("//tmp//x/", "plain"),
    )),
    "a destination with ..": made(mounts(bind("/data/../real", "plain"))),
    "a mount onto the root": made(mounts(bind("/", "plain"))),
    "a word that is none": made(mounts(new("/real", "tmpfs", "madeup"))),
    "a word that no bind has": made(mounts(bind("/real", "plain", "mode=700"))),
    "a file system that is none": made(mounts(new("/real", "madeupfs"))),
    "a copy of what is covered": made(mounts(new("/data", "tmpfs", "tmpcopyup"))),
    "mounts below /proc": made(mounts(bind("/proc/cpuinfo", "plain/file"))),
    "a mount onto /proc": made(mounts(new("/proc", "tmpfs"))),
    "words of proc": made(mounts(new("/proc", "proc", "hidepid=2", "nosuid"))),
    "a cgroup mount": made(mounts(new(
        "/sys/fs/cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro",
    ))),
    "a cgroup mount in its namespace": made(linux(namespaces=[{"type": "cgroup"}]), mounts(
        SYS, new("/sys/fs/cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro"),
    )),
    # --- namespaces ---
    "all namespaces": made(USERS, linux(namespaces=[{"type": "cgroup"}])),
    "a namespace of time": made(linux(
        namespaces=[{"type": "time"}], timeOffsets={"boottime": {"secs": 100, "nanosecs": 5}},
    )),
    "no namespaces but mounts": made(only()),
    "no network of its own": made(only("pid", "ipc", "uts"), mounts(SYS)),
    "no pids of its own": made(only("ipc", "uts", "network")),
    "no ipc of its own": made(only("pid", "uts", "network"), mounts(new("/dev/mqueue", "mqueue"))),
    "users and mounts alone": made(only(), USERS),
    "users without a network": made(only("pid", "ipc", "uts"), USERS, mounts(SYS)),
    "users without mappings": made(linux(namespaces=[{"type": "user"}])),
    "mappings without users": made(linux(uidMappings=RANGE, gidMappings=RANGE)),
    "several mappings": made(USERS, linux(uidMappings=[
        {"containerID": 0, "hostID": OWNER, "size": 1000},
        {"containerID": 1000, "hostID": OWNER + 5000, "size": 10},
    ]), process(user={"uid": 1001, "gid": 3})),
    "a namespace twice": made(linux(namespaces=[{"type": "ipc"}])),
    "no mount namespace": made(linux(namespaces=None), linux(namespaces=[{"type": "pid"}])),
    # --- masks ---
    "masks": made(mounts(SYS), linux(
        maskedPaths=["/proc/kcore", "/proc/keys", "/sys/firmware", "/proc/missing", "/data"],
        readonlyPaths=["/proc/sys", "/proc/bus", "/proc/sysrq-trigger", "/proc/none", "/tmp"],
    )),
    "masks in a user namespace": made(USERS, mounts(SYS), linux(
        maskedPaths=["/proc/kcore", "/sys/firmware"], readonlyPaths=["/proc/sys", "/proc/bus"],
    )),
    "masks through links": made(linux(maskedPaths=["/link", "/up"], readonlyPaths=["/link/x"])),
    "masks twice": made(linux(
        maskedPaths=["/proc/keys", "/proc/keys"], readonlyPaths=["/proc/sys", "/proc/sys"],
    )),
    "a path masked and read-only": made(linux(
        maskedPaths=["/real"], readonlyPaths=["/real", "/data"],
    )),
    "a volume masked": made(mounts(bind("/real", "tree", "rbind")), linux(
        maskedPaths=["/real/below", "/real/file"], readonlyPaths=["/real/sub"],
    )),
    "a tree read-only": made(
        mounts(bind("/real", "tree", "rbind")), linux(readonlyPaths=["/real"])
    ),
    # --- devices ---
    "devices": made(linux(devices=[
        device("/dev/fuse", "c", 10, 229, fileMode=0o666, uid=0, gid=0),
        device("/dev/deep/null", "c", 1, 3, fileMode=0o620, uid=5, gid=6),
        device("/dev/plain", "c", 1, 5),
        {"path": "/dev/pipe", "type": "p", "fileMode": 0o640},
        device("/dev/block", "b", 7, 0, fileMode=0o660),
    ])),
    "a device that is there anyway": made(linux(devices=[
        device("/dev/null", "c", 1, 3, fileMode=0o600),
    ])),
    "devices in a user namespace": made(USERS, linux(devices=[
        device("/dev/full2", "c", 1, 7, fileMode=0o666, uid=1, gid=2),
        device("/dev/deep/null", "c", 1, 3, fileMode=0o666),
    ])),
    "a device beside /dev": made(linux(devices=[device("/data/null", "c", 1, 3)])),
    "device rules": made(
        linux(devices=[device("/dev/fuse", "c", 10, 229, fileMode=0o666)]),
        linux(resources={"devices": [
            {"allow": False, "access": "rwm"},
            {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"},
            {"allow": True, "type": "c", "major": 4, "access": "r"},
        ]}),
    ),
    "a device rule for all": made(linux(resources={"devices": [
        {"allow": True, "access": "rwm"},
    ]})),
    # --- sysctls ---
    "sysctls": made(linux(sysctl={
        "net.ipv4.ip_forward": "1", "kernel.msgmax": "4096", "fs.mqueue.msg_max": "20",
        "net.ipv4.ping_group_range": "0 100", "kernel.shmmax": "1000000",
    })),
    "sysctls in a user namespace": made(USERS, linux(sysctl={
        "net.ipv4.ip_forward": "1", "kernel.msgmax": "4096",
    })),
    "a sysctl of the machine": made(linux(sysctl={"kernel.panic": "7"})),
    "a sysctl without its namespace": made(
        only("pid", "uts", "ipc"), linux(sysctl={"net.core.somaxconn": "100"}),
    ),
    "a sysctl with slashes": made(linux(sysctl={"net/ipv4/ip_forward": "1"})),
    "a sysctl of the names": made(linux(sysctl={"kernel.domainname": "byctl"})),
    # --- resources ---
    "memory": made(linux(resources={"memory": {"limit": 200 << 20, "reservation": 100 << 20}})),
    "memory and swap": made(linux(resources={"memory": {
        "limit": 200 << 20, "swap": 300 << 20, "swappiness": 10,
    }})),
    "memory without end": made(linux(resources={"memory": {"limit": -1, "swap": -1}})),
    "swap below memory": made(linux(resources={"memory": {"limit": 200 << 20, "swap": 1 << 20}})),
    "memory without its killer": made(linux(resources={"memory": {
        "limit": 200 << 20, "disableOOMKiller": True,
    }})),
    "processes": made(linux(resources={"pids": {"limit": 50}})),
    "processes without end": made(linux(resources={"pids": {"limit": -1}})),
    "processes of 0": made(linux(resources={"pids": {"limit": 0}})),
    "processors": made(linux(resources={"cpu": {
        "shares": 512, "quota": 50000, "period": 100000, "cpus": "0", "mems": "0",
    }})),
    "processors with a burst": made(linux(resources={"cpu": {
        "quota": 50000, "period": 100000, "burst": 1000,
    }})),
    "processors when idle": made(linux(resources={"cpu": {"idle": 1}})),
    "processors that are not there": made(linux(resources={"cpu": {"cpus": "900"}})),
    "shares of 1": made(linux(resources={"cpu": {"shares": 1}})),
    "resources in a user namespace": made(USERS, linux(resources={
        "memory": {"limit": 200 << 20}, "pids": {"limit": 20}, "cpu": {"shares": 100},
    })),
    "no path of groups": made(linux(cgroupsPath=None, resources={"pids": {"limit": 20}})),
    "a path of groups that is relative": made(linux(cgroupsPath=f"{IDENTITY}/below")),
    # --- seccomp ---
    "a filter that forbids": made(seccomp(
        "SCMP_ACT_ALLOW", rule("SCMP_ACT_ERRNO", "mkdir", "chroot", errnoRet=38),
        rule("SCMP_ACT_ERRNO", "mount"),
    )),
    "a filter and no new privileges": made(process(noNewPrivileges=True), seccomp(
        "SCMP_ACT_ALLOW", rule("SCMP_ACT_ERRNO", "mkdir"),
    )),
    "a filter in a user namespace": made(USERS, seccomp(
        "SCMP_ACT_ALLOW", rule("SCMP_ACT_ERRNO", "mkdir", "setpriority"),
    )),
    "a filter of a user": made(process(user={"uid": 1000, "gid": 1000}), seccomp(
        "SCMP_ACT_ALLOW", rule("SCMP_ACT_ERRNO", "mkdir", "setpriority"),
    )),
    "a filter that kills": made(seccomp(
        "SCMP_ACT_ALLOW", rule("SCMP_ACT_KILL", "mkdir"), rule("SCMP_ACT_KILL_PROCESS", "chroot"),
        rule("SCMP_ACT_TRAP", "setpriority"),
    )),
    "a filter by arguments": made(seccomp(
        "SCMP_ACT_ALLOW",
        rule("SCMP_ACT_ERRNO", "personality", args=[argument(0, 8, "EQ")], errnoRet=5),
        rule("SCMP_ACT_ERRNO", "socket", args=[argument(0, 16, "GT")], errnoRet=95),
        rule("SCMP_ACT_ERRNO", "unshare",
             args=[argument(0, 0x10000000, "MASKED_EQ", 0x10000000)]),
    )),
    "a filter with two rules of a call": made(seccomp(
        "SCMP_ACT_ALLOW",
        rule("SCMP_ACT_ERRNO", "socket", args=[argument(0, 17, "EQ")], errnoRet=1),
        rule("SCMP_ACT_ERRNO", "socket", args=[argument(0, 1, "EQ"), argument(1, 1, "NE")]),
    )),
    "a filter with a flag": made(seccomp(
        "SCMP_ACT_ALLOW", rule("SCMP_ACT_ERRNO", "mkdir"), flags=["SECCOMP_FILTER_FLAG_LOG"],
    )),
    "a filter with a call that is none": made(seccomp(
        "SCMP_ACT_ALLOW", rule("SCMP_ACT_ERRNO", "mkdir", "no_such_call"),
    )),
    "a filter with an errno of its default": made(seccomp(
        "SCMP_ACT_LOG", rule("SCMP_ACT_ERRNO", "mkdir"), rule("SCMP_ACT_ALLOW", "uname"),
        defaultErrnoRet=7,
    )),
    "a filter of no rules": made(seccomp("SCMP_ACT_ALLOW")),
    # --- others ---
    "a personality": made(linux(personality={"domain": "LINUX32"})),
    "a root that is shared": made(linux(rootfsPropagation="shared")),
    "volumes in a root of slaves": made(linux(rootfsPropagation="rslave"), mounts(
        bind("/real", "tree", "rbind", "rshared"), bind("/tmp", "plain"),
    )),
    "a directory missing in a read-only root": made(
        {"root": {"readonly": True}},
        process(cwd="/made/x", user={"uid": 0, "gid": 0, "umask": 0o777}),
    ),
    "a root that is a slave": made(linux(rootfsPropagation="slave")),
    "a root that is private": made(linux(rootfsPropagation="private")),
    "a root that is unbindable": made(linux(rootfsPropagation="unbindable")),
}  # fmt: skip
