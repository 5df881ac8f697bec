"""A plan in words: what each op does, as text, as JSON values, and who asked for it."""

from __future__ import annotations

from struct import iter_unpack, unpack

from kokon.kernel import constants
from kokon.plan import ops
from kokon.plan.op import Op
from kokon.plan.plan import Plan
from kokon.plan.provenance import asked_by

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def sentence(op: Op) -> str:
    """One op in a person's words: an imperative without a full stop."""
    values: dict[str, Any] = op.fields()
    for name, words in _WORDS.get(type(op), {}).items():
        values[name] = words(op)
    return op.TEXT.format_map(values)


def steps(plan: Plan, asked: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """Every op as plain values for JSON.

    :param asked: JSON pointers of the spec to the options that set them.
    """
    rows: list[dict[str, Any]] = []
    inside = False
    for number, op in enumerate(plan.ops, 1):
        fields = {name: _plain(value) for name, value in op.fields().items()}
        rows.append(
            {
                "step": number,
                "op": type(op).__name__,
                "where": "inside" if inside else "outside",
                "does": sentence(op),
                "calls": list(op.STEPS),
                "why": asked_by(op.why, asked or {}),
                "arguments": fields,
            }
        )
        inside = inside or isinstance(op, ops.Release)
    return rows


def text(plan: Plan, asked: Mapping[str, str] | None = None) -> str:
    """The plan as a numbered list, outside and inside apart, each step with why."""
    rows = steps(plan, asked)
    width = len(str(len(rows)))
    lines, where = [], ""
    headings = {
        "outside": "Outside, before the program's namespaces are entered:",
        "inside": "Inside the new namespaces:",
    }
    if any(isinstance(op, ops.Clone) and not op.namespaces for op in plan.ops):
        headings = {"outside": "Outside:", "inside": "In the program's own process:"}
    for row in rows:
        if row["where"] != where:
            where = row["where"]
            lines.append(headings[where])
        lines.append(f"  {row['step']:>{width}}  {row['does']}  [{row['why']}]")
    return "\n".join(lines) + "\n"


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex() if len(value) <= 32 else f"{len(value)} bytes"
    return value


def flags(value: int, names: Mapping[str, int]) -> list[str]:
    """The names of the flags that are set."""
    return [name for name, bit in names.items() if value & bit == bit]


def limit(value: int) -> str:
    """A limit of setrlimit(2), as prlimit(1) takes it."""
    return "unlimited" if value == constants.RLIM_INFINITY else str(value)


def device(op: ops.Node) -> tuple[str, int, int]:
    """Type, major and minor number, as mknod(1) takes them (makedev(3))."""
    kind = {constants.S_IFCHR: "c", constants.S_IFBLK: "b"}.get(op.mode & 0o170000, "p")
    return kind, op.device >> 8 & 0xFFF, op.device & 0xFF | op.device >> 12 & ~0xFF


def _namespaces(op: Any) -> str:
    found = flags(op.namespaces, constants.NAMESPACES)
    words = ", ".join(found)
    if not found:
        return "no new namespace"
    return f"new {words} namespaces" if len(found) > 1 else f"a new {words} namespace"


def _options(op: Any) -> str:
    pairs = zip(op.options[::2], op.options[1::2], strict=True)
    words = [key if value is None else f"{key}={value}" for key, value in pairs]
    words += flags(op.attributes, constants.MOUNT_ATTRIBUTES)
    return f" ({', '.join(words)})" if words else ""


def _attributes(op: Any) -> str:
    words = flags(op.set, constants.MOUNT_ATTRIBUTES)
    if op.set & constants.MOUNT_ATTR_IDMAP:
        words.append("mapped ids")
    words += [f"not {name}" for name in flags(op.clear, constants.MOUNT_ATTRIBUTES)]
    words += flags(op.propagation, constants.PROPAGATION)
    return ", ".join(words) or "nothing"


def _capabilities(mask: int) -> str:
    from kokon.kernel.capabilities import names

    return ", ".join(names(mask)) or "(none)"


def _device(op: Any) -> str:
    kind, major, minor = device(op)
    return f"{kind} {major}:{minor}"


def _landlock(op: Any) -> str:
    words = []
    if op.files:
        words.append(f"let it reach {len(op.paths)} places and no other file")
    if op.network:
        ports = ", ".join(str(port) for _, port in iter_unpack("<QQ", op.ports))
        words.append(f"no TCP but on port {ports}" if ports else "no TCP")
    words += [f"no {name} of others" for name in flags(op.scopes, constants.LANDLOCK_SCOPES)]
    return "by Landlock: " + ", ".join(words)


def _quoted(words: tuple[str | None, ...]) -> str:
    return " ".join(word if word and word.isprintable() and " " not in word else repr(word)
                    for word in words if word is not None)  # fmt: skip


_WORDS: dict[type[Op], dict[str, Any]] = {
    ops.Clone: {"namespaces_words": _namespaces},
    ops.Unshare: {"namespaces_words": _namespaces},
    ops.IdMap: {"content_words": lambda op: "; ".join(op.content.strip().split("\n"))},
    ops.Propagation: {
        "propagation_words": lambda op: ", ".join(flags(op.propagation, constants.PROPAGATION))
    },
    ops.Filesystem: {"options_words": _options},
    ops.CloneMount: {
        "recursive_words": lambda op: " with all below it" if op.recursive else "",
    },
    ops.MountAttributes: {"attributes_words": _attributes},
    ops.Node: {"device_words": _device},
    ops.Dumpable: {
        "value_words": lambda op: (
            "open this process's own /proc files to itself"
            if op.value
            else "close this process to ptrace and to readers of its /proc files"
        ),
    },
    ops.Groups: {
        "groups_words": lambda op: (
            ", ".join(map(str, unpack(f"<{len(op.groups) // 4}I", op.groups))) or "(none)"
        )
    },
    ops.ResourceLimit: {
        "soft_words": lambda op: limit(op.soft),
        "hard_words": lambda op: limit(op.hard),
    },
    ops.RaiseLimit: {"hard_words": lambda op: limit(op.hard)},
    ops.BoundingSet: {"mask_words": lambda op: _capabilities(op.mask)},
    ops.Capabilities: {"permitted_words": lambda op: _capabilities(op.permitted)},
    ops.Ambient: {"mask_words": lambda op: _capabilities(op.mask)},
    ops.Landlock: {"landlock_words": _landlock},
    ops.Reap: {"all_words": lambda op: " and ends what is left" if op.all else ""},
    ops.Seccomp: {"program_words": lambda op: f"{len(op.program) // 8} instructions"},
    ops.CloseDescriptors: {
        "preserved_words": lambda op: f" and {op.preserved} after them" if op.preserved else ""
    },
    ops.Transfer: {
        "direction_words": lambda op: "read the file" if op.direction else "write the file"
    },
    ops.Execute: {"arguments_words": lambda op: _quoted(op.arguments)},
}
