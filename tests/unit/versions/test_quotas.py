"""Quotas: what would make a branch larger than its repo allows is refused, and nothing else is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pfsfuse.errors import QuotaError
from pfsfuse.ids import RepoName
from pfsfuse.trees.entry import Kind
from pfsfuse.versions.branches import create_branch
from pfsfuse.versions.changesets import Append, Delete, Put
from pfsfuse.versions.merging import Side, merge_branch
from pfsfuse.versions.overlay import Overlay
from pfsfuse.versions.owner import Owner, put_without_mount
from pfsfuse.versions.quotas import logical_size
from pfsfuse.versions.repos import KEEP, create_repo, repo, update_repo
from pfsfuse.versions.staged import StagedFile
from tests.support.builders import World, path_of, ref

LIMIT = 10_000


@pytest.fixture
def limited(world: World) -> World:
    """A store with the repo `images`, which may have 10,000 bytes and has 4,000."""
    with world.store.write() as txn:
        create_repo(txn, "images", quota_bytes=LIMIT)
        create_branch(txn, RepoName("images"), "master")
    put(world, "a", b"a" * 4000)
    return world


@pytest.fixture
def overlay(limited: World) -> Iterator[Overlay]:
    """The open commit of that repo; what is in it can be committed at the end."""
    owner = Owner(limited.store, limited.trees)
    opened = owner.start(ref())
    yield opened.overlay
    size = logical_size(opened.overlay)
    root = owner.finish(opened).root
    assert root is not None
    assert size == root.size
    owner.close()


def put(world: World, path: str, data: bytes, *, append: bool = False) -> None:
    make = Append if append else Put
    put_without_mount(world.store, world.trees, ref(), [make(path_of(path), world.entry(data))])


def create(overlay: Overlay, name: bytes, size: int = 0) -> StagedFile:
    made = overlay.create(overlay.root, name, Kind.FILE, mode=0o644, uid=0, gid=0)
    assert isinstance(made, StagedFile)
    overlay.write(made, 0, b"x" * size)
    overlay.save(made)
    return made


# Whole commits


def test_a_change_set_that_would_exceed_the_quota_is_refused_as_a_whole(limited: World) -> None:
    """
    Two files, of which the first alone would fit.
    """
    changes = [Put(path_of(name), limited.entry(b"x" * 4000)) for name in ("b", "c")]

    with pytest.raises(QuotaError, match="repo images would have 12000 bytes; its quota is 10000"):
        put_without_mount(limited.store, limited.trees, ref(), changes)

    assert {"a": b"a" * 4000} == limited.files(limited.head().root)


def test_what_replaces_or_appends_counts_as_what_it_makes(limited: World) -> None:
    """
    The last byte that fits, and the first that does not.
    """
    put(limited, "a", b"b" * LIMIT)

    with pytest.raises(QuotaError):
        put(limited, "a", b"!", append=True)
    put(limited, "a", b"c" * 10)
    put(limited, "a", b"d" * (LIMIT - 10), append=True)

    assert LIMIT == len(limited.files(limited.head().root)["a"])


def test_a_branch_above_a_lowered_quota_can_be_read_and_made_smaller(limited: World) -> None:
    """
    The quota was lowered to below what is there.
    """
    put(limited, "b", b"b" * 4000)
    with limited.store.write() as txn:
        update_repo(txn, "images", quota_bytes=1000)

    with pytest.raises(QuotaError):
        put(limited, "c", b"c")
    put(limited, "b", b"b" * 3999)
    put_without_mount(limited.store, limited.trees, ref(), [Delete(path_of("a"))])

    assert {"b": b"b" * 3999} == limited.files(limited.head().root)


def test_a_merge_that_would_exceed_the_quota_is_refused(limited: World) -> None:
    """
    Two branches have 8,000 bytes each, of which 4,000 are the same.
    """
    head = limited.head().id
    with limited.store.write() as txn:
        create_branch(txn, RepoName("images"), "other", head=head)
    put(limited, "b", b"b" * 4000)
    other = [Put(path_of("c"), limited.entry(b"c" * 4000))]
    put_without_mount(limited.store, limited.trees, ref(branch="other"), other)

    with pytest.raises(QuotaError):
        merge_branch(limited.store, limited.trees, RepoName("images"), "other", ref(), favour=Side.OURS)

    assert {"a", "b"} == limited.files(limited.head().root).keys()


def test_an_update_of_a_repo_keeps_the_quota_that_it_does_not_name(limited: World) -> None:
    """
    A new description, and then no limit.
    """
    with limited.store.write() as txn:
        assert LIMIT == update_repo(txn, "images", description="new", quota_bytes=KEEP).quota_bytes
        assert update_repo(txn, "images", quota_bytes=None).quota_bytes is None
        assert repo(txn, "images").description == "new"


# Open commits


def test_a_write_beyond_the_quota_changes_nothing(overlay: Overlay) -> None:
    """
    6,000 bytes are left; the file has 5,000 of them.
    """
    file = create(overlay, b"b", 5000)

    with pytest.raises(QuotaError, match="this would make 10001 bytes"):
        overlay.write(file, 5000, b"x" * 1001)

    assert 5000 == file.size
    overlay.write(file, 0, b"y" * 5000)
    overlay.write(file, 5000, b"x" * 1000)
    assert LIMIT == logical_size(overlay)


def test_what_is_removed_or_cut_makes_room(overlay: Overlay) -> None:
    """
    The commit is full; a file of the base goes, another is truncated.
    """
    file = create(overlay, b"b", 6000)
    with pytest.raises(QuotaError):
        create(overlay, b"c", 1)

    overlay.remove(overlay.root, b"a", is_directory=False)
    overlay.truncate(file, 1000)
    create(overlay, b"d", 9000)

    assert LIMIT == logical_size(overlay)
    with pytest.raises(QuotaError):
        overlay.truncate(file, 1001)


def test_a_hard_link_counts_as_the_file_that_it_will_be(overlay: Overlay) -> None:
    """
    In a finished commit the names of a file are equal files.
    """
    file = create(overlay, b"b", 2500)
    overlay.link(file, overlay.root, b"c")

    with pytest.raises(QuotaError):
        overlay.link(file, overlay.root, b"d")
    with pytest.raises(QuotaError):
        overlay.write(file, 2500, b"x" * 501)
    overlay.write(file, 2500, b"x" * 500)

    assert LIMIT == logical_size(overlay)


def test_links_and_immutable_entries_count_too(overlay: Overlay, limited: World) -> None:
    """
    The target of a symbolic link is a few bytes; a change set brings whole files.
    """
    create(overlay, b"b", 5990)
    overlay.create(overlay.root, b"s", Kind.SYMLINK, mode=0o777, uid=0, gid=0, target=b"12345")

    with pytest.raises(QuotaError):
        overlay.create(overlay.root, b"t", Kind.SYMLINK, mode=0o777, uid=0, gid=0, target=b"123456")
    with pytest.raises(QuotaError):
        overlay.put_entry(overlay.root, b"e", limited.entry(b"123456"))
    overlay.put_entry(overlay.root, b"a", limited.entry(b"a" * 4005))

    assert LIMIT == logical_size(overlay)


def test_a_file_without_a_name_takes_nothing_of_the_quota(overlay: Overlay) -> None:
    """
    A temporary file was unlinked while it is open: no commit has it.
    """
    file = create(overlay, b"b", 6000)
    file.tag = object()
    overlay.remove(overlay.root, b"b", is_directory=False)

    overlay.write(file, 6000, b"x" * 50_000)

    assert 4000 == logical_size(overlay)


def test_a_recovered_commit_keeps_its_quota(limited: World) -> None:
    """
    The process that wrote it ended; another owner goes on.
    """
    owner = Owner(limited.store, limited.trees)
    create(owner.start(ref()).overlay, b"b", 6000)
    owner.close()
    owner = Owner(limited.store, limited.trees)
    (opened,) = owner.recover()

    with pytest.raises(QuotaError):
        create(opened.overlay, b"c", 1)

    owner.finish(opened)
    owner.close()
