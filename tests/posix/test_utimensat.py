"""utimensat(2)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest

from tests.posix.cases import SHARED_GROUP, Case, Sides, by, root, uid
from tests.posix.things import KINDS, make, path_errors

pytestmark = [pytest.mark.mount, pytest.mark.timeout(120)]

NOW, OMIT = (1 << 30) - 1, (1 << 30) - 2
NOFOLLOW = 0x100
CALLERS = ("root", "ann", "bob", "eve")


def _times() -> Iterator[Case]:
    for kind in KINDS:
        for seconds, ns in (
            (0, 0),
            (1, 1),
            (1_000_000_000, 123_456_789),
            (2_000_000_000, 999_999_999),
            (1 << 31, 0),
            (1 << 33, 7),
            (-1, 5),
        ):
            yield Case(
                f"a {kind} gets {seconds}.{ns:09}",
                [
                    *make(kind, "x"),
                    root("remember", "x"),
                    root("set_times", "x", (seconds, ns), (seconds + 5, ns // 2), NOFOLLOW).gives("ok"),
                    root("times", "x").gives((seconds * 10**9 + ns, (seconds + 5) * 10**9 + ns // 2)),
                    root("changed", "x").gives("mc"),
                ],
            )
        for atime, mtime in product((NOW, OMIT, 5), repeat=2):
            yield Case(
                f"a {kind} gets {atime}, {mtime}",
                [
                    *make(kind, "x"),
                    root("set_times", "x", (7, 7), (8, 8), NOFOLLOW),
                    root("remember", "x"),
                    root("set_times", "x", (3, atime), (4, mtime), NOFOLLOW).gives("ok"),
                    root("changed", "x"),
                    root("is_now", "x"),
                    *([root("times", "x")] if NOW not in (atime, mtime) else []),
                ],
            )
    for bad in (10**9, -1, 1 << 31):
        yield Case(
            f"{bad} nanoseconds",
            [*make("file", "x"), root("set_times", "x", (1, bad), (1, 0)).gives("EINVAL")],
        )
    yield Case(
        "a symlink is followed, or not",
        [
            *make("file", "x"),
            root("symlink", "x", "s"),
            root("set_times", "s", (1, 1), (2, 2)).gives("ok"),
            root("set_times", "s", (3, 3), (4, 4), NOFOLLOW).gives("ok"),
            root("times", "x").gives((1 * 10**9 + 1, 2 * 10**9 + 2)),
            root("times", "s").gives((3 * 10**9 + 3, 4 * 10**9 + 4)),
        ],
    )
    yield Case(
        "times that were set stay when other attributes change",
        [
            *make("file", "x"),
            root("set_times", "x", (1, 1), (2, 2)),
            root("chmod", "x", 0o600),
            root("chown", "x", 5, 5),
            root("link", "x", "y"),
            root("rename", "y", "z"),
            root("times", "z").gives((1 * 10**9 + 1, 2 * 10**9 + 2)),
        ],
    )


def _permissions() -> Iterator[Case]:
    for user, mode, (atime, mtime) in product(
        CALLERS,
        (0o000, 0o400, 0o444, 0o600, 0o644, 0o660, 0o666, 0o602),
        ((NOW, NOW), (5, 5), (NOW, 5), (OMIT, NOW), (OMIT, OMIT), (NOW, OMIT)),
    ):
        yield Case(
            f"{user} sets {atime}, {mtime} on {mode:o}",
            [
                *make("file", "x"),
                root("set_times", "x", (1, 1), (2, 2)),
                root("chown", "x", uid("ann"), SHARED_GROUP),
                root("chmod", "x", mode),
                by(user, "set_times", "x", (9, atime), (9, mtime)),
                by(user, "set_times_now", "x"),
                root("is_now", "x"),
            ],
        )


def test_utimensat_is_as_in_a_plain_directory(sides: Sides) -> None:
    """Nanoseconds, UTIME_NOW and UTIME_OMIT, every caller, every bad path."""
    count = sides.check(_times()) + sides.check(_permissions())
    count += sides.check(
        path_errors("utimensat", lambda name: root("set_times", name, (1, 2), (3, 4)), needs="file")
    )
    assert count > 350
