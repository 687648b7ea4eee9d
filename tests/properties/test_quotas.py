"""The room of an open commit: never too much, and exact when it is asked for."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pfsfuse.errors import PfsError, QuotaError
from pfsfuse.trees.entry import Kind
from pfsfuse.trees.tree import Trees
from pfsfuse.versions.overlay import Overlay
from pfsfuse.versions.quotas import logical_size
from pfsfuse.versions.staged import StagedDirectory, StagedFile
from tests.support.files import directory
from tests.support.objects import MemoryObjects

LIMIT = 2000

names = st.sampled_from([b"a", b"b", b"c"])
sizes = st.integers(0, 900)
operations = st.lists(
    st.one_of(
        st.tuples(st.just("write"), names, names, sizes, sizes),
        st.tuples(st.just("truncate"), names, names, sizes, st.just(0)),
        st.tuples(st.just("remove"), names, names, st.just(0), st.just(0)),
        st.tuples(st.just("remove all"), names, names, st.just(0), st.just(0)),
        st.tuples(st.just("rename"), names, names, st.just(0), st.just(0)),
        st.tuples(st.just("link"), names, names, st.just(0), st.just(0)),
    ),
    max_size=25,
)


def do(overlay: Overlay, what: str, top: bytes, name: bytes, one: int, two: int) -> None:
    """Do an operation in the directory *top*; one that makes no sense there raises."""
    if what == "remove all":
        overlay.remove_tree(overlay.root, top)
        return
    if overlay.lookup(overlay.root, top) is None:
        overlay.create(overlay.root, top, Kind.DIRECTORY, mode=0o755, uid=0, gid=0)
    below = overlay.promote(overlay.root, top)
    assert isinstance(below, StagedDirectory)
    if what == "remove":
        overlay.remove(below, name, is_directory=False)
    elif what == "rename":
        overlay.rename(below, name, overlay.root, b"moved-" + name)
    elif what == "link":
        overlay.link(overlay.promote(below, name), below, name + b"-too")
    else:
        if overlay.lookup(below, name) is None:
            overlay.create(below, name, Kind.FILE, mode=0o644, uid=0, gid=0)
        file = overlay.promote(below, name)
        assert isinstance(file, StagedFile)
        if what == "write":
            overlay.write(file, one, b"x" * two)
            overlay.save(file)
        else:
            overlay.truncate(file, one)


@given(operations)
def test_no_way_of_changing_an_open_commit_makes_it_larger_than_its_quota(
    todo: list[tuple[str, bytes, bytes, int, int]],
) -> None:
    """
    Writes, truncations, links, renames and removals in three directories over a base of 700 bytes.
    """
    objects = MemoryObjects()
    trees = Trees(objects)
    base = directory(trees, {"a/a": b"1" * 300, "b/b": b"2" * 400})
    with tempfile.TemporaryDirectory() as folder:
        overlay = Overlay(trees, base, Path(folder) / "o", objects=objects)
        overlay.room.limit = LIMIT
        for each in todo:
            before = logical_size(overlay)
            try:
                do(overlay, *each)
            except QuotaError:
                assert before == logical_size(overlay)
            except PfsError:
                continue
            assert logical_size(overlay) <= LIMIT
        left = overlay.room.left
        assert left is not None
        assert left <= LIMIT - logical_size(overlay)
        overlay.room.sum_up()
        size = logical_size(overlay)
        assert overlay.room.left == LIMIT - size
        assert size == overlay.seal().size
        overlay.discard()
