"""The seccomp agent: who gets the listener of a filter (config-linux.md, Seccomp, listenerPath)."""

from __future__ import annotations

import os
from struct import pack

from kokon.errors import HostError, SpecError
from kokon.kernel.constants import SECCOMP_NEW_LISTENER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from kokon.spec.oci.values import SeccompDocument
    from kokon.spec.runtime import Spec

WHERE = "/linux/seccomp/listenerPath"

PATIENCE = 5
"""Seconds that an agent has to take the connection."""

LONGEST_PATH = 107
"""Bytes (unix(7))."""


class Agent:
    """A connection to it, on which init sends when the filter is loaded, and what it is told.

    The connection is made while this machine's paths are there.

    :ivar handed: what init inherits, by what the plan calls it; nothing without a listener.
    :raises HostError: nobody listens.
    :raises SpecError: nobody can, at such a path.
    """

    __slots__ = ("_channel", "_metadata", "handed")

    def __init__(self, spec: Spec) -> None:
        self._channel: Any = None
        self.handed: dict[str, int] = {}
        filter_, document = spec.linux.seccomp, spec.linux.seccomp_document
        if filter_ is not None and filter_.flags & SECCOMP_NEW_LISTENER:
            assert document is not None
            self._connect(document)

    def _connect(self, document: SeccompDocument) -> None:
        import _socket

        from kokon.compile.lifecycle import AGENT, TOLD

        path = document.listener_path or ""
        if len(os.fsencode(path)) > LONGEST_PATH:
            raise SpecError(
                f"{path} is longer than a socket's path may be ({LONGEST_PATH} bytes)", where=WHERE,
                remedy="have the seccomp agent listen at a shorter one",
            )  # fmt: skip
        self._metadata = document.listener_metadata
        self._channel = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        try:
            # One whose queue is full would let us wait for ever; without waiting it would refuse.
            patience = pack("ll", PATIENCE, 0)
            self._channel.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, patience)
            self._channel.connect(path)
        except OSError as error:
            self._channel.close()
            raise HostError(
                f"nobody takes a connection at {path}", where=WHERE, errno=error.errno or 0,
                remedy="start the seccomp agent that listens there first",
            ) from error  # fmt: skip
        self.handed[AGENT] = self._channel.fileno()
        self.handed[TOLD] = os.memfd_create("kokon-state", os.MFD_CLOEXEC)

    def tell(self, pid: int, state: dict[str, Any]) -> None:
        """Writes the container process state, when the process is known.

        :raises SpecError: it is larger than what is sent without somebody who reads.
        """
        if not self.handed:
            return
        import _socket

        from kokon.compile.lifecycle import TOLD
        from kokon.spec.oci.json_text import text

        said: dict[str, Any] = {"ociVersion": state["ociVersion"], "fds": ["seccompFd"], "pid": pid}
        if self._metadata:
            said["metadata"] = self._metadata
        data = text({**said, "state": state}).encode("utf-8", "surrogateescape")
        # In one piece, which is at most half of the buffer (unix(7), SO_SNDBUF).
        most = self._channel.getsockopt(_socket.SOL_SOCKET, _socket.SO_SNDBUF) // 2 - 1024
        if len(data) > most:
            raise SpecError(
                f"what is sent there has {len(data)} bytes, and may have {most}", where=WHERE,
                remedy="shorten the annotations or listenerMetadata",
            )  # fmt: skip
        os.write(self.handed[TOLD], data)

    def close(self) -> None:
        """Lets both go."""
        if self.handed:
            from kokon.compile.lifecycle import TOLD

            self._channel.close()
            os.close(self.handed[TOLD])
