"""
A set of ids that may be larger than memory.

The newest are in memory, the others in a scratch LMDB environment that nobody else sees and that
goes with the set.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType

import lmdb

_IN_MEMORY = 200_000
"""Ids; about 20 MB."""
_MAP_SIZE = 1 << 40


class IdSet:
    """A set to which ids are added.  A context manager; for one thread."""

    def __init__(self, folder: Path) -> None:
        """*folder* is where the scratch file may be made, should there be many."""
        self._folder = folder
        self._newest: set[bytes] = set()
        self._scratch: Path | None = None
        self._env: lmdb.Environment | None = None

    def add(self, object_id: bytes) -> bool:
        """Add an id; say whether it was not there."""
        if object_id in self:
            return False
        self._newest.add(object_id)
        if len(self._newest) >= _IN_MEMORY:
            self._spill()
        return True

    def __contains__(self, object_id: bytes) -> bool:
        if object_id in self._newest:
            return True
        if self._env is None:
            return False
        with self._env.begin() as txn:
            return txn.get(object_id) is not None

    def _spill(self) -> None:
        if self._env is None:
            self._scratch = Path(tempfile.mkdtemp(prefix="ids-", dir=self._folder))
            self._env = lmdb.open(
                os.fspath(self._scratch), map_size=_MAP_SIZE, sync=False, metasync=False, lock=False
            )
        with self._env.begin(write=True) as txn:
            for object_id in sorted(self._newest):
                txn.put(object_id, b"")
        self._newest.clear()

    def __enter__(self) -> IdSet:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._env is not None:
            self._env.close()
        if self._scratch is not None:
            shutil.rmtree(self._scratch)
