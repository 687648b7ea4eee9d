"""One suite for every kind of object store that runs here: a folder, memory, and an S3 server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pfsfuse.remote.errors import RemoteError, RemoteNotFoundError, UrlError
from pfsfuse.remote.objects import Bucket, parse_url
from pfsfuse.remote.schemes import is_object_url, is_url
from tests.support.web import s3_server


@pytest.fixture(scope="module")
def s3() -> Iterator[None]:
    with s3_server("bucket"):
        yield


@pytest.fixture(params=["file", "memory", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Bucket, str]:
    """A bucket and a beginning of keys that is this test's own."""
    if request.param == "s3":
        request.getfixturevalue("s3")
        return parse_url(f"s3://bucket/{tmp_path.name}")
    if request.param == "memory":
        return parse_url(f"memory://{tmp_path.name}/top")
    return parse_url(f"file://{tmp_path}/bucket")


def put(place: tuple[Bucket, str], *names: str) -> None:
    bucket, prefix = place
    for name in names:
        bucket.write(f"{prefix}/{name}", [name.encode()])


def test_what_was_written_is_read(place: tuple[Bucket, str]) -> None:
    """
    Nothing, little, and more than one part of an upload; in parts that have nothing to do with parts.
    """
    bucket, prefix = place
    large = os.urandom(20_000_000)
    for name, parts in [
        ("none", []),
        ("little", [b"a", b"", b"b"]),
        ("large", [large[start : start + 3_000_001] for start in range(0, len(large), 3_000_001)]),
    ]:
        bucket.write(f"{prefix}/{name}", iter(parts))

        assert b"".join(parts) == b"".join(bucket.read(f"{prefix}/{name}"))
        assert sum(map(len, parts)) == bucket.head(f"{prefix}/{name}").size


def test_writing_replaces(place: tuple[Bucket, str]) -> None:
    """
    A shorter object leaves nothing of the longer one.
    """
    bucket, prefix = place
    for data in (b"first and long", b"second"):
        bucket.write(f"{prefix}/x", [data])

    assert b"second" == b"".join(bucket.read(f"{prefix}/x"))


def test_a_listing_has_what_is_below_and_not_what_begins_alike(place: tuple[Bucket, str]) -> None:
    """
    `files` is a folder here, so files2 is none of its.
    """
    put(place, "files/a", "files/sub/b c", "files2/c", "files.txt")
    bucket, prefix = place

    found = {each.key[len(prefix) :]: each.size for each in bucket.below(f"{prefix}/files")}

    assert {"/files/a": 7, "/files/sub/b c": 13} == found
    assert 4 == len(list(bucket.below(prefix)))
    assert [] == list(bucket.below(f"{prefix}/nothing"))


def test_what_is_not_there_is_not_found(place: tuple[Bucket, str]) -> None:
    """
    Neither its size nor its bytes.
    """
    bucket, prefix = place

    with pytest.raises(RemoteNotFoundError, match=f"{prefix}/nope"):
        bucket.head(f"{prefix}/nope")
    with pytest.raises(RemoteNotFoundError):
        list(bucket.read(f"{prefix}/nope"))


def test_a_write_that_fails_leaves_what_was_there(place: tuple[Bucket, str]) -> None:
    """
    The bytes end with an error, early or late.
    """
    bucket, prefix = place
    put(place, "x")

    def parts(count: int) -> Iterator[bytes]:
        for _ in range(count):
            yield bytes(6_000_000)
        raise ValueError("no more")

    for count in (0, 4):
        with pytest.raises(ValueError, match="no more"):
            bucket.write(f"{prefix}/x", parts(count))
        assert b"x" == b"".join(bucket.read(f"{prefix}/x"))


def test_an_object_of_another_length_than_announced_is_an_error(place: tuple[Bucket, str]) -> None:
    """
    It was replaced between the listing and the reading.
    """
    put(place, "x")

    with pytest.raises(RemoteError, match="1 bytes came where 5 were announced"):
        list(place[0].read(f"{place[1]}/x", size=5))


def test_urls_that_make_no_sense_are_refused() -> None:
    """
    With what would.
    """
    for url in ("s3://", "file://otherhost/x", "s3://bucket/key?version=1", "ftp://host/x"):
        with pytest.raises(UrlError):
            parse_url(url)
    assert is_url("https://host/x") and is_url("S3://bucket") and is_url("wasb://c@a/b")
    assert not is_object_url("http://host/x")
    assert not is_url("s3:/bucket") and not is_url("folder/file")
    assert (Bucket("gs", "b"), "a b/c") == parse_url("gs://b/a%20b/c")


def test_a_server_that_is_not_there_is_an_error_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Not after minutes of trying again.
    """
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")

    with pytest.raises(RemoteError, match="s3://nowhere/x"):
        parse_url("s3://nowhere/x")[0].head("x")
