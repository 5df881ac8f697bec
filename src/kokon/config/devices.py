"""``--device``, and which devices a container may use at all."""

from __future__ import annotations

from kokon.errors import OptionError
from kokon.spec.resources import DeviceRule
from kokon.spec.runtime import Device

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from kokon.config.options import Options

ALWAYS = ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2), (136, None))
"""null, zero, full, random, urandom, tty, ptmx and every pts (config-linux.md, Default Devices)."""
TAKEN = frozenset(
    ("console", "fd", "mqueue", "ptmx", "pts", "shm", "stderr", "stdin", "stdout")
)  # fmt: skip
"""Names below /dev that are no nodes."""


def devices(
    options: Options, numbers: Mapping[str, tuple[str, int, int, int]]
) -> tuple[Device, ...]:
    """The devices of the host that the container gets beside the default ones.

    :param numbers: type, major, minor and mode of each device of the host that an option names.
    :raises OptionError: a destination outside of /dev, or an access that cannot be kept.
    """
    result = []
    for entry in options.devices:
        source, destination, access = split(entry)
        kind, major, minor, mode = numbers[source]
        # Without a device filter the bits of the node are all there is, and root passes them by.
        if set(access) not in ({"r", "w", "m"}, {"r", "w"}):
            raise OptionError(
                f"access {access!r} cannot be kept: a device is shown with its own mode, or not",
                where=f"--device {entry}",
                remedy="leave the letters out",
            )
        result.append(Device(destination, kind, major, minor, file_mode=mode, source=source))
    return tuple(result)


def split(entry: str) -> tuple[str, str, str]:
    """``SRC[:DST[:rwm]]``, or ``SRC:rwm``, as in Docker."""
    source, _, rest = entry.partition(":")
    destination, _, access = rest.partition(":")
    if destination and not destination.startswith("/"):
        destination, access = "", destination
    destination = destination or source
    parts = destination.split("/")
    if parts[:2] != ["", "dev"] or len(parts) < 3 or {"", ".", ".."} & set(parts[2:]):
        raise OptionError(
            "appears below /dev only",
            where=f"--device {entry}",
            remedy="write for example --device /dev/fuse",
        )
    if parts[2] in TAKEN:
        raise OptionError(
            f"would take the place of the container's own /dev/{parts[2]}",
            where=f"--device {entry}",
            remedy="give it another name",
        )
    return source, destination, access or "rwm"


def rules(shown: tuple[Device, ...]) -> tuple[DeviceRule, ...]:
    """A device filter: nothing but the default devices and those that are shown.

    It is needed where a container can make nodes that open: with MKNOD in the host's user
    namespace (row U8).
    """
    allowed = [
        DeviceRule(allow=True, type="c", major=major, minor=minor, access="rwm")
        for major, minor in ALWAYS
    ]
    allowed += [
        DeviceRule(allow=True, type=d.type, major=d.major, minor=d.minor, access="rwm")
        for d in shown
    ]
    return (DeviceRule(allow=False, access="rwm"), *allowed)
