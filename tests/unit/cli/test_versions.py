"""`pfs` with repos, branches and commits, where no mount runs."""

from __future__ import annotations

from tests.support.commands import Pfs


def test_a_repo_is_made_listed_shown_and_deleted(pfs: Pfs) -> None:
    """
    The life of a repo.
    """
    pfs.ok("create", "repo", "data", "--description", "what we measure", "--autocommit", "-1")

    (listed,) = pfs.ok("list", "repo", "-o", "json").json
    shown = pfs.ok("inspect", "repo", "data", "-o", "json").json

    assert listed == shown
    assert ("data", "what we measure", -1.0) == (shown["name"], shown["description"], shown["autocommit_s"])
    assert "Autocommit: off" in pfs.ok("inspect", "repo", "data").lines
    pfs.ok("delete", "repo", "data")
    assert [] == pfs.ok("list", "repo", "-o", "json").json


def test_a_name_that_is_taken_or_bad_is_refused_with_its_code(pfs: Pfs) -> None:
    """
    A repo exists; another gets a name that cannot be.
    """
    pfs.ok("create", "repo", "data")

    assert 4 == pfs("create", "repo", "data").code
    assert 0 == pfs("create", "repo", "data", "--update", "-d", "new").code
    assert 5 == pfs("create", "repo", "d@ta").code
    assert 5 == pfs("create", "repo", "out").code


def test_a_repo_that_others_are_made_from_is_kept(pfs: Pfs) -> None:
    """
    A branch of another repo has provenance on it.
    """
    for name in ("data", "result"):
        pfs.ok("create", "repo", name)
    pfs.ok("create", "branch", "result@made", "-p", "data@master")

    refused = pfs("delete", "repo", "data")

    assert 4 == refused.code
    assert "result@made" in refused.err
    assert ["data@master"] == pfs.ok("inspect", "branch", "result@made", "-o", "json").json["provenance"]
    pfs.ok("delete", "repo", "data", "--force")


def test_a_commit_is_started_and_finished_by_name(pfs: Pfs) -> None:
    """
    start prints the id; the commit is open until finish, and never changes afterwards.
    """
    pfs.ok("create", "repo", "data")
    started = pfs.ok("start", "commit", "data@master", "-m", "first").out.strip()
    (listed,) = pfs.ok("list", "commit", "data@master", "-o", "json").json
    again = pfs("start", "commit", "data@master")
    finished = pfs.ok("finish", "commit", f"data@{started}", "-m", "done").out.strip()

    assert ("open", started, "first") == (listed["state"], listed["id"], listed["description"])
    assert 4 == again.code
    assert started in again.err
    assert started == finished
    shown = pfs.ok("inspect", "commit", "data@master", "-o", "json").json
    assert ("finished", "done", 0) == (shown["state"], shown["description"], shown["size_bytes"])
    assert 3 == pfs("finish", "commit", "data@master").code
    assert 10 == pfs("finish", "commit", f"data@{started}").code


def test_an_open_commit_can_be_dropped(pfs: Pfs) -> None:
    """
    What was put into it goes with it.
    """
    pfs.ok("create", "repo", "data")
    pfs.ok("start", "commit", "data")
    pfs.ok("drop", "commit", "data")

    assert [] == pfs.ok("list", "commit", "data@master", "-o", "json").json
    again = pfs("drop", "commit", "data")
    assert (3, True) == (again.code, "`pfs delete commit data@master`" in again.err)


def test_commits_are_named_by_their_ancestry(pfs: Pfs) -> None:
    """
    Three commits; `^`, `~2`, `.1`, a short id, and one too many.
    """
    pfs.ok("create", "repo", "data")
    ids = []
    for text in ("one", "two", "three"):
        ids.append(pfs.ok("start", "commit", "data", "-m", text).out.strip())
        pfs.ok("finish", "commit", "data")

    def named(text: str) -> str:
        return str(pfs.ok("inspect", "commit", f"data@{text}", "-o", "json").json["description"])

    assert ["three", "two", "one", "one"] == [named(t) for t in ("master", "master^", "master~2", "master.1")]
    assert "two" == named(ids[1][:12])
    assert 3 == pfs("inspect", "commit", "data@master~3").code
    assert ids[:0:-1] == [
        c["id"] for c in pfs.ok("list", "commit", "data@master", "-n", "2", "-o", "json").json
    ]


def test_a_branch_is_made_at_a_commit_and_deleted(pfs: Pfs) -> None:
    """
    A second branch begins where master is.
    """
    pfs.ok("create", "repo", "data")
    pfs.ok("start", "commit", "data")
    head = pfs.ok("finish", "commit", "data").out.strip()
    pfs.ok("create", "branch", "data@release", "--head", "master")

    assert [("release", head), ("master", head)] == [
        (branch["name"], branch["head"]) for branch in pfs.ok("list", "branch", "data", "-o", "json").json
    ]
    pfs.ok("delete", "branch", "data@release")
    assert 3 == pfs("inspect", "branch", "data@release").code


def test_a_commit_finished_with_an_error_is_not_what_the_next_one_is_based_on(pfs: Pfs) -> None:
    """
    Somebody finds that the data is bad.
    """
    pfs.ok("create", "repo", "data")
    pfs.ok("start", "commit", "data")
    pfs.ok("finish", "commit", "data", "--error", "sensor broken")

    assert "sensor broken" == pfs.ok("inspect", "commit", "data@master", "-o", "json").json["error"]
    assert "failed" in pfs.ok("list", "commit", "data").out
