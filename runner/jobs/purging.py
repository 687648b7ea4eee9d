"""
What jobs remember of content that is purged, and let go of.

Views under `/.jobs/` show what containers saw; the record of a container names what it left.  For a job
that has ended the output commit has all of that, so both are memory only.
"""

from __future__ import annotations

from collections.abc import Iterable

from pfsfuse.ids import COMMIT_ID_BYTES, CommitId
from pfsfuse.store.index import Table, WriteTxn
from pfsfuse.versions.model import decode

from .model import ContainerRecord
from .records import change, find_job, put_container


def let_go(txn: WriteTxn, keys: Iterable[bytes]) -> None:
    """Forget the views, and what containers of ended jobs left, that these keys of DOCUMENTS hold."""
    for key in keys:
        kind, _, rest = key.partition(b"\0")
        if kind == b"view":
            txn.delete(Table.DOCUMENTS, key, journal=False)
        elif kind == b"container":
            _strip(txn, key, rest)


def _strip(txn: WriteTxn, key: bytes, rest: bytes) -> None:
    pipeline, _, place = rest.partition(b"\0")
    job = find_job(txn, pipeline.decode(), CommitId(place[:COMMIT_ID_BYTES]))
    raw = txn.get(Table.DOCUMENTS, key)
    if raw is not None and job is not None and job.state.is_final:
        put_container(txn, job, change(decode(raw, ContainerRecord), changes=()))
