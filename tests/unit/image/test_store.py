from __future__ import annotations

import io
import multiprocessing
import os
import signal
import tarfile
import threading
import time
from pathlib import Path

import pytest

from kokon.errors import ArchiveError, HostError, RootError
from kokon.image import store as store_module
from kokon.image import unpack as unpack_module
from kokon.image.store import Store
from kokon.image.stored_root import decode, encode
from kokon.image.unpack import Unpacked


def tarball(path: Path, text: str = "text", files: int = 1) -> str:
    with tarfile.open(path, "w:gz") as tar:
        for i in range(files):
            info = tarfile.TarInfo(f"file{i}")
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    aged(path)
    return str(path)


def aged(path: Path) -> None:
    """Times in the past, and a ctime that counts as steady (see the fixture)."""
    os.utime(path, (10**9, 10**9))


@pytest.fixture(autouse=True)
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_STEADY_AFTER", 0)


def no_unpacking(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("unpacked again")

    monkeypatch.setattr(unpack_module, "unpack", refuse)


def left(top: Path) -> list[str]:
    return os.listdir(top / "staging") if (top / "staging").exists() else []


def test_unpacked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tarball(tmp_path / "a.tar.gz")
    with Store(str(tmp_path / "store")) as store:
        first = store.root_from_tarball(path)
        assert Path(first.path, "file0").read_text() == "text"
        no_unpacking(monkeypatch)
        second = store.root_from_tarball(path)
        assert (first.fresh, second.fresh) == (True, False)
        second.fresh = True
        assert {n: getattr(first, n) for n in first.__slots__} == {
            n: getattr(second, n) for n in second.__slots__
        }
        # A copy and a touched file have the same content: hashed, not unpacked.
        assert store.root_from_tarball(tarball_copy(path)).path == first.path
        os.utime(path)
        assert store.root_from_tarball(path).path == first.path
    assert left(tmp_path / "store") == []
    assert len(os.listdir(tmp_path / "store/known")) == 2, "the old times are forgotten"


def tarball_copy(path: str) -> str:
    Path(path + ".copy").write_bytes(Path(path).read_bytes())
    return path + ".copy"


def test_a_changed_tarball_is_another_root(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    with Store(str(tmp_path / "store")) as store:
        one = store.root_from_tarball(tarball(path, "one"))
        two = store.root_from_tarball(tarball(path, "two"))
        assert Path(one.path, "file0").read_text() == "one"
        assert Path(two.path, "file0").read_text() == "two"


def test_a_file_that_may_still_change_is_hashed_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal size, equal times: only the content tells these two apart."""
    monkeypatch.setattr(store_module, "_STEADY_AFTER", 10**18)
    monkeypatch.setattr(store_module, "_name", lambda status: "the-same")
    path = tmp_path / "a.tar.gz"
    with Store(str(tmp_path / "store")) as store:
        for text in ("one", "two"):
            root = store.root_from_tarball(tarball(path, text))
            assert Path(root.path, "file0").read_text() == text


def test_a_warm_start_imports_little(tmp_path: Path) -> None:
    import subprocess
    import sys

    import kokon

    path = tarball(tmp_path / "a.tar.gz")
    with Store(str(tmp_path / "store")) as store:
        store.root_from_tarball(path)
    source = str(Path(kokon.__file__).parents[1])
    code = (
        f"import sys; sys.path.insert(0, {source!r}); from kokon.image.store import Store\n"
        f"Store({str(tmp_path / 'store')!r}).root_from_tarball({path!r})\n"
        "assert not {'json', 'typing', 're', 'ctypes', 'hashlib', 'fcntl', 'threading',"
        " 'kokon.image.unpack'} & set(sys.modules), sys.modules"
    )
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True)


@pytest.mark.parametrize("size", [0, 1, 100, 400])
def test_nothing_is_left_of_a_bad_archive(tmp_path: Path, size: int) -> None:
    path = Path(tarball(tmp_path / "a.tar.gz", files=2000))
    os.truncate(path, size)
    with Store(str(tmp_path / "store")) as store:
        with pytest.raises(ArchiveError, match=r"a\.tar\.gz") as caught:
            store.root_from_tarball(str(path))
        assert "; " in str(caught.value)
    assert left(tmp_path / "store") == []
    assert os.listdir(tmp_path / "store/roots/sha256") == []
    assert os.listdir(tmp_path / "store/known") == []


def test_what_is_no_tarball(tmp_path: Path) -> None:
    with Store(str(tmp_path / "store")) as store:
        for path, match in (
            (tmp_path / "none", "none: cannot be opened: No such file"),
            (tmp_path, "neither a file nor a pipe"),
            (Path("/dev/zero"), "neither a file nor a pipe"),
        ):
            with pytest.raises(RootError, match=match):
                store.root_from_tarball(str(path))
    assert not (tmp_path / "store/staging").exists()


def test_a_pipe(tmp_path: Path) -> None:
    data = Path(tarball(tmp_path / "a.tar.gz")).read_bytes()
    os.mkfifo(tmp_path / "fifo")
    with Store(str(tmp_path / "store")) as store:
        roots = set()
        for _ in range(2):
            writer = threading.Thread(target=lambda: (tmp_path / "fifo").write_bytes(data))
            writer.start()
            roots.add(store.root_from_tarball(str(tmp_path / "fifo")).path)
            writer.join()
        roots.add(store.root_from_tarball(str(tmp_path / "a.tar.gz")).path)
    assert len(roots) == 1
    assert left(tmp_path / "store") == []


def start(top: str, path: str, results: multiprocessing.Queue[str]) -> None:
    with Store(top) as store:
        results.put(store.root_from_tarball(path).path)


def test_several_processes_at_once(tmp_path: Path) -> None:
    """Four with one file, two with a copy of it: one root, and every process has it whole."""
    path = tarball(tmp_path / "a.tar.gz", files=3000)
    paths = [path] * 4 + [tarball_copy(path)] * 2
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    workers = [
        context.Process(target=start, args=(str(tmp_path / "store"), p, results)) for p in paths
    ]
    for worker in workers:
        worker.start()
    found = {results.get(timeout=60) for _ in workers}
    for worker in workers:
        worker.join()
    assert len(found) == 1
    assert len(os.listdir(found.pop())) == 3000
    assert left(tmp_path / "store") == []


def stall(top: str, path: str, ready: int) -> None:
    def hang(*_: object, **__: object) -> None:
        os.write(ready, b"x")
        time.sleep(60)

    unpack_module.unpack = hang  # type: ignore[assignment]
    with Store(top) as store:
        store.root_from_tarball(path)


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    path, other = tarball(tmp_path / "a.tar.gz"), tarball(tmp_path / "b.tar.gz", "other")
    reading, writing = os.pipe()
    worker = multiprocessing.get_context("fork").Process(
        target=stall, args=(str(tmp_path / "store"), path, writing)
    )
    worker.start()
    os.read(reading, 1)
    with Store(str(tmp_path / "store")) as store:
        store.root_from_tarball(other)
        assert len(left(tmp_path / "store")) == 1, "the living keep theirs"
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        worker.join()
        store.root_from_tarball(other)
        assert left(tmp_path / "store") == []
        assert Path(store.root_from_tarball(path).path, "file0").exists()
    os.close(reading)
    os.close(writing)


def test_a_root_of_an_earlier_boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tarball(tmp_path / "a.tar.gz")
    with Store(str(tmp_path / "store")) as store:
        root = store.root_from_tarball(path)
        Path(root.path, "file0").write_text("")  # as if its data had been lost
        monkeypatch.setattr(store_module, "_boot_id", lambda: "the-next-boot")
        root = store.root_from_tarball(path)
        assert Path(root.path, "file0").read_text() == "text", "unpacked again"
        monkeypatch.setattr(store_module, "_uptime", lambda: root.uptime + 301)
        store.root_from_tarball(path)
        monkeypatch.setattr(store_module, "_boot_id", lambda: "one-more-boot")
        no_unpacking(monkeypatch)
        assert store.root_from_tarball(path).path == root.path
    assert left(tmp_path / "store") == []


def test_a_damaged_meta_is_no_root(tmp_path: Path) -> None:
    path = tarball(tmp_path / "a.tar.gz")
    with Store(str(tmp_path / "store")) as store:
        root = store.root_from_tarball(path)
        meta = Path(root.path).parent / "meta"
        for content in (b"", meta.read_bytes()[:40], b"\xff", b"kokon-root 2\nend"):
            meta.write_bytes(content)
            assert Path(store.root_from_tarball(path).path, "file0").read_text() == "text"


def test_meta_round_trip() -> None:
    skipped = (("/dev/a b\t\n\udcff", "device"), ("/ü", "why\\x"))
    made = Unpacked(entries=1, bytes=2, digest="d", squashed=3, skips=4, skipped=skipped)
    back = decode(encode(made, "boot", 7), "/p", "d")
    assert back is not None
    assert (back.entries, back.bytes, back.squashed, back.skips) == (1, 2, 3, 4)
    assert (back.skipped, back.boot, back.uptime) == (skipped, "boot", 7)


def test_a_store_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HostError, match=r"cannot be made|is no directory"):
        Store(str(tmp_path / "file/store"))


def test_what_is_known_of_tarballs_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_KNOWN_AT_MOST", 5)
    with Store(str(tmp_path / "store")) as store:
        for number in range(12):
            path = tarball(tmp_path / f"{number}.tar.gz", str(number))
            first = store.root_from_tarball(path)
            assert store.root_from_tarball(path).path == first.path
            assert 1 <= len(os.listdir(tmp_path / "store/known")) <= 5
