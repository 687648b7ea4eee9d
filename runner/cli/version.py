"""`pfs version`, where main.py did not answer it already."""

from __future__ import annotations

import msgspec

from pfsfuse import __version__
from pfsfuse.store.store import FORMAT

from .session import Session


class Version(msgspec.Struct):
    version: str
    store_format: int


def version(session: Session) -> None:
    """Print the version of the program."""
    if session.screen.is_table:
        session.screen.result(__version__)
    else:
        session.screen.record(Version(__version__, FORMAT), {})
