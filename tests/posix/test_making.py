"""mkdir(2), mkfifo(3), mknod(2), symlink(2), and sockets."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from itertools import product

import pytest

from tests.posix.cases import SHARED_GROUP, Call, Case, Sides, by, root, uid
from tests.posix.things import KINDS, make, path_errors

pytestmark = [pytest.mark.mount, pytest.mark.timeout(120)]

CALLERS = ("root", "ann", "bob", "eve")
Way = Callable[[str, str, int], Call]
"""(user, name, mode) → the call."""

WAYS: dict[str, Way] = {
    "mkdir": lambda user, name, mode: by(user, "mkdir", name, mode),
    "mkfifo": lambda user, name, mode: by(user, "mkfifo", name, mode),
    "mknod of a file": lambda user, name, mode: by(user, "mknod", name, stat.S_IFREG | mode),
    "mknod of a FIFO": lambda user, name, mode: by(user, "mknod", name, stat.S_IFIFO | mode),
    "mknod of a socket": lambda user, name, mode: by(user, "mknod", name, stat.S_IFSOCK | mode),
    "mknod of a character device": lambda user, name, mode: by(
        user, "mknod", name, stat.S_IFCHR | mode, 1, 3
    ),
    "mknod of a block device": lambda user, name, mode: by(
        user, "mknod", name, stat.S_IFBLK | mode, 259, 70000
    ),
    "symlink": lambda user, name, mode: by(user, "symlink", "target", name),
}
MODES = (0o000, 0o151, 0o644, 0o755, 0o777, 0o1777, 0o2755, 0o4755, 0o7777)


def _made(way: str, call: Way) -> Iterator[Case]:
    for mode, mask, user in product(MODES, (0o000, 0o022, 0o077), ("root", "ann")):
        yield Case(
            f"{way} by {user} with {mode:o} under the mask {mask:o}",
            [by(user, "umask", mask), call(user, "x", mode), by(user, "umask", 0o022), root("lstat", "x")],
        )
    for mode, group, user in product(
        (0o755, 0o777, 0o2777, 0o2755, 0o1777), (SHARED_GROUP, uid("eve")), CALLERS
    ):
        yield Case(
            f"{way} by {user} in a directory {mode:o} of the group {group}",
            [
                root("mkdir", "d"),
                root("chown", "d", uid("ann"), group),
                root("chmod", "d", mode),
                call(user, "d/x", 0o2755),
                root("lstat", "d/x"),
            ],
        )
    for kind in KINDS:
        yield Case(
            f"{way} where a {kind} stands",
            [*make(kind, "x"), call("root", "x", 0o644).gives("EEXIST"), root("lstat", "x")],
        )
    yield Case(
        f"{way}: the directory changes, and what is made has times of now",
        [
            root("mkdir", "d"),
            root("remember", "d"),
            call("root", "d/x", 0o644).gives("ok"),
            root("changed", "d").gives("mc"),
            root("lstat", "d"),
            root("is_now", "d/x").gives([True, True]),
        ],
    )
    for name in (".", "..", "x/", "x/."):
        yield Case(f"{way}: the name {name}", [call("root", name, 0o644), root("listdir", ".")])


def _symlinks() -> Iterator[Case]:
    for target in ("x", "../..", "/", "\udcff", "a b\nc", "t" * 255, "t" * 4095, "t" * 4096, ""):
        yield Case(
            f"a symlink to {target[:10]!r}, {len(target)} bytes",
            [root("symlink", target, "s"), root("readlink", "s"), root("lstat", "s")],
        )
    for kind in KINDS:
        if kind != "symlink":
            yield Case(f"readlink of a {kind}", [*make(kind, "x"), root("readlink", "x").gives("EINVAL")])
    yield Case(
        "mode of a symlink",
        [root("umask", 0o077), root("symlink", "x", "s"), root("umask", 0o022), root("lstat", "s")],
    )


def _special() -> Iterator[Case]:
    yield Case(
        "a FIFO carries bytes",
        [
            root("mkfifo", "f", 0o666),
            root("open", "f", os.O_RDWR | os.O_NONBLOCK, 0, "both"),
            root("write", "both", b"through").gives(7),
            root("read", "both", 7).gives(b"through"),
            root("lstat", "f"),
            root("close", "both"),
            root("open", "f", os.O_WRONLY | os.O_NONBLOCK).gives("ENXIO"),
        ],
    )
    yield Case(
        "a socket is bound once and refuses when nobody listens",
        [
            root("bind", "s").gives("ok"),
            root("bind", "s").gives("EADDRINUSE"),
            root("connect", "s").gives("ECONNREFUSED"),
            root("lstat", "s"),
        ],
    )
    for major, minor in ((1, 3), (0, 0), (255, 255), (4095, 1048575)):
        for kind in (stat.S_IFCHR, stat.S_IFBLK):
            yield Case(
                f"the device {major}:{minor} of the kind {kind:o}",
                [root("mknod", "x", kind | 0o600, major, minor).gives("ok"), root("lstat", "x")],
            )


@pytest.mark.parametrize("way", WAYS)
def test_what_is_made_is_as_in_a_plain_directory(sides: Sides, way: str) -> None:
    """Modes, masks, set-group-ID directories, names that are taken, every bad path."""
    call = WAYS[way]
    count = sides.check(_made(way, call))
    count += sides.check(
        path_errors(way, lambda name: call("root", name, 0o755), needs=None, leaves="d/name")
    )
    assert count > 150


def test_symlinks_and_special_files_are_as_in_a_plain_directory(sides: Sides) -> None:
    """Targets of any bytes, FIFOs that carry bytes, sockets, device numbers."""
    assert sides.check(_symlinks()) + sides.check(_special()) > 20
