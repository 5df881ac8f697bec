"""``features``: what is implemented (features.md, features-linux.md), read off the code itself."""

from __future__ import annotations

from kokon.cli.message import show
from kokon.compile.mount_options import IGNORED, LIFTED, SUPERBLOCK, WORDS
from kokon.compile.scheduling import MODE_FLAGS, MODES
from kokon.kernel.constants import PROPAGATION
from kokon.security.seccomp import profile
from kokon.spec.oci import seccomp
from kokon.spec.oci.config import HOOKS
from kokon.spec.oci.linux import NAMESPACES
from kokon.spec.oci.process import CAPABILITIES
from kokon.spec.runtime import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from kokon.cli.oci.arguments import Arguments
    from kokon.cli.oci.main import Globals


def features() -> dict[str, Any]:
    """The document."""
    propagation = (*PROPAGATION, *(f"r{word}" for word in PROPAGATION))
    words = (*WORDS, *LIFTED)
    recursive = tuple(f"r{word}" for word in words)
    options = {*words, *recursive, *IGNORED, *SUPERBLOCK, *propagation}
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": VERSION,
        "hooks": [name for name, *_ in HOOKS.fields],
        "mountOptions": sorted({*options, "idmap", "ridmap", "tmpcopyup"}),
        "linux": {
            "namespaces": sorted(NAMESPACES),
            "capabilities": list(CAPABILITIES),
            "cgroup": {
                "v1": True, "v2": True, "systemd": True, "systemdUser": True, "rdma": True,
            },
            "seccomp": {
                "enabled": True,
                "actions": list(seccomp.ACTIONS),
                "operators": list(seccomp.OPERATORS),
                "archs": list(seccomp.ARCHITECTURES),
                "knownFlags": list(seccomp.FLAGS),
                "supportedFlags": [word for word in seccomp.FLAGS if word in profile.FLAGS],
            },
            "apparmor": {"enabled": True},
            "selinux": {"enabled": True},
            "memoryPolicy": {"modes": list(MODES), "flags": list(MODE_FLAGS)},
            "intelRdt": {"enabled": True, "schemata": True, "monitoring": True},
            "mountExtensions": {"idmap": {"enabled": True}},
            "netDevices": {"enabled": True},
        },
        "annotations": {"io.kokon.version": _version()},
    }  # fmt: skip


def _version() -> str:
    import kokon

    return kokon.__version__


def main(asked: Globals, own: Arguments) -> int:
    """Prints it."""
    from kokon.spec.oci.json_text import text

    show(text(features(), "  ") + "\n")
    return 0
