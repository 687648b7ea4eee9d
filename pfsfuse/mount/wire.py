"""
The control protocol of the mount: length-prefixed msgpack over a UNIX socket.

    request  = length:u32 msgpack [operation, {argument: value}]
    answer   = length:u32 msgpack [true, result] or [false, [[error class, its bases], message]]

One request at a time on a connection.  Errors of `pfsfuse` come back as the same class, or the
nearest base that the caller knows.
"""

from __future__ import annotations

import struct
from typing import Any

import msgspec

from .. import errors
from ..errors import PfsError, UnavailableError
from ..trees.entry import Entry
from ..versions.forks import ForkChange

SOCKET_NAME = "mount.sock"
MAX_MESSAGE = 1 << 30
HEAD = struct.Struct("<I")


class Shown(msgspec.Struct, frozen=True, array_like=True):
    """A tree to show under a name."""

    label: str
    """Trees of one label share the inodes of equal files, and so their cached pages: the repo's name."""
    entry: Entry


class Sealed(msgspec.Struct, frozen=True, array_like=True):
    """What a run left in `out`."""

    root: Entry
    changes: list[ForkChange]


def encode(message: object) -> bytes:
    """Return *message* as it goes over the socket."""
    body = msgspec.msgpack.encode(message)
    return HEAD.pack(len(body)) + body


def request(operation: str, arguments: dict[str, object]) -> bytes:
    return encode([operation, arguments])


def decode_request(body: bytes) -> tuple[str, dict[str, Any]]:
    """Return (operation, arguments); msgspec.MsgspecError for anything else."""
    operation, arguments = msgspec.msgpack.decode(body, type=tuple[str, dict[str, Any]])
    return operation, arguments


def success(result: object) -> bytes:
    return encode([True, result])


def failure(error: BaseException) -> bytes:
    return encode([False, [[kind.__name__ for kind in type(error).__mro__], str(error)]])


def result_of(body: bytes) -> Any:
    """Return the result in an answer, or raise the error in it."""
    ok, value = msgspec.msgpack.decode(body)
    if ok:
        return value
    raise error_named(*value)


def error_named(names: list[str], message: str) -> PfsError:
    """Return the error of the first class that is known here, made anew from its message; else a PfsError."""
    known = _subclasses(errors.PfsError)
    kind = next((known[name] for name in names if name in known), PfsError)
    error = kind.__new__(kind)
    Exception.__init__(error, message)
    return error


def _subclasses(base: type[PfsError]) -> dict[str, type[PfsError]]:
    found = {base.__name__: base}
    for kind in base.__subclasses__():
        found.update(_subclasses(kind))
    return found


def unavailable() -> UnavailableError:
    """Return the error of a mount that does not answer."""
    return UnavailableError("no mount of this store is running; `pfs up` or `pfs mount` starts one")
