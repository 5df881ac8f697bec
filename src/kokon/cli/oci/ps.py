"""``ps``: the processes of a container."""

from __future__ import annotations

from kokon.cli.message import show
from kokon.runtime.oci.kill import manager_of
from kokon.runtime.oci.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.cli.oci.arguments import Arguments
    from kokon.cli.oci.main import Globals


def main(asked: Globals, own: Arguments) -> int:
    """Prints their pids as JSON, or ps(1)'s lines about them."""
    from kokon.errors import OptionError
    from kokon.spec.oci.json_text import text

    form = own.text("format") or "table"
    if form not in ("table", "json"):
        raise OptionError(f"{form!r} is neither table nor json", where="--format")
    with Record.open(asked.root, own.words[0]) as record:
        pids = sorted(pid for pid in manager_of(record).processes() if pid)
    if form == "json":
        show((text(pids) if pids else "null") + "\n")
        return 0
    import subprocess

    words = own.words[1:] or ("-ef",)
    lines = subprocess.run(["ps", *words], capture_output=True, text=True).stdout.splitlines()
    at = lines[0].split().index("PID") if lines and "PID" in lines[0].split() else -1
    if at < 0:
        raise OptionError("ps printed no column PID", where="ps", remedy="leave the option out")
    show(lines[0] + "\n")
    for line in lines[1:]:
        if int(line.split()[at]) in pids:
            show(line + "\n")
    return 0
