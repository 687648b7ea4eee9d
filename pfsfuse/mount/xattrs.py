"""
Extended attributes of files and directories: `user.*`, where the mount was asked for them.

They are stored with the tree entry and are no content: setting one changes no content hash.  All of
a file together have at most LARGEST bytes, as on ext4, where they share a block.  Other namespaces are not
kept: `security.*` and `trusted.*` would let whoever writes an image's files decide what runs as root.
"""

from __future__ import annotations

import os

from ..errors import ExistsError, InvalidNameError, OutOfSpaceError, ReadOnlyError
from ..trees.entry import Entry
from .errnos import NoAttributeError, NotSupportedError
from .places import FrozenPlace, LivePlace, Place
from .vfs import Vfs

LARGEST = 4096 - 64
"""Bytes of all names and values of a file, 16 for each counted with them."""

_EACH = 16
_NAMESPACE = b"user."


class AttributesFullError(OutOfSpaceError):
    """The extended attributes of a file would take more room than they have."""


class ExtendedAttributes:
    """Reads and changes them; see the module."""

    def __init__(self, vfs: Vfs) -> None:
        self._vfs = vfs

    def get(self, ino: int, name: bytes) -> bytes:
        """Return the value of an attribute; NoAttributeError."""
        if name.startswith(b"system."):
            raise NotSupportedError("there are no access control lists")
        value = self._of(self._vfs.inodes.place(ino)).get(name)
        if value is None:
            raise NoAttributeError(name)
        return value

    def names(self, ino: int) -> list[bytes]:
        return list(self._of(self._vfs.inodes.place(ino)))

    async def set(self, ino: int, name: bytes, value: bytes, flags: int) -> None:
        """Set an attribute; ExistsError and NoAttributeError as XATTR_CREATE and XATTR_REPLACE in *flags* ask."""
        if not name.startswith(_NAMESPACE):
            raise NotSupportedError("only attributes of the namespace user are kept")
        if name == _NAMESPACE:
            raise InvalidNameError("an attribute needs a name behind the namespace")
        place = self._writable(ino)
        overlay = await self._vfs.begin_at(place)
        attributes = self._of(place)
        if flags & os.XATTR_CREATE and name in attributes:
            raise ExistsError(f"the attribute {name!r} is there already")
        if flags & os.XATTR_REPLACE and name not in attributes:
            raise NoAttributeError(name)
        attributes[name] = value
        if sum(len(key) + len(each) + _EACH for key, each in attributes.items()) > LARGEST:
            raise AttributesFullError(f"the extended attributes of a file have room for {LARGEST} bytes")
        node = place.home.stage(place, overlay)
        place.current.overlay_of_node().set_xattrs(node, tuple(sorted(attributes.items())))

    async def remove(self, ino: int, name: bytes) -> None:
        """Remove an attribute; NoAttributeError."""
        place = self._writable(ino)
        overlay = await self._vfs.begin_at(place)
        attributes = self._of(place)
        if attributes.pop(name, None) is None:
            raise NoAttributeError(name)
        node = place.home.stage(place, overlay)
        place.current.overlay_of_node().set_xattrs(node, tuple(sorted(attributes.items())))

    def _writable(self, ino: int) -> LivePlace:
        place = self._vfs.inodes.place(ino)
        if not isinstance(place, LivePlace):
            raise ReadOnlyError("attributes can be set below a branch")
        return place

    @staticmethod
    def _of(place: Place) -> dict[bytes, bytes]:
        entry: Entry | None = None
        if isinstance(place, FrozenPlace):
            entry = place.entry
        elif isinstance(place, LivePlace):
            shown = place.current
            if shown.node is not None:
                return dict(shown.node.xattrs)
            entry = shown.entry
        return {} if entry is None or entry.more is None else dict(entry.more.xattrs)
