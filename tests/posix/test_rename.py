"""rename(2) and renameat2(2)."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.posix.cases import SHARED_GROUP, Case, Sides, by, root, uid
from tests.posix.things import KINDS, NAME_256, make, path_errors

pytestmark = [pytest.mark.mount, pytest.mark.timeout(120)]

NOREPLACE, EXCHANGE, WHITEOUT = 1, 2, 4
CALLERS = ("root", "ann", "bob", "eve")


def _moves() -> Iterator[Case]:
    for kind in KINDS:
        for target in ("y", "e/y", "e/x"):
            yield Case(
                f"a {kind} to {target}",
                [
                    root("mkdir", "e"),
                    *make(kind, "x", "ann"),
                    root("lstat", "x"),
                    root("remember", "x"),
                    root("remember", "e"),
                    root("remember", "."),
                    root("rename", "x", target).gives("ok"),
                    root("lstat", target),
                    root("changed", target, "x").gives("c"),
                    root("changed", "e"),
                    root("changed", ".").gives("mc"),
                    root("lstat", "e"),
                    root("lstat", "x").gives("ENOENT"),
                    root("listdir", "."),
                ],
            )
        yield Case(
            f"a {kind} to itself",
            [*make(kind, "x"), root("rename", "x", "x").gives("ok"), root("lstat", "x")],
        )
        if kind != "dir":
            yield Case(
                f"a {kind} to another name of the same",
                [
                    *make(kind, "x"),
                    root("link", "x", "y"),
                    root("rename", "x", "y").gives("ok"),
                    root("listdir", "."),
                    root("lstat", "x"),
                ],
            )
            yield Case(
                f"a {kind} over one that has another name",
                [
                    *make(kind, "x"),
                    *make(kind, "y"),
                    root("link", "y", "z"),
                    root("remember", "z"),
                    root("rename", "x", "y").gives("ok"),
                    root("changed", "z").gives("c"),
                    root("lstat", "z"),
                    root("same", "y", "z").gives(False),
                ],
            )
        for user in CALLERS:
            yield Case(
                f"{user} moves a {kind} of Ann's from her directory",
                [
                    root("mkdir", "d"),
                    *make(kind, "d/x", "ann"),
                    root("chown", "d", uid("ann"), SHARED_GROUP),
                    root("chmod", "d", 0o770),
                    by(user, "rename", "d/x", "y"),
                    root("listdir", "."),
                ],
            )


def _over() -> Iterator[Case]:
    """Everything over everything."""
    for kind in KINDS:
        for target in KINDS:
            yield Case(
                f"a {kind} over a {target}",
                [
                    *make(kind, "x"),
                    *make(target, "y"),
                    root("rename", "x", "y"),
                    root("listdir", "."),
                    root("lstat", "y"),
                ],
            )
            for flags in (NOREPLACE, EXCHANGE, NOREPLACE | EXCHANGE, 8):
                yield Case(
                    f"a {kind} over a {target} with the flags {flags}",
                    [
                        *make(kind, "x", "ann"),
                        *make(target, "y", "bob"),
                        root("remember", "x"),
                        root("remember", "y"),
                        root("rename", "x", "y", flags),
                        root("listdir", "."),
                        root("lstat", "x"),
                        root("lstat", "y"),
                        root("lstat", "."),
                    ],
                )
    for kind in KINDS:
        yield Case(
            f"a {kind} over a directory that is not empty",
            [*make(kind, "x"), root("mkdir", "y"), root("mkdir", "y/z"), root("rename", "x", "y")],
        )
        yield Case(
            f"a {kind} with NOREPLACE to a name that is not there",
            [*make(kind, "x"), root("rename", "x", "y", NOREPLACE).gives("ok"), root("listdir", ".")],
        )
        yield Case(
            f"a {kind} with EXCHANGE to a name that is not there",
            [*make(kind, "x"), root("rename", "x", "y", EXCHANGE).gives("ENOENT"), root("listdir", ".")],
        )
        yield Case(
            f"a {kind} exchanged across directories",
            [
                root("mkdir", "d"),
                root("mkdir", "e"),
                *make(kind, "d/x"),
                *make("dir", "e/y"),
                *make("file", "e/y/inside"),
                root("rename", "d/x", "e/y", EXCHANGE).gives("ok"),
                root("lstat", "d/x"),
                root("lstat", "e/y"),
                root("listdir", "d/x"),
                root("lstat", "d"),
                root("lstat", "e"),
                root("lstat", "d/x/inside"),
            ],
        )


def _directories() -> Iterator[Case]:
    yield Case("into itself", [root("mkdir", "x"), root("rename", "x", "x/y").gives("EINVAL")])
    yield Case(
        "into what is below it",
        [root("mkdir", "x"), root("mkdir", "x/y"), root("rename", "x", "x/y/z").gives("EINVAL")],
    )
    yield Case(
        "over what it is in",
        [root("mkdir", "x"), root("mkdir", "x/y"), root("rename", "x/y", "x").gives("ENOTEMPTY")],
    )
    yield Case(
        "exchanged with what it is in",
        [root("mkdir", "x"), root("mkdir", "x/y"), root("rename", "x/y", "x", EXCHANGE)],
    )
    for dots in (".", ".."):
        yield Case(
            f"x/{dots} as the old name",
            [root("mkdir", "x"), root("mkdir", "x/z"), root("rename", f"x/z/{dots}", "y")],
        )
        yield Case(
            f"x/{dots} as the new name",
            [root("mkdir", "x"), root("mkdir", "y"), root("rename", "y", f"x/{dots}")],
        )
    for old, new in (("x/", "y"), ("x", "y/"), ("x/", "y/")):
        for kind in KINDS:
            yield Case(
                f"a {kind}: {old} to {new}",
                [*make(kind, "x"), root("rename", old, new), root("listdir", ".")],
            )
            yield Case(
                f"a {kind}: {old} to {new}, a directory",
                [*make(kind, "x"), root("mkdir", "y"), root("rename", old, new), root("listdir", ".")],
            )
    yield Case(
        "link counts of directories follow",
        [
            root("mkdir", "d"),
            root("mkdir", "e"),
            root("mkdir", "d/x"),
            root("mkdir", "d/x/y"),
            root("lstat", "d"),
            root("lstat", "e"),
            root("rename", "d/x", "e/x").gives("ok"),
            root("lstat", "d"),
            root("lstat", "e"),
            root("lstat", "e/x"),
            root("mkdir", "d/x"),
            root("rename", "d/x", "e/z").gives("ok"),
            root("mkdir", "d/z"),
            root("rename", "e/z", "d/z").gives("ok"),
            root("lstat", "d"),
            root("lstat", "e"),
            root("rename", "d/z", "e/x", EXCHANGE).gives("ok"),
            root("lstat", "d"),
            root("lstat", "e"),
            root("lstat", "d/z"),
            root("listdir", "d/z/.."),
        ],
    )
    for mode in (0o555, 0o755, 0o1777):
        for user in ("ann", "bob"):
            yield Case(
                f"{user} moves a directory of Ann's with the mode {mode:o}, whose `..` changes",
                [
                    root("mkdir", "d"),
                    root("mkdir", "e"),
                    root("mkdir", "d/x"),
                    root("chown", "d/x", uid("ann"), -1),
                    root("chmod", "d/x", mode),
                    root("chmod", "d", 0o777),
                    root("chmod", "e", 0o777),
                    by(user, "rename", "d/x", "d/y"),
                    by(user, "rename", "d/y", "e/y"),
                    by(user, "rename", "d/x", "e/y"),
                    root("listdir", "d"),
                    root("listdir", "e"),
                ],
            )


def _sticky() -> Iterator[Case]:
    for kind in ("file", "dir", "fifo", "symlink"):
        for mode in (0o777, 0o1777):
            for above in ("root", "ann", "bob"):
                for owner in ("root", "ann", "bob"):
                    for user in CALLERS:
                        start = [
                            root("mkdir", "d"),
                            *make(kind, "d/x", owner),
                            root("chown", "d", uid(above), SHARED_GROUP),
                            root("chmod", "d", mode),
                        ]
                        who = f"{user}: a {kind} of {owner}'s in a directory of {above}'s, {mode:o}"
                        yield Case(
                            f"away, {who}", [*start, by(user, "rename", "d/x", "y"), root("listdir", ".")]
                        )
                        yield Case(
                            f"within, {who}", [*start, by(user, "rename", "d/x", "d/y"), root("listdir", "d")]
                        )
                        yield Case(
                            f"over, {who}",
                            [
                                *start,
                                *make(kind, "y", user),
                                by(user, "rename", "y", "d/x"),
                                root("listdir", "."),
                            ],
                        )


def _open_files() -> Iterator[Case]:
    yield Case(
        "over a file that somebody reads",
        [
            root("open", "x", os.O_CREAT | os.O_RDWR, 0o644, "x"),
            root("write", "x", b"new"),
            root("open", "y", os.O_CREAT | os.O_RDWR, 0o644, "y"),
            root("write", "y", b"old"),
            root("rename", "x", "y").gives("ok"),
            root("pread", "y", 9, 0).gives(b"old"),
            root("fstat", "y"),
            root("contents", "y").gives(b"new"),
            root("pwrite", "x", b"er", 3),
            root("contents", "y").gives(b"newer"),
            root("close", "x"),
            root("close", "y"),
        ],
    )
    yield Case("bad address", [root("bad_address", "rename").gives("EFAULT")])
    for length in (255, 256):
        yield Case(
            f"to a name of {length} bytes",
            [*make("file", "x"), root("rename", "x", "n" * length), root("listdir", ".")],
        )
    yield Case("from a long name", [root("rename", NAME_256, "x").gives("ENAMETOOLONG")])


def test_rename_moves_as_in_a_plain_directory(sides: Sides) -> None:
    """Every kind, over every kind, with every flag; times and link counts."""
    count = sum(sides.check(cases) for cases in (_moves(), _over(), _directories(), _open_files()))
    assert count > 350


def test_rename_refuses_bad_paths_as_in_a_plain_directory(sides: Sides) -> None:
    """As the old and as the new name."""
    old = path_errors(
        "old", lambda name: root("rename", name, "y"), needs="file", follows=False, leaves="d/name"
    )
    new = path_errors("new", lambda name: root("rename", "y", name), needs=None, leaves="d/name")
    count = sides.check(old)
    count += sides.check(Case(case.name, [*make("file", "y", "ann"), *case.calls]) for case in new)
    assert count > 140


def test_the_sticky_bit_decides_who_may_rename(sides: Sides) -> None:
    """Away from, within and over."""
    assert sides.check(_sticky()) == 864
