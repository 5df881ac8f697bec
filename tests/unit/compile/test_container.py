"""compile_container: what a spec may not ask, and what it comes to on another machine."""

from __future__ import annotations

from typing import Any

import pytest

from kokon.compile import mount_options
from kokon.compile.builder import MOST_SLOTS
from kokon.compile.container import compile_container
from kokon.compile.inputs import Launch, RootFacts, Source
from kokon.compile.process import candidates
from kokon.errors import HostError, KokonError, SpecError
from kokon.kernel.cgroups import CgroupLayout
from kokon.kernel.facts import HostFacts
from kokon.plan import check, ops
from kokon.plan.plan import Plan
from kokon.spec.runtime import (
    Capabilities,
    Device,
    IdMapping,
    Linux,
    Mount,
    Namespace,
    Process,
    ResourceLimit,
    Root,
    Seccomp,
    Spec,
    User,
)

EVERY = 2**41 - 1
KINDS = ("user", "mount", "pid", "ipc", "uts", "network", "cgroup")


def machine(**changes: Any) -> HostFacts:
    facts: dict[str, Any] = {
        "kernel": (6, 6), "architecture": "x86_64", "uid": 0, "gid": 0, "process_1": False,
        "capabilities": EVERY, "bounding": EVERY, "uid_map": ((0, 0, 2**32 - 1),),
        "gid_map": ((0, 0, 2**32 - 1),),
        "user_namespaces": 1000, "restriction": "", "security_module": "",
        "subordinate_uids": (), "subordinate_gids": (), "newuidmap": "", "newgidmap": "",
        "cgroups": CgroupLayout("none", []),
    }  # fmt: skip
    # A fact that is not of interest here is what every usual machine has.
    return HostFacts(**{**dict.fromkeys(HostFacts.__slots__, True), **facts, **changes})


USER = machine(uid=1000, gid=1000, capabilities=0)


def plan(
    host: HostFacts | None = None,
    *,
    process: dict[str, Any] | None = None,
    linux: dict[str, Any] | None = None,
    mounts: tuple[Mount, ...] = (),
    root: RootFacts | None = None,
    launch: Launch | None = None,
    **spec: Any,
) -> Plan:
    """The plan of a small spec with changes."""
    sources = {mount.source: Source(True, True) for mount in mounts}
    one = (IdMapping(0, 100000, 65536),)
    made = compile_container(
        Spec(
            root=Root("/r"),
            process=Process(**{"args": ("/bin/x",), **(process or {})}),
            linux=Linux(**{
                "namespaces": tuple(Namespace(kind) for kind in KINDS),
                "uid_mappings": one, "gid_mappings": one, **(linux or {}),
            }),
            mounts=mounts,
            **spec,
        ),
        host or machine(),
        root or RootFacts("directory", path="/r", sources=sources),
        launch or Launch(),
    )  # fmt: skip
    check.check(made)
    return made


def kinds(made: Plan) -> list[type[ops.Op]]:
    return [type(op) for op in made.ops]


@pytest.mark.parametrize(
    ("changes", "where", "words"),
    [
        ({"mounts": (Mount("x", "tmpfs"),)}, "/mounts/0/destination", "'x' is no absolute path"),
        ({"mounts": (Mount("/a/../b", "tmpfs"),)}, "/mounts/0/destination", "'/a/../b' has .. in"),
        ({"mounts": (Mount("/", "tmpfs"),)}, "/mounts/0/destination", "would hide the root"),
        ({"mounts": (Mount("//.", "tmpfs"),)}, "/mounts/0/destination", "would hide the root"),
        ({"mounts": (Mount("/proc", "tmpfs"),)}, "/mounts/0/destination", "could stand in for"),
        ({"mounts": (Mount("/proc/self", "tmpfs"),)}, "/mounts/0/destination", "could stand in"),
        ({"mounts": (Mount("/./proc/sys", "bind", "/a"),)}, "/mounts/0/destination", "could stand"),
        ({"mounts": (Mount("/sys", "tmpfs"),)}, "/mounts/0/destination", "hides the kernel's own"),
        ({"mounts": (Mount("/a", "nfs"),)}, "/mounts/0/type", "type 'nfs' is not possible"),
        ({"mounts": (Mount("/a", "overlay"),)}, "/mounts/0/type", "'overlay' is not possible"),
        ({"mounts": (Mount("/a", "tmpfs", options=("loop",)),)}, "/mounts/0/options", "'loop' is "),
        ({"linux": {"sysctl": {"kernel.panic": "1"}}}, "/linux/sysctl/kernel.panic", "whole machi"),
        ({"linux": {"sysctl": {"net/x": "1"}}}, "/linux/sysctl/net~1x", "no sysctl in dotted form"),
        ({"linux": {"sysctl": {"net..x": "1"}}}, "/linux/sysctl/net..x", "no sysctl in dotted for"),
        ({"linux": {"sysctl": {"net.x": "1"},
                    "namespaces": (Namespace("user"), Namespace("mount"))}},
         "/linux/sysctl/net.x", "would change the host: the container has no own network"),
        ({"linux": {"namespaces": (Namespace("mount", "/proc/1/ns/mnt"),)}},
         "/linux/namespaces/0/path", "cannot be made in another's mount namespace"),
        ({"process": {"args": ()}}, "/process/args", "there is no program to run"),
        ({"process": {"terminal": True}}, "/process/terminal", "a devpts of the container's own"),
        ({"process": {"rlimits": (ResourceLimit("RLIMIT_OPEN", 1, 1),)}},
         "/process/rlimits/0/type", "RLIMIT_OPEN is no resource limit"),
    ],
)  # fmt: skip
def test_what_a_spec_may_not_ask(changes: dict[str, Any], where: str, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        plan(**changes)
    assert caught.value.where == where
    assert words in caught.value.what
    assert caught.value.remedy or "no program" in words


def test_more_mounts_than_a_plan_has_descriptors() -> None:
    many = tuple(Mount(f"/m{number}", "tmpfs") for number in range(MOST_SLOTS))
    with pytest.raises(SpecError, match=r"more mounts and devices than fit a plan of 2048"):
        plan(mounts=many)


def test_sources_that_cannot_map_ids() -> None:
    bind = Mount("/data", "bind", "/srv")
    poor = RootFacts("directory", path="/r", sources={"/srv": Source(True, False)})
    with pytest.raises(HostError, match=r"of /srv, .* cannot map ids.*--userns host"):
        plan(mounts=(bind,), root=poor)
    with pytest.raises(HostError, match=r"of /r, .* cannot map ids; use --userns host"):
        plan(root=RootFacts("directory", path="/r", maps_ids=False))
    # Without root nothing is mapped by mounts.
    plan(USER, mounts=(bind,), root=poor)


def test_only_root_of_the_machine_maps_mounts_and_makes_nodes() -> None:
    dev = (Mount("/dev", "tmpfs"),)
    assert ops.Node in kinds(plan(mounts=dev))
    assert ops.UserNamespace in kinds(plan(mounts=dev))
    for host in (USER, machine(uid_map=((0, 100000, 65536),))):
        made = plan(host, mounts=dev)
        assert ops.Node not in kinds(made)
        assert ops.UserNamespace not in kinds(made)
        assert not any(isinstance(op, ops.MountAttributes) and op.set >> 20 & 1 for op in made.ops)
    no_mknod = machine(capabilities=EVERY ^ 1 << 27)
    assert ops.Node not in kinds(plan(no_mknod, mounts=dev))


def test_setgroups_is_denied_for_a_map_of_ones_own() -> None:
    """Without it the kernel refuses gid_map (user_namespaces(7)); and then no groups are set."""
    made = plan(USER)
    files = [op.file for op in made.ops if isinstance(op, ops.IdMap)]
    assert files == ["setgroups", "uid_map", "gid_map"]
    assert ops.Groups not in kinds(made)
    made = plan(USER, launch=Launch(map_by_parent=True))
    assert [kind for kind in kinds(made) if kind in (ops.IdMap, ops.AwaitParent)] == [
        ops.AwaitParent
    ]
    assert ops.Groups in kinds(made)
    made = plan()
    assert [op.file for op in made.ops if isinstance(op, ops.IdMap)] == ["uid_map", "gid_map"]


def test_the_process_1_of_a_container_does_not_adopt() -> None:
    assert [op.adopt for op in plan().ops if isinstance(op, ops.Clone)] == [1]
    clones = [op for op in plan(machine(process_1=True)).ops if isinstance(op, ops.Clone)]
    assert [op.adopt for op in clones] == [0]


def test_sys_admin_is_kept_over_the_filter_only_without_no_new_privileges() -> None:
    linux = {"seccomp": Seccomp(bytes(8))}
    sets = Capabilities(bounding=1, effective=1, permitted=1)
    for forbid, extra in ((True, 0), (False, 1 << 21)):
        process = {"capabilities": sets, "no_new_privileges": forbid}
        made = plan(linux=linux, process=process)
        (last,) = (op for op in made.ops if isinstance(op, ops.Capabilities))
        assert (last.effective, last.permitted) == (1 | extra, 1 | extra)
        # execve takes it away again: it is in no other set.
        (bounding,) = (op for op in made.ops if isinstance(op, ops.BoundingSet))
        assert (bounding.mask, last.inheritable) == (1, 0)
        assert (ops.NoNewPrivileges in kinds(made)) is forbid


def test_the_order_of_the_end() -> None:
    """Rows E5, E9, E16: what can still open files comes before what forbids it."""
    made = plan(
        linux={"seccomp": Seccomp(bytes(8))},
        process={
            "user": User(5, 6, (7,)), "no_new_privileges": True,
            "rlimits": (ResourceLimit("RLIMIT_NOFILE", 3, 3),),
        },
        launch=Launch(reaper=True),
    )  # fmt: skip
    last = [
        ops.Pivot, ops.WorkingDirectory, ops.Umask, ops.ResourceLimit, ops.BoundingSet, ops.Groups,
        ops.User, ops.NoNewPrivileges, ops.Capabilities, ops.ParentDeath, ops.Seccomp, ops.Reap,
        ops.CloseDescriptors, ops.Execute,
    ]  # fmt: skip
    end = kinds(made)[kinds(made).index(ops.Pivot) :]
    assert [kind for kind in end if kind in last] == last


def test_a_device_of_the_spec_wins_over_a_default_one() -> None:
    other = Device("/dev/null", "c", 10, 229, file_mode=0o600)
    made = plan(mounts=(Mount("/dev", "tmpfs"),), linux={"devices": (other,)})
    nodes = {op.path: op for op in made.ops if isinstance(op, ops.Node)}
    assert (nodes["null"].device, nodes["null"].mode) == (10 << 8 | 229, 0o020600)
    assert nodes["null"].why == "/linux/devices"
    assert nodes["zero"].why == "/mounts"


@pytest.mark.parametrize(
    ("program", "environment", "found"),
    [
        ("/bin/x", (), ("/bin/x",)),
        ("./x", ("PATH=/a",), ("./x",)),
        ("x", ("PATH=/a:/b",), ("/a/x", "/b/x")),
        ("x", ("PATH=/a", "PATH=/b"), ("/b/x",)),
        ("x", ("PATH=:/a",), ("./x", "/a/x")),
        ("x", ("PATH=",), ("./x",)),
    ],
)
def test_where_a_program_is_looked_for(
    program: str, environment: tuple[str, ...], found: tuple[str, ...]
) -> None:
    """As execvp(3) does, by the PATH of the container."""
    assert candidates(program, environment) == found


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        (("ro",), (1, 0, 0, 0)),
        (("ro", "rw"), (0, 1, 0, 0)),
        (("rw", "ro"), (1, 0, 0, 0)),
        (("rro", "nosuid"), (2, 0, 1, 0)),
        (("rnosuid", "rsuid"), (0, 0, 0, 2)),
        (("noatime",), (0x10, 0x70, 0, 0)),
        (("noatime", "relatime"), (0, 0x70, 0, 0)),
        (("noatime", "strictatime"), (0x20, 0x70, 0, 0)),
        (("noatime", "atime"), (0, 0x70, 0, 0)),
        (("strictatime", "atime"), (0x20, 0x70, 0, 0)),
        (("strictatime", "nostrictatime"), (0, 0x70, 0, 0)),
        (("noatime", "nostrictatime", "norelatime"), (0x10, 0x70, 0, 0)),
        (("atime",), (0, 0, 0, 0)),
        (("rnoatime", "ratime"), (0, 0, 0, 0x70)),
        # A word for the whole tree is one for its top, too.
        (("rw", "rro"), (0, 0, 1, 0)),
        (("ro", "rrw"), (0, 0, 0, 1)),
        (("rro", "rw"), (0, 1, 1, 0)),
        (("noatime", "nodev", "rrelatime"), (4, 0, 0, 0x70)),
        (("async", "nolazytime", "silent", "loud", "defaults"), (0, 0, 0, 0)),
    ],
)
def test_words_of_a_mount(options: tuple[str, ...], flags: tuple[int, int, int, int]) -> None:
    """The last word wins (mount(8))."""
    found = mount_options.parse("bind", options, "")
    assert (found.set, found.clear, found.recursive_set, found.recursive_clear) == flags


def test_an_option_of_another_file_system_is_refused() -> None:
    assert mount_options.parse("tmpfs", ("size=1m", "noswap"), "").data == [
        "size", "1m", "noswap", None,
    ]  # fmt: skip
    # The kernel has the last of these, too.
    assert mount_options.parse("proc", ("sync", "async", "silent"), "").data == [
        "sync", None, "async", None,
    ]  # fmt: skip
    for kind, option in (("proc", "size=1m"), ("bind", "size=1m"), ("tmpfs", "lowerdir=/"),
                         ("tmpfs", "context=x"), ("sysfs", "x"), ("bind", "sync"),
                         ("bind", "dirsync"), ("bind", "lazytime"), ("tmpfs", "iversion"),
                         ("tmpfs", "remount")):  # fmt: skip
        with pytest.raises(KokonError, match=f"is no mount option of {kind}"):
            mount_options.parse(kind, (option,), "/mounts/0/options")
