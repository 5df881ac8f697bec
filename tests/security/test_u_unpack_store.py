"""Rows U5 and U9: what is unpacked, and what was, is out of everybody else's reach."""

from __future__ import annotations

import ctypes
import os
import tarfile
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from crafted_tar import END, canary, file, unpack_bytes

from kokon.errors import ArchiveError, HostError
from kokon.image import unpack as unpack_module
from kokon.image.store import Store

SEEN = {
    "U5": "links are followed",
    "U9": "0755; owner, mode or link not checked",
}


def modes(top: Path) -> set[int]:
    """Modes of the store's own directories, down to the trees."""
    ours = [
        top,
        *(p for p in top.rglob("*") if p.is_dir() and "root" not in p.relative_to(top).parts),
    ]
    return {path.stat().st_mode & 0o7777 for path in ours}


@pytest.mark.parametrize("umask", [0, 0o077])
def test_u9_the_store_is_private_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    shell = tarfile.TarInfo("bin/shell")
    shell.mode = 0o6755
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.addfile(shell)
    before = os.umask(umask)
    try:
        with Store(str(tmp_path / "deep/store")) as store:
            root = store.root_from_tarball(str(tmp_path / "a.tar"))
    finally:
        os.umask(before)
    assert modes(tmp_path / "deep/store") == {0o700}
    assert Path(root.path, "bin/shell").stat().st_mode & 0o7777 == 0o6755
    assert Path(root.path, "bin").stat().st_mode & 0o7777 == 0o755, "not by the umask"


def test_u9_staging_is_private_while_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.tar").write_bytes(file(b"f") + END)
    unpack, seen = unpack_module.unpack, set()

    def watched(*args: object, **options: object) -> object:
        seen.update(modes(tmp_path / "store"))
        return unpack(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(unpack_module, "unpack", watched)
    before = os.umask(0)
    try:
        with Store(str(tmp_path / "store")) as store:
            store.root_from_tarball(str(tmp_path / "a.tar"))
    finally:
        os.umask(before)
    assert seen == {0o700}


def test_u9_a_store_that_others_can_enter_is_refused(tmp_path: Path) -> None:
    store = tmp_path / "store"
    for mode in (0o701, 0o750, 0o777, 0o1777):
        store.mkdir()
        store.chmod(mode)
        with pytest.raises(HostError, match=r"can be entered by other users.*chmod 700"):
            Store(str(store))
        store.rmdir()
    (tmp_path / "elsewhere").mkdir(0o700)
    store.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HostError, match="is no directory that kokon may keep roots in"):
        Store(str(store))


@pytest.mark.kernel
@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_u9_another_user_neither_lists_nor_runs(tmp_path: Path) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as open_to_all:
        top = Path(open_to_all)
        top.chmod(0o755)
        with tarfile.open(tmp_path / "a.tar", "w") as tar:
            info = tarfile.TarInfo("shell")
            info.mode = 0o4755
            tar.addfile(info)
        with Store(str(top / "store")) as store:
            path = store.root_from_tarball(str(tmp_path / "a.tar")).path
        assert top.joinpath("store").stat().st_uid == 0
        child = os.fork()
        if not child:
            status = 0
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            for attempt in (
                lambda: os.listdir(top / "store"), lambda: os.stat(path),
                lambda: os.execv(path + "/shell", ["shell"]), lambda: Store(str(top / "store")),
            ):  # fmt: skip
                try:
                    attempt()
                    status = 1
                except (PermissionError, HostError):
                    pass
            os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        os.chown(top / "store", 65534, 65534)
        with pytest.raises(HostError, match="belongs to user 65534"):
            Store(str(top / "store"))


def test_u5_a_directory_exchanged_for_a_link_during_unpacking(tmp_path: Path) -> None:
    """Whoever could reach the staging tree would still not lead a write out of it."""
    libc = ctypes.CDLL(None)
    with canary(tmp_path) as host:
        root = tmp_path / "root"
        (root / "d").mkdir(parents=True)
        (root / "swap").symlink_to(host / "d")
        exchanges, ended = 0, False

        def flip() -> None:
            nonlocal exchanges
            a, b = os.fsencode(root / "d"), os.fsencode(root / "swap")
            while not ended:
                assert libc.renameat2(-100, a, -100, b, 2) == 0
                exchanges += 1

        thread = threading.Thread(target=flip)
        thread.start()
        data = b"".join(file(b"d/f%d" % i) + file(b"e/f") for i in range(20)) + END
        try:
            while thread.is_alive() and exchanges < 2000:
                with suppress(ArchiveError):
                    unpack_bytes(data, tmp_path)
        finally:
            ended = True
            thread.join()
        assert exchanges >= 2000
