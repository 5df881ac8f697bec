"""config.json (config.md): the whole document."""

from __future__ import annotations

from kokon.errors import SpecError
from kokon.spec.oci.json_text import load
from kokon.spec.oci.kinds import List, Object, Text, Whole, shown
from kokon.spec.oci.linux import LINUX, MAPPINGS, check_mappings
from kokon.spec.oci.process import PROCESS
from kokon.spec.oci.shapes import ABSOLUTE, ENTRIES, FILLED, FLAG, TEXT, TEXTS, WORDS
from kokon.spec.oci.values import Hook, Hooks
from kokon.spec.pointer import escaped
from kokon.spec.runtime import Mount, Root, Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

MAJOR = 1

MOST_NAME = 64
"""Bytes of a host or domain name (uts_namespaces(7), __NEW_UTS_LEN)."""


def _check_version(version: str) -> None:
    """Semantic Versioning 2.0.0; a newer minor version only adds."""
    numbers = version.partition("+")[0].partition("-")[0].split(".")
    if len(numbers) != 3 or not all(each.isascii() and each.isdigit() for each in numbers):
        raise SpecError(f"{shown(version)} is no version like 1.3.0")
    if len(numbers[0]) > 9 or int(numbers[0]) > MAJOR:
        raise SpecError(
            f"{shown(version)} is newer than this runtime, which knows {MAJOR}.x",
            remedy="update kokon, or write a document of that version",
        )


def _check_name(name: str) -> None:
    if len(name.encode()) > MOST_NAME:
        raise SpecError(f"{shown(name)} is longer than {MOST_NAME} bytes")


def _check_mount(mount: Mount, members: Mapping[str, Any]) -> None:
    if not mount.destination.startswith("/"):
        # Deprecated: "it MUST be interpreted as relative to /".
        mount.destination = f"/{mount.destination}"
    if bool(mount.uid_mappings) != bool(mount.gid_mappings):
        has, lacks = ("uid", "gid") if mount.uid_mappings else ("gid", "uid")
        raise SpecError(f"is missing beside {has}Mappings", where=f"/{lacks}Mappings")
    check_mappings(mount.uid_mappings, "/uidMappings")
    check_mappings(mount.gid_mappings, "/gidMappings")


def _check_spec(spec: Spec, members: Mapping[str, Any]) -> None:
    kinds = {namespace.type for namespace in spec.linux.namespaces}
    # A document without ``linux`` is for another system: it is read, not run.
    if members.get("linux") is not None and "uts" not in kinds:
        for name in ("hostname", "domainname"):
            if getattr(spec, name):
                raise SpecError("there is no uts namespace to have it", where=f"/{name}")
    for at, mount in enumerate(spec.mounts):
        for place, option in enumerate(mount.options):
            if option in ("idmap", "ridmap") and not mount.uid_mappings and "user" not in kinds:
                raise SpecError(
                    f"{option} has no mapping: the mount has none, and there is no user namespace",
                    where=f"/mounts/{at}/options/{place}",
                    remedy="give the mount uidMappings and gidMappings",
                )
    known = {row[0] for row in HOOKS.fields}
    spec.notes = (
        *(f"/process{note}" for note in spec.process.notes),
        *(
            f"/hooks/{escaped(kind)}: {shown(kind)} is no kind of hook that is known here; "
            "these hooks are not called"
            for kind in members.get("hooks") or ()
            if kind not in known
        ),
    )


ROOT = Object(Root, (("path", "path", FILLED), ("readonly", "readonly", FLAG)), required=("path",))

MOUNT = Object(
    Mount,
    (
        ("destination", "destination", FILLED),
        ("type", "type", TEXT),
        ("source", "source", TEXT),
        ("options", "options", TEXTS),
        ("uidMappings", "uid_mappings", MAPPINGS),
        ("gidMappings", "gid_mappings", MAPPINGS),
    ),
    required=("destination",),
    check=_check_mount,
)

HOOK_LIST = List(
    Object(
        Hook,
        (
            ("path", "path", ABSOLUTE),
            ("args", "args", TEXTS),
            ("env", "env", ENTRIES),
            ("timeout", "timeout", Whole(1, (1 << 31) - 1)),
        ),
        required=("path",),
    )
)

HOOKS = Object(
    Hooks,
    (
        ("prestart", "prestart", HOOK_LIST),
        ("createRuntime", "create_runtime", HOOK_LIST),
        ("createContainer", "create_container", HOOK_LIST),
        ("startContainer", "start_container", HOOK_LIST),
        ("poststart", "poststart", HOOK_LIST),
        ("poststop", "poststop", HOOK_LIST),
    ),
)

CONFIG = Object(
    Spec,
    (
        ("ociVersion", "oci_version", Text(_check_version)),
        ("process", "process", PROCESS),
        ("root", "root", ROOT),
        ("hostname", "hostname", Text(_check_name)),
        ("domainname", "domainname", Text(_check_name)),
        ("mounts", "mounts", List(MOUNT)),
        ("hooks", "hooks", HOOKS),
        ("annotations", "annotations", WORDS),
        ("linux", "linux", LINUX),
    ),
    required=("oci_version", "root"),
    check=_check_spec,
)


def parse(data: bytes) -> Spec:
    """The values of a config.json.

    ``vm``, ``windows`` and the other systems' parts are ignored, as is every member that the
    specification does not have.

    :raises SpecError: it breaks the specification; ``where`` is the JSON pointer, "" for the whole.
    """
    spec: Spec = CONFIG.read(load(data))
    return spec


def dump(spec: Spec) -> dict[str, Any]:
    """The document of a spec, as plain values; a compiled filter is in no document."""
    document = CONFIG.dump(spec)
    if not spec.process.args:
        del document["process"]
    if not document["linux"]:
        del document["linux"]
    return document
