"""
gc of a store of a million chunks, of which a fifth is garbage.

    python -m tools.benchmarks.gc [FOLDER]

The chunks are small (about 600 bytes), so that packs and their number stay in proportion to the
disk of a test machine; what gc costs depends on how many objects there are, not on their size.
"""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from pfsfuse.ids import RepoName
from pfsfuse.store.objects import ObjectKind
from pfsfuse.store.store import Store
from pfsfuse.trees.entry import Entry, Kind
from pfsfuse.trees.tree import Trees
from pfsfuse.versions.commits import finish_commit, start_commit
from pfsfuse.versions.repos import create_repo, delete_repo

from .report import Figure

CHUNKS = 1_000_000
WANTED_S = 20.0

_A_COMMIT = 50_000
_A_DIRECTORY = 1000
_TOGETHER = 500


def make_store(root: Path, chunks: int = CHUNKS) -> None:
    """Make a store with files of one chunk each, in several commits; a fifth of them of a repo that is deleted."""
    store = Store(root)
    trees = Trees(store.chunks)
    draw = random.Random(20261121)
    for repo, count in ((RepoName("kept"), chunks * 4 // 5), (RepoName("gone"), chunks // 5)):
        with store.write() as txn:
            create_repo(txn, repo)
        root_entry = trees.empty_directory()
        for start in range(0, count, _A_COMMIT):
            changes = dict(_files(store, draw, range(start, min(count, start + _A_COMMIT))))
            root_entry = trees.apply(root_entry, changes)
            with store.write() as txn:
                finish_commit(txn, start_commit(txn, repo, "master").ref, root_entry)
    with store.write() as txn:
        delete_repo(txn, "gone")
    store.close()


def _files(store: Store, draw: random.Random, numbers: range) -> Iterator[tuple[tuple[bytes, ...], Entry]]:
    for first in range(numbers.start, numbers.stop, _TOGETHER):
        some = range(first, min(numbers.stop, first + _TOGETHER))
        data = [draw.randbytes(600) for _ in some]
        for number, one, chunk in zip(some, data, store.chunks.put_all(data, ObjectKind.CHUNK), strict=True):
            path = (b"d%05d" % (number // _A_DIRECTORY), b"f%05d" % (number % _A_DIRECTORY))
            yield path, Entry(Kind.FILE, 0o644, 0, 0, 1, len(one), 1, 1, chunk, chunk)


def bench_gc(folder: Path, chunks: int = CHUNKS) -> list[Figure]:
    """Run `pfs gc` on such a store: from nothing loaded to the disk given back."""
    root = folder / "gc-store"
    make_store(root, chunks)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "runner.cli.main", "gc", "--threshold", "10"],
        env={**os.environ, "PFS_ROOT": str(root)},
        check=True,
        capture_output=True,
        text=True,
    )
    took = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(done.stdout, end="")
    return [
        Figure(
            f"gc of {chunks:,} chunks",
            f"{took:.1f} s",
            f"{cpu:.1f} s CPU, {after.ru_maxrss >> 10} MiB",
            "",
            f"<= {WANTED_S:.0f} s",
            took <= WANTED_S,
        )
    ]


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        for figure in bench_gc(Path(folder)):
            print(figure.line())


if __name__ == "__main__":
    main()
