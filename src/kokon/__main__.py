"""``python3 -m kokon``, the command without its launcher; it tells the launcher which Python."""

from __future__ import annotations

import os
import sys


def record_interpreter() -> None:
    """Writes the path of this interpreter for the launcher, where it has no python3 beside it.

    The package lies in PREFIX/lib/python3.X/site-packages and the launcher in PREFIX/bin
    (launcher/launcher.c); a path that is there and can be executed stays.
    """
    from kokon.paths import PACKAGE, PYTHON_PATH

    commands = os.path.normpath(PACKAGE + "/../../../../bin")
    version = f"python3.{sys.version_info.minor}"
    beside = any(os.access(f"{commands}/{name}", os.X_OK) for name in (version, "python3"))
    if beside or not sys.executable or not os.access(f"{commands}/kokon", os.X_OK):
        return
    try:
        with open(PYTHON_PATH) as file:
            if os.access(file.read().strip(), os.X_OK):
                return
    except OSError:
        pass
    new = f"{PYTHON_PATH}.{os.getpid()}"
    try:
        with open(new, "x") as file:
            file.write(sys.executable + "\n")
        os.replace(new, PYTHON_PATH)
    except OSError:
        pass  # not ours to write: the launcher goes on looking


if __name__ == "__main__":
    from kokon.cli.main import main

    record_interpreter()
    main()
