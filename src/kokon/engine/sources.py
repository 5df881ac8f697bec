"""What a run looks up on the host before it is configured: files, devices, binds."""

from __future__ import annotations

import os
import stat

from kokon.compile.inputs import Source
from kokon.compile.mounts import is_bind
from kokon.config import devices, resources
from kokon.config.confinement import UNCONFINED, SecurityOptions
from kokon.errors import HostError, OptionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.config.container import Configuration
    from kokon.config.options import Options
    from kokon.kernel.facts import HostFacts
    from kokon.kernel.filesystems import MountTable

LARGEST_FILE = 16 << 20


def describe_binds(
    configuration: Configuration,
    host: HostFacts,
    table: MountTable | None,
    known: dict[str, Source],
) -> None:
    """Finds every bind of the spec: absolute, a file or a directory, its ids mappable or not.

    :raises OptionError: a source is missing: Docker's habit of making one hides mistakes.
    """
    for index, mount in enumerate(configuration.spec.mounts):
        if not is_bind(mount):
            continue
        words = configuration.asked.get(f"/mounts/{index}", mount.source)
        path = os.path.abspath(os.path.expanduser(mount.source))
        try:
            mode = os.stat(path).st_mode
        except OSError as error:
            raise OptionError(
                f"{mount.source} cannot be used", where=words, errno=error.errno or 0,
                remedy="make it first, or correct the path",
            ) from None  # fmt: skip
        mount.source = path
        maps_ids = table is not None and table.maps_ids(path, host.kernel)
        known[path] = Source(stat.S_ISDIR(mode), maps_ids)


def device_numbers(options: Options) -> dict[str, tuple[str, int, int, int]]:
    """Type, major and minor number and mode of every device that an option names.

    :raises OptionError: it is not there, or is no device.
    """
    numbers = {}
    named = [(devices.split(entry)[0], f"--device {entry}") for entry in options.devices]
    named += [(path, words) for path, words in resources.device_paths(options)]
    for path, words in named:
        try:
            found = os.stat(path)
        except OSError as error:
            raise OptionError(
                f"{path} cannot be used", where=words, errno=error.errno or 0,
                remedy="name a device below /dev",
            ) from None  # fmt: skip
        kind = "c" if stat.S_ISCHR(found.st_mode) else "b" if stat.S_ISBLK(found.st_mode) else ""
        if not kind:
            raise OptionError(
                f"{path} is no device", where=words, remedy="name a device below /dev"
            )
        mode = stat.S_IMODE(found.st_mode)
        numbers[path] = (kind, os.major(found.st_rdev), os.minor(found.st_rdev), mode)
    return numbers


def seccomp_text(options: Options) -> bytes | None:
    """The file of ``--security-opt seccomp=FILE``."""
    chosen = SecurityOptions(options.security_opt).seccomp
    if not chosen or chosen == UNCONFINED:
        return None
    return _read(chosen, f"--security-opt seccomp={chosen}")


def environment_files(options: Options) -> tuple[str, ...]:
    """The files of ``--env-file``."""
    return tuple(
        _read(path, f"--env-file {path}").decode("utf-8", "surrogateescape")
        for path in options.env_file
    )


_masked: tuple[str, ...] | None = None


def masked_on_this_machine() -> tuple[str, ...]:
    """What the patterns of masked paths come to here: looked up once for a process."""
    global _masked
    if _masked is None:
        from kokon.security.masks import DEFAULT_MASKED_GLOBS

        found = []
        for pattern in DEFAULT_MASKED_GLOBS:
            before, _, after = pattern.partition("*")
            directory, _, first = before.rpartition("/")
            try:
                names = os.listdir(directory)
            except OSError:
                continue
            for name in sorted(names):
                path = f"{directory}/{name}{after}"
                if name.startswith(first) and os.path.lexists(path):
                    found.append(path)
        _masked = tuple(found)
    return _masked


def _read(path: str, words: str) -> bytes:
    try:
        with open(path, "rb") as file:
            text = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise OptionError(
            f"{path} cannot be read", where=words, errno=error.errno or 0, remedy="name a file"
        ) from None
    if len(text) > LARGEST_FILE:
        raise HostError(f"{path} is larger than {LARGEST_FILE} bytes", where=words)
    return text
