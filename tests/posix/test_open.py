"""open(2): creating, truncating, permissions, kinds of files, and what a descriptor can do."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from itertools import product

import pytest

from tests.posix.cases import SHARED_GROUP, Call, Case, Sides, by, root, uid
from tests.posix.things import KINDS, make, path_errors

pytestmark = [pytest.mark.mount, pytest.mark.timeout(120)]

CALLERS = ("root", "ann", "bob", "eve")
ACCESS = {"r": os.O_RDONLY, "w": os.O_WRONLY, "rw": os.O_RDWR}


def _creation() -> Iterator[Case]:
    for mode in (0o000, 0o151, 0o345, 0o644, 0o666, 0o777, 0o1777, 0o2777, 0o4777, 0o7777):
        for mask in (0o000, 0o022, 0o077, 0o777):
            for user in ("root", "ann"):
                yield Case(
                    f"{user} creates with {mode:o} under the mask {mask:o}",
                    [
                        by(user, "umask", mask),
                        by(user, "open", "x", os.O_CREAT | os.O_WRONLY, mode).gives("ok"),
                        by(user, "umask", 0o022),
                        root("lstat", "x"),
                    ],
                )
    for mode in (0o755, 0o2755, 0o2777, 0o1777):
        for group in (SHARED_GROUP, uid("ann"), uid("eve")):
            for user in CALLERS:
                for wanted in (0o644, 0o2755, 0o2644, 0o6777):
                    yield Case(
                        f"{user} creates with {wanted:o} in a directory {mode:o} of the group {group}",
                        [
                            root("mkdir", "d"),
                            root("chown", "d", uid("ann"), group),
                            root("chmod", "d", mode),
                            by(user, "open", "d/x", os.O_CREAT | os.O_WRONLY, wanted),
                            root("lstat", "d/x"),
                        ],
                    )
    yield Case(
        "the directory changes when a file is made, not when one is there",
        [
            root("mkdir", "d"),
            root("remember", "d"),
            root("open", "d/x", os.O_CREAT | os.O_WRONLY).gives("ok"),
            root("changed", "d").gives("mc"),
            root("remember", "d"),
            root("remember", "d/x"),
            root("open", "d/x", os.O_CREAT | os.O_WRONLY).gives("ok"),
            root("changed", "d").gives(""),
            root("changed", "d/x").gives(""),
        ],
    )
    for kind in KINDS:
        yield Case(
            f"O_EXCL on a {kind}",
            [*make(kind, "x"), root("open", "x", os.O_CREAT | os.O_EXCL).gives("EEXIST")],
        )
    yield Case(
        "O_CREAT through a symlink makes what it names",
        [
            root("symlink", "y", "s"),
            root("open", "s", os.O_CREAT | os.O_WRONLY).gives("ok"),
            root("listdir", "."),
        ],
    )


def _truncation() -> Iterator[Case]:
    for content in (b"", b"some bytes"):
        for access in (os.O_WRONLY, os.O_RDWR):
            yield Case(
                f"O_TRUNC of {len(content)} bytes",
                [
                    root("open", "x", os.O_CREAT | os.O_WRONLY, 0o644, "f"),
                    root("write", "f", content),
                    root("close", "f"),
                    root("remember", "x"),
                    root("open", "x", access | os.O_TRUNC).gives("ok"),
                    root("changed", "x").gives("mc"),
                    root("lstat", "x"),
                ],
            )
    for user in CALLERS:
        for mode in (0o400, 0o444, 0o600, 0o644, 0o660, 0o666):
            yield Case(
                f"O_TRUNC by {user} on {mode:o}",
                [
                    root("open", "x", os.O_CREAT | os.O_WRONLY, 0o644, "f"),
                    root("write", "f", b"data"),
                    root("close", "f"),
                    root("chown", "x", uid("ann"), SHARED_GROUP),
                    root("chmod", "x", mode),
                    by(user, "open", "x", os.O_WRONLY | os.O_TRUNC),
                    by(user, "open", "x", os.O_RDONLY | os.O_TRUNC),
                    root("lstat", "x"),
                ],
            )


def _permissions() -> Iterator[Case]:
    for (name, access), user in product(ACCESS.items(), CALLERS):
        for bits in range(8):
            for shift in (0, 3, 6):
                yield Case(
                    f"{user} opens {bits << shift:03o} for {name}",
                    [
                        *make("file", "x"),
                        root("chown", "x", uid("ann"), SHARED_GROUP),
                        root("chmod", "x", bits << shift),
                        by(user, "open", "x", access),
                    ],
                )
    for user, bits in product(CALLERS, range(8)):
        yield Case(
            f"{user} lists and looks up in a directory {bits:o}{bits:o}{bits:o}",
            [
                root("mkdir", "d"),
                *make("file", "d/x"),
                root("chown", "d", uid("ann"), SHARED_GROUP),
                root("chmod", "d", bits * 0o111),
                by(user, "listdir", "d"),
                by(user, "lstat", "d/x"),
                *[by(user, "access", "d", way) for way in (os.R_OK, os.W_OK, os.X_OK)],
            ],
        )


def _kinds() -> Iterator[Case]:
    for kind, (name, access) in product(KINDS, ACCESS.items()):
        if kind in ("char", "block"):
            # The mount is nodev (docs/posix.md); of a plain directory it depends on the machine.
            continue
        yield Case(
            f"a {kind} for {name}",
            [*make(kind, "x"), root("open", "x", access | os.O_NONBLOCK)],
        )
        for more in (
            os.O_DIRECTORY,
            os.O_NOFOLLOW,
            os.O_CREAT,
            os.O_TRUNC,
            os.O_DIRECTORY | os.O_CREAT,
            os.O_PATH,
        ):
            yield Case(
                f"a {kind} for {name} with {more:o}",
                [*make(kind, "x"), root("open", "x", access | more | os.O_NONBLOCK), root("lstat", "x")],
            )
    yield Case(
        "a symlink with O_NOFOLLOW",
        [*make("file", "x"), root("symlink", "x", "s"), root("open", "s", os.O_NOFOLLOW).gives("ELOOP")],
    )
    yield Case(
        "a name with a slash behind it", [root("open", "x/", os.O_CREAT | os.O_WRONLY).gives("EISDIR")]
    )
    yield Case(
        "a file with a slash behind it",
        [*make("file", "x"), root("open", "x/", os.O_RDONLY).gives("ENOTDIR")],
    )
    yield Case("a bad address", [root("bad_address", "open").gives("EFAULT")])


def _opened(*flags: int) -> list[Call]:
    return [root("open", "x", os.O_CREAT | sum(flags), 0o644, "f")]


def _descriptors() -> Iterator[Case]:
    yield Case(
        "a descriptor for reading does not write",
        [
            *_opened(os.O_RDONLY),
            root("write", "f", b"x").gives("EBADF"),
            root("ftruncate", "f", 0),
            root("close", "f"),
        ],
    )
    yield Case(
        "a descriptor for writing does not read",
        [*_opened(os.O_WRONLY), root("read", "f", 1).gives("EBADF"), root("close", "f")],
    )
    yield Case(
        "O_APPEND writes at the end, wherever the position is",
        [
            *_opened(os.O_RDWR, os.O_APPEND),
            root("write", "f", b"one"),
            root("lseek", "f", 0, os.SEEK_SET),
            root("write", "f", b"two").gives(3),
            root("lseek", "f", 0, os.SEEK_CUR).gives(6),
            root("truncate", "x", 1),
            root("write", "f", b"three"),
            root("pread", "f", 20, 0).gives(b"othree"),
            root("close", "f"),
        ],
    )
    yield Case(
        "pwrite on an appending descriptor appends, as the manual page confesses",
        [
            *_opened(os.O_RDWR, os.O_APPEND),
            root("write", "f", b"one"),
            root("pwrite", "f", b"two", 0),
            root("pread", "f", 9, 0),
            root("close", "f"),
        ],
    )
    for offset in (0, 1, 100, 4095, 4096, 131_071, 131_072, 1 << 20, (1 << 31) - 1, 1 << 32, 1 << 40):
        yield Case(
            f"a byte at {offset}",
            [
                *_opened(os.O_RDWR),
                root("pwrite", "f", b"!", offset).gives(1),
                root("fstat", "f"),
                root("pread", "f", 4, max(offset - 2, 0)),
                root("ftruncate", "f", 2),
                root("pread", "f", 4, 0),
                root("close", "f"),
            ],
        )
    yield Case(
        "a byte too far",
        [
            *_opened(os.O_RDWR),
            root("pwrite", "f", b"!", (1 << 63) - 1),
            root("pwrite", "f", b"!", -1).gives("EINVAL"),
            root("close", "f"),
        ],
    )
    yield Case(
        "what is mapped is what is read",
        [
            *_opened(os.O_RDWR),
            root("ftruncate", "f", 8192),
            root("mapped", "f", 8192, 4090, b"over the border"),
            root("pread", "f", 15, 4090).gives(b"over the border"),
            root("contents", "x"),
            root("close", "f"),
        ],
    )
    for whence, offset in product(
        (os.SEEK_SET, os.SEEK_CUR, os.SEEK_END, os.SEEK_DATA, os.SEEK_HOLE), (-1, 0, 5, 10, 11)
    ):
        yield Case(
            f"lseek to {offset} by {whence} in ten bytes",
            [
                *_opened(os.O_RDWR),
                root("write", "f", b"0123456789"),
                root("lseek", "f", offset, whence),
                root("close", "f"),
            ],
        )
    yield Case(
        "write sets the times, read does not, nor an empty write",
        [
            *_opened(os.O_RDWR),
            root("remember", "x"),
            root("write", "f", b"x"),
            root("changed", "x").gives("mc"),
            root("remember", "x"),
            root("pread", "f", 1, 0),
            root("changed", "x").gives(""),
            root("write", "f", b"").gives(0),
            root("changed", "x").gives(""),
            root("close", "f"),
        ],
    )


def _locks() -> Iterator[Case]:
    """flock(2) and fcntl(2), among processes of several users."""
    shared, exclusive = fcntl.LOCK_SH | fcntl.LOCK_NB, fcntl.LOCK_EX | fcntl.LOCK_NB
    opened = [
        root("open", "x", os.O_CREAT | os.O_RDWR, 0o666, "f"),
        root("chmod", "x", 0o666),
        *[by(user, "open", "x", os.O_RDWR, 0, "f") for user in ("ann", "bob")],
    ]
    closed = [by(user, "close", "f") for user in ("root", "ann", "bob")]
    for one, other in product((shared, exclusive), repeat=2):
        both = "ok" if one == other == shared else "EAGAIN"
        yield Case(
            f"flock {one} and {other}",
            [
                *opened,
                by("ann", "lock", "f", one).gives("ok"),
                by("bob", "lock", "f", other).gives(both),
                by("ann", "lock", "f", fcntl.LOCK_UN).gives("ok"),
                by("bob", "lock", "f", other).gives("ok"),
                *closed,
            ],
        )
        yield Case(
            f"fcntl {one} and {other}",
            [
                *opened,
                by("ann", "range_lock", "f", one, 10, 10).gives("ok"),
                by("bob", "range_lock", "f", other, 20, 10).gives("ok"),
                by("bob", "range_lock", "f", other, 15, 10).gives(both),
                by("ann", "range_lock", "f", fcntl.LOCK_UN, 0, 0).gives("ok"),
                by("bob", "range_lock", "f", other, 15, 10).gives("ok"),
                *closed,
            ],
        )


def _what_the_mount_lacks() -> Iterator[Case]:
    """Pinned: docs/posix.md has the reasons.  EOPNOTSUPP is another name of ENOTSUP."""
    yield Case("O_TMPFILE", [root("open", ".", os.O_TMPFILE | os.O_RDWR, 0o600)], differs={0: "ENOTSUP"})
    yield Case(
        "fallocate",
        [*_opened(os.O_RDWR), root("fallocate", "f", 0, 0, 4096), root("close", "f")],
        differs={1: "ENOTSUP"},
    )
    hole = [*_opened(os.O_RDWR), root("ftruncate", "f", 1 << 20), root("pwrite", "f", b"x", (1 << 20) - 1)]
    yield Case(
        "a hole is looked for",
        [
            *hole,
            root("fsync", "f"),
            root("lseek", "f", 0, os.SEEK_HOLE),
            root("lseek", "f", 0, os.SEEK_DATA),
            root("close", "f"),
        ],
        differs={4: 1 << 20, 5: 0},
    )


def _set_id_bits() -> Iterator[Case]:
    """What a write or a truncation takes from a file that runs as somebody else."""
    for mode, user in product((0o4755, 0o2755, 0o2745, 0o6777, 0o4644, 0o2644), ("root", "ann", "eve")):
        start = [
            *make("file", "x"),
            root("chown", "x", uid("ann"), SHARED_GROUP),
            root("chmod", "x", mode | 0o666),
            by(user, "open", "x", os.O_WRONLY, 0, "f"),
        ]
        end = [by(user, "close", "f"), root("lstat", "x")]
        ways = {
            "writes to": (by(user, "write", "f", b"x"), 1),
            "truncates": (by(user, "truncate", "x", 5), 5),
            "cuts": (by(user, "ftruncate", "f", 0), 0),
            "opens with O_TRUNC": (by(user, "open", "x", os.O_WRONLY | os.O_TRUNC), 0),
        }
        for way, (call, size) in ways.items():
            # Where the group may not execute, the kernel's FUSE leaves S_ISGID as it is (docs/posix.md).
            is_left = user == "eve" and mode & 0o2010 == 0o2000
            shown = ("file", oct(mode | 0o666), 1, uid("ann"), SHARED_GROUP, size, 0)
            yield Case(
                f"{user} {way} {mode:o}", [*start, call, *end], {len(start) + 2: shown} if is_left else {}
            )


def test_open_creates_and_truncates_as_in_a_plain_directory(sides: Sides) -> None:
    """Modes, masks, set-group-ID directories, O_EXCL, O_TRUNC."""
    assert sides.check(_creation()) + sides.check(_truncation()) > 280


def test_open_asks_for_the_permissions_of_a_plain_directory(sides: Sides) -> None:
    """Every permission bit, every caller, every way to open."""
    assert sides.check(_permissions()) > 300


def test_open_treats_kinds_of_files_as_a_plain_directory_does(sides: Sides) -> None:
    """Files, directories, symlinks, FIFOs and sockets, with every flag."""
    assert sides.check(_kinds()) > 90


def test_descriptors_do_what_they_do_in_a_plain_directory(sides: Sides) -> None:
    """Appending, holes, mappings, positions, times, set-user-ID bits."""
    assert sides.check(_descriptors()) + sides.check(_set_id_bits()) > 90


def test_locks_exclude_each_other_as_in_a_plain_directory(sides: Sides) -> None:
    """Of whole files and of ranges, shared and exclusive."""
    assert sides.check(_locks()) == 8


def test_what_the_mount_lacks_it_says(sides: Sides) -> None:
    """Nameless files, fallocate, holes."""
    assert sides.check(_what_the_mount_lacks()) == 3


def test_open_refuses_bad_paths_as_in_a_plain_directory(sides: Sides) -> None:
    """With and without O_CREAT."""
    count = sides.check(path_errors("open", lambda name: root("open", name, os.O_RDONLY), needs="file"))
    making = path_errors(
        "create", lambda name: root("open", name, os.O_CREAT | os.O_WRONLY), needs=None, leaves="d/name"
    )
    count += sides.check(making)
    assert count > 140
