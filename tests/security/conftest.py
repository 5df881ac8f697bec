"""What the tests with real containers share: a root, the modes they run in, a compiled probe."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from crafted_tar import canary
from harness import BUSYBOX, NEEDS_ROOT, left_behind, make_root
from oci_container import Container

import kokon

MODES: dict[str, dict[str, Any]] = (
    {"private": {}, "host-ids": {"userns": "host"}} if os.geteuid() == 0 else {"ordinary": {}}
)
SECONDS = 90


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="session")
def busybox() -> Path:
    """A static busybox, and a machine where a container can be started at all."""
    if not BUSYBOX.exists() or b"ld-linux" in BUSYBOX.read_bytes()[:8192]:
        pytest.skip("needs a static busybox (package busybox-static)")
    return BUSYBOX


@pytest.fixture
def contained(store: Path, monkeypatch: pytest.MonkeyPatch, busybox: Path) -> Iterator[None]:
    """Nothing is left behind, and nothing hangs."""

    def too_late(_signal: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"the test took more than {SECONDS} seconds")

    store.chmod(0o700)
    monkeypatch.setenv("KOKON_STORE", str(store))
    before_handler = signal.signal(signal.SIGALRM, too_late)
    signal.alarm(SECONDS)
    try:
        warm_up(store)
        before = left_behind()
        yield
        assert left_behind() == before
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before_handler)


def warm_up(store: Path) -> None:
    """The first run opens what stays open: the lock of the owner and the sealed program."""
    root = store / "busybox"
    if not root.exists():
        make_root(root)
    try:
        kokon.run(["/bin/true"], root=root, timeout=20)
    except kokon.HostError as error:
        if os.geteuid() == 0 or "user namespaces" not in str(error):
            raise
        pytest.skip(f"no container can be started here: {error}")


@pytest.fixture
def root(tmp_path: Path, contained: None) -> Path:
    """A root that the test may make hostile."""
    return make_root(tmp_path / "R")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Path]:
    """H: what is of the host and must stay as it is."""
    with canary(tmp_path) as directory:
        yield directory


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Options for each way in which ids can be: root has two, an ordinary user one."""
    return dict(MODES[request.param])


@pytest.fixture(scope="session")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of probe.c, static."""
    out = tmp_path_factory.mktemp("probe") / "probe"
    source = Path(__file__).with_name("probe.c")
    if name := next((name for name in ("cc", "gcc", "clang") if shutil.which(name)), ""):
        command = [name]
    elif find_spec("ziglang"):
        command = [
            sys.executable,
            "-m",
            "ziglang",
            "cc",
            "-target",
            f"{os.uname().machine}-linux-musl",
        ]
    else:
        pytest.skip("needs a C compiler")
    subprocess.run([*command, "-O1", "-static", "-o", out, source], check=True)
    return out


@pytest.fixture
def probed(root: Path, probe: Path) -> Path:
    """A root with /bin/probe."""
    shutil.copy(probe, root / "bin/probe")
    return root


@pytest.fixture
def container(tmp_path: Path, probed: Path) -> Iterator[Container]:
    """A container of the OCI runtime, whose root has the probe; nothing of it is left."""
    if os.geteuid() != 0:
        pytest.skip(NEEDS_ROOT)
    container = Container(tmp_path, probed)
    yield container
    assert container.call("delete", "--force", container.name) == 0, container.said()
    assert container.left() == []
