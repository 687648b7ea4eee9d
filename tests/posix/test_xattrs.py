"""setxattr(2), getxattr(2), listxattr(2), removexattr(2), on a mount with the option `--xattrs`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import product

import pytest

from tests.posix.cases import SHARED_GROUP, Case, Sides, by, root, uid
from tests.posix.sides import both_sides
from tests.posix.things import KINDS, make

pytestmark = [pytest.mark.mount, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def with_xattrs() -> Iterator[Sides]:
    """Two sides whose mount keeps extended attributes."""
    with both_sides(xattrs=True) as made:
        yield made


def _cases() -> Iterator[Case]:
    for kind in ("file", "dir"):
        yield Case(
            f"an attribute of a {kind} is set, changed and removed",
            [
                *make(kind, "x"),
                root("listxattr", "x").gives([]),
                root("getxattr", "x", "user.a").gives("ENODATA"),
                root("remember", "x"),
                root("setxattr", "x", "user.a", b"one").gives("ok"),
                root("changed", "x").gives("c"),
                root("setxattr", "x", "user.b", b"\0\xff" * 100).gives("ok"),
                root("setxattr", "x", "user.a", b"").gives("ok"),
                root("getxattr", "x", "user.a").gives(b""),
                root("getxattr", "x", "user.b").gives(b"\0\xff" * 100),
                root("listxattr", "x").gives(["user.a", "user.b"]),
                root("removexattr", "x", "user.a").gives("ok"),
                root("removexattr", "x", "user.a").gives("ENODATA"),
                root("listxattr", "x").gives(["user.b"]),
                root("rename", "x", "y"),
                root("getxattr", "y", "user.b"),
            ],
        )
        for user, mode in product(
            ("root", "ann", "bob", "eve"), (0o000, 0o444, 0o600, 0o644, 0o664, 0o666, 0o1777)
        ):
            yield Case(
                f"{user} sets and reads one of a {kind} of Ann's with the mode {mode:o}",
                [
                    *make(kind, "x"),
                    root("setxattr", "x", "user.b", b"there"),
                    root("chown", "x", uid("ann"), SHARED_GROUP),
                    root("chmod", "x", mode),
                    by(user, "setxattr", "x", "user.a", b"value"),
                    by(user, "getxattr", "x", "user.b"),
                    by(user, "listxattr", "x"),
                    by(user, "removexattr", "x", "user.b"),
                ],
            )
    for kind in KINDS:
        if kind not in ("file", "dir", "symlink"):
            yield Case(
                f"a {kind} has none", [*make(kind, "x"), root("setxattr", "x", "user.a", b"v").gives("EPERM")]
            )
    for length in (0, 1, 100, 1000, 3000):
        yield Case(
            f"a value of {length} bytes",
            [
                *make("file", "x"),
                root("setxattr", "x", "user.a", b"v" * length).gives("ok"),
                root("getxattr", "x", "user.a"),
            ],
        )
    for length in (5000, 60_000):
        yield Case(
            f"a value of {length} bytes",
            [*make("file", "x"), root("setxattr", "x", "user.a", b"v" * length).gives("ENOSPC")],
        )
    yield Case(
        "a value that is too long",
        [*make("file", "x"), root("setxattr", "x", "user.a", b"v" * 65_537).gives("E2BIG")],
    )
    for length in (1, 250, 251):
        yield Case(
            f"a name of {length + 5} bytes",
            [*make("file", "x"), root("setxattr", "x", "user." + "n" * length, b"v"), root("listxattr", "x")],
        )
    for name in ("user.", "unknown.a", "a", "system.a"):
        yield Case(
            f"the name {name}",
            [*make("file", "x"), root("setxattr", "x", name, b"v"), root("listxattr", "x")],
        )
    yield Case(
        "both names of a file",
        [
            *make("file", "x"),
            root("link", "x", "y"),
            root("setxattr", "x", "user.a", b"v"),
            root("getxattr", "y", "user.a").gives(b"v"),
        ],
    )


def _flags() -> Iterator[Case]:
    for flag, is_there in product((os.XATTR_CREATE, os.XATTR_REPLACE), (False, True)):
        error = "EEXIST" if is_there else "ENODATA"
        yield Case(
            f"the flag {flag} where the attribute is {'there' if is_there else 'not there'}",
            [
                *make("file", "x"),
                *([root("setxattr", "x", "user.a", b"before")] if is_there else []),
                root("setxattr", "x", "user.a", b"after", flag).gives(
                    "ok" if is_there == (flag == os.XATTR_REPLACE) else error
                ),
                root("getxattr", "x", "user.a"),
            ],
        )


def test_extended_attributes_are_made_or_replaced_as_the_flags_ask(with_xattrs: Sides) -> None:
    """XATTR_CREATE and XATTR_REPLACE."""
    if with_xattrs.mounted.transport != "direct":
        pytest.skip("libfuse does not hand the flags on to pyfuse3")
    assert with_xattrs.check(_flags()) == 4


def test_extended_attributes_are_as_in_a_plain_directory(with_xattrs: Sides) -> None:
    """Names, sizes, permissions, kinds of files."""
    assert with_xattrs.check(_cases()) > 70


def test_extended_attributes_are_in_the_finished_commit(with_xattrs: Sides) -> None:
    """Of a file, a directory and the root; a later commit keeps and changes them; none is content."""
    mount = with_xattrs.mounted
    master = mount.repo("kept")
    (master / "d").mkdir()
    (master / "d" / "f").write_bytes(b"data")
    plain = mount.finish("kept")
    for path in (master, master / "d", master / "d" / "f"):
        os.setxattr(path, "user.a", path.name.encode())
    first = mount.finish("kept")
    (master / "d" / "g").write_bytes(b"more")
    os.setxattr(master / "d" / "f", "user.b", b"later")
    second = mount.finish("kept")
    mount.restart()

    assert plain.root is not None
    assert first.root is not None
    assert plain.root.content == first.root.content
    at = mount.point / "kept" / ".commits"
    for commit, more in ((first, []), (second, ["user.b"])):
        there = at / commit.id.hex()
        assert [b"master", b"d", b"f"] == [
            os.getxattr(p, "user.a") for p in (there, there / "d", there / "d" / "f")
        ]
        assert ["user.a", *more] == sorted(os.listxattr(there / "d" / "f"))
        with pytest.raises(OSError, match="Read-only"):
            os.setxattr(there / "d" / "f", "user.a", b"x")
    assert b"f" == os.getxattr(master / "d" / "f", "user.a")
