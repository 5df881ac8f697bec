"""``exec``: another program in a container."""

from __future__ import annotations

from kokon.cli.oci.arguments import preserved
from kokon.cli.oci.foreground import attend
from kokon.runtime.oci.execute import execute
from kokon.runtime.oci.execution import Execution

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.cli.oci.arguments import Arguments
    from kokon.cli.oci.main import Globals


def main(asked: Globals, own: Arguments) -> int:
    """Runs it; its exit status, unless it is detached."""
    from kokon.cli.terminal import size

    identity, *words = own.words
    document = None
    if own.text("process"):
        from kokon.spec.oci.json_text import LARGEST_DOCUMENT

        with open(own.text("process"), "rb") as file:
            document = file.read(LARGEST_DOCUMENT + 1)
    detached = own.flag("detach")
    execution = Execution(
        tuple(words),
        document=document,
        terminal=own.flag("tty"),
        cwd=own.text("cwd"),
        environment=own.many("env"),
        user=own.text("user"),
        additional_gids=own.many("additional-gids"),
        capabilities=own.many("cap"),
        apparmor=own.text("apparmor"),
        label=own.text("process-label"),
        no_new_privileges=own.flag("no-new-privs"),
        groups=own.many("cgroup"),
        ignores_pause=own.flag("ignore-paused"),
        detached=detached,
        console_socket=own.text("console-socket"),
        pid_file=own.text("pid-file"),
        preserved=preserved(own),
        size=size(),
    )
    spawned = execute(asked.root, identity, execution)
    asked.warn(execution.notes)
    return 0 if detached else attend(spawned)
