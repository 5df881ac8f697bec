"""A program's environment: an entry that comes later wins, and HOME is never missing."""

from __future__ import annotations

from kokon.errors import KokonError
from kokon.kernel.accounts import lookup_user

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.spec.runtime import Process


def complete(process: Process, root: int) -> None:
    """Leaves each name once, and takes HOME from the root's passwd where it is unset or empty.

    :param root: a descriptor of the root's directory.
    """
    entries = {entry.partition("=")[0]: entry for entry in process.env}
    if entries.get("HOME", "HOME=") == "HOME=":
        try:
            home = lookup_user(root, str(process.user.uid)).home
        except (KokonError, OSError):
            home = "/"  # without a passwd that can be read, as without a line for the user
        entries["HOME"] = f"HOME={home}"
    process.env = tuple(entries.values())
