"""``kokon help``, ``kokon --help`` and ``kokon VERB --help``, as wide as the terminal."""

from __future__ import annotations

import os
from textwrap import wrap

from kokon.cli.arguments import near
from kokon.cli.main import VERBS
from kokon.cli.message import emphasis, show
from kokon.config.options import TABLE, Option
from kokon.errors import OptionError

USAGE = {
    "": "kokon VERB …",
    "run": "kokon run [OPTIONS] ROOT [PROGRAM [ARGUMENTS…]]",
    "explain": "kokon explain [--format text|json|shell] run [OPTIONS] ROOT [PROGRAM [ARGUMENTS…]]",
    "why": "kokon why [--format text|json] QUESTION SUBJECT run [OPTIONS] ROOT [PROGRAM"
    " [ARGUMENTS…]]",
    "doctor": "kokon doctor [--format text|json]",
    "oci": "kokon oci [OPTIONS] COMMAND [OPTIONS] [ARGUMENTS…]",
    "version": "kokon version",
    "completion": "kokon completion bash|zsh|fish",
    "help": "kokon help [VERB]",
}
ABOUT = {
    "": "kokon isolates processes: each runs in a container of its own, without a daemon, as root"
    " or as an ordinary user.",
    "run": "Runs a program in a container of its own and waits for its end. ROOT is a directory or"
    " a tarball (its path begins with / or .), @host (this machine's programs, read-only) or"
    " @python (the Python that runs kokon). What the program writes is dropped with the"
    " container. Without PROGRAM it is a shell, or Python in @python.",
    "explain": "Prints the steps that kokon would take for a run, each with the option that asked"
    " for it, and does not run the program: as text, as JSON, or as a shell script that does"
    " the same. The options are those of kokon run.",
    "why": "Tells whether the program of a run may do something when it begins: allowed, denied (by"
    " which steps of the plan that would be performed), or not decided by the plan. Nothing runs.",
    "doctor": "Tells what this machine can do for kokon, as the user who asks and where kokon runs:"
    " what is there, what is missing, what follows from that, and the lines for a shell that mend"
    " it. It tries things out, and leaves nothing.",
    "oci": "Makes and drives containers from bundles (config.json), with the command line of runC:"
    " the same as the command kokon-runtime. See kokon oci --help.",
    "version": "Prints the version of kokon, of Python and of the kernel.",
    "completion": "Prints what a shell needs to complete kokon's words.",
    "help": "Prints help.",
}
NOTES = {
    "why": (
        "Questions: read, write, create, execute, device PATH; listen PORT[/udp]; connect"
        " ADDRESS[:PORT]; call [ARCH:]SYSCALL[(ARGUMENTS)], where _ stands for any argument;"
        " capability NAME; see, signal PID (of this machine); limit NAME.",
        "The exit status is 0 for allowed, 1 for denied, 2 for what the plan does not decide, 125"
        " when kokon failed.",
    ),
    "doctor": (
        "The exit status is 0 when everything is there that a run without options needs, 1 when"
        " something of it is missing, 125 for a mistake in the command line.",
    ),
    "run": (
        "On a terminal, -it is meant where neither -i nor -t is written (--tty=false: no). Else"
        " the program reads nothing without -i.",
        "The exit status is the program's own; 128 and the number of the signal that ended it;"
        " 124 after --timeout; 125 when kokon failed, 126 when the program cannot be executed,"
        " 127 when it is not there.",
        "Signals are forwarded. One that the program, as process 1, does not handle ends the"
        " container, and so do ^C and ^\\ on a terminal. Three within a second do so too, where the"
        " program does not catch them as a shell does.",
    ),
}
EXAMPLES: dict[str, tuple[tuple[str, str], ...]] = {
    "": (
        ("kokon run @host sh", "a shell on this machine's programs"),
        ("kokon run ./rootfs.tar.gz", "a shell in a root from a tarball"),
        ("kokon explain run ./rootfs.tar.gz sh", "what that does, step by step"),
        ("kokon run --help", "every option"),
    ),
    "run": (
        ("kokon run ./rootfs.tar.gz ps aux", "it sees itself only"),
        ("kokon run --read-only --tmpfs /tmp ./rootfs sh", "nothing else can be written"),
        ("kokon run -v ./src:/var/src:ro @python python3 /var/src/main.py",
         "a directory of the host"),
        ("kokon run --memory 100M --pids-limit 32 --cpus 0.5 @python python3 /tmp/hungry.py",
         "limits"),
        ("kokon run --cap-drop NET_BIND_SERVICE ./rootfs httpd -f", "cannot listen on port 80"),
        ("kokon run --user nobody --timeout 5s @host id", "not even root inside"),
        ("echo 6 7 | kokon run -i @host wc -w", "reads standard input"),
    ),
    "explain": (
        ("kokon explain run --memory 100M ./rootfs.tar.gz sh", "in words"),
        ("kokon explain --format shell run --userns host ./rootfs sh", "as a script that runs"),
    ),
    "why": (
        ("kokon why write /data/x run -v ./data:/data:ro ./rootfs sh", "denied, by step 26"),
        ("kokon why listen 80 run --user nobody ./rootfs httpd", "which step takes the right"),
        ("kokon why call 'clone(0x10000000)' run @host sh", "by the very filter that is loaded"),
        ("kokon why capability SYS_ADMIN run @host sh || echo no", "in a script"),
    ),
    "doctor": (
        ("kokon doctor", "in words"),
        ("kokon doctor --format json | jq '.findings[] | select(.state != \"ok\")'",
         "what is not well, for a program"),
        ("kokon doctor >/dev/null && make test", "in a script"),
    ),
    "completion": (
        ("source <(kokon completion bash)", "a line for ~/.bashrc"),
        ("kokon completion zsh > ~/.zfunc/_kokon", "once, in a directory of fpath"),
        ("kokon completion fish > ~/.config/fish/completions/kokon.fish", "once"),
    ),
}  # fmt: skip


def main(words: list[str]) -> int:
    """Prints the help of kokon, or of one verb.

    :raises OptionError: there is no such verb.
    """
    verb = words[0] if words and words[0] != "--help" else ""
    if verb and verb not in VERBS:
        raise OptionError(
            f"there is no verb {verb!r}{near(verb, VERBS)}",
            where="help",
            remedy=f"the verbs are {', '.join(VERBS)}",
        )
    show(text(verb, width(), bold=emphasis(1)))
    return 0


def width() -> int:
    """Columns of the terminal, or 80; never more than a line can be read at."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns):
        found = int(columns)
    else:
        try:
            found = os.get_terminal_size(1).columns
        except OSError:
            found = 80
    return min(max(found, 40), 110)


def text(verb: str, columns: int, *, bold: bool = False) -> str:
    """The help of a verb; of kokon itself for an empty one."""

    def heading(words: str) -> None:
        lines.append("")
        lines.append(f"\x1b[1m{words}\x1b[0m" if bold else words)

    lines = wrap(f"Usage: {USAGE[verb]}", columns, subsequent_indent="       ")
    lines += ["", *wrap(ABOUT[verb], columns)]
    if not verb:
        heading("Verbs")
        for name, about in VERBS.items():
            lines += entry(f"  {name}", about, columns, 14)
    if verb == "run":
        group = ""
        for option in TABLE:
            if option.group != group:
                group = option.group
                heading(group)
            lines += entry(left(option), option.help, columns, 30)
    for note in NOTES.get(verb, ()):
        lines += ["", *wrap(note, columns)]
    if verb in EXAMPLES:
        heading("Examples")
        for command, about in EXAMPLES[verb]:
            lines += [f"  # {about}", f"  {command}"]
    return "\n".join(lines) + "\n"


def left(option: Option) -> str:
    """``  -m, --memory SIZE``."""
    short = f"-{option.short}, " if option.short else "    "
    value = f" {option.metavar}" if option.metavar else ""
    return f"  {short}--{option.name}{value}"


def entry(term: str, about: str, columns: int, column: int) -> list[str]:
    """A term and, from ``column`` on, its description: beneath it where the term is long."""
    indent = " " * column
    lines = wrap(
        about, columns, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )
    if len(term) < column:
        lines[0] = term + lines[0][len(term) :]
        return lines
    return [term, *lines]
