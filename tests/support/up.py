"""
A store that is brought up and down by the commands that people use.

Whatever a test does with it, `close` leaves no process, no mount and no container of it.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from pfsfuse.mount.mountpoint import mount_kind
from runner.processes import Identity
from runner.supervisor import UpState, read_state

from .commands import Done, PfsProcess


class Up:
    """A store that can be up, at a mount point of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.point = folder / "pfs"
        self.pfs = PfsProcess(folder / "store")

    @property
    def run(self) -> Path:
        return self.pfs.root / "run"

    def up(self, *, runner: bool = False) -> Done:
        """`pfs up --detach`, with the mount alone or with a runner."""
        return self.pfs("up", self.point, "--detach", *([] if runner else ["--no-runner"]))

    @property
    def state(self) -> UpState:
        found = read_state(self.run)
        assert found is not None
        return found

    @property
    def master(self) -> Path:
        return self.point / "data" / "master"

    def until(self, holds: Callable[[], bool], what: str) -> None:
        """Wait for what a process of another kind than ours does: no event tells of it."""
        deadline = time.monotonic() + 30
        while not holds():
            assert time.monotonic() < deadline, f"waited in vain until {what}"
            time.sleep(0.02)

    def processes(self) -> list[Identity]:
        state = read_state(self.run)
        return [state.supervisor, *state.children.values()] if state is not None else []

    def close(self, *, remove: bool = True) -> None:
        """End everything, by all means, but only our own; the folder goes, too, unless it is a disk."""
        known = self.processes()
        self.pfs("down")
        for who in known:
            who.send(signal.SIGKILL)
        for flags in (["-u"], ["-u", "-z"]):
            if mount_kind(self.point) is not None:
                subprocess.run(["fusermount3", *flags, self.point], capture_output=True, check=False)
        if remove:
            shutil.rmtree(self.folder)
