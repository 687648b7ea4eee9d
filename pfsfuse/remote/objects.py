"""
Object stores: s3://, gs://, az:// (also wasb://, wasbs://, abfs://), file:// and memory://.

A URL is a bucket and a key, or the beginning of keys.  Credentials and endpoints come from the usual
environment variables of each kind of store (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, …).

Promises: bytes are streamed, in both directions, so memory does not grow with the size of objects.  An
object that is being written appears when all of it is there, and not at all if the writing fails.
The only importer of obstore.  Everything may be called from any thread.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from .errors import RemoteError, RemoteNotFoundError, UrlError
from .schemes import OBJECT_SCHEMES

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_READ_STEP = 1 << 20
_WRITE_BUFFER = 8 << 20
"""Larger objects are uploaded in parts of this size."""

_AZURE = frozenset({"az", "wasb", "wasbs", "abfs", "abfss"})

_memory: dict[str, Any] = {}
"""Stores of memory://NAME, which live as long as the process: for trying things out."""


@dataclass(frozen=True, slots=True)
class RemoteObject:
    """An object, named by its key in the bucket."""

    key: str
    size: int
    modified_ns: int


@dataclass(frozen=True)
class Bucket:
    """A bucket, or a folder of the host for file://."""

    scheme: str
    name: str

    @cached_property
    def _store(self) -> ObjectStore:
        # Loaded when somebody needs it: importing takes 60 ms, a tenth of a second on a slow disk.
        from obstore.store import LocalStore, MemoryStore, from_url

        if self.scheme == "memory":
            store: ObjectStore = _memory.setdefault(self.name, MemoryStore())
            return store
        if self.scheme == "file":
            return LocalStore("/", automatic_cleanup=False)
        url, options = _azure(self) if self.scheme in _AZURE else (str(self), _options(self.scheme))
        with _as_remote_error(str(self)):
            return from_url(url, **options)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.name}"

    def url(self, key: str) -> str:
        return f"{self}/{key}"

    def head(self, key: str) -> RemoteObject:
        """Return what is known of an object; RemoteNotFoundError."""
        import obstore

        with _as_remote_error(self.url(key)):
            return _described(obstore.head(self._store, key))

    def below(self, prefix: str) -> Iterator[RemoteObject]:
        """Yield the object *prefix* and all whose keys begin with `prefix/`, in no order; "" means all."""
        import obstore

        folder = prefix.rstrip("/")
        with _as_remote_error(self.url(prefix)):
            for batch in obstore.list(self._store, prefix=folder or None):
                for found in batch:
                    key = str(found["path"])
                    # Some stores take the prefix for a beginning of names: files2 is not below files.
                    if not folder or key == folder or key.startswith(folder + "/"):
                        yield _described(found)

    def read(self, key: str, *, size: int | None = None) -> Iterator[bytes]:
        """Yield the bytes of an object; RemoteError if there are not *size* of them."""
        import obstore

        count = 0
        with _as_remote_error(self.url(key)):
            for part in obstore.get(self._store, key).stream(min_chunk_size=_READ_STEP):
                count += len(part)
                yield bytes(part)
        if size is not None and count != size:
            raise RemoteError(f"{self.url(key)}: {count} bytes came where {size} were announced; try again")

    def write(self, key: str, parts: Iterable[bytes]) -> None:
        """Have an object hold the bytes of *parts*, replacing what is there."""
        import obstore

        ahead = iter(parts)
        first = bytearray()
        while len(first) < _WRITE_BUFFER and (part := next(ahead, None)) is not None:
            first += part
        with _as_remote_error(self.url(key)):
            if len(first) < _WRITE_BUFFER:
                obstore.put(self._store, key, bytes(first), use_multipart=False)
            else:
                every = chain([bytes(first)], ahead)
                obstore.put(self._store, key, every, use_multipart=True, chunk_size=_WRITE_BUFFER)


def parse_url(url: str) -> tuple[Bucket, str]:
    """Return the bucket and the key, or beginning of keys; UrlError."""
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    if scheme not in OBJECT_SCHEMES:
        raise UrlError(f"{url!r} is in no object store; known are {', '.join(sorted(OBJECT_SCHEMES))}")
    if parts.query or parts.fragment:
        raise UrlError(f"{url!r}: a key has no ?query and no #fragment; write %3F and %23 for the characters")
    key = unquote(parts.path).lstrip("/")
    if scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise UrlError(f"{url!r} names another host; file:///folder is one of this host")
        return Bucket("file", ""), key
    if not parts.netloc:
        raise UrlError(f"{url!r} names no bucket: {scheme}://BUCKET/KEY")
    return Bucket(scheme, parts.netloc), key


def _azure(bucket: Bucket) -> tuple[str, dict[str, Any]]:
    """Return URL and options of container@account.blob.core.windows.net, as Azure's own tools write it."""
    container, _, host = bucket.name.partition("@")
    account = host.partition(".")[0]
    return f"az://{container}", {"account_name": account} if account else {}


def _options(scheme: str) -> dict[str, Any]:
    """Return what the environment says that obstore does not look at itself."""
    if scheme != "s3":
        return {}
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not endpoint:
        return {}
    return {"endpoint": endpoint, "client_options": {"allow_http": endpoint.startswith("http://")}}


def _described(found: Any) -> RemoteObject:
    modified_ns = int(found["last_modified"].timestamp() * 1_000_000) * 1000
    return RemoteObject(str(found["path"]), int(found["size"]), modified_ns)


@contextmanager
def _as_remote_error(url: str) -> Iterator[None]:
    from obstore.exceptions import BaseError, NotFoundError

    try:
        yield
    except (NotFoundError, FileNotFoundError) as error:
        raise RemoteNotFoundError(f"there is nothing at {url}") from error
    except BaseError as error:
        raise RemoteError(f"{url}: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
