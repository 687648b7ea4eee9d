"""
The inode table: numbers for places, and the kernel's lookup counts.

Numbers are never used twice while the mount lives.  A place leaves the table when the kernel has
forgotten every look-up of it; only then may it be dropped, whatever became of its name.
"""

from __future__ import annotations

import weakref

from ..errors import NotFoundError
from ..trees.entry import Entry
from ..trees.links import group_of
from .places import FrozenPlace, LivePlace, Place

ROOT = 1


class StaleInodeError(NotFoundError):
    """The kernel asks for an inode that it has forgotten, or that this mount never gave out."""


class Inodes:
    """See the module."""

    def __init__(self, root: Place) -> None:
        self._places: dict[int, Place] = {}
        self._next = ROOT
        self._frozen_files: weakref.WeakValueDictionary[tuple[str, tuple[bytes, ...], Entry], FrozenPlace] = (
            weakref.WeakValueDictionary()
        )
        self.enter(root)

    def place(self, ino: int) -> Place:
        """Return what *ino* stands for."""
        try:
            return self._places[ino]
        except KeyError:
            raise StaleInodeError(f"inode {ino} is not known") from None

    def enter(self, place: Place) -> Place:
        """Give *place* a number if it has none, and keep it until it is forgotten."""
        if place.ino == 0:
            place.ino = self._next
            self._next += 1
        self._places[place.ino] = place
        return place

    def frozen(self, label: str, path: tuple[bytes, ...], entry: Entry, *, is_directory: bool) -> FrozenPlace:
        """
        Return a place for an entry of an immutable tree.

        Files share one by label, path and entry.  A directory is not shared: the kernel allows it
        one parent.
        """
        if is_directory:
            return FrozenPlace(label, path, entry)
        # The names of a hard-linked file are one file.
        key = (label, () if group_of(entry) else path, entry)
        found = self._frozen_files.get(key)
        if found is None:
            found = self._frozen_files[key] = FrozenPlace(label, path, entry)
        return found

    def looked_up(self, place: Place) -> None:
        """Note that the kernel was told of *place*."""
        self.enter(place)
        place.lookups += 1

    def forget(self, ino: int, count: int) -> Place | None:
        """Take back *count* look-ups; return the place if that were all."""
        place = self._places.get(ino)
        if place is None or ino == ROOT:
            return None
        place.lookups -= count
        if place.lookups > 0:
            return None
        del self._places[ino]
        if isinstance(place, LivePlace):
            _let_go(place)
        return place

    def __len__(self) -> int:
        return len(self._places)


def _let_go(place: LivePlace) -> None:
    """Unlink a forgotten place from its parent and from the staged node, and parents that only it kept."""
    # A place with places below it stays; the last of those takes it along.
    current: LivePlace | None = place
    while current is not None and not current.children:
        if current.node is not None and current.node.tag is current:
            current.node.tag = None
        parent = current.parent
        if parent is None or parent.children.get(current.name) is not current:
            return
        del parent.children[current.name]
        current = parent if parent.lookups <= 0 and parent.parent is not None else None
