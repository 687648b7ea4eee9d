"""Finished commits: every call that would change something answers EROFS, and reading is complete."""

from __future__ import annotations

import os
import stat

import pytest

from tests.posix.cases import Call, Sides, by, root
from tests.posix.things import KINDS, make

pytestmark = [pytest.mark.mount, pytest.mark.timeout(120)]

_DEVICES = ("char", "block")


def _changes(kind: str) -> list[Call]:
    """Calls that would change *kind*, or the directory that it is in."""
    changing = [
        root("lchown", kind, 5, 5),
        root("set_times", kind, (1, 1), (2, 2), 0x100),
        root("rename", kind, "new"),
        root("rename", kind, "other", 2),
        root("rename", kind, "new", 1),
        root("link", kind, "new") if kind != "dir" else root("mkdir", "dir/new"),
        root("rmdir" if kind == "dir" else "unlink", kind),
    ]
    if kind != "symlink":
        changing.append(root("chmod", kind, 0o600))
    if kind != "dir":
        # Of a file over a directory the kernel says EISDIR before it asks the mount.
        changing.append(root("rename", "other", kind))
    if kind in ("file", "dir"):
        changing.append(root("setxattr", kind, "user.a", b"x"))
    if kind == "file":
        opening = [
            os.O_WRONLY,
            os.O_RDWR,
            os.O_WRONLY | os.O_TRUNC,
            os.O_RDWR | os.O_APPEND,
            os.O_WRONLY | os.O_CREAT,
        ]
        changing += [root("open", kind, flags) for flags in opening]
        changing += [root("truncate", kind, 0), root("truncate", kind, 100)]
    return changing


_MAKES = [
    root("open", "new", os.O_CREAT | os.O_WRONLY),
    root("open", "new", os.O_CREAT | os.O_EXCL),
    root("mkdir", "new"),
    root("mkfifo", "new"),
    root("mknod", "new", stat.S_IFREG | 0o644),
    root("mknod", "new", stat.S_IFCHR | 0o644, 1, 3),
    root("symlink", "target", "new"),
    root("bind", "new"),
]


def test_a_finished_commit_refuses_every_change_and_is_read_whole(sides: Sides) -> None:
    """Every kind of file; as root, whom no permission stops."""
    mount = sides.mounted
    master = mount.repo("finished")
    content = [call for kind in [*KINDS, "other"] for call in make("file" if kind == "other" else kind, kind)]
    data = bytes(range(256)) * 2000
    filled = [
        *content,
        root("open", "file", os.O_WRONLY, 0, "f"),
        root("write", "f", data),
        root("close", "f"),
        root("link", "file", "dir/linked"),
    ]
    sides.callers.run(master, filled)
    looks = [root("lstat", kind) for kind in KINDS] + [root("listdir", "."), root("listdir", "dir")]
    looks += [root("contents", "file"), root("contents", "dir/linked"), root("readlink", "symlink")]
    looks += [by("eve", "contents", "file"), root("same", "file", "dir/linked")]
    before = sides.callers.run(master, looks)
    commit = mount.finish("finished")
    there = mount.point / "finished" / ".commits" / commit.id.hex()

    changes = [*_MAKES, *[call for kind in KINDS for call in _changes(kind)]]
    # The mount has no extended attributes.
    expected = ["ENOTSUP" if call.name == "setxattr" else "EROFS" for call in changes]
    for _ in range(2):
        got = sides.callers.run(there, changes)
        assert [] == [
            (str(call), outcome, wanted)
            for call, outcome, wanted in zip(changes, got, expected, strict=True)
            if outcome != wanted
        ]
        assert before == sides.callers.run(there, looks)
