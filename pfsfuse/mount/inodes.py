"""
The inode table: numbers for places, and the kernel's lookup counts.

A place leaves the table when the kernel has forgotten every look-up of it; only then may it be
dropped, whatever became of its name.  No two places in the table have one number.

A number follows from that of the directory and the name, if it is free.  So a file has the same one
when the kernel comes back to it, and after the next mount, though nothing keeps it: programs that
make backups tell by it whether they know a file.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator

from xxhash import xxh3_64_intdigest

from ..errors import NotFoundError
from ..trees.entry import Entry
from ..trees.links import group_of
from .kernel import Known
from .places import FrozenPlace, GeneratedPlace, LivePlace, Place

ROOT = 1

_OTHERS = 1 << 48
"""Numbers from here on are for places whose own number is taken; smaller ones follow from names."""


class StaleInodeError(NotFoundError):
    """The kernel asks for an inode that it has forgotten, or that this mount never gave out."""


class Inodes:
    """See the module."""

    def __init__(self, root: Place) -> None:
        self._places: dict[int, Place] = {}
        self._next_free = _OTHERS
        self._frozen_files: weakref.WeakValueDictionary[tuple[str, tuple[bytes, ...], Entry], FrozenPlace] = (
            weakref.WeakValueDictionary()
        )
        root.ino = ROOT
        self._places[ROOT] = root

    def place(self, ino: int) -> Place:
        """Return what *ino* stands for."""
        try:
            return self._places[ino]
        except KeyError:
            raise StaleInodeError(f"inode {ino} is not known") from None

    @staticmethod
    def number(parent: Place, name: bytes) -> int:
        """Return the number that a name gets if it is free."""
        return xxh3_64_intdigest(name, parent.ino) & (_OTHERS - 1) | _OTHERS >> 1

    def _enter(self, place: Place, parent: Place, name: bytes) -> None:
        """Keep *place* until it is forgotten, and give it a number if it has none."""
        if place.ino == 0 or place.ino in self._places:
            number = self.number(parent, name)
            if number in self._places or _is_view(parent):
                number = self._next_free
                self._next_free += 1
            place.ino = number
        self._places[place.ino] = place

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

    def looked_up(self, place: Place, parent: Place, name: bytes) -> None:
        """Note that the kernel was told of *place*, under *name* in *parent*."""
        if place.lookups == 0:
            self._enter(place, parent, name)
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

    def idle_files(self) -> Iterator[Known]:
        """Yield what the kernel holds of files that nobody has open, the longest known first."""
        for ino, place in self._places.items():
            if place.handles or place.is_directory:
                continue
            if isinstance(place, LivePlace):
                if place.parent is not None and not place.is_detached:
                    yield Known(ino, place.parent.ino, place.name)
            elif isinstance(place, FrozenPlace) and place.parent:
                yield Known(ino, place.parent, place.path[-1])

    def __len__(self) -> int:
        return len(self._places)


def _is_view(parent: Place) -> bool:
    """Say whether what is below *parent* is another thing each time that its name is set."""
    return isinstance(parent, GeneratedPlace) and parent.parts[:1] == (".workers",)


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
        parent.remove_child(current.name)
        current = parent if parent.lookups <= 0 and parent.parent is not None else None
