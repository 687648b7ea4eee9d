"""`pfs` with transactions and triggers, where no mount runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.commands import Pfs


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The person's file, which does not exist yet."""
    found = tmp_path / "home/config.json"
    monkeypatch.setenv("PFS_CONFIG", str(found))
    return found


def repos(pfs: Pfs) -> list[str]:
    return [repo["name"] for repo in pfs.ok("list", "repo", "-o", "json").json]


def test_commands_between_start_and_finish_are_one_change(pfs: Pfs) -> None:
    """
    Two repos, and a commit in each: done at the end, with the id that was told at the beginning.
    """
    started = pfs.ok("start", "transaction").out.strip()
    for name in ("data", "parameters"):
        pfs.ok("create", "repo", name)
        assert started == pfs.ok("start", "commit", f"{name}@master").out.strip()
    pfs.ok("finish", "commit", f"data@{started}")
    shown = pfs.ok("inspect", "transaction", "-o", "json").json

    assert [] == repos(pfs)
    assert (started, True) == (shown["id"], shown["active"])
    assert [
        ("create repo data", None),
        ("start commit data@master", started),
        ("create repo parameters", None),
        ("start commit parameters@master", started),
        ("finish commit data@master", started),
    ] == [(each["request"], each["commit"]) for each in shown["requests"]]
    assert started == pfs.ok("finish", "transaction").out.strip()
    assert ["data", "parameters"] == repos(pfs)
    found = [pfs.ok("inspect", "commit", f"{name}@{started}", "-o", "json").json for name in repos(pfs)]
    assert ["finished", "open"] == [each["state"] for each in found]
    assert 5 == pfs("inspect", "transaction").code
    assert 3 == pfs("inspect", "transaction", started).code


def test_a_transaction_is_left_and_taken_up_again(pfs: Pfs, config: Path) -> None:
    """
    Commands between stop and resume are done at once.
    """
    started = pfs.ok("start", "transaction").out.strip()
    pfs.ok("create", "repo", "later")
    assert 5 == pfs("start", "transaction").code
    pfs.ok("stop", "transaction")
    pfs.ok("create", "repo", "now")

    assert ["now"] == repos(pfs)
    assert 5 == pfs("stop", "transaction").code
    pfs.ok("resume", "transaction", started[:8])
    (listed,) = pfs.ok("list", "transaction", "-o", "json").json
    assert (started, True) == (listed["id"], listed["active"])
    pfs.ok("finish", "transaction")
    assert ["later", "now"] == repos(pfs)
    assert {} == json.loads(config.read_text())


def test_a_transaction_that_cannot_be_done_is_deleted(pfs: Pfs) -> None:
    """
    Somebody who is in no transaction makes the repo meanwhile.
    """
    started = pfs.ok("start", "transaction").out.strip()
    pfs.ok("create", "repo", "data")
    assert 4 == pfs("create", "repo", "data").code
    pfs.ok("stop", "transaction")
    pfs.ok("create", "repo", "data")

    failed = pfs("finish", "transaction", started)

    assert 4 == failed.code
    assert "nothing of transaction" in failed.err
    pfs.ok("delete", "transaction", started)
    assert [] == pfs.ok("list", "transaction", "-o", "json").json


def test_all_transactions_are_deleted(pfs: Pfs) -> None:
    """
    Also the active one: commands are done at once again.
    """
    for _ in range(2):
        pfs.ok("start", "transaction")
        pfs.ok("stop", "transaction")
    pfs.ok("start", "transaction")

    pfs.ok("delete", "transaction", "--all")

    assert [] == pfs.ok("list", "transaction", "-o", "json").json
    pfs.ok("create", "repo", "data")
    assert ["data"] == repos(pfs)


def test_a_commit_with_files_is_finished_by_a_transaction(pfs: Pfs, tmp_path: Path) -> None:
    """
    Two commits were open, with files in them; nobody sees one without the other.
    """
    (tmp_path / "f").write_bytes(b"data")
    for name in ("data", "parameters"):
        pfs.ok("create", "repo", name)
        pfs.ok("start", "commit", name)
        pfs.ok("put", "file", f"{name}@master:/f", "-f", tmp_path / "f")
    pfs.ok("start", "transaction")
    for name in ("data", "parameters"):
        pfs.ok("finish", "commit", name, "-m", "both")

    assert [None, None] == [
        pfs.ok("inspect", "branch", f"{name}@master", "-o", "json").json["head"] for name in repos(pfs)
    ]
    pfs.ok("finish", "transaction")
    for name in repos(pfs):
        shown = pfs.ok("inspect", "commit", f"{name}@master", "-o", "json").json
        assert ("finished", "both", 4) == (shown["state"], shown["description"], shown["size_bytes"])


def test_a_pipeline_is_created_by_a_transaction(pfs: Pfs, tmp_path: Path) -> None:
    """
    Its input is made by the same transaction.
    """
    spec = tmp_path / "count.json"
    spec.write_text(
        json.dumps(
            {
                "pipeline": {"name": "count"},
                "transform": {"image": "none", "cmd": ["true"]},
                "inputs": [{"repo": {"name": "data"}}],
            }
        )
    )
    pfs.ok("start", "transaction")
    pfs.ok("create", "repo", "data")
    pfs.ok("create", "pipeline", "-f", spec)

    assert "create pipeline count" in pfs.ok("inspect", "transaction").out
    assert [] == pfs.ok("list", "pipeline", "-o", "json").json
    pfs.ok("finish", "transaction")
    assert ["count"] == [each["name"] for each in pfs.ok("list", "pipeline", "-o", "json").json]


def test_a_change_is_squashed_by_a_transaction(pfs: Pfs) -> None:
    """
    Whole changes only, as it is with the original.
    """
    pfs.ok("create", "repo", "data")
    ids = []
    for _ in range(2):
        ids.append(pfs.ok("start", "commit", "data").out.strip())
        pfs.ok("finish", "commit", "data")
    pfs.ok("start", "transaction")
    assert 5 == pfs("squash", "commit", f"data@{ids[0]}").code
    pfs.ok("squash", "commit", ids[0])

    assert ids[::-1] == [each["id"] for each in pfs.ok("list", "commit", "data", "-o", "json").json]
    pfs.ok("finish", "transaction")
    assert ids[1:] == [each["id"] for each in pfs.ok("list", "commit", "data", "-o", "json").json]


def test_a_file_of_the_person_that_cannot_be_read_is_named(pfs: Pfs, config: Path) -> None:
    """
    It is not overwritten.
    """
    config.parent.mkdir()
    config.write_text("{")

    refused = pfs("start", "transaction")

    assert 5 == refused.code
    assert str(config) in refused.err
    assert "{" == config.read_text()


# Triggers


def test_a_branch_with_a_trigger_follows_its_source(pfs: Pfs) -> None:
    """
    Every second commit of staging is taken over.
    """
    pfs.ok("create", "repo", "data")
    pfs.ok(
        "create", "branch", "data@release", "--trigger", "staging", "--trigger-commits", "2",
        "--trigger-size", "1G", "--trigger-rate-limit", "@every 1h",
    )  # fmt: skip
    ids = []
    for _ in range(3):
        ids.append(pfs.ok("start", "commit", "data@staging").out.strip())
        pfs.ok("finish", "commit", "data@staging")

    shown = pfs.ok("inspect", "branch", "data@release", "-o", "json").json
    assert ids[1] == shown["head"]
    assert {
        "branch": "staging",
        "cron_spec": "",
        "rate_limit_spec": "@every 1h",
        "size": "1G",
        "commits": 2,
        "all": False,
    } == shown["trigger"]
    assert "staging: rate limit @every 1h or size 1G or commits 2" in pfs.ok("list", "branch", "data").out
    assert "Trigger: staging: rate limit" in pfs.ok("inspect", "branch", "data@release").out


def test_a_trigger_is_taken_away(pfs: Pfs) -> None:
    """
    The branch stays where it is.
    """
    pfs.ok("create", "repo", "data")
    pfs.ok("create", "branch", "data@release", "--trigger", "master", "--trigger-commits", "1")

    pfs.ok("update", "branch", "data@release", "--no-trigger")

    assert pfs.ok("inspect", "branch", "data@release", "-o", "json").json["trigger"] is None


def test_all_conditions_and_a_clock_are_said(pfs: Pfs) -> None:
    """
    As people read them.
    """
    pfs.ok("create", "repo", "data")
    pfs.ok("create", "branch", "data@a", "--trigger", "x", "--trigger-cron", "@daily")
    pfs.ok(
        "create", "branch", "data@b", "--trigger", "x", "--trigger-size", "1K", "--trigger-commits", "2",
        "--trigger-all",
    )  # fmt: skip

    listed = pfs.ok("list", "branch", "data").out
    assert "x: cron @daily" in listed
    assert "x: size 1K and commits 2" in listed


@pytest.mark.parametrize(
    "words",
    [
        ["--trigger-commits", "1"],
        ["--trigger", "release", "--trigger-commits", "1"],
        ["--trigger", "master", "--trigger-size", "much"],
        ["--trigger", "master", "--trigger-cron", "at noon"],
        ["--trigger", "master", "--trigger-commits", "-1"],
        ["--trigger", "master", "-p", "data@master"],
    ],
)
def test_a_trigger_that_makes_no_sense_is_refused_and_no_branch_made(pfs: Pfs, words: list[str]) -> None:
    """
    Without a source, on itself, with a bad size, schedule or number, beside provenance.
    """
    pfs.ok("create", "repo", "data")

    assert 5 == pfs("create", "branch", "data@release", *words).code
    assert 3 == pfs("inspect", "branch", "data@release").code
