"""`pfs put|copy|delete|edit file`: what goes into branches, and where to."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import tempfile
from pathlib import Path

import pytest

from pfsfuse.store.store import Store
from pfsfuse.versions.projects import create_project
from tests.support.commands import Pfs, PfsProcess


@pytest.fixture
def data(pfs: Pfs) -> Pfs:
    pfs.ok("create", "repo", "data")
    return pfs


def files(pfs: Pfs, name: str = "data") -> dict[str, str]:
    """Return the files of a commit with their text."""
    listed = pfs.ok("list", "file", name, "-r", "-o", "json").json
    where = name.partition(":")[0]
    return {
        each["path"]: pfs.ok("get", "file", f"{where}:{each['path']}").out
        for each in listed
        if each["type"] == "file"
    }


def commits(pfs: Pfs, branch: str = "data@master") -> int:
    return len(pfs.ok("list", "commit", branch, "-o", "json").json)


# Putting


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["data", "-f", "a/b/t.txt"], "/t.txt"),
        (["data", "-f", "a/b/t.txt", "--full-path"], "/a/b/t.txt"),
        (["data:dir/", "-f", "a/b/t.txt"], "/dir/t.txt"),
        (["data:x/y.txt", "-f", "a/b/t.txt"], "/x/y.txt"),
        (["data:x/y.txt", "-f", "a/b/t.txt", "--full-path"], "/x/y.txt"),
        (["data:prefix/", "-f", "a/b/t.txt", "--full-path"], "/prefix/a/b/t.txt"),
        (["data:/", "-r", "-f", "a/b"], "/t.txt"),
        (["data", "-r", "-f", "a/b"], "/b/t.txt"),
        (["data:in", "-r", "-f", "a"], "/in/b/t.txt"),
    ],
)
def test_where_a_file_goes(
    data: Pfs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], expected: str
) -> None:
    """
    The original's rules, from a working folder.
    """
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "t.txt").write_text("t")
    monkeypatch.chdir(tmp_path)

    data.ok("put", "file", *words)

    assert {expected: "t"} == files(data)


def test_the_sources_may_come_from_a_list(data: Pfs, root: Path, tmp_path: Path) -> None:
    """
    A file or stdin with a name a line; all in one commit.
    """
    for name in ("one", "two", "three"):
        (tmp_path / name).write_text(name)
    (tmp_path / "list").write_text(f"{tmp_path}/one\n\n  {tmp_path}/two  \n")

    data.ok("put", "file", "data", "-i", tmp_path / "list", "-f", tmp_path / "three")
    PfsProcess(root).ok("put", "file", "data:more", "-i", "-", input=f"{tmp_path}/one".encode())
    empty = data("put", "file", "data", "-i", "/dev/null")

    assert {"/one": "one", "/two": "two", "/three": "three", "/more": "one"} == files(data)
    assert (0, 3) == (empty.code, commits(data))


def test_without_a_source_stdin_is_put(data: Pfs, root: Path) -> None:
    """
    As the original does; it needs a path.
    """
    PfsProcess(root).ok("put", "file", "data:typed", input=b"from a pipe")

    assert {"/typed": "from a pipe"} == files(data)
    assert "needs a path of its own" in PfsProcess(root)("put", "file", "data").err


@pytest.mark.parametrize("name", list("*?[]{}!()@+^"))
def test_a_name_that_means_something_in_patterns_is_refused(data: Pfs, tmp_path: Path, name: str) -> None:
    """
    As the target, and in a folder; nothing is changed.  With --any-names it is taken.
    """
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "in" / "sub" / f"x{name}y").write_text("x")

    whole = data("put", "file", "data:/", "-r", "-f", tmp_path / "in")
    one = data("put", "file", f"data:x{name}y", "-f", tmp_path / "in" / "sub" / f"x{name}y")
    assert (5, 5, 0) == (whole.code, one.code, commits(data))
    assert f"globbing character '{name}'" in whole.err

    data.ok("put", "file", "data:/", "-r", "-f", tmp_path / "in", "--any-names")
    assert {f"/sub/x{name}y": "x"} == files(data)


@pytest.mark.parametrize("path", ["../foo", "foo/../../bar", "foo/../bar", "./foo"])
def test_a_path_with_dots_is_refused(data: Pfs, tmp_path: Path, path: str) -> None:
    """
    Nothing is written.
    """
    (tmp_path / "f").write_text("x")

    refused = data("put", "file", f"data:{path}", "-f", tmp_path / "f")
    assert (5, False) == (refused.code, "b'" in refused.err)
    assert 0 == commits(data)


def test_operations_in_one_commit_apply_in_their_order(data: Pfs, tmp_path: Path) -> None:
    """
    Put, delete everything; put, delete, put again.
    """
    (tmp_path / "f").write_text("x")
    data.ok("start", "commit", "data")
    data.ok("put", "file", "data:file", "-f", tmp_path / "f")
    data.ok("delete", "file", "data:/")
    data.ok("finish", "commit", "data")
    assert {} == files(data)

    data.ok("start", "commit", "data")
    data.ok("put", "file", "data:file", "-f", tmp_path / "f")
    data.ok("delete", "file", "data:file")
    (tmp_path / "f").write_text("last")
    data.ok("put", "file", "data:file", "-f", tmp_path / "f")
    data.ok("finish", "commit", "data")
    assert {"/file": "last"} == files(data)


# Archives


@pytest.mark.parametrize("name", ["in.tar", "in.tar.gz"])
def test_the_members_of_an_archive_become_files(data: Pfs, tmp_path: Path, name: str) -> None:
    """
    In one commit, below the path; appended with --append.
    """
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for member, text in (("a.txt", b"a"), ("./sub/b.txt", b"b")):
            info = tarfile.TarInfo(member)
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text))
    packed = gzip.compress(stream.getvalue()) if name.endswith("gz") else stream.getvalue()
    (tmp_path / name).write_bytes(packed)

    data.ok("put", "file", "data", "--untar", "-f", tmp_path / name)
    assert {"/a.txt": "a", "/sub/b.txt": "b"} == files(data)
    data.ok("put", "file", "data:below", "--untar", "-f", tmp_path / name)
    data.ok("put", "file", "data:below", "--untar", "-f", tmp_path / name, "--append")

    assert {"/below/a.txt": "aa", "/below/sub/b.txt": "bb"} == files(data, "data:below")
    assert 3 == commits(data)


def test_an_archive_that_was_cut_off_changes_nothing(data: Pfs, tmp_path: Path) -> None:
    """
    Also if some of its members are whole.
    """
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.add(__file__, "a")
        archive.add(__file__, "b")
    whole = (tmp_path / "x.tar").read_bytes()
    (tmp_path / "x.tar").write_bytes(whole[: len(whole) // 2])

    done = data("put", "file", "data", "--untar", "-f", tmp_path / "x.tar")

    assert (5, 0) == (done.code, commits(data))
    assert "x.tar: this is no whole tar archive" in done.err


# Splitting


def test_a_file_is_split_into_numbered_files(data: Pfs, tmp_path: Path) -> None:
    """
    The path becomes a folder; a second put replaces it, an append goes on counting.
    """
    (tmp_path / "lines").write_text("foo\nbar\nbuz\nfiz\n")

    data.ok("put", "file", "data:line", "--split", "line", "-f", tmp_path / "lines")
    assert [f"/line/{n:016x}" for n in range(4)] == sorted(files(data))
    data.ok(
        "put", "file", "data:line", "--split", "line", "--target-file-datums", "3", "-f", tmp_path / "lines"
    )
    assert {"/line/" + "0" * 16: "foo\nbar\nbuz\n", "/line/" + "0" * 15 + "1": "fiz\n"} == files(data)
    data.ok(
        "put", "file", "data:line", "--split", "line", "--target-file-bytes", "8", "--append",
        "-f", tmp_path / "lines",
    )  # fmt: skip
    assert ["foo\nbar\nbuz\n", "fiz\n", "foo\nbar\n", "buz\nfiz\n"] == list(files(data).values())


def test_a_header_is_in_every_file(data: Pfs, tmp_path: Path) -> None:
    """
    And is not counted.
    """
    (tmp_path / "people.csv").write_text('name,city\nann,"new\nyork"\nbob,rome\n')

    data.ok("put", "file", "data", "--split", "csv", "--header-records", "1", "-f", tmp_path / "people.csv")

    assert {
        "/people.csv/" + "0" * 16: 'name,city\nann,"new\nyork"\n',
        "/people.csv/" + "0" * 15 + "1": "name,city\nbob,rome\n",
    } == files(data)


def test_splitting_says_what_it_cannot_do(data: Pfs, tmp_path: Path) -> None:
    """
    Targets without --split, a root that would become a folder of numbers, two ways at a time.
    """
    (tmp_path / "f").write_text("{")

    assert 2 == data("put", "file", "data", "-f", tmp_path / "f", "--target-file-datums", "1").code
    assert 2 == data("put", "file", "data", "-f", tmp_path / "f", "--split", "line", "--untar").code
    assert 2 == data("put", "file", "data", "-f", tmp_path / "f", "--split", "xml").code
    assert 5 == data("put", "file", "data", "-f", tmp_path / "f", "--split", "json").code
    assert 0 == commits(data)


# Copying


@pytest.fixture
def tree(data: Pfs, tmp_path: Path) -> Pfs:
    for name in ("one", "dir/two", "dir/sub/three"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_text(name)
    data.ok("put", "file", "data:/", "-r", "-f", tmp_path / "in")
    return data


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("data:one", "other:x", ["/x"]),
        ("data:one", "other", ["/one"]),
        ("data:one", "other:to/", ["/to/one"]),
        ("data:dir", "other:x", ["/x/sub/three", "/x/two"]),
        ("data:dir/", "other:x/", ["/x/sub/three", "/x/two"]),
        ("data:dir", "other", ["/dir/sub/three", "/dir/two"]),
        ("data:/", "other:all/", ["/all/dir/sub/three", "/all/dir/two", "/all/one"]),
        ("data:/", "other:/", ["/dir/sub/three", "/dir/two", "/one"]),
        ("data:dir", "p/project:x", ["/x/sub/three", "/x/two"]),
    ],
)
def test_files_and_folders_are_copied_across_repos_and_projects(
    tree: Pfs, root: Path, source: str, target: str, expected: list[str]
) -> None:
    """
    The copy is one commit of the target and moves no data.
    """
    repo = target.partition(":")[0]
    store = Store(root)
    with store.write() as txn:
        create_project(txn, "p")
    store.close()
    tree.ok("create", "repo", repo)

    tree.ok("copy", "file", source, target)

    copied = files(tree, repo)
    assert expected == sorted(copied)
    assert set(copied.values()) <= set(files(tree).values())
    assert 1 == commits(tree, f"{repo}@master")


def test_a_copied_folder_joins_the_one_that_is_there(tree: Pfs, tmp_path: Path) -> None:
    """
    Files of both are replaced, or added to with --append; into an open commit as well.
    """
    tree.ok("copy", "file", "data:dir", "data:new")
    (tmp_path / "more").write_text("more")
    tree.ok("put", "file", "data:dir/more", "-f", tmp_path / "more")
    tree.ok("put", "file", "data:dir/two", "-f", tmp_path / "more")
    head = tree.ok("inspect", "commit", "data@master", "-o", "json").json["id"]
    tree.ok("start", "commit", "data")
    tree.ok("copy", "file", f"data@{head}:dir", "data:new", "--append")
    tree.ok("copy", "file", f"data@{head}:dir/sub", "data:new/sub")
    tree.ok("finish", "commit", "data")

    assert {
        "/new/more": "more",
        "/new/two": "dir/twomore",
        "/new/sub/three": "dir/sub/three",
    } == files(tree, "data:new")


def test_an_old_version_comes_back_by_a_copy(tree: Pfs, tmp_path: Path) -> None:
    """
    From an ancestor of the same branch.
    """
    tree.ok("delete", "file", "data:/dir")
    tree.ok("copy", "file", "data@master^:/dir", "data:/dir")

    assert "dir/two" == files(tree)["/dir/two"]


def test_a_file_and_a_folder_do_not_take_each_others_place(tree: Pfs) -> None:
    """
    What stands there is named, and nothing is changed.
    """
    onto_folder, below_file = (
        tree("copy", "file", "data:one", "data:dir"),
        tree("copy", "file", "data:dir", "data:one/x"),
    )

    assert (5, 5) == (onto_folder.code, below_file.code)
    assert "/dir is a directory" in onto_folder.err
    assert "/one is a file" in below_file.err
    assert 1 == commits(tree)


def test_a_path_to_delete_is_never_a_pattern(tree: Pfs, tmp_path: Path) -> None:
    """
    A star in it is a star of the name.
    """
    tree.ok("put", "file", "data:d*", "-f", tmp_path / "in" / "one", "--any-names")
    tree.ok("delete", "file", "data:d*")

    assert ["/dir/sub/three", "/dir/two", "/one"] == sorted(files(tree))


# Editing


def script(tmp_path: Path, text: str) -> Path:
    made = tmp_path / "editor"
    made.write_text(f"#!/bin/sh\n{text}\n")
    made.chmod(0o755)
    return made


def test_what_the_editor_saves_is_committed(
    tree: Pfs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    By option or environment; the permissions of the file stay.
    """
    editor = script(tmp_path, 'echo edited >> "$1"; basename "$1" >> "$1"')
    monkeypatch.setenv("EDITOR", str(editor))

    tree.ok("edit", "file", "data:dir/two")
    tree.ok("edit", "file", "data:one", "--editor", "sed -i s/one/two/")

    assert "dir/twoedited\ntwo\n" == files(tree)["/dir/two"]
    assert "two" == files(tree)["/one"]
    assert 3 == commits(tree)


def test_nothing_is_committed_if_nothing_was_edited(tree: Pfs, tmp_path: Path) -> None:
    """
    Saving the same bytes again is no change either.
    """
    done = tree.ok("edit", "file", "data:one", "--editor", "touch")

    assert "nothing is committed" in done.err
    assert 1 == commits(tree)
    assert 5 == tree("edit", "file", "data:dir", "--editor", "true").code
    assert 3 == tree("edit", "file", "data:nope", "--editor", "true").code


def test_an_editor_that_changed_nothing_leaves_nothing_behind(
    tree: Pfs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    It is not there, or ends with an error before anything was typed.
    """
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    missing = tree("edit", "file", "data:one", "--editor", "no-such-editor")
    failed = tree("edit", "file", "data:one", "--editor", "false")

    assert (1, 1) == (missing.code, failed.code)
    assert "kept in" not in missing.err + failed.err
    assert [] == list(tmp_path.glob("pfs-edit-*"))


def test_what_was_typed_is_kept_when_it_cannot_be_committed(
    tree: Pfs, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Somebody else changed the file meanwhile; the editor failed.
    """
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    program = " ".join(PfsProcess(root).command("put", "file", "data:one", "-f", "/etc/hostname"))
    editor = script(tmp_path, f'echo mine > "$1"; cd {os.getcwd()}; {program}')

    overtaken = tree("edit", "file", "data:one", "--editor", str(editor))
    failed = tree("edit", "file", "data:dir/two", "--editor", str(script(tmp_path, "exit 1")))

    kept = Path(overtaken.err.partition("kept in ")[2].split()[0])
    assert (4, 1) == (overtaken.code, failed.code)
    assert "changed by somebody else" in overtaken.err
    assert "mine\n" == kept.read_text()
    assert 2 == commits(tree)
