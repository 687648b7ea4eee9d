"""Transactions that are finished by a process which does not survive it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from pfsfuse.ids import CommitId
from pfsfuse.store.index import ReadTxn, Table, WriteTxn
from pfsfuse.store.store import Store
from pfsfuse.trees.tree import Trees
from pfsfuse.versions import transactions
from pfsfuse.versions.requests import Change, Request, perform

Dump = dict[tuple[str, bytes], bytes]


def dump(txn: ReadTxn) -> Dump:
    """Return every record that is journaled."""
    return {(t.label, key): raw for t in Table if t.journaled for key, raw in txn.scan(t)}


def finish_and_die(root: Path, transaction_id: CommitId, after: int) -> None:
    """
    Have a process of its own finish a transaction and be killed.

    *after* so many requests, inside the write transaction; when there are fewer, once it is
    committed, before the process has closed anything.
    """
    program = "from tests.support.transactions import main; main()"
    words = [sys.executable, "-c", program, os.fspath(root), transaction_id.hex(), str(after)]
    done = subprocess.run(words, cwd=Path(__file__).parents[2], capture_output=True, timeout=60, check=False)
    assert -signal.SIGKILL == done.returncode, done.stderr.decode()


def main() -> None:
    """The process."""
    root, text, after = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    done = 0

    def perform_and_die(txn: WriteTxn, request: Request, change: Change) -> CommitId | None:
        nonlocal done
        if done == after:
            _die()
        done += 1
        return perform(txn, request, change)

    store = Store(root)
    transactions.finish(store, Trees(store.chunks), CommitId(bytes.fromhex(text)), perform=perform_and_die)
    _die()


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
