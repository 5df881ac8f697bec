"""``spec``: an example config.json."""

from __future__ import annotations

import os

from kokon.errors import RequestError
from kokon.spec.oci.default import default_spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.cli.oci.arguments import Arguments
    from kokon.cli.oci.main import Globals


def main(asked: Globals, own: Arguments) -> int:
    """Writes it into the bundle, unless there is one."""
    path = os.path.join(own.text("bundle") or ".", "config.json")
    text = default_spec(own.flag("rootless"), os.geteuid(), os.getegid())
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise RequestError(
            "it exists, and is not overwritten", where=path, remedy="remove it first"
        ) from None
    return 0
