"""truncate(2) and ftruncate(2)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import product

import pytest

from tests.posix.cases import SHARED_GROUP, Case, Sides, by, root, uid
from tests.posix.things import KINDS, make, path_errors

pytestmark = [pytest.mark.mount, pytest.mark.timeout(120)]

SIZES = (0, 1, 511, 4096, 4097, 131_072, 131_073, 3_000_000)


def _lengths() -> Iterator[Case]:
    for before, after in product(SIZES, SIZES):
        data = (bytes(range(256)) * (before // 256 + 1))[:before]
        yield Case(
            f"{before} bytes become {after}",
            [
                root("open", "x", os.O_CREAT | os.O_RDWR, 0o644, "f"),
                root("write", "f", data),
                root("truncate", "x", after).gives("ok"),
                root("fstat", "f"),
                root("pread", "f", 300, max(min(before, after) - 150, 0)),
                root("pread", "f", 300, max(after - 150, 0)),
                root("ftruncate", "f", before).gives("ok"),
                root("pread", "f", 300, max(before - 150, 0)),
                root("close", "f"),
                root("lstat", "x"),
            ],
        )
    for size in (-1, 1 << 32, 1 << 40, (1 << 63) - 1):
        yield Case(f"to {size}", [*make("file", "x"), root("truncate", "x", size), root("lstat", "x")])
    for before, after in ((0, 0), (5, 5), (5, 0), (5, 9)):
        yield Case(
            f"times of {before} bytes that become {after}",
            [
                root("open", "x", os.O_CREAT | os.O_RDWR, 0o644, "f"),
                root("write", "f", b"x" * before),
                root("remember", "x"),
                root("ftruncate", "f", after),
                root("changed", "x"),
                root("remember", "x"),
                root("truncate", "x", after).gives("ok"),
                root("changed", "x"),
                root("close", "f"),
            ],
            # The kernel's FUSE sets no time where the length stays, and POSIX asks for none (docs/posix.md).
            differs={7: ""},
        )


def _permissions() -> Iterator[Case]:
    for user, mode in product(
        ("root", "ann", "bob", "eve"), (0o000, 0o200, 0o400, 0o444, 0o600, 0o620, 0o644, 0o660, 0o602)
    ):
        yield Case(
            f"{user} truncates {mode:o}",
            [
                *make("file", "x"),
                root("chown", "x", uid("ann"), SHARED_GROUP),
                root("chmod", "x", mode),
                by(user, "remember", "x"),
                by(user, "truncate", "x", 100),
                by(user, "changed", "x"),
                root("lstat", "x"),
            ],
        )
    for kind in KINDS:
        yield Case(f"of a {kind}", [*make(kind, "x"), root("truncate", "x", 0)])
    yield Case(
        "a descriptor for reading",
        [
            root("open", "x", os.O_CREAT, 0o644, "f"),
            root("ftruncate", "f", 5).gives("EINVAL"),
            root("close", "f"),
        ],
    )
    yield Case("a bad address", [root("bad_address", "truncate").gives("EFAULT")])
    yield Case(
        "of an unlinked file",
        [
            root("open", "x", os.O_CREAT | os.O_RDWR, 0o644, "f"),
            root("write", "f", b"data"),
            root("unlink", "x"),
            root("ftruncate", "f", 2).gives("ok"),
            root("fstat", "f"),
            root("pread", "f", 9, 0).gives(b"da"),
            root("close", "f"),
        ],
    )


def test_truncate_is_as_in_a_plain_directory(sides: Sides) -> None:
    """All lengths to all lengths, every caller, every bad path."""
    count = sides.check(_lengths()) + sides.check(_permissions())
    count += sides.check(path_errors("truncate", lambda name: root("truncate", name, 7), needs="file"))
    assert count > 180
