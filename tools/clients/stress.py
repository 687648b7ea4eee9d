"""stress-ng's class of file-system stressors, each for a second, verifying."""

from __future__ import annotations

import subprocess

from .sides import Checks, Client, ClientError, Side, call

_SECONDS = "1"
_LEFT_OUT = {
    "binderfs": "mounts a file system of its own",
    "ramfs": "mounts a file system of its own",
    "dev-shm": "works in /dev/shm",
    "bind-mount": "stress-ng itself refuses it: it may hang the machine",
}


def stressors() -> list[str]:
    """Return the names of the class, as this stress-ng has them."""
    done = subprocess.run(
        ["stress-ng", "--class", "filesystem?"], capture_output=True, text=True, check=False
    )
    said = done.stdout + done.stderr
    _, colon, names = said.partition("stressors:")
    if not colon:
        raise ClientError(f"stress-ng does not say what is in its class: {said}")
    return [name for name in names.split() if name not in _LEFT_OUT]


def run(side: Side, checks: Checks) -> None:
    for name in stressors():
        with checks.one(name):
            call(
                "stress-ng", f"--{name}", "1", "--timeout", f"{_SECONDS}s", "--verify", "--temp-path", side.folder,
                cwd=side.scratch, timeout=120,
            )  # fmt: skip


CLIENT = Client("stress", "stress-ng's class filesystem, with --verify", run, options=("--xattrs",))
