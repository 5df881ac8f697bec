"""``create``: a container from a bundle; it waits for ``start``."""

from __future__ import annotations

from kokon.cli.oci.arguments import preserved
from kokon.runtime.oci.create import Creation, create

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.cli.oci.arguments import Arguments
    from kokon.cli.oci.main import Globals


def creation(asked: Globals, own: Arguments) -> Creation:
    """What ``create`` and ``run`` may say."""
    from kokon.errors import OptionError

    if own.flag("no-pivot"):
        raise OptionError("a root without pivot_root is not possible", where="--no-pivot")
    return Creation(
        console_socket=own.text("console-socket"),
        pid_file=own.text("pid-file"),
        preserved=preserved(own),
        beginnings=asked.later() if asked.launched else (),
        keeps_keyring=own.flag("no-new-keyring"),
        systemd=asked.systemd,
    )


def main(asked: Globals, own: Arguments) -> int:
    """Performs it."""
    options = creation(asked, own)
    create(asked.root, own.words[0], own.text("bundle") or ".", options).close()
    asked.warn(options.notes)
    return 0
