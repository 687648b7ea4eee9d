"""
Folders for UNIX sockets, whose paths the kernel limits to 108 bytes.

A store may lie at any path.  When its run directory is too long for the sockets below it, they
live in a folder of our own elsewhere, named by a hash of the run directory: the same folder
every time, so that what a killed runner left there is found again.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from .errors import EngineError

_SUN_PATH = 107
_LONGEST_BELOW = 24  # "/podman.sock", "/w-0123456789abcdef/s"


def socket_directory(run_dir: Path) -> Path:
    """Return a folder for the sockets of *run_dir*: itself, or a short stand-in.  It is ours alone (0700)."""
    directory = run_dir.absolute()
    if len(os.fsencode(directory)) + _LONGEST_BELOW > _SUN_PATH:
        digest = hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]
        directory = _volatile() / f"pfs-{digest}"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = directory.lstat()
    # Others may write to /tmp: a folder that they made first could show them our sockets.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise EngineError("sockets", f"{directory} belongs to someone else", advice=f"remove {directory}")
    return directory


def remove_stand_in(run_dir: Path, directory: Path) -> None:
    """Remove the folder that socket_directory returned, if it is a stand-in.  It is empty by now."""
    if directory != run_dir.absolute():
        directory.rmdir()


def _volatile() -> Path:
    if os.geteuid() == 0 and os.access("/run", os.W_OK):
        return Path("/run")
    mine = Path(f"/run/user/{os.geteuid()}")
    return mine if os.access(mine, os.W_OK) else Path("/tmp")
