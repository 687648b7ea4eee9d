"""
Talking to the mount of a store from a script or a thread; async_client.py does it from trio.

Both raise the mount's own errors, and UnavailableError when no mount runs.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from ..errors import UnavailableError
from ..ids import CommitId, RepoName
from ..trees.entry import Entry
from ..versions.changes import short_address
from ..versions.changesets import ChangeSet, encode_changes
from ..versions.model import BranchRef, CommitRef
from . import wire


class MountClient:
    """A connection for threads; one request at a time."""

    def __init__(self, run: Path, *, timeout_s: float | None = None) -> None:
        """Connect to the mount whose store has the run folder *run*; UnavailableError."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(timeout_s)
        try:
            self._socket.connect(short_address(run / wire.SOCKET_NAME))
        except OSError as error:
            self._socket.close()
            raise wire.unavailable() from error

    def call(self, operation: str, **arguments: object) -> Any:
        """Send a request and return its result, or raise its error."""
        try:
            self._socket.sendall(wire.request(operation, arguments))
            (length,) = wire.HEAD.unpack(self._receive(wire.HEAD.size))
            body = self._receive(length)
        except OSError as error:
            raise UnavailableError(f"the mount went away during {operation}: {error}") from error
        return wire.result_of(body)

    def _receive(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            part = self._socket.recv(min(count - len(data), 1 << 20))
            if not part:
                raise ConnectionResetError("connection closed")
            data += part
        return bytes(data)

    def status(self) -> dict[str, Any]:
        """Return what the mount says of itself."""
        found: dict[str, Any] = self.call("status")
        return found

    def start(self, ref: BranchRef, *, description: str = "") -> CommitId:
        return CommitId(self.call("start", repo=ref.repo, branch=ref.branch, description=description))

    def finish(
        self, ref: BranchRef, *, description: str | None = None, error: str = "", force: bool = False
    ) -> CommitId:
        """Finish a branch's open commit; NoOpenCommitError, ConflictError."""
        found = self.call(
            "finish", repo=ref.repo, branch=ref.branch, description=description, error=error, force=force
        )
        return CommitId(found)

    def drop(self, ref: BranchRef) -> None:
        """Throw a branch's open commit away."""
        self.call("drop", repo=ref.repo, branch=ref.branch)

    def apply(self, ref: BranchRef, changes: ChangeSet, *, description: str = "") -> tuple[CommitId, bool]:
        """Hand over a change set; return the commit that has it and whether that is finished."""
        commit_id, finished = self.call(
            "apply",
            repo=ref.repo,
            branch=ref.branch,
            changes=encode_changes(changes),
            description=description,
        )
        return CommitId(commit_id), finished

    def snapshot(self, ref: BranchRef) -> Entry:
        """Return the tree that a branch's open commit has now; NoOpenCommitError."""
        return msgspec.convert(self.call("snapshot", repo=ref.repo, branch=ref.branch), Entry)

    def hold(self, refs: Sequence[BranchRef]) -> dict[CommitRef, Entry]:
        """
        Return the content of the open commits of some branches, which stay as they are for now.

        Until `release`, or until this connection ends; see holding.py.  NoOpenCommitError, ConflictError.
        """
        found = self.call("hold", branches=[(ref.repo, ref.branch) for ref in refs])
        return {
            CommitRef(RepoName(repo), CommitId(commit)): msgspec.convert(root, Entry)
            for repo, commit, root in found
        }

    def assure(self) -> None:
        """UnavailableError if the mount has gone away since the last answer, and with it all that it held."""
        try:
            self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            # It says nothing unasked; an end of the connection would have been read.
            return
        except OSError as error:
            raise wire.unavailable() from error
        raise wire.unavailable()

    def release(self) -> None:
        """Return when the commits that were held go on, or are shown as finished if they are."""
        self.call("release")

    def barrier(self) -> None:
        """Return when the mount shows everything that was committed before this call."""
        self.call("barrier")

    def stop(self) -> None:
        """Have the mount unmount and end."""
        self.call("stop")

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> MountClient:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
