"""kokon as root of a container: a user namespace with ids of its own is around it."""

from __future__ import annotations

import ctypes
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from leftovers import busybox_root

import kokon
from kokon import paths
from kokon.engine import mappings, owner, sweep
from kokon.kernel import facts

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it maps a range of ids"),
]

CLONE_NEWUSER, CLONE_NEWNS = 0x10000000, 0x20000


ONE, TWO = "0 100000 65536\n", "0 100000 1\n1 200000 65535\n"


def inside(maps: tuple[str, str], place: Path, root: str, options: dict[str, Any]) -> str:
    """What ``id -u`` prints, and the maps, in a container within a user namespace with these maps
    of users and groups."""
    go, ready, answer = os.pipe(), os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        try:
            assert ctypes.CDLL(None).unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0
            os.write(ready[1], b"\0")
            os.read(go[0], 1)
            os.setgroups([])
            os.setresgid(0, 0, 0)
            os.setresuid(0, 0, 0)
            paths.state = lambda: f"{place}/state"
            os.environ["KOKON_STORE"] = f"{place}/store"
            owner._current, mappings._free, sweep._swept = None, [], os.getpid()
            result = kokon.run(["sh", "-c", "id -u; cat /proc/self/[ug]id_map"], root=root,
                               capture_output=True, **options)  # fmt: skip
            os.write(answer[1], result.stdout + result.stderr)
        except BaseException as error:
            os.write(answer[1], f"{type(error).__name__}: {error}".encode())
        os._exit(0)
    os.read(ready[0], 1)
    for file, lines in zip(("uid_map", "gid_map"), maps, strict=True):
        Path(f"/proc/{child}/{file}").write_text(lines)
    os.write(go[1], b"\0")
    os.waitpid(child, 0)
    text = os.read(answer[0], 4096).decode()
    for fd in (*go, *ready, *answer):
        os.close(fd)
    return text


@pytest.mark.parametrize(
    "maps", [(ONE, ONE), (TWO, TWO), (ONE, TWO)], ids=["one", "two", "groups-differ"]
)
@pytest.mark.parametrize(
    "options", [{}, {"rw": True}, {"volumes": ["/usr/share:/data:ro"]}], ids=["", "rw", "volume"]
)
def test_root_of_a_container_gives_on_the_ids_it_has(
    maps: tuple[str, str], options: dict[str, Any]
) -> None:
    if not facts.read().maps_all_ids:
        pytest.skip("needs the ids of the first user namespace")
    with tempfile.TemporaryDirectory() as directory:
        # Its owner is root in there; pytest's own directories are closed to it.
        host_root = int(maps[0].split()[1])
        place = Path(directory)
        root = busybox_root(place / "root")
        # Loads what a run needs: the interpreter's own files may be closed to the others.
        kokon.run(["true"], root=root, **options)
        for path in (place, *place.rglob("*")):
            os.chown(path, host_root, host_root, follow_symlinks=False)
        text = inside(maps, place, root, options)
        gid_map, uid_map = (
            [[first, first, size] for first, _, size in map(str.split, lines.splitlines())]
            for lines in reversed(maps)
        )
        assert [line.split() for line in text.splitlines()] == [["0"], *gid_map, *uid_map]
        shutil.rmtree(place / "store", ignore_errors=True)
