"""
A writable tree over an immutable one: the content of an open commit, or of a container's /pfs/out.

The overlay holds nodes (staged.py) for what was touched and looks everything else up in the base.
Every change is journaled before it is visible, so a crash of the process loses only the bytes of
files that were not closed.  `seal` turns it into an immutable tree in time proportional to the
changes.

Everything here runs in one thread; `ingest_steps` alone hands work to others.  No method awaits, so
each is atomic among trio tasks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from ..errors import (
    ExistsError,
    IsADirectoryPathError,
    NotADirectoryPathError,
    NotEmptyError,
    PathNotFoundError,
    StoreError,
)
from ..ids import chunk_id
from ..names import check_element
from ..store.objects import Objects
from ..trees.contents import Contents
from ..trees.entry import Entry, Kind
from ..trees.tree import Trees
from .journal import Journal
from .spill import Spill
from .staged import SMALL, Node, StagedDirectory, StagedFile, StagedLeaf
from .staged_bytes import StagedBytes, remove_scratch

_JOURNALED_MOST = 4 * SMALL
"""A small file of which more bytes than this were journaled is staged like a large one."""

_CLOCK_REALTIME_COARSE = 5
"""linux/time.h; the module `time` has no name for it."""

Found = Node | Entry
"""What a name stands for: something staged, or something of the base."""


class Overlay:
    """See the module."""

    def __init__(self, trees: Trees, base: Entry | None, scratch: Path, *, objects: Objects) -> None:
        """
        Open the overlay whose journal and data are in the folder *scratch*.

        A journal that is there already is replayed: `recovered` says so.
        """
        scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.trees = trees
        self.scratch = scratch
        self.base = base
        self.journal = Journal(scratch / "journal")
        self.bytes = StagedBytes(objects, self.journal, scratch)
        start = base if base is not None else trees.empty_directory(mtime_ns=now_ns())
        self.root = StagedDirectory(0, start.mode, start.uid, start.gid, start.mtime_ns, start)
        self._nodes: dict[int, Node] = {0: self.root}
        self._next = 1
        self.is_sealed = False
        self._logged = False
        """Whether the journal has any record."""
        self._replaying = True
        self.recovered = self._replay()
        self._replaying = False

    # Looking

    def lookup(self, directory: StagedDirectory, name: bytes) -> Found | None:
        """Return what *name* stands for in *directory*, or None."""
        if name in directory.children:
            return directory.children[name]
        return self.trees.lookup(directory.base, name) if directory.base is not None else None

    def entries(
        self, directory: StagedDirectory, *, after: bytes | None = None
    ) -> Iterator[tuple[bytes, Found]]:
        """Yield the names and what they stand for, bytewise sorted, behind *after*."""
        changed = sorted(name for name in directory.children if after is None or name > after)
        below = self.trees.list(directory.base, after=after) if directory.base is not None else iter(())
        position = 0
        for name, entry in below:
            while position < len(changed) and changed[position] < name:
                yield from self._staged_name(directory, changed[position])
                position += 1
            if position < len(changed) and changed[position] == name:
                yield from self._staged_name(directory, name)
                position += 1
            elif name not in directory.children:
                yield name, entry
        for name in changed[position:]:
            yield from self._staged_name(directory, name)

    @staticmethod
    def _staged_name(directory: StagedDirectory, name: bytes) -> Iterator[tuple[bytes, Found]]:
        found = directory.children.get(name)
        if found is not None:
            yield name, found

    def resolve(self, path: tuple[bytes, ...]) -> Found | None:
        """Return what is at *path*, or None."""
        current: Found = self.root
        for position, name in enumerate(path):
            if isinstance(current, StagedDirectory):
                found = self.lookup(current, name)
                if found is None:
                    return None
                current = found
            elif isinstance(current, Entry):
                return self.trees.resolve(current, path[position:])
            else:
                return None
        return current

    def is_empty(self, found: Found) -> bool:
        """Say whether a directory has no entries."""
        if isinstance(found, StagedDirectory):
            return next(self.entries(found), None) is None
        assert isinstance(found, Entry)
        return next(self.trees.list(found), None) is None

    # Changing the tree

    def promote(self, directory: StagedDirectory, name: bytes) -> Node:
        """Return the staged node of *name*, making one from the base's entry; PathNotFoundError."""
        found = self.lookup(directory, name)
        if found is None:
            raise PathNotFoundError(name)
        if isinstance(found, Node):
            return found
        self._log("up", self._next, directory.number, name)
        node = self._node_of(found)
        self._attach(directory, name, node)
        return node

    def _node_of(self, entry: Entry) -> Node:
        number = self._next
        if entry.kind == Kind.DIRECTORY:
            node: Node = StagedDirectory(number, entry.mode, entry.uid, entry.gid, entry.mtime_ns, entry)
        elif entry.kind == Kind.FILE:
            node = file = StagedFile(
                number, entry.mode, entry.uid, entry.gid, entry.mtime_ns, Contents.of(entry)
            )
            file.path_base = entry
        else:
            node = StagedLeaf(
                number, Kind(entry.kind), entry.mode, entry.uid, entry.gid, entry.mtime_ns, entry.data
            )
        self._register(node)
        return node

    def _register(self, node: Node) -> None:
        self._nodes[node.number] = node
        self._next = node.number + 1

    def orphan(self, entry: Entry) -> Node:
        """Return a node for something of the base that has lost its name while somebody has it open."""
        self._log("or", self._next, entry)
        return self._node_of(entry)

    @staticmethod
    def _attach(directory: StagedDirectory, name: bytes, node: Node) -> None:
        directory.children[name] = node
        node.add_name(directory, name)

    def create(
        self,
        directory: StagedDirectory,
        name: bytes,
        kind: Kind,
        *,
        mode: int,
        uid: int,
        gid: int,
        target: bytes = b"",
    ) -> Node:
        """Make a new, empty node; ExistsError if the name is taken."""
        check_element(name)
        if self.lookup(directory, name) is not None:
            raise ExistsError(f"{_shown(name)} exists already")
        now = now_ns()
        self._log("new", self._next, directory.number, name, int(kind), mode, uid, gid, now, target)
        return self._create(directory, name, kind, mode, uid, gid, now, target)

    def _create(
        self,
        directory: StagedDirectory,
        name: bytes,
        kind: Kind,
        mode: int,
        uid: int,
        gid: int,
        now: int,
        target: bytes,
    ) -> Node:
        number = self._next
        if kind == Kind.DIRECTORY:
            node: Node = StagedDirectory(number, mode, uid, gid, now)
        elif kind == Kind.FILE:
            node = file = StagedFile(number, mode, uid, gid, now)
            file.saved_version = 0
        else:
            node = StagedLeaf(number, kind, mode, uid, gid, now, target)
        self._register(node)
        self._attach(directory, name, node)
        self._changed(directory, now)
        return node

    @staticmethod
    def _changed(directory: StagedDirectory, now_ns: int) -> None:
        directory.mtime_ns = directory.ctime_ns = now_ns

    def remove(self, directory: StagedDirectory, name: bytes, *, is_directory: bool) -> Found:
        """Unlink a name and return what it stood for; the errors are those of unlink(2) and rmdir(2)."""
        found = self.lookup(directory, name)
        if found is None:
            raise PathNotFoundError(name)
        if is_directory:
            if found.kind != Kind.DIRECTORY:
                raise NotADirectoryPathError(f"{_shown(name)} is not a directory")
            if not self.is_empty(found):
                raise NotEmptyError(f"directory {_shown(name)} is not empty")
        elif found.kind == Kind.DIRECTORY:
            raise IsADirectoryPathError(f"{_shown(name)} is a directory")
        now = now_ns()
        self._log("rm", directory.number, name, now)
        self._remove(directory, name, now)
        return found

    def remove_tree(self, directory: StagedDirectory, name: bytes) -> Found | None:
        """Remove a name with everything below it; None if it is not there."""
        found = self.lookup(directory, name)
        if found is not None:
            now = now_ns()
            self._log("rm", directory.number, name, now)
            self._remove(directory, name, now)
        return found

    def _remove(self, directory: StagedDirectory, name: bytes, now: int) -> None:
        found = directory.children.get(name)
        if isinstance(found, Node):
            found.take_name(directory, name)
            found.ctime_ns = now
        if directory.base is not None and self.trees.lookup(directory.base, name) is not None:
            directory.children[name] = None
        else:
            directory.children.pop(name, None)
        self._changed(directory, now)

    def rename(
        self, source: StagedDirectory, name: bytes, target: StagedDirectory, new_name: bytes
    ) -> Found | None:
        """Move a name, replacing what is at the new one; return what was replaced.  Errors as rename(2)."""
        check_element(new_name)
        moving = self.lookup(source, name)
        if moving is None:
            raise PathNotFoundError(name)
        replaced = self.lookup(target, new_name)
        if moving is replaced:
            return None
        if replaced is not None:
            self._check_replaceable(moving, replaced, new_name)
        self.promote(source, name)
        now = now_ns()
        self._log("mv", source.number, name, target.number, new_name, now)
        self._rename(source, name, target, new_name, now)
        return replaced

    def link(self, node: Node, directory: StagedDirectory, name: bytes) -> None:
        """Give *node* another name; ExistsError.  A finished commit has equal files of such names."""
        check_element(name)
        if self.lookup(directory, name) is not None:
            raise ExistsError(f"{_shown(name)} exists already")
        now = now_ns()
        self._log("ln", node.number, directory.number, name, now)
        self._link(node, directory, name, now)

    def _link(self, node: Node, directory: StagedDirectory, name: bytes, now: int) -> None:
        self._attach(directory, name, node)
        node.ctime_ns = now
        self._changed(directory, now)

    def _check_replaceable(self, moving: Found, replaced: Found, new_name: bytes) -> None:
        if moving.kind == Kind.DIRECTORY:
            if replaced.kind != Kind.DIRECTORY:
                raise NotADirectoryPathError(f"{_shown(new_name)} is not a directory")
            if not self.is_empty(replaced):
                raise NotEmptyError(f"directory {_shown(new_name)} is not empty")
        elif replaced.kind == Kind.DIRECTORY:
            raise IsADirectoryPathError(f"{_shown(new_name)} is a directory")

    def _rename(
        self, source: StagedDirectory, name: bytes, target: StagedDirectory, new_name: bytes, now: int
    ) -> None:
        node = source.children[name]
        assert isinstance(node, Node)
        self._remove(source, name, now)
        self._remove(target, new_name, now)
        self._attach(target, new_name, node)
        node.ctime_ns = now

    def exchange(
        self, source: StagedDirectory, name: bytes, target: StagedDirectory, new_name: bytes
    ) -> None:
        """Swap what two names stand for (RENAME_EXCHANGE)."""
        self.promote(source, name)
        self.promote(target, new_name)
        now = now_ns()
        self._log("xc", source.number, name, target.number, new_name, now)
        self._exchange(source, name, target, new_name, now)

    def _exchange(
        self, source: StagedDirectory, name: bytes, target: StagedDirectory, new_name: bytes, now: int
    ) -> None:
        one, other = source.children[name], target.children[new_name]
        assert isinstance(one, Node)
        assert isinstance(other, Node)
        one.take_name(source, name)
        other.take_name(target, new_name)
        self._attach(source, name, other)
        self._attach(target, new_name, one)
        one.ctime_ns = other.ctime_ns = now
        self._changed(source, now)
        self._changed(target, now)

    def set_attributes(
        self,
        node: Node,
        *,
        mode: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
        mtime_ns: int | None = None,
        atime_ns: int | None = None,
    ) -> None:
        """Set what is given."""
        self._log(
            "at",
            node.number,
            node.mode if mode is None else mode,
            node.uid if uid is None else uid,
            node.gid if gid is None else gid,
            node.mtime_ns if mtime_ns is None else mtime_ns,
            node.atime_ns if atime_ns is None else atime_ns,
        )
        node.mode = node.mode if mode is None else mode
        node.uid = node.uid if uid is None else uid
        node.gid = node.gid if gid is None else gid
        node.mtime_ns = node.mtime_ns if mtime_ns is None else mtime_ns
        node.atime_ns = node.atime_ns if atime_ns is None else atime_ns
        node.ctime_ns = now_ns()

    def put_entry(self, directory: StagedDirectory, name: bytes, entry: Entry) -> Found | None:
        """Make *name* stand for something immutable; return what it stood for."""
        check_element(name)
        before = self.lookup(directory, name)
        now = now_ns()
        self._log("e", directory.number, name, entry, now)
        self._put_entry(directory, name, entry, now)
        return before

    def _put_entry(self, directory: StagedDirectory, name: bytes, entry: Entry, now: int) -> None:
        self._remove(directory, name, now)
        directory.children[name] = entry

    # Bytes

    def read(self, file: StagedFile, offset: int, length: int) -> bytes:
        return self.bytes.read(file, offset, length)

    def write(self, file: StagedFile, offset: int, data: bytes | memoryview) -> None:
        self.bytes.write(file, offset, data, now_ns())

    def truncate(self, file: StagedFile, size: int) -> None:
        """Change the length; journaled at once, since no close need follow."""
        self.bytes.truncate(file, size, now_ns())
        self.save(file)
        self.bytes.rest(file)

    def append_contents(self, file: StagedFile, more: Contents) -> None:
        """Add bytes at the end, as one step, and journal it."""
        self.bytes.append_contents(file, more, now_ns())
        self.save(file)
        self.bytes.rest(file)

    def save(self, file: StagedFile) -> None:
        """Journal the bytes of a file: they survive the end of this process from now on."""
        if file.version == file.saved_version or self.is_sealed:
            return
        if file.buffer is not None and file.journaled > _JOURNALED_MOST:
            # A file that is closed again and again would fill the journal with its versions.
            self.bytes.spill_out(file)
        if file.buffer is not None:
            data = bytes(file.buffer)
            file.journaled += len(data)
            payload = msgspec.msgpack.encode(("b", file.number, file.mtime_ns, file.kept_prefix, data))
            at = self.journal.append(payload)
            # The bytes are the last field of the payload.
            file.in_journal = (at + len(payload) - len(data), len(data))
        elif file.spill is not None:
            self._log(
                "s",
                file.number,
                file.mtime_ns,
                file.kept_prefix,
                file.size,
                file.spill.dirty,
                (file.contents.size, file.contents.depth, file.contents.data, file.contents.content),
            )
        file.saved_version = file.version

    def sync(self, file: StagedFile | None = None) -> None:
        """Make the journal, and with it every change so far, survive power loss; *file*'s bytes included."""
        self.sync_step(file)()

    def sync_step(self, file: StagedFile | None = None) -> Callable[[], None]:
        """Return a function that does what `sync` does; it may run in any thread."""
        if self.is_sealed:
            # What was finished is durable already; what was unlinked need not be.
            return lambda: None
        spill = None
        if file is not None:
            self.save(file)
            spill = file.spill

        def sync() -> None:
            if spill is not None:
                spill.sync()
            self.journal.sync()

        return sync

    # Sealing

    def unsealed_files(self) -> list[StagedFile]:
        """Return the staged files whose bytes are not in the store yet."""
        changed = (
            node
            for node in self.root.staged()
            if isinstance(node, StagedFile) and node.sealed_version != node.version
        )
        return list(dict.fromkeys(changed))

    def ingest_step(self, file: StagedFile) -> tuple[int, Callable[[], Contents]]:
        """Return (version, function that stores the bytes in any thread); give the result to `ingested`."""
        return file.version, self.bytes.ingest(file)

    def ingested(self, file: StagedFile, version: int, contents: Contents) -> bool:
        return self.bytes.ingested(file, version, contents)

    def seal(self) -> Entry:
        """
        Return the immutable tree.  Every staged node knows its entry (`sealed`) afterwards.

        Files that were not ingested are ingested here.  Nobody may change anything between this
        and `discard`; if the tree cannot be committed, the overlay goes on as before.
        """
        for file in self.unsealed_files():
            version, store = self.ingest_step(file)
            self.ingested(file, version, store())
        return self._seal_directory(self.root)

    def _seal_directory(self, root: StagedDirectory) -> Entry:
        """Seal a directory after all below it; paths may be longer than Python may recurse."""
        pending = [root]
        for directory in pending:  # grows while it runs: parents before children
            pending += [c for c in directory.children.values() if isinstance(c, StagedDirectory)]
        for directory in reversed(pending):
            changes = {name: self._seal(child) for name, child in directory.children.items()}
            base = directory.base if directory.base is not None else self.trees.empty_directory()
            updated = self.trees.update(base, changes) if changes else base
            directory.sealed = msgspec.structs.replace(
                updated,
                mode=directory.mode,
                uid=directory.uid,
                gid=directory.gid,
                mtime_ns=directory.mtime_ns,
            )
        assert root.sealed is not None
        return root.sealed

    def _seal(self, child: Found | None) -> Entry | None:
        if child is None or isinstance(child, Entry):
            return child
        if not isinstance(child, StagedDirectory):
            child.sealed = self._sealed_leaf(child)
        return child.sealed

    @staticmethod
    def _sealed_leaf(node: Node) -> Entry:
        if isinstance(node, StagedFile):
            assert node.sealed_contents is not None
            return node.sealed_contents.entry(
                mode=node.mode, uid=node.uid, gid=node.gid, mtime_ns=node.mtime_ns
            )
        assert isinstance(node, StagedLeaf)
        return leaf_entry(node.kind, node.target, node.mode, node.uid, node.gid, node.mtime_ns)

    def discard(self) -> None:
        """
        Close and remove the staging folder, once the tree is committed or not wanted.

        Files that were unlinked while open go on, with bytes of their own, until they are released.
        """
        self.is_sealed = True
        named = {id(node) for node in self.root.staged()}
        for node in self._nodes.values():
            if not isinstance(node, StagedFile):
                continue
            if id(node) not in named:
                self.bytes.detach(node)
            elif node.spill is not None:
                node.spill.rest()
        self.bytes.leave(self.scratch.parent)
        remove_scratch(self.scratch)
        self.journal.close()

    def close(self, *, in_good_order: bool = True) -> None:
        """
        Close without removing anything, for another process to go on with.

        *in_good_order*: that process need not take the content for half of something.
        """
        if not self.is_sealed:
            for node in self._nodes.values():
                if isinstance(node, StagedFile):
                    self.save(node)
            if in_good_order and self._logged:
                self._log("ok")
        for node in self._nodes.values():
            if isinstance(node, StagedFile) and node.spill is not None:
                node.spill.rest()
        self.journal.close()

    # Journal

    def _log(self, *record: object) -> None:
        if not self._replaying and not self.is_sealed:
            self.journal.append(msgspec.msgpack.encode(record))
            self._logged = True

    def _replay(self) -> bool:
        """Do again what the journal says; say whether its writer died."""
        last = None
        for offset, payload in self.journal.replay():
            try:
                record = msgspec.msgpack.decode(payload)
                last = record[0]
                if last != "ok":
                    self._redo(record, offset, len(payload))
            except (KeyError, ValueError, TypeError, msgspec.ValidationError) as error:
                raise StoreError(f"{self.journal.path}: a record cannot be redone: {error!r}") from error
        self._logged = last is not None
        self._remove_unused_spills()
        return last not in (None, "ok")

    def _remove_unused_spills(self) -> None:
        """Remove what the replay found no use for, or not any more."""
        files = [node for node in self._nodes.values() if isinstance(node, StagedFile)]
        used = {node.spill.path for node in files if node.spill is not None}
        for path in self.scratch.glob("*.data"):
            if path not in used:
                path.unlink()
        for node in files:
            self.bytes.rest(node)

    def _redo(self, record: list[object], offset: int, length: int) -> None:
        """Do again what *record* says; the shapes are those of the `_log` calls."""
        operation, *rest = record
        redo: Callable[..., None] = getattr(self, f"_redo_{operation}")
        if operation == "b":
            rest.append((offset, length))
        redo(*rest)

    def _directory(self, number: int) -> StagedDirectory:
        node = self._nodes[number]
        if not isinstance(node, StagedDirectory):
            raise ValueError(f"node {number} is no directory")
        return node

    def _file(self, number: int) -> StagedFile:
        node = self._nodes[number]
        if not isinstance(node, StagedFile):
            raise ValueError(f"node {number} is no file")
        return node

    def _redo_up(self, number: int, parent: int, name: bytes) -> None:
        self._next = number
        self.promote(self._directory(parent), name)

    def _redo_or(self, number: int, entry: object) -> None:
        self._next = number
        self._node_of(msgspec.convert(entry, Entry))

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
        self._next = number
        self._create(self._directory(parent), name, Kind(kind), mode, uid, gid, now, target)

    def _redo_rm(self, parent: int, name: bytes, now: int) -> None:
        self._remove(self._directory(parent), name, now)

    def _redo_mv(self, source: int, name: bytes, target: int, new_name: bytes, now: int) -> None:
        self._rename(self._directory(source), name, self._directory(target), new_name, now)

    def _redo_ln(self, number: int, parent: int, name: bytes, now: int) -> None:
        self._link(self._nodes[number], self._directory(parent), name, now)

    def _redo_xc(self, source: int, name: bytes, target: int, new_name: bytes, now: int) -> None:
        self._exchange(self._directory(source), name, self._directory(target), new_name, now)

    def _redo_at(self, number: int, mode: int, uid: int, gid: int, mtime_ns: int, atime_ns: int) -> None:
        self.set_attributes(
            self._nodes[number], mode=mode, uid=uid, gid=gid, mtime_ns=mtime_ns, atime_ns=atime_ns
        )

    def _redo_e(self, parent: int, name: bytes, entry: object, now: int) -> None:
        self._put_entry(self._directory(parent), name, msgspec.convert(entry, Entry), now)

    def _redo_b(
        self, number: int, mtime_ns: int, kept_prefix: int, data: bytes, place: tuple[int, int]
    ) -> None:
        file = self._file(number)
        # Its data file, if it has one, may be that of a later record.
        file.spill = None
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
    ) -> None:
        file = self._file(number)
        path = self.scratch / f"{number}.data"
        file.in_journal = None
        if file.spill is None and path.exists():
            file.spill = Spill(path)
        if file.spill is not None:
            file.spill.dirty = [(start, end) for start, end in dirty]
        file.contents = msgspec.convert(
            dict(zip(("size", "depth", "data", "content"), committed, strict=True)), Contents
        )
        self._restored(file, size, mtime_ns, kept_prefix)

    @staticmethod
    def _restored(file: StagedFile, size: int, mtime_ns: int, kept_prefix: int) -> None:
        file.size, file.mtime_ns, file.kept_prefix = size, mtime_ns, kept_prefix
        file.version += 1
        file.saved_version = file.version


def now_ns() -> int:
    """Return the time as the kernel stamps files: its coarse clock, so that no stamp is later than the next."""
    return time.clock_gettime_ns(_CLOCK_REALTIME_COARSE)


def leaf_entry(kind: int, target: bytes, mode: int, uid: int, gid: int, mtime_ns: int) -> Entry:
    """Return the entry of a symlink or special file."""
    return Entry(int(kind), mode, uid, gid, mtime_ns, len(target), 1, 0, target, chunk_id(target))


def _shown(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")
