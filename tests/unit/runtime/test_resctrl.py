"""``linux.intelRdt`` on a directory that fills new groups as resctrl does, and refuses as it does.

No processor with Intel RDT was at hand: this is the interface as the kernel's documentation has it.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from kokon.errors import HostError, KokonError, RequestError, SpecError
from kokon.kernel import facts
from kokon.plan import saved
from kokon.runtime.oci import calls, delete, resctrl
from kokon.runtime.oci.record import Record
from kokon.spec.oci.linux import LINUX

SCHEMATA = "    MB:0=100;1=100\n    L3:0=7ff;1=7ff\n"
L3, MB = "L3:0=0f0;1=1f", "MB:0=20;1=70"


class Tree:
    """A resctrl that is none.

    :ivar written: every line, with the file below the root.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.written: list[tuple[str, str]] = []
        self.fill(root)
        (root / "info").mkdir()
        (root / "info/last_cmd_status").write_text("ok\n")

    def fill(self, group: Path, monitor: bool = False) -> None:
        group.mkdir(exist_ok=True)
        (group / "tasks").touch()
        if not monitor:
            (group / "schemata").write_text(SCHEMATA)
            (group / "mon_groups").mkdir()

    def made(self) -> list[str]:
        return sorted(
            str(path.parent.relative_to(self.root)) for path in self.root.rglob("tasks")
            if path.parent != self.root
        )  # fmt: skip


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    """The kernel's part: new groups have files, and go with them; a write is noted or refused."""
    made = Tree(tmp_path / "resctrl")
    kernel = ModuleType("os")
    kernel.__dict__.update(os.__dict__)

    def mkdir(path: str, mode: int = 0o777) -> None:
        os.mkdir(path, mode)
        made.fill(Path(path), "mon_groups" in path)

    kernel.__dict__.update(mkdir=mkdir, rmdir=shutil.rmtree)
    monkeypatch.setattr(resctrl, "os", kernel)

    real = resctrl._write

    def write(path: str, line: str) -> None:
        if "bad" in line:
            (made.root / "info/last_cmd_status").write_text("Non-hex character in the mask bad\n")
            raise OSError(errno.EINVAL, "x")
        real(path, line)
        made.written.append((str(Path(path).relative_to(made.root)), line))

    monkeypatch.setattr(resctrl, "_write", write)
    return made


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    made = Record.make(str(tmp_path / "state"), "one", {"id": "one"})
    yield made
    made.close()


def asked(**members: Any) -> Any:
    return LINUX.read({"intelRdt": members}).intel_rdt


def placed(tree: Tree, record: Record, **members: Any) -> list[Callable[[], object]]:
    """Placed with process 42, and the steps back."""
    undo: list[Callable[[], object]] = []
    try:
        resctrl.place(str(tree.root), asked(**members), record, undo)
        resctrl.join(record, 42)
    except KokonError:
        for step in reversed(undo):
            step()
        raise
    return undo


def test_a_class_of_its_own(tree: Tree, record: Record) -> None:
    placed(tree, record, l3CacheSchema=L3, memBwSchema=MB, schemata=["L2:0=f"])
    assert tree.written == [
        ("one/schemata", L3), ("one/schemata", MB), ("one/schemata", "L2:0=f"), ("one/tasks", "42"),
    ]  # fmt: skip
    assert tree.made() == ["one"]
    resctrl.remove(record)
    assert tree.made() == []
    resctrl.remove(record)  # it may be gone


def test_a_class_of_which_nothing_is_said(tree: Tree, record: Record) -> None:
    placed(tree, record)
    assert tree.written == [("one/tasks", "42")]
    resctrl.remove(record)
    assert tree.made() == []


@pytest.mark.parametrize("name", ["gold", "/"])
def test_a_class_that_is_there(tree: Tree, record: Record, name: str) -> None:
    if name == "gold":
        tree.fill(tree.root / name)
    placed(tree, record, closID=name)
    place = "" if name == "/" else "gold/"
    assert tree.written == [(f"{place}tasks", "42")]
    before = tree.made()
    resctrl.remove(record)
    assert tree.made() == before


def test_a_named_class_is_made_and_stays(tree: Tree, record: Record) -> None:
    undo = placed(tree, record, closID="gold", memBwSchema=MB)
    assert tree.written == [("gold/schemata", MB), ("gold/tasks", "42")]
    resctrl.remove(record)
    assert tree.made() == ["gold"]
    for step in undo:  # a create that fails later
        step()
    assert tree.made() == []


def test_a_class_that_is_there_has_what_is_asked(tree: Tree, record: Record) -> None:
    tree.fill(tree.root / "gold")
    placed(tree, record, closID="gold", l3CacheSchema="L3:1=07ff", memBwSchema="MB:0=100;1=100")
    # That is so: it is not said once more, for others are there too.
    assert tree.written == [("gold/tasks", "42")]
    placed(tree, record, closID="gold", schemata=["L3:0=1"])
    assert tree.written[1:] == [("gold/schemata", "L3:0=1"), ("gold/tasks", "42")]


def test_a_group_that_is_watched(tree: Tree, record: Record) -> None:
    tree.fill(tree.root / "gold")
    placed(tree, record, closID="gold", enableMonitoring=True)
    assert tree.written == [("gold/tasks", "42"), ("gold/mon_groups/one/tasks", "42")]
    resctrl.join(record, 43)  # exec
    assert tree.written[2:] == [("gold/tasks", "43"), ("gold/mon_groups/one/tasks", "43")]
    resctrl.remove(record)
    assert tree.made() == ["gold"]


REFUSED: list[tuple[dict[str, Any], type[KokonError], str, str]] = [
    ({"closID": "none"}, HostError, "/linux/intelRdt/closID", "there is no class of service"),
    ({"closID": "gold", "l3CacheSchema": "L3:0=1"}, SpecError, "/linux/intelRdt/l3CacheSchema",
     "another schema"),
    ({"closID": "gold", "l3CacheSchema": "L3:2=7ff"}, SpecError, "/linux/intelRdt/l3CacheSchema",
     "another schema"),
    ({"closID": "/", "memBwSchema": "MB:0=10"}, SpecError, "/linux/intelRdt/memBwSchema",
     "another schema"),
    ({"closID": "info", "memBwSchema": MB}, HostError, "/linux/intelRdt/closID", "no schemata"),
    ({"closID": "info"}, HostError, "/linux/intelRdt", "takes no process: No such file"),
    ({"l3CacheSchema": "L3:0=bad"}, HostError, "/linux/intelRdt/l3CacheSchema",
     "is refused (Non-hex character in the mask bad): Invalid argument"),
    ({"closID": "new", "schemata": [MB, "L3:0=bad"], "enableMonitoring": True}, HostError,
     "/linux/intelRdt/schemata/1", "is refused"),
]  # fmt: skip


@pytest.mark.parametrize(("members", "kind", "where", "words"), REFUSED)
def test_what_is_refused_leaves_nothing(
    tree: Tree, record: Record, members: dict[str, Any], kind: type[KokonError], where: str,
    words: str,
) -> None:  # fmt: skip
    tree.fill(tree.root / "gold")
    with pytest.raises(kind) as error:
        placed(tree, record, **members)
    assert error.value.where == where
    assert words in str(error.value)
    assert tree.made() == ["gold"]


@pytest.mark.parametrize("taken", ["one", "gold/mon_groups/one"])
def test_what_others_have_made_is_not_taken(tree: Tree, record: Record, taken: str) -> None:
    tree.fill(tree.root / "gold")
    tree.fill(tree.root / taken, "/" in taken)
    members = {"closID": "gold", "enableMonitoring": True} if "/" in taken else {}
    with pytest.raises(HostError, match="is there already"):
        placed(tree, record, **members)
    resctrl.remove(record)
    assert taken in tree.made()


def test_no_class_is_left(tree: Tree, record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: str, mode: int) -> None:
        raise OSError(errno.ENOSPC, "x")

    monkeypatch.setattr(resctrl, "os", SimpleNamespace(path=os.path, mkdir=full))
    with pytest.raises(HostError, match="in use: remove one"):
        placed(tree, record)


def test_other_limits(tree: Tree, record: Record) -> None:
    with pytest.raises(RequestError) as error:
        resctrl.update(record, "", MB)
    assert error.value.where == "--mem-bw-schema"
    placed(tree, record)
    resctrl.update(record, L3, MB)
    assert tree.written[1:] == [("one/schemata", L3), ("one/schemata", MB)]
    with pytest.raises(HostError) as refused:
        resctrl.update(record, "L3:0=bad", "")
    assert refused.value.where == "--l3-cache-schema"


def test_one_whose_maker_was_killed(tree: Tree, tmp_path: Path) -> None:
    """What was noted before it was made is removed by delete."""
    root = str(tmp_path / "state")
    made = Record.make(root, "two", {"id": "two"})
    resctrl.place(str(tree.root), asked(enableMonitoring=True), made, [])
    made.close()
    with Record.open(root, "two") as record:
        delete.delete(record, force=True)
    assert tree.made() == []


def test_a_delete_that_removes_a_class_is_not_saved(tree: Tree, record: Record) -> None:
    record.values.update(pid=os.getpid(), pid_start=1, groups={})

    def kept() -> list[bool]:
        names = os.listdir(record.directory)
        words = (("start", "one"), ("delete", "one"), ("delete", "--force", "one"))
        return [saved.file_name(each) in names for each in words]

    tree.fill(tree.root / "gold")
    resctrl.place(str(tree.root), asked(), record, [])
    calls.keep(record, facts.current(), None, [()])
    assert kept() == [True, False, False]
    # One that is not ours stays.
    resctrl.place(str(tree.root), asked(closID="gold"), record, [])
    calls.keep(record, facts.current(), None, [()])
    assert kept() == [True, True, True]


def test_a_machine_without(monkeypatch: pytest.MonkeyPatch) -> None:
    if "resctrl" in Path("/proc/self/mountinfo").read_text():
        pytest.skip("this machine has one")
    with pytest.raises(HostError) as error:
        resctrl.find()
    assert error.value.where == "/linux/intelRdt"
    assert "resctrl" in str(error.value)
