"""
Looks at the transactions that are not finished; part of fsck.

    X1  a transaction decodes, stands under its own id, and has an answer to each request
    X2  no commit has the id of a transaction that is not finished
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from ..errors import StoreError
from ..store.index import ReadTxn, Table
from ..store.problems import Problem
from .model import CommitRef, decode
from .transactions import NAMESPACE, Transaction, transaction_key


def check_transactions(txn: ReadTxn, commits: Collection[CommitRef]) -> Iterator[Problem]:
    """X1 and X2 for every transaction."""
    ids = {ref.commit for ref in commits}
    for key, raw in txn.scan(Table.DOCUMENTS, NAMESPACE):
        try:
            record = decode(raw, Transaction)
        except StoreError as error:
            yield Problem("X1", f"{key!r}: {error}")
            continue
        if transaction_key(record.id) != key:
            yield Problem("X1", f"{key!r} holds the transaction {record.id.hex()}")
        if len(record.requests) != len(record.responses):
            yield Problem("X1", f"transaction {record.id.hex()} has answers to other requests than its own")
        if record.id in ids:
            yield Problem("X2", f"transaction {record.id.hex()} is not finished and has commits")
