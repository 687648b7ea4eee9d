"""The kernel keeps listings of directories; none of them is ever out of date."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pfsfuse.versions.changesets import Delete, Put
from pfsfuse.versions.owner import commit_changes
from tests.support.builders import ref
from tests.support.mounting import Mounted, mounted

pytestmark = [pytest.mark.mount, pytest.mark.timeout(60)]


@pytest.fixture(scope="module")
def mount() -> Iterator[Mounted]:
    """A mount that finishes nothing by itself."""
    with mounted(autocommit_s=-1) as made:
        yield made


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return "".join(c if c.isalnum() else "-" for c in request.node.name)[:60]


def listed(folder: Path) -> list[str]:
    """List a directory, twice, so that the kernel has the listing."""
    once, again = sorted(os.listdir(folder)), sorted(os.listdir(folder))
    assert once == again
    return once


def requests_for(mount: Mounted, work: Callable[[], object]) -> int:
    """Return how often the names of a directory are asked for while *work* is done."""
    before = mount.status()["listings"]
    work()
    return int(mount.status()["listings"]) - before


def test_a_listing_is_asked_for_once(mount: Mounted, name: str) -> None:
    """Of a committed directory, and of one in an open commit."""
    mount.world.commit({"d/f": b"1"}, repo=name)
    mount.barrier()
    folder = mount.master(name) / "d"
    listed(folder)

    assert 0 == requests_for(mount, lambda: listed(folder))
    (folder / "new").write_bytes(b"2")
    assert ["f", "new"] == listed(folder)
    assert 0 == requests_for(mount, lambda: listed(folder))


def test_what_one_changes_oneself_is_in_the_next_listing(mount: Mounted, name: str) -> None:
    """Made, renamed, linked, removed; between any two the directory is listed."""
    folder = mount.repo(name)
    assert [] == listed(folder)
    (folder / "a").write_bytes(b"a")
    assert ["a"] == listed(folder)
    os.rename(folder / "a", folder / "b")
    assert ["b"] == listed(folder)
    os.link(folder / "b", folder / "c")
    os.mkdir(folder / "d")
    assert ["b", "c", "d"] == listed(folder)
    os.rename(folder / "c", folder / "d/c")
    assert (["b", "d"], ["c"]) == (listed(folder), listed(folder / "d"))
    os.unlink(folder / "b")
    assert ["d"] == listed(folder)
    mount.finish(name)
    assert (["d"], ["c"]) == (listed(folder), listed(folder / "d"))


def test_a_commit_of_somebody_else_is_in_the_next_listing(mount: Mounted, name: str) -> None:
    """Names added, also directories with something in them, and removed, at each level."""
    mount.world.commit({"f": b"1", "d/g": b"1", "d/e/h": b"1"}, repo=name)
    mount.barrier()
    master = mount.master(name)
    before = [listed(master), listed(master / "d"), listed(master / "d/e")]
    assert [["d", "f"], ["e", "g"], ["h"]] == before

    world = mount.world
    paths = [(b"d", b"e", b"i"), (b"d", b"new", b"x"), (b"top",)]
    changes = [*(Put(path, world.entry(b"2")) for path in paths), Delete((b"f",))]
    commit_changes(world.store, world.trees, ref(name), changes)
    mount.barrier()

    after = [listed(master), listed(master / "d"), listed(master / "d/e"), listed(master / "d/new")]
    assert [["d", "top"], ["e", "g", "new"], ["h", "i"], ["x"]] == after


def test_what_others_put_into_an_open_commit_is_in_the_next_listing(mount: Mounted, name: str) -> None:
    """A change set adds files, also below directories that did not exist, and removes one."""
    master = mount.repo(name)
    (master / "d").mkdir()
    (master / "d/f").write_bytes(b"1")
    assert (["d"], ["f"]) == (listed(master), listed(master / "d"))

    entry = mount.world.entry(b"2")
    with mount.client() as client:
        client.apply(
            ref(name),
            [Put((b"d", b"g"), entry), Put((b"new", b"deep", b"h"), entry), Delete((b"d", b"f"))],
        )

    assert (["d", "new"], ["g"]) == (listed(master), listed(master / "d"))
    assert (["deep"], ["h"]) == (listed(master / "new"), listed(master / "new/deep"))


def test_a_dropped_commit_leaves_the_listings_of_the_one_before(mount: Mounted, name: str) -> None:
    """What was made and removed in it was listed, and nobody has looked it up since."""
    mount.world.commit({"f": b"1", "d/g": b"1"}, repo=name)
    mount.barrier()
    master = mount.master(name)
    (master / "new").write_bytes(b"2")
    os.unlink(master / "f")
    os.unlink(master / "d/g")
    assert (["d", "new"], []) == (listed(master), listed(master / "d"))

    with mount.client() as client:
        client.drop(ref(name))

    assert (["d", "f"], ["g"]) == (listed(master), listed(master / "d"))


def test_new_repos_and_branches_are_listed_at_once(mount: Mounted, name: str) -> None:
    """The upper levels are never kept."""
    assert name not in listed(mount.point)
    mount.repo(name)
    assert name in listed(mount.point)
    assert [".commits", "master"] == listed(mount.point / name)
    (mount.point / name / "staging").mkdir()
    assert [".commits", "master", "staging"] == listed(mount.point / name)


def test_an_inode_has_its_number_again_after_the_next_mount(mount: Mounted, name: str) -> None:
    """Programs that make backups tell by it whether they know a file."""
    mount.world.commit({"d/f": b"1"}, repo=name)
    mount.barrier()
    path = mount.master(name) / "d/f"
    before = path.stat().st_ino, path.parent.stat().st_ino
    mount.restart()

    assert before == (path.stat().st_ino, path.parent.stat().st_ino)
