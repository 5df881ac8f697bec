"""A plan in words: what each op does, as text, as JSON values, and who asked for it."""

from __future__ import annotations

from struct import unpack

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
    for row in rows:
        if row["where"] != where:
            where = row["where"]
            lines.append(
                "Outside, before the program's namespaces are entered:"
                if where == "outside"
                else "Inside the new namespaces:"
            )
        lines.append(f"  {row['step']:>{width}}  {row['does']}  [{row['why']}]")
    return "\n".join(lines) + "\n"


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex() if len(value) <= 32 else f"{len(value)} bytes"
    return value


def _flags(value: int, names: Mapping[str, int]) -> str:
    found = [name for name, bit in names.items() if value & bit == bit]
    return ", ".join(found)


def _namespaces(op: Any) -> str:
    found = _flags(op.namespaces, constants.NAMESPACES)
    kind = "namespace" if "," not in found else "namespaces"
    return f"a new {found} {kind}" if "," not in found else f"new {found} {kind}"


def _options(op: Any) -> str:
    pairs = zip(op.options[::2], op.options[1::2], strict=True)
    words = [key if value is None else f"{key}={value}" for key, value in pairs]
    words += [
        name for name, bit in constants.MOUNT_ATTRIBUTES.items() if op.attributes & bit == bit
    ]
    return f" ({', '.join(words)})" if words else ""


def _attributes(op: Any) -> str:
    words = [name for name, bit in constants.MOUNT_ATTRIBUTES.items() if op.set & bit == bit]
    if op.set & constants.MOUNT_ATTR_IDMAP:
        words.append("mapped ids")
    words += [
        f"not {name}" for name, bit in constants.MOUNT_ATTRIBUTES.items() if op.clear & bit == bit
    ]
    if op.propagation:
        words.append(_flags(op.propagation, constants.PROPAGATION))
    return ", ".join(words) or "nothing"


def _capabilities(mask: int) -> str:
    from kokon.kernel.capabilities import names

    return ", ".join(names(mask)) or "(none)"


def _limit(value: int) -> str:
    return "unlimited" if value == constants.RLIM_INFINITY else str(value)


def _device(op: Any) -> str:
    kind = {constants.S_IFCHR: "c", constants.S_IFBLK: "b"}.get(op.mode & 0o170000, "p")
    major, minor = op.device >> 8 & 0xFFF, op.device & 0xFF | op.device >> 12 & ~0xFF
    return f"{kind} {major}:{minor}"


def _quoted(words: tuple[str | None, ...]) -> str:
    return " ".join(word if word and word.isprintable() and " " not in word else repr(word)
                    for word in words if word is not None)  # fmt: skip


_WORDS: dict[type[Op], dict[str, Any]] = {
    ops.Clone: {"namespaces_words": _namespaces},
    ops.Unshare: {"namespaces_words": _namespaces},
    ops.IdMap: {"content_words": lambda op: "; ".join(op.content.strip().split("\n"))},
    ops.Propagation: {
        "propagation_words": lambda op: _flags(op.propagation, constants.PROPAGATION)
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
        "soft_words": lambda op: _limit(op.soft),
        "hard_words": lambda op: _limit(op.hard),
    },
    ops.BoundingSet: {"mask_words": lambda op: _capabilities(op.mask)},
    ops.Capabilities: {"permitted_words": lambda op: _capabilities(op.permitted)},
    ops.Ambient: {"mask_words": lambda op: _capabilities(op.mask)},
    ops.Seccomp: {"program_words": lambda op: f"{len(op.program) // 8} instructions"},
    ops.Execute: {"arguments_words": lambda op: _quoted(op.arguments)},
}
