"""Every path of its own that kokon uses."""

from __future__ import annotations

import os

PACKAGE = os.path.dirname(os.path.abspath(__file__))

INIT_PROGRAM = PACKAGE + "/_programs/init"
INIT_DIGESTS = PACKAGE + "/_programs/digests"
PYTHON_PATH = PACKAGE + "/_programs/python-path"
"""The interpreter that launcher/launcher.c starts where there is none beside it."""


def state() -> str:
    """Where running containers keep their state: gone after a reboot.

    /run/kokon for root, $XDG_RUNTIME_DIR/kokon for others, else /tmp/kokon-UID.  Root of a user
    namespace may be one of the others (``unshare -Ur``).
    """
    uid = os.geteuid()
    if uid == 0 and os.access("/run", os.W_OK):
        return "/run/kokon"
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime.startswith("/") and os.access(runtime, os.W_OK):
        return runtime + "/kokon"
    return f"/tmp/kokon-{uid}"


def store() -> str:
    """Where unpacked roots and a container's writes are kept.

    $KOKON_STORE, else /var/lib/kokon for root and $XDG_DATA_HOME/kokon (~/.local/share/kokon).
    """
    chosen = os.environ.get("KOKON_STORE", "")
    if chosen.startswith("/"):
        return chosen
    if os.geteuid() == 0 and os.access("/var/lib", os.W_OK):
        return "/var/lib/kokon"
    data = os.environ.get("XDG_DATA_HOME", "")
    if not data.startswith("/"):
        data = os.path.expanduser("~/.local/share")
    return data + "/kokon"
