"""`pfs start|finish|resume|stop|list|inspect|delete transaction`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
import typer

from pfsfuse.errors import InvalidNameError
from pfsfuse.ids import CommitId
from pfsfuse.store.index import ReadTxn
from pfsfuse.versions import transactions
from pfsfuse.versions.requests import describe
from pfsfuse.versions.transactions import Transaction

from . import context
from .screen import Screen, ago, local_time, when
from .session import Session


class ShownRequest(msgspec.Struct):
    """A request and its answer."""

    request: str
    commit: str | None


class ShownTransaction(msgspec.Struct):
    """A transaction, as JSON and YAML have it."""

    id: str
    started: datetime | None
    active: bool
    requests: list[ShownRequest]


def shown_transaction(record: Transaction, active: CommitId | None) -> ShownTransaction:
    answered = zip(record.requests, record.responses, strict=True)
    return ShownTransaction(
        record.id.hex(),
        when(record.started_ns),
        record.id == active,
        [ShownRequest(describe(request), made.hex() if made else None) for request, made in answered],
    )


Name = Annotated[
    str | None,
    typer.Argument(metavar="[TRANSACTION]", help="Its id, or a beginning of it; else the active one."),
]


def start_transaction(session: Session) -> None:
    """Start a transaction and print its id: the commands that follow are part of it, until it is finished."""
    active = context.active_transaction(session.root)
    if active is not None:
        raise InvalidNameError(
            f"transaction {active.hex()} is active; finish it, or leave it with `pfs stop transaction`"
        )
    made = transactions.start(session.store)
    context.set_active_transaction(session.root, made.id)
    session.screen.identifier(made.id.hex())


def finish_transaction(session: Session, name: Name = None) -> None:
    """Do everything that the transaction asks for, in one step, or nothing of it; print its id."""
    transaction_id = _named(session, name)
    done = session.finish_transaction(transaction_id)
    _leave(session, transaction_id)
    session.screen.note(f"{len(done.requests)} requests done")
    session.screen.identifier(done.id.hex())


def resume_transaction(
    session: Session, name: Annotated[str, typer.Argument(metavar="TRANSACTION", help="Its id.")]
) -> None:
    """Make a transaction the active one: the commands that follow are part of it."""
    context.set_active_transaction(session.root, _named(session, name))


def stop_transaction(session: Session) -> None:
    """Leave the active transaction, which stays as it is: the commands that follow are not part of it."""
    active = context.active_transaction(session.root)
    if active is None:
        raise InvalidNameError("no transaction is active")
    context.set_active_transaction(session.root, None)


def list_transaction(session: Session) -> None:
    """List the transactions that are not finished, newest first."""
    active = context.active_transaction(session.root)
    with session.store.read() as txn:
        found = [shown_transaction(each, active) for each in transactions.transactions(txn)]
    session.screen.rows(
        found,
        {
            "TRANSACTION": lambda each: each.id,
            "STARTED": lambda each: ago(each.started),
            "REQUESTS": lambda each: str(len(each.requests)),
            "ACTIVE": lambda each: "yes" if each.active else "",
        },
    )


def inspect_transaction(session: Session, name: Name = None) -> None:
    """Show what a transaction asks for."""
    transaction_id = _named(session, name)
    with session.store.read() as txn:
        record = transactions.transaction(txn, transaction_id)
    show_transaction(session.screen, shown_transaction(record, context.active_transaction(session.root)))


def show_transaction(screen: Screen, found: ShownTransaction) -> None:
    screen.record(
        found,
        {
            "Transaction": lambda each: each.id,
            "Started": lambda each: local_time(each.started),
            "Active": lambda each: "yes" if each.active else "",
            "Requests": lambda each: "\n".join(
                asked.request + (f" → {asked.commit}" if asked.commit else "") for asked in each.requests
            ),
        },
    )


def delete_transaction(
    session: Session,
    name: Name = None,
    all_: Annotated[bool, typer.Option("--all", help="All that are not finished.")] = False,
) -> None:
    """Give a transaction up: nothing of it is done."""
    if all_:
        count = transactions.delete_all(session.store)
        session.screen.note(f"{count} transactions deleted")
        context.set_active_transaction(session.root, None)
        return
    transaction_id = _named(session, name)
    transactions.delete(session.store, transaction_id)
    _leave(session, transaction_id)


def _leave(session: Session, transaction_id: CommitId) -> None:
    if context.active_transaction(session.root) == transaction_id:
        context.set_active_transaction(session.root, None)


def _named(session: Session, name: str | None) -> CommitId:
    """Return the transaction that is meant: the active one if none is named."""
    if name is None:
        active = context.active_transaction(session.root)
        if active is None:
            raise InvalidNameError("no transaction is active; name one of `pfs list transaction`")
        return active
    with session.store.read() as txn:
        return _by_beginning(txn, name)


def _by_beginning(txn: ReadTxn, text: str) -> CommitId:
    found = [each.id for each in transactions.transactions(txn) if each.id.hex().startswith(text.lower())]
    if len(found) != 1:
        why = "fits several transactions; give more digits" if found else "is none of `pfs list transaction`"
        raise transactions.UnknownTransactionError(f"{text!r} {why}")
    return found[0]
