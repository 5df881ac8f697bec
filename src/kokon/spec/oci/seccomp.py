"""``linux.seccomp`` (config-linux.md, Seccomp) as values; the compiler is kokon.security's."""

from __future__ import annotations

from kokon.errors import SpecError
from kokon.spec.oci.kinds import List, Object, Whole, Word
from kokon.spec.oci.shapes import ABSOLUTE_OR_EMPTY, FILLED, TEXT, UINT32, UINT64
from kokon.spec.oci.values import SeccompArgument, SeccompDocument, SeccompRule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

ACTIONS = tuple(
    "SCMP_ACT_" + name
    for name in (
        "KILL", "KILL_PROCESS", "KILL_THREAD", "TRAP", "ERRNO", "TRACE", "ALLOW", "LOG", "NOTIFY",
    )
)  # fmt: skip

WITH_ERRNO = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")

ARCHITECTURES = tuple(
    "SCMP_ARCH_" + name
    for name in (
        "X86", "X86_64", "X32", "ARM", "AARCH64", "LOONGARCH64", "M68K", "MIPS", "MIPS64",
        "MIPS64N32", "MIPSEL", "MIPSEL64", "MIPSEL64N32", "PPC", "PPC64", "PPC64LE", "S390",
        "S390X", "SH", "SHEB", "PARISC", "PARISC64", "RISCV64",
    )
)  # fmt: skip

FLAGS = tuple(
    "SECCOMP_FILTER_FLAG_" + name for name in ("TSYNC", "LOG", "SPEC_ALLOW", "WAIT_KILLABLE_RECV")
)

OPERATORS = tuple("SCMP_CMP_" + name for name in ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"))

ACTION = Word("action", ACTIONS)


def _check_rule(rule: SeccompRule, members: Mapping[str, Any]) -> None:
    if not rule.names:
        raise SpecError("names no system call", where="/names")
    if rule.errno_ret and rule.action not in WITH_ERRNO:
        raise SpecError(f"{rule.action} takes no errno", where="/errnoRet", remedy="remove it")


def _check_document(document: SeccompDocument, members: Mapping[str, Any]) -> None:
    if document.default_errno_ret and document.default_action not in WITH_ERRNO:
        raise SpecError(
            f"{document.default_action} takes no errno", where="/defaultErrnoRet",
            remedy="remove it",
        )  # fmt: skip
    if document.default_action == "SCMP_ACT_NOTIFY":
        # The agent could not even be asked about the write that sends it the descriptor.
        raise SpecError(
            "SCMP_ACT_NOTIFY cannot be the default", where="/defaultAction",
            remedy="name the calls to be notified of",
        )  # fmt: skip
    if document.listener_metadata and not document.listener_path:
        raise SpecError("is for a listener, and listenerPath is not set", where="/listenerMetadata")
    if document.listener_path:
        return
    for at, rule in enumerate(document.syscalls or ()):
        if rule.action == "SCMP_ACT_NOTIFY":
            raise SpecError(
                "SCMP_ACT_NOTIFY needs a listener", where=f"/syscalls/{at}/action",
                remedy="set listenerPath",
            )  # fmt: skip


SECCOMP = Object(
    SeccompDocument,
    (
        ("defaultAction", "default_action", ACTION),
        ("defaultErrnoRet", "default_errno_ret", UINT32),
        ("architectures", "architectures", List(Word("architecture", ARCHITECTURES))),
        ("flags", "flags", List(Word("flag of seccomp(2)", FLAGS))),
        ("listenerPath", "listener_path", ABSOLUTE_OR_EMPTY),
        ("listenerMetadata", "listener_metadata", TEXT),
        ("syscalls", "syscalls", List(Object(
            SeccompRule,
            (
                ("names", "names", List(FILLED)),
                ("action", "action", ACTION),
                ("errnoRet", "errno_ret", UINT32),
                ("args", "args", List(Object(
                    SeccompArgument,
                    (
                        ("index", "index", Whole(0, 5)),
                        ("value", "value", UINT64),
                        ("valueTwo", "value_two", UINT64),
                        ("op", "op", Word("operator", OPERATORS)),
                    ),
                    required=("index", "value", "op"),
                ))),
            ),
            required=("names", "action"),
            check=_check_rule,
        ))),
    ),
    required=("default_action",),
    check=_check_document,
)  # fmt: skip
