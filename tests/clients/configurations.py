"""What configurations of containers are made of, for runC, crun and kokon alike."""

from __future__ import annotations

from typing import Any

from runtimes import IDENTITY, OWNER

Config = dict[str, Any]

CAPS = ["CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SETUID"]
SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")
EXTENDED = ("mounts", "namespaces")
"""Lists to which a change adds; others it replaces."""


def base() -> Config:
    """What nobody has said anything about."""
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0}, "args": [], "cwd": "/", "env": ["PATH=/bin", "HOME=/"],
            "capabilities": dict.fromkeys(SETS[:3], CAPS),
        },
        "root": {"path": "rootfs"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {
                "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
            },
            {
                "destination": "/dev/pts", "type": "devpts", "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
            },
            {
                "destination": "/groups", "type": "bind", "source": "/sys/fs/cgroup",
                "options": ["rbind"],
            },
        ],
        "linux": {
            "namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts", "network")],
            "cgroupsPath": f"/{IDENTITY}",
        },
    }  # fmt: skip


def merged(config: Config, change: Config) -> Config:
    """A configuration with a change in it; None removes."""
    made = dict(config)
    for name, value in change.items():
        if isinstance(value, dict):
            made[name] = merged(made.get(name, {}), value)
        elif name in EXTENDED and name in made and value is not None:
            made[name] = [*made[name], *value]
        elif value is None:
            made.pop(name, None)
        else:
            made[name] = value
    return made


def process(**members: Any) -> Config:
    return {"process": members}


def linux(**members: Any) -> Config:
    return {"linux": members}


def mounts(*found: Config) -> Config:
    return {"mounts": list(found)}


def bind(destination: str, source: str, *options: str) -> Config:
    """A source is one of the test's own: see ``World``."""
    words = list(options)
    if not {"bind", "rbind"} & set(words):
        words = ["bind", *words]
    return {
        "destination": destination, "type": "bind", "source": f"../sources/{source}",
        "options": words,
    }  # fmt: skip


def new(destination: str, kind: str, *options: str) -> Config:
    made: Config = {"destination": destination, "type": kind, "source": kind}
    if options:
        made["options"] = list(options)
    return made


def capabilities(**sets: list[str]) -> Config:
    return process(capabilities=sets)


def only(*kinds: str) -> Config:
    """These namespaces and the mount namespace in place of those of the base."""
    return {"only": ["mount", *kinds]}


RANGE = [{"containerID": 0, "hostID": OWNER, "size": 65536}]
USERS = linux(namespaces=[{"type": "user"}], uidMappings=RANGE, gidMappings=RANGE)
SYS = new("/sys", "sysfs", "nosuid", "noexec", "nodev", "ro")


def made(*changes: Config) -> Config:
    config = base()
    for change in changes:
        change = dict(change)
        kinds = change.pop("only", None)
        if kinds:
            config["linux"]["namespaces"] = [{"type": kind} for kind in kinds]
        config = merged(config, change)
    return config


def seccomp(default: str, *rules: Config, **more: Any) -> Config:
    return linux(seccomp={
        "defaultAction": default, "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": list(rules), **more,
    })  # fmt: skip


def rule(action: str, *names: str, **more: Any) -> Config:
    return {"names": list(names), "action": action, **more}


def argument(index: int, value: int, op: str, two: int | None = None) -> Config:
    found = {"index": index, "value": value, "op": f"SCMP_CMP_{op}"}
    return found if two is None else {**found, "valueTwo": two}


def device(path: str, kind: str, major: int, minor: int, **more: Any) -> Config:
    return {"path": path, "type": kind, "major": major, "minor": minor, **more}
