"""Built-in roots remembered in the store."""

from __future__ import annotations

from pathlib import Path

import pytest

from kokon import paths
from kokon.engine import assemblies
from kokon.storage import builtin


@pytest.fixture(autouse=True)
def own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kokon").mkdir(mode=0o700)
    monkeypatch.setattr(paths, "store", lambda: str(tmp_path / "kokon/store"))
    monkeypatch.setattr(paths, "state", lambda: str(tmp_path / "kokon/state"))
    monkeypatch.setattr(builtin, "known", {})


@pytest.mark.parametrize("name", builtin.NAMES)
def test_remembered(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = assemblies.assemble(name)
    builtin.known.clear()

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("put together again")

    monkeypatch.setattr(builtin, "build", refuse)
    assert assemblies.assemble(name) == built


def test_another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = assemblies.assemble("@host")
    path = tmp_path / "kokon/store/assemblies/host"
    for text in ("", "other\n--\n" + built.to_text(), path.read_text()[:-9], "\xff"):
        path.write_text(text, encoding="latin-1")
        builtin.known.clear()
        assert assemblies.assemble("@host") == built
        assert path.read_text().endswith("end\n")


def test_a_piece_that_has_gone(tmp_path: Path) -> None:
    built = assemblies.assemble("@host")
    path = tmp_path / "kokon/store/assemblies/host"
    path.write_text(path.read_text().replace("\t/usr\t", "\t/usr-that-was\t", 1))
    builtin.known.clear()
    assert assemblies.assemble("@host") == built


def test_links_are_not_followed(tmp_path: Path) -> None:
    built = assemblies.assemble("@host")
    path = tmp_path / "kokon/store/assemblies/host"
    other = path.rename(tmp_path / "elsewhere")
    other.write_text(other.read_text().replace("/home/user", "/home/else"))
    path.symlink_to(other)
    builtin.known.clear()
    assert assemblies.assemble("@host") == built
