"""Tables, transactions and the change log."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import lmdb
import pytest

from pfsfuse.errors import StoreError
from pfsfuse.store import index as index_module
from pfsfuse.store.index import Index, Table, data_path, decode_batch, encode_batch, split_outbox

KEYS = [b"a\x001", b"a\x002", b"a\x003", b"b\x001", b"b\xff", b"b\xff\xff", b"c"]


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    """An empty index."""
    made = Index(tmp_path / "index")
    yield made
    made.close()


@pytest.fixture
def filled(index: Index) -> Index:
    """An index with a few keys in DOCUMENTS."""
    with index.write() as txn:
        for key in KEYS:
            txn.put(Table.DOCUMENTS, key, b"value of " + key)
    return index


@pytest.mark.parametrize("prefix", [b"", b"a", b"a\0", b"b", b"b\xff", b"b\xff\xff", b"c", b"d", b"\xff"])
@pytest.mark.parametrize("start", [None, b"", b"a\x002", b"a\x0020", b"b", b"b\xff", b"zz", b"\xff\xff"])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_scan_gives_the_keys_of_a_prefix_from_a_start_on(
    filled: Index, prefix: bytes, start: bytes | None, reverse: bool
) -> None:
    """Every combination of a prefix and a start, inside and outside of what is there."""
    expected = [key for key in KEYS if key.startswith(prefix)]
    if start is not None:
        expected = [key for key in expected if (key <= start if reverse else key >= start)]
    if reverse:
        expected.reverse()

    with filled.read() as txn:
        found = [key for key, _ in txn.scan(Table.DOCUMENTS, prefix, start=start, reverse=reverse)]

    assert expected == found


def test_an_exception_takes_a_transaction_back(filled: Index) -> None:
    """A caller's check fails in the middle of a transaction."""
    with pytest.raises(ValueError), filled.write() as txn:
        txn.put(Table.DOCUMENTS, b"new", b"")
        txn.delete(Table.DOCUMENTS, b"c")
        raise ValueError

    with filled.read() as txn:
        assert txn.get(Table.DOCUMENTS, b"new") is None
        assert b"value of c" == txn.get(Table.DOCUMENTS, b"c")
        assert 1 == txn.sequence()


def test_the_change_log_names_what_each_transaction_touched(filled: Index) -> None:
    """Two more transactions; one of them also touches a table that is not journaled."""
    with filled.write() as txn:
        txn.put(Table.REPOS, b"images", b"")
        txn.put(Table.OBJECTS, b"object", b"")
    with filled.write() as txn:
        txn.delete(Table.DOCUMENTS, b"c")
        txn.delete(Table.DOCUMENTS, b"was never there")

    with filled.read() as txn:
        assert [(2, [("repos", b"images")]), (3, [("documents", b"c")])] == list(txn.changes(1))
        assert [] == list(txn.changes(3))


def test_a_transaction_without_changes_of_journaled_tables_has_no_number(index: Index) -> None:
    """Objects are indexed, nothing else."""
    with index.write() as txn:
        txn.put(Table.OBJECTS, b"object", b"")

    with index.read() as txn:
        assert 0 == txn.sequence()


def test_a_passing_state_is_in_the_change_log_and_not_in_the_outbox(index: Index) -> None:
    """A record is put with journal=False."""
    with index.write() as txn:
        txn.put(Table.DOCUMENTS, b"key", b"passing", journal=False)

    with index.read() as txn:
        assert [(1, [("documents", b"key")])] == list(txn.changes(0))
        assert 0 == txn.count(Table.OUTBOX)


def test_a_listener_that_is_too_far_behind_is_told_of_everything(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The change log keeps ten entries; somebody last looked two thousand transactions ago."""
    monkeypatch.setattr(index_module, "KEPT_CHANGES", 10)
    monkeypatch.setattr(index_module, "TRIM_EVERY", 5)
    for number in range(21):
        with index.write() as txn:
            txn.put(Table.DOCUMENTS, b"%d" % (number % 2), b"")
    with index.write() as txn:
        txn.put(Table.REPOS, b"images", b"")

    with index.read() as txn:
        assert 13 >= txn.count(Table.CHANGES)
        assert [(22, [("repos", b"images"), ("documents", b"0"), ("documents", b"1")])] == list(
            txn.changes(3)
        )
        assert [22] == [number for number, _ in txn.changes(21)]


def test_the_outbox_says_who_wrote_a_batch(filled: Index) -> None:
    """This process made a change; it lives."""
    with filled.read() as txn:
        ((_, value),) = txn.scan(Table.OUTBOX)

    is_alive, batch = split_outbox(value)

    assert is_alive
    assert (1, [("documents", key, b"value of " + key) for key in KEYS]) == decode_batch(batch)
    assert not split_outbox(bytes(12) + value[12:])[0]


def test_bytes_that_are_no_batch_are_a_store_error() -> None:
    """A journal record has other bytes in it."""
    assert (7, [("repos", b"k", None)]) == decode_batch(encode_batch(7, [("repos", b"k", None)]))
    with pytest.raises(StoreError):
        decode_batch(b"\x93\x01\x02\x03")


def test_an_index_that_was_cut_off_is_refused_and_does_not_kill_the_process(tmp_path: Path) -> None:
    """The file lost its end; reading the missing pages through the map would be a SIGBUS."""
    index = Index(tmp_path / "index")
    with index.write() as txn:
        for number in range(2000):
            txn.put(Table.DOCUMENTS, b"%d" % number, bytes(100))
    index.close()
    path = data_path(tmp_path / "index")
    os.truncate(path, path.stat().st_size // 2)

    with pytest.raises(StoreError, match="rebuild-index"):
        Index(tmp_path / "index")


def test_a_file_that_is_no_index_is_refused(tmp_path: Path) -> None:
    """Something else stands where the index was."""
    (tmp_path / "index").mkdir()
    data_path(tmp_path / "index").write_bytes(b"no database" * 1000)

    with pytest.raises(StoreError, match="rebuild-index"):
        Index(tmp_path / "index")


def test_an_error_of_lmdb_in_a_reader_is_a_store_error(index: Index) -> None:
    """LMDB finds a damaged page."""
    with pytest.raises(StoreError), index.read():
        raise lmdb.CorruptedError


def test_times_of_records_go_on_when_the_clock_goes_back(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock is set back by a day; it catches up later."""
    clock = [1_000, 500, 500, 2_000]
    monkeypatch.setattr(time, "time_ns", lambda: clock.pop(0))

    with index.write() as txn:
        first = [txn.now_ns(), txn.now_ns()]
    with index.write() as txn:
        second = [txn.now_ns(), txn.now_ns()]

    assert [1_000, 1_001, 1_002, 2_000] == [*first, *second]
