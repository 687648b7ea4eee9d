"""`pfs merge branch`, where no mount runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.commands import Pfs


@pytest.fixture
def forked(pfs: Pfs, tmp_path: Path) -> Pfs:
    """A repo with two branches, on each of which a file of the other's and one of both was changed."""
    pfs.ok("create", "repo", "data")
    _put(pfs, tmp_path, "master", both="1", a="1")
    pfs.ok("create", "branch", "data@dev", "--head", "master")
    _put(pfs, tmp_path, "master", both="2", a="2")
    _put(pfs, tmp_path, "dev", both="3", b="3")
    return pfs


def _put(pfs: Pfs, tmp_path: Path, branch: str, **files: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        pfs.ok("put", "file", f"data@{branch}:/{name}", "-f", tmp_path / name)


def content(pfs: Pfs, branch: str, path: str) -> str:
    return pfs.ok("get", "file", f"data@{branch}:/{path}").out


def test_a_conflict_is_shown_and_nothing_written(forked: Pfs) -> None:
    """
    With and without --dry-run, for people and for programs.
    """
    head = forked.ok("inspect", "branch", "data@master", "-o", "json").json["head"]

    refused = forked("merge", "branch", "data@dev", "--into", "master")
    tried = forked("merge", "branch", "data@dev", "--into", "data@master", "--dry-run", "-o", "json")

    assert [4, 4] == [refused.code, tried.code]
    assert "/both: changed in both" in refused.err
    assert [{"path": "/both", "kind": "changed in both"}] == tried.json["conflicts"]
    assert [{"path": "/b", "change": "added"}] == tried.json["changes"]
    assert head == forked.ok("inspect", "branch", "data@master", "-o", "json").json["head"]


@pytest.mark.parametrize(("side", "expected"), [("--ours", "2"), ("--theirs", "3")])
def test_a_side_can_be_chosen(forked: Pfs, side: str, expected: str) -> None:
    """
    What is in conflict is that of the side, the rest of both.
    """
    planned = forked.ok("merge", "branch", "data@dev", "--into", "master", side, "--dry-run").out
    made = forked.ok("merge", "branch", "data@dev", "--into", "master", side, "-m", "together").out.strip()

    assert "/both: changed in both" in planned
    assert [expected, "2", "3"] == [content(forked, "master", path) for path in ("both", "a", "b")]
    shown = forked.ok("inspect", "commit", "data@master", "-o", "json").json
    assert (made, "together") == (shown["id"], shown["description"])
    again = forked.ok("merge", "branch", "data@dev", "--into", "master")
    assert "nothing to merge" in again.err
    assert "" == again.out


def test_a_merge_that_makes_no_sense_is_refused(forked: Pfs) -> None:
    """
    Both sides at once, another repo, a branch that is not there.
    """
    forked.ok("create", "repo", "other")

    assert 5 == forked("merge", "branch", "data@dev", "--into", "master", "--ours", "--theirs").code
    assert 5 == forked("merge", "branch", "data@dev", "--into", "other@master").code
    assert 3 == forked("merge", "branch", "data@none", "--into", "master").code
    assert 3 == forked("merge", "branch", "data@dev", "--into", "none").code
