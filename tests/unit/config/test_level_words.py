"""``--level`` and ``--require``: words that are none, and what the other options give up."""

from __future__ import annotations

from typing import Any

import pytest

from kokon.config import levels
from kokon.config.options import Options
from kokon.errors import OptionError


def options(root: str = "@host", **values: Any) -> Options:
    return Options(root, ("sh",), values)


@pytest.mark.parametrize("word", ["full", "best", "landlock"])
def test_levels(word: str) -> None:
    assert levels.level(options(level=word)) == word
    assert levels.level(options()) == "full"


def test_no_such_level() -> None:
    with pytest.raises(OptionError, match=r"^--level: there is no level 'Best'; give full"):
        levels.level(options(level="Best"))


def test_what_is_required() -> None:
    asked = options(require=("network, memory", "system-calls,pids-limit", "network"),
                    memory="1G", pids=9)  # fmt: skip
    assert levels.requirements(asked) == ("network", "memory", "system_calls", "pids")
    assert levels.requirements(options()) == ()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"require": ("netwrok",)}, "--require: there is no guarantee 'netwrok' (did you mean ne"),
        ({"require": ("",)}, "--require: there is no guarantee ''"),
        ({"require": ("network",), "network": "host"},
         "--require network: --network host gives it up; leave one of them out"),
        ({"require": ("processes",), "pid": "host"}, "--require processes: --pid host gives it up"),
        ({"require": ("processes",), "level": "landlock"}, "processes: --level landlock gives it"),
        ({"require": ("files",), "privileged": True}, "--require files: --privileged gives it up"),
        ({"require": ("system-calls",), "security_opt": ("seccomp=unconfined",)},
         "--require system-calls: --security-opt seccomp=unconfined gives it up"),
        ({"require": ("memory",)}, "--require memory: that limit is not asked; say how much"),
        ({"require": ("pids",), "memory": "1G"}, "say how much: --pids-limit"),
        ({"require": ("limits",)}, "--require limits: no limit is asked; give one"),
    ],
)  # fmt: skip
def test_what_cannot_be_required(values: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError) as caught:
        levels.requirements(options(**values))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"hostname": "x"}, "--hostname x: it cannot be had without namespaces"),
        ({"tmpfs": ("/x",)}, "--tmpfs /x: it cannot be had"),
        ({"privileged": True}, "--privileged: it cannot be had"),
        ({"user": "1"}, "--user 1: it cannot be had"),
        ({"pid": "private"}, "--pid private: it cannot be had"),
        (
            {"security_opt": ("no-new-privileges=false",)},
            "no-new-privileges=false: it cannot be had",
        ),
        ({"root": "/srv/root"}, "ROOT: without namespaces only @host and @python can be run, not"),
    ],
)
def test_what_needs_namespaces(values: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError) as caught:
        levels.check_lowest(options(**values))
    assert words in str(caught.value)


def test_what_does_not() -> None:
    levels.check_lowest(
        options(memory="1G", env=("A=b",), cwd="/", pid="host", cap_drop=("ALL",), read_only=True,
                network="host", volumes=("/srv:/srv",), init=True, ulimits=("nofile=9",),
                security_opt=("seccomp=unconfined",))
    )  # fmt: skip
