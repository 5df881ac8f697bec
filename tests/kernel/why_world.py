"""Random runs and questions about them, for ``kokon why`` to answer and the kernel to try."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

from kokon.kernel.capabilities import NAMES
from kokon.security.seccomp.syscalls import numbers

IS_ROOT = os.geteuid() == 0
MODES = (0o644, 0o600, 0o666, 0o000, 0o755, 0o711, 0o040, 0o004, 0o220, 0o111)
OWNERS = ((0, 0), (1000, 1000), (1000, 0), (2000, 3000), (70000, 70000)) if IS_ROOT else ((-1, -1),)
CAPABILITIES = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "NET_BIND_SERVICE", "NET_ADMIN",
    "SYS_ADMIN", "SYS_PTRACE", "MKNOD", "ALL",
)  # fmt: skip
REFUSAL = 123
"""What the random filters answer: nothing else does."""

CALLS = (
    ("getpid", ""), ("getppid", ""), ("dup", "999"), ("sched_yield", ""),
    ("unshare", "0"), ("unshare", "0x10000000"), ("personality", "0xffffffff"),
    ("personality", "0x99"), ("add_key", "0, 0"), ("keyctl", "9999"), ("socket", "2, 1, 0"),
    ("socket", "40, 1, 0"), ("socket", "1, 1, 0"), ("name_to_handle_at", "999, 0, 0, 0, 0"),
    ("setns", "999, 0"), ("vmsplice", "999, 0, 0, 0"), ("clock_settime", "99, 0"),
    ("umask", "022"), ("fchdir", "999"), ("mincore", "1, 1, 0"), ("fsync", "999"),
    ("ptrace", "3, 0, 0, 0"), ("timer_delete", "999"), ("mount", "0, 0, 0, 0, 0"),
)  # fmt: skip
"""System calls that refuse what they are given, if a filter lets them through, with some other
error than filters answer with; those that need rights are last."""

PRIVILEGED = {"mount": "SYS_ADMIN"}

KERNEL_PATHS = (
    "/proc/kcore", "/proc/keys", "/proc/acpi", "/proc/sys/kernel/hostname", "/proc/sys/fs/file-max",
    "/proc/sysrq-trigger", "/proc/bus/x", "/proc/timer_list", "/proc/version", "/proc/self/status",
    "/sys/firmware", "/sys/firmware/acpi", "/sys/kernel/mm", "/sys/new", "/sys/power/state", "/sys",
    "/sys/devices/virtual/powercap", "/proc/fs", "/proc/irq/default_smp_affinity",
)  # fmt: skip
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty")
ELSEWHERE = (
    "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/etc/passwd", "/etc", "/", "/dev",
    "/dev/new", "/dev/shm", "/dev/shm/new", "/dev/mqueue/new", "/dev/pts", "/dev/stdout", "/tmp",
    "/tmp/new", "/usr/bin", "/usr/lib/new", "/usr/bin/python3", "/lib64", "/home/user",
    "/home/user/new", "/root", "/bin/sh", "/bin/probe", "/nothing/at/all", "/new",
)  # fmt: skip


def furnish(top: Path, random: Random) -> None:
    """Files and directories of many modes and owners, links that lead about, devices."""
    for mode in (0o755, 0o700, 0o777, 0o1777, 0o711, 0o705):
        directory = top / f"d{mode:o}"
        directory.mkdir()
        for number, file in enumerate(MODES):
            path = directory / f"f{file:o}"
            path.write_text("something\n")
            give(path, random.choice(OWNERS), file)
            (directory / f"l{number}").symlink_to(random.choice((
                f"f{file:o}", f"../d700/f{file:o}", f"/d777/f{file:o}", "/tmp/new", "/vol/d755",
                "../../../../etc/passwd", "/dev/null", f"l{number}", "/nothing", "/proc/version",
                "/d755/vol/d777",
            )))  # fmt: skip
        os.mkfifo(directory / "fifo", 0o666)
        if IS_ROOT:
            os.mknod(directory / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
            os.chmod(directory / "null", 0o666)
        give(directory, random.choice(OWNERS[:3]), mode)
    (top / "d755/vol").mkdir(exist_ok=True)


def give(path: Path, owner: tuple[int, int], mode: int) -> None:
    if IS_ROOT:
        os.chown(path, *owner)
    path.chmod(mode)


def make(top: Path, probe: Path, random: Random) -> None:
    """A root with the probe, and two directories to be volumes."""
    for name in ("root", "one", "two"):
        (top / name).mkdir(parents=True)
        furnish(top / name, random)
        (top / name).chmod(0o755)
    for name in ("bin", "etc", "tmp", "vol", "proc", "sys", "dev"):
        (top / "root" / name).mkdir()
    (top / "root/tmp").chmod(0o1777)
    (top / "root/etc/passwd").write_text("root:x:0:0::/:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n")
    (top / "root/bin/probe").write_bytes(probe.read_bytes())
    (top / "root/bin/probe").chmod(0o755)


def some(random: Random, *values: Any) -> Any:
    return random.choice(values)


def run(top: Path, random: Random) -> tuple[str, dict[str, Any], str]:
    """Root, options and the probe's path of one random run."""
    if random.random() < 0.06:
        return lowest(top, random)
    root = some(random, str(top / "root"), str(top / "root"), "@python", "@host")
    own = root[0] != "@"
    probe = "/bin/probe" if own else "/run/probe"
    volumes = [] if own else [f"{top}/root/bin/probe:{probe}:ro"]
    volumes += [
        f"{top}/{name}:{place}{flags(random)}"
        for name, place in (("one", "/vol"), ("two", some(random, "/vol/d755/vol", "/srv/x")))
        if random.random() < 0.8
    ]
    options: dict[str, Any] = {"volumes": tuple(volumes)}
    if random.random() < 0.5:
        words = random.sample(("ro", "exec", "nosuid", "mode=755", "mode=1777", "mode=700"), 2)
        options["tmpfs"] = (some(random, "/tmp", "/scratch") + ":" + ",".join(words),)
    if own and random.random() < 0.3:
        options["read_only"] = True
    elif own and random.random() < 0.2:
        options["rw"] = True
    if random.random() < 0.5:
        options["user"] = some(random, "0", "1000", "1000:2000", "2000:3000") if IS_ROOT else "0"
    for name, share in (("cap_drop", 0.4), ("cap_add", 0.4)):
        if random.random() < share:
            options[name] = tuple(random.sample(CAPABILITIES, 2))
    for name, value, share in (
        ("network", "host", 0.15), ("userns", "host", 0.25 if IS_ROOT else 0), ("init", True, 0.3),
        ("pid", "host", 0.1), ("privileged", True, 0.08 if IS_ROOT else 0), ("landlock", True, 0.1),
    ):  # fmt: skip
        if random.random() < share:
            options[name] = value
    if options.get("network") != "host" and not options.get("privileged") and some(random, 0, 1):
        start = some(random, 0, 80, 81, 2000)
        options["sysctls"] = (f"net.ipv4.ip_unprivileged_port_start={start}",)
    if random.random() < 0.5:
        file = top / "filter.json"
        file.write_text(json.dumps(profile(random)))
        options["security_opt"] = (some(random, f"seccomp={file}", "seccomp=unconfined",
                                        "no-new-privileges=false"),)  # fmt: skip
    return root, options, probe


def lowest(top: Path, random: Random) -> tuple[str, dict[str, Any], str]:
    """A run without namespaces, which shows what it shows at its own path."""
    probe = f"{top}/root/bin/probe"
    volumes = [f"{probe}:{probe}:ro", f"{top}/one:{top}/one:ro", f"{top}/two:{top}/two"]
    options: dict[str, Any] = {"level": "landlock", "volumes": tuple(volumes)}
    if some(random, 0, 1):
        options["network"] = "host"
    return "@host", options, probe


def flags(random: Random) -> str:
    words = [word for word in ("ro", "nodev", "noexec", "nosuid") if random.random() < 0.35]
    if "ro" not in words and some(random, 0, 1):
        words.append("rw")
    return ":" + ",".join(words) if words else ""


def profile(random: Random) -> dict[str, Any]:
    """A filter that lets everything through but some calls, some of them by an argument."""
    rules: list[dict[str, Any]] = []
    for name in sorted({name for name, _ in random.sample(CALLS, 8)}):
        rule: dict[str, Any] = {"names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": REFUSAL}
        if random.random() < 0.4:
            operator = some(random, "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_NE", "SCMP_CMP_LT")
            rule["args"] = [{"index": 0, "value": some(random, 1, 2, 999), "op": operator}]
        rules.append(rule)
    # One of the calls that files and ports need, now and then.
    if random.random() < 0.15:
        rules.append({"names": [some(random, "listen", "bind", "execve", "connect")],
                      "action": "SCMP_ACT_ERRNO", "errnoRet": REFUSAL})  # fmt: skip
    return {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}


class Question:
    """One question in the words of ``why``, and what the probe is to try."""

    def __init__(self, action: str, subject: str, letter: str, tried: str = "") -> None:
        self.action = action
        self.subject = subject
        self.letter = letter
        self.tried = tried or subject

    def __repr__(self) -> str:
        return f"{self.action} {self.subject}"


def questions(
    random: Random, count: int, root: str, options: dict[str, Any], architecture: str
) -> Iterator[Question]:
    tops = [text.split(":")[1] for text in options["volumes"] if "/probe" not in text]
    if root[0] != "@":
        tops += ["", ""]
    for _ in range(count):
        kind = random.random()
        if kind < 0.68:
            action, letter = some(random, *FILES)
            yield Question(action, path(random, action, tops), letter)
        elif kind < 0.78:
            port = some(random, 0, 1, 79, 80, 81, 443, 1023, 1024, 1999, 2000, 8080, 65535)
            protocol, letter = some(random, ("", "t"), ("/tcp", "t"), ("/udp", "u"))
            yield Question("listen", f"{port}{protocol}", letter, str(port))
        elif kind < 0.82:
            address = some(random, "127.0.0.1", "127.9.9.9", "10.1.2.3", "192.0.2.1")
            yield Question("connect", f"{address}:9", "n", address)
        elif kind < 0.86:
            bit = random.randrange(len(NAMES))
            yield Question("capability", NAMES[bit], "k", str(bit))
        elif kind < 0.87:
            yield Question("signal", str(os.getpid()), "p")
        else:
            name, words = some(random, *CALLS)
            number = numbers(architecture)[name]
            yield Question("call", f"{name}({words})", "s", f"{number},{words}".replace(" ", ""))


FILES = (
    ("read", "r"), ("read", "r"), ("write", "w"), ("write", "w"), ("create", "c"),
    ("execute", "x"), ("device", "d"),
)  # fmt: skip


def path(random: Random, action: str, tops: list[str]) -> str:
    """A path that one would ask about; now and then one where nothing is."""
    kind = random.random()
    if action == "device" and kind < 0.9:
        directories = [f"{top}/d{mode}" for top in tops for mode in ("755", "700", "777")]
        return some(random, *DEVICES, *(f"{directory}/null" for directory in directories))
    if kind < 0.12:
        return some(random, *KERNEL_PATHS)
    if kind < 0.32 or not tops:
        return some(random, *ELSEWHERE)
    directory = some(random, "d755", "d700", "d777", "d1777", "d711", "d705")
    name = some(random, "", "fifo", *(f"f{mode:o}" for mode in MODES))
    if action in ("write", "create") and some(random, 0, 1):
        name = some(random, "new", "vol/new", "../d777/new")
    elif some(random, 0, 0, 1):
        name = some(random, "./f644", "../d700/f600", *(f"l{n}" for n in range(len(MODES))))
    return f"{some(random, *tops)}/{directory}/{name}".rstrip("/")


def agrees(question: Question, verdict: str, sentence: str, result: int) -> bool:
    """Whether what the kernel did is what was said."""
    if question.action == "call":
        from_filter = result in (REFUSAL, 1, 38) or result > 1000
        return from_filter == (verdict == "denied")
    if question.action == "connect":
        return (result in (0, 111, 115)) == (verdict == "allowed")
    if verdict == "denied":
        return result > 0 or (result == -1 and "is hidden" in sentence)
    empty = result == -1 and question.action == "read" and "/proc" not in question.subject
    return result == 0 or empty


def needs_rights(question: Question) -> bool:
    return question.action == "call" and question.subject.split("(")[0] in PRIVILEGED


def remove(top: Path) -> None:
    """What the modes of it would not let an ordinary user remove."""
    for directory, names, _ in os.walk(top):
        for name in names:
            with suppress(OSError):
                os.chmod(Path(directory, name), 0o700)
