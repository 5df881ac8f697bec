"""Runs the cells of a notebook, with what they define kept from cell to cell.

    python3 notebook.py cells.py [SECONDS]

Cells are separated by lines ``# %%``.  They run in a Python that lives in a box, without this
machine's files and network.  A cell that takes too long gets ^C, which leaves what was defined; one
that does not listen, or that ends its Python, costs the definitions: the next has a fresh Python in
the same box.  We speak in lines of JSON: a cell goes in; what it prints comes back, then the value
of its last expression or its error.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Timer

import kokon

INSIDE = """
import ast, io, json, os, signal, sys, traceback

# The pipes are ours: a cell finds nothing in 0, and what it writes to 1 goes to 2.
cells, sys.stdin = sys.stdin, open(os.devnull)
answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)

def answer(**fields):
    answers.write(json.dumps(fields) + "\\n")

class Printed(io.TextIOBase):
    def write(self, text):
        for start in range(0, len(text), 65536):
            answer(text=text[start : start + 65536])
        return len(text)

def run(cell):
    body = ast.parse(cell, "cell").body
    last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), "cell", "exec"), names)
    value = eval(compile(ast.Expression(last.value), "cell", "eval"), names) if last else None
    return None if value is None else repr(value)[:65536]

sys.stdout = sys.stderr = Printed()
names = {"__name__": "__main__"}
for line in cells:
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        said = {"value": run(json.loads(line))}
    except (Exception, KeyboardInterrupt) as error:
        said = {"error": "".join(traceback.format_exception(error))[-65536:]}
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answer(**said)
"""


class Notebook:
    """A box with a Python in it; options as of ``kokon.Sandbox``."""

    def __init__(self, **options: object) -> None:
        self.box = kokon.Sandbox(root="@python", **options)
        self._start()

    def _start(self) -> None:
        self._python = self.box.popen(
            ["python3", "-c", INSIDE], text=True, errors="replace",
            stdin=kokon.PIPE, stdout=kokon.PIPE, stderr=kokon.DEVNULL,
        )  # fmt: skip

    def run(
        self, cell: str, show: Callable[[str], object], timeout: float = 10, patience: float = 2
    ) -> dict[str, str | None]:
        """Runs a cell and shows what it prints.

        :param timeout: seconds until ^C; after ``patience`` more, its Python is ended.
        :returns: its ``value`` or ``error``, or how its Python has ``ended``.
        """
        python = self._python
        interrupt = Timer(timeout, python.send_signal, (signal.SIGINT,))
        end = Timer(timeout + patience, python.kill)
        try:
            interrupt.start(), end.start()
            python.stdin.write(json.dumps(cell) + "\n")
            while line := python.stdout.readline(1 << 20):
                answer = dict(json.loads(line))
                if "text" not in answer:
                    return answer
                show(str(answer["text"]))
            python.wait()
        except (OSError, ValueError, TypeError):
            python.close()  # it speaks no longer as it was told
        finally:
            interrupt.cancel(), end.cancel()
        python.close()
        self._start()
        return {"ended": python.cause}

    def __enter__(self) -> Notebook:
        return self

    def __exit__(self, *_: object) -> None:
        self._python.close()
        self.box.close()


def main(path: str, timeout: float = 10) -> None:
    sys.stdout.reconfigure(errors="replace")
    with Notebook() as notebook:
        for cell in Path(path).read_text().split("# %%\n"):
            for kind, words in notebook.run(cell, sys.stdout.write, timeout).items():
                print(f"[{kind}] {words}" if words is not None else "")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(sys.argv[1], *map(float, sys.argv[2:]))
