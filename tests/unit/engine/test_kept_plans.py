from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from kokon.compile.assembly import Assembly
from kokon.compile.container import compile_container
from kokon.compile.inputs import Launch, RootFacts
from kokon.config.container import Surroundings, configure
from kokon.config.options import Options
from kokon.engine import plans
from kokon.errors import KokonError, OptionError, SpecError
from kokon.kernel import facts
from kokon.plan import wire
from kokon.spec.runtime import IdMapping

HOST = facts.read()


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(plans, "_recipes", {})
    yield


def options(*args: str, **values: Any) -> Options:
    return Options("/srv/root", args or ("/bin/true",), {"init": True, **values})


def around(**changed: Any) -> Surroundings:
    values: dict[str, Any] = {"uid": 0, "gid": 0, "groups": (0,), "home": "/root", "caller": {}}
    values["uid_mappings"] = values["gid_mappings"] = (IdMapping(0, 100000, 65536),)
    return Surroundings(**{**values, **changed})


def root(**changed: Any) -> RootFacts:
    return RootFacts(**{"kind": "directory", "path": "/srv/root", **changed})


def made(asked: Options, surroundings: Surroundings, facts: RootFacts, launch: Launch) -> bytes:
    return wire.encode(plans.recipe(asked, HOST, surroundings).plan(asked, facts, launch))


def anew(asked: Options, surroundings: Surroundings, facts: RootFacts, launch: Launch) -> bytes:
    spec = configure(asked, HOST, surroundings).spec
    return wire.encode(compile_container(spec, HOST, facts, launch))


ONE, OTHER = Assembly("@host"), Assembly("@host")
OPTIONS = [
    options(), options("/bin/echo", "a"), options("echo", "a", "b"), options(read_only=True),
    options(env=("A=1",)), options(env=("A=2",)), options("sh", env=("PATH=/opt/bin",)),
    options(pids=1), options(cap_drop=("ALL",)), options(hostname="a"), options(tmpfs=("/tmp",)),
    options(security_opt=("seccomp=unconfined",)), options(cwd="/tmp"),
]  # fmt: skip
SURROUNDINGS = [
    around(), around(uid=1), around(gid=1), around(groups=(0, 1)), around(home="/"),
    around(uid_mappings=(IdMapping(0, 200000, 65536),)), around(masked=("/sys/a",)),
    around(devices={"/dev/fuse": ("c", 10, 229, 0o666)}), around(root_environment={"A": "b"}),
    around(root_working_directory="/tmp"), around(gid_mappings=(IdMapping(0, 200000, 65536),)),
]  # fmt: skip
ROOTS = [
    root(), root(path="/srv/other"),
    root(kind="overlay", lowers=("/srv/root",), upper="/w/1"),
    root(kind="overlay", lowers=("/srv/root",), upper="/w/2"),
    root(kind="overlay", lowers=("/srv/root",), upper="/w/2", volatile=False),
    root(kind="assembly", assembly=ONE), root(kind="assembly", assembly=OTHER),
]  # fmt: skip
LAUNCHES = [
    Launch(), Launch(reaper=True), Launch(tasks=("memory",)), Launch(files={"/etc/hosts": b"a"}),
    Launch(files={"/etc/hosts": b"b"}), Launch(parent_death=False), Launch(cgroup_directory=True),
    Launch(map_by_parent=True),
]  # fmt: skip


@pytest.mark.parametrize("attempt", ["made", "kept"])
def test_a_kept_plan_is_the_one_that_would_be_made_anew(
    attempt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plans, "MOST", 1000)
    cases = [(each, around(), root(), Launch()) for each in OPTIONS]
    cases += [(options(), each, root(), Launch()) for each in SURROUNDINGS]
    cases += [(options(), around(), each, Launch()) for each in ROOTS]
    cases += [(options(), around(), root(), each) for each in LAUNCHES]
    if attempt == "kept":
        for case in cases:
            made(*case)
    for case in cases:
        assert decoded(made(*case)) == decoded(anew(*case))


def decoded(encoded: bytes) -> object:
    return wire.decode(encoded)


def test_only_the_program_differs() -> None:
    recipe = plans.recipe(options("/bin/a"), HOST, around())
    first = recipe.plan(options("/bin/a"), root(), Launch())
    assert plans.recipe(options("b", "c"), HOST, around()) is recipe
    second = recipe.plan(options("b", "c"), root(), Launch())
    assert first.template is second.template is not None
    assert second.ops[:-1] == first.ops[:-1]
    assert vars_of(second.ops[-1])["arguments"] == ("b", "c")
    assert recipe.configuration.running(("b", "c")).asked["/process/args"] == "b c"
    assert recipe.configuration.running(("b", "c")).spec.process.args == ("b", "c")
    assert recipe.configuration.spec.process.args == ("/bin/a",)


def vars_of(op: Any) -> dict[str, object]:
    fields: dict[str, object] = op.fields()
    return fields


@pytest.mark.parametrize(
    "values",
    [{"volumes": ("/tmp:/mnt",)}, {"env": ("HOME",)}, {"mounts": ("type=bind,src=/a,dst=/b",)}],
)
def test_nothing_is_kept_of_what_depends_on_more(values: dict[str, Any]) -> None:
    asked = options(**values)
    assert plans.recipe(asked, HOST, around()) is not plans.recipe(asked, HOST, around())


def test_equal_numbers_of_other_types_are_other_options() -> None:
    plans.recipe(options(pids=1), HOST, around())
    with pytest.raises(OptionError):
        plans.recipe(options(pids=1.0), HOST, around())


def test_a_value_without_a_hash_is_an_option_error() -> None:
    with pytest.raises((KokonError, TypeError, AttributeError)):
        plans.recipe(options(memory=["100M"]), HOST, around())


def test_no_program() -> None:
    nothing = Options("/srv/root", (), {})
    recipe = plans.recipe(options(), HOST, around())
    with pytest.raises(SpecError):
        recipe.plan(nothing, root(), Launch())


def test_what_is_kept_does_not_grow_for_ever() -> None:
    for number in range(3 * plans.MOST):
        recipe = plans.recipe(options(hostname=f"h{number}"), HOST, around())
        recipe.plan(options(), root(), Launch())
    assert len(plans._recipes) <= plans.MOST
    for number in range(3 * plans.MOST):
        recipe.plan(options(), root(path=f"/srv/{number}"), Launch())
    assert len(recipe._plans) <= plans.MOST


class Other:
    """A value that equals nothing else, of whatever type."""

    def key(self) -> object:
        return self


@pytest.mark.parametrize(
    ("value", "left_out"),
    [(around(), {"caller"}), (root(), {"sources"}), (Launch(), set())],
    ids=["surroundings", "root", "launch"],
)
def test_every_field_is_part_of_the_key(value: Any, left_out: set[str]) -> None:
    key = value.key()
    for name in type(value).__slots__:
        before = getattr(value, name)
        changed = {"other": 1} if isinstance(before, dict) else Other()
        setattr(value, name, changed)
        assert (value.key() == key) == (name in left_out), name
        setattr(value, name, before)
