"""One flipped bit anywhere: nothing crashes, fsck names what is lost, the rest is readable, repair mends."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import lmdb
import pytest

from pfsfuse.errors import StoreError
from pfsfuse.store.index import Table
from pfsfuse.store.objects import ObjectKind
from pfsfuse.store.packs import HEADER, JOURNAL, RECORD, TRAILER, PackFile, Record, packs_in, scan
from pfsfuse.store.store import UnknownFormatError
from pfsfuse.trees.contents import Contents
from pfsfuse.trees.entry import Kind
from pfsfuse.trees.reader import Reader
from pfsfuse.versions.branches import branches
from pfsfuse.versions.commits import commit
from pfsfuse.versions.fsck import examine
from pfsfuse.versions.owner import Owner
from pfsfuse.versions.repair import repair
from pfsfuse.versions.repos import repos
from tests.support.builders import World, assert_sound, flip, ref

BIG = os.urandom(20_000) + b"".join(b"line %d\n" % n for n in range(120_000))
FILES = {
    "images": {"small": b"x" * 1000, "dir/big": BIG, "dir/tiny": b"t", **{f"many/{n}": b"%d" % n for n in range(200)}},
    "models": {"other": b"y" * 1000},
}  # fmt: skip


@pytest.fixture
def hurt(world: World) -> World:
    """A store with two repos, to be damaged."""
    for repo, files in FILES.items():
        world.commit(files, repo=repo)
    world.is_damaged = True
    return world


def seal(world: World) -> None:
    """Seal the pack that the store appends to."""
    writer = world.store.chunks._writer
    assert writer is not None
    writer.seal()
    world.store.chunks._sealed.append(writer.number)
    world.store.chunks._writer = None
    with world.store.write():
        pass


def record_of(world: World, kind: int) -> tuple[PackFile, Record]:
    """Return the first record of a kind."""
    return next(
        (pack, record)
        for pack in packs_in(world.store.packs, world.store.id)
        for record, _ in scan(pack)
        if record.kind == kind
    )


def readable(world: World) -> dict[str, dict[str, bytes | None]]:
    """Read every file of every head; None for one that cannot be read, and no entry for one that is not found."""
    found: dict[str, dict[str, bytes | None]] = {}
    with world.store.read() as txn:
        heads = [
            commit(txn, line.repo, line.head)
            for repo in repos(txn)
            for line in branches(txn, repo.name)
            if line.head is not None
        ]
    for head in heads:
        assert head.root is not None
        found[head.repo] = {}
        for path in FILES[head.repo]:
            try:
                entry = world.trees.resolve(head.root, tuple(path.encode().split(b"/")))
                assert entry is not None
                found[head.repo][path] = world.read(entry)
            except StoreError:
                found[head.repo][path] = None
    return found


def lost_paths(world: World) -> set[str]:
    """Return the files that fsck says are hurt."""
    world.reopen()
    lost = set()
    for loss in examine(world.store, world.trees, verify_data=True).losses:
        name = f"{loss.repo}/{loss.path.decode()}"
        if loss.ranges:
            lost.add(name)
            continue
        for path in (f"{loss.repo}/{path}" for path in FILES[loss.repo]):
            rest = path.removeprefix(f"{name.rstrip('/')}/")
            first = rest.split("/")[0].encode()
            after, upto = loss.after or b"", loss.upto or b"\xff"
            if rest != path and after < first <= upto:
                lost.add(path)
    return lost


PLACES = {
    "magic": 0, "kind": 4, "codec": 5, "zero": 6, "stored": 8, "raw": 12, "id": 16, "checksum": 48,
    "payload": RECORD.size + 5,
}  # fmt: skip

KINDS = {
    "chunk": ObjectKind.CHUNK,
    "directory": ObjectKind.DIRECTORY_NODE,
    "list": ObjectKind.CHUNK_LIST,
    "batch": JOURNAL,
}


@pytest.mark.parametrize("is_sealed", [False, True], ids=["unsealed", "sealed"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit_in_a_record_hurts_what_fsck_says_and_nothing_else(
    hurt: World, kind: str, place: str, is_sealed: bool
) -> None:
    """A bit of a header or of a payload is wrong; then the store is repaired and the bytes are put again."""
    if is_sealed:
        seal(hurt)
    pack, record = record_of(hurt, KINDS[kind])
    whole = hurt.store.chunks.get(record.object_id) if kind != "batch" else b""
    flip(pack.path, record.offset - RECORD.size + PLACES[place])
    hurt.reopen()

    found = {problem.invariant for problem in hurt.fsck()}
    lost = lost_paths(hurt)
    read = {f"{repo}/{path}": data for repo, files in readable(hurt).items() for path, data in files.items()}

    assert found <= {"P1", "S1", "T1", "D1"}
    assert "P1" in found
    for path, data in read.items():
        repo, _, name = path.partition("/")
        assert (None if path in lost else FILES[repo][name]) == data
    assert bool(lost) == (place == "payload" and kind != "batch")

    report = hurt.repair()

    assert report.after is not None
    left = {problem.invariant for problem in report.after.problems}
    assert ({"T1"} if lost else set()) == left
    if lost:
        hurt.store.chunks.put(whole, ObjectKind(record.kind))
        hurt.store.flush()
    assert_sound(hurt)
    assert FILES == readable(hurt)


@pytest.mark.parametrize("at", range(0, HEADER.size, 5))
def test_a_flipped_bit_in_the_header_of_a_pack_is_mended(hurt: World, at: int) -> None:
    """The header says another number, another store, or nothing."""
    pack, _ = record_of(hurt, JOURNAL)
    flip(pack.path, at)
    hurt.reopen()

    assert {"P1"} == {problem.invariant for problem in hurt.fsck()}
    assert FILES == readable(hurt)

    assert ["P1"] == [mending.invariant for mending in hurt.repair().mendings]
    assert_sound(hurt)


@pytest.mark.parametrize("behind", [1, 9, TRAILER.size + 5, TRAILER.size + 60])
def test_a_flipped_bit_in_a_footer_is_mended(hurt: World, behind: int) -> None:
    """The trailer or the list of a sealed pack is wrong: nothing is lost."""
    seal(hurt)
    pack, _ = record_of(hurt, JOURNAL)
    whole = pack.path.read_bytes()
    flip(pack.path, len(whole) - behind)
    hurt.reopen()

    assert {"P1"} == {problem.invariant for problem in hurt.fsck()}
    assert FILES == readable(hurt)

    assert ["P1"] == [mending.invariant for mending in hurt.repair().mendings]
    assert whole == pack.path.read_bytes()
    assert_sound(hurt)


# The index


def values(world: World, table: Table) -> Iterator[tuple[bytes, bytes]]:
    with world.store.read() as txn:
        yield from list(txn.scan(table))


def rewrite(world: World, table: Table, change: Callable[[bytes], bytes], *, number: int = 0) -> bytes:
    """Change one value of a table behind the store's back; return its key."""
    key, value = list(values(world, table))[number]
    world.store.close()
    env = lmdb.open(str(world.root / "index"), map_size=1 << 30, max_dbs=len(Table))
    with env.begin(write=True) as txn:
        txn.put(key, change(value), db=env.open_db(table.label.encode(), txn=txn))
    env.close()
    world.open()
    return key


def with_bit(at: int) -> Callable[[bytes], bytes]:
    """Return a function that flips a bit of a value: *at* thousandths of its length from the front."""

    def change(value: bytes) -> bytes:
        data = bytearray(value)
        data[min(len(data) - 1, len(data) * at // 1000)] ^= 0x11
        return bytes(data)

    return change


@pytest.mark.parametrize("at", [0, 200, 400, 600, 800, 999])
@pytest.mark.parametrize(
    "table", [Table.REPOS, Table.BRANCHES, Table.COMMITS, Table.DOCUMENTS], ids=lambda t: t.label
)
def test_a_flipped_bit_in_a_record_of_the_index_is_mended_from_the_journal(
    hurt: World, table: Table, at: int
) -> None:
    """A repo, a branch, a commit or a document is not as it was written; its batch is in the packs."""
    with hurt.store.write() as txn:
        txn.put(Table.DOCUMENTS, b"note\0a", b"\x93\xa5hello\xa5world\xa1!")
    before = dict(values(hurt, table))
    rewrite(hurt, table, with_bit(at))

    named = {problem.invariant for problem in hurt.fsck()}
    report = hurt.repair()

    assert report.after is not None
    assert [] == report.after.problems
    if table is not Table.DOCUMENTS:
        assert named & {"D1", "F1"}
        assert before == dict(values(hurt, table))
        assert FILES == readable(hurt)


@pytest.mark.parametrize("at", [0, 250, 500, 600, 800, 999])
@pytest.mark.parametrize("number", [0, 3])
def test_a_flipped_bit_in_a_place_of_the_index_is_mended_from_the_packs(
    hurt: World, at: int, number: int
) -> None:
    """The index says that an object is elsewhere, longer, or another kind: pack, offset, lengths, codec, kind."""
    before = dict(values(hurt, Table.OBJECTS))
    rewrite(hurt, Table.OBJECTS, with_bit(at), number=number)

    assert {problem.invariant for problem in hurt.fsck()} & {"S1", "S2"}

    report = hurt.repair()

    assert report.after is not None
    assert [] == report.after.problems
    assert before == dict(values(hurt, Table.OBJECTS))
    assert FILES == readable(hurt)


@pytest.mark.parametrize("at", [550, 750, 920, 999], ids=["stored", "raw", "codec", "kind"])
def test_an_object_is_read_although_the_index_says_wrongly_how_it_is_stored(hurt: World, at: int) -> None:
    """The lengths, the codec or the kind in the index have a flipped bit: the record in the pack knows better."""
    for number in range(len(list(values(hurt, Table.OBJECTS)))):
        rewrite(hurt, Table.OBJECTS, with_bit(at), number=number)

    assert FILES == readable(hurt)


@pytest.mark.parametrize(
    "table", [Table.META, Table.PACKS, Table.CHANGES, Table.OUTBOX], ids=lambda t: t.label
)
@pytest.mark.parametrize("at", [0, 300, 600, 999])
def test_a_flipped_bit_in_the_books_of_the_index_is_mended(
    hurt: World, table: Table, at: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Numbers of batches and packs, states of packs, the change log, a batch that waits for its pack."""
    if table is Table.OUTBOX:
        with hurt.store._index.write() as txn:
            txn.put(Table.DOCUMENTS, b"note\0a", b"\xa5hello")
    number = 0
    while number < len(list(values(hurt, table))):
        rewrite(hurt, table, with_bit(at), number=number)
        number += 1
        with hurt.store.read() as txn:
            list(txn.changes(0))
        hurt.fsck()
        report = hurt.repair()

        assert report.after is not None
        assert [] == report.after.problems
        assert FILES == readable(hurt)
    hurt.commit({"after": b"1"}, repo="models")


# The rest


@pytest.mark.parametrize("at", range(0, 430, 12))
def test_a_flipped_bit_in_the_format_file_is_named_and_the_id_comes_back(hurt: World, at: int) -> None:
    """Without the right id every pack looks like that of another store."""
    path = hurt.root / "format.json"
    whole = path.read_bytes()
    hurt.store.close()
    flip(path, min(at, len(whole) - 1), bit=1)

    try:
        report = repair(hurt.root)
    except UnknownFormatError as error:
        # It says another format or other cuts, in good JSON: then it may be right.
        assert "format" in str(error) or "cuts" in str(error)
        path.write_bytes(whole)
        report = repair(hurt.root)

    hurt.open()
    assert report.after is not None
    assert [] == report.after.problems
    assert FILES == readable(hurt)


@pytest.mark.parametrize("at", [0, 4, 8, 20])
def test_a_flipped_bit_in_a_staging_journal_keeps_what_was_before(
    hurt: World, at: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The second of three records is damaged: magic, length, checksum, payload."""
    owner = Owner(hurt.store, hurt.trees)
    opened = owner.start(ref("models"))
    ends = []
    for name in (b"one", b"two", b"three"):
        opened.overlay.create(opened.overlay.root, name, Kind.FILE, mode=0o644, uid=0, gid=0)
        ends.append(opened.overlay.journal.path.stat().st_size)
    owner.close(half=[ref("models")])
    flip(opened.overlay.journal.path, ends[0] + at)
    hurt.reopen()

    assert {"O2"} == {problem.invariant for problem in hurt.fsck()}

    report = hurt.repair()
    owner = Owner(hurt.store, hurt.trees)
    owner.recover()
    found = owner.find(ref("models"))

    assert report.after is not None
    assert [] == report.after.problems
    assert found is not None
    assert {b"one", b"other"} == {name for name, _ in found.overlay.entries(found.overlay.root)}
    assert list(hurt.store.staging.glob("damaged-*"))
    owner.drop(found)
    owner.close()


def test_the_bytes_beside_a_lost_range_of_a_file_are_readable(hurt: World) -> None:
    """One chunk in the middle of a file of several is damaged: the report names its bytes exactly."""
    with hurt.store.read() as txn:
        head = commit(txn, ref().repo, next(iter(branches(txn, ref().repo))).head or b"")  # type: ignore[arg-type]
    assert head.root is not None
    entry = hurt.trees.resolve(head.root, (b"dir", b"big"))
    assert entry is not None
    reader = Reader(hurt.store.chunks, Contents.of(entry))
    key, start, length = reader.layout.find(200_000)
    location = hurt.store.chunks.locate(key)
    flip(PackFile(hurt.store.packs, location.pack, hurt.store.id).path, location.offset + 3)
    hurt.reopen()

    (loss,) = examine(hurt.store, hurt.trees, verify_data=True).losses

    assert (b"dir/big", [(start, start + length)], len(BIG)) == (loss.path, loss.ranges, loss.size)
    assert [head.id] == loss.commits
    reader = Reader(hurt.store.chunks, Contents.of(entry))
    assert BIG[:start] == reader.read(0, start)
    assert BIG[start + length :] == reader.read(start + length, len(BIG))
    with pytest.raises(StoreError):
        reader.read(start + length - 1, 1)
