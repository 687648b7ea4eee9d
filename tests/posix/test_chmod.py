"""chmod(2) and fchmod(2)."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.posix.cases import SHARED_GROUP, Case, Sides, by, gid, root, uid
from tests.posix.things import KINDS, make, path_errors

pytestmark = [pytest.mark.mount, pytest.mark.timeout(120)]

MODES = (0o000, 0o111, 0o222, 0o444, 0o644, 0o755, 0o777, 0o1755, 0o2755, 0o4755, 0o6711, 0o7777)


def _success() -> Iterator[Case]:
    for kind in KINDS:
        if kind == "symlink":
            continue
        for mode in MODES:
            yield Case(
                f"a {kind} gets the mode {mode:o}",
                [
                    *make(kind, "x"),
                    root("remember", "x"),
                    root("chmod", "x", mode).gives("ok"),
                    root("changed", "x").gives("c"),
                    root("lstat", "x"),
                ],
            )
    for mode in MODES:
        yield Case(
            f"through a symlink, {mode:o}",
            [
                *make("file", "x"),
                root("symlink", "x", "s"),
                root("chmod", "s", mode).gives("ok"),
                root("lstat", "x"),
                root("lstat", "s"),
            ],
        )
        yield Case(
            f"fchmod {mode:o}",
            [
                root("open", "x", os.O_CREAT | os.O_RDWR, 0o600, "f"),
                root("remember", "x"),
                root("fchmod", "f", mode).gives("ok"),
                root("changed", "x").gives("c"),
                root("fstat", "f"),
                root("close", "f"),
                root("lstat", "x"),
            ],
        )


def _owners() -> Iterator[Case]:
    for kind in ("file", "dir", "fifo", "socket", "char", "block"):
        for user in ("root", "ann", "bob", "eve"):
            for group in (gid("ann"), SHARED_GROUP, gid("eve")):
                for mode in (0o640, 0o2755, 0o4755, 0o1777):
                    yield Case(
                        f"{user} sets {mode:o} on a {kind} of Ann's with the group {group}",
                        [
                            *make(kind, "x"),
                            root("chown", "x", uid("ann"), group),
                            by(user, "remember", "x"),
                            by(user, "chmod", "x", mode),
                            by(user, "changed", "x"),
                            root("lstat", "x"),
                        ],
                    )


def _more() -> Iterator[Case]:
    yield Case("a bad address", [root("bad_address", "chmod").gives("EFAULT")])
    for kind in KINDS:
        yield Case(
            f"mode bits of a {kind} decide at once",
            [
                *make(kind, "x"),
                root("chmod", "x", 0o600) if kind != "symlink" else root("lstat", "x"),
                by("eve", "access", "x", os.R_OK),
                by("eve", "access", "x", os.F_OK),
            ],
        )
    yield Case(
        "an open file goes on after its permissions are taken",
        [
            root("open", "x", os.O_CREAT | os.O_RDWR, 0o666, "r"),
            root("chmod", "x", 0o666),
            by("ann", "open", "x", os.O_RDWR, 0, "f"),
            root("chmod", "x", 0o000),
            by("ann", "write", "f", b"data").gives(4),
            by("ann", "pread", "f", 4, 0).gives(b"data"),
            by("ann", "open", "x", os.O_RDONLY).gives("EACCES"),
            by("ann", "close", "f"),
            root("close", "r"),
        ],
    )
    yield Case(
        "of an unlinked file",
        [
            root("open", "x", os.O_CREAT | os.O_RDWR, 0o644, "f"),
            root("unlink", "x"),
            root("fchmod", "f", 0o600).gives("ok"),
            root("fstat", "f"),
            root("close", "f"),
        ],
    )


def test_chmod_is_as_in_a_plain_directory(sides: Sides) -> None:
    """Every kind of file, every caller, every bad path."""
    count = sides.check(_success())
    count += sides.check(_owners())
    count += sides.check(_more())
    count += sides.check(path_errors("chmod", lambda name: root("chmod", name, 0o640), needs="file"))
    assert count > 300
