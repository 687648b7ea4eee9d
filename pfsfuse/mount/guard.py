"""What the tasks of the mount do with errors that nobody expected: they say so and go on."""

from __future__ import annotations

import logging
from types import TracebackType

log = logging.getLogger(__name__)


class unexpected:  # noqa: N801 - reads as a word of the language where it is used
    """
    Log what goes wrong in the block, with *what* was being done, and go on behind it.

    For background tasks: an exception that left one would end the mount, and with it everybody's
    work.  Cancellation goes on.
    """

    __slots__ = ("what",)

    def __init__(self, what: str) -> None:
        self.what = what

    def __enter__(self) -> None:
        return

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        log.error("%s failed", self.what, exc_info=error)
        return True
