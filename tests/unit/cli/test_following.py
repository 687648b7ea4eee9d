"""`pfs subscribe commit` and `pfs find commit`, where no mount runs."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.support.commands import Pfs, PfsProcess


@pytest.fixture
def made(pfs: Pfs, tmp_path: Path) -> list[str]:
    """Three commits, of which the second changed another file than the first and the third."""
    pfs.ok("create", "repo", "data")
    for name, text in (("a", "1"), ("b", "1"), ("a", "22")):
        (tmp_path / name).write_text(text)
        pfs.ok("put", "file", f"data@master:/d/{name}", "-f", tmp_path / name)
    listed = pfs.ok("list", "commit", "data@master", "-o", "json").json
    return [each["id"] for each in listed][::-1]


def test_the_commits_that_changed_a_path_are_found(pfs: Pfs, made: list[str]) -> None:
    """
    For programs with the number of commits that were searched, for people with a note.
    """
    shown = pfs.ok("find", "commit", "data@master:/d/a", "-o", "json").json
    limited = pfs.ok("find", "commit", "data@master:/d/a", "-n", "1", "-o", "json").json
    table = pfs.ok("find", "commit", "data@master:/d/b")

    assert [(made[2], 2), (made[0], 1)] == [(each["id"], each["size_bytes"]) for each in shown["found"]]
    assert (3, made[0]) == (shown["searched"], shown["last_searched"])
    assert ([made[2]], 1) == ([each["id"] for each in limited["found"]], limited["searched"])
    assert made[1] in table.out
    assert "3 commits searched" in table.err
    assert 5 == pfs("find", "commit", "data@master").code
    assert 3 == pfs("find", "commit", "data@none:/a").code


def test_a_deleted_file_is_found_where_it_was_deleted(pfs: Pfs, made: list[str]) -> None:
    """
    The newest commit that had anything to do with it.
    """
    pfs.ok("delete", "file", "data@master:/d/a")

    assert "deleted" in pfs.ok("find", "commit", "data@master:/d/a").lines[1]


def test_commits_are_printed_as_they_come(pfs: Pfs, made: list[str]) -> None:
    """
    As JSON each is a line; from the first, from a commit on, and only as many as are wanted.
    """

    def lines(*words: str) -> list[str]:
        done = pfs.ok("subscribe", "commit", "data@master", "-o", "json", *words)
        return [json.loads(line)["id"] for line in done.lines]

    assert made == lines("-n", "3")
    assert made[1:] == lines("--from", made[0], "-n", "2", "--state", "finished")
    assert made[:1] == [line.split()[0] for line in pfs.ok("subscribe", "commit", "data", "-n", "1").lines]
    pfs.ok("start", "commit", "data")
    (opened,) = lines("--new", "-n", "1")
    assert opened == pfs.ok("list", "commit", "data@master", "-n", "1", "-o", "json").json[0]["id"]


def test_a_subscription_that_makes_no_sense_is_refused(pfs: Pfs, made: list[str]) -> None:
    """
    Of a repo that is not there, to a state that is none, from a commit and from now on.
    """
    assert 3 == pfs("subscribe", "commit", "none@master").code
    assert 2 == pfs("subscribe", "commit", "data@master", "--state", "boiled").code
    assert 5 == pfs("subscribe", "commit", "data@master", "--new", "--from", made[0]).code


def test_a_subscription_to_a_branch_that_is_not_there_says_that_it_waits(pfs: Pfs, root: Path) -> None:
    """
    It may come later; a mistyped name can be seen.
    """
    pfs.ok("create", "repo", "data")
    other = PfsProcess(root)
    command = other.command("subscribe", "commit", "data@later", "-n", "1")
    with subprocess.Popen(
        command, env=other.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as waiting:
        assert waiting.stderr is not None
        assert "there is no branch data@later yet; waiting for it" in waiting.stderr.readline()

        pfs.ok("create", "branch", "data@later")
        opened = pfs.ok("start", "commit", "data@later").lines[0]

        assert opened == waiting.communicate(timeout=60)[0].split()[0]
