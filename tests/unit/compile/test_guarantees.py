"""On which rung a plan stands."""

from __future__ import annotations

from typing import Any

import pytest
from test_container import USER, machine
from test_lacks import plan_of

from kokon.compile.guarantees import rungs
from kokon.compile.inputs import Launch, Reach, RootFacts
from kokon.compile.lowest import compile_lowest
from kokon.config.container import Surroundings, configure
from kokon.config.options import Options
from kokon.plan import check
from kokon.plan.plan import Plan


def lowest(landlock: int = 7, reaper: bool = True, network: bool = False, **values: Any) -> Plan:
    """A plan without namespaces on a kernel with this version of Landlock."""
    host = machine(uid=1000, gid=1000, capabilities=0, landlock=landlock)
    around = Surroundings(uid=1000, gid=1000, groups=(), home="/h", caller={}, lowest=True)
    spec = configure(Options("@host", ("sh",), values), host, around).spec
    reach = Reach(("/usr",), bytes(8), network)
    plan = compile_lowest(spec, host, RootFacts("machine"), Launch(reaper=reaper), reach)
    check.check(plan)
    return plan


def held(plan: Plan) -> tuple[str, ...]:
    found = rungs(plan)
    return tuple(found[name] for name in ("files", "processes", "network", "system_calls"))


MACHINE = ("machine", "machine", "machine")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, ("mounts", "namespace", "namespace", "filter")),
        ({"network": "host"}, ("mounts", "namespace", "host", "filter")),
        ({"pid": "host"}, ("mounts", "host", "namespace", "filter")),
        ({"security_opt": ("seccomp=unconfined",)}, ("mounts", "namespace", "namespace", "none")),
        ({"privileged": True}, (*MACHINE, "none")),
        ({"userns": "host"}, ("mounts", "namespace", "namespace", "filter")),
        ({"userns": "host", "cap_add": ("SYS_ADMIN",)}, (*MACHINE, "filter")),
        ({"userns": "host", "cap_add": ("SYS_PTRACE",)}, (*MACHINE, "filter")),
        ({"cap_add": ("SYS_ADMIN",)}, ("mounts", "namespace", "namespace", "filter")),
    ],
)
def test_with_namespaces(values: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert held(plan_of(**values)) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, ("landlock", "landlock", "filter", "filter")),
        ({"reaper": False}, ("landlock", "landlock-alone", "filter", "filter")),
        ({"network": True}, ("landlock", "landlock", "host", "filter")),
        ({"landlock": 5}, ("landlock", "traces", "filter", "filter")),
        ({"landlock": 2}, ("landlock", "traces", "filter", "filter")),
    ],
)
def test_without(values: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert held(lowest(**values)) == expected


def test_a_user_without_privileges() -> None:
    assert USER.capabilities == 0
    assert held(plan_of("user", privileged=True))[:3] == ("mounts", "namespace", "namespace")
