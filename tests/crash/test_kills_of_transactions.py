"""
kill -9 of the process that finishes a transaction, or of the mount that holds its commits, at random moments.

Two repos have open commits with files in them.  Whoever is killed, afterwards both are finished with all
they had, or both are open with all they had and the transaction is there to be finished.
A twentieth of PFS_CRASH_KILLS says how often (default 2), PFS_CRASH_SEED which moments.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pfsfuse.ids import CommitId
from pfsfuse.mount.writing import Writing
from pfsfuse.versions import transactions
from pfsfuse.versions.branches import branch
from pfsfuse.versions.requests import FinishCommit
from tests.support.builders import assert_sound, ref
from tests.support.mounting import Mounted, mounted

from .conftest import SEED, kills

pytestmark = [pytest.mark.mount, pytest.mark.timeout(600)]

KILLS = kills(least=2, share=0.05)
NAMES = ["left", "right"]

_FINISH = """
import sys
from pathlib import Path
from pfsfuse.ids import CommitId
from pfsfuse.mount.writing import Writing
from pfsfuse.store.store import Store
from pfsfuse.trees.tree import Trees
from pfsfuse.versions import transactions
from tests.support.builders import ref
store = Store(Path(sys.argv[1]))
trees = Trees(store.chunks)
print("ready", flush=True)
sys.stdin.readline()
with Writing(store, trees).holding([ref(name) for name in sys.argv[3:]]) as held:
    transactions.finish(
        store, trees, CommitId(bytes.fromhex(sys.argv[2])), roots=held.roots, assure=held.assure
    )
print("done", flush=True)
sys.stdin.readline()
"""
"""Finishes a transaction when it is told to."""


@pytest.fixture
def mount() -> Iterator[Mounted]:
    """A mount that finishes nothing by itself, with the two repos."""
    with mounted(autocommit_s=-1, limit_s=300.0) as made:
        for name in NAMES:
            made.repo(name)
        yield made


def begin(mount: Mounted, number: int) -> CommitId:
    """Write into both repos, and ask in a transaction that both commits be finished."""
    for name in NAMES:
        for file in range(20):
            (mount.master(name) / f"f{file}").write_bytes(b"%d %d " % (number, file) * (1 + file * 500))
    store = mount.world.store
    begun = transactions.start(store)
    transactions.append(store, mount.world.trees, begun.id, *(FinishCommit(ref(name)) for name in NAMES))
    return begun.id


def heads(mount: Mounted) -> list[tuple[CommitId | None, CommitId | None]]:
    """Return head and open commit of both."""
    with mount.world.store.read() as txn:
        lines = [branch(txn, ref(name).repo, "master") for name in NAMES]
    return [(line.head, line.open) for line in lines]


def expected(number: int) -> dict[str, bytes]:
    return {f"f{file}": b"%d %d " % (number, file) * (1 + file * 500) for file in range(20)}


def kill_somebody(mount: Mounted, transaction_id: CommitId, draw: random.Random) -> str:
    """Have a process finish the transaction, and kill it or the mount; say which, and when."""
    words = [sys.executable, "-c", _FINISH, os.fspath(mount.world.root), transaction_id.hex(), *NAMES]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        words, stdin=pipe, stdout=pipe, stderr=pipe, cwd=Path(__file__).parents[2], bufsize=0
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert b"ready\n" == process.stdout.readline()
        victim, delay_s = draw.choice(["process", "mount"]), draw.uniform(0, 0.06)
        process.stdin.write(b"\n")
        time.sleep(delay_s)
        if victim == "process":
            process.kill()
        else:
            mount.kill()
        process.stdin.close()
    if victim == "mount":
        mount.start()
    return f"{victim} after {delay_s * 1000:.1f} ms"


def test_a_transaction_is_done_whole_or_not_whoever_is_killed(mount: Mounted) -> None:
    """
    Again and again in the same store.
    """
    draw = random.Random(SEED)
    done = 0
    for number in range(KILLS):
        before = heads(mount)
        transaction_id = begin(mount, number)
        opened = [open_commit for _, open_commit in heads(mount)]

        told = kill_somebody(mount, transaction_id, draw)
        mount.barrier()

        after = heads(mount)
        with mount.world.store.read() as txn:
            waiting = [each.id for each in transactions.transactions(txn)]
        is_done = after == [(each, None) for each in opened]
        print(f"seed {SEED}, kill {number}: {told}, {'done' if is_done else 'not done'}")
        assert is_done or after == [(head, each) for (head, _), each in zip(before, opened, strict=True)], (
            told
        )
        assert waiting == ([] if is_done else [transaction_id]), told
        if not is_done:
            store, trees = mount.world.store, mount.world.trees
            with Writing(store, trees).holding([ref(name) for name in NAMES]) as held:
                transactions.finish(store, trees, transaction_id, roots=held.roots, assure=held.assure)
        for name in NAMES:
            assert expected(number) == mount.files(name), told
        assert_sound(mount.world)
        done += is_done
    print(f"seed {SEED}: {done} of {KILLS} transactions were done when somebody was killed")
