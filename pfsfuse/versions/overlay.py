"""
A writable tree over an immutable one: the content of an open commit, or of a container's /pfs/out.

The overlay holds nodes (staged.py) for what was touched and looks everything else up in the base.
Every change is journaled before it is visible, so a crash of the process loses only the bytes of
files that were not closed.  `seal` turns it into an immutable tree in time proportional to the
changes.

Everything here runs in one thread, but for what `ingest_step` and `sync_step` return, and `seal`, while
which nobody may change anything.  No method awaits, so each is atomic among trio tasks.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from ..errors import (
    ExistsError,
    IsADirectoryPathError,
    NotADirectoryPathError,
    NotEmptyError,
    OutOfSpaceError,
    PathNotFoundError,
    StoreError,
)
from ..names import check_element
from ..store.objects import Objects
from ..trees.contents import Contents
from ..trees.entry import NO_MORE, Entry, Kind, More, special, symlink, with_more
from ..trees.holes import hole_bytes
from ..trees.links import group_of, without_links
from ..trees.tree import Trees
from .compaction import children_records, node_record
from .journal import Journal
from .quotas import Room, names_of
from .replay import IN_GOOD_ORDER, Replay
from .staged import SMALL, Node, StagedDirectory, StagedFile, StagedLeaf
from .staged_bytes import StagedBytes, remove_scratch
from .staged_tree import Found, StagedTree, now_ns, shown

log = logging.getLogger(__name__)

_COMPACTED_FROM = 64 << 20
"""A journal of fewer bytes is left as it is."""
_COMPACTED_TIMES = 4
"""A journal is written anew when it has so many times the bytes that it had after the last time."""

_JOURNALED_MOST = 4 * SMALL
"""A small file of which more bytes than this were journaled is staged like a large one."""


class Overlay(StagedTree):
    """See the module."""

    def __init__(self, trees: Trees, base: Entry | None, scratch: Path, *, objects: Objects) -> None:
        """
        Open the overlay whose journal and data are in the folder *scratch*.

        A journal that is there already is replayed: `recovered` says so.
        """
        scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        super().__init__(trees, base)
        self.scratch = scratch
        self.journal = Journal(scratch / "journal")
        self.bytes = StagedBytes(objects, self.journal, scratch)
        self.room = Room(self, lambda: self.journal.end)
        """How much may be added; no limit unless somebody sets one."""
        self.is_sealed = False
        replay = Replay(self, self.bytes, scratch)
        replay.run(self.journal)
        self.recovered = replay.is_cut_short
        self._logged = replay.last is not None
        """Whether the journal has any record."""
        self._compact_at = max(_COMPACTED_FROM, self.journal.end)
        self._sealing = threading.Lock()
        """Held by who reads from the journal in another thread, and while the journal is written anew."""

    # Changing the tree

    def promote(self, directory: StagedDirectory, name: bytes) -> Node:
        """Return the staged node of *name*, making one from the base's entry; PathNotFoundError."""
        found = self.lookup(directory, name)
        if found is None:
            raise PathNotFoundError(name)
        if isinstance(found, Node):
            return found
        self._log("up", self.next_number, directory.number, name)
        node = self.do_promote(directory, name, found)
        if group_of(found):
            self._promote_links(node, directory, name, found)
        return node

    def _promote_links(self, node: Node, directory: StagedDirectory, name: bytes, entry: Entry) -> None:
        """Have all names of a hard-linked file of the base stand for *node*, which one of them does already."""
        places = [self.from_base(path) for path in self.links.paths(entry)]
        for start, way in places:
            above = start
            for each in way[:-1]:
                below = self.promote(above, each)
                assert isinstance(below, StagedDirectory)
                above = below
            if self.lookup(above, way[-1]) == entry:
                self._log("jn", node.number, above.number, way[-1])
                self.do_join(node, above, way[-1])
        if node.more_names:
            node.group = group_of(entry)
            self.links_changed(node)

    def _promote_linked(self, directory: StagedDirectory, name: bytes) -> None:
        """Stage the hard-linked files that *name* stands for, or that have a name below it, before it goes."""
        found = self.lookup(directory, name)
        if isinstance(found, Entry) and group_of(found):
            self.promote(directory, name)
        if found is None or found.kind != Kind.DIRECTORY or not self.base_has_links:
            return
        top = self.promote(directory, name)
        for paths in list(self.links.groups.values()):
            for start, way in map(self.from_base, paths):
                above: Node | None = start
                while above is not None and above is not top:
                    above = above.parent
                if above is top:
                    for each in way:
                        start = self.promote(start, each)  # type: ignore[assignment]  # the last is a file
                    break

    @property
    def base_has_links(self) -> bool:
        return self.base is not None and self.base.more is not None and self.base.more.linked > 0

    def orphan(self, entry: Entry) -> Node:
        """Return a node for something of the base that has lost its name while somebody has it open."""
        self._log("or", self.next_number, entry)
        return self.make_node(entry)

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
            raise ExistsError(f"{shown(name)} exists already")
        if kind is Kind.SYMLINK:
            self.room.take(len(target))
        now = now_ns()
        self._log("new", self.next_number, directory.number, name, int(kind), mode, uid, gid, now, target)
        return self.do_create(directory, name, kind, mode, uid, gid, now, target)

    def remove(self, directory: StagedDirectory, name: bytes, *, is_directory: bool) -> Found:
        """Unlink a name and return what it stood for; the errors are those of unlink(2) and rmdir(2)."""
        found = self.lookup(directory, name)
        if found is None:
            raise PathNotFoundError(name)
        if is_directory:
            if found.kind != Kind.DIRECTORY:
                raise NotADirectoryPathError(f"{shown(name)} is not a directory")
            if not self.is_empty(found):
                raise NotEmptyError(f"directory {shown(name)} is not empty")
        elif found.kind == Kind.DIRECTORY:
            raise IsADirectoryPathError(f"{shown(name)} is a directory")
        if isinstance(found, Entry) and group_of(found):
            found = self.promote(directory, name)
        now = now_ns()
        self._log("rm", directory.number, name, now)
        self.do_remove(directory, name, now)
        return found

    def doubtful_files(self) -> list[StagedFile]:
        """Return files that were not synced when the power failed: bytes of them may be missing."""
        files = (node for node in self.nodes.values() if isinstance(node, StagedFile))
        return [file for file in files if file.is_doubtful]

    def remove_tree(self, directory: StagedDirectory, name: bytes) -> Found | None:
        """Remove a name with everything below it; None if it is not there."""
        found = self.lookup(directory, name)
        if found is not None:
            self._promote_linked(directory, name)
            now = now_ns()
            self._log("rm", directory.number, name, now)
            self.do_remove(directory, name, now)
        return found

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
            self.check_replaceable(moving, replaced, new_name)
            if isinstance(replaced, Entry) and group_of(replaced):
                replaced = self.promote(target, new_name)
        self.promote(source, name)
        now = now_ns()
        self._log("mv", source.number, name, target.number, new_name, now)
        self.do_rename(source, name, target, new_name, now)
        return replaced

    def link(self, node: Node, directory: StagedDirectory, name: bytes) -> None:
        """Give *node* another name; ExistsError."""
        check_element(name)
        if self.lookup(directory, name) is not None:
            raise ExistsError(f"{shown(name)} exists already")
        if isinstance(node, StagedFile):
            self.room.take(node.size)
        now = now_ns()
        self._log("ln", node.number, directory.number, name, now)
        self.do_link(node, directory, name, now)

    def exchange(
        self, source: StagedDirectory, name: bytes, target: StagedDirectory, new_name: bytes
    ) -> None:
        """Swap what two names stand for (RENAME_EXCHANGE)."""
        self.promote(source, name)
        self.promote(target, new_name)
        now = now_ns()
        self._log("xc", source.number, name, target.number, new_name, now)
        self.do_exchange(source, name, target, new_name, now)

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
        attributes = (
            node.mode if mode is None else mode,
            node.uid if uid is None else uid,
            node.gid if gid is None else gid,
            node.mtime_ns if mtime_ns is None else mtime_ns,
            node.atime_ns if atime_ns is None else atime_ns,
        )
        self._log("at", node.number, *attributes)
        self.do_set_attributes(node, *attributes)

    def set_xattrs(self, node: Node, xattrs: tuple[tuple[bytes, bytes], ...]) -> None:
        """Have *node* have these extended attributes, sorted by name."""
        now = now_ns()
        self._log("xa", node.number, xattrs, now)
        self.do_set_xattrs(node, xattrs, now)

    def put_entry(self, directory: StagedDirectory, name: bytes, entry: Entry) -> Found | None:
        """Make *name* stand for something immutable; return what it stood for."""
        check_element(name)
        entry = without_links(self.trees, entry)
        before = self.lookup(directory, name)
        self.room.take(entry.size - (before.size if isinstance(before, Entry | StagedFile) else 0))
        if before is not None:
            self._promote_linked(directory, name)
        now = now_ns()
        self._log("e", directory.number, name, entry, now)
        self.do_put_entry(directory, name, entry, now)
        return before

    # Bytes

    def read(self, file: StagedFile, offset: int, length: int) -> bytes:
        return self.bytes.read(file, offset, length)

    def write(self, file: StagedFile, offset: int, data: bytes | memoryview) -> None:
        self._take_room(file, offset + len(data))
        self.bytes.write(file, offset, data, now_ns())

    def truncate(self, file: StagedFile, size: int) -> None:
        """Change the length; journaled at once, since no close need follow."""
        self._take_room(file, size)
        self.bytes.truncate(file, size, now_ns())
        self.save(file)
        self.bytes.rest(file)

    def append_contents(self, file: StagedFile, more: Contents) -> None:
        """Add bytes at the end, as one step, and journal it."""
        self._take_room(file, file.size + more.size)
        self.bytes.append_contents(file, more, now_ns())
        self.save(file)
        self.bytes.rest(file)

    def _take_room(self, file: StagedFile, size: int) -> None:
        if size > file.size and self.room.limit is not None:
            self.room.take((size - file.size) * names_of(file))

    def save(self, file: StagedFile) -> None:
        """Journal the bytes of a file: they survive the end of this process from now on."""
        if file.version == file.saved_version or self.is_sealed:
            return
        if self.journal.end > self._compact_at:
            self.compact()
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
            self._log(*self._large_record(file))
        file.saved_version = file.version

    def compact(self) -> None:
        """
        Write the journal anew with what there is now; put off while the commit is sealed, or the disk full.

        Everything written so far is durable then.
        """
        if not self._sealing.acquire(blocking=False):
            return
        try:
            self._compact()
        except OutOfSpaceError as error:
            log.warning("the journal of an open commit stays long: %s", error)
        finally:
            self._compact_at = max(_COMPACTED_FROM, _COMPACTED_TIMES * self.journal.end)
            self._sealing.release()

    def _compact(self) -> None:
        nodes = list(self.nodes.values())
        files = [node for node in nodes if isinstance(node, StagedFile)]
        for file in files:
            if file.spill is not None:
                file.spill.sync_step()()
        of_nodes = [node_record(node) for node in nodes]
        of_names = [r for node in nodes if isinstance(node, StagedDirectory) for r in children_records(node)]
        small = [file for file in files if file.spill is None and file.version != 0]
        large = [file for file in files if file.spill is not None]

        def payloads() -> Iterator[bytes]:
            for record in (*of_nodes, *of_names, ("nx", self.next_number)):
                yield msgspec.msgpack.encode(record)
            for file in large:
                yield msgspec.msgpack.encode(self._large_record(file))
                # Synced above: a power cut takes nothing of it.
                yield msgspec.msgpack.encode(("sy", file.number, 1 << 62))
            for file in small:
                data = self.bytes.read(file, 0, file.size)
                yield msgspec.msgpack.encode(("b", file.number, file.mtime_ns, file.kept_prefix, data))

        places = self.journal.rewrite(payloads())
        for file in files:
            file.saved_version = file.version
        # The records of small files are the last ones, and their bytes the last of each.
        for file, (at, length) in zip(small, places[len(places) - len(small) :], strict=True):
            file.journaled = file.size
            file.in_journal = (at + length - file.size, file.size)

    def _large_record(self, file: StagedFile) -> tuple[object, ...]:
        """Return the record of a file whose bytes are staged in a file of their own."""
        assert file.spill is not None
        found = file.contents
        committed = (found.size, found.depth, found.data, found.content)
        return "s", file.number, file.mtime_ns, file.kept_prefix, file.size, file.spill.dirty, committed

    def sync(self, file: StagedFile | None = None) -> None:
        """Make the journal, and with it every change so far, survive power loss; *file*'s bytes included."""
        self.sync_step(file)()

    def sync_step(self, file: StagedFile | None = None) -> Callable[[], None]:
        """Return a function that does what `sync` does; it may run in any thread."""
        if self.is_sealed:
            # What was finished is durable already; what was unlinked need not be.
            return lambda: None
        steps: list[Callable[[], None]] = []
        if file is not None:
            self.save(file)
            if file.spill is not None:
                steps += [file.spill.sync_step(), self._note_synced(file)]
        steps.append(self.journal.sync)

        def sync() -> None:
            try:
                for step in steps:
                    step()
            except StoreError:
                # Finished meanwhile: all of it is durable, and the staging folder is gone.
                if not self.is_sealed:
                    raise

        return sync

    def _note_synced(self, file: StagedFile) -> Callable[[], None]:
        """Return a function that journals that the bytes of a large file, as the journal has them now, are durable."""
        record = msgspec.msgpack.encode(("sy", file.number, self.journal.end))
        generation = self.journal.generation

        def note() -> None:
            if not self.is_sealed:
                self.journal.append_unless_rewritten(record, generation)

        return note

    # Sealing

    def unsealed_files(self) -> list[StagedFile]:
        """Return the staged files whose bytes are not in the store yet."""
        changed = (
            node
            for node in self.root.staged()
            if isinstance(node, StagedFile) and node.sealed_version != node.version
        )
        return list(dict.fromkeys(changed))

    def forget_ingested(self) -> None:
        """Have all bytes stored again when the tree is sealed: nobody may hold them until then (store/holds.py)."""
        for node in self.nodes.values():
            if isinstance(node, StagedFile) and node.is_changed:
                node.sealed_version = -1

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
        with self._sealing:
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
            more = updated.more or NO_MORE
            if more.xattrs != directory.xattrs:
                updated = with_more(updated, msgspec.structs.replace(more, xattrs=directory.xattrs))
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
            child.sealed = self._with_more(child, self._sealed_leaf(child))
        return child.sealed

    def _with_more(self, node: Node, entry: Entry) -> Entry:
        """Return the entry with holes and extended attributes; those of all names of a file say that they are one."""
        holes = self._holes_of(node, entry)
        if not node.more_names:
            return with_more(entry, More(xattrs=node.xattrs, holes=holes)) if node.xattrs or holes else entry
        if not node.group:
            # Random: nothing else in this tree, nor what comes to it from another, may have it.
            node.group = 1 + secrets.randbits(62)
        names = 1 + len(node.more_names)
        return with_more(entry, More(group=node.group, names=names, xattrs=node.xattrs, holes=holes))

    def _holes_of(self, node: Node, entry: Entry) -> int:
        if not isinstance(node, StagedFile) or entry.depth == 0:
            return 0
        if node.origin is not None and node.origin.data == entry.data:
            return 0 if node.origin.more is None else node.origin.more.holes
        return hole_bytes(self.trees.objects, Contents.of(entry)) if node.holes else 0

    @staticmethod
    def _sealed_leaf(node: Node) -> Entry:
        if isinstance(node, StagedFile):
            assert node.sealed_contents is not None
            return node.sealed_contents.entry(
                mode=node.mode, uid=node.uid, gid=node.gid, mtime_ns=node.mtime_ns
            )
        assert isinstance(node, StagedLeaf)
        if node.kind is Kind.SYMLINK:
            return symlink(node.target, uid=node.uid, gid=node.gid, mtime_ns=node.mtime_ns)
        return special(
            node.kind,
            mode=node.mode,
            uid=node.uid,
            gid=node.gid,
            mtime_ns=node.mtime_ns,
            device=int.from_bytes(node.target, "big"),
        )

    def forget(self, node: Node) -> None:
        """Drop an unlinked node that nobody can come to any more: temporary files may be many."""
        self.nodes.pop(node.number, None)
        if isinstance(node, StagedFile):
            self.bytes.release(node)

    def discard(self) -> None:
        """
        Close and remove the staging folder, once the tree is committed or not wanted.

        Files that were unlinked and are somebody's still (`tag`) go on, with bytes of their own.
        """
        self.is_sealed = True
        named = {id(node) for node in self.root.staged()}
        for node in self.nodes.values():
            if not isinstance(node, StagedFile):
                continue
            if id(node) not in named and node.tag is not None:
                self.bytes.detach(node)
            elif id(node) not in named:
                self.bytes.release(node)
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
            for node in self.nodes.values():
                if isinstance(node, StagedFile):
                    self.save(node)
            if in_good_order and self._logged:
                self._log(IN_GOOD_ORDER)
        for node in self.nodes.values():
            if isinstance(node, StagedFile) and node.spill is not None:
                node.spill.rest()
        self.journal.close()

    # Journal

    def _log(self, *record: object) -> None:
        if not self.is_sealed:
            self.journal.append(msgspec.msgpack.encode(record))
            self._logged = True
