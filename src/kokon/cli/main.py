"""The commands ``kokon`` and ``kokon-runtime``: words in, one verb, an exit status out."""

from __future__ import annotations

import gc
import os
import sys
from _signal import SIG_DFL, SIG_IGN, SIGCHLD, SIGINT, getsignal, signal  # type: ignore[import-not-found]

from kokon.cli import merged
from kokon.cli.message import say
from kokon.errors import KokonError, OptionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

FAILED = 125
"""kokon's own failures, as in Docker."""

VERBS = {
    "run": "run a program in a container",
    "explain": "print the steps of a run, each with its reason, and run nothing",
    "why": "tell whether the program of a run may do something, and by which step",
    "doctor": "tell what this machine can do, what is missing and how to get it",
    "oci": "make and drive containers as runC does (kokon-runtime)",
    "version": "print the version",
    "completion": "print completions for bash, zsh or fish",
    "help": "print help, of a verb too",
}


def main(argv: list[str] | None = None, launcher: str = "") -> None:
    """Performs a command line (sys.argv[1:] by default) and ends the process with its status.

    :param launcher: the path of launcher/launcher.c's program, if it started us.
    """
    # Python would turn ^C into a traceback; verbs that have something to take back handle it.
    if getsignal(SIGINT) != SIG_IGN:
        signal(SIGINT, SIG_DFL)
    # A caller may hand this down ignored: then the kernel would keep no exit status for us.
    signal(SIGCHLD, SIG_DFL)
    words = sys.argv[1:] if argv is None else argv
    if os.path.basename(sys.argv[0]) == "kokon-runtime":
        words = ["oci", *words]
    _end(lambda: _verb(words, launcher))


def take_over() -> None:
    """Goes on with what the launcher began; sys.argv[1] says what it has left."""
    signal(SIGCHLD, SIG_DFL)

    def go_on() -> int:
        verb, _, channel = sys.argv[1].strip().rpartition(" ")
        if verb == "start":
            from kokon.cli.oci.main import main as perform

            return perform(sys.argv[2:], started=int(channel))
        from kokon.cli.engine.takeover import main

        return main(sys.argv[1])

    _end(go_on)


def _end(perform: Callable[[], int]) -> NoReturn:
    """Ends the process with the status of what is performed."""
    # A run makes little rubbish and a start many objects, which the collector would go through.
    gc.disable()
    modules = merged.use()
    status = _told(perform)
    merged.renew(modules)
    if "atexit" in sys.modules:
        import atexit

        atexit._run_exitfuncs()
    # Leaving out the interpreter's own end saves a tenth of a short run.
    os._exit(status)


def command(words: list[str]) -> int:
    """Performs a command line; what went wrong is printed as one sentence.

    :returns: the exit status.
    """
    return _told(lambda: _verb(words, ""))


def _told(perform: Callable[[], int]) -> int:
    try:
        return perform()
    except KokonError as error:
        say(str(error))
        return error.exit_status
    except BrokenPipeError:
        return FAILED  # whoever read our words has enough
    except OSError as error:
        where = f"{error.filename}: " if error.filename is not None else ""
        say(f"{where}{error.strerror or error}")
        return FAILED
    except Exception:
        import traceback

        traceback.print_exc()
        say("this is a mistake in kokon itself; report it with the lines above")
        return FAILED


def _verb(words: list[str], launcher: str) -> int:
    """One file is one verb, and only that one is loaded."""
    verb = words[0] if words else "help"
    rest = words[1:]
    if verb == "run":
        from kokon.cli.engine.run import main as run

        return run(rest, launcher)
    if verb == "oci":
        from kokon.cli.oci.main import main as runtime

        return runtime(rest, launched=bool(launcher))
    if verb == "explain":
        from kokon.cli.engine.explain import main as perform
    elif verb == "why":
        from kokon.cli.engine.why import main as perform
    elif verb == "doctor":
        from kokon.cli.engine.doctor import main as perform
    elif verb in ("version", "--version"):
        from kokon.cli.engine.version import main as perform
    elif verb in ("help", "--help", "-h"):
        from kokon.cli.engine.help import main as perform
    elif verb == "completion":
        from kokon.cli.engine.completion import main as perform
    else:
        from kokon.cli.arguments import near

        kind = "option" if verb.startswith("-") else "verb"
        known = ("--help", "--version") if kind == "option" else tuple(VERBS)
        raise OptionError(
            f"there is no {kind} {verb!r}{near(verb, known)}",
            remedy=f"the verbs are {', '.join(VERBS)} (see kokon --help)",
        )
    return perform(rest)
