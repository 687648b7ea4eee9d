"""Projects, repos of projects, and what is listed and updated of repos."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from pfsfuse.errors import InvalidNameError
from pfsfuse.ids import RepoName
from pfsfuse.store.index import Table
from pfsfuse.versions.branches import branch, create_branch
from pfsfuse.versions.commits import list_commits
from pfsfuse.versions.projects import (
    ProjectExistsError,
    ProjectNotEmptyError,
    ProjectNotFoundError,
    create_project,
    project,
    projects,
    update_project,
)
from pfsfuse.versions.repos import (
    RepoExistsError,
    RepoNotFoundError,
    create_repo,
    delete_project,
    delete_repo,
    repos,
    update_repo,
)
from pfsfuse.versions.sets import commits_of_set, list_sets
from pfsfuse.versions.wiring import make_branch, set_head
from tests.support.builders import World, ref


def names(world: World, within: str | None = None) -> list[str]:
    with world.store.read() as txn:
        return [str(repo.name) for repo in repos(txn, project=within)]


def test_a_project_is_made_shown_updated_and_deleted(world: World) -> None:
    """
    The life of a project; `default` is always there.
    """
    with world.store.write() as txn:
        made = create_project(txn, "lab", description="ours")
    with world.store.write() as txn:
        changed = update_project(txn, "lab", description="theirs")

    assert (made.created_ns, "theirs") == (changed.created_ns, changed.description)
    with world.store.read() as txn:
        assert changed == project(txn, "lab")
        assert ["default", "lab"] == [each.name for each in projects(txn)]
    with world.store.write() as txn:
        delete_project(txn, "lab")
        with pytest.raises(ProjectNotFoundError):
            project(txn, "lab")


@pytest.mark.parametrize("name", ["default", "lab"])
def test_the_name_of_a_project_is_taken_once(world: World, name: str) -> None:
    """
    `default` is taken from the start.
    """
    with world.store.write() as txn:
        create_project(txn, "lab")

    with pytest.raises(ProjectExistsError, match="already exists"), world.store.write() as txn:
        create_project(txn, name)
    with world.store.write() as txn:
        assert "new" == create_project(txn, name, description="new", update=True).description


@pytest.mark.parametrize("name", ["lenny", "l" * 51, "5bar", "a_b-c"])
def test_a_project_name_begins_with_a_letter_or_digit_and_has_at_most_51_characters(
    world: World, name: str
) -> None:
    """
    Names that can be.
    """
    with world.store.write() as txn:
        assert name == create_project(txn, name).name


@pytest.mark.parametrize(
    "name", ["l" * 52, "_lenny", "-lenny", "", *(f"lenny{sign}" for sign in "./:,#!\"\\'[]{}|>?; ")]
)
def test_other_project_names_are_refused(world: World, name: str) -> None:
    """
    Too long, a bad beginning, and signs of every kind.
    """
    with pytest.raises(InvalidNameError), world.store.write() as txn:
        create_project(txn, name)


def test_a_repo_without_a_project_is_in_default(world: World) -> None:
    """
    Named with and without it, and beside one of another project.
    """
    with world.store.write() as txn:
        create_project(txn, "lab")
        create_repo(txn, "images")
        create_repo(txn, "default/sounds")
        create_repo(txn, "lab/images")

    assert ["images", "sounds"] == names(world, "default")
    assert ["lab/images"] == names(world, "lab")
    assert ["images", "lab/images", "sounds"] == names(world)


def test_a_repo_of_a_project_that_does_not_exist_is_refused(world: World) -> None:
    """
    Somebody mistyped.
    """
    with pytest.raises(ProjectNotFoundError), world.store.write() as txn:
        create_repo(txn, "lba/images")


def test_a_project_with_repos_is_deleted_by_force_only(world: World) -> None:
    """
    A repo of another project is made from one of it.
    """
    world.repo("lab/images")
    world.commit({"a": b"1"}, repo="lab/images")
    world.repo("out-put")
    with world.store.write() as txn:
        make_branch(txn, ref("out-put"), provenance=[ref("lab/images")])

    with pytest.raises(ProjectNotEmptyError), world.store.write() as txn:
        delete_project(txn, "lab")
    with world.store.write() as txn:
        delete_project(txn, "lab", force=True)

    assert ["out-put"] == names(world)
    with world.store.read() as txn:
        assert () == branch(txn, RepoName("out-put"), "master").provenance
        assert ["default"] == [each.name for each in projects(txn)]


def test_a_project_is_not_another_whose_name_it_begins(world: World) -> None:
    """
    lab and lab2.
    """
    world.repo("lab/images")
    world.repo("lab2/images")
    with world.store.write() as txn:
        delete_project(txn, "lab", force=True)

    assert ["lab2/images"] == names(world)


def test_repos_of_a_store_of_an_earlier_version_are_in_a_project(world: World) -> None:
    """
    It wrote no records of projects.
    """
    world.repo("lab/images")
    with world.store.write() as txn:
        txn.delete(Table.PROJECTS, b"lab")

    with world.store.write() as txn:
        assert ["default", "lab"] == [each.name for each in projects(txn)]
        create_repo(txn, "lab/sounds")
        delete_project(txn, "lab", force=True)


# Repos


def test_an_update_changes_what_is_given_of_a_repo_and_nothing_else(world: World) -> None:
    """
    First the description, then the time of quiet, then that is taken away.
    """
    with world.store.write() as txn:
        made = create_repo(txn, "images", autocommit_s=5.0)
        assert (5.0, "new") == (
            (changed := update_repo(txn, "images", description="new")).autocommit_s,
            changed.description,
        )
        changed = update_repo(txn, "images", autocommit_s=None)
    assert (None, "new", made.created_ns) == (changed.autocommit_s, changed.description, changed.created_ns)
    with pytest.raises(RepoNotFoundError), world.store.write() as txn:
        update_repo(txn, "none", description="x")


def test_an_update_of_a_missing_repo_creates_it(world: World) -> None:
    """
    `create repo --update`.
    """
    with world.store.write() as txn:
        create_repo(txn, "images", update=True)

    assert ["images"] == names(world)


def test_nothing_resurfaces_when_a_repo_is_made_again(world: World) -> None:
    """
    A repo with commits, a second branch, a rewound head and commits made from it.
    """
    first = world.commit({"a": b"1"})
    world.commit({"a": b"2"})
    world.repo("out-put")
    with world.store.write() as txn:
        make_branch(txn, ref("out-put"), provenance=[ref()])
        create_branch(txn, first.repo, "dev", head=first.id)
        set_head(txn, ref(), first.id)

    with world.store.write() as txn:
        delete_repo(txn, "images", force=True)
        create_repo(txn, "images")

    with world.store.read() as txn:
        assert [] == list_commits(txn, first.repo)
        assert [] == [key for key, _ in txn.scan(Table.BRANCHES, b"images\0")]
        assert [] == [key for key, _ in txn.scan(Table.CHILDREN, b"images\0")]
        assert [] == [key for key, _ in txn.scan(Table.MOVES) if b"images" in key]
        assert [] == commits_of_set(txn, first.id)
        assert first.id not in list_sets(txn)


def test_of_many_that_create_one_repo_at_once_one_succeeds(world: World) -> None:
    """
    1,000 requests of 16 threads for one name.
    """

    def create(_: int) -> bool:
        try:
            with world.store.write() as txn:
                create_repo(txn, "repo")
        except RepoExistsError:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert 1 == sum(pool.map(create, range(1000)))


def test_many_that_create_different_repos_at_once_all_succeed(world: World) -> None:
    """
    1,000 requests of 16 threads, each for a name of its own.
    """

    def create(number: int) -> None:
        with world.store.write() as txn:
            create_repo(txn, f"repo{number}")

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(create, range(1000)))

    assert 1000 == len(names(world))
