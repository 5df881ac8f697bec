"""Profiles as documents: ``linux.seccomp`` of the OCI runtime specification, and Docker's format.

Docker's format (which Podman's profiles share) has more: ``archMap`` in place of ``architectures``,
and rules that ``includes`` and ``excludes`` tie to capabilities, architectures and kernels.  An
engine resolves it for one container; what is left is the OCI's.
"""

from __future__ import annotations

from kokon.errors import SpecError
from kokon.security.seccomp.profile import (
    ALLOW,
    ENOSYS,
    EPERM,
    ERRNO,
    FLAGS,
    KILL_PROCESS,
    KILL_THREAD,
    LOG,
    NOTIFY,
    OPERATORS,
    TRACE,
    TRAP,
    Condition,
    Profile,
    Rule,
)

ACTIONS = {
    "SCMP_ACT_KILL": KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": KILL_PROCESS,
    "SCMP_ACT_KILL_THREAD": KILL_THREAD,
    "SCMP_ACT_TRAP": TRAP,
    "SCMP_ACT_ERRNO": ERRNO,
    "SCMP_ACT_TRACE": TRACE,
    "SCMP_ACT_ALLOW": ALLOW,
    "SCMP_ACT_LOG": LOG,
    "SCMP_ACT_NOTIFY": NOTIFY,
}

ARCHITECTURES = (
    "X86", "X86_64", "X32", "ARM", "AARCH64", "LOONGARCH64", "M68K", "MIPS", "MIPS64",
    "MIPS64N32", "MIPSEL", "MIPSEL64", "MIPSEL64N32", "PPC", "PPC64", "PPC64LE", "S390",
    "S390X", "SH", "SHEB", "PARISC", "PARISC64", "RISCV64",
)  # fmt: skip

DOCKER_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
"""What ``includes`` and ``excludes`` call a machine."""

MAX_ERRNO = 4095
"""The kernel cuts a larger one down to it (linux/err.h)."""


def parse_oci(document: object, pointer: str = "", *, newer_enosys: bool = False) -> Profile:
    """Read a ``linux.seccomp`` object (config-linux.md, "Seccomp").

    :param pointer: where the object is in its document, as a JSON pointer.
    :param newer_enosys: calls above every number that the profile names answer ENOSYS, as runC has
        it; a profile that allows by default is left alone.
    :raises SpecError: it breaks the specification; ``where`` is the pointer.
    """
    fields = profile_object(document, pointer)
    default = action(fields, "defaultAction", "defaultErrnoRet", pointer)
    if default == NOTIFY:
        raise SpecError(
            "SCMP_ACT_NOTIFY cannot be the default action",
            where=f"{pointer}/defaultAction",
            remedy="name the calls to be notified of",
        )
    rules: list[Rule] = []
    for at, entry in enumerate(array(fields, "syscalls", pointer)):
        rules += entry_rules(entry, f"{pointer}/syscalls/{at}")
    architectures = []
    for name, place in strings(fields, "architectures", pointer):
        short = name.removeprefix("SCMP_ARCH_")
        if short == name or short not in ARCHITECTURES:
            raise SpecError(f"unknown architecture {name!r}", where=place)
        architectures.append(short.lower())
    flags = 0
    for name, place in strings(fields, "flags", pointer):
        if name not in FLAGS:
            raise SpecError(f"unknown flag {name!r}", where=place)
        flags |= FLAGS[name]
    permissive = default in (ALLOW, LOG) or default & 0xFFFF0000 == TRACE
    beyond = ERRNO | ENOSYS if newer_enosys and not permissive else None
    return Profile(default, rules, architectures, flags, beyond)


def parse_docker(
    document: object,
    capabilities: int,
    arch: str,
    kernel: tuple[int, int],
    pointer: str = "",
) -> Profile:
    """Read a profile in Docker's format and resolve it for one container.

    The OCI's format is Docker's with nothing to resolve: this reads both.  Calls newer than the
    profile answer ENOSYS, as under runC.

    :param capabilities: the bounding set, one bit for each.
    :param arch: ``x86_64`` or ``aarch64``.
    :param kernel: major and minor number, for ``minKernel``.
    :raises SpecError: it is no profile; ``where`` is the JSON pointer of what is wrong.
    """
    fields = dict(profile_object(document, pointer))
    if fields.get("archMap"):
        if fields.get("architectures"):
            raise SpecError("archMap and architectures exclude each other", where=pointer)
        fields["architectures"] = mapped(fields, arch, pointer)
    named_errno(fields, "defaultErrno", "defaultErrnoRet", pointer)
    kept: list[object] = []
    for at, entry in enumerate(array(fields, "syscalls", pointer)):
        place = f"{pointer}/syscalls/{at}"
        rule = dict(json_object(entry, place))
        included = meant(rule, "includes", place, capabilities, arch, kernel)
        excluded = meant(rule, "excludes", place, capabilities, arch, kernel)
        if not all(included) or any(excluded):
            kept.append(None)
            continue
        if rule.get("name"):
            if rule.get("names"):
                raise SpecError("name and names exclude each other", where=place)
            rule["names"] = [rule["name"]]
        named_errno(rule, "errno", "errnoRet", place)
        kept.append(rule)
    fields["syscalls"] = kept
    return parse_oci(fields, pointer, newer_enosys=True)


def parse_text(
    text: str | bytes, where: str, capabilities: int, arch: str, kernel: tuple[int, int]
) -> Profile:
    """Read the content of a profile's file.

    :param where: what to call it in an error: the option, or the name of the file.
    :raises SpecError: it is no JSON or no profile.
    """
    import json

    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SpecError(
            f"this is no JSON ({error})",
            where=where,
            remedy="give a seccomp profile as Docker and the OCI have it",
        ) from None
    return parse_docker(document, capabilities, arch, kernel, where)


def profile_object(document: object, pointer: str) -> dict[str, object]:
    if not isinstance(document, dict) or "defaultAction" not in document:
        raise SpecError(
            "this is no seccomp profile: it is no object with a defaultAction",
            where=pointer,
            remedy="give a profile as Docker and the OCI have it",
        )
    return document


def json_object(value: object, pointer: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise SpecError("an object is expected", where=pointer)
    return value


def array(fields: dict[str, object], name: str, pointer: str) -> list[object]:
    """A member that is an array; absent and null are an empty one."""
    value = fields.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise SpecError("an array is expected", where=f"{pointer}/{name}")
    return value


def strings(fields: dict[str, object], name: str, pointer: str) -> list[tuple[str, str]]:
    """A member that is an array of strings, each with its pointer."""
    found = []
    for at, value in enumerate(array(fields, name, pointer)):
        place = f"{pointer}/{name}/{at}"
        if not isinstance(value, str) or not value:
            raise SpecError("a name is expected", where=place)
        found.append((value, place))
    return found


def unsigned(value: object, most: int, pointer: str) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise SpecError(f"a whole number from 0 to {most} is expected", where=pointer)
    return value


def action(fields: dict[str, object], name: str, number: str, pointer: str) -> int:
    """An action and, where it takes one, its errno."""
    word = fields.get(name)
    if not isinstance(word, str) or word not in ACTIONS:
        known = ", ".join(sorted(ACTIONS))
        raise SpecError(
            f"unknown action {word!r}", where=f"{pointer}/{name}", remedy=f"it is one of {known}"
        )
    value = ACTIONS[word]
    given = fields.get(number)
    if value in (ERRNO, TRACE):
        most = MAX_ERRNO if value == ERRNO else 0xFFFF
        return value | (EPERM if given is None else unsigned(given, most, f"{pointer}/{number}"))
    if given:
        raise SpecError(f"{word} takes no errno", where=f"{pointer}/{number}", remedy="remove it")
    return value


def entry_rules(entry: object, pointer: str) -> list[Rule]:
    """The rules of one member of ``syscalls``."""
    if entry is None:
        return []
    fields = json_object(entry, pointer)
    named = [name for name, _ in strings(fields, "names", pointer)]
    if not named:
        raise SpecError("names is empty", where=pointer, remedy="name at least one system call")
    act = action(fields, "action", "errnoRet", pointer)
    conditions = [
        condition(value, f"{pointer}/args/{at}")
        for at, value in enumerate(array(fields, "args", pointer))
    ]
    # All conditions must hold, but runtimes have always read several for one argument as
    # alternatives, and all conditions of such a rule with them.
    if len({c.index for c in conditions}) < len(conditions):
        return [Rule(named, act, (c,)) for c in conditions]
    return [Rule(named, act, conditions)]


def condition(value: object, pointer: str) -> Condition:
    fields = json_object(value, pointer)
    word = fields.get("op")
    operator = word.removeprefix("SCMP_CMP_") if isinstance(word, str) else ""
    if operator == word or operator not in OPERATORS:
        raise SpecError(f"unknown operator {word!r}", where=f"{pointer}/op")
    index = unsigned(fields.get("index"), 5, f"{pointer}/index")
    first = unsigned(fields.get("value"), (1 << 64) - 1, f"{pointer}/value")
    second = fields.get("valueTwo")
    masked = 0 if second is None else unsigned(second, (1 << 64) - 1, f"{pointer}/valueTwo")
    return Condition(index, operator, first, masked)


def mapped(fields: dict[str, object], arch: str, pointer: str) -> list[object]:
    """The entry of ``archMap`` for this machine, as ``architectures``."""
    native = f"SCMP_ARCH_{arch.upper()}"
    for at, value in enumerate(array(fields, "archMap", pointer)):
        place = f"{pointer}/archMap/{at}"
        entry = json_object(value, place)
        if entry.get("architecture") == native:
            return [native, *array(entry, "subArchitectures", place)]
    return []


def named_errno(fields: dict[str, object], name: str, number: str, pointer: str) -> None:
    """Podman's profiles say ``errno: "ENOSYS"`` beside ``errnoRet``."""
    word = fields.get(name)
    if not word:
        return
    from errno import errorcode

    found = [value for value, known in errorcode.items() if known == word]
    if not found:
        raise SpecError(f"unknown errno {word!r}", where=f"{pointer}/{name}")
    fields[number] = found[0]


def meant(
    rule: dict[str, object],
    side: str,
    pointer: str,
    capabilities: int,
    arch: str,
    kernel: tuple[int, int],
) -> list[bool]:
    """Whether each word of ``includes`` or ``excludes`` is true of this container."""
    value = rule.get(side)
    if value is None:
        return []
    place = f"{pointer}/{side}"
    fields = json_object(value, place)
    answers = []
    for name, at in strings(fields, "caps", place):
        answers.append(bool(capabilities & capability(name, at)))
    arches = [name for name, _ in strings(fields, "arches", place)]
    if arches:
        answers.append(DOCKER_ARCHITECTURES.get(arch, arch) in arches)
    least = fields.get("minKernel")
    if least:
        answers.append(kernel >= version(least, f"{place}/minKernel"))
    return answers


def capability(name: str, pointer: str) -> int:
    """A capability's bit; one that is not known here is held by no one."""
    from kokon.kernel.capabilities import BITS

    short = name.removeprefix("CAP_")
    if short == name:
        raise SpecError(f"unknown capability {name!r}", where=pointer)
    return BITS.get(short, 0)


def version(word: object, pointer: str) -> tuple[int, int]:
    if isinstance(word, str):
        major, dot, minor = word.partition(".")
        if dot and (major + minor).isascii() and major.isdigit() and minor.isdigit():
            return int(major), int(minor)
    raise SpecError(f"{word!r} is no kernel version like 5.14", where=pointer)
