"""Rows M11 to M22 against the OCI runtime: flags that stay, mounts that do not spread, words of a
document that are no more than words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from crafted_tar import snapshot
from harness import (
    MS_BIND,
    MS_REMOUNT,
    MS_SHARED,
    forked,
    mount,
    mount_call,
    mount_points,
    mounts,
    while_flipping,
)
from oci_container import Container
from test_m_flags import REFUSED, SMUGGLED
from test_m_kernel_files import CLOSED, HIDDEN, WRITES, find_tools

from kokon.spec.oci.default import default_spec
from kokon.spec.oci.json_text import load

SEEN = {
    "M11": "the container's group is shown writable",
    "M13": "the propagation of a bind is not set",
    "M14": "flags are set on the topmost mount only",
    "M15": "chroot in place of pivot_root",
    "M16": "unknown words are passed over, or on to the kernel",
    "M17": "links in a volume are the host's: its passwd was (found here)",
    "M18": "the working directory is made by its path below the bundle's root",
    "M19": "a namespace that is given is taken for the container's own (it was: found here)",
    "M20": "the label is not set",
    "M22": "there are no masks",
}

pytestmark = [pytest.mark.kernel]
KNOWN = Path("/proc/sys/kernel/core_pattern")


@pytest.fixture(autouse=True)
def unchanged(host: Path) -> Iterator[None]:
    """H, and the mounts of the machine, are as they were."""
    before = mounts()
    yield
    assert mounts() == before


@pytest.mark.parametrize("privileged", [False, True])
def test_m11_files_of_control_groups(container: Container, privileged: bool) -> None:
    """Also those that it mounts itself, where it may."""
    find_tools(container.root)
    (container.root / "mnt").mkdir()
    container.mount("/sys", "sysfs", "sysfs", "ro")
    container.mount("/sys/fs/cgroup", "cgroup", "cgroup", "ro")
    container.linux["namespaces"].append({"type": "cgroup"})
    if privileged:
        container.users()
        container.permit("SYS_ADMIN", "DAC_OVERRIDE")
    out = container.run(
        "for t in cgroup cgroup2; do mkdir /mnt/$t; mount -t $t x /mnt/$t 2>/dev/null; done;"
        f" rmdir /mnt/* 2>/dev/null; {WRITES}"
    )
    made = [line for line in out.splitlines() if line.startswith(("OPENED", "MADE"))]
    assert [line for line in made if not privileged or "/sys/fs/cgroup" in line] == []
    assert "looked at 0" not in out


@pytest.mark.parametrize("word", ["", "private", "rprivate", "slave", "rslave"])
def test_m13_mounts_do_not_spread(container: Container, tmp_path: Path, word: str) -> None:
    top = tmp_path / "T"
    top.mkdir()

    def work() -> None:
        mount("tmpfs", top, "tmpfs")
        mount("none", top, "", MS_SHARED)
        for name in ("sub", "here"):
            (top / name).mkdir()
        mount("tmpfs", top / "sub", "tmpfs")
        (top / "sub/there").mkdir()
        before = mounts()
        container.permit("SYS_ADMIN", "DAC_OVERRIDE")
        container.bind(top, "/v", *([word] if word else []))
        out = container.run(
            "mount -t tmpfs none /v/here && mount -t tmpfs none /v/sub/there && echo MOUNTED;"
            " grep ' /v' /proc/self/mountinfo"
        )
        assert "MOUNTED" in out and "shared:" not in out
        assert mounts() == before

    forked(work, own_mounts=True)


@pytest.mark.parametrize("word", ["ro", "nosuid", "nodev", "noexec"])
def test_m14_flags_of_what_is_below(container: Container, tmp_path: Path, word: str) -> None:
    top = tmp_path / "T"
    top.mkdir()

    def work() -> None:
        mount("tmpfs", top, "tmpfs")
        (top / "sub").mkdir()
        mount("tmpfs", top / "sub", "tmpfs")
        container.bind(top, "/v", f"r{word}")
        out = container.run("cat /proc/self/mountinfo; echo ---; touch /v/new /v/sub/new")
        table, errors = out.split("---\n")
        found = mount_points(table)
        assert all(word in found[at][1].split(",") for at in ("/v", "/v/sub")), found
        assert errors.count("Read-only") == (2 if word == "ro" else 0)

    forked(work, own_mounts=True)


def test_m14_flags_of_the_host_stay(container: Container, tmp_path: Path) -> None:
    top = tmp_path / "T"
    top.mkdir()

    def work() -> None:
        mount("tmpfs", top, "tmpfs")
        mount("none", top, "", MS_REMOUNT | MS_BIND | 0x1 | 0x2 | 0x4 | 0x8)
        container.bind(top, "/v")
        out = container.run("grep ' /v ' /proc/self/mountinfo; touch /v/x")
        assert " ro,nosuid,nodev,noexec" in out and "Read-only" in out

    forked(work, own_mounts=True)


@pytest.mark.parametrize("more", [(), ("SYS_ADMIN",)])
@pytest.mark.parametrize("hooked", [False, True], ids=["", "hook"])
def test_m15_no_way_out_of_the_root(
    container: Container, host: Path, more: tuple[str, ...], hooked: bool
) -> None:
    """Also where hooks had the machine's files before."""
    container.permit("SYS_CHROOT", "DAC_OVERRIDE", "DAC_READ_SEARCH", "SYS_PTRACE", *more)
    (container.root / "up").symlink_to("../../../../../../..")
    (container.root / "volume").symlink_to("/")
    container.bind(host / "d", "/volume")
    if hooked:
        container.config["hooks"] = {
            "createContainer": [{"path": "/bin/busybox", "args": ["true"]}]
        }
    out = container.run(
        f"cat /up{host}/secret /..{host}/secret /proc/self/root/..{host}/secret"
        f" /proc/1/root/..{host}/secret 2>/dev/null; cat /proc/self/mountinfo; echo ---;"
        f" probe walk {host}/secret"
    )
    table, tried = out.split("---\n")
    assert "outside 2\n" in tried and "beneath 2\n" in tried and "rejoined 2\n" in tried, tried
    fields = [line.split() for line in table.splitlines()]
    ids = {line[0] for line in fields}
    assert [line[4] for line in fields if line[1] not in ids] == ["/"], "the old root is there"


NAMES = ("a,b", "c\\d", "e\nf", "lowerdir=x,upperdir=y", "g:h", "i j", "k\\054l", "…")


@pytest.mark.parametrize("name", NAMES)
def test_m16_names(container: Container, tmp_path: Path, name: str) -> None:
    renamed = container.root.rename(tmp_path / name)
    (renamed / "marker").write_text("this root")
    source = tmp_path / "sources" / name
    source.mkdir(parents=True)
    (source / "marker").write_text("this volume")
    container.config["root"]["path"] = str(renamed)
    container.bind(source, "/v")
    container.bind(source, f"/{name}")
    (source / "inside").write_text("x")
    assert container.attempt("cat", "/marker", "/v/marker", f"/{name}/inside") == (
        0, "this rootthis volumex",
    )  # fmt: skip


@pytest.mark.parametrize("kind, options", [
    ("tmpfs", ["size=1m,lowerdir=/"]), ("tmpfs", ["lowerdir=/"]), ("bind", ["bind", "lowerdir=/"]),
    ("bind", ["bind", "ro,rw"]), ("bind", ["rbind", "mode=777"]), ("proc", ["root=/"]),
    ("devpts", ["newinstance", "lowerdir=/"]), ("sysfs", ["rbind=/etc"]),
], ids=str)  # fmt: skip
def test_m16_words_that_are_no_options(
    container: Container, host: Path, kind: str, options: list[str]
) -> None:
    container.mount("/proc" if kind == "proc" else "/v", kind, host / "d", *options)
    container.refused()


def test_m17_the_volumes_accounts(container: Container, host: Path, tmp_path: Path) -> None:
    """What kokon reads of a volume for a program's HOME is in the volume."""
    told = tmp_path / "told"
    told.write_text("x:y:0:0:z:/a-home-of-the-host:9\n")
    volume = tmp_path / "V"
    volume.mkdir()
    container.bind(volume, "/etc")
    for target in (told, Path(f"../{told.name}"), host / "fifo"):
        (volume / "passwd").symlink_to(target)
        assert container.attempt("sh", "-c", "echo $HOME") == (0, "/\n")
        (volume / "passwd").unlink()
    (volume / "own").write_text("x:y:0:0:z:/own:9\n")
    (volume / "passwd").symlink_to("own")
    assert container.attempt("sh", "-c", "echo $HOME") == (0, "/own\n")


def test_m17_files_of_the_engine(container: Container, host: Path, tmp_path: Path) -> None:
    for name, target in {"hosts": host / "secret", "resolv.conf": host / "new",
                         "hostname": host / "fifo", "mtab": "../../H/x"}.items():  # fmt: skip
        (container.root / "etc" / name).symlink_to(target)
        (tmp_path / name).write_text(f"of the engine: {name}\n")
        container.bind(tmp_path / name, f"/etc/{name}", "ro")
    (container.root / "run").symlink_to(host / "d")
    container.mount("/run/engine", "tmpfs", "tmpfs")
    out = container.run(
        "cat /etc/hosts /etc/resolv.conf /etc/hostname /etc/mtab; ls -d /run/engine"
    )
    assert out.count("of the engine") == 4 and out.endswith("/run/engine\n")


def test_m18_a_working_directory_behind_a_link(
    container: Container, host: Path, tmp_path: Path
) -> None:
    volume = tmp_path / "V"
    (volume / "there").mkdir(parents=True, mode=0o750)
    before = snapshot(volume)
    container.bind(volume, "/v")
    (container.root / "w").mkdir()
    (container.root / "l").symlink_to(host / "d")
    for cwd in ("/l/x", "/v/there"):
        container.process["cwd"] = cwd
        assert container.run("pwd").strip() == cwd.replace("/l", f"{host}/d")
    assert snapshot(volume) == before
    container.process["cwd"] = "/w/x/y"
    while_flipping(
        container.root / "w", container.root / "l", tmp_path / "count",
        lambda: container.attempt("true"),
    )  # fmt: skip


def test_m19_keys_and_values(container: Container) -> None:
    before = KNOWN.read_text()
    for entry in REFUSED:
        key, _, value = entry.partition("=")
        container.linux["sysctl"] = {key: value}
        container.refused()
    for value in SMUGGLED:
        container.linux["sysctl"] = {"kernel.shm_rmid_forced": value}
        container.attempt("true")
    assert KNOWN.read_text() == before


@pytest.mark.parametrize("kind, key", [
    ("network", "net.ipv4.ip_forward"), ("ipc", "kernel.shm_rmid_forced"),
    ("uts", "kernel.domainname"), ("uts", "/hostname"), ("uts", "/domainname"),
])  # fmt: skip
@pytest.mark.parametrize("given", [True, False], ids=["given", "left out"])
def test_m19_of_the_machines_namespaces(
    container: Container, kind: str, key: str, given: bool
) -> None:
    """Left out of the document, or given by their path."""
    name = {"network": "net"}.get(kind, kind)
    rest = [each for each in container.linux["namespaces"] if each["type"] != kind]
    mine = [{"type": kind, "path": f"/proc/self/ns/{name}"}] if given else []
    container.linux["namespaces"] = rest + mine

    def work() -> None:
        # Were it set, it would be set here.
        mount_call("unshare", 0x40000000 | 0x8000000 | 0x4000000)
        path = Path("/proc/sys/kernel" if key[0] == "/" else "/proc/sys")
        path /= key.lstrip("/").replace(".", "/")
        before = path.read_text()
        value = "changed" if kind == "uts" else str(1 - int(before))
        if key[0] == "/":
            container.config[key[1:]] = value
        else:
            container.linux["sysctl"] = {key: value}
        container.refused()
        assert path.read_text() == before

    forked(work)


@pytest.mark.parametrize("member, option, value", [
    ("apparmorProfile", "--apparmor", "no-such-profile"),
    ("selinuxLabel", "--process-label", "user_u:x:y_t:s0"),
])  # fmt: skip
def test_m20_a_label_that_cannot_be_set(
    container: Container, member: str, option: str, value: str
) -> None:
    container.process[member] = value
    container.refused()
    del container.process[member]
    container.start("sleep", "20")
    container.refused(verb=("exec", option, value, container.name, "echo", "STARTED"))


def test_m22_what_tells_of_the_host(container: Container) -> None:
    """By the document that the runtime writes; what else is hidden is the engine's to say."""
    document = load(default_spec().encode())
    for name in ("maskedPaths", "readonlyPaths"):
        container.linux[name] = document["linux"][name]
    container.config["mounts"] = document["mounts"]
    hidden = [path for path in HIDDEN if path in container.linux["maskedPaths"]]
    closed = [path for path in CLOSED if path.startswith(("/sys", *document["linux"]
                                                          ["readonlyPaths"]))]  # fmt: skip
    assert len(hidden) > 8 and len(closed) > 10
    out = container.run(
        f"for p in {' '.join(hidden)}; do [ -e $p ] || continue;"
        " if [ -d $p ]; then ls -A $p; else cat $p; fi; done;"
        f" for p in {' '.join(closed)}; do [ -f $p ] || continue;"
        " { true >> $p; } 2>/dev/null && echo OPENED $p; done; echo done"
    )
    assert out == "done\n"
