"""The journal of an open commit."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pfsfuse.errors import StoreError
from pfsfuse.store import boot
from pfsfuse.versions.journal import Journal, damage_in
from tests.support.builders import flip

RECORDS = [b"one", b"", b"three" * 100]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal with three records."""
    folder = tmp_path / "staging" / "commit"
    folder.mkdir(parents=True)
    journal = Journal(folder / "journal")
    for record in RECORDS:
        journal.append(record)
    journal.close()
    return folder / "journal"


def payloads(path: Path) -> list[bytes]:
    """Replay a journal."""
    journal = Journal(path)
    found = [payload for _, payload in journal.replay()]
    journal.close()
    return found


def test_a_journal_gives_its_records_back_in_order(path: Path) -> None:
    """It is closed and replayed."""
    assert RECORDS == payloads(path)
    assert damage_in(path) is None


def test_after_any_cut_the_whole_records_before_it_are_there(path: Path) -> None:
    """A crash tore the file at any byte; the next record goes behind the last whole one."""
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert damage_in(path) is None

        found = payloads(path)

        assert RECORDS[: len(found)] == found
        journal = Journal(path)
        list(journal.replay())
        journal.append(b"next")
        journal.close()
        assert [*found, b"next"] == payloads(path)


@pytest.mark.parametrize("offset", [0, 5, 10, 16, 18])
def test_damage_before_the_end_is_told_from_a_torn_end(
    path: Path, offset: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A bit flips in the first record: what is lost is kept in a copy, and the log says so."""
    flip(path, offset)
    before = path.read_bytes()

    assert 0 == damage_in(path)
    assert [] == payloads(path)

    assert before == (path.parent.parent / "damaged-commit").read_bytes()
    assert "is damaged at byte 0" in caplog.text


def test_a_record_larger_than_the_usual_is_replayed(tmp_path: Path) -> None:
    """A file with millions of written ranges has a long record."""
    journal = Journal(tmp_path / "journal")
    journal.append(bytes(70 << 20))
    journal.append(b"next")
    journal.close()

    assert [70 << 20, 4] == [len(payload) for payload in payloads(tmp_path / "journal")]


def test_a_closed_journal_writes_nowhere(path: Path) -> None:
    """The journal is closed, and its descriptor's number means another file now."""
    journal = Journal(path)
    list(journal.replay())
    journal.close()
    other = os.open(path.parent / "other", os.O_RDWR | os.O_CREAT)

    with pytest.raises(StoreError, match="is closed"):
        journal.append(b"stray")
    journal.sync()

    assert 0 == os.fstat(other).st_size
    os.close(other)


@pytest.fixture
def rebooted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that says that the machine was started anew, once it is used as `boot.BOOT_ID`."""
    made = tmp_path / "boot_id"
    made.write_text("00000000-0000-4000-8000-000000000000")
    return made


def gap(path: Path, start: int, end: int) -> None:
    """Have a part of the file be as if it had never come to the disk."""
    with open(path, "r+b") as file:
        file.seek(start)
        file.write(bytes(end - start))


def test_a_gap_in_what_was_not_synced_is_no_damage_after_a_power_cut(
    path: Path, rebooted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The middle of the journal did not come to the disk, its end did."""
    places = [offset for offset, _ in Journal(path).replay()]
    gap(path, places[1] - 16, places[1])
    assert damage_in(path) is not None

    monkeypatch.setattr(boot, "BOOT_ID", rebooted)

    assert damage_in(path) is None
    assert RECORDS[:1] == payloads(path)
    assert not (path.parent.parent / "damaged-commit").exists()


def test_a_gap_in_what_was_synced_is_damage_also_after_a_power_cut(
    path: Path, rebooted: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A later mark says that the gap was durable when it was written."""
    journal = Journal(path)
    places = [offset for offset, _ in journal.replay()]
    journal.sync()
    journal.append(b"four")
    journal.sync()
    journal.close()
    gap(path, places[1] - 16, places[1])

    monkeypatch.setattr(boot, "BOOT_ID", rebooted)

    assert damage_in(path) is not None
    assert RECORDS[:1] == payloads(path)
    assert "is damaged" in caplog.text


def test_after_a_failed_sync_no_later_one_says_that_all_is_well(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel forgets what it could not write, and reports it once."""
    journal = Journal(path)
    list(journal.replay())

    def fail(fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fail)
        with pytest.raises(StoreError):
            journal.sync()
    with pytest.raises(StoreError):
        journal.sync()
