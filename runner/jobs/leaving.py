"""Which records of pipelines and jobs go with repos that leave for another store."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from pfsfuse.ids import RepoName
from pfsfuse.store.index import ReadTxn, Table
from pfsfuse.versions.model import decode

from .model import JobRecord
from .records import container_key, output_of, pipeline_key, pipelines


def lasting_documents(txn: ReadTxn, repos: Collection[RepoName]) -> Iterator[tuple[bytes, bytes]]:
    """
    Yield the pipelines that write one of *repos*, with those of their jobs that have ended.

    Jobs that have not are made anew by the runner that finds their change.
    """
    for record in pipelines(txn):
        if output_of(record).repo in repos:
            yield from _found(txn, pipeline_key(record.name))
    for key, raw in txn.scan(Table.DOCUMENTS, b"job\0"):
        job = decode(raw, JobRecord)
        if job.state.is_final and job.output_repo in repos:
            yield key, raw
            yield from txn.scan(Table.DOCUMENTS, container_key(job))


def _found(txn: ReadTxn, key: bytes) -> Iterator[tuple[bytes, bytes]]:
    raw = txn.get(Table.DOCUMENTS, key)
    if raw is not None:
        yield key, raw
