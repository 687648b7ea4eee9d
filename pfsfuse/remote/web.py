"""
Files behind http(s) URLs.

Promise: a download that broke off is an error, never a shorter file.
"""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Iterator

from .errors import RemoteError, RemoteNotFoundError, UrlError

_TIMEOUT_S = 60.0
"""Without a single byte."""
_STEP = 1 << 20
_GONE = (404, 410)


class Download:
    """What a URL answers."""

    def __init__(self, url: str) -> None:
        """Ask for *url*, following redirections; RemoteNotFoundError, RemoteError."""
        self.url = url
        try:
            request = urllib.request.Request(url, headers={"User-Agent": "pfs"})  # http(s) only
            self._answer: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
        except urllib.error.HTTPError as error:
            kind = RemoteNotFoundError if error.code in _GONE else RemoteError
            raise kind(f"{url}: the server says {error.code} {error.reason}") from error
        except (ValueError, http.client.InvalidURL) as error:
            raise UrlError(f"{url!r} is no URL: {error}") from error
        except OSError as error:
            raise RemoteError(f"{url}: {_reason(error)}; is the server up?") from error

    @property
    def size(self) -> int | None:
        """How many bytes there are, if the server says so."""
        length = self._answer.headers.get("Content-Length", "")
        return int(length) if length.isdigit() else None

    def read(self) -> Iterator[bytes]:
        """Yield the bytes, once."""
        count = 0
        size = self.size
        with self._answer:
            while part := self._read_some():
                count += len(part)
                yield part
        if size is not None and count != size:
            raise RemoteError(f"{self.url}: {count} bytes came where {size} were announced; try again")

    def _read_some(self) -> bytes:
        try:
            return self._answer.read(_STEP)
        except (OSError, http.client.HTTPException) as error:
            raise RemoteError(f"{self.url} broke off: {_reason(error)}; try again") from error


def _reason(error: Exception) -> str:
    """Return what went wrong in words, without the number that OSError puts before them."""
    inner = getattr(error, "reason", None)
    cause = inner if isinstance(inner, Exception) else error
    text = cause.strerror if isinstance(cause, OSError) else None
    return text or str(inner or error)
