"""A step of a build: it reads its sources, writes its output, and reaches nothing else.

    python3 build_step.py SOURCES OUTPUT COMMAND [ARGUMENTS…]
    python3 build_step.py ./src ./out sh -c 'cc -O2 -o "$OUTPUT/hello" hello.c'

SOURCES is read-only and where COMMAND starts, OUTPUT (``$OUTPUT``) can be written.  There is no
network, so that what was not fetched before is missed; names, dates, languages and the umask are
the same on every machine, so that the output is too.  What COMMAND prints is passed on as it comes.
At the end every file of the output is named with its digest; the status is COMMAND's.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from pathlib import Path

import kokon

SAME = {
    "SOURCE_DATE_EPOCH": "1",
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
    "PYTHONHASHSEED": "0",
    "OUTPUT": "/output",
}


async def step(sources: Path, output: Path, command: list[str]) -> int:
    """Runs a command and passes on what it prints.

    :returns: its exit status.
    :raises kokon.KokonError: it could not be run.
    """
    events = kokon.astream(
        command, root="@host", env=SAME, stdin=kokon.DEVNULL, cwd="/sources",
        volumes={sources.resolve(): "/sources:ro", output.resolve(): "/output"},
        hostname="build", umask="022", require="files,network,processes",
    )  # fmt: skip
    async for event in events:
        match event:
            case kokon.aio.Output(stream, data):
                to = sys.stdout if stream == "stdout" else sys.stderr
                to.buffer.write(data)
                to.flush()
            case kokon.aio.End(result) if result.cause == "signal":
                print(f"{command[0]} was ended by signal {-result.returncode}", file=sys.stderr)
                return 128 - result.returncode
            case kokon.aio.End(result):
                return result.returncode
    raise AssertionError("a stream has an end")


def main(sources: Path, output: Path, command: list[str]) -> int:
    """Builds, and names what was built."""
    output.mkdir(parents=True, exist_ok=True)
    try:
        status = asyncio.run(step(sources, output, command))
    except kokon.KokonError as error:
        print(f"{Path(__file__).name}: {error}", file=sys.stderr)
        return error.exit_status
    for path in sorted(output.rglob("*")):
        if path.is_file() and not path.is_symlink():
            print(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(output)}")
    return status


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))
