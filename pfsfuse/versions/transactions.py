"""
Transactions: several requests that are done together or not at all.

A transaction is a list of requests.  Each is rehearsed when it is added, behind those that are there
already, so its answer is known at once; what cannot be done then is not added.  `finish` does
all of them in one durable change, or none.  Its id is that of the commits it makes.

Promises: nothing of a transaction is to be seen before it is finished; a killed process leaves
it finished or as it was.  The world may go on meanwhile: what it has made impossible is found at the
next `append` or at `finish`, which then fails as a whole and leaves the transaction to be deleted.

Invariants (fsck.py):

- X1  a transaction decodes, stands under its own id, and has an answer to each request;
- X2  no commit has the id of a transaction that is not finished.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from ..errors import ConflictError, NotFoundError, PfsError
from ..ids import CommitId, RepoName, new_commit_id
from ..store.index import ReadTxn, Table, WriteTxn
from ..store.store import Store
from ..trees.entry import Entry
from ..trees.tree import Trees
from .commits import open_commit
from .model import BranchRef, Commit, CommitRef, decode, encode
from .requests import Change, FinishCommit, Perform, Request, StartCommit, kind_of
from .requests import perform as perform_one

NAMESPACE = b"transaction\0"
"""Of the table DOCUMENTS."""


class Transaction(msgspec.Struct, frozen=True, omit_defaults=True):
    """Requests that wait to be done together."""

    id: CommitId
    started_ns: int
    requests: tuple[Request, ...] = ()
    responses: tuple[CommitId | None, ...] = ()
    """For each request the commit that it is about, if it is about one."""


class UnknownTransactionError(NotFoundError):
    """No transaction is meant by this text."""


class TransactionNotFoundError(UnknownTransactionError):
    """There is no such transaction; it may be finished."""

    def __init__(self, transaction_id: CommitId) -> None:
        super().__init__(
            f"transaction {transaction_id.hex()} not found: it was finished or deleted; "
            "`pfs stop transaction` leaves it"
        )
        self.id = transaction_id


class TransactionFailedError(ConflictError):
    """The world changed, so that the requests cannot be done any more.  Nothing was done."""

    def __init__(self, transaction_id: CommitId, position: int, request: Request, why: PfsError) -> None:
        super().__init__(
            f"nothing of transaction {transaction_id.hex()} was done: its request {position + 1} "
            f"({kind_of(request)}) fails: {why}; `pfs delete transaction {transaction_id.hex()}` gives it up"
        )
        self.id = transaction_id
        self.position = position


class _TakenBack(Exception):  # noqa: N818  # no error: it ends a rehearsal
    """Raised in a write transaction so that nothing of it stays."""


# Looking


def transaction_key(transaction_id: CommitId) -> bytes:
    return NAMESPACE + transaction_id


def transaction(txn: ReadTxn, transaction_id: CommitId) -> Transaction:
    """Return a transaction; TransactionNotFoundError."""
    raw = txn.get(Table.DOCUMENTS, transaction_key(transaction_id))
    if raw is None:
        raise TransactionNotFoundError(transaction_id)
    return decode(raw, Transaction)


def transactions(txn: ReadTxn) -> list[Transaction]:
    """Return the transactions that are not finished, newest first."""
    found = [decode(raw, Transaction) for _, raw in txn.scan(Table.DOCUMENTS, NAMESPACE)]
    return sorted(found, key=lambda each: (each.started_ns, each.id), reverse=True)


def started_in(record: Transaction, repo: RepoName) -> BranchRef:
    """Return the branch of a repo on which the transaction will start a commit; UnknownTransactionError."""
    for request in record.requests:
        if isinstance(request, StartCommit) and request.branch.repo == repo:
            return request.branch
    raise UnknownTransactionError(f"transaction {record.id.hex()} starts no commit in repo {repo}")


def commits_to_seal(txn: ReadTxn, record: Transaction) -> list[Commit]:
    """Return the open commits of which `finish` will need the content."""
    refs = [request.branch for request in record.requests if isinstance(request, FinishCommit)]
    return list(_already_open(txn, refs))


def _already_open(txn: ReadTxn, refs: Sequence[BranchRef]) -> Iterator[Commit]:
    for ref in dict.fromkeys(refs):
        try:
            yield open_commit(txn, ref)
        except NotFoundError:
            # The transaction itself will start it.
            continue


# Changing


def start(store: Store) -> Transaction:
    """Begin an empty transaction."""
    made = Transaction(new_commit_id(), time.time_ns())
    with store.write() as txn:
        _put(txn, made)
    return made


def append(
    store: Store, trees: Trees, transaction_id: CommitId, *requests: Request, perform: Perform = perform_one
) -> list[CommitId | None]:
    """
    Add requests and return their answers.

    Whatever one of them cannot be done for is raised, and none is added.  TransactionFailedError
    if one that was added before cannot be done any more.
    """
    while True:
        with store.read() as txn:
            before = transaction(txn, transaction_id)
        change = Change(transaction_id, trees)
        responses = _rehearse(store, change, before.requests, requests, perform)
        added = msgspec.structs.replace(
            before, requests=(*before.requests, *requests), responses=tuple(responses)
        )
        with store.write() as txn:
            if transaction(txn, transaction_id) == before:
                _put(txn, added)
                return responses[len(before.requests) :]


def finish(
    store: Store,
    trees: Trees,
    transaction_id: CommitId,
    *,
    roots: Mapping[CommitRef, Entry] | None = None,
    assure: Callable[[], None] = lambda: None,
    perform: Perform = perform_one,
) -> Transaction:
    """
    Do all requests in one durable change and return what was done; the transaction is gone then.

    *roots* has the content of `commits_to_seal`; *assure* raises if that is not all of it any more.
    TransactionFailedError: nothing was done.
    """
    change = Change(transaction_id, trees, roots or {})
    with store.write() as txn:
        record = transaction(txn, transaction_id)
        responses = [
            _perform(txn, change, request, position, perform)
            for position, request in enumerate(record.requests)
        ]
        txn.delete(Table.DOCUMENTS, transaction_key(transaction_id))
        assure()
    return msgspec.structs.replace(record, responses=tuple(responses))


def batch(
    store: Store, trees: Trees, requests: Sequence[Request], *, perform: Perform = perform_one
) -> Transaction:
    """Do several requests in one durable change and return it with their answers, or raise and do nothing."""
    record = Transaction(new_commit_id(), time.time_ns(), tuple(requests))
    change = Change(record.id, trees, {})
    with store.write() as txn:
        responses = [perform(txn, request, change) for request in requests]
    return msgspec.structs.replace(record, responses=tuple(responses))


def delete(store: Store, transaction_id: CommitId) -> None:
    """Give a transaction up; TransactionNotFoundError."""
    with store.write() as txn:
        transaction(txn, transaction_id)
        txn.delete(Table.DOCUMENTS, transaction_key(transaction_id))


def delete_all(store: Store) -> int:
    """Give all transactions up and return how many there were."""
    with store.write() as txn:
        keys = [key for key, _ in txn.scan(Table.DOCUMENTS, NAMESPACE)]
        for key in keys:
            txn.delete(Table.DOCUMENTS, key)
    return len(keys)


def _put(txn: WriteTxn, record: Transaction) -> None:
    txn.put(Table.DOCUMENTS, transaction_key(record.id), encode(record))


def _rehearse(
    store: Store, change: Change, before: Sequence[Request], added: Sequence[Request], perform: Perform
) -> list[CommitId | None]:
    """Return the answers to the requests that were there *before* and those *added*; nothing changes."""
    responses: list[CommitId | None] = []
    try:
        with store.write() as txn:
            for position, request in enumerate(before):
                responses.append(_perform(txn, change, request, position, perform))
            responses += [perform(txn, request, change) for request in added]
            raise _TakenBack
    except _TakenBack:
        return responses


def _perform(
    txn: WriteTxn, change: Change, request: Request, position: int, perform: Perform
) -> CommitId | None:
    try:
        return perform(txn, request, change)
    except PfsError as error:
        raise TransactionFailedError(change.id, position, request, error) from error
