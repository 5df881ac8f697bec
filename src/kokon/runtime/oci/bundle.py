"""A bundle (bundle.md): its configuration, and what the compiler has to know of this machine."""

from __future__ import annotations

import os
import stat

from kokon.compile import oci_checks
from kokon.compile.devices import makes_nodes
from kokon.compile.inputs import RootFacts, Source
from kokon.compile.mounts import is_bind
from kokon.errors import RootError, SpecError
from kokon.kernel import filesystems

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.kernel.cgroups import CgroupLayout
    from kokon.kernel.facts import HostFacts
    from kokon.spec.runtime import Device, Spec

CONFIG = "config.json"


def read(bundle: str) -> bytes:
    """The text of a bundle's configuration.

    :raises RootError: it is not there.
    """
    from kokon.spec.oci.json_text import LARGEST_DOCUMENT

    try:
        with open(f"{bundle}/{CONFIG}", "rb") as file:
            return file.read(LARGEST_DOCUMENT + 1)
    except OSError as error:
        raise RootError(
            f"{bundle}/{CONFIG} cannot be read", errno=error.errno or 0,
            remedy="name the bundle's directory with --bundle",
        ) from error  # fmt: skip


def parse(data: bytes, bundle: str) -> Spec:
    """The configuration of a bundle; paths in it are absolute afterwards.

    :raises SpecError: it breaks the specification.
    """
    from kokon.spec.oci import config

    spec = config.parse(data)
    if not spec.process.args:
        raise SpecError("there is no program to run", where="/process/args")
    spec.root.path = os.path.normpath(os.path.join(bundle, spec.root.path))
    for mount in spec.mounts:
        parts = mount.destination.split("/")
        mount.destination = "/" + "/".join(part for part in parts if part not in ("", "."))
        if is_bind(mount):
            mount.source = os.path.normpath(os.path.join(bundle, mount.source))
            mount.type = "bind"
    oci_checks.check(spec)
    return spec


def root_facts(spec: Spec, host: HostFacts) -> RootFacts:
    """The root, and every source of a bind.

    :raises RootError: the root is no directory.
    :raises SpecError: the source of a bind is not there.
    """
    try:
        os.stat(spec.root.path + "/")
    except OSError as error:
        raise RootError(
            f"{spec.root.path} cannot be the root", where="/root/path", errno=error.errno or 0
        ) from error
    table = filesystems.mount_table()
    sources = {}
    for at, mount in enumerate(spec.mounts):
        if not is_bind(mount):
            continue
        try:
            mode = os.stat(mount.source).st_mode
        except OSError as error:
            raise SpecError(
                f"{mount.source} cannot be mounted", where=f"/mounts/{at}/source",
                errno=error.errno or 0,
            ) from error  # fmt: skip
        maps_ids = table.maps_ids(mount.source, host.kernel)
        sources[mount.source] = Source(stat.S_ISDIR(mode), maps_ids)
    if not makes_nodes(spec, host):
        for at, device in enumerate(spec.linux.devices):
            check_number(device, f"/linux/devices/{at}")
    # Whoever made the bundle has given its files the owners that they are to have.
    return RootFacts("directory", path=spec.root.path, sources=sources, shifted=True)


def check_number(device: Device, where: str) -> None:
    """The machine's node of that path, which is bound, is the device that is asked for.

    :raises SpecError: it is another one, or not there.
    """
    if device.type == "p":
        return
    try:
        found = os.stat(device.source)
    except OSError as error:
        raise SpecError(
            f"{device.source} is not on this machine, and here none can be made",
            where=f"{where}/path", errno=error.errno or 0,
        ) from error  # fmt: skip
    is_kind = stat.S_ISBLK if device.type == "b" else stat.S_ISCHR
    number = os.major(found.st_rdev), os.minor(found.st_rdev)
    if not is_kind(found.st_mode) or number != (device.major, device.minor):
        raise SpecError(
            f"{device.source} of this machine is another device ({number[0]}:{number[1]}), and"
            " here none can be made",
            where=where, remedy="name the machine's own path and numbers",
        )  # fmt: skip


def compile_filter(spec: Spec, host: HostFacts) -> None:
    """Makes the filter of a seccomp document.

    :raises SpecError: it asks for what is not possible.
    """
    document = spec.linux.seccomp_document
    if document is None:
        return
    from kokon.runtime import filters

    spec.linux.seccomp = filters.compiled(document, host.architecture)


def cgroup_mounts(layout: CgroupLayout, groups: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """What a mount of type cgroup shows: a name for each hierarchy, and the container's directory.

    :param groups: the container's groups, by controller or ``unified``.
    """
    shown = []
    for tree in layout.hierarchies:
        keys = tree.controllers if tree.version == 1 else ("unified",)
        directory = next((groups[key] for key in keys if key in groups), None) or tree.directory()
        if directory is not None and tree.version == 1:
            shown.append((os.path.basename(tree.mount_point), directory))
        elif directory is not None:
            shown.append(("" if layout.mode == "v2" else "unified", directory))
    return tuple(shown)
