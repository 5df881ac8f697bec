"""A root file system that is put together from pieces of this machine, as one value.

The root itself is a small tmpfs (mode 755, nosuid, nodev).  Whoever carries an assembly out goes
through the fields in the order in which they are declared: an empty tmpfs on each ``writable``
path, then directories, links, files, binds and covers; last the root is made read-only, which
leaves the writable ones as they are.  Within a field parents come before what is beneath them.

Every path is absolute, normal (no ``.``, ``..``, ``//``) and passes through no link of the
assembly.  A bind's mount point is a directory or an empty file, made when it is missing; beneath
another bind it is there already.  Binds are recursive, since a user namespace may not take a
mount apart from those on top of it; their attributes hold for the whole tree.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

FORMAT = "kokon-assembly 1"
"""The first line of :meth:`Assembly.to_text`: it changes when the meaning of a line does."""


class AssemblyBind:
    """One directory or file of this machine and where it appears.

    :param source: absolute path on the host; it may pass through links of the host.
    :param destination: absolute path inside the root.
    :param directory: whether the source is a directory (else a regular file).
    :param why: what needs it, as a noun phrase for ``explain``.
    """

    __slots__ = ("destination", "directory", "nodev", "nosuid", "read_only", "source", "why")

    def __init__(
        self,
        source: str,
        destination: str,
        directory: bool,
        *,
        read_only: bool = True,
        nosuid: bool = True,
        nodev: bool = True,
        why: str = "",
    ) -> None:
        self.source = source
        self.destination = destination
        self.directory = directory
        self.read_only = read_only
        self.nosuid = nosuid
        self.nodev = nodev
        self.why = why

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AssemblyBind) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash((self.source, self.destination))

    def __repr__(self) -> str:
        return f"AssemblyBind({self.source!r}, {self.destination!r}, {self.directory!r})"

    def to_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return {field: getattr(self, field) for field in self.__slots__}


class Assembly:
    """What a built-in root consists of.

    :param name: the root's name, ``@host`` or ``@python``.
    :param writable: (path, mode) of each empty tmpfs that stays writable.  It belongs to the
        container's user.
    :param directories: (path, mode) on the root's own tmpfs.
    :param links: (path, target), the target as it stands in the link.
    :param files: (path, content, mode) of small files.
    :param binds: what is taken from this machine.
    :param empty: directories inside binds to cover with an empty read-only directory.
    :param environment: variables that programs in this root need; the user's own come after.
    """

    __slots__ = (
        "binds",
        "directories",
        "empty",
        "environment",
        "files",
        "links",
        "name",
        "writable",
    )

    def __init__(
        self,
        name: str,
        *,
        writable: tuple[tuple[str, int], ...] = (),
        directories: tuple[tuple[str, int], ...] = (),
        links: tuple[tuple[str, str], ...] = (),
        files: tuple[tuple[str, bytes, int], ...] = (),
        binds: tuple[AssemblyBind, ...] = (),
        empty: tuple[str, ...] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.writable = writable
        self.directories = directories
        self.links = links
        self.files = files
        self.binds = binds
        self.empty = empty
        self.environment = dict(environment or {})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Assembly) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash((self.name, self.links, self.binds))

    def __repr__(self) -> str:
        return f"<Assembly {self.name}: {len(self.links)} links, {len(self.binds)} binds>"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: modes are octal strings, contents Latin-1 text.

        A golden file of it is readable and :meth:`from_dict` gives the same value back.
        """
        return {
            "name": self.name,
            "writable": [[path, f"{mode:o}"] for path, mode in self.writable],
            "directories": [[path, f"{mode:o}"] for path, mode in self.directories],
            "links": [list(link) for link in self.links],
            "files": [
                [path, content.decode("latin-1"), f"{mode:o}"] for path, content, mode in self.files
            ],
            "binds": [bind.to_dict() for bind in self.binds],
            "empty": list(self.empty),
            "environment": dict(self.environment),
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Assembly:
        """The value that :meth:`to_dict` was called on."""
        return cls(
            value["name"],
            writable=tuple((path, int(mode, 8)) for path, mode in value["writable"]),
            directories=tuple((path, int(mode, 8)) for path, mode in value["directories"]),
            links=tuple((path, target) for path, target in value["links"]),
            files=tuple(
                (path, content.encode("latin-1"), int(mode, 8))
                for path, content, mode in value["files"]
            ),
            binds=tuple(AssemblyBind(**bind) for bind in value["binds"]),
            empty=tuple(value["empty"]),
            environment=value["environment"],
        )

    def to_text(self) -> str:
        r"""One line for each entry, its fields separated by tabs: made to be read without json.

        Backslash, tab and newline within a field are written ``\\``, ``\t`` and ``\n``.  Paths may
        hold surrogates: in a file it is UTF-8 with ``surrogateescape``, newlines as they are.
        """
        value = self.to_dict()
        lines = [FORMAT, f"name\t{escape(self.name)}"]
        for kind in ("writable", "directories", "links", "files"):
            lines += ["\t".join((kind, *map(escape, entry))) for entry in value[kind]]
        for bind in self.binds:
            fields = (bind.source, bind.destination, bind.why)
            flags = "".join("01"[getattr(bind, flag)] for flag in BIND_FLAGS)
            lines.append("\t".join(("binds", *map(escape, fields), flags)))
        lines += [f"empty\t{escape(path)}" for path in self.empty]
        lines += [f"environment\t{escape(k)}\t{escape(v)}" for k, v in self.environment.items()]
        return "\n".join((*lines, "end\n"))

    @classmethod
    def from_text(cls, text: str) -> Assembly:
        """The value that :meth:`to_text` was called on.

        :raises ValueError: the text is of another version, cut short or damaged.
        """
        lines = text.split("\n")
        if lines[0] != FORMAT or lines[-2:] != ["end", ""]:
            raise ValueError(f"not a whole text of {FORMAT}")
        value: dict[str, Any] = {kind: [] for kind in cls.__slots__}
        for line in lines[1:-2]:
            kind, *fields = line.split("\t")
            if "\\" in line:
                fields = [unescape(field) for field in fields]
            if kind not in value:
                raise ValueError(f"not an entry of an assembly: {line}")
            value[kind].append(fields)
        ((value["name"],),) = value["name"]
        value["binds"] = [
            {"source": source, "destination": destination, "why": why}
            | {flag: bit == "1" for flag, bit in zip(BIND_FLAGS, bits, strict=True)}
            for source, destination, why, bits in value["binds"]
        ]
        value["empty"] = [path for (path,) in value["empty"]]
        value["environment"] = dict(value["environment"])
        return cls.from_dict(value)


BIND_FLAGS = ("directory", "read_only", "nosuid", "nodev")


def escape(field: str) -> str:
    """One field of a line, without tabs and newlines."""
    return field.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")


def unescape(field: str) -> str:
    """What :func:`escape` was given."""
    parts = field.split("\\\\")
    return "\\".join(part.replace("\\t", "\t").replace("\\n", "\n") for part in parts)
