"""Write the generated data of ``kokon.security.seccomp``: ``update_syscalls.py [INCLUDE]``.

``syscalls.py`` comes from the kernel's own headers: INCLUDE holds a directory for each
architecture (``x86-linux-any/asm/unistd_64.h`` and so on), as the PyPI package ziglang carries
them; it is the default.  ``precompiled.py`` is the default profile, compiled.  Run it after a new
kernel or after a change of the profile or the compiler; a test keeps both files fresh.
"""

from __future__ import annotations

import ast
import importlib
import re
import sys
import textwrap
from pathlib import Path

SECCOMP = Path(__file__).parent.parent / "src/kokon/security/seccomp"

HEADERS = {
    "x86_64": "x86-linux-any/asm/unistd_64.h",
    "x86": "x86-linux-any/asm/unistd_32.h",
    "aarch64": "aarch64-linux-any/asm/unistd_64.h",
    "arm": "arm-linux-any/asm/unistd-eabi.h",
}

ARM_PRIVATE = {
    "breakpoint": 0xF0001,
    "cacheflush": 0xF0002,
    "usr26": 0xF0003,
    "usr32": 0xF0004,
    "set_tls": 0xF0005,
    "get_tls": 0xF0006,
}
"""``__ARM_NR_*`` of arch/arm's asm/unistd.h, which have names of their own prefix there."""

SYSCALLS = '''"""The numbers of system calls, as {kernel} has them.

Written by tools/update_syscalls.py.  A number in the text is the number of the name after it;
every other name has the number of the name before it and one.
"""

from __future__ import annotations

TABLES = {{
{tables}}}

NUMBERS: dict[str, dict[str, int]] = {{}}


def numbers(arch: str) -> dict[str, int]:
    """Return name -> number of one architecture: ``x86_64``, ``x86``, ``aarch64`` or ``arm``."""
    table = NUMBERS.get(arch)
    if table is None:
        table = NUMBERS[arch] = {{}}
        number = 0
        for word in TABLES[arch].split():
            if word.isdigit():
                number = int(word)
            else:
                table[word] = number
                number += 1
    return table
'''

PRECOMPILED = '''"""The default profile for the default capabilities, compiled.

Written by tools/update_syscalls.py: struct sock_filter, little endian, as hexadecimal digits.
"""

from __future__ import annotations

PROGRAMS = {{
{programs}}}
'''


def header_numbers(path: Path) -> dict[str, int]:
    """Name -> number of one ``asm/unistd*.h``."""
    define = re.compile(r"#define __NR_(\w+)\s+\(?(?:__NR_SYSCALL_BASE\s*\+\s*)?(\d+)\)?\s*$")
    found = (define.match(line) for line in path.read_text().splitlines())
    return {match[1]: int(match[2]) for match in found if match}


def table_text(numbers: dict[str, int]) -> str:
    words, following = [], 0
    for name, number in sorted(numbers.items(), key=lambda item: (item[1], item[0])):
        if number != following:
            words.append(str(number))
        words.append(name)
        following = number + 1
    return " ".join(words)


def kernel_version(include: Path) -> str:
    text = (include / "any-linux-any/linux/version.h").read_text()
    return "kernel " + ".".join(re.findall(r"LINUX_VERSION_(?:MAJOR|PATCHLEVEL) (\d+)", text))


def syscalls_module(include: Path) -> str:
    tables = ""
    for arch, header in HEADERS.items():
        numbers = header_numbers(include / header)
        if arch == "arm":
            numbers |= ARM_PRIVATE | {"sync_file_range2": numbers["arm_sync_file_range"]}
        lines = textwrap.wrap(table_text(numbers), 96, break_on_hyphens=False)
        tables += f'    "{arch}": """\n' + "\n".join(lines) + '""",\n'
    return SYSCALLS.format(kernel=kernel_version(include), tables=tables)


def precompiled_module() -> str:
    from kokon.kernel import capabilities
    from kokon.security.seccomp import default, program

    programs = ""
    for arch in ("x86_64", "aarch64"):
        text = program(default.profile(arch, capabilities.DEFAULT_MASK), arch).hex()
        lines = (f'        "{text[at : at + 80]}"\n' for at in range(0, len(text), 80))
        programs += f'    "{arch}": (\n' + "".join(lines) + "    ),\n"
    return PRECOMPILED.format(programs=programs)


def write(name: str, text: str) -> None:
    ast.parse(text)
    (SECCOMP / name).write_text(text)


def main() -> None:
    if len(sys.argv) > 1:
        include = Path(sys.argv[1])
    else:
        ziglang = importlib.import_module("ziglang")
        include = Path(str(ziglang.__file__)).parent / "lib/libc/include"
    write("syscalls.py", syscalls_module(include))
    write("precompiled.py", precompiled_module())


if __name__ == "__main__":
    main()
