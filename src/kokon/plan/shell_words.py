"""Words of a shell script: whatever a plan holds, quoted so that it stays one word or a comment."""

from __future__ import annotations

PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%+=:,./-_")


def quote(word: str) -> str:
    """One word of the shell (POSIX, Shell Command Language, 2.2.2)."""
    if word and PLAIN.issuperset(word):
        return word
    return "'" + word.replace("'", "'\\''") + "'"


def visible(text: str) -> str:
    """Text on one line: a newline in a name must not end a comment."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def comment(text: str) -> str:
    """A comment of one line."""
    return f"# {visible(text)}"


def write(value: str, path: str) -> str:
    """The command that writes a value with a newline to a file of the kernel."""
    # What echo does with a backslash or a first -n differs from shell to shell.
    command = "printf '%s\\n'" if "\\" in value or value[:2] in ("-n", "-e", "-E") else "echo"
    return f"{command} {quote(value)} > {quote(path)}"


def content(data: bytes) -> str:
    """The command that prints a small file: as it reads where it is text, else byte by byte."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = "\0"
    if text.replace("\n", "").replace("\t", "").isprintable():
        if text.endswith("\n"):
            return "printf '%s\\n' " + " ".join(quote(line) for line in text[:-1].split("\n"))
        return f"printf %s {quote(text)}"
    return "printf '" + "".join(f"\\{byte:03o}" for byte in data) + "'"
