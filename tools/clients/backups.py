"""restic and borg keep a repository of their own on the side, and find it whole."""

from __future__ import annotations

import os
import random
from pathlib import Path

from .sides import Checks, Client, Side, call


def _make_data(top: Path, *, seed: int) -> None:
    draw = random.Random(seed)
    for number in range(400):
        folder = top / f"d{number % 20}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"f{number}").write_bytes(draw.randbytes(draw.randrange(60_000)))
    (top / "large").write_bytes(draw.randbytes(24 << 20))


def _change_data(top: Path, *, seed: int) -> None:
    draw = random.Random(seed)
    for path in sorted(top.glob("d*/f*"))[::7]:
        path.write_bytes(draw.randbytes(10_000))
    with open(top / "large", "r+b") as file:
        file.seek(5_000_000)
        file.write(draw.randbytes(1000))


def _same(one: Path, other: Path) -> None:
    call("diff", "-r", "--no-dereference", one, other)


def run_restic(side: Side, checks: Checks) -> None:
    repository, data = side.folder / "restic", side.scratch / "data"
    _make_data(data, seed=1)
    env = {"RESTIC_PASSWORD": "secret", "RESTIC_CACHE_DIR": os.fspath(side.scratch / "cache")}

    def restic(*words: str | Path, at: Path = repository) -> str:
        return call("restic", "-q", "-r", at, *words, env=env, cwd=side.scratch)

    with checks.one("init"):
        restic("init")
    for number in range(3):
        with checks.one(f"backup {number}"):
            restic("backup", "data")
        _change_data(data, seed=number)
    with checks.one("backup of the last change"):
        restic("backup", "data")
    with checks.one("check --read-data"):
        restic("check", "--read-data")
    with checks.one("forget --prune"):
        restic("forget", "--keep-last", "1", "--prune")
    with checks.one("check --read-data after prune"):
        restic("check", "--read-data")
    with checks.one("restore"):
        restic("restore", "latest", "--target", side.scratch / "restored")
        _same(data, side.scratch / "restored" / "data")
    with checks.one("check --read-data of the finished commit"):
        restic("check", "--read-data", "--no-lock", at=side.finished() / "restic")


def run_borg(side: Side, checks: Checks) -> None:
    repository, data = side.folder / "borg", side.scratch / "data"
    _make_data(data, seed=2)
    env = {
        "BORG_BASE_DIR": os.fspath(side.scratch / "base"),
        "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
        "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes",
        "BORG_CHECK_I_KNOW_WHAT_I_AM_DOING": "YES",
    }

    def borg(*words: str | Path, cwd: Path = side.scratch) -> str:
        return call("borg", *words, env=env, cwd=cwd)

    with checks.one("init"):
        borg("init", "-e", "none", repository)
    for number in range(3):
        with checks.one(f"create {number}"):
            borg("create", f"{repository}::a{number}", "data")
        _change_data(data, seed=number)
    with checks.one("create of the last change"):
        borg("create", f"{repository}::last", "data")
    with checks.one("check --verify-data"):
        borg("check", "--verify-data", repository)
    with checks.one("prune, compact"):
        borg("prune", "--keep-last", "1", repository)
        borg("compact", repository)
    with checks.one("check --verify-data after prune"):
        borg("check", "--verify-data", repository)
    with checks.one("extract"):
        restored = side.scratch / "restored"
        restored.mkdir()
        borg("extract", f"{repository}::last", cwd=restored)
        _same(data, restored / "data")
    with checks.one("a copy of the finished repository"):
        # borg takes a lock in what it reads, so it cannot check in a read-only folder.
        call("cp", "-a", side.finished() / "borg", side.scratch / "copy")
        borg("check", "--verify-data", side.scratch / "copy")


RESTIC = Client("restic", "restic with its repository there, and its full check", run_restic)
BORG = Client("borg", "borg with its repository there, and its full check", run_borg)
