"""Replacing what a file of an earlier commit holds, through a real mount."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.support.system import System

pytestmark = [pytest.mark.mount, pytest.mark.timeout(60)]


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    """A mount without a runner."""
    with System("", run=False) as system:
        yield system


@pytest.mark.parametrize("flags", [os.O_WRONLY | os.O_TRUNC, os.O_RDWR | os.O_TRUNC | os.O_CREAT])
def test_opening_with_truncation_leaves_nothing_of_the_longer_file_before(system: System, flags: int) -> None:
    """
    The kernel leaves the truncation of open(2) to the file system; nothing else tells of it.
    """
    repo = f"truncation-{flags}"
    system.create_repo(repo)
    first = system.put(repo, {"file": b"a long line\n"})
    path = system.branch(repo) / "file"

    fd = os.open(path, flags)
    os.write(fd, b"short\n")
    os.close(fd)
    second = system.finish(repo)

    assert {"file": b"a long line\n"} == system.files(repo, first)
    assert {"file": b"short\n"} == system.files(repo, second)
    assert b"short\n" == path.read_bytes()


def test_truncation_alone_is_a_change(system: System) -> None:
    """
    `> file` writes nothing.
    """
    system.create_repo("emptied")
    system.put("emptied", {"file": b"data", "large": b"x" * 300_000})

    for name in ("file", "large"):
        os.close(os.open(system.branch("emptied") / name, os.O_WRONLY | os.O_TRUNC))

    assert {"file": b"", "large": b""} == system.files("emptied", system.finish("emptied"))
