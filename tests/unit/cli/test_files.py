"""`pfs put|get|list|delete file`, where no mount runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.commands import Pfs, PfsProcess


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with everything that is to be kept."""
    made = tmp_path / "folder"
    (made / "sub" / "deep").mkdir(parents=True)
    (made / "empty").mkdir(mode=0o750)
    (made / "run.sh").write_text("#!/bin/sh\n")
    (made / "run.sh").chmod(0o755)
    (made / "sub" / "deep" / "data").write_bytes(os.urandom(300_000))
    (made / "sub" / "link").symlink_to("deep/data")
    os.utime(made / "run.sh", ns=(1, 1_234_567_890_123_456_789))
    os.utime(made / "empty", ns=(1, 1_000_000_000_000_000_001))
    os.utime(made / "sub", ns=(1, 1_000_000_000_000_000_002))
    return made


@pytest.fixture
def data(pfs: Pfs) -> Pfs:
    pfs.ok("create", "repo", "data")
    return pfs


def facts(top: Path) -> dict[str, object]:
    """Return what must survive, by path."""
    found: dict[str, object] = {}
    for path in sorted(top.rglob("*")):
        there = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(top))] = (there.st_mode, there.st_mtime_ns, content)
    return found


def test_a_folder_comes_back_as_it_was_put(data: Pfs, folder: Path, tmp_path: Path) -> None:
    """
    Bytes, modes, times, links and empty folders go in with one commit and come out again.
    """
    commit = data.ok("put", "file", "data@master:/", "-r", "-f", folder).out.strip()
    data.ok("get", "file", f"data@{commit}:/", "-r", "--to", tmp_path / "back")

    assert facts(folder) == facts(tmp_path / "back")
    assert 1 == len(data.ok("list", "commit", "data@master", "-o", "json").json)


def test_a_folder_put_over_another_joins_it(data: Pfs, folder: Path, tmp_path: Path) -> None:
    """
    What stood in the folder before and is not replaced stays.
    """
    other = tmp_path / "other" / "sub"
    other.mkdir(parents=True)
    (other / "more").write_text("more")
    data.ok("put", "file", "data:/", "-r", "-f", folder)
    data.ok("put", "file", "data:/", "-r", "-f", tmp_path / "other")

    names = [file["path"] for file in data.ok("list", "file", "data:/sub", "-o", "json").json]

    assert ["/sub/deep/", "/sub/link", "/sub/more"] == names


def test_a_put_joins_the_open_commit_of_its_branch(data: Pfs, tmp_path: Path) -> None:
    """
    Between start and finish there is one commit, however many puts.
    """
    (tmp_path / "f").write_text("one\n")
    started = data.ok("start", "commit", "data").out.strip()
    for _ in range(2):
        put = data.ok("put", "file", f"data@{started}", "-f", tmp_path / "f", "--append")
        assert started in put.err
    data.ok("finish", "commit", "data")

    assert "one\none\n" == data.ok("get", "file", "data:f").out
    assert 1 == len(data.ok("list", "commit", "data@master", "-o", "json").json)


def test_a_put_replaces_and_an_append_adds(data: Pfs, tmp_path: Path) -> None:
    """
    The same file three times, the last time with --append.
    """
    (tmp_path / "f").write_text("a\n")
    data.ok("put", "file", "data", "-f", tmp_path / "f")
    (tmp_path / "f").write_text("b\n")
    data.ok("put", "file", "data", "-f", tmp_path / "f")
    data.ok("put", "file", "data", "-f", tmp_path / "f", "--append")

    assert "b\nb\n" == data.ok("get", "file", "data:/f").out
    assert "a\n" == data.ok("get", "file", "data@master~2:/f").out
    assert "\nb\n" == data.ok("get", "file", "data:/f", "--offset", "1").out


def test_stdin_is_put_under_the_path_that_is_given(root: Path) -> None:
    """
    More than one buffer is piped in, and comes out of a pipe again.
    """
    pfs = PfsProcess(root)
    text = b"line\n" * 500_000
    pfs.ok("create", "repo", "data")
    pfs.ok("put", "file", "data:logs/today", "-f", "-", input=text)

    assert text.decode() == pfs.ok("get", "file", "data:logs/today").out


def test_a_missing_repo_is_named_before_a_missing_file(data: Pfs) -> None:
    """
    Both are missing; the original names the repo.
    """
    repo, file = (
        data("put", "file", "nope", "-f", "/no/such/file"),
        data("put", "file", "data", "-f", "/no/such"),
    )

    assert "repo nope not found" in repo.err
    assert "/no/such: No such file or directory" in file.err
    assert (3, 3) == (repo.code, file.code)


def test_a_folder_without_r_is_refused_and_nothing_is_changed(data: Pfs, folder: Path) -> None:
    """
    Put and get of a folder say what is missing.
    """
    put = data("put", "file", "data", "-f", folder)
    data.ok("put", "file", "data", "-r", "-f", folder)
    get = data("get", "file", "data:/folder")

    assert 5 == put.code == get.code
    assert "-r" in put.err
    assert "try again with the -r flag" in get.err
    assert 1 == len(data.ok("list", "commit", "data", "-o", "json").json)


def test_what_is_not_there_is_not_found(data: Pfs, folder: Path) -> None:
    """
    A branch, a file, the content of a branch without commits.
    """
    assert "branch data@master has no finished commit yet" in data("list", "file", "data").err
    assert 'branch "nope" not found in repo data' in data("list", "file", "data@nope").err
    data.ok("put", "file", "data", "-r", "-f", folder)
    assert 3 == data("get", "file", "data:/folder/nope").code
    assert 3 == data("get", "file", "data@nope:/folder/run.sh").code


def test_a_listing_shows_one_level_or_all(data: Pfs, folder: Path) -> None:
    """
    A folder shows what is directly in it; with -r everything; a file shows itself.
    """
    data.ok("put", "file", "data:/", "-r", "-f", folder)

    def paths(*words: str) -> list[str]:
        return [file["path"] for file in data.ok("list", "file", *words, "-o", "json").json]

    assert ["/empty/", "/run.sh", "/sub/"] == paths("data")
    assert ["/sub/", "/sub/deep/", "/sub/deep/data", "/sub/link"] == paths("data", "-r")[2:]
    assert ["/run.sh"] == paths("data:run.sh")
    (shown,) = data.ok("list", "file", "data:run.sh", "-o", "json").json
    assert ("file", 10, "0755") == (shown["type"], shown["size_bytes"], shown["mode"])


def test_equal_bytes_have_equal_hashes_whatever_their_name(data: Pfs, tmp_path: Path) -> None:
    """
    The hash in a listing is of the content.
    """
    for name in ("a", "b"):
        (tmp_path / name).write_text("same")
        data.ok("put", "file", "data", "-f", tmp_path / name)

    hashes = {file["hash"] for file in data.ok("list", "file", "data", "-o", "json").json}

    assert 1 == len(hashes)


def test_files_and_folders_are_deleted_in_one_commit(data: Pfs, folder: Path) -> None:
    """
    One that is not there is fine; deleting the root empties the branch.
    """
    data.ok("put", "file", "data:/", "-r", "-f", folder)
    data.ok("delete", "file", "data:/sub", "data:/run.sh", "data:/nope")

    assert ["/empty/"] == [file["path"] for file in data.ok("list", "file", "data", "-o", "json").json]
    data.ok("delete", "file", "data:/")
    assert [] == data.ok("list", "file", "data", "-o", "json").json
    assert 3 == len(data.ok("list", "commit", "data@master", "-o", "json").json)
    assert 2 == data("delete", "file", "data").code


def test_an_output_branch_is_written_by_its_pipeline_only(data: Pfs, folder: Path) -> None:
    """
    A branch with provenance refuses people, before their data is read.
    """
    data.ok("create", "repo", "result")
    data.ok("create", "branch", "result@made", "-p", "data@master")

    done = data("put", "file", "result@made", "-r", "-f", "/no/such/folder")

    assert 10 == done.code
    assert "only its pipeline writes it" in done.err


def test_what_has_no_bytes_is_left_out_and_named(data: Pfs, folder: Path) -> None:
    """
    A folder with a FIFO in it.
    """
    os.mkfifo(folder / "pipe")

    done = data.ok("put", "file", "data:/", "-r", "-f", folder)

    assert f"left out, neither file nor folder nor symbolic link: {folder}/pipe" in done.err
    assert 3 == data("list", "file", "data:/pipe").code
