"""Members of config.json, one container each: what a program inside sees, or the refusal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import sleep
from typing import Any

import pytest
from leftovers import busybox_root

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a bundle's owner is the host's"),
]

PROC = {"destination": "/proc", "type": "proc", "source": "proc"}
IDENTITY = f"config-{os.getpid()}"
DEV = {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]}


class Bundle:
    """A bundle of busybox, and the runtime's own directory."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.path = place / "bundle"
        self.path.mkdir()
        self.root = Path(busybox_root(self.path / "rootfs"))
        self.config: dict[str, Any] = {
            "ociVersion": "1.3.0",
            "process": {
                "user": {"uid": 0, "gid": 0}, "args": ["sh", "-c", "true"], "cwd": "/",
                "env": ["PATH=/bin"],
            },
            "root": {"path": "rootfs"},
            "mounts": [PROC, DEV],
            "linux": {
                "namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts", "network")]
            },
        }  # fmt: skip

    @property
    def process(self) -> dict[str, Any]:
        found: dict[str, Any] = self.config["process"]
        return found

    @property
    def linux(self) -> dict[str, Any]:
        found: dict[str, Any] = self.config["linux"]
        return found

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        """The runtime's command line; its output is the container's too."""
        (self.path / "config.json").write_text(json.dumps(self.config))
        # Files and no pipes: the container has them for as long as it lives.
        with (
            open(self.place / "output", "a") as output,
            open(self.place / "errors", "w+") as errors,
        ):
            command = [sys.executable, "-m", "kokon.cli.oci.main", "--root", f"{self.place}/run"]
            status = subprocess.run(
                [*command, *words], cwd=self.path, stdin=subprocess.DEVNULL, stdout=output,
                stderr=errors, timeout=20, check=False,
            ).returncode  # fmt: skip
            errors.seek(0)
            return subprocess.CompletedProcess(words, status, "", errors.read())

    def output(self) -> str:
        return (self.place / "output").read_text()

    def refused(self, *words: str) -> str:
        """The error of ``create``; nothing is left of it."""
        result = self.call("create", *words, IDENTITY)
        assert result.returncode == 1, result.stderr
        assert "container does not exist" in self.call("state", IDENTITY).stderr
        return result.stderr

    def create(self) -> None:
        result = self.call("create", IDENTITY)
        assert result.returncode == 0, result.stderr

    def start(self) -> str:
        """What the program says until it ends, or the error."""
        result = self.call("start", IDENTITY)
        if result.returncode:
            return result.stderr
        pid = json.loads((self.place / f"run/{IDENTITY}/state.json").read_text())["pid"]
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            pass
        else:
            import select

            assert select.select([pidfd], [], [], 20)[0], "it has not ended"
            os.close(pidfd)
        return (self.place / "output").read_text()

    def run(self, script: str) -> str:
        """What a script says inside."""
        self.process["args"] = ["sh", "-c", script]
        self.create()
        try:
            return self.start()
        finally:
            self.call("delete", "--force", IDENTITY)

    def users(self) -> None:
        """A user namespace of its own."""
        self.linux["namespaces"].append({"type": "user"})
        for name in ("uidMappings", "gidMappings"):
            self.linux[name] = [{"containerID": 0, "hostID": 100000, "size": 65536}]


@pytest.fixture
def bundle(tmp_path: Path) -> Iterator[Bundle]:
    for directory in (tmp_path, *tmp_path.parents):
        if directory.owner() == "root" and len(directory.parts) > 2:
            directory.chmod(0o755)
    made = Bundle(tmp_path)
    yield made
    made.call("delete", "--force", IDENTITY)


# --- what is refused ----------------------------------------------------------------------


def put(path: str, value: Any) -> Callable[[Bundle], None]:
    """Sets a member by its pointer."""

    def change(bundle: Bundle) -> None:
        *above, last = path.strip("/").split("/")
        at: Any = bundle.config
        for part in above:
            at = at[int(part)] if isinstance(at, list) else at.setdefault(part, {})
        if isinstance(at, list):
            at.append(value)
        else:
            at[last] = value

    return change


REFUSED = {
    "/linux/netDevices": put("/linux/netDevices", {"eth0": {}}),
    "/linux/intelRdt": put("/linux/intelRdt", {"closID": "x"}),
    "/linux/mountLabel": put("/linux/mountLabel", "x"),
    "/linux/seccomp/listenerPath": put(
        "/linux/seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/x"}
    ),
    "/linux/devices/0/path": put(
        "/linux/devices", [{"path": "/srv/x", "type": "c", "major": 1, "minor": 3}]
    ),
    "/linux/namespaces": put("/linux", {}),
    "/mounts/2/type": put("/mounts/-", {"destination": "/tmp"}),
    "/mounts/2": put("/mounts/-", {"destination": "/tmp", "type": "nosuchfs", "source": "x"}),
    "/mounts/2/uidMappings": put("/mounts/-", {
        "destination": "/tmp", "type": "tmpfs",
        "uidMappings": [{"containerID": 0, "hostID": 1, "size": 1}],
        "gidMappings": [{"containerID": 0, "hostID": 1, "size": 1}],
    }),
}  # fmt: skip


@pytest.mark.parametrize("pointer", REFUSED)
def test_what_is_not_done_is_refused_by_its_pointer(bundle: Bundle, pointer: str) -> None:
    REFUSED[pointer](bundle)
    assert pointer in bundle.refused()


# --- process ------------------------------------------------------------------------------


def test_a_scheduler_and_priorities(bundle: Bundle) -> None:
    bundle.process["scheduler"] = {"policy": "SCHED_BATCH", "nice": -5}
    bundle.process["ioPriority"] = {"class": "IOPRIO_CLASS_IDLE", "priority": 0}
    said = bundle.run("cat /proc/self/stat; ionice 2>&1")
    assert said.rpartition(")")[2].split()[16] == "-5"
    assert said.rpartition(")")[2].split()[38] == "3"


def test_better_than_the_callers_in_a_user_namespace(bundle: Bundle) -> None:
    bundle.users()
    bundle.process["scheduler"] = {"policy": "SCHED_OTHER", "nice": -5}
    bundle.process["oomScoreAdj"] = 700
    said = bundle.run("cat /proc/self/oom_score_adj; cat /proc/self/stat")
    assert said.splitlines()[0] == "700"
    assert said.rpartition(")")[2].split()[16] == "-5"


def test_a_policy_that_no_kernel_has(bundle: Bundle) -> None:
    bundle.process["scheduler"] = {"policy": "SCHED_ISO"}
    assert "/process/scheduler" in bundle.refused()


def test_a_memory_policy_and_a_personality(bundle: Bundle) -> None:
    bundle.linux["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "0"}
    bundle.linux["personality"] = {"domain": "LINUX32"}
    said = bundle.run("cat /proc/self/numa_maps | head -n 1; cat /proc/self/personality; uname -m")
    if "bind:0" not in said:
        assert "numa_maps" in said  # a kernel without NUMA, or without the file
    assert "00000008" in said


def test_a_memory_node_that_is_not_there(bundle: Bundle) -> None:
    bundle.linux["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "1000"}
    assert "/linux/memoryPolicy" in bundle.refused()


@pytest.mark.parametrize("entry", ["NAME", "=value", ""])
def test_an_entry_of_the_environment_that_has_no_name(bundle: Bundle, entry: str) -> None:
    bundle.process["env"] = ["PATH=/bin", entry]
    error = bundle.refused()
    assert "/process/env/1" in error and "is not NAME=VALUE" in error
    bundle.process["env"] = ["PATH=/bin"]
    bundle.config["hooks"] = {"poststop": [{"path": "/bin/true", "env": [entry]}]}
    assert "/hooks/poststop/0/env/0" in bundle.refused()


def test_a_home_is_what_the_containers_passwd_says(bundle: Bundle) -> None:
    source = folder(bundle)
    (source / "passwd").write_text("root:x:0:0::/of/the/volume:/bin/sh\n")
    own = bundle.config["mounts"]
    for mount, home in (
        (bind(source / "passwd", "/etc/passwd", "ro"), "/of/the/volume"),
        (bind(source, "/etc"), "/of/the/volume"),
        ({"destination": "/etc", "type": "tmpfs", "source": "tmpfs"}, "/"),
        (bind(source, "/srv"), "/home"),
    ):
        bundle.config["mounts"] = [*own, mount]
        assert bundle.run("echo $HOME").splitlines()[-1] == home


def test_a_working_directory_that_is_missing(bundle: Bundle) -> None:
    bundle.process["cwd"] = "/made/there"
    bundle.process["user"] = {"uid": 1000, "gid": 1000, "umask": 0o777}
    bundle.config["root"]["readonly"] = True
    said = bundle.run("pwd; umask; stat -c %a:%u /made /made/there; mkdir /x 2>&1")
    assert said.split()[:4] == ["/made/there", "0777", "755:0", "755:0"]
    assert "Read-only file system" in said


# --- hooks --------------------------------------------------------------------------------

SAY = 'echo {0} $(cat | tr -d " ") >> {1}; exit {2}'


def hook(word: str, path: Path | str, status: int = 0, **more: Any) -> dict[str, Any]:
    script = SAY.format(word, path, status)
    return {"path": "/bin/busybox", "args": ["sh", "-c", script, word], **more}


def test_hooks_in_their_order_with_the_state(bundle: Bundle) -> None:
    said = bundle.place / "said"
    inside = "/tmp/said"
    (bundle.root / "tmp").chmod(0o777)
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    bundle.config["hooks"] = {
        "prestart": [hook("prestart", said)],
        "createRuntime": [hook("createRuntime", said)],
        "createContainer": [hook("createContainer", said), hook("second", said)],
        "startContainer": [hook("startContainer $(id -u)", inside)],
        "poststart": [hook("poststart", said)],
        "poststop": [hook("poststop", said)],
    }
    bundle.create()
    created = said.read_text()
    pid = json.loads((bundle.place / f"run/{IDENTITY}/state.json").read_text())["pid"]
    assert not (bundle.root / "tmp/said").exists()
    bundle.start()
    bundle.call("delete", IDENTITY)
    words = [line.partition(" ") for line in said.read_text().splitlines()]
    assert [word for word, _, _ in words] == [
        "prestart", "createRuntime", "createContainer", "second", "poststart", "poststop",
    ]  # fmt: skip
    statuses = ["creating"] * 4 + ["running", "stopped"]
    for (_, _, rest), status in zip(words, statuses, strict=True):
        state = json.loads(rest)
        assert (state["id"], state["bundle"]) == (IDENTITY, str(bundle.path))
        assert state["status"] == status or (status == "running" and state["status"] == "stopped")
    assert f'"pid":{pid}' in created.splitlines()[2]
    word, user, rest = (bundle.root / "tmp/said").read_text().split(" ", 2)
    assert (word, user) == ("startContainer", "1000")
    assert json.loads(rest)["status"] == "created"
    assert json.loads(rest)["pid"] == pid


def test_a_hook_before_the_pivot_sees_the_mounts_below_the_bundles_root(bundle: Bundle) -> None:
    said = bundle.place / "said"
    script = (
        f"grep -c {bundle.root}/proc /proc/self/mounts > {said}; ls {bundle.root}/dev >> {said}"
    )
    bundle.config["hooks"] = {
        "createContainer": [{"path": "/bin/busybox", "args": ["sh", "-c", script]}]
    }
    assert "full" in bundle.run("ls /dev")
    assert said.read_text().split()[0] == "1"
    assert "null" in said.read_text()
    assert str(bundle.root) not in Path("/proc/self/mounts").read_text()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, "status 7"),
        ({"path": "/no/such/hook"}, "No such file"),
        ({"args": ["sh", "-c", "sleep 60"], "timeout": 1}, "timed out"),
        ({"args": ["sh", "-c", "kill -9 $$"]}, "signal 9"),
    ],
)
@pytest.mark.parametrize("kind", ["createContainer", "startContainer"])
def test_a_hook_that_fails(bundle: Bundle, kind: str, change: dict[str, Any], words: str) -> None:
    bundle.config["hooks"] = {kind: [{**hook("x", "/dev/null", 7), **change}]}
    if kind == "createContainer":
        error = bundle.refused()
    else:
        bundle.create()
        error = bundle.start()
        assert '"status": "stopped"' in (bundle.call("state", IDENTITY), bundle.output())[1]
    assert words in error
    assert f"/hooks/{kind}/0" in error


# --- mounts -------------------------------------------------------------------------------


def bind(source: Path | str, destination: str, *options: str, **more: Any) -> dict[str, Any]:
    return {
        "destination": destination,
        "source": str(source),
        "options": ["bind", *options],
        **more,
    }


def folder(bundle: Bundle, name: str = "given") -> Path:
    """A directory beside the bundle with a file of root's."""
    path = bundle.place / name
    path.mkdir(mode=0o755)
    (path / "file").write_text("x")
    return path


ONE = [{"containerID": 0, "hostID": 777, "size": 1}]


def test_ids_of_a_mount_are_mapped(bundle: Bundle) -> None:
    source = folder(bundle)
    maps = {"uidMappings": ONE, "gidMappings": ONE}
    bundle.config["mounts"] += [
        bind(source, "/a", **maps), bind(source, "/b", "idmap", **maps), bind(source, "/c"),
    ]  # fmt: skip
    assert bundle.run("stat -c %u:%g /a/file /b/file /c/file").split() == [
        "777:777", "777:777", "0:0",
    ]  # fmt: skip


def test_the_containers_own_mapping_is_implied(bundle: Bundle) -> None:
    source = folder(bundle)
    bundle.users()
    os.chown(bundle.root / "tmp", 100000, 100000)
    bundle.config["mounts"] += [bind(source, "/tmp/a", "ridmap"), bind(source, "/tmp/b")]
    assert bundle.run("stat -c %u:%g /tmp/a/file /tmp/b/file").split() == ["0:0", "65534:65534"]


def test_attributes_of_a_whole_tree_and_of_its_top(bundle: Bundle) -> None:
    source = folder(bundle)
    (source / "below").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "x", source / "below"], check=True)
    try:
        bundle.config["mounts"] += [
            bind(source, "/all", "rbind", "rro", "rnosuid"), bind(source, "/top", "rbind", "ro"),
            bind(source, "/last", "ro", "rw", "noexec", "exec", "nodev"),
        ]  # fmt: skip
        said = bundle.run("cat /proc/self/mounts")
    finally:
        subprocess.run(["umount", source / "below"], check=True)
    options = {line.split()[1]: line.split()[3].split(",") for line in said.splitlines()}
    assert {"ro", "nosuid"} <= set(options["/all/below"]) and "ro" in options["/all"]
    assert "rw" in options["/top/below"] and "ro" in options["/top"]
    assert options["/last"][0] == "rw" and "nodev" in options["/last"]
    assert "noexec" not in options["/last"]


def test_the_last_word_of_a_mount_wins(bundle: Bundle) -> None:
    source = folder(bundle)
    bundle.config["mounts"] += [
        bind(source, "/a", "rbind", "dev", "suid", "rnodev", "rnosuid"),
        bind(source, "/b", "rbind", "rnodev", "rro", "dev", "rw"),
        bind(source, "/c", "rbind", "noatime", "rrelatime"),
    ]
    said = bundle.run("cat /proc/self/mounts")
    options = {line.split()[1]: line.split()[3].split(",") for line in said.splitlines()}
    assert {"nodev", "nosuid"} <= set(options["/a"])
    assert "nodev" not in options["/b"] and "rw" in options["/b"]
    assert "relatime" in options["/c"] and "noatime" not in options["/c"]


@pytest.mark.parametrize("word", ["rslave", "rprivate", "slave"])
def test_a_volume_that_is_shared_in_a_root_that_is_not(bundle: Bundle, word: str) -> None:
    bundle.linux["rootfsPropagation"] = word
    bundle.config["mounts"].append(bind(folder(bundle), "/tmp", "rbind", "rshared"))
    said = bundle.run("cat /proc/self/mountinfo")
    line = next(line for line in said.splitlines() if line.split()[4] == "/tmp")
    assert " shared:" in line and "master:" not in line


@pytest.mark.parametrize("words", [(), ("private",), ("rbind", "rslave")])
def test_a_volume_below_one_that_is_shared(bundle: Bundle, words: tuple[str, ...]) -> None:
    above, source = folder(bundle), folder(bundle, "below")
    bundle.config["mounts"] += [
        bind(above, "/tmp", "rbind", "rshared"), bind(source, "/tmp/x", *words),
    ]  # fmt: skip
    said = bundle.run("cat /proc/self/mountinfo")
    line = next(line for line in said.splitlines() if line.split()[4] == "/tmp/x")
    assert " shared:" not in line


def test_destinations_through_links_stay_beneath_the_root(bundle: Bundle) -> None:
    source = folder(bundle)
    (bundle.root / "there").mkdir()
    (bundle.root / "link").symlink_to("/there")
    (bundle.root / "out").symlink_to("../../../../../kokon-test-made")
    (bundle.root / "dangling").symlink_to("var/run/here")
    (bundle.root / "chain").symlink_to("dangling")
    (bundle.root / "file").symlink_to("/etc/made/by/us")
    bundle.config["mounts"] += [
        bind(source, "/link/deep"), bind(source, "/out"), bind(source, "/chain/x"),
        bind(source / "file", "/file"), bind(source, "relative"),
    ]  # fmt: skip
    said = bundle.run("cat /there/deep/file /kokon-test-made/file /etc/made/by/us /relative/file")
    assert said == "xxxx", said
    assert not Path("/kokon-test-made").exists()


RENAMES = """
import os, sys
os.chdir(sys.argv[1])
for name in ("a", "b"):
    os.mkdir(name)
open("a/x", "w").close()
print(flush=True)
while True:
    os.rename("a/x", "b/x")
    os.rename("b/x", "a/x")
"""


def test_links_with_dots_while_the_machine_renames(bundle: Bundle) -> None:
    source = folder(bundle)
    (bundle.root / "up").symlink_to("../" * 30 + "tmp")
    bundle.config["mounts"] += [bind(source, f"/up/{name}") for name in range(40)]
    (bundle.place / "renames").mkdir()
    renamer = subprocess.Popen(
        [sys.executable, "-c", RENAMES, bundle.place / "renames"], stdout=subprocess.PIPE
    )
    try:
        assert renamer.stdout is not None and renamer.stdout.readline()
        for _ in range(5):
            assert bundle.run("cat /tmp/39/file").endswith("x")
    finally:
        renamer.kill()
        renamer.communicate()


def test_a_loop_of_links_is_an_error(bundle: Bundle) -> None:
    (bundle.root / "loop").symlink_to("loop")
    bundle.config["mounts"].append(bind(folder(bundle), "/loop"))
    assert "/mounts/2" in bundle.refused()


def test_modes_of_a_tmpfs(bundle: Bundle) -> None:
    (bundle.root / "inherited").mkdir()
    (bundle.root / "inherited").chmod(0o3751)
    new = {"type": "tmpfs", "source": "tmpfs"}
    bundle.config["mounts"] += [
        {"destination": "/inherited", **new}, {"destination": "/missing", **new},
        {"destination": "/explicit", "options": ["mode=0711"], **new},
    ]  # fmt: skip
    assert bundle.run("stat -c %a /inherited /missing /explicit").split() == ["3751", "1777", "711"]


def test_a_tmpfs_that_has_what_it_covers(bundle: Bundle) -> None:
    home = bundle.root / "home"
    (home / "sub").mkdir(mode=0o750)
    (home / "sub/file").write_text("inner")
    os.chown(home / "sub/file", 12, 34)
    os.chmod(home / "sub/file", 0o4644)
    (home / "link").symlink_to("sub/file")
    bundle.config["mounts"].append(
        {"destination": "/home", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]}
    )
    said = bundle.run(
        "stat -c %a:%u:%g /home/sub /home/sub/file; cat /home/link; echo new > /home/sub/file"
    )
    assert said.split() == ["750:0:0", "4644:12:34", "inner"]
    assert (home / "sub/file").read_text() == "inner"


def test_a_tmpfs_that_is_read_only(bundle: Bundle) -> None:
    (bundle.root / "home/file").write_text("inner")
    new = {"type": "tmpfs", "source": "tmpfs"}
    bundle.config["mounts"] += [
        {"destination": "/tmp", "options": ["ro"], **new},
        {"destination": "/home", "options": ["mode=0711", "ro", "tmpcopyup"], **new},
    ]
    (bundle.root / "tmp").chmod(0o1751)
    said = bundle.run("stat -c %a /tmp /home; cat /home/file; echo; touch /tmp/x /home/x 2>&1")
    assert said.split()[:3] == ["1751", "711", "inner"]
    assert said.count("Read-only file system") == 2


def test_mounts_below_a_tmpfs_that_is_read_only(bundle: Bundle) -> None:
    new = {"type": "tmpfs", "source": "tmpfs"}
    bundle.config["mounts"][1] = {**DEV, "options": ["mode=755", "ro"]}
    bundle.config["mounts"] += [
        {"destination": "/tmp", "options": ["ro"], **new},
        bind(folder(bundle), "/tmp/given"),
        {"destination": "/dev/shm", **new},
    ]
    said = bundle.run(
        "cat /tmp/given/file; echo; ls /dev/null; touch /tmp/x /dev/x /dev/shm/x 2>&1"
    )
    assert said.split()[:2] == ["x", "/dev/null"]
    assert said.count("Read-only file system") == 2


def test_the_order_of_mounts_is_the_documents(bundle: Bundle) -> None:
    first, second = folder(bundle, "first"), folder(bundle, "second")
    (first / "file").write_text("first")
    (second / "file").write_text("second")
    bundle.config["mounts"] += [bind(first, "/tmp"), bind(second, "/tmp")]
    assert bundle.run("cat /tmp/file; umount /tmp; cat /tmp/file") == "secondsecond"


def test_a_device_directory_that_is_given(bundle: Bundle) -> None:
    source = folder(bundle)
    bundle.config["mounts"][1] = bind(source, "/dev")
    assert bundle.run("ls /dev").split() == ["file"]


def test_devices_are_in_every_container(bundle: Bundle) -> None:
    device = {"type": "c", "major": 1, "minor": 3, "fileMode": 0o620, "uid": 3, "gid": 4}
    pipe = {"path": "/dev/pipe", "type": "p", "fileMode": 0o600}
    bundle.linux["devices"] = [{"path": "/dev/net/deep", **device}, pipe]
    for mounts in ([PROC], [PROC, {**DEV, "destination": "/dev/./"}]):
        bundle.config["mounts"] = mounts
        said = bundle.run("stat -c '%F %a %u:%g %t:%T' /dev/net/deep /dev/null /dev/pipe")
        assert said.splitlines()[-3:] == [
            "character special file 620 3:4 1:3", "character special file 666 0:0 1:3",
            "fifo 600 0:0 0:0",
        ]  # fmt: skip


def test_a_device_directory_in_a_user_namespace_is_its_roots(bundle: Bundle) -> None:
    bundle.users()
    bundle.config["mounts"].append({"destination": "/dev/shm", "type": "tmpfs", "source": "shm"})
    said = bundle.run("stat -c %u:%g /dev/. /dev/fd /dev/ptmx /dev/null; umount /dev/shm;"
                      " stat -c %u:%g /dev/shm; grep /dev /proc/self/mounts")  # fmt: skip
    assert said.split()[:5] == ["0:0"] * 5
    assert "tmpfs /dev tmpfs" in said


def test_a_hook_inside_has_no_descriptors_of_ours(bundle: Bundle) -> None:
    script = "ls /proc/self/fd > /tmp/said"
    bundle.config["hooks"] = {
        kind: [{"path": path, "args": ["sh", "-c", script.replace("/tmp", above)]}]
        for kind, path, above in (
            ("createContainer", "/bin/busybox", str(bundle.root)),
            ("startContainer", "/bin/busybox", "/tmp"),
        )
    }
    bundle.run("true")
    for path in ("said", "tmp/said"):
        assert (bundle.root / path).read_text().split() == ["0", "1", "2", "3"]


def test_a_file_system_that_is_not_among_ours(bundle: Bundle) -> None:
    for name in ("lower", "upper", "work"):
        (bundle.place / name).mkdir()
    (bundle.place / "lower/file").write_text("lower")
    options = [f"{name}dir={bundle.place}/{name}" for name in ("lower", "upper", "work")]
    bundle.config["mounts"].append(
        {"destination": "/tmp", "type": "overlay", "source": "overlay", "options": options}
    )
    result = bundle.run("cat /tmp/file; echo x > /tmp/new")
    assert result == "lower" and (bundle.place / "upper/new").exists()


# --- namespaces ---------------------------------------------------------------------------


def test_sysfs_of_a_network_that_is_not_the_user_namespaces(bundle: Bundle) -> None:
    bundle.users()
    bundle.linux["namespaces"] = [
        each for each in bundle.linux["namespaces"] if each["type"] not in ("network", "ipc")
    ]
    os.chown(bundle.root / "dev", 100000, 100000)
    bundle.config["mounts"] += [
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid"]},
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue"},
    ]
    said = bundle.run("ls /sys/class | head -n 1; cat /proc/self/mounts; touch /dev/mqueue/x")
    options = {line.split()[1]: line.split()[3] for line in said.splitlines() if "/" in line}
    for path in ("/sys", "/dev/mqueue"):
        assert options[path].startswith("ro"), said
    below = [value for path, value in options.items() if path.startswith("/sys/")]
    assert all(value.startswith("ro") for value in below)


@contextmanager
def held(kind: str) -> Iterator[str]:
    """The path of a namespace that a process holds."""
    holder = subprocess.Popen(["unshare", f"--{kind}", "sleep", "60"])
    path = f"/proc/{holder.pid}/ns/{kind}"
    try:
        deadline = 100
        while os.readlink(path) == os.readlink(f"/proc/self/ns/{kind}"):
            deadline -= 1
            assert deadline
            sleep(0.05)
        if kind == "user":
            for name in ("uid_map", "gid_map"):
                Path(f"/proc/{holder.pid}/{name}").write_text("0 100000 65536")
        yield path
    finally:
        holder.kill()
        holder.wait()


def test_a_user_namespace_by_path(bundle: Bundle) -> None:
    source = folder(bundle)
    bundle.place.chmod(0o700)  # the container's root could not come here
    try:
        with held("user") as path:
            bundle.linux["namespaces"].append({"type": "user", "path": path})
            os.chown(bundle.root / "tmp", 100000, 100000)
            bundle.config["mounts"] += [bind(source, "/tmp/a"), bind(source, "/tmp/b", "idmap")]
            bundle.process["oomScoreAdj"] = 5
            said = bundle.run(
                "id -u; stat -c %u /tmp/a/file /tmp/b/file; cat /proc/self/oom_score_adj"
            )
    finally:
        bundle.place.chmod(0o755)
    assert said.split() == ["0", "65534", "0", "5"]


def test_a_device_in_a_user_namespace_by_path(bundle: Bundle) -> None:
    # None can be made there, so it is the machine's of that path, and has to be that one.
    full = {"path": "/dev/full", "type": "c", "major": 1, "minor": 7}
    with held("user") as path:
        bundle.linux["namespaces"].append({"type": "user", "path": path})
        bundle.linux["devices"] = [full]
        assert bundle.run("echo >/dev/full 2>/dev/null || echo it is full") == "it is full\n"
        bundle.linux["devices"] = [{**full, "minor": 3}]
        error = bundle.refused()
    assert "/dev/full of this machine is another device (1:7)" in error
    assert "/linux/devices/0" in error


def test_a_host_name_in_a_namespace_that_is_joined(bundle: Bundle) -> None:
    with held("uts") as path:
        for each in bundle.linux["namespaces"]:
            if each["type"] == "uts":
                each["path"] = path
        bundle.config["hostname"] = "another"
        assert bundle.run("hostname") == "another\n"


def test_a_given_namespace_that_is_none_of_its_kind(bundle: Bundle) -> None:
    pipe = bundle.place / "pipe"
    os.mkfifo(pipe)
    uts = next(each for each in bundle.linux["namespaces"] if each["type"] == "uts")
    for path, said in (
        ("/proc/self/ns/ipc", "is no uts namespace"),
        (os.fspath(pipe), "is no uts namespace"),  # and nobody waits for its other end
        ("/no/such/namespace", "cannot be opened: No such file"),
    ):
        uts["path"] = path
        error = bundle.refused()
        assert said in error and "/linux/namespaces/3/path" in error, error
    # A bind of one has no link by whose name it could be known.
    bound = bundle.place / "bound"
    bound.touch()
    subprocess.run(["mount", "--bind", "/proc/self/ns/uts", bound], check=True)
    try:
        uts["path"] = os.fspath(bound)
        assert bundle.run("hostname") == f"{os.uname().nodename}\n"
    finally:
        subprocess.run(["umount", bound], check=True)
