"""Rows M9, M13, M14, M15, M16 and M19: flags that stay, mounts that do not spread, words that are
no more than words."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from harness import (
    MS_BIND,
    MS_RDONLY,
    MS_REMOUNT,
    MS_SHARED,
    NEEDS_ROOT,
    attempt,
    forked,
    mount,
    mount_points,
    mounts,
    run,
)

import kokon

SEEN = {
    "M9": "the root is not sealed; `ro` is dropped",
    "M13": "`private` and `slave` leave what is mounted below a peer (it was so: found here); "
    "nothing is set",
    "M14": "flags are set on the topmost mount only (it was so); `rw` clears the host's (it did)",
    "M15": "chroot in place of pivot_root",
    "M16": "layers have the names of their directories; unknown words are passed on",
    "M19": "keys are not checked",
}

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("contained")]
Mode = dict[str, Any]
root_only = pytest.mark.skipif(os.geteuid() != 0, reason=NEEDS_ROOT)
KNOWN = Path("/proc/sys/kernel/core_pattern")


@pytest.mark.parametrize("kind", ["overlay", "directory"])
def test_m9_read_only_whatever_the_image_has(
    root: Path, mode: Mode, host: Path, tmp_path: Path, kind: str
) -> None:
    fds = root / "proc/self/fd"
    fds.mkdir(parents=True)
    for number in range(3, 12):
        (fds / str(number)).symlink_to(host)
    (root / "proc/thread-self").symlink_to(host)
    for name in ("hosts", "hostname", "resolv.conf"):
        (root / "etc" / name).write_text("")
    options: dict[str, Any] = {"read_only": True}
    points = ["/"]
    if kind == "overlay":
        (tmp_path / "V").mkdir()
        (tmp_path / "F").write_text("")
        options["volumes"] = [f"{tmp_path / 'V'}:/v:ro", f"{tmp_path / 'F'}:/f:ro"]
        points += ["/v", "/f"]
    out = run(
        root, "cat /proc/self/mountinfo; echo ---; for f in /new /v/new /etc/passwd /f; do"
        " echo x > $f; done; mkdir /etc/new; true", **options, **mode,
    )  # fmt: skip
    table, errors = out.split("---\n")
    found = mount_points(table)
    for point in (*points, "/sys", "/proc/sys"):
        assert "ro" in found[point][1].split(","), point
    refused = [line for line in errors.splitlines() if "Read-only file system" in line]
    assert len(refused) == (5 if kind == "overlay" else 4), errors


WORDS = ("", "private", "rprivate", "slave", "rslave", "shared", "rshared")


@root_only
@pytest.mark.parametrize("word", WORDS)
def test_m13_mounts_do_not_spread(root: Path, mode: Mode, tmp_path: Path, word: str) -> None:
    """What a container with SYS_ADMIN mounts in a volume stays there, but where sharing is asked.

    In the container's user namespace nothing may be shared either: see docs/security.md.
    """
    top = tmp_path / "T"
    top.mkdir()

    def work() -> None:
        mount("tmpfs", top, "tmpfs")
        mount("none", top, "", MS_SHARED)
        for name in ("sub", "here"):
            (top / name).mkdir()
        mount("tmpfs", top / "sub", "tmpfs")
        (top / "sub/there").mkdir()
        assert sum("shared:" in line for line in mounts() if str(top) in line) == 2
        before = mounts()
        volume = f"{top}:/v" + (f":{word}" if word else "")
        out = run(
            root, "mount -t tmpfs none /v/here && mount -t tmpfs none /v/sub/there && echo MOUNTED;"
            " umount /v/here; umount /v/sub/there; grep ' /v' /proc/self/mountinfo",
            volumes=[volume], cap_add=["SYS_ADMIN"], **mode,
        )  # fmt: skip
        assert "MOUNTED" in out
        peers = [line for line in out.splitlines() if "shared:" in line]
        assert len(peers) == {"shared": 2, "rshared": 2}.get(word, 0), out
        assert mounts() == before

    forked(work, own_mounts=True)


@root_only
@pytest.mark.parametrize("word", ["private", "slave"])
def test_m13_nothing_appears_on_the_host(root: Path, mode: Mode, tmp_path: Path, word: str) -> None:
    top = tmp_path / "T"
    top.mkdir()

    def work() -> None:
        mount("tmpfs", top, "tmpfs")
        mount("none", top, "", MS_SHARED)
        (top / "sub").mkdir()
        mount("tmpfs", top / "sub", "tmpfs")
        (top / "sub/there").mkdir()
        before = mounts()
        out = run(
            root, "mount -t tmpfs none /v/sub/there && echo MOUNTED",
            volumes=[f"{top}:/v:{word}"], cap_add=["SYS_ADMIN"], **mode,
        )  # fmt: skip
        assert "MOUNTED" in out
        assert mounts() == before

    forked(work, own_mounts=True)


def test_m13_the_default_is_private(root: Path, mode: Mode, tmp_path: Path) -> None:
    (tmp_path / "V").mkdir()
    out = run(root, "cat /proc/self/mountinfo", volumes=[f"{tmp_path / 'V'}:/v"], **mode)
    assert "shared:" not in out and "master:" not in out


FLAGS = {"ro": "ro", "nosuid": "nosuid", "nodev": "nodev", "noexec": "noexec"}


@root_only
@pytest.mark.parametrize("word", FLAGS)
def test_m14_flags_hold_for_what_is_mounted_below(
    root: Path, mode: Mode, tmp_path: Path, word: str
) -> None:
    top = tmp_path / "T"
    top.mkdir()

    def work() -> None:
        mount("tmpfs", top, "tmpfs")
        (top / "sub").mkdir()
        mount("tmpfs", top / "sub", "tmpfs")
        out = run(
            root, "cat /proc/self/mountinfo; echo ---; touch /v/new /v/sub/new",
            volumes=[f"{top}:/v:{word}"], **mode,
        )  # fmt: skip
        table, errors = out.split("---\n")
        found = mount_points(table)
        for point in ("/v", "/v/sub"):
            assert FLAGS[word] in found[point][1].split(","), point
        assert errors.count("Read-only") == (2 if word == "ro" else 0)

    forked(work, own_mounts=True)


@root_only
@pytest.mark.parametrize("word", ["", "rw", "nosuid", "rslave"])
def test_m14_flags_of_the_host_stay(root: Path, mode: Mode, tmp_path: Path, word: str) -> None:
    top = tmp_path / "T"
    top.mkdir()

    def work() -> None:
        mount("tmpfs", top, "tmpfs")
        locked = MS_REMOUNT | MS_BIND | MS_RDONLY | 0x2 | 0x4 | 0x8
        mount("none", top, "", locked)
        volume = f"{top}:/v" + (f":{word}" if word else "")
        out = run(root, "grep ' /v ' /proc/self/mountinfo; touch /v/x", volumes=[volume], **mode)
        assert " ro,nosuid,nodev,noexec" in out and "Read-only" in out

    forked(work, own_mounts=True)


@pytest.mark.parametrize("rw", [True, False], ids=["rw", "overlay"])
@pytest.mark.parametrize("capability", ["default", "ALL"])
def test_m15_no_way_out_of_the_root(
    probed: Path, mode: Mode, host: Path, rw: bool, capability: str
) -> None:
    (probed / "up").symlink_to("../../../../../../..")
    added = ["ALL"] if capability == "ALL" else []
    out = run(
        probed, f"cat /proc/self/mountinfo; echo ---; cat /up{host}/secret /..{host}/secret"
        f" /proc/self/root/..{host}/secret /proc/1/root/..{host}/secret 2>/dev/null;"
        f" probe walk {host}/secret", rw=rw, cap_add=added, **mode,
    )  # fmt: skip
    table, tried = out.split("---\n")
    assert "outside 2\n" in tried and "beneath 2\n" in tried
    assert "rejoined 2\n" in tried, tried
    assert ("setns ok" in tried) == (capability == "ALL")
    assert tried.startswith("chroot ok\nfchdir ok\nchroot . ok\n")
    fields = [line.split() for line in table.splitlines()]
    assert [f[4] for f in fields].count("/") == 1
    ids = {f[0] for f in fields}
    assert [f[4] for f in fields if f[1] not in ids] == ["/"], "no mount hangs on the old root"
    assert str(host.parent) not in table or rw


NAMES = ("a,b", "c\\d", "e\nf", "lowerdir=x,upperdir=y", "g:h", "i j", "k\\054l", "…", "\udcff")


@pytest.mark.parametrize("name", NAMES)
def test_m16_names_of_roots_and_stores(
    root: Path, mode: Mode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    renamed = root.rename(tmp_path / name)
    (renamed / "marker").write_text("this root")
    place = tmp_path / f"store {name}"
    place.mkdir(mode=0o700)
    monkeypatch.setenv("KOKON_STORE", str(place))
    assert run(renamed, "cat /marker; echo x > /written", **mode) == "this root"
    assert os.listdir(place / "writes") == []
    assert not (renamed / "written").exists()


@pytest.mark.parametrize("name", NAMES)
def test_m16_names_of_volumes(root: Path, mode: Mode, tmp_path: Path, name: str) -> None:
    source = tmp_path / "sources" / name
    source.mkdir(parents=True)
    (source / "marker").write_text("this volume")
    for volumes in ({str(source): "/v"}, [f"{source}:/v"]):
        out = attempt(root, ["/bin/cat", "/v/marker"], volumes=volumes, **mode)
        if ":" in name:
            assert isinstance(out, kokon.OptionError)
        else:
            assert out == "this volume"
    out = attempt(root, ["/bin/cat", "/v/marker"], mounts=[f"src={source},dst=/v"], **mode)
    assert isinstance(out, kokon.OptionError) if "," in name else out == "this volume"


@pytest.mark.parametrize("options", [
    {"mounts": ["type=bind,src=/etc,dst=/v,bind-propagation=shared,lowerdir=/"]},
    {"mounts": ["type=overlay,src=overlay,dst=/v,lowerdir=/"]},
    {"mounts": ["type=proc,src=proc,dst=/v"]},
    {"mounts": ["type=bind,src=/etc,dst=/v,bind-propagation=rshared,upperdir=/tmp"]},
    {"mounts": ["type=bind,src=/etc,dst=/v,bind-propagation=size=1"]},
    {"volumes": ["/etc:/v:ro,lowerdir=/"]},
    {"volumes": ["/etc:/v:remount"]},
    {"volumes": ["/etc:/v:idmap"]},
    {"tmpfs": ["/v:size=1m,lowerdir=/"]},
    {"tmpfs": ["/v:source=/etc"]},
    {"tmpfs": ["/v:mpol=default"]},
], ids=lambda o: next(iter(o.values()))[0])  # fmt: skip
def test_m16_options_are_a_closed_vocabulary(root: Path, mode: Mode, options: Mode) -> None:
    assert isinstance(attempt(root, ["/bin/true"], **options, **mode), kokon.OptionError)


REFUSED = (
    "kernel.core_pattern=x", "net/../kernel/core_pattern=x", "kernel/core_pattern=x",
    "net.../kernel.core_pattern=x", "net..kernel.core_pattern=x", ".kernel.core_pattern=x",
    "kernel.shm_rmid_forced/../core_pattern=x", "vm.drop_caches=1", "fs.suid_dumpable=1",
    "kernel.shm_rmid_forced.=1", "net.=1", "net=1", "net.ipv4.ip_forward.=1",
    "kernel.yama.ptrace_scope=0", "user.max_user_namespaces=1", "abi.vsyscall32=1",
    "kernel.domainname/=x", "fs.mqueue.../suid_dumpable=1", "fs.mqueue/../suid_dumpable=1",
)  # fmt: skip


@pytest.mark.parametrize("entry", REFUSED)
def test_m19_keys(root: Path, mode: Mode, entry: str) -> None:
    before = KNOWN.read_text()
    error = attempt(root, ["/bin/echo", "STARTED"], sysctls=[entry], **mode)
    assert isinstance(error, kokon.KokonError), error
    assert KNOWN.read_text() == before


SMUGGLED = (
    "1+kernel.core_pattern=x", "1\nkernel.core_pattern=x", "1 --kernel.core_pattern=x",
    "0\0/kernel/core_pattern",
)  # fmt: skip


@pytest.mark.parametrize("value", SMUGGLED)
def test_m19_a_value_is_one_write(root: Path, mode: Mode, value: str) -> None:
    before = KNOWN.read_text()
    try:
        attempt(root, ["/bin/true"], sysctls=[f"kernel.shm_rmid_forced={value}"], **mode)
    except ValueError:
        assert "\0" in value
    assert KNOWN.read_text() == before


@root_only
@pytest.mark.parametrize("key, options", [
    ("net.ipv4.ip_forward=1", {"network": "host"}),
    ("kernel.shm_rmid_forced=1", {"ipc": "host"}),
    ("fs.mqueue.msg_max=20", {"ipc": "host"}),
    ("kernel.domainname=x", {"uts": "host"}),
])  # fmt: skip
def test_m19_of_the_hosts_namespaces(root: Path, key: str, options: Mode) -> None:
    name = Path("/proc/sys", key.partition("=")[0].replace(".", "/"))
    before = name.read_text()
    error = attempt(root, ["/bin/echo", "STARTED"], sysctls=[key], **options)
    assert isinstance(error, kokon.KokonError)
    assert name.read_text() == before


def test_m19_of_its_own_namespaces(root: Path, mode: Mode) -> None:
    before = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()
    out = run(
        root, "cat /proc/sys/net/ipv4/ip_unprivileged_port_start",
        sysctls=["net.ipv4.ip_unprivileged_port_start=81"], **mode,
    )  # fmt: skip
    assert out == "81\n"
    assert Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text() == before
