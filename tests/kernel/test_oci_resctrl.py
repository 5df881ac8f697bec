"""``linux.intelRdt``: who is put into a class, with a directory in resctrl's place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from oci_bundle import IDENTITY, Bundle, bundle

from kokon.errors import HostError
from kokon.runtime.oci import resctrl
from kokon.runtime.oci.create import Creation, create

__all__ = ["bundle"]  # the fixture

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a bundle's owner is the host's"),
]


@pytest.fixture
def tasks(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a class ``gold``, which a container asks for."""
    group = bundle.place / "resctrl/gold"
    group.mkdir(parents=True)
    (group / "tasks").touch()
    monkeypatch.setattr(resctrl, "find", lambda: str(group.parent))
    bundle.linux["intelRdt"] = {"closID": "gold"}
    bundle.write()
    return group / "tasks"


def test_the_first_process_and_those_of_exec(bundle: Bundle, tasks: Path) -> None:
    bundle.process["args"] = ["sleep", "60"]
    bundle.write()
    create(f"{bundle.place}/run", IDENTITY, str(bundle.path), Creation()).close()
    assert tasks.read_text() == f"{bundle.pid()}\n"
    bundle.call("start", IDENTITY)
    tasks.write_text("")
    words = ["exec", "--detach", "--pid-file", str(bundle.place / "pid"), IDENTITY, "true"]
    done = bundle.call(*words)
    assert done.returncode == 0, done.stderr
    assert tasks.read_text() == (bundle.place / "pid").read_text() + "\n"
    tasks.unlink()
    done = bundle.call("exec", IDENTITY, "true")
    assert "gold takes no process" in done.stderr
    assert done.returncode != 0
    done = bundle.call("update", "--l3-cache-schema", "L3:0=f", IDENTITY)
    assert "--l3-cache-schema" in done.stderr  # it has no schemata
    bundle.call("delete", "--force", IDENTITY)
    # It was there before.
    assert tasks.parent.is_dir()
    assert bundle.left() == []


def test_a_class_that_takes_nobody(bundle: Bundle, tasks: Path) -> None:
    tasks.unlink()
    with pytest.raises(HostError) as error:
        create(f"{bundle.place}/run", IDENTITY, str(bundle.path), Creation())
    assert error.value.where == "/linux/intelRdt"
    assert bundle.left() == []
