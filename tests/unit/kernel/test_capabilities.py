"""Capabilities by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from kokon.errors import OptionError
from kokon.kernel import capabilities
from kokon.kernel.capabilities import ALL, DEFAULT, DEFAULT_MASK, NAMES, mask, names, parse


def test_bits_are_the_kernels() -> None:
    assert len(NAMES) == len(set(NAMES)) == 41
    known = {"CHOWN": 0, "NET_RAW": 13, "SYS_ADMIN": 21, "MKNOD": 27, "SYSLOG": 34, "BPF": 39}
    assert {name: NAMES.index(name) for name in known} == known
    header = Path("/usr/include/linux/capability.h")
    if header.exists():
        for line in header.read_text().splitlines():
            words = line.split()
            if len(words) == 3 and words[1].startswith("CAP_") and words[2].isdigit():
                assert NAMES[int(words[2])] == words[1].removeprefix("CAP_")


@pytest.mark.parametrize("word", ["NET_RAW", "CAP_NET_RAW", "cap_net_raw", "Net_Raw", " net_raw "])
def test_spellings(word: str) -> None:
    assert parse(word) == 1 << 13


def test_masks() -> None:
    assert parse("all") == ALL == (1 << 41) - 1
    assert mask(["CHOWN", "CAP_BPF"]) == 1 | 1 << 39
    assert names(1 | 1 << 39 | 1 << 63) == ("CHOWN", "BPF")
    assert mask(names(ALL)) == ALL
    assert mask(()) == 0


@pytest.mark.parametrize(
    "word", ["", "NET_RAV", "CAP_", "CAP_CAP_CHOWN", "CAP_ALL", "0", "NET RAW"]
)
def test_unknown(word: str) -> None:
    with pytest.raises(OptionError, match=r"^--cap-add: unknown capability"):
        parse(word, "--cap-add")


def test_did_you_mean() -> None:
    with pytest.raises(OptionError, match=r"did you mean NET_RAW\?"):
        parse("cap_net_rav")


def test_default_opens_no_raw_sockets_and_no_devices() -> None:
    assert mask(DEFAULT) == DEFAULT_MASK
    dangerous = ("NET_RAW", "MKNOD", "SYS_ADMIN", "SYS_PTRACE", "DAC_READ_SEARCH", "NET_ADMIN")
    assert not DEFAULT_MASK & mask(dangerous)
    assert len(DEFAULT) == 12
    assert not hasattr(capabilities, "os")
