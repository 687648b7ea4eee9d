"""The layouts of the kernel's protocol, and what handlers make of requests, without a kernel."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from pfsfuse.errors import PathNotFoundError
from pfsfuse.mount.direct import protocol
from pfsfuse.mount.direct.dispatch import Dispatch, at_once
from pfsfuse.mount.direct.encoding import attr_out, directory_out, entry_out, names_out
from pfsfuse.mount.direct.protocol import Op
from pfsfuse.mount.places import FOREVER, Attributes

_HEADER = Path("/usr/include/linux/fuse.h")

# By layout: the structures that it has, one after the other.
STRUCTS = {
    "IN_HEADER": "fuse_in_header",
    "OUT_HEADER": "fuse_out_header",
    "INIT_OUT": "fuse_init_out",
    "SETATTR_IN": "fuse_setattr_in",
    "MKNOD_IN": "fuse_mknod_in",
    "MKDIR_IN": "fuse_mkdir_in",
    "RENAME_IN": "fuse_rename_in",
    "RENAME2_IN": "fuse_rename2_in",
    "LINK_IN": "fuse_link_in",
    "OPEN_IN": "fuse_open_in",
    "OPEN_OUT": "fuse_open_out",
    "CREATE_IN": "fuse_create_in",
    "WRITE_IN": "fuse_write_in",
    "WRITE_OUT": "fuse_write_out",
    "GETXATTR_IN": "fuse_getxattr_in",
    "GETXATTR_OUT": "fuse_getxattr_out",
    "FORGET_IN": "fuse_forget_in",
    "FORGET_ONE": "fuse_forget_one",
    "BATCH_FORGET_IN": "fuse_batch_forget_in",
    "INVAL_INODE": "fuse_notify_inval_inode_out",
    "INVAL_ENTRY": "fuse_notify_inval_entry_out",
    "STORE": "fuse_notify_store_out",
}
_SIZES = {"uint64_t": 8, "int64_t": 8, "uint32_t": 4, "int32_t": 4, "uint16_t": 2}


def attributes(ino: int = 7, **changed: object) -> Attributes:
    values: dict[str, object] = {
        "ino": ino, "mode": 0o100644, "nlink": 1, "uid": 1, "gid": 2, "size": 5000,
        "mtime_ns": 1_500_000_001, "ctime_ns": 2_000_000_002,
    }  # fmt: skip
    return Attributes(**{**values, **changed})  # type: ignore[arg-type]


@pytest.mark.skipif(not _HEADER.exists(), reason="the kernel's header is not installed")
@pytest.mark.parametrize("layout", STRUCTS)
def test_a_layout_is_as_long_as_the_kernels(layout: str) -> None:
    """Against <linux/fuse.h>."""
    found = re.search(rf"struct {STRUCTS[layout]} {{(.*?)}};", _HEADER.read_text(), re.DOTALL)
    assert found is not None
    fields = re.findall(r"(u?int\d+_t)\s+\w+(?:\[(\d+)\])?;", found[1])

    expected = sum(_SIZES[kind] * int(count or 1) for kind, count in fields)
    assert expected == getattr(protocol, layout).size


@pytest.mark.skipif(not _HEADER.exists(), reason="the kernel's header is not installed")
def test_operations_have_the_kernels_numbers() -> None:
    """Against <linux/fuse.h>."""
    numbers = dict(re.findall(r"FUSE_(\w+)\s*=\s*(\d+),", _HEADER.read_text()))

    assert {operation.name: int(numbers[operation.name]) for operation in Op} == {o.name: o.value for o in Op}


def test_every_operation_but_those_of_the_session_has_a_handler() -> None:
    """INIT and INTERRUPT are answered by the session itself."""
    handlers = Dispatch(None, lambda ino, data: None).handlers  # type: ignore[arg-type]  # asks nothing of it

    assert set(Op) - {Op.INIT, Op.INTERRUPT} == handlers.keys()


def test_attributes_are_packed_with_times_before_1970() -> None:
    """Seconds are rounded down, so nanoseconds are never negative."""
    packed = protocol.ATTR_OUT.unpack(attr_out(attributes(mtime_ns=-1, attr_s=1.5)))

    assert (1, 500_000_000) == packed[:2]
    assert (7, 5000, 10) == packed[3:6]
    assert (-1, -1, 2) == packed[6:9]
    assert (999_999_999, 999_999_999, 2) == packed[9:12]
    assert (0o100644, 1, 1, 2, 0, 4096, 0) == packed[12:]


def test_an_entry_may_be_kept_as_long_as_its_attributes_say() -> None:
    """For ever, and not at all."""
    packed = protocol.ENTRY_OUT.unpack(entry_out(attributes(entry_s=0.0)))

    assert (7, 0, 0, int(FOREVER), 0, 0, 7) == packed[:7]


def test_a_directory_is_answered_as_far_as_there_is_room() -> None:
    """The entry that found none is given back."""
    entries = [(b"name%d" % number, attributes(number), number) for number in range(1, 4)]
    one = protocol.ENTRY_OUT.size + protocol.DIRENT.size + 8
    given_back: list[int] = []

    answer = directory_out(iter(entries), 2 * one + one - 1, given_back.append)

    assert 2 * one == len(answer)
    assert [3] == given_back
    assert (1, 1, 5, 0o100644 >> 12) == protocol.DIRENT.unpack_from(answer, protocol.ENTRY_OUT.size)
    assert b"name1\0\0\0" == answer[one - 8 : one]


def test_names_are_answered_as_far_as_there_is_room() -> None:
    """As above, without attributes."""
    names = [(b"12345678", 5, 0o040755, 1), (b"x", 6, 0o100644, 2)]
    given_back: list[bool] = []

    answer = names_out(iter(names), 40, lambda: given_back.append(True))

    assert struct.pack("=QQII", 5, 1, 8, 4) + b"12345678" == answer
    assert [True] == given_back


def test_a_change_that_waits_for_nothing_is_done_at_once() -> None:
    """Its result, and its error."""

    async def works() -> int:
        return 5

    async def fails() -> int:
        raise PathNotFoundError(b"x")

    assert 5 == at_once(works())
    with pytest.raises(PathNotFoundError):
        at_once(fails())


def test_a_change_that_waits_although_it_must_not_is_a_bug_that_is_told() -> None:
    """It is ended, so that it does not wait in a task that is not its own."""
    import trio

    ended = []

    async def waits() -> None:
        try:
            await trio.lowlevel.cancel_shielded_checkpoint()
        finally:
            ended.append(True)

    with pytest.raises(AssertionError, match="waited"):
        at_once(waits())
    assert [True] == ended
