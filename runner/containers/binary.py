"""Where the shim is, the static binary that tools/build_shim.py makes from shim/shim.c."""

from __future__ import annotations

import os
from pathlib import Path

from .errors import EngineError

_SHIM = Path(__file__).resolve().parent / "shim" / "bin" / "pfs-shim"


def shim_path() -> Path:
    """Return the path of the shim.  Raises EngineError, saying how to build it, when it is not there."""
    if not os.access(_SHIM, os.X_OK):
        raise EngineError(
            "shim", f"{_SHIM} is missing", advice="build it: make setup, or python -m tools.build_shim"
        )
    return _SHIM
