"""``restore``: not there yet."""

from __future__ import annotations

from kokon.errors import RequestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.cli.oci.arguments import Arguments
    from kokon.cli.oci.main import Globals


def main(asked: Globals, own: Arguments) -> int:
    """Says so.

    :raises RequestError: always.
    """
    raise RequestError("restore is not possible yet", remedy="stop it and make it anew")
