"""`pfs gc`, `prune` and `du`, where no mount runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.commands import Pfs

TEXT = b"".join(b"line %d\n" % n for n in range(20_000))


@pytest.fixture
def data(pfs: Pfs, tmp_path: Path) -> Pfs:
    """A repo with four commits of one file."""
    pfs.ok("create", "repo", "data")
    for number in range(4):
        (tmp_path / "f").write_bytes(b"%d\n" % number + TEXT)
        pfs.ok("put", "file", "data@master", "-f", tmp_path / "f")
    return pfs


def test_prune_lists_what_stays_and_why_and_then_does_it(data: Pfs) -> None:
    """
    A dry run changes nothing; the same without --dry-run takes three commits away.
    """
    policy = ("prune", "data", "--keep-last", "1")
    dry = data.ok(*policy, "--dry-run", "-o", "json").json
    untouched = len(data.ok("list", "commit", "data@master", "-o", "json").json)

    done = data.ok(*policy)

    assert [(True, ["last"]), (False, []), (False, []), (False, [])] == [
        (each["keep"], each["reasons"]) for each in dry
    ]
    assert 4 == untouched
    assert "squashed 3 commits" in done.err
    (left,) = data.ok("list", "commit", "data@master", "-o", "json").json
    assert dry[0]["commit"] == left["id"]


def test_prune_without_a_policy_or_with_a_bad_span_is_refused(data: Pfs) -> None:
    """
    It says what could be given.
    """
    assert (5, 5, 3) == (
        data("prune", "data").code,
        data("prune", "data", "--keep-within", "soon").code,
        data("prune", "none", "--keep-last", "1").code,
    )
    assert "--keep-last" in data("prune", "data").err


def test_gc_says_why_garbage_stays(data: Pfs) -> None:
    """
    A pack is not rewritten for a little of it.
    """
    data.ok("prune", "data", "--keep-last", "1")

    done = data.ok("gc", "--threshold", "100")

    assert "freed 0B" in done.out
    assert "--threshold 0 rewrites them too" in done.err


def test_gc_frees_what_prune_let_go(data: Pfs) -> None:
    """
    Prune takes commits, gc bytes.
    """
    data.ok("prune", "data", "--keep-last", "1")
    before = data.ok("du", "-o", "json").json["store"]

    done = data.ok("gc", "--threshold", "0", "-o", "json").json

    after = data.ok("du", "-o", "json").json["store"]
    assert before["garbage"] == done["garbage_bytes"] > 0
    assert (0, before["needed"]) == (after["garbage"], after["needed"])
    assert after["packed"] < before["packed"]
    assert "0 of" in data.ok("gc").out


def test_du_shows_repos_commits_and_the_store(data: Pfs) -> None:
    """
    One repo with four commits, most of whose bytes are shared.
    """
    shown = data.ok("du", "-o", "json").json
    (one,) = data.ok("du", "data", "-o", "json").json
    commits = data.ok("du", "data", "--commits", "-o", "json").json

    assert [one] == shown["repos"]
    assert (4, len(TEXT) + 2, 0) == (one["commits"], one["logical"], one["shared"])
    assert one["stored"] == one["unique"] == sum(each["added"] for each in commits)
    assert 4 == len(commits)
    assert all(each["unique"] < each["stored"] <= one["stored"] for each in commits)
    assert "before compression" in data.ok("du").out
    assert "ADDED" in data.ok("du", "data", "--commits").out


def test_du_of_what_is_not_there_is_refused(data: Pfs) -> None:
    """
    A repo that does not exist; commits of no repo.
    """
    assert (3, 3, 5) == (
        data("du", "none").code,
        data("du", "none", "--commits").code,
        data("du", "--commits").code,
    )


def test_purge_says_what_would_go_and_with_yes_does_it(data: Pfs, tmp_path: Path) -> None:
    """
    One of two files of a repo goes from all of its commits.
    """
    (tmp_path / "secret").write_bytes(b"Jane Doe " * 1000)
    data.ok("put", "file", "data@master:people/", "-f", tmp_path / "secret")

    dry = data.ok("purge", "data:/people", "-o", "json").json
    done = data.ok("purge", "data:/people", "--yes", "-o", "json").json
    again = data("purge", "data:/people", "--yes")

    assert ([True, False], [False, True]) == (
        [each["dry_run"] for each in (dry, done)],
        [dry["done"], done["done"]],
    )
    assert (1, 1, []) == (len(done["commits"]), done["files"], done["left"])
    assert (3, "people") == (again.code, again.err[again.err.index("people") :][:6])
    assert ["/f"] == [each["path"] for each in data.ok("list", "file", "data@master", "-o", "json").json]
    assert [] == data.ok("fsck", "--verify-data", "-o", "json").json["problems"]


def test_purge_of_what_it_is_not_made_for_is_refused(data: Pfs) -> None:
    """
    No path, one branch only, a repo that does not exist, an open commit.
    """
    refused = [data("purge", name, "--yes").code for name in ("data", "data:/", "data@master:/f", "none:/f")]
    data.ok("start", "commit", "data@master")

    assert [5, 5, 5, 3] == refused
    assert 4 == data("purge", "data:/f", "--yes").code
    data.ok("drop", "commit", "data@master")
    assert "nothing was changed" in data.ok("purge", "data:/f").err
