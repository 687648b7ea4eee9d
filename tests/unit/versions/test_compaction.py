"""The journal of a commit that stays open for long is written anew, and nobody notices."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pfsfuse.trees.entry import Kind
from pfsfuse.versions import overlay as overlay_module
from pfsfuse.versions.compaction import KEPT, LEFT, slots_of
from pfsfuse.versions.overlay import Overlay
from pfsfuse.versions.owner import OpenCommit, Owner
from pfsfuse.versions.staged import StagedDirectory, StagedFile, StagedLeaf
from tests.support.builders import World, ref


@pytest.fixture
def opened(world: World) -> Iterator[OpenCommit]:
    """An open commit on a base of a few files."""
    world.commit({"old": b"o" * 1000, "dir/below": b"b", "dir/gone": b"g"})
    owner = Owner(world.store, world.trees)
    yield owner.start(ref())
    owner.close()


def make(overlay: Overlay, name: bytes, data: bytes) -> StagedFile:
    made = overlay.create(overlay.root, name, Kind.FILE, mode=0o640, uid=3, gid=4)
    assert isinstance(made, StagedFile)
    overlay.write(made, 0, data)
    overlay.save(made)
    overlay.bytes.rest(made)
    return made


def again(world: World, opened: OpenCommit) -> Overlay:
    """Open the staging as the next process would after this one has died."""
    base = opened.overlay.base
    return Overlay(world.trees, base, opened.overlay.scratch, objects=world.store.chunks)


def state(overlay: Overlay) -> dict[int, tuple[object, ...]]:
    """Return all that counts of every node."""
    return {
        number: (
            node.kind, node.mode, node.uid, node.gid, node.mtime_ns, node.group,
            sorted([(node.parent.number, node.name)] if node.parent else [])
            + sorted((d.number, n) for d, n in node.more_names),
            overlay.read(node, 0, node.size) if isinstance(node, StagedFile) else None,
            node.kept_prefix if isinstance(node, StagedFile) else None,
            node.target if isinstance(node, StagedLeaf) else None,
            sorted(name for name, _ in overlay.entries(node)) if isinstance(node, StagedDirectory) else None,
        )
        for number, node in overlay.nodes.items()
    }  # fmt: skip


def test_every_attribute_of_a_node_is_kept_or_left_on_purpose() -> None:
    """Who adds one to staged.py says here, by name, what becomes of it."""
    slots = slots_of(StagedDirectory) | slots_of(StagedFile) | slots_of(StagedLeaf)

    assert set() == slots - KEPT.keys() - LEFT


def test_a_journal_that_was_written_anew_says_the_same(world: World, opened: OpenCommit) -> None:
    """Small and large files, a link, a symlink, a device, something renamed, removed, and unlinked while open."""
    overlay = opened.overlay
    small = make(overlay, b"small", b"s" * 500)
    make(overlay, b"large", b"l" * 300_000)
    make(overlay, b"empty", b"")
    overlay.link(small, overlay.root, b"link")
    overlay.create(overlay.root, b"symlink", Kind.SYMLINK, mode=0o777, uid=1, gid=2, target=b"to/there")
    overlay.create(overlay.root, b"null", Kind.CHARACTER, mode=0o600, uid=0, gid=0, target=bytes(7) + b"\3")
    directory = overlay.promote(overlay.root, b"dir")
    assert isinstance(directory, StagedDirectory)
    overlay.rename(directory, b"below", overlay.root, b"above")
    overlay.remove(directory, b"gone", is_directory=False)
    unlinked = make(overlay, b"unlinked", b"u" * 700)
    overlay.remove(overlay.root, b"unlinked", is_directory=False)
    old = overlay.promote(overlay.root, b"old")
    assert isinstance(old, StagedFile)
    overlay.write(old, 1000, b"more")
    overlay.save(old)
    before = state(overlay)

    overlay.compact()
    assert before == state(overlay)
    found = again(world, opened)

    assert before == state(found)
    assert b"u" * 700 == found.read(found.nodes[unlinked.number], 0, 700)  # type: ignore[arg-type]
    assert found.next_number == overlay.next_number
    make(overlay, b"later", b"x")
    assert state(overlay) == state(again(world, opened))


def test_a_journal_that_grows_is_compacted_by_itself(
    world: World, opened: OpenCommit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand files are written and removed; a few stay."""
    monkeypatch.setattr(overlay_module, "_COMPACTED_FROM", 100_000)
    opened.overlay._compact_at = 100_000
    longest = 0
    for number in range(1000):
        make(opened.overlay, b"f%d" % number, b"%d" % number * 200)
        if number % 50:
            node = opened.overlay.lookup(opened.overlay.root, b"f%d" % number)
            opened.overlay.remove(opened.overlay.root, b"f%d" % number, is_directory=False)
            assert isinstance(node, StagedFile)
            opened.overlay.forget(node)
        longest = max(longest, opened.overlay.journal.end)

    found = again(world, opened)

    assert longest < 130_000
    assert opened.overlay.journal.path.stat().st_size == opened.overlay.journal.end
    # What was forgotten in between has no name, and nobody asks for it.
    named = {number: what for number, what in state(found).items() if number in opened.overlay.nodes}
    assert state(opened.overlay) == named
    assert len(found.nodes) < 300


def test_a_draft_that_a_crash_left_is_ignored(world: World, opened: OpenCommit) -> None:
    """The process died before the new journal had its name."""
    make(opened.overlay, b"a", b"1" * 100)
    (opened.overlay.scratch / "journal.new").write_bytes(b"half of it")

    found = again(world, opened)

    assert state(opened.overlay) == state(found)
    opened.overlay.compact()
    assert state(opened.overlay) == state(again(world, opened))
    assert not (opened.overlay.scratch / "journal.new").exists()


def test_a_full_disk_leaves_the_old_journal(small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    """There is room for the files, and none for writing their bytes twice."""
    world = World(small_disk / "store")
    world.commit({"a": b"1"})
    owner = Owner(world.store, world.trees)
    opened = owner.start(ref())
    for number in range(4):
        make(opened.overlay, b"f%d" % number, bytes(range(250)) * 300)
    room = small_disk.joinpath("filler")
    with pytest.raises(OSError, match="No space"), open(room, "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    before = state(opened.overlay)

    opened.overlay.compact()

    assert "stays long" in caplog.text
    assert before == state(opened.overlay) == state(again(world, opened))
    room.unlink()
    owner.drop(opened)
    owner.close()
    world.close()


def test_what_is_being_sealed_is_not_compacted(world: World, opened: OpenCommit) -> None:
    """Another thread reads from the journal; the rewrite waits for another time."""
    make(opened.overlay, b"a", b"1" * 100)
    with opened.overlay._sealing:
        opened.overlay.compact()

    assert 0 == opened.overlay.journal.generation
    opened.overlay.compact()
    assert 1 == opened.overlay.journal.generation
