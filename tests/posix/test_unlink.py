"""unlink(2) and rmdir(2), and what the sticky bit says of them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.posix.cases import SHARED_GROUP, Case, Sides, by, root, uid
from tests.posix.things import KINDS, NOT_DIRECTORIES, make, path_errors

pytestmark = [pytest.mark.mount, pytest.mark.timeout(120)]

CALLERS = ("root", "ann", "bob", "eve")


def _unlinks() -> Iterator[Case]:
    for kind in NOT_DIRECTORIES:
        yield Case(
            f"a {kind} is gone, and the directory changed",
            [
                root("mkdir", "d"),
                *make(kind, "d/x"),
                root("remember", "d"),
                root("unlink", "d/x").gives("ok"),
                root("changed", "d").gives("mc"),
                root("lstat", "d/x").gives("ENOENT"),
                root("listdir", "d").gives([]),
            ],
        )
        yield Case(
            f"one of two names of a {kind}",
            [
                *make(kind, "x"),
                root("link", "x", "y").gives("ok"),
                root("remember", "y"),
                root("unlink", "x").gives("ok"),
                root("changed", "y").gives("c"),
                root("lstat", "y"),
                root("unlink", "y").gives("ok"),
                root("listdir", ".").gives([]),
            ],
        )
        yield Case(f"rmdir of a {kind}", [*make(kind, "x"), root("rmdir", "x").gives("ENOTDIR")])
    yield Case("of a directory", [root("mkdir", "x"), root("unlink", "x").gives("EISDIR")])
    yield Case("a bad address", [root("bad_address", "unlink").gives("EFAULT")])
    yield Case(
        "a symlink to a directory, with a slash behind it",
        [root("mkdir", "x"), root("symlink", "x", "s"), root("unlink", "s/").gives("ENOTDIR")],
    )
    yield Case("a file with a slash behind it", [*make("file", "x"), root("unlink", "x/").gives("ENOTDIR")])
    for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR):
        yield Case(
            f"while it is open with {flags}",
            [
                root("open", "x", os.O_CREAT | os.O_RDWR, 0o644, "w"),
                root("write", "w", b"before"),
                root("open", "x", flags, 0, "f"),
                root("unlink", "x").gives("ok"),
                root("fstat", "f"),
                root("pwrite", "w", b"AFTER!", 6),
                root("pread", "f", 20, 0),
                root("open", "x", os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644).gives("ok"),
                root("fstat", "f"),
                root("lstat", "x"),
                root("close", "w"),
                root("close", "f"),
            ],
        )


def _rmdirs() -> Iterator[Case]:
    yield Case(
        "an empty directory",
        [
            root("mkdir", "d"),
            root("mkdir", "d/x"),
            root("lstat", "d"),
            root("remember", "d"),
            root("rmdir", "d/x").gives("ok"),
            root("changed", "d").gives("mc"),
            root("lstat", "d"),
            root("lstat", "d/x").gives("ENOENT"),
        ],
    )
    for kind in KINDS:
        yield Case(
            f"a directory with a {kind} in it",
            [root("mkdir", "x"), *make(kind, "x/y"), root("rmdir", "x").gives("ENOTEMPTY")],
        )
        if kind != "dir":
            yield Case(
                f"a directory that had a {kind} in it",
                [
                    root("mkdir", "x"),
                    *make(kind, "x/y"),
                    root("unlink", "x/y"),
                    root("rmdir", "x").gives("ok"),
                ],
            )
    yield Case("a dot at the end", [root("mkdir", "x"), root("rmdir", "x/.").gives("EINVAL")])
    yield Case("two dots at the end", [root("mkdir", "x"), root("mkdir", "x/y"), root("rmdir", "x/y/..")])
    yield Case(
        "a symlink to a directory", [root("mkdir", "x"), root("symlink", "x", "s"), root("rmdir", "s")]
    )
    yield Case(
        "a symlink to a directory with a slash",
        [root("mkdir", "x"), root("symlink", "x", "s"), root("rmdir", "s/")],
    )
    yield Case("a slash at the end", [root("mkdir", "x"), root("rmdir", "x/").gives("ok")])
    yield Case("a bad address", [root("bad_address", "rmdir").gives("EFAULT")])
    yield Case(
        "a directory that somebody has open",
        [
            root("mkdir", "x"),
            root("open", "x", os.O_RDONLY | os.O_DIRECTORY, 0, "d"),
            root("rmdir", "x").gives("ok"),
            root("fstat", "d"),
            root("mkdir", "x").gives("ok"),
            root("lstat", "x"),
            root("close", "d"),
        ],
    )


def sticky(call: str, kind: str) -> Iterator[Case]:
    """In a sticky directory: the owner of the name, the owner of the directory and root may."""
    for mode in (0o777, 0o1777, 0o1770, 0o3777):
        for above in CALLERS[:3]:
            for owner in ("root", "ann", "bob"):
                for user in CALLERS:
                    yield Case(
                        f"{call} by {user}: a {kind} of {owner}'s in a directory of {above}'s, {mode:o}",
                        [
                            root("mkdir", "d"),
                            *make(kind, "d/x", owner),
                            root("chown", "d", uid(above), SHARED_GROUP),
                            root("chmod", "d", mode),
                            by(user, call, "d/x"),
                            root("listdir", "d"),
                        ],
                    )


def test_unlink_is_as_in_a_plain_directory(sides: Sides) -> None:
    """Every kind of file, every bad path; also while it is open."""
    count = sides.check(_unlinks())
    count += sides.check(
        path_errors("unlink", lambda name: root("unlink", name), needs="file", follows=False, leaves="d/name")
    )
    assert count > 90


def test_rmdir_is_as_in_a_plain_directory(sides: Sides) -> None:
    """Empty and not, every bad path."""
    count = sides.check(_rmdirs())
    count += sides.check(
        path_errors("rmdir", lambda name: root("rmdir", name), needs="dir", follows=False, leaves="d/name")
    )
    assert count > 90


@pytest.mark.parametrize("kind", KINDS)
def test_the_sticky_bit_decides_who_may_remove_a_name(sides: Sides, kind: str) -> None:
    """Callers, owners of the name and of the directory, modes."""
    assert sides.check(sticky("rmdir" if kind == "dir" else "unlink", kind)) == 144
