"""``list``: the containers of a root."""

from __future__ import annotations

from kokon.cli.message import show
from kokon.runtime.oci.record import Record, UnknownContainer, every

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from kokon.cli.oci.arguments import Arguments
    from kokon.cli.oci.main import Globals

COLUMNS = ("id", "pid", "status", "bundle", "created", "owner")


def main(asked: Globals, own: Arguments) -> int:
    """Prints them as a table, as JSON, or their ids."""
    from kokon.errors import OptionError
    from kokon.spec.oci.json_text import text

    form = own.text("format") or "table"
    if form not in ("table", "json"):
        raise OptionError(f"{form!r} is neither table nor json", where="--format")
    if own.flag("quiet"):
        show("".join(f"{identity}\n" for identity in every(asked.root)))
        return 0
    rows = _rows(asked.root)
    if form == "json":
        show((text(rows) if rows else "null") + "\n")
        return 0
    table = [[name.upper() for name in COLUMNS]]
    table += [[str(row[name]) for name in COLUMNS] for row in rows]
    widths = [max(len(row[at]) for row in table) for at in range(len(COLUMNS))]
    for row in table:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        show("   ".join(cells).rstrip() + "\n")
    return 0


def _rows(root: str) -> list[dict[str, Any]]:
    rows = []
    for identity in every(root):
        try:
            with Record.open(root, identity) as record:
                state = record.state()
                state.setdefault("pid", 0)
                state["rootfs"] = record.values["rootfs"]
                state["created"], state["owner"] = record.values["created"], _owner(record)
                rows.append(state)
        except UnknownContainer:
            continue
    return rows


def _owner(record: Record) -> str:
    import pwd

    uid = int(record.values["owner"])
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"
