"""What a person who tried kokon found wrong, each with its test."""

from __future__ import annotations

import os
import stat
import tarfile
from pathlib import Path

import pytest
from leftovers import busybox_root

import kokon
from kokon import paths
from kokon.engine import sweep


@pytest.fixture
def root(tmp_path: Path) -> str:
    return busybox_root(tmp_path / "root")


def test_rw_does_not_change_a_tarball(root: str, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "r.tar", "w") as archive:
        archive.add(root, arcname=".")
    with pytest.raises(kokon.OptionError, match=r"rw=True: .*keep"):
        kokon.run(["true"], root=str(tmp_path / "r.tar"), rw=True)


def test_a_root_that_holds_the_store(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An overlay cannot lie over its own layers, and a copy would hold itself."""
    monkeypatch.setattr(paths, "store", lambda: f"{root}/var/kokon")
    with pytest.raises(kokon.RootError, match=r"holds kokon's own store .*@host"):
        kokon.run(["true"], root=root)


@pytest.mark.kernel
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make a node for the device")
def test_a_device_keeps_its_mode(root: str, tmp_path: Path) -> None:
    device = tmp_path / "zero"
    os.mknod(device, stat.S_IFCHR | 0o600, os.makedev(1, 5))
    device.chmod(0o600)
    result = kokon.run(
        ["sh", "-c", "stat -c %a /dev/mine; head -c 4 /dev/mine | wc -c"], root=root,
        user="1000", devices=[f"{device}:/dev/mine"], capture_output=True, text=True,
    )  # fmt: skip
    assert result.stdout.split() == ["600", "0"]
    assert "Permission denied" in result.stderr


def test_covers_of_python_are_closed() -> None:
    script = (
        "import errno, os, sysconfig\n"
        "path = sysconfig.get_path('purelib')\n"
        "if os.path.isdir(path):\n"
        "    try: open(path + '/x.py', 'w')\n"
        "    except OSError as e: print(errno.errorcode[e.errno])\n"
        "else: print('EROFS')\n"
    )
    result = kokon.run(["python3", "-c", script], root="@python", capture_output=True, text=True)
    assert result.stdout == "EROFS\n", result.stderr


def test_a_filter_that_refuses_everything(root: str, tmp_path: Path) -> None:
    profile = tmp_path / "p.json"
    profile.write_text('{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": []}')
    with pytest.raises(kokon.OptionError, match="refuses execve"):
        kokon.run(["true"], root=root, security_opt=[f"seccomp={profile}"])


def test_a_filter_that_refuses_the_end_of_init(root: str, tmp_path: Path) -> None:
    """init may not spin when even its exit is refused: here with arguments that it never has."""
    profile = tmp_path / "p.json"
    profile.write_text(
        '{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["execve", "exit_group"],'
        ' "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]}]}'
    )
    result = kokon.run(
        ["true"], root=root, security_opt=[f"seccomp={profile}"], timeout=20, init=False
    )
    assert result.returncode < 0  # by a fault of its own: nothing else is left to it


@pytest.mark.parametrize("name", ["a\nb", "a b", "-a", "", "x" * 65])
def test_names_that_are_none(root: str, name: str) -> None:
    with pytest.raises(kokon.OptionError, match="is no host name"):
        kokon.run(["true"], root=root, hostname=name)
    with pytest.raises(kokon.OptionError, match=r"host name|NAME:ADDRESS"):
        kokon.run(["true"], root=root, add_host=[f"{name}:10.0.0.1"])


@pytest.mark.parametrize("option", ["size=-1", "size=1Q", "mode=9999", "uid=x", "gid=9999999999"])
def test_tmpfs_options_that_are_none(root: str, option: str) -> None:
    with pytest.raises(kokon.KokonError, match=r"tmpfs='/x:.*': "):
        kokon.run(["true"], root=root, tmpfs=[f"/x:{option}"])


def test_a_rate_without_one(root: str) -> None:
    with pytest.raises(kokon.OptionError, match=r"device_read_bps='/dev/null': is not DEVICE:RATE"):
        kokon.run(["true"], root=root, device_read_bps=["/dev/null"])


def test_what_was_half_unpacked(root: str) -> None:
    """A process that was killed while it unpacked holds no lock any more."""
    kokon.run(["true"], root=root)
    store = Path(paths.store())
    left = store / "roots/staging/left-by-a-test"
    (left / "root/deep").mkdir(parents=True, mode=0o700)
    for path in (store / "roots", store / "roots/staging", left):
        path.chmod(0o700)
    sweep.sweep()
    assert not left.exists()


def test_what_is_kept_lies_outside_the_root(root: str) -> None:
    with pytest.raises(kokon.OptionError, match=r"^keep='.*/kept': lies in the root"):
        kokon.run(["true"], root=root, keep=f"{root}/kept")
    assert not Path(root, "kept").exists()


def test_a_clock_that_would_be_below_nought(root: str) -> None:
    with pytest.raises(kokon.StepError, match=r"out of range; a clock may not go below 0"):
        kokon.run(["true"], root=root, time="monotonic=-4000000000")


def test_a_misspelt_system_call_is_told(root: str, tmp_path: Path) -> None:
    (tmp_path / "profile").write_text(
        '{"defaultAction": "SCMP_ACT_ALLOW",'
        ' "syscalls": [{"names": ["mkdri"], "action": "SCMP_ACT_ERRNO"}]}'
    )
    done = kokon.run(["true"], root=root, security_opt=[f"seccomp={tmp_path}/profile"])
    assert [note for note in done.notes if "no system call mkdri: was mkdir meant?" in note]
