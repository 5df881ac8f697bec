"""One configuration started under several runtimes, and what a program inside said, as fields."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from engines import runtime

from kokon.kernel import cgroups

IDENTITY = f"kokon-differential-{os.getpid()}"
OWNER = 100000
"""The first id of the machine that a user namespace of a test has."""

Config = dict[str, Any]
Fields = dict[str, Any]

GROUP_FILES = (
    "memory.limit_in_bytes", "memory.soft_limit_in_bytes", "memory.memsw.limit_in_bytes",
    "memory.swappiness", "memory.oom_control", "pids.max", "cpu.shares", "cpu.cfs_quota_us",
    "cpu.cfs_period_us", "cpu.cfs_burst_us", "cpu.idle", "cpuset.cpus", "cpuset.mems",
    "devices.list", "blkio.bfq.weight", "blkio.throttle.read_bps_device", "memory.max",
    "memory.low", "memory.swap.max", "cpu.weight", "cpu.max",
)  # fmt: skip

# A mount namespace: one kind of control groups (crun starts on no machine that has both), devices
# whose owner may be changed (crun does that to the machine's), and what volumes are taken from.  It
# ends when its standard input does.
WORLD = """
set -e
mount -t tmpfs -o mode=755 devices "$1/dev"
for name in null zero full random urandom tty; do cp -a "/dev/$name" "$1/dev"; done
mkdir "$1/dev/pts"
mount --rbind /dev/pts "$1/dev/pts"
mount --move "$1/dev" /dev
if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi
mount -t tmpfs -o nosuid,nodev,noexec,mode=755 below "$1/tree/below"
mount -t tmpfs -o ro,mode=755 fixed "$1/tree/fixed"
echo ready
exec cat
"""

CALLS = (
    "uname", "mkdir", "chroot", "socket-packet", "socket-unix", "personality", "setuid", "mount",
    "unshare-user", "mknod", "setpriority", "keyctl",
)  # fmt: skip


class Outcome:
    """What became of one start.

    :ivar fields: what was seen inside, and what is left in the root; empty if it was refused.
    :ivar said: the runtime's own words.
    """

    def __init__(self, status: int, output: str, said: str) -> None:
        self.said = said
        self.fields: Fields = {}
        try:
            self.fields = seen(json.loads(output))
        except ValueError:
            self.fields["outcome"] = "refused" if status < 128 else f"status {status}"
        else:
            self.fields["outcome"] = "ran" if status == 0 else f"status {status}"


class World:
    """A mount namespace, a bundle, and the runtimes by their names."""

    def __init__(self, place: Path, programs: dict[str, str], probe: Path) -> None:
        self.place = place
        self.programs = programs
        self.probe = probe
        self.sources = place / "sources"
        for name in ("dev", "tree/below", "tree/fixed", "tree/sub", "plain"):
            (self.sources / name).mkdir(parents=True)
        for name in ("tree/file", "plain/file"):
            (self.sources / name).write_text(name)
        (self.sources / "plain/passwd").write_text("root:x:0:0::/of/the/volume:/bin/sh\n")
        self.holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", WORLD, "sh",
             os.fspath(self.sources)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self.holder.stdout is not None
        assert self.holder.stdout.readline() == b"ready\n"

    def close(self) -> None:
        self.holder.communicate(timeout=10)

    def root(self, owner: int) -> Path:
        """A new root; links lead to where they must not."""
        shutil.rmtree(self.place / "bundle", ignore_errors=True)
        root = self.place / "bundle/rootfs"
        for name in (
            "bin", "data/sub", "dev", "etc", "groups", "proc", "real", "sticky", "sys", "tmp",
        ):  # fmt: skip
            (root / name).mkdir(parents=True, mode=0o755)
        (root / "sticky").chmod(0o1770)
        (root / "tmp").chmod(0o1777)
        os.link(self.probe, root / "bin/probe")
        (root / "etc/passwd").write_text("root:x:0:0::/data:/bin/sh\nu:x:1000:1000::/real:/\n")
        (root / "etc/group").write_text("root:x:0:\nu:x:1000:\nmore:x:5:u\n")
        (root / "data/sub/file").write_text("of the root\n")
        for name, target in (
            ("link", "/real"),
            ("up", "../../../../real"),
            ("dangling", "/made/by/mount"),
        ):
            (root / name).symlink_to(target)
        if owner:
            for directory, names, files in os.walk(root):
                for name in (*names, *(name for name in files if name != "probe"), "."):
                    os.chown(f"{directory}/{name}", owner, owner, follow_symlinks=False)
        return root

    def start(self, name: str, config: Config) -> Outcome:
        """One start from beginning to end; nothing is left of it."""
        users = any(each["type"] == "user" for each in config["linux"]["namespaces"])
        root = self.root(OWNER if users else 0)
        (self.place / "bundle/config.json").write_text(json.dumps(config))
        command = [
            "nsenter", f"--mount=/proc/{self.holder.pid}/ns/mnt", self.programs[name],
            "--root", f"{self.place}/state-{name}",
        ]  # fmt: skip
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "SECRET": "of the caller"}
        output, errors, given = (self.place / name for name in ("output", "errors", "given"))
        given.write_text("")
        ours = os.open("/etc", os.O_RDONLY | os.O_DIRECTORY)  # to be seen by nobody inside
        # Files of our own: crun gives the container's user whatever node it is started with.
        with given.open("rb") as into, output.open("wb") as out, errors.open("wb") as err:
            process = subprocess.Popen(
                [*command, "run", "--bundle", f"{self.place}/bundle", IDENTITY],
                stdin=into, stdout=out, stderr=err, env=environment,
                pass_fds=(ours,), cwd="/", start_new_session=True,
            )  # fmt: skip
            os.close(ours)
            try:
                status = process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                status = 128 + process.wait()
        subprocess.run([*command, "delete", "--force", IDENTITY], capture_output=True, timeout=30)
        outcome = Outcome(status, output.read_text(), errors.read_text().strip())
        outcome.fields["groups-left"] = len(without_groups())
        if outcome.fields["outcome"] == "ran":
            outcome.fields.update(left(root))
        outcome.said = outcome.said.replace(os.fspath(self.place), "PLACE")
        return outcome

    def start_all(self, config: Config) -> dict[str, Outcome]:
        return {name: self.start(name, config) for name in self.programs}


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    if os.geteuid():
        pytest.skip("needs root: runC and crun need more without it than a runtime's call")
    for name in ("runc", "crun", "unshare", "nsenter"):
        if not shutil.which(name):
            pytest.skip(f"needs {name}")
    # Root of a user namespace has to come here, and Unix sockets' paths are short.
    place = Path(tempfile.mkdtemp(prefix="kokon-differential-", dir="/var/tmp"))
    place.chmod(0o755)
    peers = {name: os.environ.get(f"KOKON_PEER_{name.upper()}", name) for name in ("runc", "crun")}
    groups = groups_left()
    world = World(place, {"kokon": runtime(place), **peers}, compiled(place))
    try:
        yield world
    finally:
        world.close()
        shutil.rmtree(place, ignore_errors=True)
    assert groups_left() == groups


def groups_left() -> list[str]:
    """Control groups of ours, the innermost first."""
    found = [
        f"{path}/{name}"
        for tree in cgroups.read().hierarchies
        for path, names, _ in os.walk(tree.mount_point)
        for name in names
        if IDENTITY in f"{path}/{name}"
    ]
    return sorted(found, key=len, reverse=True)


def without_groups() -> list[str]:
    """Removes the control groups that a runtime has left, for the next one; what they were.

    Whatever is in them has been killed, and is gone soon.
    """
    left = groups_left()
    for path in left:
        until = time.monotonic() + 5
        while os.path.exists(path):
            try:
                os.rmdir(path)
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.02)
    return left


def compiled(place: Path) -> Path:
    """The program of differential_probe.c, static."""
    source = Path(__file__).with_name("differential_probe.c")
    if name := next((name for name in ("cc", "gcc", "clang") if shutil.which(name)), ""):
        command = [name]
    elif find_spec("ziglang"):
        target = f"{os.uname().machine}-linux-musl"
        command = [sys.executable, "-m", "ziglang", "cc", "-target", target]
    else:
        pytest.skip("needs a C compiler")
    subprocess.run([*command, "-O1", "-static", "-o", place / "probe", source], check=True)
    return place / "probe"


def versions() -> dict[str, tuple[int, ...]]:
    """Of the runtimes that kokon is compared with."""
    found = {}
    for name in ("runc", "crun"):
        program = os.environ.get(f"KOKON_PEER_{name.upper()}", name)
        said = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
        match = re.search(r"version (\d+)\.(\d+)(?:\.(\d+))?", said)
        assert match, said
        found[name] = tuple(int(part or 0) for part in match.groups())
    return found


# --- what was seen, as fields -------------------------------------------------------------


def questions(config: Config) -> list[str]:
    """The probe's arguments: what only this configuration is about."""
    linux = config["linux"]
    asked = [("d", "/dev")]
    devices = ["null", "zero", "full", "random", "urandom", "tty", "ptmx"]
    asked += [("o", f"/dev/{name}") for name in devices]
    asked += [("o", device["path"]) for device in linux.get("devices", ()) if device["type"] == "c"]
    paths = [*linux.get("maskedPaths", ()), *linux.get("readonlyPaths", ())]
    paths += [mount["destination"] for mount in config["mounts"]]
    asked += [("p", path) for path in ("/", "/real", "/data/sub", *dict.fromkeys(paths))]
    for key in linux.get("sysctl", ()):
        asked.append(("f", "/proc/sys/" + key.replace(".", "/")))
    for file in GROUP_FILES:
        controller = {"cpuset": "cpuset", "cpu": "cpu"}.get(*[file.partition(".")[0]] * 2)
        asked.append(("f", f"/groups/{controller}/{IDENTITY}/{file}"))
        if file in ("pids.max", "memory.max", "memory.low", "memory.swap.max", "cpu.weight",
                    "cpu.max", "cpuset.cpus", "cpuset.mems"):  # fmt: skip
            asked.append(("f", f"/groups/{IDENTITY}/{file}"))
    asked += [("c", name) for name in CALLS]
    return [word for pair in asked for word in pair]


def seen(said: Fields) -> Fields:
    """Numbers that the kernel gives out as it likes are replaced by what they mean."""
    fields = {}
    for name, value in said.items():
        if isinstance(value, int):
            fields[name] = value
        elif name == "file:/proc/self/mountinfo":
            fields.update(mounts(value))
        elif name.startswith("namespace:"):
            kind = name.partition(":")[2]
            fields[name] = "host" if os.readlink(f"/proc/self/ns/{kind}") == value else "own"
        elif name == "file:/proc/self/cgroup":
            fields.update(
                (f"group:{line.split(':')[1]}", line.split(":", 2)[2])
                for line in value.splitlines()
            )
        elif name == "file:/proc/self/cmdline":
            fields[name] = value.partition("\0")[0]
        elif name == "keyring":
            fields[name] = re.sub(r";[^;]*;", ";", value).replace(IDENTITY, "ID")
        else:
            fields[name] = value
    return fields


ESCAPE = re.compile(r"\\([0-7]{3})")


def mounts(text: str) -> Fields:
    """mountinfo: each mount by its place, with one ' for each other that is there."""
    rows = {}
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        number, parent, _, top, point, options, *shared = before.split(" ")
        place = ESCAPE.sub(lambda match: chr(int(match[1], 8)), point)
        peers = sorted(word.partition(":")[0] for word in shared)
        rows[number] = (parent, top, place, options, peers, *after.split(" "))
    fields: Fields = {}
    for parent, top, point, options, shared, kind, source, more in sorted(
        rows.values(), key=lambda row: rows[row[0]][2] if row[0] in rows else ""
    ):
        depth, above = 0, parent
        while above in rows:
            depth += rows[above][2] == point
            above = rows[above][0]
        place = f"mount:{point}{chr(39) * depth}"
        while place in fields:  # what another mount hides
            place += "'"
        if point.startswith("/groups/"):
            continue
        fields[place] = kind
        fields[f"{place} of"] = top
        fields[f"{place} source"] = source
        fields[f"{place} parent"] = rows[parent][2] if parent in rows else ""
        fields[f"{place} shared"] = " ".join(shared)
        for option in options.split(","):
            fields[f"{place} {option}"] = "yes"
        fields[f"{place} data"] = " ".join(sorted(more.split(",")))
    return fields


def left(root: Path) -> Fields:
    """What a start has left in the root, with modes."""
    found = {}
    for directory, names, files in os.walk(root):
        for name in (*names, *files):
            path = f"{directory}/{name}"
            here = os.lstat(path)
            what = f"{stat.filemode(here.st_mode)} {here.st_uid}:{here.st_gid}"
            found["left:" + path.removeprefix(os.fspath(root))] = what
    return found
