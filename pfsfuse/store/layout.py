"""
The lock between gc, which moves objects, and who looks at packs as a whole.

gc holds it alone; fsck and du share it, so no pack goes away under them.  Reading and writing objects
needs no lock.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import ConflictError, ReadOnlyDiskError
from .store import Store


class GcAtWorkError(ConflictError):
    """Another gc of this store runs, or somebody looks at all packs."""


@contextmanager
def packs_stay(store: Store) -> Iterator[None]:
    """Have no gc move anything while the block runs; waits for one that does."""
    if store.is_read_only:
        # There is none.
        yield
        return
    fd = _open(store)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
        yield
    finally:
        os.close(fd)


@contextmanager
def alone_with_packs(store: Store) -> Iterator[None]:
    """Be the one who may move objects; GcAtWorkError, ReadOnlyDiskError."""
    if store.is_read_only:
        raise ReadOnlyDiskError
    fd = _open(store)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise GcAtWorkError(
                "another `pfs gc`, `pfs fsck` or `pfs du` is at work on this store; wait for it and try again"
            ) from None
        yield
    finally:
        os.close(fd)


def _open(store: Store) -> int:
    return os.open(store.run / "gc.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
