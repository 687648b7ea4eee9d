"""gc may be killed at any step: nothing is lost, and the next one brings it to its end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pfsfuse.store.index import Index, WriteTxn, data_path
from pfsfuse.store.store import Store
from pfsfuse.versions.gc import collect_garbage, packed_bytes
from pfsfuse.versions.rebuild import rebuild_index
from pfsfuse.versions.repos import delete_repo
from tests.support.builders import World, assert_sound

BIG = b"".join(b"line %d\n" % n for n in range(30_000))

CALLS = ("pwrite", "fdatasync", "fsync", "unlink", "ftruncate")
"""What gc asks of the kernel; beside these, the end of every transaction of the index is a step."""


def collect_and_die() -> None:
    """Run gc and be killed before the n-th of these calls; what the other process does."""
    root, deadline = Path(sys.argv[1]), int(sys.argv[2])
    store = Store(root)
    count = 0

    def step() -> None:
        nonlocal count
        count += 1
        if count == deadline:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted(call: Callable[..., object]) -> Callable[..., object]:
        def run(*arguments: object, **more: object) -> object:
            step()
            return call(*arguments, **more)

        return run

    write = Index.write

    @contextmanager
    def counted_write(index: Index) -> Iterator[WriteTxn]:
        with write(index) as txn:
            yield txn
            step()
        step()

    for name in CALLS:
        setattr(os, name, counted(getattr(os, name)))
    Index.write = counted_write  # type: ignore[method-assign]
    collect_garbage(store, threshold=0.0, wait_s=0.0)
    store.close()


@pytest.fixture
def template(world: World) -> Path:
    """A store with garbage, and a pack that has both garbage and what is needed."""
    world.commit({"a/b": BIG, "c": b"c" * 3000}, repo="kept")
    world.commit({"d": BIG[::-1]}, repo="gone")
    with world.store.write() as txn:
        delete_repo(txn, "gone")
    world.reopen()
    return world.root


def _kill_gc(root: Path, deadline: int) -> int:
    code = "from tests.unit.store.test_gc_kills import collect_and_die; collect_and_die()"
    return subprocess.run([sys.executable, "-c", code, str(root), str(deadline)], check=False).returncode


@pytest.mark.slow
def test_gc_that_is_killed_before_any_of_its_steps_loses_nothing(template: Path, tmp_path: Path) -> None:
    """
    It is killed before its first step, before its second, and so on, until it comes to its end.
    """
    packed = sum(path.stat().st_size for path in template.glob("packs/*.pack"))
    deadline, ended = 0, 1
    while ended:
        deadline += 1
        root = tmp_path / f"killed-{deadline}"
        shutil.copytree(template, root, ignore=lambda *_: {"holds"})
        ended = _kill_gc(root, deadline)
        assert ended in (0, -signal.SIGKILL)
        _check(root, packed, rebuilds=deadline % 3 == 0)
        shutil.rmtree(root)
    assert deadline > 15


def _check(root: Path, before: int, *, rebuilds: bool) -> None:
    if rebuilds:
        data_path(root / "index").unlink()
        assert [] == rebuild_index(root).problems
    world = World(root)
    try:
        assert_sound(world)
        report = collect_garbage(world.store, threshold=0.0, wait_s=0.0)
        assert ([], [], 0) == (report.damage, report.waits_for, report.waiting_packs)
        assert_sound(world)
        assert {"a/b": BIG, "c": b"c" * 3000} == world.files(world.head("kept").root)
        assert packed_bytes(world.store) < 0.7 * before
    finally:
        world.close()
