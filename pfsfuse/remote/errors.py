"""What can go wrong with bytes that are elsewhere."""

from __future__ import annotations

from ..errors import InvalidNameError, NotFoundError, UnavailableError


class UrlError(InvalidNameError):
    """A URL that makes no sense here."""


class RemoteNotFoundError(NotFoundError):
    """There is nothing at a URL."""


class RemoteError(UnavailableError):
    """A server does not answer, refuses, or broke off in the middle."""
