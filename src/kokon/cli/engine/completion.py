"""``kokon completion``: what bash, zsh and fish need, from the one table of options."""

from __future__ import annotations

from kokon.cli.main import VERBS
from kokon.cli.message import show
from kokon.config.options import TABLE, Option
from kokon.errors import OptionError
from kokon.kernel import capabilities
from kokon.plan.why import ACTIONS

ROOTS = ("@host", "@python")


def main(words: list[str]) -> int:
    """Prints the completions for one shell.

    :raises OptionError: no shell, or one that is not known.
    """
    shells = {"bash": bash, "zsh": zsh, "fish": fish}
    if words == ["--help"]:
        from kokon.cli.engine.help import main as help

        return help(["completion"])
    if len(words) != 1 or words[0] not in shells:
        raise OptionError(
            f"{' '.join(words)!r} is no shell that is known" if words else "names no shell",
            where="completion",
            remedy=f"name one of {', '.join(shells)}",
        )
    show(shells[words[0]]())
    return 0


def choices(option: Option) -> list[str]:
    """The values that an option takes, where they are few."""
    if option.metavar == "CAPABILITY":
        return ["ALL", *capabilities.NAMES]
    return option.metavar.split("|") if "|" in option.metavar else []


def path(option: Option) -> str:
    """Whether its value is, or begins with, a path of the host: ``file``, ``directory`` or no."""
    if option.metavar == "DIR":
        return "directory"
    return "file" if option.metavar.startswith(("FILE", "SRC", "DEVICE:")) else ""


def spellings(option: Option) -> list[str]:
    """``--memory`` and ``-m``."""
    return [f"--{option.name}", *([f"-{option.short}"] if option.short else [])]


BASH = """\
# bash completion of kokon
_kokon() {
    COMPREPLY=()
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}
    if [ "$COMP_CWORD" = 1 ]; then
        COMPREPLY=($(compgen -W "%(verbs)s --help --version" -- "$word"))
        return
    fi
    case "${COMP_WORDS[1]}" in
        help) COMPREPLY=($(compgen -W "%(verbs)s" -- "$word")); return ;;
        completion) COMPREPLY=($(compgen -W "bash zsh fish" -- "$word")); return ;;
        doctor)
            case "$before" in
                --format) COMPREPLY=($(compgen -W "text json" -- "$word")) ;;
                *) COMPREPLY=($(compgen -W "--format --help" -- "$word")) ;;
            esac
            return ;;
        why)
            case "$COMP_CWORD" in
                2) COMPREPLY=($(compgen -W "%(questions)s --format --help" -- "$word")); return ;;
                4) COMPREPLY=($(compgen -W "run" -- "$word")); return ;;
            esac ;;
        run|explain) ;;
        *) return ;;
    esac
    case "$before" in
%(cases)s
        explain) COMPREPLY=($(compgen -W "run --format" -- "$word")); return ;;
        --format) COMPREPLY=($(compgen -W "text json shell" -- "$word")); return ;;
        %(file)s) COMPREPLY=($(compgen -f -- "$word")); return ;;
        %(directory)s) COMPREPLY=($(compgen -d -- "$word")); return ;;
        %(nothing)s) return ;;
    esac
    case "$word" in
        -*) COMPREPLY=($(compgen -W "%(options)s --help" -- "$word")) ;;
        @*) COMPREPLY=($(compgen -W "%(roots)s" -- "$word")) ;;
        *) COMPREPLY=($(compgen -f -- "$word")) ;;
    esac
}
complete -o filenames -F _kokon kokon
"""


def bash() -> str:
    """For ``source <(kokon completion bash)``."""
    cases = []
    valued: dict[str, list[str]] = {"file": [], "directory": [], "": []}
    for option in TABLE:
        if words := choices(option):
            cases.append(
                f"        {'|'.join(spellings(option))})"
                f' COMPREPLY=($(compgen -W "{" ".join(words)}" -- "$word")); return ;;'
            )
        elif option.kind != "flag":
            valued[path(option)] += spellings(option)
    return BASH % {
        "verbs": " ".join(VERBS),
        "questions": " ".join(ACTIONS),
        "cases": "\n".join(cases),
        "file": "|".join(valued["file"]),
        "directory": "|".join(valued["directory"]),
        "nothing": "|".join(valued[""]),
        "options": " ".join(word for option in TABLE for word in spellings(option)),
        "roots": " ".join(ROOTS),
    }


ZSH = """\
#compdef kokon
_kokon_run() {
    _arguments -S -A '-*' \\
%(options)s
        '1:root: _alternative "roots:root:(%(roots)s)" "files:file:_files"' \\
        '*::program:_normal'
}
_kokon() {
    local -a verbs=(
%(verbs)s
    )
    if (( CURRENT == 2 )); then
        _describe verb verbs
        return
    fi
    case $words[2] in
        run) shift 1 words; (( CURRENT-- )); _kokon_run ;;
        explain) _arguments '--format[format]:format:(text json shell)' '*:file:_files' ;;
        doctor) _arguments '--format[format]:format:(text json)' ;;
        why)
            case $CURRENT in
                3) compadd %(questions)s ;;
                5) compadd run ;;
                *) _files ;;
            esac ;;
        completion) compadd bash zsh fish ;;
        help) _describe verb verbs ;;
    esac
}
_kokon "$@"
"""


def zsh() -> str:
    """For a file ``_kokon`` in a directory of ``fpath``."""
    rows = []
    for option in TABLE:
        about = _zsh_quoted(option.help)
        value = ""
        if words := choices(option):
            value = f":{option.name}:({' '.join(words)})"
        elif option.kind != "flag":
            action = {"file": "_files", "directory": "_files -/", "": " "}[path(option)]
            value = f":{_zsh_quoted(option.metavar)}:{action}"
        star = "*" if option.kind == "list" else ""
        rows += [f"        '{star}{word}[{about}]{value}' \\" for word in spellings(option)]
    verbs = [f"        '{name}:{about}'" for name, about in VERBS.items()]
    return ZSH % {
        "options": "\n".join(rows),
        "questions": " ".join(ACTIONS),
        "roots": " ".join(ROOTS),
        "verbs": "\n".join(verbs),
    }


def _zsh_quoted(text: str) -> str:
    for letter in "\\[]:":
        text = text.replace(letter, "\\" + letter)
    return text.replace("'", "'\\''")


def fish() -> str:
    """For a file ``kokon.fish`` in ~/.config/fish/completions."""
    rows = ["# fish completion of kokon", "complete -c kokon -n __fish_use_subcommand -f"]
    for name, about in VERBS.items():
        rows.append(f"complete -c kokon -n __fish_use_subcommand -a {name} -d '{about}'")
    run = "-n '__fish_seen_subcommand_from run'"
    rows.append(f"complete -c kokon {run} -a '{' '.join(ROOTS)}' -d root")
    for option in TABLE:
        about = option.help.replace("\\", "\\\\").replace("'", "\\'")
        short = f" -s {option.short}" if option.short else ""
        value = ""
        if words := choices(option):
            value = f" -x -a '{' '.join(words)}'"
        elif option.kind != "flag":
            value = {
                "file": " -r -F",
                "directory": " -x -a '(__fish_complete_directories)'",
                "": " -x",
            }[path(option)]
        rows.append(f"complete -c kokon {run} -l {option.name}{short}{value} -d '{about}'")
    rows.append(
        "complete -c kokon -n '__fish_seen_subcommand_from explain' -l format -x"
        " -a 'text json shell' -d format"
    )
    rows.append(
        f"complete -c kokon -n '__fish_seen_subcommand_from why' -a '{' '.join(ACTIONS)} run'"
        " -d question"
    )
    rows.append(
        "complete -c kokon -n '__fish_seen_subcommand_from why' -l format -x -a 'text json'"
        " -d format"
    )
    rows.append(
        "complete -c kokon -n '__fish_seen_subcommand_from doctor' -f -l format -x"
        " -a 'text json' -d format"
    )
    rows.append(
        "complete -c kokon -n '__fish_seen_subcommand_from completion' -f -a 'bash zsh fish'"
    )
    return "\n".join(rows) + "\n"
