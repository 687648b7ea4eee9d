"""
Build the shim, the PID 1 of worker containers: python -m tools.build_shim

Compiles runner/containers/shim/shim.c into runner/containers/shim/bin/pfs-shim, a static
binary, when it is not there or was built from other source.  Needs gcc and the static C
library (Debian: gcc, libc6-dev).
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "runner" / "containers" / "shim" / "shim.c"
BINARY = SOURCE.parent / "bin" / "pfs-shim"
COMPILE = ("gcc", "-static", "-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-s")


def build(source: Path = SOURCE, binary: Path = BINARY) -> bool:
    """Make *binary* from *source*; return False when it was there already."""
    digest = hashlib.sha256(source.read_bytes() + "\0".join(COMPILE).encode()).hexdigest()
    stamp = binary.with_name(binary.name + ".sha256")
    if binary.exists() and stamp.exists() and stamp.read_text() == digest:
        return False
    binary.parent.mkdir(parents=True, exist_ok=True)
    # Under another name first: a container may be starting from the old one.
    fresh = binary.with_name(f"{binary.name}.{os.getpid()}")
    subprocess.run([*COMPILE, "-o", str(fresh), str(source)], check=True)
    fresh.replace(binary)
    stamp.write_text(digest)
    return True


def main() -> int:
    """Build and say so."""
    try:
        made = build()
    except FileNotFoundError:
        print("there is no C compiler; install one: apt install gcc libc6-dev", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"the compiler failed with status {error.returncode}", file=sys.stderr)
        return 1
    print(f"{'built' if made else 'up to date'}: {BINARY}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
