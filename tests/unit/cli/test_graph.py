"""`pfs` with projects, the graph of branches, commit sets, squash, delete and forget, where no mount runs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pfsfuse.store.store import Store
from pfsfuse.trees.contents import EMPTY
from pfsfuse.trees.tree import Trees
from pfsfuse.versions.changesets import Put
from pfsfuse.versions.owner import commit_changes
from tests.support.builders import ref
from tests.support.commands import Done, Pfs
from tests.support.system import reads
from tests.support.versions import Versions


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "file"
    made.write_bytes(b"data")
    return made


def put(pfs: Pfs, where: str, file: Path) -> str:
    """Put the file as a commit; return its id."""
    return pfs.ok("put", "file", where, "-f", file).out.strip()


def listed(pfs: Pfs, *words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pfs.ok("list", *words, "-o", "json").json
    return found


def ids(pfs: Pfs, *words: str) -> list[str]:
    return [each["id"] for each in listed(pfs, "commit", *words)]


def refused(done: Done, code: int, *parts: str) -> None:
    """Check that a command was refused, and said why."""
    assert code == done.code, done.err
    assert [] == [part for part in parts if part not in done.err]


# Projects and repos


def test_a_project_is_made_listed_shown_updated_and_deleted(pfs: Pfs) -> None:
    """
    With a repo in it, which has to go first, or by force.
    """
    pfs.ok("create", "project", "lab", "-d", "ours")
    pfs.ok("create", "repo", "lab/images")
    pfs.ok("update", "project", "lab", "-d", "theirs")

    shown = pfs.ok("inspect", "project", "lab", "-o", "json").json
    assert ("lab", "theirs", ["lab/images"]) == (shown["name"], shown["description"], shown["repos"])
    assert ["default", "lab"] == [each["name"] for each in listed(pfs, "project")]
    assert [["lab/images"], []] == [
        [each["name"] for each in listed(pfs, "repo", "--project", name)] for name in ("lab", "default")
    ]
    refused(pfs("delete", "project", "lab"), 4, "has repos", "--force")
    pfs.ok("delete", "project", "lab", "--force")
    refused(pfs("inspect", "project", "lab"), 3)
    refused(pfs("create", "project", "default"), 4, "already exists")
    refused(pfs("create", "repo", "lab/images"), 3, "create project")
    refused(pfs("delete", "project", "default"), 2)


def test_an_update_of_a_repo_leaves_what_is_not_given(pfs: Pfs) -> None:
    """
    First the description, then the quiet time.
    """
    pfs.ok("create", "repo", "data", "-d", "old", "--autocommit", "5")
    pfs.ok("update", "repo", "data", "-d", "new")
    pfs.ok("update", "repo", "data", "--autocommit", "7")

    shown = pfs.ok("inspect", "repo", "data", "-o", "json").json
    assert ("new", 7.0) == (shown["description"], shown["autocommit_s"])


def test_the_size_of_a_repo_is_that_of_master(pfs: Pfs, file: Path) -> None:
    """
    A file on another branch does not count.
    """
    pfs.ok("create", "repo", "data")
    put(pfs, "data@other:/f", file)

    assert 0 == listed(pfs, "repo")[0]["size_bytes"]


def test_the_output_of_a_pipeline_is_deleted_with_the_pipeline(pfs: Pfs, root: Path) -> None:
    """
    By itself, and with its project.
    """
    store = Store(root)
    versions = Versions(store)
    versions.repo("data")
    versions.pipeline("made", [reads("data")])
    store.close()

    refused(pfs("delete", "repo", "made", "--force"), 4, "delete pipeline")
    refused(pfs("delete", "project", "default", "--force"), 4, "delete pipeline")
    refused(pfs("update", "branch", "made@master", "--no-provenance"), 4, "pipeline")
    refused(pfs("delete", "branch", "made@master"), 4, "delete pipeline")


# Branches


def test_a_branch_is_moved_and_wired(pfs: Pfs, file: Path) -> None:
    """
    data → copy; staging is taken over, then data is rewound.
    """
    for name in ("data", "copy"):
        pfs.ok("create", "repo", name)
    pfs.ok("create", "branch", "copy@master", "-p", "data@master")
    first = put(pfs, "data@master:/a", file)
    staged = put(pfs, "data@staging:/b", file)

    pfs.ok("create", "branch", "data@master", "--head", "staging")
    assert staged == ids(pfs, "data@master")[0]
    pfs.ok("update", "branch", "data@master", "--head", f"data@{first}")

    change = ids(pfs, "copy@master")[0]
    assert [f"data@{first}"] == pfs.ok("inspect", "commit", f"copy@{change}", "-o", "json").json["provenance"]
    assert first == pfs.ok("inspect", "commit", f"data@{change}", "-o", "json").json["id"]
    shown = pfs.ok("inspect", "branch", "copy@master", "-o", "json").json
    assert (["data@master"], True) == (shown["provenance"], shown["propagated"])
    assert ["copy@master"] == pfs.ok("inspect", "branch", "data", "-o", "json").json["all_subvenance"]
    refused(pfs("put", "file", "copy@master:/x", "-f", file), 10)
    pfs.ok("update", "branch", "copy@master", "--no-provenance")
    put(pfs, "copy@master:/x", file)


def test_what_cannot_be_of_a_branch_is_refused_with_its_code(pfs: Pfs, file: Path) -> None:
    """
    A head of another repo, a loop, nothing to change, no such branch, and one that is there.
    """
    for name in ("data", "other"):
        pfs.ok("create", "repo", name)
        put(pfs, f"{name}@master:/f", file)

    refused(pfs("update", "branch", "data@master", "--head", "other@master"), 4, "same repo")
    refused(pfs("update", "branch", "data@master", "-p", "data@master"), 4, "made from itself")
    refused(pfs("update", "branch", "data@master"), 2)
    refused(pfs("update", "branch", "data@none", "--head", "master"), 3)
    refused(pfs("create", "branch", "data@master"), 4, "already exists")


def test_branches_are_listed_newest_first(pfs: Pfs) -> None:
    """
    By the time of their creation, not by name.
    """
    pfs.ok("create", "repo", "data")
    for name in ("zulu", "alpha"):
        pfs.ok("create", "branch", f"data@{name}")

    assert ["alpha", "zulu", "master"] == [each["name"] for each in listed(pfs, "branch", "data")]


# Commits


def test_a_list_of_commits_is_cut_and_turned(pfs: Pfs, file: Path) -> None:
    """
    Five commits; from is exclusive, to inclusive.
    """
    pfs.ok("create", "repo", "data")
    made = [put(pfs, f"data@master:/{n}", file) for n in range(5)]

    assert made[::-1] == ids(pfs, "data@master")
    assert made[3:1:-1] == ids(pfs, "data@master", "--from", made[1], "--to", f"data@{made[3]}")
    assert made == ids(pfs, "data@master", "--reverse")
    assert made[:2] == ids(pfs, "data@master", "--reverse", "-n", "2")
    assert made[:2] == ids(pfs, "data", "--reverse", "-n", "2")
    assert made[4:2:-1] == ids(pfs, "data@master", "--from", "master~2")
    assert made[1::-1] == ids(pfs, "data", "--to", "master.2")
    assert made[::-1] == ids(pfs, "data", "--origin", "user")
    assert [] == ids(pfs, "data@master", "--origin", "auto")
    refused(pfs("list", "commit", "data@master", "--to", made[1], "--from", made[3]), 3, "not on this line")
    refused(pfs("list", "commit", "data@master", "--from", "other@master"), 5)


def test_commits_that_were_started_later_are_left_out(pfs: Pfs, file: Path) -> None:
    """
    By a day and by a moment.
    """
    pfs.ok("create", "repo", "data")
    first = put(pfs, "data@master:/a", file)
    started = datetime.fromisoformat(listed(pfs, "commit", "data@master")[0]["started"])
    put(pfs, "data@master:/b", file)

    later = datetime.fromtimestamp(started.timestamp() + 3600, UTC).strftime("%Y-%m-%dT%H:%M:%S+0000")
    assert 2 == len(ids(pfs, "data@master", "--started-before", later))
    assert [] == ids(pfs, "data@master", "--started-before", "2001-01-01")
    assert first == ids(pfs, "data@master", "--reverse", "--started-before", later)[0]


def test_changes_are_listed_shown_squashed_and_deleted_by_their_id(pfs: Pfs, file: Path) -> None:
    """
    data → copy; three changes of data, of which the second is squashed and the third deleted.
    """
    for name in ("data", "copy"):
        pfs.ok("create", "repo", name)
    pfs.ok("create", "branch", "copy@master", "-p", "data@master")
    first, second, third = (put(pfs, f"data@master:/{n}", file) for n in range(3))

    assert [third, second, first] == ids(pfs, "-n", "3")
    assert ["data", "copy"] == [
        each["repo"] for each in pfs.ok("inspect", "commit", second, "-o", "json").json
    ]
    assert ["data", "copy"] == [each["repo"] for each in listed(pfs, "commit", second[:10])]
    pfs.ok("squash", "commit", second)
    assert third in ids(pfs, "data@master")
    refused(pfs("inspect", "commit", second), 3, "commit set not found")
    gone = pfs.ok("delete", "commit", third, "-o", "json").json
    assert {"data", "copy"} == {each["repo"] for each in gone}
    assert [first, first] == [ids(pfs, f"{name}@master")[0] for name in ("data", "copy")]
    assert b"no problems" in pfs.ok("fsck").err.encode() + pfs.ok("fsck").out.encode()


def test_single_commits_are_squashed_and_deleted_with_what_follows_when_asked(pfs: Pfs, file: Path) -> None:
    """
    data → copy; then a head by the name of its branch.
    """
    for name in ("data", "copy"):
        pfs.ok("create", "repo", name)
    pfs.ok("create", "branch", "copy@master", "-p", "data@master")
    first, second = (put(pfs, f"data@master:/{n}", file) for n in range(2))

    refused(pfs("squash", "commit", f"data@{first}"), 4, "--recursive")
    pfs.ok("squash", "commit", f"data@{first}", "--recursive")
    refused(pfs("squash", "commit", "data@master", "-r"), 4, "no child")
    refused(pfs("drop", "commit", "data@master"), 3, "no open commit")
    pfs.ok("delete", "commit", "data@master", "-r")

    assert second not in ids(pfs, "data")


def test_an_open_commit_is_emptied_and_thrown_away(pfs: Pfs, file: Path) -> None:
    """
    clear leaves it open; drop and delete take it away; nothing is there to clear afterwards.
    """
    pfs.ok("create", "repo", "data")
    put(pfs, "data@master:/old", file)
    opened = pfs.ok("start", "commit", "data@master").out.strip()
    put(pfs, "data@master:/new", file)
    pfs.ok("clear", "commit", "data@master")
    put(pfs, "data@master:/last", file)
    pfs.ok("finish", "commit", "data@master")
    assert ["/last"] == [each["path"] for each in listed(pfs, "file", "data@master")]

    for verb in ("drop", "delete"):
        pfs.ok("start", "commit", "data@master")
        pfs.ok(verb, "commit", "data@master")
    assert opened == ids(pfs, "data@master")[0]
    refused(pfs("clear", "commit", "data@master"), 3, "no open commit")


def test_a_description_can_be_changed_later(pfs: Pfs, file: Path) -> None:
    """
    Of a finished commit; what is in it stays.
    """
    pfs.ok("create", "repo", "data")
    put(pfs, "data@master:/f", file)
    before = pfs.ok("inspect", "commit", "data@master", "-o", "json").json

    pfs.ok("update", "commit", "data@master", "-m", "measured on Monday")

    after = pfs.ok("inspect", "commit", "data@master", "-o", "json").json
    assert before | {"description": "measured on Monday"} == after


def test_what_people_put_is_not_forgotten_and_what_was_made_says_that_it_is(pfs: Pfs, file: Path) -> None:
    """
    data → copy, whose content came before it was made from anything.
    """
    for name in ("data", "copy"):
        pfs.ok("create", "repo", name)
    put(pfs, "copy@master:/own", file)
    pfs.ok("create", "branch", "copy@master", "-p", "data@master")
    old = put(pfs, "data@master:/a", file)
    put(pfs, "data@master:/b", file)

    refused(pfs("forget", "commit", f"data@{old}"), 4, "people put it")
    refused(pfs("forget", "commit", "copy@master"), 4, "shows it")
    pfs.ok("forget", "commit", f"copy@{old}")

    assert "State: forgotten" in pfs.ok("inspect", "commit", f"copy@{old}").lines
    refused(pfs("get", "file", f"copy@{old}:/own"), 3, "forgotten")
    assert "data" == pfs.ok("get", "file", "copy@master:/own").out


@pytest.mark.parametrize("verb", ["squash", "delete", "inspect", "wait"])
def test_an_id_that_no_change_has_is_not_found(pfs: Pfs, verb: str) -> None:
    """
    A full id, the beginning of one, and the empty one.
    """
    pfs.ok("create", "repo", "data")

    refused(pfs(verb, "commit", "ab" * 16), 3, "commit set not found")
    refused(pfs(verb, "commit", "abab"), 3, "neither a repo nor the beginning of a change's id")
    assert 5 == pfs(verb, "commit", "").code


def test_waiting_for_a_change_ends_when_its_commits_are_finished(pfs: Pfs, file: Path) -> None:
    """
    Nobody reads the repo, so no runner is needed; an open one takes longer than the test waits.
    """
    pfs.ok("create", "repo", "data")
    made = put(pfs, "data@master:/f", file)
    opened = pfs.ok("start", "commit", "data@master").out.strip()

    assert [made] == [each["id"] for each in pfs.ok("wait", "commit", made, "-o", "json").json]
    assert 124 == pfs("wait", "commit", opened, "--timeout", "0").code
    refused(pfs("wait", "commit", "data@none"), 3)


def test_each_put_is_a_commit_whose_parent_is_the_one_before(pfs: Pfs, file: Path) -> None:
    """
    Three puts and a session of its own, in which nothing happens.
    """
    pfs.ok("create", "repo", "data")
    made = [put(pfs, f"data@master:/{n}", file) for n in range(3)]
    pfs.ok("start", "commit", "data@master")
    made.append(pfs.ok("finish", "commit", "data@master").out.strip())

    found = listed(pfs, "commit", "data@master")

    assert made[::-1] == [each["id"] for each in found]
    assert [*made[2::-1], None] == [each["parent"] for each in found]
    assert [3, 3, 2, 1] == [each["files"] for each in found]


@pytest.mark.parametrize("path", ["../foo", "foo/../../bar", "foo/../bar", "./foo"])
def test_a_path_that_leads_elsewhere_is_refused_and_nothing_is_written(
    pfs: Pfs, file: Path, path: str
) -> None:
    """
    Neither `.` nor `..` can be the name of a file.
    """
    pfs.ok("create", "repo", "data")

    assert 5 == pfs("put", "file", f"data@master:{path}", "-f", file).code
    assert [] == ids(pfs, "data@master")


def test_many_puts_into_one_branch_at_once_all_succeed(pfs: Pfs, file: Path, root: Path) -> None:
    """
    25 processes' worth of them: each finds that another was faster, and tries again.
    """
    pfs.ok("create", "repo", "data")
    store = Store(root)
    trees = Trees(store.chunks)

    def commit(number: int) -> None:
        entry = EMPTY.entry(mode=0o644, uid=0, gid=0, mtime_ns=1)
        commit_changes(store, trees, ref("data"), [Put((b"%d" % number,), entry)])

    with ThreadPoolExecutor(25) as pool:
        list(pool.map(commit, range(25)))
    store.close()

    assert 25 == len(ids(pfs, "data@master"))
    assert 25 == len(listed(pfs, "file", "data@master"))


def test_what_was_made_is_an_object_with_its_id_as_json(pfs: Pfs, tmp_path: Path) -> None:
    """
    For people the id is alone on its line, which shells like.
    """
    (tmp_path / "f").write_text("x")
    pfs.ok("create", "repo", "data")
    started = pfs.ok("start", "commit", "data", "-o", "json").json
    finished = pfs.ok("finish", "commit", "data", "-o", "json").json
    put = pfs.ok("put", "file", "data", "-f", tmp_path / "f", "-o", "json").json

    listed = pfs.ok("list", "commit", "data@master", "-o", "json").json
    assert [each["id"] for each in listed] == [put["id"], started["id"]]
    assert started == finished


def test_a_branch_is_made_from_one_of_another_project(pfs: Pfs) -> None:
    """
    Provenance crosses projects, and a commit has its id on both sides.
    """
    pfs.ok("create", "repo", "data")
    pfs.ok("create", "project", "lab")
    pfs.ok("create", "repo", "lab/results")
    pfs.ok("create", "branch", "lab/results@master", "-p", "data@master")
    made = pfs.ok("start", "commit", "data").lines[0]
    pfs.ok("finish", "commit", "data")

    shown = pfs.ok("inspect", "commit", f"lab/results@{made}", "-o", "json").json
    assert (made, "lab/results") == (shown["id"], shown["repo"])
