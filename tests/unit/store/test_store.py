"""One directory that holds everything: format, transactions, a full disk, crashes of writers."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pfsfuse.errors import OutOfSpaceError, StoreError
from pfsfuse.ids import chunk_id
from pfsfuse.store import store as store_module
from pfsfuse.store.batches import journal_records
from pfsfuse.store.fsck import check_store
from pfsfuse.store.index import Table, data_path
from pfsfuse.store.objects import ObjectKind
from pfsfuse.store.packs import packs_in
from pfsfuse.store.store import Store, StoreInUseError, UnknownFormatError, lock_store
from tests.support.builders import World


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False
    )


# Format


def test_a_new_store_is_stamped_and_for_its_owner_only(tmp_path: Path) -> None:
    """A store is made in a folder that does not exist."""
    Store(tmp_path / "a" / "store").close()

    stamped = json.loads((tmp_path / "a" / "store" / "format.json").read_bytes())

    assert store_module.FORMAT == stamped["format"]
    assert 0o700 == stat.S_IMODE((tmp_path / "a" / "store").stat().st_mode)


def test_a_store_keeps_its_id(tmp_path: Path) -> None:
    """A store is opened twice."""
    first = Store(tmp_path)
    first.close()
    second = Store(tmp_path)
    second.close()

    assert first.id == second.id


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": 2}, "format 2"),
        ({"chunking": {"algorithm": "other"}}, "cuts its chunks differently"),
        ({"store": None}, "not the format file"),
    ],
)
def test_an_unknown_format_is_refused_and_nothing_is_touched(
    tmp_path: Path, change: dict[str, object], says: str
) -> None:
    """A newer version of pfs wrote the store."""
    Store(tmp_path).close()
    path = tmp_path / "format.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    before = sorted((p, p.stat().st_mtime_ns) for p in tmp_path.rglob("*"))

    with pytest.raises(UnknownFormatError, match=says):
        Store(tmp_path)

    assert before == sorted((p, p.stat().st_mtime_ns) for p in tmp_path.rglob("*"))


def test_a_folder_with_other_things_is_not_made_a_store(tmp_path: Path) -> None:
    """PFS_ROOT points at somebody's home."""
    (tmp_path / "letter.txt").write_text("dear")

    with pytest.raises(StoreError, match="neither empty nor a store"):
        Store(tmp_path)

    assert ["letter.txt"] == os.listdir(tmp_path)


_OPENS = """
import sys
from pathlib import Path
from pfsfuse.store.store import Store
sys.stdin.readline()
store = Store(Path(sys.argv[1])); print(store.id.hex()); store.close()
"""


def test_processes_that_make_a_store_at_once_make_one(tmp_path: Path) -> None:
    """Four processes start together on an empty folder, as mount and runner do."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", _OPENS, os.fspath(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    answers = [process.communicate() for process in started]

    assert [""] * 4 == [errors for _, errors in answers]
    assert 1 == len({output for output, _ in answers})


def test_a_store_without_its_index_is_not_taken_for_an_empty_one(world: World) -> None:
    """Somebody deleted the LMDB files; a new, empty index would number everything from 1."""
    world.is_damaged = True
    world.commit({"a": b"1"})
    world.store.close()
    data_path(world.root / "index").unlink()

    with pytest.raises(StoreError, match="rebuild-index"):
        Store(world.root)

    assert not data_path(world.root / "index").exists()
    # For the end of the fixture.
    world.store = Store(world.root.parent / "other")


def test_a_store_is_not_opened_while_its_index_is_replaced(tmp_path: Path) -> None:
    """`pfs fsck --rebuild-index` is at work."""
    Store(tmp_path).close()
    lock = lock_store(tmp_path, exclusive=True)

    with pytest.raises(StoreInUseError):
        Store(tmp_path)

    os.close(lock)
    Store(tmp_path).close()


# Transactions


def test_what_a_transaction_refers_to_is_durable_and_visible_before_it(tmp_path: Path, world: World) -> None:
    """An object is put, then a record that names it; another process looks."""
    object_id = world.store.chunks.put(b"data" * 100, ObjectKind.CHUNK)
    with world.store.write() as txn:
        txn.put(Table.DOCUMENTS, b"key", object_id)

    done = run(
        "import sys; from pathlib import Path; from pfsfuse.store.index import Table\n"
        "from pfsfuse.store.store import Store\n"
        "store = Store(Path(sys.argv[1]))\n"
        "with store.read() as txn: key = txn.get(Table.DOCUMENTS, b'key')\n"
        "print(store.chunks.get(key)[:8])",
        world.root,
    )

    assert "b'datadata'\n" == done.stdout


def test_puts_of_many_threads_are_all_there(world: World) -> None:
    """Eight threads put the same and different objects, large and small, while others flush."""
    objects = [bytes([n % 251]) * (100 + 700 * n) for n in range(100)]

    def put(part: int) -> None:
        for data in objects[part % 4 :: 4]:
            world.store.chunks.put(data, ObjectKind.CHUNK)
        world.store.flush()

    threads = [threading.Thread(target=put, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert objects == [world.store.chunks.get(chunk_id(data)) for data in objects]
    with world.store.read() as txn:
        assert len(objects) == txn.count(Table.OBJECTS)
    listed = [r for pack in packs_in(world.store.packs, world.store.id) for r in journal_records(pack)]
    assert [] == listed


def test_nothing_is_written_by_who_only_reads(world: World) -> None:
    """A process opens a store that another one uses, looks, and closes it."""
    world.commit({"a": b"1"})
    before = sorted((p, p.stat().st_size) for p in (world.root / "packs").iterdir())

    done = run(_OPENS.replace("sys.stdin.readline()", ""), world.root)

    assert "" == done.stderr
    assert before == sorted((p, p.stat().st_size) for p in (world.root / "packs").iterdir())


# Crashes of writers


_DIES_BEFORE_THE_JOURNAL = """
import os, signal, sys
from pathlib import Path
from pfsfuse.store.store import Store
from pfsfuse.store.index import Table
store = Store(Path(sys.argv[1]))
store.chunks.append_journal = lambda batch: os.kill(os.getpid(), signal.SIGKILL)
with store.write() as txn:
    txn.put(Table.REPOS, b"images", b"never decoded here")
"""


def test_a_batch_that_a_crash_kept_from_the_packs_is_written_by_the_next_process(tmp_path: Path) -> None:
    """A writer is killed between the commit of LMDB and the append to its pack."""
    died = run(_DIES_BEFORE_THE_JOURNAL, tmp_path)
    assert -signal.SIGKILL == died.returncode

    store = Store(tmp_path)
    store.close()

    (pack,) = packs_in(tmp_path / "packs", store.id)
    assert 1 == len(list(journal_records(pack)))
    store = Store(tmp_path)
    with store.read() as txn:
        assert b"never decoded here" == txn.get(Table.REPOS, b"images")
        assert 0 == txn.count(Table.OUTBOX)
    assert [] == check_store(store, verify_data=True)
    store.close()


_DIES_WITH_PENDING = """
import os, signal, sys
from pathlib import Path
from pfsfuse.store.store import Store
from pfsfuse.store.objects import ObjectKind
store = Store(Path(sys.argv[1]))
store.chunks.put(b"synced" * 100, ObjectKind.CHUNK)
store.flush()
for number in range(1000):
    store.chunks.put(os.urandom(5000), ObjectKind.CHUNK)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_objects_that_were_flushed_survive_kill_9_and_the_pack_goes_on(tmp_path: Path) -> None:
    """A writer is killed while it puts; the next one takes its pack."""
    run(_DIES_WITH_PENDING, tmp_path)

    store = Store(tmp_path)
    store.chunks.put(b"later" * 100, ObjectKind.CHUNK)
    store.flush()

    assert b"synced" * 100 == store.chunks.get(chunk_id(b"synced" * 100))
    assert 1 == len(packs_in(tmp_path / "packs", store.id))
    assert [] == check_store(store, verify_data=True)
    store.close()


# A full disk


def random_object(number: int, size: int = 30_000) -> bytes:
    """Return bytes that do not shrink."""
    import random

    return random.Random(number).randbytes(size)


def test_objects_that_a_full_disk_refused_are_stored_when_there_is_room(small_disk: Path) -> None:
    """
    The disk is full while objects are put; the caller is told by the flush, makes room, flushes again.

    Between the two, a second writer puts the same bytes and is told that they are there.
    """
    store = Store(small_disk / "store")
    objects = [random_object(n) for n in range(40)]

    with pytest.raises(OutOfSpaceError):
        for data in objects:
            store.chunks.put(data, ObjectKind.CHUNK)
        store.flush()
    with pytest.raises(OutOfSpaceError):
        store.flush()
    put = [data for data in objects if store.chunks.has(chunk_id(data))]
    (small_disk / "ballast").unlink()
    subprocess.run(["mount", "-o", "remount,size=4m", os.fspath(small_disk)], check=True)
    store.flush()

    assert [store.chunks.get(chunk_id(data)) for data in put] == put
    assert len(put) > 10
    assert [] == check_store(store, verify_data=True)
    store.close()


def test_a_transaction_on_a_full_disk_changes_nothing_and_can_be_retried(small_disk: Path) -> None:
    """LMDB cannot write its pages."""
    store = Store(small_disk / "store")
    (small_disk / "filler").write_bytes(bytes(os.statvfs(small_disk).f_bavail * 4096))
    value = bytes(200_000)

    with pytest.raises(OutOfSpaceError), store.write() as txn:
        txn.put(Table.DOCUMENTS, b"key", value)
    (small_disk / "filler").unlink()
    with store.read() as txn:
        assert txn.get(Table.DOCUMENTS, b"key") is None
    with store.write() as txn:
        txn.put(Table.DOCUMENTS, b"key", value)

    assert [] == check_store(store, verify_data=True)
    store.close()


def test_a_batch_that_a_full_disk_kept_from_the_packs_stays_in_the_outbox(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The change is in LMDB; its pack has no room; the program goes on, and later there is room."""
    store = Store(tmp_path)
    append = store.chunks.append_journal

    def refuse(batch: bytes) -> None:
        raise OutOfSpaceError("no space left")

    store.chunks.append_journal = refuse  # type: ignore[method-assign]
    with store.write() as txn:
        txn.put(Table.REPOS, b"images", b"")
    store.chunks.append_journal = append  # type: ignore[method-assign]

    assert "not in a pack yet" in caplog.text
    with store.read() as txn:
        assert 1 == txn.count(Table.OUTBOX)
    assert [] == check_store(store, verify_data=True)
    store.close()
