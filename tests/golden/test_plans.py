"""The plans of real command lines on a dozen machines, word for word: values in, values out.

A file in ``hosts`` is the facts of a machine, a file in ``plans`` one plan: each step in the words
of ``explain`` with why, then its op as it goes to init.  After a change that is meant:

    KOKON_GOLDEN=write pytest tests/golden      and read the difference
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from kokon.compile.assembly import Assembly, AssemblyBind
from kokon.compile.box import compile_program
from kokon.compile.container import compile_container
from kokon.compile.inputs import Launch, Reach, RootFacts, Source
from kokon.config.container import Surroundings, configure, namespaces
from kokon.config.options import Options
from kokon.kernel.facts import HostFacts
from kokon.plan import check, explain, wire
from kokon.plan.plan import Plan
from kokon.spec.runtime import IdMapping, Seccomp, Spec

HERE = Path(__file__).parent
HOSTS = {path.stem: json.loads(path.read_text()) for path in sorted(HERE.glob("hosts/*.json"))}

PRIVATE = (IdMapping(0, 1_000_000, 65536),)
MAPS = {
    "root-hybrid": PRIVATE, "root-v2": PRIVATE, "root-6.1": PRIVATE, "root-apparmor": PRIVATE,
    "user-subids": (IdMapping(0, 1000, 1), IdMapping(1, 100000, 65536)),
    "user-single": (IdMapping(0, 65534, 1),),
    "user-apparmor": (IdMapping(0, 1000, 1),),
    "root-in-container": (IdMapping(0, 0, 1), IdMapping(1, 1, 65536)),
}  # fmt: skip
HOST_ROOT = Assembly(
    "@host",
    writable=(("/home/user", 0o755), ("/tmp", 0o1777)),
    directories=(("/etc", 0o755),),
    links=(("/bin", "usr/bin"),),
    files=(("/etc/passwd", b"root:x:0:0::/home/user:/bin/sh\n", 0o644),),
    binds=(
        AssemblyBind("/usr", "/usr", True, why="programs"),
        AssemblyBind("/etc/ld.so.cache", "/etc/ld.so.cache", False, why="the dynamic linker"),
    ),
    empty=("/usr/local/lib/private",),
)


class Case:
    """A command line on a machine.

    :param root: ``overlay``, ``directory`` or ``assembly``; ``launch``: what the runtime hands in.
    """

    def __init__(self, host: str, root: str, values: Mapping[str, Any], **launch: Any) -> None:
        self.host = host
        self.root = root
        self.values = dict(values)
        self.compile = launch.pop("compile", compile_container)
        self.launch = launch


def in_box(spec: Spec, host: HostFacts, root: RootFacts, launch: Launch) -> Plan:
    return compile_program(spec, host, launch)


FULL = {
    "volumes": ("/srv/data:/data:ro",), "tmpfs": ("/scratch:size=1m",), "init": True,
    "hostname": "cocoon", "domainname": "example.org", "user": "1000:1000", "umask": "027",
    "devices": ("/dev/fuse",), "sysctls": ("net.ipv4.ip_forward=1",), "oom_score_adj": 100,
    "ulimits": ("nofile=64:128",), "cap_drop": ("ALL",), "cap_add": ("NET_BIND_SERVICE",),
    "env": ("A=b",), "time": "boottime=60",
}  # fmt: skip
REACH = Reach(("/usr", "/dev/null"), bytes(16), network=False)
LIMITS = {"memory": "100M", "pids": 32}
CASES = {
    "sh": Case("root-hybrid", "overlay", {}),
    "limits-on-v1": Case("root-hybrid", "overlay", LIMITS, tasks=("memory", "pids")),
    "limits-on-v2": Case("root-v2", "overlay", LIMITS, cgroup_directory=True),
    "everything": Case("root-v2", "overlay", FULL),
    "host-root": Case("root-v2", "assembly", {"init": True}),
    "userns-host": Case("root-hybrid", "directory", {"userns": "host", "rw": True}),
    "network-host": Case("root-hybrid", "overlay", {"network": "host"}),
    "privileged": Case("root-v2", "overlay", {"privileged": True}),
    "terminal": Case("root-v2", "overlay", {"tty": True}, terminal_size=(24, 80)),
    "linux-6.1": Case("root-6.1", "overlay", {"volumes": ("/srv/data:/data",)}),
    "read-only": Case("root-v2", "directory", {"read_only": True}),
    "in-a-container": Case("root-in-container", "overlay", {}),
    "user-with-subordinate-ids": Case("user-subids", "overlay", {}, map_by_parent=True),
    "user-with-one-id": Case("user-single", "overlay", {"init": True}),
    "user-host-root": Case("user-single", "assembly", {"volumes": ("/srv/data:/data:ro",)}),
    "user-network-host": Case("user-subids", "overlay", {"network": "host", "pid": "host"},
                              map_by_parent=True),
    "landlock": Case("user-single", "assembly", {"landlock": True}, landlock=True),
    "no-namespaces": Case("user-single", "assembly", {"init": True}, reach=REACH),
    "no-namespaces-root-6.1": Case("root-6.1", "assembly", {"network": "host"}, reach=REACH),
    "box": Case("root-v2", "overlay", LIMITS, cgroup_directory=True, box=True),
    "user-box": Case("user-single", "assembly", {"time": "boottime=60"}, box=True),
    "program-in-a-box": Case("root-hybrid", "overlay", {"init": True, "ulimits": ("nofile=64",)},
                             tasks=("memory", "pids"), compile=in_box),
    "user-program-in-a-box": Case("user-single", "assembly", {"tty": True}, compile=in_box),
    "file-of-a-box": Case("root-v2", "overlay", {}, compile=in_box, transfer=True),
    "user-apparmor": Case("user-apparmor", "overlay", {}),
    "apparmor-profile": Case("root-apparmor", "overlay", {
        "security_opt": ("apparmor=kokon-default", "no-new-privileges=false")}),
}  # fmt: skip


def root_facts(kind: str) -> RootFacts:
    sources = {
        path: Source(directory, True)
        for path, directory in (("/srv/data", True), ("/proc", True), ("/sys", True),
                                ("/dev/mqueue", True))
    }  # fmt: skip
    if kind == "overlay":
        return RootFacts(
            "overlay", path="/images/r", lowers=("/images/r",), upper="/store/w", sources=sources
        )
    if kind == "directory":
        return RootFacts("directory", path="/images/r", sources=sources)
    return RootFacts("assembly", assembly=HOST_ROOT, sources=sources)


def lines(case: Case) -> list[str]:
    """One plan as text: a line of words and a line of arguments for each step."""
    host = HostFacts.from_dict(HOSTS[case.host])
    root = {"assembly": "@host"}.get(case.root, "/images/r")
    options = Options(root, ("sh", "-c", "echo it works"), case.values)
    lowest = "reach" in case.launch
    mapped = MAPS[case.host] if "user" in namespaces(options, host, {}) and not lowest else ()
    user = int(case.values.get("user", "0").partition(":")[0])
    configuration = configure(
        options,
        host,
        Surroundings(
            uid=user, gid=user, groups=(), home="/root", caller={"SECRET": "no"},
            uid_mappings=mapped, gid_mappings=mapped, terminal=bool(options.tty),
            devices={"/dev/fuse": ("c", 10, 229, 0o666)}, lowest=lowest,
        ),
    )  # fmt: skip
    if configuration.spec.linux.seccomp:
        # The filter has its own tests; here it would only make lines that always change.
        configuration.spec.linux.seccomp = Seccomp(bytes(8))
    launch = Launch(
        reaper=bool(options.init),
        files={"/etc/hosts": b"127.0.0.1\tlocalhost\n"},
        **case.launch,
    )
    plan = case.compile(configuration.spec, host, root_facts(case.root), launch)
    check.check(plan)
    assert wire.decode(wire.encode(plan))[1] == len(plan.inherited)
    result = [f"{name} is inherited" for name in plan.inherited]
    result += [f"note: {note}" for note in plan.notes]
    for op, step in zip(plan.ops, explain.steps(plan, configuration.asked), strict=True):
        arguments = [json.dumps(step["arguments"][name]) for name, _ in op.WIRE]
        result.append(f"{step['where']:7} {step['does']}  [{step['why']}]")
        result.append(" ".join(("     ", step["op"], *arguments)))
    return result


@pytest.mark.parametrize("name", CASES)
def test_the_plan_is_what_it_was(name: str) -> None:
    text = "\n".join(lines(CASES[name])) + "\n"
    path = HERE / "plans" / f"{name}.txt"
    if os.environ.get("KOKON_GOLDEN") == "write":
        path.write_text(text)
    assert text.splitlines() == path.read_text().splitlines(), "KOKON_GOLDEN=write writes it anew"


def test_every_file_belongs_to_a_case() -> None:
    assert {path.stem for path in HERE.glob("plans/*")} == set(CASES)
    assert {case.host for case in CASES.values()} == set(HOSTS) == set(MAPS)


@pytest.mark.parametrize("name", CASES)
def test_the_same_values_give_the_same_plan(name: str) -> None:
    assert lines(CASES[name]) == lines(CASES[name])


@pytest.mark.parametrize("name", HOSTS)
def test_facts_survive_json(name: str) -> None:
    facts = HostFacts.from_dict(HOSTS[name])
    assert json.loads(json.dumps(facts.to_dict())) == HOSTS[name]
