"""Mounts of config.json, one container each: what a program inside sees, or the refusal."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from oci_bundle import DEV, IDENTITY, PROC, Bundle, bind, bundle, folder

__all__ = ["bundle"]  # the fixture

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a bundle's owner is the host's"),
]

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


def test_ids_of_what_is_mounted_below(bundle: Bundle) -> None:
    """``idmap`` is about the top alone, and the last of two words wins."""
    source = folder(bundle)
    (source / "below").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "x", source / "below"], check=True)
    maps = {"uidMappings": ONE, "gidMappings": ONE}
    try:
        bundle.config["mounts"] += [
            bind(source, "/a", "rbind", "idmap", **maps),
            bind(source, "/b", "rbind", "ridmap", **maps),
            bind(source, "/c", "rbind", "ridmap", "idmap", **maps),
        ]
        said = bundle.run("stat -c %u /a/file /b/file /c/file /a/below /b/below /c/below")
    finally:
        subprocess.run(["umount", source / "below"], check=True)
    assert said.split() == ["777", "777", "777", "0", "777", "0"]


def test_sources_that_the_containers_root_could_not_reach(bundle: Bundle) -> None:
    source = folder(bundle)
    (source / "below").mkdir()
    (source / "below/file").write_text("y")
    source.chmod(0o700)
    bundle.users()
    os.chown(bundle.root / "tmp", 100000, 100000)
    bundle.config["mounts"] += [
        bind(source / "below", "/tmp/directory"), bind(source / "file", "/tmp/file"),
    ]  # fmt: skip
    assert bundle.run("cat /tmp/directory/file /tmp/file") == "yx"


def test_files_of_every_kind_are_bound(bundle: Bundle) -> None:
    """With words for a whole tree, which each of them is."""
    source = folder(bundle)
    os.mkfifo(source / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(source / "socket"))
    os.mknod(source / "null", 0o20666, os.makedev(1, 3))
    for name in ("file", "pipe", "socket", "null"):
        bundle.config["mounts"].append(bind(source / name, f"/tmp/{name}", "rro", "rnosuid"))
    lines = bundle.run("stat -c '%F' /tmp/*; cat /proc/self/mounts").splitlines()
    assert lines[:4] == ["regular file", "character special file", "fifo", "socket"]
    options = [line.split()[3].split(",") for line in lines[4:] if " /tmp/" in line]
    assert len(options) == 4 and all({"ro", "nosuid"} <= set(each) for each in options)


def test_of_words_that_contradict_each_other_the_last_wins(bundle: Bundle) -> None:
    source = folder(bundle)
    words = {
        ("noatime", "atime"): {"rw", "relatime"}, ("noatime", "relatime"): {"relatime"},
        ("strictatime", "noatime"): {"noatime"}, ("rw", "rro"): {"ro"}, ("rro", "rw"): {"rw"},
        ("ro", "rrw", "nodiratime", "diratime"): {"rw", "relatime"},
    }  # fmt: skip
    for at, options in enumerate(words):
        bundle.config["mounts"].append(bind(source, f"/tmp/{at}", *options))
    new = {"type": "tmpfs", "source": "tmpfs", "options": ["sync", "mode=1", "mode=711", "silent"]}
    bundle.config["mounts"].append({"destination": "/home", **new})
    said = bundle.run("cat /proc/self/mounts")
    found = {line.split()[1]: set(line.split()[3].split(",")) for line in said.splitlines()}
    atime = {"noatime", "relatime"}
    for at, wanted in enumerate(words.values()):
        got = found[f"/tmp/{at}"]
        assert wanted <= got, (at, got)
        assert not wanted & atime or got & atime == wanted & atime
        assert len({"ro", "rw"} & got) == 1
    assert {"sync", "mode=711"} <= found["/home"]


def test_missing_destinations_below_a_setgid_directory(bundle: Bundle) -> None:
    parent = bundle.root / "given"
    parent.mkdir()
    os.chown(parent, 0, 77)
    parent.chmod(0o2755)
    new = {"destination": "/given/a/b", "type": "tmpfs", "source": "tmpfs"}
    bundle.config["mounts"] += [new, bind(folder(bundle) / "file", "/given/c/file")]
    said = bundle.run("stat -c '%a %g' /given/a /given/c /given/a/b; cat /given/c/file")
    assert said == "2755 77\n2755 77\n1777 0\nx"


def test_covers_of_masked_and_read_only_paths(bundle: Bundle) -> None:
    """A path that is listed twice is covered once, all covers are of one file system, and what is
    made read-only keeps the words of its mount."""
    bundle.config["mounts"][0] = {**PROC, "options": ["nosuid", "nodev", "noexec"]}
    directories = ["/proc/acpi", "/proc/fs", "/proc/irq", "/home", "/tmp"]
    bundle.linux["maskedPaths"] = [*directories, "/home", "/proc/kcore", "/proc/acpi", "/proc/no"]
    bundle.linux["readonlyPaths"] = ["/proc/sys", "/proc/sys", "/proc/bus", "/proc/kcore"]
    rows = [line.split() for line in bundle.run("cat /proc/self/mountinfo").splitlines()]
    options = {row[4]: row[5].split(",") for row in rows}
    covered = [row for row in rows if row[4] in (*directories, "/proc/kcore")]
    there = [path for path in directories if os.path.isdir(path)]
    assert sorted(row[4] for row in covered if row[4] != "/proc/kcore") == sorted(there)
    assert len({row[2] for row in covered}) == 1
    for path in ("/proc/sys", "/proc/bus", "/home"):
        assert {"ro", "nosuid", "nodev", "noexec"} <= set(options[path]), path
        assert sum(row[4] == path for row in rows) == 1


@pytest.mark.parametrize("root", ["shared", "rshared", "slave", "private", "runbindable"])
def test_mounts_of_a_container_do_not_reach_the_machine(bundle: Bundle, root: str) -> None:
    """Whatever the propagation, unless the source of a bind is shared and asked to be."""
    source = folder(bundle)
    host = f"{bundle.place}/host"
    os.mkdir(host)
    subprocess.run(["mount", "-t", "tmpfs", "x", host], check=True)
    subprocess.run(["mount", "--make-shared", host], check=True)
    try:
        os.mkdir(f"{host}/at")
        bundle.linux["rootfsPropagation"] = root
        bundle.process["capabilities"] = {
            name: ["CAP_SYS_ADMIN"] for name in ("bounding", "permitted", "effective")
        }
        bundle.config["mounts"] += [
            bind(host, "/slave", "rbind", "rslave"), bind(host, "/private", "rbind"),
            bind(host, "/peer", "rbind", "rshared"), bind(source, "/given", "rshared"),
        ]  # fmt: skip
        said = bundle.run(
            "for at in /tmp /given /slave/at /private/at; do mount -t tmpfs here $at || exit; done;"
            " mkdir /peer/asked; mount -t tmpfs there /peer/asked; echo made"
        )
        seen = Path("/proc/self/mountinfo").read_text()
    finally:
        subprocess.run(["umount", "-R", host], check=True)
    assert said == "made\n"
    assert " - tmpfs here " not in seen
    assert (" - tmpfs there " in seen) == (root != "runbindable")


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


def test_a_device_directory_in_a_user_namespace_is_its_roots(bundle: Bundle) -> None:
    bundle.users()
    bundle.config["mounts"].append({"destination": "/dev/shm", "type": "tmpfs", "source": "shm"})
    said = bundle.run("stat -c %u:%g /dev/. /dev/fd /dev/ptmx /dev/null; umount /dev/shm;"
                      " stat -c %u:%g /dev/shm; grep /dev /proc/self/mounts")  # fmt: skip
    assert said.split()[:5] == ["0:0"] * 5
    assert "tmpfs /dev tmpfs" in said


def test_words_that_the_namespace_around_us_has_locked(bundle: Bundle) -> None:
    """They stay where nothing is said, and to take one back is an error that says so."""
    host = bundle.place / "host"
    host.mkdir()
    locked = ["ro", "nosuid", "nodev", "noexec", "noatime"]
    one = {"containerID": 0, "hostID": 0, "size": 1}
    bundle.linux["namespaces"].append({"type": "user"})
    bundle.linux.update(uidMappings=[one], gidMappings=[one])
    bundle.process["args"] = ["cat", "/proc/mounts"]
    run = ["unshare", "--user", "--map-root-user", "--mount", *bundle.command, "run", IDENTITY]
    subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(locked), "x", host], check=True)
    try:
        for word, words in (("rnosuid", ""), ("rw", "/mounts/2/options"), ("exec", "is locked")):
            bundle.config["mounts"][2:] = [bind(host, "/tmp", word)]
            bundle.write()
            done = subprocess.run(
                run, cwd=bundle.path, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                timeout=20, check=False,
            )  # fmt: skip
            assert words in done.stderr and (done.returncode == 0) == (word == "rnosuid"), done
            for line in done.stdout.splitlines():
                if " /tmp " in line:
                    assert set(locked) <= set(line.split()[3].split(",")), line
            assert bundle.left() == [f"mount {host}"]
    finally:
        subprocess.run(["umount", host], check=True)


@pytest.mark.parametrize("words", [(), ("private",), ("rbind", "rslave")])
def test_a_volume_below_one_that_is_shared(bundle: Bundle, words: tuple[str, ...]) -> None:
    above, source = folder(bundle), folder(bundle, "below")
    bundle.config["mounts"] += [
        bind(above, "/tmp", "rbind", "rshared"), bind(source, "/tmp/x", *words),
    ]  # fmt: skip
    said = bundle.run("cat /proc/self/mountinfo")
    line = next(line for line in said.splitlines() if line.split()[4] == "/tmp/x")
    assert " shared:" not in line


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
