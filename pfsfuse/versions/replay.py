"""
Doing again what the journal of an overlay says, after its process has ended.

The shapes of the records are those of the `_log` calls in overlay.py; docs/format.md lists them.
Node numbers are given out in the order of the records, so they come out as they were.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from ..errors import StoreError
from ..store.boot import this_boot
from ..trees.entry import Entry, Kind
from .compaction import restored_contents, restored_node
from .journal import Journal
from .spill import Spill
from .staged import StagedDirectory, StagedFile
from .staged_bytes import StagedBytes
from .staged_tree import StagedTree

IN_GOOD_ORDER = "ok"
"""The record that a process writes when it ends by its own will."""


class Replay:
    """One replay of a journal into a fresh tree."""

    def __init__(self, tree: StagedTree, staged: StagedBytes, scratch: Path) -> None:
        self._tree = tree
        self._bytes = staged
        self._scratch = scratch
        self.last: object = None
        """The operation of the last record; None when there is none."""
        self._boot: bytes | None = None
        self._unsynced: dict[StagedFile, int] = {}
        """Files whose data file was not synced since it was written, and where the journal says so."""

    @property
    def is_cut_short(self) -> bool:
        """Whether there were records and their writer died."""
        return self.last not in (None, IN_GOOD_ORDER)

    def run(self, journal: Journal) -> None:
        """Do all records again; StoreError for one that makes no sense."""
        for offset, payload in journal.replay():
            self._note_boot(journal.boot)
            try:
                record = msgspec.msgpack.decode(payload)
                self.last = record[0]
                if self.last != IN_GOOD_ORDER:
                    self._redo(record, offset, len(payload))
            except (KeyError, ValueError, TypeError, msgspec.ValidationError) as error:
                raise StoreError(f"{journal.path}: a record cannot be redone: {error!r}") from error
        self._note_boot(this_boot())
        self._remove_unused_spills()

    def _note_boot(self, boot: bytes | None) -> None:
        """The machine was started anew: what was not synced by then may be there or not."""
        if self._boot not in (None, boot):
            for file in self._unsynced:
                file.is_doubtful = True
            self._unsynced.clear()
        self._boot = boot

    def _remove_unused_spills(self) -> None:
        """Remove what the replay found no use for, or not any more."""
        files = [node for node in self._tree.nodes.values() if isinstance(node, StagedFile)]
        used = {node.spill.path for node in files if node.spill is not None}
        for path in self._scratch.glob("*.data"):
            if path not in used:
                path.unlink()
        for node in files:
            self._bytes.rest(node)

    def _redo(self, record: list[object], offset: int, length: int) -> None:
        """Do again what *record* says; the shapes are those of the `_log` calls."""
        operation, *rest = record
        redo: Callable[..., None] = getattr(self, f"_redo_{operation}")
        if operation in ("b", "s"):
            rest.append((offset, length))
        redo(*rest)

    def _directory(self, number: int) -> StagedDirectory:
        node = self._tree.nodes[number]
        if not isinstance(node, StagedDirectory):
            raise ValueError(f"node {number} is no directory")
        return node

    def _file(self, number: int) -> StagedFile:
        node = self._tree.nodes[number]
        if not isinstance(node, StagedFile):
            raise ValueError(f"node {number} is no file")
        return node

    def _redo_up(self, number: int, parent: int, name: bytes) -> None:
        self._tree.next_number = number
        directory = self._directory(parent)
        found = self._tree.lookup(directory, name)
        if not isinstance(found, Entry):
            raise ValueError(f"{name!r} is nothing of the base")
        self._tree.do_promote(directory, name, found)

    def _redo_or(self, number: int, entry: object) -> None:
        self._tree.next_number = number
        self._tree.make_node(msgspec.convert(entry, Entry))

    def _redo_new(
        self,
        number: int,
        parent: int,
        name: bytes,
        kind: int,
        mode: int,
        uid: int,
        gid: int,
        now: int,
        target: bytes,
    ) -> None:
        self._tree.next_number = number
        self._tree.do_create(self._directory(parent), name, Kind(kind), mode, uid, gid, now, target)

    def _redo_nd(
        self, number: int, kind: int, contents: list[object] | None, kept: dict[str, object]
    ) -> None:
        node = self._tree.nodes[number] = restored_node(number, kind, contents, kept, self._tree.root)
        if isinstance(node, StagedDirectory):
            self._tree.note_of_base(node)

    def _redo_ch(self, parent: int, name: bytes, child: object) -> None:
        directory = self._directory(parent)
        if isinstance(child, int):
            node = self._tree.nodes[child]
            directory.children[name] = node
            node.add_name(directory, name)
        else:
            directory.children[name] = msgspec.convert(child, Entry) if child is not None else None

    def _redo_nx(self, number: int) -> None:
        self._tree.next_number = number

    def _redo_rm(self, parent: int, name: bytes, now: int) -> None:
        self._tree.do_remove(self._directory(parent), name, now)

    def _redo_mv(self, source: int, name: bytes, target: int, new_name: bytes, now: int) -> None:
        self._tree.do_rename(self._directory(source), name, self._directory(target), new_name, now)

    def _redo_ln(self, number: int, parent: int, name: bytes, now: int) -> None:
        self._tree.do_link(self._tree.nodes[number], self._directory(parent), name, now)

    def _redo_jn(self, number: int, parent: int, name: bytes) -> None:
        node, directory = self._tree.nodes[number], self._directory(parent)
        if not isinstance(self._tree.lookup(directory, name), Entry):
            raise ValueError(f"{name!r} is nothing of the base")
        self._tree.do_join(node, directory, name)

    def _redo_xc(self, source: int, name: bytes, target: int, new_name: bytes, now: int) -> None:
        self._tree.do_exchange(self._directory(source), name, self._directory(target), new_name, now)

    def _redo_at(self, number: int, mode: int, uid: int, gid: int, mtime_ns: int, atime_ns: int) -> None:
        self._tree.do_set_attributes(self._tree.nodes[number], mode, uid, gid, mtime_ns, atime_ns)

    def _redo_xa(self, number: int, xattrs: list[list[bytes]], now: int) -> None:
        self._tree.do_set_xattrs(
            self._tree.nodes[number], tuple((name, value) for name, value in xattrs), now
        )

    def _redo_e(self, parent: int, name: bytes, entry: object, now: int) -> None:
        self._tree.do_put_entry(self._directory(parent), name, msgspec.convert(entry, Entry), now)

    def _redo_b(
        self, number: int, mtime_ns: int, kept_prefix: int, data: bytes, place: tuple[int, int]
    ) -> None:
        file = self._file(number)
        # Its data file, if it has one, may be that of a later record.
        file.spill = None
        file.is_doubtful = False
        self._unsynced.pop(file, None)
        file.journaled += len(data)
        file.buffer = None
        file.in_journal = (place[0] + place[1] - len(data), len(data))
        self._restored(file, len(data), mtime_ns, kept_prefix)

    def _redo_s(
        self,
        number: int,
        mtime_ns: int,
        kept_prefix: int,
        size: int,
        dirty: list[list[int]],
        committed: list[object],
        place: tuple[int, int],
    ) -> None:
        file = self._file(number)
        self._unsynced[file] = place[0]
        path = self._scratch / f"{number}.data"
        file.in_journal = None
        if file.spill is None and path.exists():
            file.spill = Spill(path)
        if file.spill is not None:
            file.spill.dirty = [(start, end) for start, end in dirty]
        file.contents = restored_contents(committed)
        self._restored(file, size, mtime_ns, kept_prefix)

    def _redo_sy(self, number: int, upto: int) -> None:
        file = self._file(number)
        if self._unsynced.get(file, upto) < upto:
            del self._unsynced[file]

    @staticmethod
    def _restored(file: StagedFile, size: int, mtime_ns: int, kept_prefix: int) -> None:
        file.size, file.mtime_ns, file.kept_prefix = size, mtime_ns, kept_prefix
        file.version += 1
        file.saved_version = file.version
