"""An agent's tool: code, commands and files in a box, asked for in lines of JSON.

    python3 agent_tool.py [DIRECTORY] < requests > answers

    {"id": 1, "tool": "run_python", "arguments": {"code": "print(6 * 7, end='')"}}
    {"id": 1, "exit_status": 0, "cause": "exited", "stdout": "42", "stderr": "", …}

Tools are run_python(code), run_shell(command), read_file(path) and write_file(path, content); the
first two take a ``timeout`` in seconds.  Requests are answered as they end, many at once.  The
box has this machine's programs, no network, and DIRECTORY (or a directory that goes with it) at
/work; what is run can read and write nothing else.  What an answer holds is bounded.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import kokon

OUTPUT = 20_000  # bytes: what a model can read
LONGEST = 60.0  # seconds


class Tools:
    """What may be asked for; each gives the fields of an answer."""

    def __init__(self, box: kokon.aio.Sandbox) -> None:
        self._box = box

    async def run_python(self, code: str, timeout: float = LONGEST) -> dict[str, Any]:
        return await self._run(["python3", "-c", code], timeout)

    async def run_shell(self, command: str, timeout: float = LONGEST) -> dict[str, Any]:
        return await self._run(["sh", "-c", command], timeout)

    async def read_file(self, path: str) -> dict[str, Any]:
        content = await self._box.files.read(path, max_size=OUTPUT)
        return {"content": content.decode(errors="replace")}

    async def write_file(self, path: str, content: str) -> dict[str, Any]:
        await self._box.files.write(path, content)
        return {"written": len(content.encode())}

    async def _run(self, words: list[str], timeout: float) -> dict[str, Any]:
        try:
            result = await self._box.run(
                words, stdin=kokon.DEVNULL, capture_output=True, errors="replace",
                max_output=OUTPUT, overflow="truncate", timeout=min(float(timeout), LONGEST),
            )  # fmt: skip
        except kokon.TimeoutExpired as over:
            result = over.result
        return {
            "exit_status": result.returncode,
            "cause": result.cause,
            "limits_hit": result.limits_hit,
            "stdout": result.stdout,
            "stderr": result.stderr,
        }


async def answer(tools: Tools, line: str) -> dict[str, Any]:
    """Does what a line asks for; every failure is an answer, and says what to do about it."""
    request: dict[str, Any] = {}
    try:
        request = dict(json.loads(line))
        tool = str(request["tool"])
        if tool.startswith("_") or not hasattr(tools, tool):
            raise ValueError(f"there is no tool {tool!r}")
        said = await getattr(tools, tool)(**request.get("arguments", {}))
    except kokon.RetryError as error:
        said = {"error": str(error), "retry": True}
    except (kokon.KokonError, OSError, ValueError, TypeError, KeyError) as error:
        said = {"error": f"{type(error).__name__}: {error}"}
    return {"id": request.get("id"), **said}


async def main(directory: str | None) -> None:
    """Answers the lines of standard input."""
    options: dict[str, Any] = {"volumes": {directory: "/work"}} if directory else {"tmpfs": "/work"}
    options |= {"memory": "512M", "pids": 128, "limits": "best-effort"}
    async with kokon.aio.Sandbox(root="@host", cwd="/work", **options) as box:
        for note in box.notes:
            print("note:", note, file=sys.stderr)
        tools = Tools(box)

        async def reply(line: str) -> None:
            print(json.dumps(await answer(tools, line)), flush=True)

        async with asyncio.TaskGroup() as group:
            while line := await asyncio.to_thread(sys.stdin.readline):
                group.create_task(reply(line))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else None))
