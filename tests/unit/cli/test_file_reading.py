"""`pfs list|walk|glob|inspect|diff|get file`: looking at commits, finished and open."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from pfsfuse.store.store import Store
from pfsfuse.trees.tree import Trees
from pfsfuse.versions.owner import Owner
from tests.support.builders import ref
from tests.support.commands import Done, Pfs, PfsProcess


@pytest.fixture
def data(pfs: Pfs) -> Pfs:
    pfs.ok("create", "repo", "data")
    return pfs


def put(pfs: Pfs, tmp_path: Path, *words: str, **files: str) -> None:
    """Put files, named with `__` for a slash and `_` for a dot, in one commit."""
    folder = tmp_path / f"put{len(list(tmp_path.iterdir()))}"
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    pfs.ok("put", "file", *(words or ("data:/",)), "-r", "-f", folder)


@pytest.fixture
def tree(data: Pfs, tmp_path: Path) -> Pfs:
    """The original's tree for walking, with a name that sorts before a folder's slash."""
    put(data, tmp_path, dir__bar="bar\n", dir__dir2__buzz="buzz\n", dir_txt="text\n", foo="foo\n")
    return data


def paths(done: Done) -> list[str]:
    return [file["path"] for file in done.json]


def test_a_walk_is_in_the_order_of_paths_and_has_folders_before_what_is_in_them(tree: Pfs) -> None:
    """
    A folder sorts with a slash behind its name, and so do listings.
    """
    walked = ["/", "/dir.txt", "/dir/", "/dir/bar", "/dir/dir2/", "/dir/dir2/buzz", "/foo"]

    assert walked == paths(tree.ok("walk", "file", "data", "-o", "json"))
    assert walked[1:] == paths(tree.ok("list", "file", "data", "-r", "-o", "json"))
    assert ["/dir.txt", "/dir/", "/foo"] == paths(tree.ok("list", "file", "data", "-o", "json"))
    assert ["/dir/dir2/", "/dir/dir2/buzz"] == paths(tree.ok("walk", "file", "data:dir/dir2/", "-o", "json"))
    assert 3 == tree("walk", "file", "data:/nope").code


def test_the_root_of_an_empty_commit_can_be_walked_and_nothing_else(data: Pfs) -> None:
    """
    Walking it gives the root alone.
    """
    data.ok("start", "commit", "data")
    data.ok("finish", "commit", "data")

    assert ["/"] == paths(data.ok("walk", "file", "data", "-o", "json"))
    assert 3 == data("walk", "file", "data:/x").code


def test_a_listing_comes_in_pages(data: Pfs, tmp_path: Path) -> None:
    """
    The marker is left out; in reverse the entries before it come last one first.
    """
    put(data, tmp_path, **{f"file{n}": "" for n in range(5)}, sub__x="", sub_x="")
    every = paths(data.ok("list", "file", "data", "-o", "json"))

    def page(*words: str) -> list[str]:
        return paths(data.ok("list", "file", "data", "-o", "json", *words))

    assert ["/file0", "/file1", "/file2", "/file3", "/file4", "/sub.x", "/sub/"] == every
    for at, marker in enumerate(every):
        assert every[at + 1 :] == page("--marker", marker)
        assert every[at + 1 :][:2] == page("--marker", marker, "-n", "2")
        assert every[:at][::-1][:2] == page("--marker", marker, "-n", "2", "--reverse")
    assert every[-3:][::-1] == page("-n", "3", "--reverse")
    assert every[3:] == page("--marker", "file2")
    assert [] == page("--marker", "/zzz")
    refused = data("list", "file", "data", "--reverse")
    assert (5, True) == (refused.code, "needs a number" in refused.err)


def test_a_pattern_lists_and_finds_files_and_folders(tree: Pfs) -> None:
    """
    A folder that is found is one entry; nothing found is no error for glob and list.
    """
    assert ["/dir.txt", "/dir/"] == paths(tree.ok("glob", "file", "data:d*", "-o", "json"))
    assert ["/dir/bar", "/dir/dir2/buzz"] == paths(tree.ok("glob", "file", "data:**b*", "-o", "json"))
    assert ["/dir.txt", "/dir/"] == paths(tree.ok("list", "file", "data:/d*", "-o", "json"))
    assert ["/"] == paths(tree.ok("glob", "file", "data:/", "-o", "json"))
    assert [] == tree.ok("glob", "file", "data:*.nope", "-o", "json").json
    malformed = tree("glob", "file", "data:[a")
    assert (5, True) == (malformed.code, "[ is not closed" in malformed.err)


def test_a_folder_knows_the_size_and_number_of_all_below_it(tree: Pfs) -> None:
    """
    And has a hash of its content, as a file has.
    """
    folder = tree.ok("inspect", "file", "data:dir", "-o", "json").json
    file = tree.ok("inspect", "file", "data:/dir/bar", "-o", "json").json

    assert ("/dir/", "dir", 9, 2) == tuple(folder[key] for key in ("path", "type", "size_bytes", "files"))
    assert ("/dir/bar", "file", 4, 1) == tuple(file[key] for key in ("path", "type", "size_bytes", "files"))
    assert 64 == len(folder["hash"]) == len(file["hash"])
    assert "Files: 2" in tree.ok("inspect", "file", "data:dir").lines
    assert 3 == tree("inspect", "file", "data:nope").code


def test_the_history_of_a_path_has_the_commits_that_changed_it(data: Pfs, tmp_path: Path) -> None:
    """
    Newest first, deletions too; commits that left it alone are not in it.
    """
    for text in ("one", "two"):
        put(data, tmp_path, f=text)
        put(data, tmp_path, other=text)
    data.ok("delete", "file", "data:f")
    put(data, tmp_path, f="three!")

    found = data.ok("list", "file", "data:f", "--history", "all", "-o", "json").json

    assert ["changed", "deleted", "changed", "changed"] == [each["change"] for each in found]
    assert [6, None, 3, 3] == [each["file"] and each["file"]["size_bytes"] for each in found]
    assert "two" == data.ok("get", "file", f"data@{found[2]['commit']}:f").out
    assert 2 == len(data.ok("list", "file", "data:f", "--history", "2", "-o", "json").json)
    assert 3 == data("list", "file", "data:never", "--history", "all").code


# Getting


def test_a_range_of_bytes_is_got(data: Pfs, tmp_path: Path) -> None:
    """
    Beyond the end there is nothing.
    """
    put(data, tmp_path, f="0123456789")

    def got(*words: str) -> str:
        return data.ok("get", "file", "data:f", *words).out

    assert [f"{'0123456789'[n:]}" for n in range(11)] == [got("--offset", str(n)) for n in range(11)]
    assert "345" == got("--offset", "3", "--size", "3")
    assert "01" == got("--size", "2")
    assert "89" == got("--offset", "8", "--size", "100")
    assert "" == got("--offset", "100") == got("--size", "0")
    data.ok("get", "file", "data:f", "--offset", "8", "--to", tmp_path / "part")
    assert b"89" == (tmp_path / "part").read_bytes()


def test_what_a_pattern_finds_is_joined_in_the_order_of_paths(tree: Pfs, tmp_path: Path) -> None:
    """
    On stdout; in a folder every file has its path.
    """
    assert "text\nfoo\n" == tree.ok("get", "file", "data:{foo,*.txt}").out
    tree.ok("get", "file", "data:/dir/{bar,dir2}", "-r", "--to", tmp_path / "out")

    found = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert {"dir/bar", "dir/dir2/buzz"} == found
    nothing = tree("get", "file", "data:*.nope")
    assert (3, True) == (nothing.code, "nothing matches the pattern" in nothing.err)


def test_a_folder_or_a_pattern_that_finds_one_needs_r(tree: Pfs) -> None:
    """
    The original's words.
    """
    for name in ("data:dir", "data:/", "data:d*"):
        done = tree("get", "file", name)
        assert (5, True) == (done.code, "try again with the -r flag" in done.err)
    assert 2 == tree("get", "file", "data:dir", "-r").code
    assert 3 == tree("get", "file", "data:nope").code
    assert 3 == tree("get", "file", "data@nope:foo").code


def test_a_file_goes_into_a_folder_that_is_there_or_that_a_slash_says(tree: Pfs, tmp_path: Path) -> None:
    """
    As with cp; a folder that does not exist yet is made.
    """
    (tmp_path / "there").mkdir()
    expected = tree.ok("get", "file", "data:foo").out.encode()

    tree.ok("get", "file", "data:foo", "--to", tmp_path / "there")
    tree.ok("get", "file", "data:foo", "--to", f"{tmp_path}/new/")
    tree.ok("get", "file", "data:foo", "--to", f"{tmp_path}/part/", "--size", "1")

    assert expected == (tmp_path / "there/foo").read_bytes() == (tmp_path / "new/foo").read_bytes()
    assert expected[:1] == (tmp_path / "part/foo").read_bytes()


def test_files_are_got_as_an_archive(tree: Pfs, root: Path, tmp_path: Path) -> None:
    """
    To stdout or into a file, with their paths from the root of the commit.
    """
    tree.ok("get", "file", "data:/{dir,foo}", "--tar", "--to", tmp_path / "a.tar")
    piped = PfsProcess(root).ok("get", "file", "data:/dir", "-r", "--tar")

    with tarfile.open(tmp_path / "a.tar") as archive:
        assert ["dir", "dir/bar", "dir/dir2", "dir/dir2/buzz", "foo"] == archive.getnames()
    with tarfile.open(fileobj=io.BytesIO(piped.out.encode())) as archive:
        assert ["dir", "dir/bar", "dir/dir2", "dir/dir2/buzz"] == archive.getnames()


# Differences


def test_a_difference_is_shown_as_text_against_the_commit_before(data: Pfs, tmp_path: Path) -> None:
    """
    Each file that differs, by diff; a file that is new or gone against nothing.
    """
    put(data, tmp_path, data="foo\n", same="same\n", sub__gone="gone\n")
    data.ok("start", "commit", "data")
    put(data, tmp_path, data="bar\n", sub__new="new\n")
    data.ok("delete", "file", "data:sub/gone")
    data.ok("finish", "commit", "data")

    out = data.ok("diff", "file", "data@master:/").out

    assert ["-foo", "+bar", "-gone", "+new"] == [
        line for line in out.splitlines() if line[0] in "+-" and not line.startswith(("+++", "---"))
    ]
    assert "--- old/data" in out and "+++ new/sub/new" in out
    assert out == data.ok("diff", "file", "data", "data@master^").out
    assert "" == data.ok("diff", "file", "data:same", "data@master^:same").out
    assert 3 == data("diff", "file", "data:nope").code


def test_a_difference_is_shown_by_name_with_the_folders_above(data: Pfs, tmp_path: Path) -> None:
    """
    As JSON always; what is equal is not read.
    """
    put(data, tmp_path, a="1", sub__b="1", sub__deep__c="1", other__d="1")
    put(data, tmp_path, sub__deep__c="22", new__e="1")

    def changed(*words: str) -> list[tuple[str, str]]:
        done = data.ok("diff", "file", "data", "-o", "json", *words)
        return [(each["change"], each["path"]) for each in done.json]

    whole = [
        ("changed", "/"),
        ("added", "/new/"),
        ("added", "/new/e"),
        ("changed", "/sub/"),
        ("changed", "/sub/deep/"),
        ("changed", "/sub/deep/c"),
    ]
    assert whole == changed() == changed("--name-only")
    assert [whole[0], whole[1], whole[3]] == changed("--shallow")
    table = data.ok("diff", "file", "data", "--name-only").lines
    assert ["CHANGE", "NAME", "OLD", "SIZE", "NEW", "SIZE"] == table[0].split()
    assert ["changed", "/sub/deep/c", "1B", "2B"] == table[-1].split()


def test_files_of_different_repos_and_commands_can_be_compared(data: Pfs, tmp_path: Path) -> None:
    """
    Any two names; any command that takes two files.
    """
    data.ok("create", "repo", "other")
    put(data, tmp_path, f="foo\n")
    put(data, tmp_path, "other:/", g="bar\n")

    out = data.ok("diff", "file", "data:f", "other:g", "--diff-command", "cat").out
    broken = data("diff", "file", "data:f", "other:g", "--diff-command", "/no/such/command")
    failed = data("diff", "file", "data:f", "other:g", "--diff-command", "sh -c 'exit 3'")

    assert "bar\nfoo\n" == out
    assert (1, 1) == (broken.code, failed.code)
    assert "--diff-command" in broken.err
    assert "ended with 3" in failed.err


# Open commits


def test_an_open_commit_gives_the_same_answers_as_when_it_is_finished(data: Pfs, tmp_path: Path) -> None:
    """
    Inspect, list, walk, get, glob and diff, of the branch and of the id.
    """
    put(data, tmp_path, a="1", dir__b="2", gone="3")
    commit = data.ok("start", "commit", "data").out.strip()
    put(data, tmp_path, f"data@{commit}:/", a="11", dir__new="4", large="x" * 300_000)
    data.ok("delete", "file", "data:gone")

    def answers() -> list[str]:
        asked = [
            ["inspect", "file", "NAME:/"],
            ["inspect", "file", "NAME:/large"],
            ["list", "file", "NAME"],
            ["list", "file", "NAME:a", "--history", "all"],
            ["walk", "file", "NAME:/dir"],
            ["get", "file", "NAME:a"],
            ["glob", "file", "NAME:**[an]*"],
            ["diff", "file", "NAME"],
        ]
        found = []
        for name in ("data@master", f"data@{commit}"):
            for words in asked:
                words = [word.replace("NAME", name) for word in words]
                found.append(data.ok(*words, *([] if words[0] == "get" else ["-o", "json"])).out)
        return found

    before, again = answers(), answers()
    data.ok("finish", "commit", "data")

    assert before == again == answers()
    assert 2 == len(data.ok("list", "commit", "data@master", "-o", "json").json)


def test_looking_at_half_a_copy_does_not_make_it_whole(data: Pfs, root: Path, tmp_path: Path) -> None:
    """
    An open commit whose writer was killed is marked; a snapshot leaves the mark.
    """
    put(data, tmp_path, a="1")
    data.ok("start", "commit", "data")
    put(data, tmp_path, b="2")
    (journal,) = (root / "staging").glob("*/journal")
    # The last record says that its writer ended by its own will; without it, it was killed.
    journal.write_bytes(journal.read_bytes()[:-1])

    assert ["/a", "/b"] == paths(data.ok("list", "file", "data", "-o", "json"))
    store = Store(root)
    owner = Owner(store, Trees(store.chunks))
    try:
        opened = owner.find(ref("data"))
        assert opened is not None
        assert opened.is_recovered
    finally:
        owner.close(half=[ref("data")])
        store.close()
