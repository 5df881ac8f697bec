"""``update``: other limits for a container."""

from __future__ import annotations

import sys

from kokon.cli.message import say
from kokon.config.sizes import memory_bytes
from kokon.errors import OptionError
from kokon.runtime.oci.record import Record
from kokon.runtime.oci.update import update
from kokon.spec.resources import BlockIo, Cpu, Memory, Pids, Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokon.cli.oci.arguments import Arguments
    from kokon.cli.oci.main import Globals


def main(asked: Globals, own: Arguments) -> int:
    """Sets them."""
    resources = _document(own.text("resources")) if own.given("resources") else _flags(own)
    schemas = own.text("l3-cache-schema"), own.text("mem-bw-schema")
    with Record.open(asked.root, own.words[0]) as record:
        for sentence in update(record, resources, *schemas):
            say(sentence)
    return 0


def _document(path: str) -> Resources:
    from kokon.spec.oci.json_text import LARGEST_DOCUMENT
    from kokon.spec.oci.resources import parse_resources

    if path == "-":
        return parse_resources(sys.stdin.buffer.read(LARGEST_DOCUMENT + 1))
    with open(path, "rb") as file:
        return parse_resources(file.read(LARGEST_DOCUMENT + 1))


def _flags(own: Arguments) -> Resources:
    def number(name: str) -> int | None:
        word = own.text(name)
        if not word:
            return None
        digits = word.removeprefix("-")
        if not (digits.isascii() and digits.isdecimal()) or len(digits) > 19:
            raise OptionError(f"{word[:80]!r} is no number", where=f"--{name}")
        return int(word)

    def size(name: str) -> int | None:
        word = own.text(name)
        return memory_bytes(word, f"--{name}", minimum=0, unlimited=True) if word else None

    return Resources(
        memory=Memory(
            limit=size("memory"), reservation=size("memory-reservation"), swap=size("memory-swap")
        ),
        cpu=Cpu(
            shares=number("cpu-share"), quota=number("cpu-quota"), period=number("cpu-period"),
            burst=number("cpu-burst"), realtime_period=number("cpu-rt-period"),
            realtime_runtime=number("cpu-rt-runtime"), idle=number("cpu-idle"),
            cpus=own.text("cpuset-cpus") or None, mems=own.text("cpuset-mems") or None,
        ),
        pids=Pids(limit=number("pids-limit")),
        block_io=BlockIo(weight=number("blkio-weight")),
    )  # fmt: skip
