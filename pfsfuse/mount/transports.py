"""
The ways to talk to the kernel, by name.

    direct    the kernel's protocol, spoken by ourselves (direct/); the default
    pyfuse3   libfuse, through the package of that name (adapter.py)

Each turns what the kernel asks into the calls of requests.py, so the vfs knows of none.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from ..errors import InvalidNameError
from .kernel import Kernel
from .requests import Requests


class Transport(Protocol):
    """A connection to the kernel."""

    @property
    def kernel(self) -> Kernel:
        """What can be told to the kernel."""
        ...

    def mount(self, point: Path, requests: Requests, *, source: str, subtype: str) -> None:
        """Mount at *point*; nothing is answered yet."""
        ...

    async def serve(self) -> None:
        """Answer the kernel until `stop`, or until the file system is unmounted."""
        ...

    def stop(self) -> None:
        """Have `serve` return.  Of the thread that runs it."""
        ...

    def close(self, *, unmount: bool) -> None:
        """End the connection; without *unmount* the mount point is left dead."""
        ...


def _pyfuse3() -> Transport:
    from .adapter import Pyfuse3Transport

    return Pyfuse3Transport()


def _direct() -> Transport:
    from .direct.transport import DirectTransport

    return DirectTransport()


TRANSPORTS: dict[str, Callable[[], Transport]] = {"pyfuse3": _pyfuse3, "direct": _direct}
DEFAULT = "direct"


def open_transport(name: str | None = None) -> Transport:
    """Return the transport of that name; the default without one."""
    make = TRANSPORTS.get(name or DEFAULT)
    if make is None:
        raise InvalidNameError(f"there is no transport {name!r}; choose one of {', '.join(TRANSPORTS)}")
    return make()
