"""How repos, commits and paths are named on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from pfsfuse.errors import InvalidNameError
from runner.cli.names import FileName, branch_name, commit_name, file_name, repo_and_branch, targets


def test_a_file_is_named_by_repo_commit_and_path() -> None:
    """
    The commit is master when not given; the path is kept as it was written.
    """
    assert FileName("data", "master", b"/a/b") == file_name("data@master:/a/b")
    assert FileName("data", "master", None) == file_name("data")
    assert FileName("data", "master~2", b"") == file_name("data@master~2:")
    assert FileName("team/data", "v1", b"a:b@c") == file_name("team/data@v1:a:b@c")


def test_what_is_no_name_is_refused() -> None:
    """
    A path where a commit is meant, nothing behind the @, a bad name.
    """
    for text in ("data@master:/a", "data@", "da ta", "", "@master"):
        with pytest.raises(InvalidNameError):
            commit_name(text)


def test_a_repo_alone_is_told_from_a_branch() -> None:
    """
    `list commit data` lists all commits, `list commit data@master` one line.
    """
    assert ("data", None) == repo_and_branch("data")
    assert ("data", "master") == repo_and_branch("data@master")
    assert "data@master" == str(branch_name("data"))


@pytest.mark.parametrize(
    ("where", "sources", "options", "paths"),
    [
        ("r@b", ["a/b/t.txt"], "", ["t.txt"]),
        ("r@b", ["a/b/t.txt"], "full", ["a/b/t.txt"]),
        ("r@b", ["/a/b/t.txt"], "full", ["a/b/t.txt"]),
        ("r@b:x/y.txt", ["a/b/t.txt"], "", ["x/y.txt"]),
        ("r@b:x/y.txt", ["a/b/t.txt"], "full", ["x/y.txt"]),
        ("r@b:dir/", ["a/b/t.txt"], "", ["dir/t.txt"]),
        ("r@b:dir/", ["a/b/t.txt"], "full", ["dir/a/b/t.txt"]),
        ("r@b:/", ["a/b/t.txt"], "", ["t.txt"]),
        ("r@b:dir", ["a/one", "b/other"], "", ["dir/one", "dir/other"]),
        ("r@b", ["folder"], "r", ["folder"]),
        ("r@b", ["folder/"], "r", ["folder"]),
        ("r@b:/", ["folder"], "r", [""]),
        ("r@b:dir", ["folder"], "r", ["dir"]),
        ("r@b:dir/", ["folder"], "r", ["dir"]),
        ("r@b:dir", ["folder", "a/one"], "r", ["dir/folder", "dir/one"]),
        ("r@b:x", ["-"], "", ["x"]),
    ],
)
def test_a_source_goes_where_the_original_puts_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    sources: list[str],
    options: str,
    paths: list[str],
) -> None:
    """
    The rules of the original's `put file`; `folder` is a folder.
    """
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)

    found = targets(file_name(where), sources, recursive=options == "r", full_path=options == "full")

    assert sources == [source for source, _ in found]
    assert paths == [b"/".join(path).decode() for _, path in found]


def test_the_working_folder_goes_by_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    `put file -r -f .` without a path.
    """
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path / "photos")

    assert [(".", (b"photos",))] == targets(file_name("r"), ["."], recursive=True, full_path=False)


@pytest.mark.parametrize("where", ["r@b", "r@b:dir/"])
def test_stdin_needs_a_path_of_its_own(where: str) -> None:
    """
    What is piped in has no name.
    """
    with pytest.raises(InvalidNameError, match="needs a path"):
        targets(file_name(where), ["-"], recursive=False, full_path=False)


def test_a_full_path_cannot_leave_the_commit() -> None:
    """
    The source is named through its parent folder.
    """
    with pytest.raises(InvalidNameError):
        targets(file_name("r"), ["../secrets"], recursive=False, full_path=True)
