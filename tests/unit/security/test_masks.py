"""The lists of paths that are hidden or read-only."""

from __future__ import annotations

from kokon.security.masks import DEFAULT_MASKED, DEFAULT_MASKED_GLOBS, DEFAULT_READONLY


def test_lists() -> None:
    every = (*DEFAULT_MASKED, *DEFAULT_MASKED_GLOBS, *DEFAULT_READONLY)
    assert len(set(every)) == len(every)
    for path in every:
        assert path.startswith(("/proc/", "/sys/"))
        assert ".." not in path and not path.endswith("/")
    assert {"/proc/kcore", "/proc/keys", "/sys/firmware"} <= set(DEFAULT_MASKED)
    assert {"/proc/sys", "/proc/sysrq-trigger"} <= set(DEFAULT_READONLY)
    for hidden in DEFAULT_MASKED:
        assert not any(path.startswith(f"{hidden}/") for path in DEFAULT_READONLY)
