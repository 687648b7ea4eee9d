"""
Files of commits from and to URLs.

Promises: relative names below a prefix are kept; an object that is there is overwritten, nothing is deleted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from ..errors import IsADirectoryPathError
from ..names import split_path
from ..remote.errors import RemoteNotFoundError, UrlError
from ..remote.objects import Bucket, RemoteObject, parse_url
from ..remote.schemes import is_object_url, is_web_url
from ..remote.web import Download
from ..store.objects import Objects
from ..trees.entry import Entry, Kind
from ..versions.changesets import Path
from ..versions.ingest import Progress
from .streams import Stream, bytes_of

_WAITING = 64


def open_url(url: str) -> Iterator[bytes]:
    """Yield the bytes of one file behind a URL; asked for at the first byte."""
    yield from next(streams_of(url, ())).read()


def streams_of(url: str, path: Path, *, recursive: bool = False) -> Iterator[Stream]:
    """
    Yield what is behind *url*, for *path*: with *recursive*, all objects below it, by relative names.

    RemoteNotFoundError if there is nothing; IsADirectoryPathError for a prefix without *recursive*.
    """
    if is_web_url(url):
        if recursive:
            raise UrlError(f"{url}: a web server cannot be listed; give the URL of each file, or -i a list")
        yield _download(url, path)
        return
    bucket, key = parse_url(url)
    if recursive:
        yield from _below(bucket, key, path)
        return
    try:
        found = bucket.head(key)
    except RemoteNotFoundError:
        if next(bucket.below(key), None) is not None:
            raise IsADirectoryPathError(f"{url} is a prefix; -r puts what is below it") from None
        raise
    yield _object(bucket, found, path)


def _download(url: str, path: Path) -> Stream:
    def read() -> Iterator[bytes]:
        # Asked for when its turn comes: a server closes connections that wait.
        yield from Download(url).read()

    return Stream(path, read)


def _below(bucket: Bucket, key: str, path: Path) -> Iterator[Stream]:
    prefix = key.rstrip("/")
    count = 0
    for found in bucket.below(prefix):
        relative = found.key[len(prefix) :].lstrip("/") if found.key != prefix else ""
        if found.key.endswith("/"):
            # A marker that some tools make for an empty folder.
            continue
        name = relative or found.key.rsplit("/", 1)[-1]
        count += 1
        yield _object(bucket, found, (*path, *split_path(name.encode())))
    if not count:
        raise RemoteNotFoundError(f"there is nothing below {bucket.url(key)}")


def _object(bucket: Bucket, found: RemoteObject, path: Path) -> Stream:
    return Stream(path, lambda: bucket.read(found.key, size=found.size), found.size, found.modified_ns)


def export_to_url(
    objects: Objects,
    entries: Iterable[tuple[Path, Entry]],
    url: str,
    *,
    threads: int,
    progress: Callable[[Progress], None] = lambda _: None,
) -> list[Path]:
    """
    Write the files among *entries* below *url*, by their paths; return those of what is no file.

    Directories are not named in an object store; symbolic links and such are left out.
    """
    if not is_object_url(url):
        raise UrlError(f"{url}: files can be written to object stores only (s3://, gs://, wasb://, file://)")
    bucket, prefix = parse_url(url)
    state = Progress()
    left_out: list[Path] = []
    waiting: deque[tuple[Entry, Future[None]]] = deque()

    def take() -> None:
        entry, future = waiting.popleft()
        future.result()
        state.files += 1
        state.bytes += entry.size
        progress(state)

    with ThreadPoolExecutor(threads, thread_name_prefix="pfs-export") as pool:
        try:
            for path, entry in entries:
                if entry.kind != Kind.FILE:
                    left_out += [] if entry.is_directory else [path]
                    continue
                state.found_files += 1
                state.found_bytes += entry.size
                if len(waiting) >= _WAITING:
                    take()
                key = "/".join([part for part in [prefix.strip("/")] if part] + [_key_part(n) for n in path])
                waiting.append((entry, pool.submit(bucket.write, key, bytes_of(objects, entry))))
            while waiting:
                take()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return left_out


def _key_part(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        shown = name.decode("utf-8", "backslashreplace")
        raise UrlError(f"{shown}: keys of object stores are UTF-8, and this name is not") from error
