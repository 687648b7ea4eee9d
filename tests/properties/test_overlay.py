"""
An open commit against a dictionary of paths.

Whatever is done to it, looking, sealing, and recovering after a crash show what the dictionary has.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from unittest import mock

from hypothesis import example, given, settings
from hypothesis import strategies as st

from pfsfuse.errors import PfsError
from pfsfuse.trees.contents import Contents
from pfsfuse.trees.entry import Entry, Kind
from pfsfuse.trees.tree import Trees
from pfsfuse.versions import staged_bytes
from pfsfuse.versions.changesets import (
    Append,
    Change,
    Delete,
    MakeDirectory,
    Put,
    PutTree,
    apply_to_overlay,
    apply_to_tree,
)
from pfsfuse.versions.overlay import Overlay
from pfsfuse.versions.staged import Node, StagedDirectory, StagedFile
from tests.support.objects import MemoryObjects

Path_ = tuple[bytes, ...]
Model = dict[Path_, bytes | None]
"""Files with their bytes, directories with None."""

SMALL = 40
"""Files above this many bytes are staged as ranges, so that both ways are gone often."""

names = st.sampled_from([b"a", b"b", b"c"])
paths = st.lists(names, min_size=1, max_size=3).map(tuple)
offsets = st.integers(0, 90)
pieces = st.binary(min_size=1, max_size=60)

operations = st.one_of(
    st.tuples(st.just("create"), paths, pieces),
    st.tuples(st.just("mkdir"), paths),
    st.tuples(st.just("write"), paths, offsets, pieces),
    st.tuples(st.just("truncate"), paths, offsets),
    st.tuples(st.just("rename"), paths, paths),
    st.tuples(st.just("remove"), paths),
    st.tuples(st.just("rmdir"), paths),
    st.tuples(st.just("append"), paths, pieces),
    st.tuples(st.just("put"), paths, pieces),
    st.tuples(st.just("chmod"), paths, st.integers(0, 0o777)),
)


with_compaction = st.one_of(operations, st.just(("compact",)))
"""The journal is written anew at any moment; the dictionary does not notice."""


class ModelError(Exception):
    """The dictionary says that this cannot be done."""


class ModelTree:
    """What a directory does, on a dictionary."""

    def __init__(self, paths_and_bytes: Model | None = None) -> None:
        self.paths: Model = dict(paths_and_bytes or {})

    def is_directory(self, path: Path_) -> bool:
        return not path or (path in self.paths and self.paths[path] is None)

    def children(self, path: Path_) -> list[Path_]:
        return [other for other in self.paths if len(other) > len(path) and other[: len(path)] == path]

    def compact(self) -> None:
        pass

    def need_parent(self, path: Path_) -> None:
        if not self.is_directory(path[:-1]):
            raise ModelError

    def need_file(self, path: Path_) -> bytes:
        data = self.paths.get(path)
        if data is None:
            raise ModelError
        return data

    def create(self, path: Path_, data: bytes) -> None:
        self.need_parent(path)
        if path in self.paths:
            raise ModelError
        self.paths[path] = data

    def mkdir(self, path: Path_) -> None:
        self.need_parent(path)
        if path in self.paths:
            raise ModelError
        self.paths[path] = None

    def write(self, path: Path_, offset: int, data: bytes) -> None:
        old = self.need_file(path)
        self.paths[path] = old[:offset].ljust(offset, b"\0") + data + old[offset + len(data) :]

    def truncate(self, path: Path_, size: int) -> None:
        self.paths[path] = self.need_file(path)[:size].ljust(size, b"\0")

    def append(self, path: Path_, data: bytes) -> None:
        self.paths[path] = self.need_file(path) + data

    def put(self, path: Path_, data: bytes) -> None:
        self.need_parent(path)
        if self.is_directory(path):
            raise ModelError
        self.paths[path] = data

    def chmod(self, path: Path_, mode: int) -> None:
        if path not in self.paths:
            raise ModelError

    def remove(self, path: Path_) -> None:
        self.need_file(path)
        del self.paths[path]

    def rmdir(self, path: Path_) -> None:
        if path not in self.paths or not self.is_directory(path) or self.children(path):
            raise ModelError
        del self.paths[path]

    def rename(self, old: Path_, new: Path_) -> None:
        if old not in self.paths or new[: len(old)] == old:
            raise ModelError
        self.need_parent(new)
        if new in self.paths:
            if self.is_directory(old) != self.is_directory(new) or self.children(new):
                raise ModelError
            del self.paths[new]
        for path in [old, *self.children(old)]:
            self.paths[(*new, *path[len(old) :])] = self.paths.pop(path)


class Real:
    """The same on an overlay."""

    def __init__(self, trees: Trees, base: Entry, scratch: Path) -> None:
        self.trees = trees
        self.overlay = Overlay(trees, base, scratch, objects=trees.objects)

    def parent(self, path: Path_) -> StagedDirectory:
        node: Node = self.overlay.root
        for name in path[:-1]:
            if not isinstance(node, StagedDirectory):
                raise PfsError
            node = self.overlay.promote(node, name)
        if not isinstance(node, StagedDirectory):
            raise PfsError
        return node

    def file(self, path: Path_) -> StagedFile:
        found = self.overlay.promote(self.parent(path), path[-1])
        if not isinstance(found, StagedFile):
            raise PfsError
        return found

    def entry(self, data: bytes) -> Entry:
        writer = staged_bytes.ContentsWriter(self.trees.objects)
        writer.write(data)
        return writer.finish().entry(mode=0o644, uid=0, gid=0, mtime_ns=1)

    def create(self, path: Path_, data: bytes) -> None:
        made = self.overlay.create(self.parent(path), path[-1], Kind.FILE, mode=0o644, uid=0, gid=0)
        assert isinstance(made, StagedFile)
        self.overlay.write(made, 0, data)
        self.overlay.save(made)

    def mkdir(self, path: Path_) -> None:
        self.overlay.create(self.parent(path), path[-1], Kind.DIRECTORY, mode=0o755, uid=0, gid=0)

    def write(self, path: Path_, offset: int, data: bytes) -> None:
        file = self.file(path)
        self.overlay.write(file, offset, data)
        self.overlay.save(file)
        self.overlay.bytes.rest(file)

    def truncate(self, path: Path_, size: int) -> None:
        self.overlay.truncate(self.file(path), size)

    def append(self, path: Path_, data: bytes) -> None:
        self.overlay.append_contents(self.file(path), Contents.of(self.entry(data)))

    def put(self, path: Path_, data: bytes) -> None:
        parent = self.parent(path)
        there = self.overlay.lookup(parent, path[-1])
        if there is not None and there.kind == Kind.DIRECTORY:
            raise PfsError
        self.overlay.put_entry(parent, path[-1], self.entry(data))

    def chmod(self, path: Path_, mode: int) -> None:
        self.overlay.set_attributes(self.overlay.promote(self.parent(path), path[-1]), mode=mode)

    def remove(self, path: Path_) -> None:
        self.overlay.remove(self.parent(path), path[-1], is_directory=False)

    def rmdir(self, path: Path_) -> None:
        self.overlay.remove(self.parent(path), path[-1], is_directory=True)

    def rename(self, old: Path_, new: Path_) -> None:
        if new[: len(old)] == old:
            # The kernel refuses both before it asks.
            raise PfsError
        self.overlay.rename(self.parent(old), old[-1], self.parent(new), new[-1])

    def compact(self) -> None:
        self.overlay.compact()

    def paths(self) -> Model:
        """Return all paths, as a reader sees them."""
        found: Model = {}
        pending: list[tuple[Path_, StagedDirectory | Entry]] = [((), self.overlay.root)]
        while pending:
            path, directory = pending.pop()
            listed = (
                self.overlay.entries(directory)
                if isinstance(directory, StagedDirectory)
                else self.trees.list(directory)
            )
            for name, below in listed:
                if isinstance(below, StagedDirectory) or (isinstance(below, Entry) and below.is_directory):
                    found[(*path, name)] = None
                    pending.append(((*path, name), below))
                elif isinstance(below, StagedFile):
                    found[(*path, name)] = self.overlay.read(below, 0, below.size)
                else:
                    assert isinstance(below, Entry)
                    found[(*path, name)] = bytes_of(self.trees, below)
        return found


def bytes_of(trees: Trees, entry: Entry) -> bytes:
    return staged_bytes.file_contents.read(trees.objects, Contents.of(entry), 0, entry.size)


def tree_paths(trees: Trees, root: Entry) -> Model:
    """Return all paths of a tree."""
    return {path: None if entry.is_directory else bytes_of(trees, entry) for path, entry in trees.walk(root)}


@contextmanager
def staging() -> Iterator[Path]:
    """A folder; hypothesis shares the fixtures of pytest between its examples."""
    folder = Path(tempfile.mkdtemp(prefix="pfs-overlay-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def do(operation: tuple[object, ...], on: object) -> bool:
    """Do an operation; say whether it could be done."""
    name, *arguments = operation
    method: Callable[..., None] = getattr(on, str(name))
    try:
        method(*arguments)
    except (ModelError, PfsError):
        return False
    return True


@given(st.lists(st.lists(with_compaction, max_size=12), min_size=1, max_size=3))
@settings(max_examples=150)
def test_an_overlay_is_a_dictionary_of_paths(rounds: list[list[tuple[object, ...]]]) -> None:
    """
    Several commits, each on top of the last; after each operation the process may die without harm.
    """
    trees = Trees(MemoryObjects())
    base, model = trees.empty_directory(), ModelTree()
    with staging() as folder, mock.patch.object(staged_bytes, "SMALL", SMALL):
        for number, round_ in enumerate(rounds):
            scratch = folder / f"commit{number}"
            real = Real(trees, base, scratch)
            for operation in round_:
                assert do(operation, model) == do(operation, real), operation
                assert model.paths == real.paths(), operation
            recovered = Real(trees, base, scratch)
            assert model.paths == recovered.paths()

            base = recovered.overlay.seal()

            assert model.paths == tree_paths(trees, base)
            assert model.paths == tree_paths(trees, real.overlay.seal())
            recovered.overlay.discard()


@given(st.lists(operations, max_size=12), st.data())
@settings(max_examples=100)
def test_any_cut_of_the_journal_gives_an_earlier_state(
    wanted: list[tuple[object, ...]], data: st.DataObject
) -> None:
    """The machine lost power: of the journal of small files some first part is there."""
    trees = Trees(MemoryObjects())
    base, model = trees.empty_directory(), ModelTree()
    with staging() as folder:
        real = Real(trees, base, folder / "commit")
        journal = folder / "commit" / "journal"
        states: list[tuple[int, Model]] = [(0, {})]
        for operation in wanted:
            do(operation, model)
            do(operation, real)
            states.append((journal.stat().st_size, dict(model.paths)))
        length = data.draw(st.integers(0, states[-1][0]))
        shutil.copytree(folder / "commit", folder / "cut")
        with open(folder / "cut" / "journal", "r+b") as file:
            file.truncate(length)

        found = Real(trees, base, folder / "cut").paths()

        expected = [state for size, state in states if size <= length][-1]
        allowed = [expected, *_torn(states, length)]
        assert found in allowed


def _torn(states: list[tuple[int, Model]], length: int) -> Iterator[Model]:
    """A file that was just created is empty until its bytes are journaled at its close."""
    for (size, before), (after_size, after) in pairwise(states):
        if size <= length < after_size:
            for path in after.keys() - before.keys():
                yield before | {path: b""}


changes = st.lists(
    st.one_of(
        st.tuples(st.just("put"), paths, pieces),
        st.tuples(st.just("append"), paths, pieces),
        st.tuples(st.just("delete"), st.lists(names, max_size=3).map(tuple)),
        st.tuples(st.just("mkdir"), paths),
        st.tuples(st.just("tree"), paths, st.dictionaries(paths, pieces, max_size=2)),
        st.tuples(
            st.sampled_from(["join", "join and append"]),
            st.lists(names, max_size=2).map(tuple),
            st.dictionaries(paths, pieces, max_size=3),
        ),
    ),
    max_size=8,
)


def _change(real: Real, change: tuple[object, ...]) -> Change:
    match change:
        case ("put", path, data):
            return Put(path, real.entry(data))  # type: ignore[arg-type]
        case ("append", path, data):
            return Append(path, real.entry(data))  # type: ignore[arg-type]
        case ("tree" | "join" | "join and append" as how, path, files):
            tree = real.trees.empty_directory()
            for below, data in files.items():  # type: ignore[attr-defined]
                done = _tried(lambda t=tree, b=below, d=data: real.trees.apply(t, {b: real.entry(d)}))  # type: ignore[misc]
                tree = done if isinstance(done, Entry) else tree
            if how != "tree":
                return PutTree(path, tree, how == "join and append")  # type: ignore[arg-type]
            return Put(path, tree)  # type: ignore[arg-type]
        case ("mkdir", path):
            return MakeDirectory(path, real.trees.empty_directory(mode=0o750))  # type: ignore[arg-type]
        case (_, path):
            return Delete(path)  # type: ignore[arg-type]
    raise AssertionError


def _tried(function: Callable[[], Entry | None]) -> Entry | type[PfsError] | None:
    try:
        return function()
    except PfsError as error:
        return type(error)


@given(changes, changes)
@example([], [("put", (b"a", b"a"), b"x"), ("put", (b"a",), b"x")])
@example([], [("put", (b"a",), b"x"), ("put", (b"a", b"a"), b"x")])
@example([], [("put", (b"a",), b"x"), ("delete", ()), ("put", (b"a", b"a"), b"x"), ("delete", (b"a", b"a"))])
@example([], [("delete", (b"a", b"a")), ("put", (b"a", b"a"), b"x"), ("delete", (b"a", b"a"))])
@example([], [("tree", (b"a",), {(b"a", b"a"): b"x"}), ("mkdir", (b"a", b"a"))])
@example([("put", (b"a", b"a"), b"x")], [("join and append", (), {(b"a", b"a"): b"y", (b"a", b"b"): b"z"})])
@example([("put", (b"a",), b"x")], [("join", (b"a",), {(b"a",): b"y"})])
@settings(max_examples=200)
def test_a_change_set_means_the_same_with_and_without_an_open_commit(
    first: list[tuple[object, ...]], second: list[tuple[object, ...]]
) -> None:
    """Two change sets, applied to trees and to an overlay: equal content, or the same error and no change."""
    trees = Trees(MemoryObjects())
    with staging() as folder, mock.patch.object(staged_bytes, "SMALL", SMALL):
        real = Real(trees, trees.empty_directory(), folder / "commit")
        root = trees.empty_directory()
        for change_set in (first, second):
            wanted = [_change(real, change) for change in change_set]
            before = real.paths()
            on_tree = _tried(lambda r=root, w=wanted: apply_to_tree(trees, trees.objects, r, w, mtime_ns=1))  # type: ignore[misc]
            on_overlay = _tried(lambda w=wanted: apply_to_overlay(real.overlay, w))  # type: ignore[misc, func-returns-value]
            if isinstance(on_tree, Entry):
                assert on_overlay is None
                root = on_tree
            else:
                assert on_tree is on_overlay
                assert before == real.paths()
            assert tree_paths(trees, root) == real.paths()
        assert root.content == real.overlay.seal().content
