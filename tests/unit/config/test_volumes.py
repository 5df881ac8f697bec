"""Docker's words for mounts, as mounts of the spec."""

from __future__ import annotations

import pytest

from kokon.config import volumes


@pytest.mark.parametrize("word", ["nocopy", "cached", "delegated", "consistent", "rbind"])
def test_words_that_mean_nothing_here(word: str) -> None:
    plain = volumes.volume("/a:/b:ro")
    assert volumes.volume(f"/a:/b:ro,{word}").options == plain.options


@pytest.mark.parametrize(
    "words",
    ["consistency=cached", "consistency=default", "volume-nocopy", "bind-recursive=enabled",
     "bind-recursive=readonly"],
)  # fmt: skip
def test_long_words_that_mean_nothing_here(words: str) -> None:
    mount = volumes.mount(f"type=bind,src=/a,dst=/b,{words},readonly")
    assert mount.options == volumes.volume("/a:/b:ro").options
    assert "rro" in mount.options


def test_propagation() -> None:
    assert volumes.mount("src=/a,dst=/b,bind-propagation=rslave").options[-1] == "rslave"


def test_read_only_can_be_off() -> None:
    assert "rro" not in volumes.mount("src=/a,dst=/b,readonly=false").options
