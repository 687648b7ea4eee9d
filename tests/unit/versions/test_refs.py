"""Repos, branches and commits: their rules, and the names that people give them."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from pfsfuse.errors import ConflictError, InvalidNameError, NotFoundError
from pfsfuse.ids import BranchName, CommitId, RepoName, new_commit_id
from pfsfuse.names import MAX_REPO_CHARACTERS, check_branch_name, check_repo_name
from pfsfuse.store.index import Table, WriteTxn
from pfsfuse.versions.branches import (
    BranchExistsError,
    BranchInUseError,
    BranchNotFoundError,
    ProvenanceLoopError,
    StaleHeadError,
    branch,
    create_branch,
    delete_branch,
    find_branch,
    move_head,
    set_provenance,
    subvenance,
)
from pfsfuse.versions.commits import (
    AmbiguousCommitError,
    BranchHasOpenCommitError,
    CommitFinishedError,
    CommitNotFoundError,
    OutputBranchError,
    base_root,
    branch_named,
    commit,
    commits_of_set,
    drop_open_commit,
    finish_commit,
    list_commits,
    newest_data,
    newest_good,
    parse_ref,
    resolve,
    start_commit,
    subvenance_of,
)
from pfsfuse.versions.model import (
    Branch,
    BranchRef,
    Commit,
    CommitRef,
    Move,
    Origin,
    Project,
    branch_key,
    commit_key,
    encode,
    move_key,
)
from pfsfuse.versions.repos import (
    RepoExistsError,
    RepoInUseError,
    RepoNotFoundError,
    create_repo,
    delete_repo,
    repo,
    repos,
)
from tests.support.builders import World, ref

# Names


@pytest.mark.parametrize(
    "name", ["lenny", "lenny123", "lenny_123", "lenny-123", "foo", "5bar", "1-2-3-4", "1_2-3_4"]
)
def test_repos_and_branches_may_have_letters_digits_dashes_and_underscores(name: str) -> None:
    """Rows 1 and 3 of the original's behaviour."""
    assert name == check_repo_name(name)
    assert name == check_branch_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/repo",
        "lenny.123",
        "lenny:",
        "lenny,",
        "lenny#",
        "foo+",
        "foo^3",
        "^^^^^",
        ">.<",
        "(*)",
        "bizz, buzz",
        "    ",
        "é",
    ],
)
def test_other_characters_are_refused(name: str) -> None:
    """Rows 1 and 3 of the original's behaviour; the empty name."""
    with pytest.raises(InvalidNameError):
        check_repo_name(name)
    with pytest.raises(InvalidNameError):
        check_branch_name(name)


def test_a_branch_may_not_look_like_a_commit_id() -> None:
    """Row 5: 32 hexadecimal digits."""
    with pytest.raises(InvalidNameError):
        check_branch_name("0123456789abcdef" * 2)


def test_the_longest_names_fit_into_every_key(world: World) -> None:
    """A repo and a branch with names as long as they may be, with provenance on another such."""
    long = ["p" * 51 + "/" + letter * MAX_REPO_CHARACTERS for letter in "ab"]
    source = world.output({"x": b"1"}, repo=long[0], branch="b" * 255)
    result = world.output({"y": b"2"}, (source.ref,), repo=long[1], branch="b" * 255)

    with world.store.read() as txn:
        assert [result.ref] == subvenance_of(txn, source.ref)
    with pytest.raises(InvalidNameError):
        check_repo_name("r" * (MAX_REPO_CHARACTERS + 1))


# Repos


def test_a_repo_name_is_taken_once(world: World) -> None:
    """A repo is created twice; the second time by an update, too."""
    world.repo("images")

    with pytest.raises(RepoExistsError):
        world.repo("images")
    with world.store.write() as txn:
        first = repo(txn, "images")
        again = create_repo(txn, "images", description="pictures", update=True)
    assert first.created_ns == again.created_ns
    assert "pictures" == again.description


def test_deleting_a_repo_leaves_nothing_of_it(world: World) -> None:
    """A repo with two commits, one of them made from another repo's, is deleted; a like-named one stays."""
    source = world.commit({"a": b"1"}, repo="source")
    world.output({"b": b"2"}, (source.ref,), repo="images")
    world.commit({"c": b"3"}, repo="images-2")

    with world.store.write() as txn:
        delete_repo(txn, "images")

    with world.store.read() as txn:
        assert ["images-2", "source"] == [r.name for r in repos(txn)]
        assert [] == subvenance_of(txn, source.ref)
        assert find_branch(txn, RepoName("images"), "master") is None
        assert 1 == len(list_commits(txn, RepoName("images-2")))
        with pytest.raises(RepoNotFoundError):
            list_commits(txn, RepoName("images"))


def test_a_repo_that_others_are_made_from_is_deleted_by_force_only(world: World) -> None:
    """Row 19: B is made from A; force takes A out of B's provenance."""
    world.repo("a")
    world.repo("b")
    with world.store.write() as txn:
        create_branch(txn, RepoName("a"), "master")
        create_branch(txn, RepoName("b"), "master", provenance=[ref("a")])

    with pytest.raises(RepoInUseError), world.store.write() as txn:
        delete_repo(txn, "a")
    with world.store.write() as txn:
        delete_repo(txn, "a", force=True)

    with world.store.read() as txn:
        assert () == branch(txn, RepoName("b"), "master").provenance


# Branches


def test_a_branch_name_is_taken_once_per_repo(world: World) -> None:
    """Two repos have a branch of the same name; one of them is asked for a second."""
    world.repo("a")
    world.repo("b")
    with world.store.write() as txn:
        create_branch(txn, RepoName("a"), "master")
        create_branch(txn, RepoName("b"), "master")

    with pytest.raises(BranchExistsError), world.store.write() as txn:
        create_branch(txn, RepoName("a"), "master")
    with pytest.raises(RepoNotFoundError), world.store.write() as txn:
        create_branch(txn, RepoName("c"), "master")


def test_second_mover_that_saw_the_same_head_gets_stale_head(world: World) -> None:
    """Two movers read the same head; the first moves it, the second is told to read again."""
    first = world.commit({"a": b"1"})
    second = world.commit({"a": b"2"})

    with world.store.write() as txn:
        move_head(txn, ref(), first.id, expected=second.id)
    with pytest.raises(StaleHeadError) as caught, world.store.write() as txn:
        move_head(txn, ref(), first.id, expected=second.id)

    assert ref() == caught.value.ref


def test_a_head_is_a_finished_commit_of_the_same_repo(world: World) -> None:
    """A head is to be moved to an open commit, and to one of another repo."""
    made = world.commit({"a": b"1"})
    other = world.commit({"a": b"1"}, repo="other")
    with world.store.write() as txn:
        opened = start_commit(txn, ref().repo, "dev")

    for wrong in (other.id, opened.id, new_commit_id()):
        with pytest.raises(ConflictError), world.store.write() as txn:
            move_head(txn, ref(), wrong, expected=made.id)


def test_the_head_of_a_branch_with_an_open_commit_stays(world: World) -> None:
    """H3: the parent of the open commit is the head."""
    first = world.commit({"a": b"1"})
    second = world.commit({"a": b"2"})
    with world.store.write() as txn:
        start_commit(txn, ref().repo, ref().branch)

    with pytest.raises(BranchInUseError), world.store.write() as txn:
        move_head(txn, ref(), first.id, expected=second.id)


def test_provenance_has_no_loops(world: World) -> None:
    """a → b → c; then a is to be made from c, and from itself."""
    for name in "abc":
        world.repo(name)
    with world.store.write() as txn:
        create_branch(txn, RepoName("a"), "master")
        create_branch(txn, RepoName("b"), "master", provenance=[ref("a")])
        create_branch(txn, RepoName("c"), "master", provenance=[ref("b"), ref("b")])

    for source in ("a", "c"):
        with pytest.raises(ProvenanceLoopError), world.store.write() as txn:
            set_provenance(txn, ref("a"), [ref(source)])
    with pytest.raises(BranchNotFoundError), world.store.write() as txn:
        set_provenance(txn, ref("a"), [ref("c", "none")])
    with world.store.read() as txn:
        assert [ref("b")] == subvenance(txn, ref("a"))
        assert (ref("b"),) == branch(txn, RepoName("c"), "master").provenance


def test_a_branch_that_others_are_made_from_is_deleted_by_force_only(world: World) -> None:
    """b is made from a and c; a is deleted."""
    for name in "abc":
        world.repo(name)
    with world.store.write() as txn:
        create_branch(txn, RepoName("a"), "master")
        create_branch(txn, RepoName("c"), "master")
        create_branch(txn, RepoName("b"), "master", provenance=[ref("a"), ref("c")])

    with pytest.raises(BranchInUseError), world.store.write() as txn:
        delete_branch(txn, ref("a"))
    with world.store.write() as txn:
        delete_branch(txn, ref("a"), force=True)

    with world.store.read() as txn:
        assert (ref("c"),) == branch(txn, RepoName("b"), "master").provenance


def test_the_commits_of_a_deleted_branch_stay(world: World) -> None:
    """Row 23: a branch is deleted and made again with its old head."""
    made = world.commit({"a": b"1"})
    with world.store.write() as txn:
        delete_branch(txn, ref())

    with world.store.write() as txn:
        assert made == commit(txn, ref().repo, made.id)
        create_branch(txn, ref().repo, "master", head=made.id)
    assert {"a": b"1", "b": b"2"} == world.files(world.commit({"b": b"2"}).root)


# Open commits


def test_a_branch_has_one_open_commit(world: World) -> None:
    """A commit is started twice on one branch; another branch may have one, too."""
    world.repo("images")
    with world.store.write() as txn:
        opened = start_commit(txn, ref().repo, "master")
        start_commit(txn, ref().repo, "dev")

    with pytest.raises(BranchHasOpenCommitError) as caught, world.store.write() as txn:
        start_commit(txn, ref().repo, "master")
    assert opened.id == caught.value.open_commit
    with pytest.raises(BranchInUseError), world.store.write() as txn:
        delete_branch(txn, ref())


def test_a_commit_is_finished_once(world: World) -> None:
    """A finished commit is finished again, and dropped."""
    made = world.commit({"a": b"1"})

    with pytest.raises(CommitFinishedError), world.store.write() as txn:
        finish_commit(txn, made.ref, made.root)
    with pytest.raises(CommitFinishedError), world.store.write() as txn:
        drop_open_commit(txn, made.ref)


def test_a_dropped_commit_leaves_nothing(world: World) -> None:
    """An open commit with provenance is dropped; the branch can have another one."""
    source = world.commit({"a": b"1"}, repo="source")
    world.repo("images")
    with world.store.write() as txn:
        opened = start_commit(txn, ref().repo, "master", origin=Origin.AUTO, provenance=[source.ref])
        drop_open_commit(txn, opened.ref)

    with world.store.write() as txn:
        with pytest.raises(CommitNotFoundError):
            commit(txn, ref().repo, opened.id)
        assert [] == subvenance_of(txn, source.ref)
        assert [] == commits_of_set(txn, opened.id)
        start_commit(txn, ref().repo, "master")


def test_people_do_not_write_an_output_branch(world: World) -> None:
    """A branch is made from another one: only its maker starts commits."""
    world.repo("a")
    world.repo("b")
    with world.store.write() as txn:
        create_branch(txn, RepoName("a"), "master")
        create_branch(txn, RepoName("b"), "master", provenance=[ref("a")])

    with pytest.raises(OutputBranchError), world.store.write() as txn:
        start_commit(txn, RepoName("b"), "master")


def test_commits_of_one_set_share_an_id(world: World) -> None:
    """A change of one repo causes a commit of another one, with the same id; a second of that id is refused."""
    made = world.commit({"a": b"1"}, repo="a")
    world.repo("b")
    with world.store.write() as txn:
        start_commit(
            txn, RepoName("b"), "master", commit_id=made.id, origin=Origin.AUTO, provenance=[made.ref]
        )

    with world.store.read() as txn:
        assert ["a", "b"] == [c.repo for c in commits_of_set(txn, made.id)]
    with pytest.raises(ConflictError), world.store.write() as txn:
        start_commit(txn, RepoName("a"), "other", commit_id=made.id)


# Which commit counts


def test_an_errored_commit_is_left_out_of_its_children(world: World) -> None:
    """Row 39: f1, then f2 with an error, then f3."""
    world.output({"f1": b"1"})
    failed = world.output({"f1": b"1", "f2": b"2"}, error="failed")

    with world.store.write() as txn:
        line = branch(txn, RepoName("output"), "master")
        opened = start_commit(txn, line.repo, line.name, origin=Origin.AUTO)
        base = base_root(txn, opened)
        good = newest_good(txn, line)
        drop_open_commit(txn, opened.ref)

    assert {"f1": b"1"} == world.files(base)
    assert good is not None and good.root == base
    assert line.head == failed.id
    assert {"f1": b"1", "f2": b"2"} == world.files(failed.root)


def test_the_empty_first_commit_never_counts_as_data(world: World) -> None:
    """An output branch has its placeholder only, then a real commit, then one with an error."""
    world.output({}, placeholder=True)
    with world.store.read() as txn:
        assert newest_data(txn, branch(txn, RepoName("output"), "master")) is None
    made = world.output({"a": b"1"})
    world.output({"a": b"2"}, error="failed")

    with world.store.read() as txn:
        assert made == newest_data(txn, branch(txn, RepoName("output"), "master"))


# Names for commits


@pytest.fixture
def three(world: World) -> list[Commit]:
    """Three commits on master."""
    return [world.commit({"a": b"%d" % n}) for n in (1, 2, 3)]


def named(world: World, text: str) -> Commit:
    """Return the commit that *text* means."""
    with world.store.read() as txn:
        return resolve(txn, ref().repo, text)


ANCESTRY = [
    ("master", 3), ("master^", 2), ("master~", 2), ("master^1", 2), ("master~1", 2), ("master^^", 1), ("master~~", 1),
    ("master^2", 1), ("master~2", 1), ("master^~", 1), ("master.1", 1), ("master.2", 2), ("master.3", 3),
    ("master/0", 1), ("master/2", 3), ("master.3^", 2), ("master^0", 3),
]  # fmt: skip


@pytest.mark.parametrize(("text", "number"), ANCESTRY)
def test_ancestry(world: World, three: list[Commit], text: str, number: int) -> None:
    """Row 12, and the 1.0 era's branch/0."""
    assert three[number - 1] == named(world, text)


@pytest.mark.parametrize(
    "text",
    ["master^^^", "master~~~", "master^3", "master~3", "master.4", "master.0", "master/3", "none", "none^"],
)
def test_beyond_the_ends_of_a_line_there_is_no_commit(world: World, three: list[Commit], text: str) -> None:
    """Row 12."""
    with pytest.raises(NotFoundError):
        named(world, text)


@pytest.mark.parametrize("text", ["", "^", "master^x", "master.", "master/", "a b", "master@x", "^master"])
def test_text_that_names_no_commit_is_invalid(world: World, three: list[Commit], text: str) -> None:
    """Something was mistyped."""
    with pytest.raises(InvalidNameError):
        named(world, text)


def test_forward_references_stay_and_backward_references_move(world: World, three: list[Commit]) -> None:
    """Row 13: ten more commits."""
    more = [world.commit({"b": b"%d" % n}) for n in range(10)]

    assert three == [named(world, f"master.{n}") for n in (1, 2, 3)]
    assert three == [named(world, f"master/{n}") for n in (0, 1, 2)]
    assert more[-2] == named(world, "master^")
    assert three[0] == named(world, f"{three[2].id.hex()}^2")


def test_the_placeholder_is_counted_by_dot_and_not_by_slash(world: World) -> None:
    """An output branch has its empty first commit and one with data."""
    first = world.output({}, placeholder=True, repo="images")
    second = world.output({"a": b"1"}, repo="images")

    assert [first, second] == [named(world, "master.1"), named(world, "master.2")]
    assert second == named(world, "master/0")


def test_a_unique_prefix_of_four_digits_or_more_is_enough(world: World, three: list[Commit]) -> None:
    """The beginning of an id, of odd and even length, in upper case, and whole."""
    wanted = three[1]
    text = wanted.id.hex()

    for prefix in (text[:16], text[:17], text[:16].upper(), text):
        assert wanted == named(world, prefix)
    with pytest.raises(NotFoundError):
        named(world, text[:3])
    with pytest.raises(NotFoundError):
        named(world, text + "0")


def test_a_prefix_of_several_ids_is_ambiguous(world: World, three: list[Commit]) -> None:
    """Two commits have ids with the same beginning."""
    text = three[0].id.hex()
    twin = CommitId(three[0].id[:8] + bytes(8))
    with world.store.write() as txn:
        started = start_commit(txn, ref().repo, "twin", commit_id=twin)
        finish_commit(txn, started.ref, three[0].root)

    with pytest.raises(AmbiguousCommitError):
        named(world, text[:15])
    assert three[0] == named(world, text[:20])


def test_a_branch_wins_over_an_id(world: World, three: list[Commit]) -> None:
    """A branch is named like the beginning of a commit's id."""
    name = three[0].id.hex()[:6]
    with world.store.write() as txn:
        create_branch(txn, ref().repo, name, head=three[2].id)

    assert three[2] == named(world, name)


def test_an_open_commit_can_be_named_by_its_id(world: World, three: list[Commit]) -> None:
    """master still means the head."""
    with world.store.write() as txn:
        opened = start_commit(txn, ref().repo, "master")

    assert three[2] == named(world, "master")
    assert opened == named(world, opened.id.hex())
    assert three[2] == named(world, f"{opened.id.hex()}^")


def test_a_list_of_commits_is_newest_first_and_limited(world: World, three: list[Commit]) -> None:
    """A branch with an open commit, and another branch of the repo."""
    with world.store.write() as txn:
        opened = start_commit(txn, ref().repo, "master")
        other = start_commit(txn, ref().repo, "dev")

    with world.store.read() as txn:
        assert [opened, *three[::-1]] == list_commits(txn, ref().repo, branch_name="master")
        assert [opened, three[2]] == list_commits(txn, ref().repo, branch_name="master", number=2)
        assert [other, opened, three[2]] == list_commits(txn, ref().repo, number=3)


# What fsck finds


def _put_commit(txn: WriteTxn, record: Commit, **changes: object) -> None:
    txn.put(
        Table.COMMITS, commit_key(record.repo, record.id), encode(msgspec.structs.replace(record, **changes))
    )


def _put_branch(txn: WriteTxn, line: Branch, **changes: object) -> None:
    txn.put(
        Table.BRANCHES, branch_key(line.repo, line.name), encode(msgspec.structs.replace(line, **changes))
    )


NOBODY = CommitId(bytes(16))
Break = Callable[[WriteTxn, Branch, Commit], object]

BROKEN: list[tuple[str, str, Break]] = [
    ("a repo is gone", "R1", lambda txn, line, made: txn.delete(Table.REPOS, b"images")),
    ("a source is gone", "R2", lambda txn, line, made: _put_branch(txn, line, provenance=(ref("none"),))),
    ("a head does not exist", "H1", lambda txn, line, made: _put_branch(txn, line, head=NOBODY)),
    ("a head is open", "H1", lambda txn, line, made: _put_commit(txn, made, state="open")),
    ("an open commit does not exist", "H3", lambda txn, line, made: _put_branch(txn, line, open=NOBODY)),
    ("an open commit is finished", "H3", lambda txn, line, made: _put_branch(txn, line, open=made.id)),
    ("a branch is made from itself", "H4", lambda txn, line, made: _put_branch(txn, line, provenance=(line.ref,))),
    ("a commit has no content", "C1", lambda txn, line, made: _put_commit(txn, made, root=None)),
    ("a parent does not exist", "C2", lambda txn, line, made: _put_commit(txn, made, parent=NOBODY)),
    ("a commit is open beside its branch", "C3", lambda txn, line, made: _put_commit(txn, made, state="open")),
    (
        "provenance without subvenance", "C4",
        lambda txn, line, made: _put_commit(txn, made, provenance=(CommitRef(line.repo, NOBODY),)),
    ),
    ("subvenance of nothing", "C4", lambda txn, line, made: txn.put(Table.SUBVENANCE, b"images\0" + bytes(16), b"")),
    (
        "a source does not exist", "C6",
        lambda txn, line, made: _put_commit(txn, made, provenance=(CommitRef(line.repo, NOBODY),)),
    ),
    (
        "a forgotten commit has content", "C7",
        lambda txn, line, made: _put_commit(txn, made, forgotten=True, origin="auto"),
    ),
    ("people's commit is forgotten", "C7", lambda txn, line, made: _put_commit(txn, made, forgotten=True, root=None)),
    (
        "a head is forgotten", "C7",
        lambda txn, line, made: _put_commit(txn, made, forgotten=True, root=None, origin="auto"),
    ),
    ("a child of nobody", "C8", lambda txn, line, made: txn.put(Table.CHILDREN, b"images\0" + bytes(32), b"")),
    ("a parent without its child", "C8", lambda txn, line, made: _put_commit(txn, made, parent=NOBODY)),
    ("a propagated branch of nothing", "H5", lambda txn, line, made: _put_branch(txn, line, propagated=True)),
    (
        "a propagated branch is open", "H5",
        lambda txn, line, made: _put_branch(txn, line, propagated=True, provenance=(line.ref,), open=made.id),
    ),
    (
        "a move under another id", "F1",
        lambda txn, line, made: txn.put(
            Table.MOVES, move_key(NOBODY, line.ref), encode(Move(made.id, line.repo, line.name, made.id, 1))
        ),
    ),
    (
        "a project under another name", "F1",
        lambda txn, line, made: txn.put(Table.PROJECTS, b"one", encode(Project("other", 1))),
    ),
    ("a commit in no set", "C5", lambda txn, line, made: txn.delete(Table.COMMIT_SETS, made.id + b"images")),
    ("a set of nothing", "C5", lambda txn, line, made: txn.put(Table.COMMIT_SETS, NOBODY + b"images", b"")),
    ("a record that does not decode", "F1", lambda txn, line, made: txn.put(Table.REPOS, b"images", b"\xc1")),
    (
        "a record under another key", "F1",
        lambda txn, line, made: txn.put(Table.BRANCHES, b"images\0other", encode(line)),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("what", "invariant", "damage"), BROKEN, ids=[f"{i}: {w}" for w, i, _ in BROKEN])
def test_fsck_names_the_broken_invariant(world: World, what: str, invariant: str, damage: Break) -> None:
    """One record is made wrong."""
    world.is_damaged = True
    made = world.commit({"a": b"1"})
    with world.store.write() as txn:
        damage(txn, branch(txn, ref().repo, ref().branch), made)

    assert invariant in {problem.invariant for problem in world.fsck()}


@pytest.mark.parametrize(
    ("invariant", "changes"),
    [
        ("T2", {"size": 7}),
        ("T2", {"files": 7}),
        ("T2", {"content": bytes(32)}),
        ("T2", {"depth": 2}),
        ("T1", {"data": bytes(32)}),
    ],
)
def test_fsck_compares_a_root_with_what_is_below(
    world: World, invariant: str, changes: dict[str, object]
) -> None:
    """The entry of a commit's root says something that is not so."""
    world.is_damaged = True
    made = world.commit({"a": b"1", "dir/b": b"2" * 5000})
    assert made.root is not None
    with world.store.write() as txn:
        _put_commit(txn, made, root=msgspec.structs.replace(made.root, **changes))

    assert invariant in {problem.invariant for problem in world.fsck()}


BIG = b"".join(b"line %d\n" % n for n in range(60_000))


@pytest.mark.parametrize(
    ("data", "changes", "invariant"),
    [
        (b"tiny", {"size": 3}, "T3"),
        (b"tiny", {"content": bytes(32)}, "T3"),
        (b"x" * 1000, {"size": 999}, "T3"),
        (b"x" * 1000, {"content": bytes(32)}, "T3"),
        (b"x" * 1000, {"data": bytes(32)}, "T1"),
        (BIG, {"size": 999}, "T3"),
        (BIG, {"content": bytes(32)}, "T3"),
        (BIG, {"data": bytes(32)}, "T1"),
    ],
)
def test_fsck_compares_a_file_with_its_bytes(
    world: World, data: bytes, changes: dict[str, object], invariant: str
) -> None:
    """The entry of a file that is inline, one chunk, or several, says something that is not so."""
    world.is_damaged = True
    made = world.commit({"a": b"1"})
    assert made.root is not None
    wrong = msgspec.structs.replace(world.entry(data), **changes)
    with world.store.write() as txn:
        _put_commit(txn, made, root=world.trees.update(made.root, {b"wrong": wrong}))

    found = world.fsck()

    assert invariant in {problem.invariant for problem in found}
    assert any("/wrong" in problem.message for problem in found)


def test_the_parts_of_a_reference_are_told_apart() -> None:
    """repo@branch, with and without the branch."""
    assert ("images", "master^") == parse_ref("images@master^")
    assert BranchRef(RepoName("images"), BranchName("master")) == BranchRef(*branch_named("images"))
