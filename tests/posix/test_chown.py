"""chown(2), lchown(2) and fchown(2)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import product

import pytest

from tests.posix.cases import SHARED_GROUP, Case, Sides, by, gid, root, uid
from tests.posix.things import KINDS, make, path_errors

pytestmark = [pytest.mark.mount, pytest.mark.timeout(120)]

CALLERS = ("root", "ann", "bob", "eve")
GROUPS = (-1, gid("ann"), SHARED_GROUP, gid("eve"))


def _success() -> Iterator[Case]:
    for kind in KINDS:
        for owner, group in product((-1, 0, uid("ann")), (-1, 0, SHARED_GROUP)):
            yield Case(
                f"a {kind} gets the owner {owner} and the group {group}",
                [
                    *make(kind, "x", "bob"),
                    root("remember", "x"),
                    root("lchown", "x", owner, group).gives("ok"),
                    root("changed", "x"),
                    root("lstat", "x"),
                ],
            )
    yield Case(
        "chown follows a symlink, lchown does not",
        [
            *make("file", "x"),
            root("symlink", "x", "s"),
            root("chown", "s", uid("ann"), gid("ann")).gives("ok"),
            root("lchown", "s", uid("bob"), gid("bob")).gives("ok"),
            root("lstat", "x"),
            root("lstat", "s"),
        ],
    )
    for owner in (0, 1, 65534, 65535, 65536, (1 << 31) - 1, 1 << 31, (1 << 32) - 2):
        yield Case(
            f"the owner {owner}", [*make("file", "x"), root("chown", "x", owner, owner), root("lstat", "x")]
        )
    yield Case(
        "of an open, unlinked file",
        [
            root("open", "x", os.O_CREAT | os.O_RDWR, 0o644, "f"),
            root("unlink", "x"),
            root("fchown", "f", uid("ann"), gid("ann")).gives("ok"),
            root("fstat", "f"),
            root("close", "f"),
        ],
    )


def _permissions() -> Iterator[Case]:
    for kind, user, owner, group in product(
        ("file", "dir", "symlink", "fifo"), CALLERS, (-1, uid("ann"), uid("bob")), GROUPS
    ):
        yield Case(
            f"{user} gives a {kind} of Ann's to {owner}:{group}",
            [*make(kind, "x", "ann"), by(user, "lchown", "x", owner, group), root("lstat", "x")],
        )


def _set_id_bits() -> Iterator[Case]:
    """What runs as its owner does not run as the next one."""
    for kind, mode, user in product(
        ("file", "dir", "fifo"), (0o4755, 0o2755, 0o6777, 0o2745, 0o4644, 0o1777, 0o6640), ("root", "ann")
    ):
        for owner, group in ((-1, -1), (uid("ann"), -1), (-1, SHARED_GROUP), (uid("ann"), SHARED_GROUP)):
            yield Case(
                f"{user} sets {owner}:{group} on a {kind} of the mode {mode:o}",
                [
                    *make(kind, "x", "ann"),
                    root("chmod", "x", mode),
                    by(user, "chown", "x", owner, group),
                    root("lstat", "x"),
                ],
            )


def test_chown_is_as_in_a_plain_directory(sides: Sides) -> None:
    """Every kind of file, every caller, set-ID bits, every bad path."""
    count = sum(sides.check(cases) for cases in (_success(), _permissions(), _set_id_bits()))
    count += sides.check(path_errors("chown", lambda name: root("chown", name, 5, 6), needs="file"))
    count += sides.check(
        path_errors("lchown", lambda name: root("lchown", name, 5, 6), needs="file", follows=False)
    )
    assert count > 550
