"""Programs that do not want to end, and what is left of them; run in ``@python``."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import kokon

MARK = "KOKON_TEST_MARK"

COMMON = """
import ctypes, errno, os, signal, sys, time
libc = ctypes.CDLL(None, use_errno=True)
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
signal.signal(signal.SIGCHLD, signal.SIG_DFL)
def daemon(work):
    "Forks twice, in sessions of their own; nobody waits for it."
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.setsid() if os.getpid() != os.getsid(0) else None
            work()
        os._exit(0)
def for_ever():
    while True: time.sleep(1)
"""
"""Every program begins so: it ignores what can be ignored."""


class Result:
    """How an attack ended.

    :ivar seconds: how long it took, from the call to the end of all of it.
    """

    def __init__(self, done: kokon.CompletedProcess, seconds: float) -> None:
        self.cause = done.cause
        self.limits_hit = done.limits_hit
        self.usage = done.usage
        self.returncode = done.returncode
        self.stdout: bytes = done.stdout or b""
        self.stderr: bytes = done.stderr or b""
        self.seconds = seconds


def attack(script: str, *, root: str | Path = "@python", **options: Any) -> Result:
    """Runs a Python program to its end, whoever ends it; sees that nothing survives."""
    mark = f"{os.getpid()}-{time.monotonic_ns()}"
    settings: dict[str, Any] = {
        "stdin": kokon.DEVNULL, "stdout": kokon.PIPE, "stderr": kokon.PIPE, "timeout": 30,
        "env": {MARK: mark},
    }  # fmt: skip
    args = ["python3", "-I", "-S", "-c", COMMON + script]
    begun = time.monotonic()
    try:
        done = kokon.run(args, root=root, **{**settings, **options})
    except kokon.TimeoutExpired as error:
        assert error.result is not None
        done = error.result
    result = Result(done, time.monotonic() - begun)
    assert survivors(mark) == []
    return result


def survivors(mark: str) -> list[str]:
    """Processes of a run, by a variable that all of them have."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            environment = path.read_bytes()
        except OSError:
            continue
        if f"{MARK}={mark}".encode() in environment and path.parent.name != str(os.getpid()):
            found.append(path.parent.name)
    return found


def resident(key: str = "VmRSS") -> int:
    """Bytes of this process: now, or at most since it was last reset (VmHWM)."""
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(key))
    return int(line.split()[1]) << 10


@contextmanager
def flat(most: int) -> Iterator[None]:
    """The caller's memory grows by so many bytes at most, at any moment."""
    Path("/proc/self/clear_refs").write_text("5")
    before = resident()
    yield
    assert resident("VmHWM") - before < most


def needs(**limits: Any) -> None:
    """Skips with kokon's own sentence where such limits cannot be had."""
    try:
        kokon.run(["python3", "-c", ""], root="@python", **limits)
    except kokon.HostError as error:
        pytest.skip(str(error))
