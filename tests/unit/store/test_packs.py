"""Packs: what is appended stays, whatever happens to the writer."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pfsfuse.errors import OutOfSpaceError, StoreError
from pfsfuse.ids import chunk_id
from pfsfuse.store import packs
from pfsfuse.store.objects import ObjectKind
from pfsfuse.store.packs import (
    DamagedPackError,
    PackFile,
    PackReader,
    PackWriter,
    TornPackError,
    find_next_record,
    packs_in,
    read_footer,
    scan,
    scan_headers,
)
from pfsfuse.store.store import Store
from tests.support.builders import flip

STORE = bytes(range(16))
OTHER_STORE = bytes(16)


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[PackWriter]:
    """A new pack."""
    made = PackWriter(tmp_path, 1, STORE)
    yield made
    if made.fd >= 0:
        made.close()


def append(writer: PackWriter, data: bytes) -> packs.Location:
    """Append an object."""
    return writer.append(ObjectKind.CHUNK, 0, data, raw=len(data), object_id=chunk_id(data))


def payloads(pack: PackFile, start: int = packs.HEADER.size) -> list[bytes]:
    """Return what a scan finds."""
    return [payload for _, payload in scan(pack, start)]


def test_a_scan_finds_all_that_was_appended(writer: PackWriter) -> None:
    """A writer appends three objects, an empty one among them, and closes."""
    for data in (b"one", b"", b"three"):
        append(writer, data)
    writer.close()

    assert [b"one", b"", b"three"] == payloads(writer.pack)
    assert [r for r, _ in scan(writer.pack)] == list(scan_headers(writer.pack))


def test_what_is_buffered_can_be_read_by_its_writer(writer: PackWriter) -> None:
    """The bytes of an object are not in the file yet."""
    location = append(writer, b"fresh")

    assert b"fresh" == writer.buffered(location)
    writer.write_out()
    assert writer.buffered(location) is None
    assert b"fresh" == PackReader(writer.path.parent).read(location)


@pytest.mark.parametrize("lost", [1, 20, 56, 59])
def test_a_torn_tail_is_cut_off_and_the_pack_goes_on(writer: PackWriter, lost: int) -> None:
    """A crash left only part of the last record in the file."""
    append(writer, b"whole")
    append(writer, b"torn")
    writer.close()
    os.truncate(writer.path, writer.path.stat().st_size - lost)

    again = PackWriter(writer.path.parent, 1, STORE)
    append(again, b"later")
    again.close()

    assert [b"whole", b"later"] == payloads(writer.pack)


def test_a_pack_whose_first_writer_left_no_header_is_begun_anew(writer: PackWriter) -> None:
    """A process died when it had made the file and written nothing."""
    writer.close()
    os.truncate(writer.path, 10)

    again = PackWriter(writer.path.parent, 1, STORE)
    append(again, b"first")
    again.close()

    assert [b"first"] == payloads(writer.pack)


def test_a_pack_with_records_behind_damage_is_never_cut(writer: PackWriter) -> None:
    """A bit flips in the middle of an unsealed pack; whole records behind it are in the index."""
    damaged = append(writer, b"x" * 100)
    append(writer, b"still here")
    writer.close()
    flip(writer.path, damaged.offset + 3)
    size = writer.path.stat().st_size

    with pytest.raises(DamagedPackError):
        PackWriter(writer.path.parent, 1, STORE)

    assert size == writer.path.stat().st_size
    after = find_next_record(writer.pack, damaged.offset)
    assert after is not None
    assert [b"still here"] == payloads(writer.pack, after)


def test_records_behind_a_gap_are_cut_off_if_nothing_refers_to_them(writer: PackWriter) -> None:
    """A power cut took the middle of what was not synced, and left its end."""
    durable = append(writer, b"durable")
    lost = append(writer, b"x" * 100)
    append(writer, b"never synced")
    writer.close()
    flip(writer.path, lost.offset + 3)

    again = PackWriter(writer.path.parent, 1, STORE, durable_end=lambda: durable.offset + durable.stored)
    append(again, b"next")
    again.close()

    assert [b"durable", b"next"] == payloads(writer.pack)


def test_damage_of_what_something_refers_to_is_never_cut_off_not_even_at_the_end(writer: PackWriter) -> None:
    """A bit flips in the last record, which is in the index."""
    last = append(writer, b"x" * 100)
    writer.close()
    flip(writer.path, last.offset + 3)
    before = writer.path.read_bytes()

    with pytest.raises(DamagedPackError):
        PackWriter(writer.path.parent, 1, STORE, durable_end=lambda: last.offset + last.stored)

    assert before == writer.path.read_bytes()


def test_a_writer_with_a_checkpoint_reads_only_what_is_behind_it(writer: PackWriter) -> None:
    """An earlier writer made two records durable; the second of two more is torn, and the first damaged."""
    damaged = append(writer, b"x" * 100)
    append(writer, b"durable")
    writer.sync()
    checkpoint = writer.checkpoint
    append(writer, b"after")
    append(writer, b"torn")
    writer.close()
    os.truncate(writer.path, writer.path.stat().st_size - 1)
    flip(writer.path, damaged.offset + 3)

    again = PackWriter(writer.path.parent, 1, STORE, checkpoint=checkpoint)
    append(again, b"later")
    again.seal()
    again.close()

    assert checkpoint is not None
    assert [b"after", b"later"] == payloads(writer.pack, checkpoint)
    listed = read_footer(writer.pack)
    assert listed is not None
    assert [chunk_id(d) for d in (b"x" * 100, b"durable", b"after", b"later")] == [
        r.object_id for r in listed
    ]


def test_a_pack_that_ends_before_its_checkpoint_is_not_written(writer: PackWriter) -> None:
    """Somebody cut the file."""
    append(writer, b"x" * 100)
    writer.sync()
    checkpoint = writer.checkpoint
    writer.close()
    os.truncate(writer.path, writer.path.stat().st_size - 1)

    with pytest.raises(DamagedPackError):
        PackWriter(writer.path.parent, 1, STORE, checkpoint=checkpoint)


def test_a_scan_names_the_first_byte_of_damage_and_gives_what_is_before(writer: PackWriter) -> None:
    """The second of three records has a flipped bit in its header."""
    first = append(writer, b"first")
    second = append(writer, b"second")
    append(writer, b"third")
    writer.close()
    flip(writer.path, second.offset - 30)
    found: list[bytes] = []

    with pytest.raises(TornPackError) as caught:
        found.extend(payload for _, payload in scan(writer.pack))

    assert first.offset + first.stored == caught.value.offset


def test_a_length_that_points_far_away_is_damage(writer: PackWriter) -> None:
    """The length of a record has its highest bit flipped: 2 GiB would have to be read."""
    location = append(writer, b"data")
    writer.close()
    flip(writer.path, location.offset - packs.RECORD.size + 11, bit=7)

    with pytest.raises(TornPackError):
        payloads(writer.pack)


def test_records_of_a_pack_kept_as_a_file_are_not_taken_for_records(tmp_path: Path) -> None:
    """Somebody stores a copy of another store's pack; then damage hits the record that holds it."""
    (tmp_path / "other").mkdir()
    other = PackWriter(tmp_path / "other", 1, OTHER_STORE)
    append(other, b"a record of the other store")
    other.close()
    writer = PackWriter(tmp_path, 1, STORE)
    location = append(writer, other.path.read_bytes())
    append(writer, b"next")
    writer.close()
    flip(writer.path, location.offset - 20)

    found = find_next_record(writer.pack, packs.HEADER.size)

    assert location.offset + location.stored == found


def test_a_pack_of_another_store_is_refused(tmp_path: Path, writer: PackWriter) -> None:
    """A pack was copied from one store into another."""
    append(writer, b"data")
    writer.close()

    with pytest.raises(TornPackError):
        PackWriter(tmp_path, 1, OTHER_STORE)


def test_a_sealed_pack_lists_what_is_in_it(writer: PackWriter) -> None:
    """A pack with two objects is sealed."""
    append(writer, b"one")
    append(writer, b"two")
    writer.seal()
    writer.close()

    assert [record for record, _ in scan(writer.pack)] == read_footer(writer.pack)


def test_a_footer_lists_also_what_earlier_writers_appended(writer: PackWriter) -> None:
    """One process appends and ends, the next one appends and seals."""
    append(writer, b"one")
    writer.close()
    again = PackWriter(writer.path.parent, 1, STORE)
    append(again, b"two")
    again.seal()
    again.close()

    listed = read_footer(writer.pack)

    assert listed is not None
    assert [chunk_id(b"one"), chunk_id(b"two")] == [record.object_id for record in listed]


@pytest.mark.parametrize("distance", [1, 9, 20, 60, 100])
def test_a_damaged_footer_is_no_footer(writer: PackWriter, distance: int) -> None:
    """A bit flips at some distance from the end of a sealed pack."""
    append(writer, b"one")
    writer.seal()
    writer.close()

    flip(writer.path, writer.path.stat().st_size - distance)

    assert read_footer(writer.pack) is None


def test_a_second_writer_is_told_that_the_pack_is_taken(writer: PackWriter) -> None:
    """Two writers want the same pack; flock tells open files apart, in one process, too."""
    with pytest.raises(BlockingIOError):
        PackWriter(writer.path.parent, 1, STORE)


def test_a_process_leaves_alone_the_pack_that_another_writes(tmp_path: Path) -> None:
    """There is one unsealed pack, and somebody holds its lock."""
    store = Store(tmp_path)
    store.chunks.put(b"one" * 100, ObjectKind.CHUNK)
    store.close()
    other = PackWriter(tmp_path / "packs", 1, store.id)
    store = Store(tmp_path)

    store.chunks.put(b"other" * 100, ObjectKind.CHUNK)
    store.flush()

    assert 1 == store.chunks.locate(chunk_id(b"one" * 100)).pack
    assert 2 == store.chunks.locate(chunk_id(b"other" * 100)).pack
    assert 2 == len(packs_in(tmp_path / "packs", store.id))
    store.close()
    other.close()


def test_a_pack_that_was_let_go_is_taken_by_the_next_process(tmp_path: Path) -> None:
    """Ten processes, one after the other, put one object each."""
    for number in range(10):
        store = Store(tmp_path)
        store.chunks.put(b"%d" % number, ObjectKind.CHUNK)
        store.close()

    assert 1 == len(list((tmp_path / "packs").iterdir()))


def test_a_reader_keeps_a_bounded_number_of_packs_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store has more packs than a process may have descriptors."""
    monkeypatch.setattr(packs, "_OPEN_PACKS", 3)
    locations = []
    for number in range(8):
        made = PackWriter(tmp_path, number, STORE)
        locations.append(append(made, b"%d" % number))
        made.close()
    reader = PackReader(tmp_path)
    before = len(os.listdir("/proc/self/fd"))

    read = [reader.read(location) for location in [*locations, *locations]]

    assert [b"%d" % number for number in range(8)] * 2 == read
    assert len(os.listdir("/proc/self/fd")) <= before + 3


def test_a_missing_pack_is_a_store_error_that_names_it(tmp_path: Path) -> None:
    """A pack was removed by hand."""
    with pytest.raises(StoreError, match="00000007"):
        PackReader(tmp_path).read(packs.Location(7, 100, 1, 1, 0, 1))


_FILLS_THE_DISK = """
import resource, signal, sys
from pathlib import Path
from pfsfuse.errors import OutOfSpaceError
from pfsfuse.ids import chunk_id
from pfsfuse.store.packs import PackWriter, scan
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
writer = PackWriter(Path(sys.argv[1]), 1, bytes(range(16)))
data = bytes(100_000)
def append(n):
    piece = n.to_bytes(4, "little") + data
    writer.append(1, 0, piece, raw=len(piece), object_id=chunk_id(piece))
append(0); writer.sync()
resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, resource.RLIM_INFINITY))
append(1)
import os
try:
    writer.sync()
except Exception as error:
    print(type(error).__name__, os.path.getsize(writer.path))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
writer.sync(); writer.close()
print(len(list(scan(writer.pack))))
"""


def test_a_failed_write_leaves_the_pack_as_it_was_and_can_be_retried(tmp_path: Path) -> None:
    """
    The file may not grow any more in the middle of a record (RLIMIT_FSIZE), and then may again.
    """
    done = subprocess.run(
        [sys.executable, "-c", _FILLS_THE_DISK, os.fspath(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )

    size = packs.HEADER.size + packs.RECORD.size + 100_004
    assert [f"StoreError {size}", "2"] == done.stdout.split("\n")[:2]


def test_a_full_disk_is_an_out_of_space_error(small_disk: Path) -> None:
    """A pack grows on a disk of 1 MiB."""
    writer = PackWriter(small_disk, 1, STORE)

    with pytest.raises(OutOfSpaceError):
        for number in range(20):
            append(writer, number.to_bytes(4, "little") + bytes(100_000))
            writer.write_out()
    written = len(payloads(writer.pack))
    (small_disk / "ballast").unlink()
    writer.sync()
    writer.close()

    assert len(payloads(writer.pack)) == written + 1
