"""How processes hear of news."""

from __future__ import annotations

import time
from pathlib import Path

from pfsfuse.store.index import Table
from pfsfuse.store.store import Store
from pfsfuse.versions.changes import Listener, poke_after_writes, watch
from tests.support.builders import World


def test_a_listener_hears_each_key_once_and_what_came_after_it(world: World) -> None:
    """Three transactions, two of them on one key; nothing more; one more."""
    world.repo("before")
    with Listener(world.store) as listener:
        assert [] == listener.news()
        for value in (b"1", b"2"):
            with world.store.write() as txn:
                txn.put(Table.DOCUMENTS, b"key", value)
        with world.store.write() as txn:
            txn.put(Table.DOCUMENTS, b"other", b"", journal=False)

        assert [(Table.DOCUMENTS, b"key"), (Table.DOCUMENTS, b"other")] == listener.news()
        assert [] == listener.news()


def test_a_listener_may_begin_behind_a_number_that_it_saw(world: World) -> None:
    """A process that ended goes on where it was."""
    with world.store.read() as txn:
        seen = txn.sequence()
    world.repo("images")

    with Listener(world.store, after=seen) as listener:
        assert [(Table.REPOS, b"images")] == listener.news()


def test_a_write_wakes_a_listener(world: World) -> None:
    """The listener waits; without the poke it would wait for its timeout."""
    poke_after_writes(world.store)
    with Listener(world.store) as listener:
        world.repo("images")
        before = time.monotonic()
        listener.wait(20.0)

        assert time.monotonic() - before < 10.0
        assert [(Table.REPOS, b"images")] == listener.news()


def test_a_dead_listener_is_forgotten(world: World) -> None:
    """A process died without removing its socket."""
    poke_after_writes(world.store)
    listener = Listener(world.store)
    listener.socket.close()

    world.repo("images")

    assert [] == list((world.store.run / "wake").iterdir())


def test_a_store_may_lie_deep(tmp_path: Path) -> None:
    """The path of the store is longer than the address of a socket may be."""
    store = Store(tmp_path / ("d" * 100) / ("e" * 100))
    poke_after_writes(store)
    with Listener(store) as listener:
        with store.write() as txn:
            txn.put(Table.DOCUMENTS, b"key", b"")
        listener.wait(20.0)

        assert [(Table.DOCUMENTS, b"key")] == listener.news()
    store.close()


def test_watching_looks_at_once_and_after_each_change(world: World) -> None:
    """A loop waits until a repo is there, which it is after the first look."""
    poke_after_writes(world.store)
    looks = 0
    with Listener(world.store) as listener:
        for _ in watch(listener):
            looks += 1
            if looks == 2:
                break
            world.repo("images")

    assert 2 == looks
