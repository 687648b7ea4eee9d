"""What calls are made on: the kinds of files, and ways to a name that every call treats alike."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator

from tests.posix.cases import Call, Case, by, gid, root, uid

KINDS = ["file", "dir", "symlink", "fifo", "socket", "char", "block"]
NOT_DIRECTORIES = [kind for kind in KINDS if kind != "dir"]
NAME_255 = "n" * 255
NAME_256 = "n" * 256
PATH_MAX = 4096


def make(kind: str, name: str, user: str = "root") -> list[Call]:
    """Calls that make a thing of a kind, which belongs to a user."""
    made = {
        "file": root("open", name, os.O_CREAT | os.O_EXCL, 0o644),
        "dir": root("mkdir", name, 0o755),
        "symlink": root("symlink", "nowhere", name),
        "fifo": root("mkfifo", name, 0o644),
        "socket": root("bind", name),
        "char": root("mknod", name, stat.S_IFCHR | 0o644, 1, 3),
        "block": root("mknod", name, stat.S_IFBLK | 0o644, 7, 3),
    }[kind]
    return [made.gives("ok"), *([root("lchown", name, uid(user), gid(user))] if user != "root" else [])]


Makes = Callable[[str], Call]
"""A name → the call under test, of that name."""


def path_errors(
    call: str, of: Makes, *, needs: str | None, leaves: str | None = None, follows: bool = True
) -> Iterator[Case]:
    """
    Yield what every call has to say of a bad path.

    *needs* is the kind of thing that the call wants to find; None: it makes the name itself.
    *leaves*: what to look at afterwards, by `lstat`.  *follows*: whether it follows the last symlink.
    """
    for kind in NOT_DIRECTORIES:
        error = "ENOENT" if kind == "symlink" else "ENOTDIR"
        yield Case(
            f"{call}: a {kind} where a directory should be", [*make(kind, "x"), of("x/name").gives(error)]
        )
        yield Case(
            f"{call}: a symlink to a {kind} where a directory should be",
            [*make(kind, "x"), root("symlink", "x", "l"), of("l/name").gives(error)],
        )
    yield Case(f"{call}: a directory on the way is not there", [of("absent/name").gives("ENOENT")])
    yield Case(f"{call}: no path at all", [of("").gives("ENOENT")])
    yield Case(
        f"{call}: a symlink on the way leads nowhere",
        [root("symlink", "absent", "l"), of("l/name").gives("ENOENT")],
    )
    yield Case(
        f"{call}: symlinks on the way lead to each other",
        [root("symlink", "b", "a"), root("symlink", "a", "b"), of("a/name").gives("ELOOP")],
    )
    yield Case(
        f"{call}: a symlink on the way leads to itself",
        [root("symlink", "a", "a"), of("a/name").gives("ELOOP")],
    )
    for length in (40, 41):
        chain = [root("symlink", f"l{n + 1}", f"l{n}") for n in range(length)]
        yield Case(
            f"{call}: {length} symlinks on the way",
            [
                root("mkdir", f"l{length}"),
                *chain,
                *(make(needs, f"l{length}/name") if needs else []),
                of("l0/name").gives("ok" if length <= 40 else "ELOOP"),
            ],
        )
    yield Case(
        f"{call}: a name of 255 bytes", [*(make(needs, NAME_255) if needs else []), of(NAME_255).gives("ok")]
    )
    yield Case(f"{call}: a name of 256 bytes", [of(NAME_256).gives("ENAMETOOLONG")])
    yield Case(f"{call}: a directory of 256 bytes on the way", [of(f"{NAME_256}/name").gives("ENAMETOOLONG")])
    for length in (PATH_MAX - 1, PATH_MAX, PATH_MAX + 1):
        long = ("./" * PATH_MAX)[: length - 4] + "name"
        if long[length - 5] != "/":
            long = "." + "/" + long[2 : length - 6] + "//name"
        yield Case(
            f"{call}: a path of {len(long)} bytes", [*(make(needs, "name") if needs else []), of(long)]
        )
    for user in ("ann", "bob", "eve"):
        for mode in (
            0o000,
            0o100,
            0o200,
            0o300,
            0o400,
            0o500,
            0o600,
            0o700,
            0o710,
            0o711,
            0o755,
            0o770,
            0o777,
        ):
            probe = of("d/name")
            yield Case(
                f"{call}: by {user}, below a directory of Ann's with the mode {mode:o}",
                [
                    root("mkdir", "d"),
                    *(make(needs, "d/name", "ann") if needs else []),
                    root("chown", "d", uid("ann"), 64011),
                    root("chmod", "d", mode),
                    by(user, probe.name, *probe.arguments),
                    *([root("lstat", leaves)] if leaves else []),
                ],
            )
    if needs and follows:
        yield Case(
            f"{call}: the name is a symlink to itself", [root("symlink", "s", "s"), of("s").gives("ELOOP")]
        )
        yield Case(
            f"{call}: the name is a symlink that leads nowhere",
            [root("symlink", "absent", "s"), of("s").gives("ENOENT")],
        )
        yield Case(
            f"{call}: through a symlink",
            [*make(needs, "x"), root("symlink", "x", "s"), of("s").gives("ok"), root("lstat", "x")],
        )
    if needs:
        yield Case(f"{call}: the name is not there", [of("absent").gives("ENOENT")])
    for name in ("\udcff\udcfe", "\n", " ", "-", "ä", "\x01\x7f", "a\\b", "*?[", "…" * 85):
        yield Case(
            f"{call}: the name {name!r}"[:80], [*(make(needs, name) if needs else []), of(name).gives("ok")]
        )
