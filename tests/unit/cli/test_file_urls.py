"""`pfs put file` from URLs and `pfs get file` to them, with servers on 127.0.0.1."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.commands import Pfs
from tests.support.web import PAGES, s3_server, web_server


@pytest.fixture
def data(pfs: Pfs) -> Pfs:
    pfs.ok("create", "repo", "data")
    return pfs


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    with web_server() as url:
        yield url


@pytest.fixture(scope="module")
def s3() -> Iterator[None]:
    with s3_server("bucket"):
        yield


@pytest.fixture(params=["s3", "file"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an object store with nothing in it."""
    if request.param == "s3":
        request.getfixturevalue("s3")
        return f"s3://bucket/{tmp_path.name}"
    return f"file://{tmp_path}/objects"


def paths(pfs: Pfs, name: str = "data") -> list[str]:
    listed = pfs.ok("list", "file", name, "-r", "-o", "json").json
    return [file["path"] for file in listed if file["type"] == "file"]


def test_a_file_of_a_web_server_is_put(data: Pfs, web: str, tmp_path: Path) -> None:
    """
    By its own name or another; through a redirection; empty, and of more than one part.
    """
    data.ok("put", "file", "data", "-f", f"{web}/files/two%20words.txt", "-f", f"{web}/empty")
    data.ok("put", "file", "data:x/y", "-f", f"{web}/moved")
    data.ok("put", "file", "data", "-f", f"{web}/files/one.txt", "--full-path")
    data.ok("put", "file", "data", "-f", f"{web}/large")
    data.ok("get", "file", "data:large", "--to", tmp_path / "large")

    assert ["/empty", "/files/one.txt", "/large", "/two words.txt", "/x/y"] == paths(data)
    assert "two\n" == data.ok("get", "file", "data:two words.txt").out
    assert "one\n" == data.ok("get", "file", "data:/x/y").out
    assert PAGES["/large"] == (tmp_path / "large").read_bytes()


def test_a_web_server_that_fails_changes_nothing(data: Pfs, web: str, tmp_path: Path) -> None:
    """
    A page that is not there, a server in trouble, a connection that breaks, nobody who listens.
    """
    missing = data("put", "file", "data", "-f", f"{web}/nope", "-f", f"{web}/files/one.txt")
    broken = data("put", "file", "data", "-f", f"{web}/broken")
    cut = data("put", "file", "data", "-f", f"{web}/cut")
    nobody = data("put", "file", "data", "-f", "http://127.0.0.1:1/x")
    folder = data("put", "file", "data", "-r", "-f", web + "/files")

    assert [3, 7, 7, 7, 5] == [done.code for done in (missing, broken, cut, nobody, folder)]
    assert f"{web}/nope: the server says 404" in missing.err
    assert "20 bytes came where 1000 were announced" in cut.err
    assert "cannot be listed" in folder.err
    assert [] == data.ok("list", "commit", "data@master", "-o", "json").json


def test_lists_archives_and_splits_may_be_behind_urls(data: Pfs, web: str, tmp_path: Path) -> None:
    """
    Each source is a stream, whatever is done with it.
    """
    (tmp_path / "list").write_text(f"{web}/files/one.txt\n{tmp_path / 'list'}\n")

    data.ok("put", "file", "data", "-i", f"file://{tmp_path}/list")
    data.ok("put", "file", "data:lines", "--split", "line", "-f", f"{web}/files/one.txt")

    assert ["/lines/0000000000000000", "/list", "/one.txt"] == paths(data)


def test_a_folder_goes_to_an_object_store_and_comes_back(data: Pfs, place: str, tmp_path: Path) -> None:
    """
    Below the prefix, by the paths in the commit; relative names are kept on the way back.
    """
    for name, size in (("one", 3), ("dir/two words", 0), ("dir/sub/three", 9_000_000)):
        file = tmp_path / "in" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(name.encode() * (size // 3))
    (tmp_path / "in" / "link").symlink_to("one")
    data.ok("put", "file", "data:/", "-r", "-f", tmp_path / "in")

    got = data.ok("get", "file", "data:/", "-r", "--to", place)
    data.ok("get", "file", "data:d*/sub", "-r", "--to", f"{place}/some")
    data.ok("create", "repo", "back")
    data.ok("put", "file", "back:all", "-r", "-f", place)

    every = ["/dir/sub/three", "/dir/two words", "/one"]
    assert [f"/all{path}" for path in [*every, "/some/dir/sub/three"]] == paths(data, "back")
    assert "left out, neither file nor folder nor symbolic link: /link" in got.err
    for path in every:
        (one, other) = (
            data.ok("inspect", "file", name, "-o", "json").json["hash"]
            for name in (f"data:{path}", f"back:/all{path}")
        )
        assert one == other


def test_one_object_is_put_and_a_prefix_needs_r(data: Pfs, place: str, tmp_path: Path) -> None:
    """
    With its own name; what is not there is named.
    """
    (tmp_path / "f").write_text("x")
    data.ok("put", "file", "data:sub/f", "-f", tmp_path / "f")
    data.ok("get", "file", "data:sub/f", "--to", place)

    data.ok("put", "file", "data", "-f", f"{place}/sub/f")
    prefix = data("put", "file", "data", "-f", f"{place}/sub")
    missing = data("put", "file", "data", "-f", f"{place}/nope")
    nothing_below = data("put", "file", "data", "-r", "-f", f"{place}/nope")
    elsewhere = data("get", "file", "data:f", "--to", "https://host/upload")

    assert ["/f", "/sub/f"] == paths(data)
    assert [5, 3, 3, 5] == [done.code for done in (prefix, missing, nothing_below, elsewhere)]
    assert "-r puts what is below it" in prefix.err
    assert f"{place}/nope" in missing.err


def test_a_server_that_does_not_answer_is_named_in_words(data: Pfs) -> None:
    """
    Nothing listens there; the number of the error is nothing for people.
    """
    done = data("put", "file", "data", "-f", "http://127.0.0.1:1/x")

    assert "http://127.0.0.1:1/x: Connection refused" in done.err
    assert "Errno" not in done.err
