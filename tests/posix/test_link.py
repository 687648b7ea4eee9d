"""link(2)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import product

import pytest

from tests.posix.cases import SHARED_GROUP, Case, Sides, by, gid, root, uid
from tests.posix.things import KINDS, NOT_DIRECTORIES, make, path_errors

pytestmark = [pytest.mark.mount, pytest.mark.timeout(120)]

CALLERS = ("root", "ann", "bob", "eve")


def _links() -> Iterator[Case]:
    for kind in NOT_DIRECTORIES:
        yield Case(
            f"a {kind} with three names is one {kind}",
            [
                root("mkdir", "d"),
                *make(kind, "x", "ann"),
                root("remember", "x"),
                root("remember", "d"),
                root("link", "x", "d/y").gives("ok"),
                root("changed", "x").gives("c"),
                root("changed", "d").gives("mc"),
                root("link", "d/y", "z").gives("ok"),
                root("same", "x", "z").gives(True),
                root("same", "x", "d/y").gives(True),
                root("lstat", "z"),
                root("lchown", "d/y", uid("bob"), gid("bob")),
                root("lstat", "x"),
                root("unlink", "x"),
                root("lstat", "z"),
                root("unlink", "d/y"),
                root("lstat", "z"),
            ],
        )
        for target in KINDS:
            yield Case(
                f"a {kind} where a {target} stands",
                [
                    *make(kind, "x"),
                    *make(target, "y"),
                    root("link", "x", "y").gives("EEXIST"),
                    root("lstat", "x"),
                ],
            )
    for user in CALLERS:
        yield Case(
            f"of a directory by {user}", [root("mkdir", "x"), by(user, "link", "x", "y").gives("EPERM")]
        )
    yield Case("to itself", [*make("file", "x"), root("link", "x", "x").gives("EEXIST")])
    yield Case(
        "of a symlink, which it follows or not",
        [
            *make("file", "x"),
            root("symlink", "x", "s"),
            root("link", "s", "followed", True).gives("ok"),
            root("link", "s", "kept").gives("ok"),
            root("kind", "followed").gives("file"),
            root("kind", "kept").gives("symlink"),
        ],
    )
    yield Case(
        "what is written through one name shows under the other",
        [
            root("open", "x", os.O_CREAT | os.O_RDWR, 0o644, "f"),
            root("link", "x", "y"),
            root("write", "f", b"first"),
            root("contents", "y").gives(b"first"),
            root("open", "y", os.O_WRONLY | os.O_APPEND, 0, "g"),
            root("write", "g", b" second"),
            root("pread", "f", 20, 0).gives(b"first second"),
            root("truncate", "y", 3),
            root("contents", "x").gives(b"fir"),
            root("close", "f"),
            root("close", "g"),
        ],
    )
    yield Case(
        "of a file that lost its name",
        [
            root("open", "x", os.O_CREAT | os.O_RDWR, 0o644, "f"),
            root("unlink", "x"),
            root("link", "/proc/self/fd/absent", "y").gives("ENOENT"),
            root("fstat", "f"),
            root("close", "f"),
        ],
    )
    yield Case("to a name with a slash", [*make("file", "x"), root("link", "x", "y/")])
    yield Case(
        "two hundred names",
        [
            *make("file", "x"),
            *[root("link", "x", f"y{n}").gives("ok") for n in range(200)],
            root("lstat", "x"),
        ],
    )


def _permissions() -> Iterator[Case]:
    for kind, user, mode in product(
        ("file", "fifo", "symlink", "socket"), CALLERS, (0o000, 0o400, 0o600, 0o644, 0o666, 0o4755, 0o2755)
    ):
        # Where fs.protected_hardlinks is on, only what one may write, and no set-ID file, can be linked.
        yield Case(
            f"{user} links a {kind} of Ann's with the mode {mode:o}",
            [
                *make(kind, "x", "ann"),
                *([root("chmod", "x", mode)] if kind != "symlink" else []),
                by(user, "link", "x", "y"),
                root("lstat", "x"),
            ],
        )
    for user, mode in product(CALLERS, (0o555, 0o700, 0o711, 0o755, 0o770, 0o775, 0o777, 0o1777)):
        yield Case(
            f"{user} links into a directory of Ann's with the mode {mode:o}",
            [
                root("mkdir", "d"),
                *make("file", "x", user),
                root("chown", "d", uid("ann"), SHARED_GROUP),
                root("chmod", "d", mode),
                by(user, "link", "x", "d/y"),
                root("lstat", "x"),
            ],
        )


def test_link_is_as_in_a_plain_directory(sides: Sides) -> None:
    """Every kind of file, every caller, both paths bad in every way."""
    count = sides.check(_links()) + sides.check(_permissions())
    old = path_errors("old", lambda name: root("link", name, "y"), needs="file", follows=False)
    new = path_errors("new", lambda name: root("link", "y", name), needs=None, leaves="d/name")
    count += sides.check(old)
    count += sides.check(
        Case(case.name, [*make("file", "y", "ann"), root("chmod", "y", 0o666), *case.calls]) for case in new
    )
    assert count > 330
