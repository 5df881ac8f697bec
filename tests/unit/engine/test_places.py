"""Where kokon keeps what is its own: the words where it cannot."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kokon.errors import HostError
from kokon.kernel.private import private_directory


@pytest.mark.parametrize("place", ["/proc/none", "/proc/none/store"])
def test_a_place_that_cannot_be_made_names_what_chose_it(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KOKON_STORE", place)
    with pytest.raises(HostError) as caught:
        private_directory(place)
    assert str(caught.value) == (
        f"{place} cannot be made: No such file or directory;"
        " set KOKON_STORE to a directory of your own"
    )


def test_a_place_of_somebody_else_says_whose_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the store of the host's root is seen after ``unshare -Ur``."""
    monkeypatch.setenv("KOKON_STORE", str(tmp_path / "store"))
    (tmp_path / "store").mkdir(mode=0o700)
    us = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: us + 1)
    with pytest.raises(HostError) as caught:
        private_directory(str(tmp_path / "store"))
    assert str(caught.value) == (
        f"{tmp_path}/store belongs to user {us}, as seen from here, and we are user {us + 1};"
        " set KOKON_STORE to a directory of your own"
    )
