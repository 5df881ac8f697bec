"""``create``: a container from a bundle; it waits for ``start``."""

from __future__ import annotations

from kokon.runtime.oci.create import Creation, create

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.cli.oci.arguments import Arguments
    from kokon.cli.oci.main import Globals


def creation(asked: Globals, own: Arguments) -> Creation:
    """What ``create`` and ``run`` may say."""
    from kokon.errors import OptionError

    preserved = own.text("preserve-fds") or "0"
    if not (preserved.isascii() and preserved.isdecimal()) or int(preserved) > 128:
        raise OptionError(f"{preserved!r} is no number up to 128", where="--preserve-fds")
    if own.flag("no-pivot"):
        raise OptionError("a root without pivot_root is not possible", where="--no-pivot")
    return Creation(
        console_socket=own.text("console-socket"),
        pid_file=own.text("pid-file"),
        preserved=int(preserved),
        systemd=asked.systemd,
        keyring=not own.flag("no-new-keyring"),
    )


def main(asked: Globals, own: Arguments) -> int:
    """Performs it."""
    create(asked.root, own.words[0], own.text("bundle") or ".", creation(asked, own)).close()
    return 0
