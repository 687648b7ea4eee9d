"""PostgreSQL 15: initdb, pgbench, an immediate stop, recovery, amcheck."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

from .sides import Checks, Client, Side, call

_BIN = Path("/usr/lib/postgresql/15/bin")
_USER = "postgres"


def run(side: Side, checks: Checks) -> None:
    data, sockets = side.folder / "data", side.scratch / "sockets"
    data.mkdir(mode=0o700)
    sockets.mkdir()
    for path in (data, sockets):
        shutil.chown(path, _USER, _USER)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    there = ["-h", os.fspath(sockets), "-p", port, "-U", _USER]

    def run_as(program: str, *words: str | Path, timeout: float = 300) -> str:
        return call(_BIN / program, *words, user=_USER, cwd=sockets, timeout=timeout)

    def start() -> None:
        options = f"-c listen_addresses= -c unix_socket_directories={sockets} -p {port}"
        run_as("pg_ctl", "-D", data, "-w", "-t", "120", "-l", sockets / "log", "-o", options, "start")

    def stop(mode: str) -> None:
        run_as("pg_ctl", "-D", data, "-w", "-m", mode, "stop")

    def psql(statement: str) -> str:
        return run_as("psql", *there, "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", statement, "postgres")

    with checks.one("initdb with checksums"):
        run_as("initdb", "-D", data, "-U", _USER, "-A", "trust", "--data-checksums")
    with checks.one("start"):
        start()
    try:
        with checks.one("pgbench makes its tables"):
            run_as("pgbench", *there, "-i", "-s", "2", "-q", "postgres")
        with checks.one("pgbench runs"):
            run_as("pgbench", *there, "-c", "4", "-j", "2", "-t", "200", "-n", "postgres")
        with checks.one("an immediate stop loses nothing"):
            psql("create table kept as select g from generate_series(1, 50000) g")
            before = psql("select count(*), sum(bid) from pgbench_history")
            stop("immediate")
            start()
            assert psql("select count(*) from kept").strip() == "50000"
            assert psql("select count(*), sum(bid) from pgbench_history") == before
        with checks.one("vacuum full, reindex"):
            psql("vacuum full")
            psql("reindex database postgres")
        with checks.one("amcheck"):
            run_as(
                "pg_amcheck", *there, "--install-missing", "--heapallindexed", "--parent-check", "postgres"
            )
    finally:
        with checks.one("stop"):
            stop("fast")
    with checks.one("checksums of all pages"):
        run_as("pg_checksums", "--check", "-D", data)
    with checks.one("checksums of the finished commit"):
        run_as("pg_checksums", "--check", "-D", side.finished() / "data")


CLIENT = Client("postgres", "PostgreSQL 15: initdb, pgbench, immediate stop, recovery, amcheck", run)
