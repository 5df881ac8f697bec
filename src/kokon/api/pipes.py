"""A program's standard streams, and our ends of those that are pipes."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Any

PIPE = -1
STDOUT = -2
DEVNULL = -3
"""The numbers that subprocess has."""


def check(*streams: int | IO[Any] | None) -> None:
    """Sees that none is closed, before kokon opens what would get its number (row E3).

    :raises OSError: one is.
    """
    for stream in streams:
        if stream is not None and stream not in (PIPE, STDOUT, DEVNULL):
            os.fstat(stream if isinstance(stream, int) else stream.fileno())


LONGEST_CHARACTER = 4
"""Bytes of one character of UTF-8 or UTF-16."""


class Pipes:
    """What the program gets, and what we hold.

    :ivar program: the descriptors that become 0, 1 and 2.
    :ivar ours: our end of each, -1 where there is none; who uses one takes it out and closes it.
    :param feeds: a pipe for standard input, whatever ``stdin`` says.
    :raises ValueError: STDOUT for another stream than standard error.
    """

    __slots__ = ("_theirs", "ours", "program")

    def __init__(
        self,
        stdin: int | IO[Any] | None,
        stdout: int | IO[Any] | None,
        stderr: int | IO[Any] | None,
        *,
        feeds: bool = False,
    ) -> None:
        if STDOUT in (stdin, stdout):
            raise ValueError("STDOUT can only be used for stderr")
        self.ours = [-1, -1, -1]
        self.program: list[int] = []
        self._theirs: list[int] = []
        try:
            for number, stream in enumerate((PIPE if feeds else stdin, stdout, stderr)):
                self.program.append(self._open(number, stream))
        except BaseException:
            self.close_theirs()
            self.close()
            raise

    def _open(self, number: int, stream: int | IO[Any] | None) -> int:
        if stream is None:
            return number
        if stream == STDOUT:
            return self.program[1]
        if stream == PIPE:
            ends = os.pipe2(os.O_CLOEXEC)
            theirs, self.ours[number] = ends if number == 0 else ends[::-1]
        elif stream == DEVNULL:
            theirs = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        else:
            return stream if isinstance(stream, int) else stream.fileno()
        self._theirs.append(theirs)
        return theirs

    def descriptors(self) -> tuple[int, int, int]:
        """``program``, as a start takes it."""
        return self.program[0], self.program[1], self.program[2]

    def close_theirs(self) -> None:
        """Closes what only the program needs."""
        while self._theirs:
            os.close(self._theirs.pop())

    def close(self) -> None:
        """Closes our ends."""
        for number, fd in enumerate(self.ours):
            if fd >= 0:
                self.ours[number] = -1
                os.close(fd)

    def take(self, number: int) -> int:
        """Our end of a stream, from now on the caller's to close."""
        fd, self.ours[number] = self.ours[number], -1
        return fd


class Text:
    """Text mode, as subprocess has it.

    :param text: or one of the others: streams are str, newlines are universal.
    """

    __slots__ = ("encoding", "errors", "on")

    def __init__(self, text: bool | None, encoding: str | None, errors: str | None) -> None:
        self.on = bool(text or encoding or errors)
        self.encoding = encoding or "utf-8"
        self.errors = errors or "strict"

    def encode(self, words: str | bytes | None) -> bytes | None:
        """What is fed to the program."""
        return words.encode(self.encoding, self.errors) if isinstance(words, str) else words

    def decode(self, part: bytes | None, *, cut: bool = False) -> bytes | str | None:
        """What was captured of a stream.

        :param cut: it may end within a character, whose beginning is left out then.
        """
        if part is None or not self.on:
            return part
        try:
            text = part.decode(self.encoding, self.errors)
        except UnicodeDecodeError as error:
            if not cut or len(part) - error.start > LONGEST_CHARACTER:
                raise
            text = part[: error.start].decode(self.encoding, self.errors)
        return text.replace("\r\n", "\n").replace("\r", "\n")

    def file(self, fd: int, mode: str, buffering: int = -1) -> Any:
        """A file object of a pipe's end, None for -1."""
        if fd < 0:
            return None
        if not self.on:
            return open(fd, mode, buffering)
        from io import TextIOWrapper

        # Text is given on by lines, also where bytes are not: 1 means nothing else.
        binary = open(fd, mode, -1 if buffering == 1 else buffering)  # noqa: SIM115
        return TextIOWrapper(
            binary, self.encoding, self.errors, line_buffering=True, write_through=True
        )
