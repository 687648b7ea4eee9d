"""SQLite: each journal mode, writers side by side, a writer that is killed, vacuum and the integrity check."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from .sides import Checks, Client, ClientError, Side, call

_MODES = ("delete", "truncate", "persist", "wal")
_WRITER = """
import sqlite3, sys
path, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
db = sqlite3.connect(path, timeout=120, isolation_level=None)
for number in range(count):
    db.execute("begin immediate")
    for each in range(10):
        db.execute("insert into t values (?, ?, ?)", (name, number * 10 + each, "x" * 200))
    db.execute("commit")
    print(number, flush=True)
"""


def run(side: Side, checks: Checks) -> None:
    for mode in _MODES:
        path = side.folder / f"{mode}.db"
        with checks.one(f"{mode}: make and fill"):
            _sql(path, f"pragma journal_mode={mode}; create table t (who text, n int, data text);")
            _sql(path, "create index i on t (who, n); create table u (n int);")
            _sql(
                path,
                "with recursive c(n) as (select 1 union all select n + 1 from c where n < 20000) "
                "insert into u select n from c;",
            )
        with checks.one(f"{mode}: four writers side by side"):
            writers = [_writer(path, f"w{n}", 25) for n in range(4)]
            for writer in writers:
                writer.communicate(timeout=300)
                if writer.returncode:
                    raise ClientError(f"a writer ended with {writer.returncode}")
            assert _sql(path, "select count(*) from t").strip() == "1000"
        with checks.one(f"{mode}: a writer is killed in the middle"):
            _kill_writer(path)
        with checks.one(f"{mode}: integrity"):
            assert _sql(path, "pragma integrity_check;").strip() == "ok"
        with checks.one(f"{mode}: vacuum"):
            _sql(path, "delete from u where n % 3; vacuum;")
            assert _sql(path, "pragma integrity_check;").strip() == "ok"
        with checks.one(f"{mode}: dumped and read again"):
            dumped = _sql(path, ".dump")
            _sql(side.folder / f"{mode}-again.db", dumped)
            assert _sql(side.folder / f"{mode}-again.db", ".dump") == dumped
    with checks.one("the finished databases are whole"):
        there = side.finished()
        for mode in _MODES:
            # Of a read-only folder SQLite opens a database only if told that nobody writes it.
            address = f"file:{there / f'{mode}.db'}?immutable=1"
            said = call("sqlite3", address, "pragma integrity_check;")
            if said.strip() != "ok":
                raise ClientError(f"{mode}: {said}")


def _sql(path: Path, text: str) -> str:
    return call("sqlite3", "-bail", path, stdin=text)


def _writer(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(path), name, str(count)], stdout=subprocess.PIPE, text=True
    )


def _kill_writer(path: Path) -> None:
    """Kill a writer after some transactions: those that it told of must be there, and no half one."""
    writer = _writer(path, "killed", 100_000)
    assert writer.stdout is not None
    told = -1
    deadline = time.monotonic() + 60
    while told < 20 and time.monotonic() < deadline:
        told = int(writer.stdout.readline())
    writer.send_signal(signal.SIGKILL)
    rest, _ = writer.communicate()
    told = max([told, *[int(line) for line in rest.splitlines() if line.strip().isdigit()]])
    count = int(_sql(path, "select count(*) from t where who = 'killed'"))
    if count % 10 or count < 10 * (told + 1):
        raise ClientError(f"{count} rows of {10 * (told + 1)} that were committed")


CLIENT = Client("sqlite", "SQLite in every journal mode, with a killed writer", run)
