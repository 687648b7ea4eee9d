"""Files of the host into the store and out again, without a mount."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pfsfuse.errors import IsADirectoryPathError
from pfsfuse.trees.entry import Kind
from pfsfuse.versions.changesets import MakeDirectory, Put, apply_to_tree
from pfsfuse.versions.export import export, write_to
from pfsfuse.versions.ingest import Progress, Source, ingest
from tests.support.builders import World


@pytest.fixture(autouse=True)
def flushed(world: World) -> Iterator[None]:
    """What was put is in its pack when fsck looks at the end."""
    yield
    world.store.flush()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two hundred files in ten folders, one of them empty, and a large file."""
    made = tmp_path / "folder"
    for number in range(10):
        (made / f"d{number}").mkdir(parents=True)
        for file in range(20 if number else 0):
            (made / f"d{number}" / f"f{file}").write_bytes(os.urandom(file * 400))
    (made / "large").write_bytes(os.urandom(9 << 20))
    return made


def source(host: Path, *path: bytes) -> Source:
    return Source(os.fsencode(host), path)


def test_all_files_of_a_folder_come_with_their_bytes(world: World, folder: Path) -> None:
    """
    Several threads read; the tree is the same as that of the files put one by one.
    """
    made = ingest(world.store.chunks, [source(folder)], recursive=True)
    root = apply_to_tree(
        world.trees, world.store.chunks, world.trees.empty_directory(), made.changes, mtime_ns=0
    )

    expected = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert expected == world.files(root)
    assert 181 == root.files


def test_progress_ends_with_everything(world: World, folder: Path) -> None:
    """
    What is told last is what there is.
    """
    told: list[tuple[int, int]] = []

    def note(state: Progress) -> None:
        told.append((state.files, state.bytes))

    ingest(world.store.chunks, [source(folder)], recursive=True, progress=note)

    total = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert told == sorted(told)
    assert (181, total) == told[-1]


def test_a_folder_stands_behind_what_is_put_into_it(world: World, folder: Path) -> None:
    """
    Otherwise putting the files would change its time.
    """
    changes = ingest(world.store.chunks, [source(folder, b"top")], recursive=True).changes
    places = {change.path: number for number, change in enumerate(changes)}

    for change in changes:
        for length in range(1, len(change.path)):
            assert places[change.path] < places[change.path[:length]]
    assert 11 == sum(isinstance(change, MakeDirectory) for change in changes)


def test_setuid_does_not_come_with_a_file(world: World, tmp_path: Path) -> None:
    """
    The owner changes to whoever ingests; the bit would then mean another user.
    """
    (tmp_path / "f").write_bytes(b"x")
    (tmp_path / "f").chmod(0o6755)

    (change,) = ingest(world.store.chunks, [source(tmp_path / "f", b"f")]).changes

    assert isinstance(change, Put)
    assert (0o755, os.geteuid()) == (change.entry.mode, change.entry.uid)


def test_a_link_on_the_command_line_is_followed_and_one_in_a_folder_is_kept(
    world: World, tmp_path: Path
) -> None:
    """
    As cp -rH does.
    """
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "link").symlink_to("nowhere")
    (tmp_path / "to-d").symlink_to("d")

    changes = ingest(world.store.chunks, [source(tmp_path / "to-d", b"d")], recursive=True).changes

    assert [(b"d", b"link"), (b"d",)] == [change.path for change in changes]
    assert isinstance(changes[0], Put)
    assert (Kind.SYMLINK, b"nowhere") == (changes[0].entry.kind, changes[0].entry.data)


def test_a_folder_needs_to_be_asked_for(world: World, folder: Path) -> None:
    """
    Somebody forgot -r.
    """
    with pytest.raises(IsADirectoryPathError, match="-r"):
        ingest(world.store.chunks, [source(folder, b"d")])


def test_a_file_that_cannot_be_read_is_named(world: World, tmp_path: Path) -> None:
    """
    One of many files is gone before its turn.
    """
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"x")
    sources = [source(tmp_path / name, name.encode()) for name in ("a", "gone", "b")]

    with pytest.raises(FileNotFoundError) as caught:
        ingest(world.store.chunks, sources)

    assert os.fsencode(tmp_path / "gone") == caught.value.filename


def test_an_export_overwrites_files_and_replaces_links(world: World, tmp_path: Path) -> None:
    """
    The target has an older copy, with a link that points to a file of somebody else's.
    """
    root = world.tree({"a": b"new", "sub/b": b"bee"})
    (tmp_path / "out").mkdir()
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / "out" / "a").symlink_to("../precious")

    left_out = export(world.trees, root, os.fsencode(tmp_path / "out"))

    assert [] == left_out
    assert b"new" == (tmp_path / "out" / "a").read_bytes()
    assert b"precious" == (tmp_path / "precious").read_bytes()
    assert b"bee" == (tmp_path / "out" / "sub" / "b").read_bytes()


def test_the_bytes_of_a_file_are_written_from_an_offset_on(world: World) -> None:
    """
    A file of several megabytes, to a stream.
    """
    data = os.urandom(2_500_000)
    stream = io.BytesIO()

    write_to(world.trees, world.entry(data), stream, offset=1000)

    assert data[1000:] == stream.getvalue()
