"""Which URLs are known.  Loads nothing: every command that takes file names asks."""

from __future__ import annotations

OBJECT_SCHEMES = frozenset({"s3", "gs", "az", "wasb", "wasbs", "abfs", "abfss", "file", "memory"})
WEB_SCHEMES = frozenset({"http", "https"})


def is_object_url(text: str) -> bool:
    """Say whether *text* names something in an object store."""
    return _scheme(text) in OBJECT_SCHEMES


def is_web_url(text: str) -> bool:
    """Say whether *text* is a http or https URL."""
    return _scheme(text) in WEB_SCHEMES


def is_url(text: str) -> bool:
    """Say whether *text* is a URL that can be put or got."""
    return is_web_url(text) or is_object_url(text)


def _scheme(text: str) -> str:
    scheme, mark, _ = text.partition("://")
    return scheme.lower() if mark else ""
