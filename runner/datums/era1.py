"""
The containers of a job of the 1.0 era: how many there are, and what each sees of every input.

First, what the job as a whole sees of an input (`visible`): all of it, or, where the input is
incremental and the job continues a parent job, what was added since.  Then that is dealt out.
Each input starts as one share; the input with the largest shares is doubled again and again,
as long as every share gets something and the number of containers stays within the
parallelism that was asked for.  So the number is a power of two, and never larger than asked
for.  The containers are the cross product of the shares, the first input most significant.

Promises, for every input and whatever the parallelism:

- every byte that the job sees is in exactly one share, in the order in which it stands in the
  file, and every share is in the same number of containers;
- the unit stays together: the line (or JSON value) with the partition block, what stands
  directly under the root with file, everything with repo;
- shares are runs in the order of the paths, of about equal size, and not a pick by hash as in
  the original.  So outputs that are appended in the order of the containers come in the order
  of the input, and a file is cut at no more places than there are shares.

Nothing is copied: what a container sees is an immutable directory made of the input's own
subtrees and chunks.  All functions are pure but for the tree nodes they store.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, product
from math import prod

from pfsfuse.trees.contents import Contents, is_prefix, slice_of
from pfsfuse.trees.diff import Change, diff
from pfsfuse.trees.entry import Entry, Kind
from pfsfuse.trees.tree import Path, Trees
from runner.spec.model import Incremental, Partition

from .blocks import BLOCK_BYTES, blocks

Position = tuple[Path, int]
"""A place between two bytes of an input: a path, and how far into the file there."""


@dataclass(frozen=True, slots=True)
class InputData:
    """One input of a job."""

    repo: str
    root: Entry
    """The root of the commit that the job reads."""
    parent: Entry | None
    """
    The root of the commit that the parent job read.  None where there is no parent job, and
    where the parent job read the same commit: what did not change is shown in full.
    """
    partition: Partition
    incremental: Incremental


@dataclass(frozen=True, slots=True)
class Container:
    """One run of the transform."""

    number: int
    """From 0; appended outputs are put together in this order."""
    inputs: dict[str, Entry]
    """By repo, the directory that is shown as /pfs/<repo>."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The containers of a job."""

    containers: tuple[Container, ...]
    """At least one."""
    empty: tuple[str, ...]
    """The repos of which the job sees no file.  Without `run_empty` there, nothing is to be run."""


def plan(
    trees: Trees, inputs: Sequence[InputData], parallelism: int, *, block_bytes: int = BLOCK_BYTES
) -> Plan:
    """
    Return the containers of a job that reads *inputs*, at most *parallelism* of them.

    A job without inputs has exactly *parallelism* containers, which all see the same nothing.
    """
    if not inputs:
        return Plan(tuple(Container(number, {}) for number in range(max(parallelism, 1))), ())
    deals = [_Deal(trees, each, visible(trees, each), block_bytes) for each in inputs]
    _choose_shares(deals, parallelism)
    containers = tuple(
        Container(number, {each.repo: share for each, share in zip(inputs, shares, strict=True)})
        for number, shares in enumerate(product(*(deal.share_trees() for deal in deals)))
    )
    empty = tuple(each.repo for each, deal in zip(inputs, deals, strict=True) if not deal.view.files)
    return Plan(containers, empty)


# --- what the job sees ----------------------------------------------------------------------------


def visible(trees: Trees, each: InputData) -> Entry:
    """
    Return the directory with all that the job sees of an input.

    Incremental inputs are compared with the parent job's by content: what has other times or
    owners only is not new.  `diff` shows new files, of longer files with the same beginning
    the bytes that came to it, and of other changed files all.  `full` shows what changed whole:
    files, or with the partition file what stands directly under the root.  What was removed
    is not shown.
    """
    if each.parent is None or each.incremental is Incremental.NONE:
        return each.root
    changes = diff(trees, each.parent, each.root, by_content=True, descend=False)
    if each.incremental is Incremental.FULL:
        shown = _changed_whole(trees, each, changes)
    else:
        shown = _added(trees, changes)
    return _only(trees, each.root, shown)


def _changed_whole(trees: Trees, each: InputData, changes: Iterator[Change]) -> dict[Path, Entry]:
    if each.partition is not Partition.FILE:
        return {change.path: change.new for change in changes if change.path and change.new is not None}
    names = {change.path[0] for change in changes if change.path}
    found = {(name,): trees.lookup(each.root, name) for name in names}
    return {path: entry for path, entry in found.items() if entry is not None}


def _added(trees: Trees, changes: Iterator[Change]) -> dict[Path, Entry]:
    added: dict[Path, Entry] = {}
    for change in changes:
        if not change.path or change.new is None:
            continue
        shown = _appended(trees, change.old, change.new)
        if shown is not None:
            added[change.path] = shown
    return added


def _appended(trees: Trees, old: Entry | None, new: Entry) -> Entry | None:
    """Return *new* without the bytes of *old* that it begins with; None if nothing is left."""
    if old is None or old.kind != Kind.FILE or new.kind != Kind.FILE:
        return new
    if old.content == new.content:  # it only became executable, or is not any more
        return None
    if not is_prefix(trees.objects, Contents.of(old), Contents.of(new)):
        return new
    return _part(trees, new, old.size, new.size)


def _part(trees: Trees, file: Entry, start: int, end: int) -> Entry:
    """Return a file with the bytes [start, end) of *file*, and its attributes."""
    if (start, end) == (0, file.size):
        return file
    contents = slice_of(trees.objects, Contents.of(file), start, end)
    return contents.entry(mode=file.mode, uid=file.uid, gid=file.gid, mtime_ns=file.mtime_ns)


def _only(trees: Trees, root: Entry, shown: dict[Path, Entry]) -> Entry:
    """Return a directory with the entries *shown* alone, below directories like those of *root*."""
    made: dict[Path, Entry | None] = {**shown}
    for path in shown:
        for length in range(len(path) - 1, -1, -1):
            above = path[:length]
            if above in made:
                break
            directory = trees.resolve(root, above)
            assert directory is not None  # what is shown stands in *root*
            made[above] = _emptied(trees, directory)
    return trees.apply(_emptied(trees, root), made)


def _emptied(trees: Trees, directory: Entry) -> Entry:
    return trees.empty_directory(
        mode=directory.mode, uid=directory.uid, gid=directory.gid, mtime_ns=directory.mtime_ns
    )


# --- dealing it out -------------------------------------------------------------------------------


@dataclass(slots=True)
class _Deal:
    """One input on its way from a view to shares."""

    trees: Trees
    input: InputData
    view: Entry
    block_bytes: int
    shares: int = 1
    may_grow: bool = field(init=False)
    _units: list[tuple[Position, int]] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.may_grow = self.input.partition is not Partition.REPO and self.view.size > 0

    @property
    def share_bytes(self) -> float:
        """The size of a share, about."""
        return self.view.size / self.shares

    def double(self) -> None:
        """Make twice as many shares, or find that one would be empty and let it be."""
        if len(self.units()) >= 2 * self.shares:
            self.shares *= 2
        else:
            self.may_grow = False

    def units(self) -> list[tuple[Position, int]]:
        """Return what is never split: where each begins and how many bytes it has, if it has any."""
        if self._units is None:
            find = self._objects_at_top if self.input.partition is Partition.FILE else self._blocks
            self._units = [(position, size) for position, size in find() if size]
        return self._units

    def _objects_at_top(self) -> Iterator[tuple[Position, int]]:
        for name, entry in self.trees.list(self.view):
            yield ((name,), 0), entry.size

    def _blocks(self) -> Iterator[tuple[Position, int]]:
        for path, entry in self.trees.walk(self.view):
            if entry.kind == Kind.FILE:
                contents = Contents.of(entry)
                for start, end in blocks(self.trees.objects, contents, path[-1], least=self.block_bytes):
                    yield (path, start), end - start
            elif not entry.is_directory:
                yield (path, 0), entry.size

    def share_trees(self) -> list[Entry]:
        """Return the directory of each share, in the order of the paths."""
        if self.shares == 1:
            return [self.view]
        bounds = [None, *_cuts(self.units(), self.shares), None]
        return [_between(self.trees, self.view, (), *pair) for pair in pairwise(bounds)]


def _choose_shares(deals: Sequence[_Deal], parallelism: int) -> None:
    """Double the shares of the input with the largest ones until there are enough containers."""
    while 2 * prod(deal.shares for deal in deals) <= parallelism:
        growing = [deal for deal in deals if deal.may_grow]
        if not growing:
            return
        max(growing, key=lambda deal: deal.share_bytes).double()


def _cuts(units: Sequence[tuple[Position, int]], shares: int) -> list[Position]:
    """Return where the shares but the first begin: after about equal sizes, each with a unit at least."""
    total = sum(size for _, size in units)
    cuts: list[Position] = []
    before = 0
    for index, (position, size) in enumerate(units):
        wanted = shares - 1 - len(cuts)
        if not wanted:
            break
        # A unit belongs to the share in which its middle is.
        is_due = (2 * before + size) * shares > 2 * total * (len(cuts) + 1)
        is_last_chance = len(units) - index == wanted
        if index and (is_due or is_last_chance):
            cuts.append(position)
        before += size
    return cuts


def _between(
    trees: Trees, directory: Entry, at: Path, first: Position | None, beyond: Position | None
) -> Entry:
    """
    Return *directory*, which stands at the path *at*, with what is from *first* to before *beyond*.

    Subtrees that are in it as a whole are taken as they are; only those on the way to the two
    places are made anew.
    """
    kept: dict[bytes, Entry] = {}
    for name, entry in trees.list(directory):
        path = (*at, name)
        if beyond is not None and beyond <= (path, 0):
            break
        inner_first = inner_beyond = None
        if first is not None and first > (path, 0):
            if first[0][: len(path)] != path:
                continue
            inner_first = first
        if beyond is not None and beyond[0][: len(path)] == path:
            inner_beyond = beyond
        kept[name] = _clipped(trees, entry, path, inner_first, inner_beyond)
    return trees.update(_emptied(trees, directory), kept)


def _clipped(
    trees: Trees, entry: Entry, path: Path, first: Position | None, beyond: Position | None
) -> Entry:
    """Return the part of *entry* between two places that are inside it; None stands for its own ends."""
    if first is None and beyond is None:
        return entry
    if entry.is_directory:
        return _between(trees, entry, path, first, beyond)
    return _part(trees, entry, first[1] if first else 0, beyond[1] if beyond else entry.size)
