"""Several processes that put files at once, while another reads through the mount."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pfsfuse.versions.fsck import check
from tests.support.commands import SOURCES, PfsProcess
from tests.support.system import System

pytestmark = [pytest.mark.mount, pytest.mark.timeout(120)]

FOLDERS = 20
FILES = 15


@pytest.fixture
def system() -> Iterator[System]:
    """A mount without a runner; commits stay open until they are finished by name."""
    with System("", run=False, autocommit_s=-1) as system:
        yield system
        assert [] == check(system.store, system.trees)


def folder_of_files(path: Path, seed: int) -> dict[str, str]:
    """Make a folder of small and large files; return their hashes by relative path."""
    draw = random.Random(seed)
    hashes = {}
    for folder in range(FOLDERS):
        (path / f"d{folder}").mkdir(parents=True)
        for number in range(FILES):
            data = draw.randbytes(draw.choice((0, 100, 5_000, 200_000)))
            name = f"d{folder}/{path.name}-{number}"
            (path / name).write_bytes(data)
            hashes[name] = hashlib.sha256(data).hexdigest()
    return hashes


def hashes_below(root: Path) -> dict[str, str]:
    """Read everything below a directory of the mount; return the hashes by relative path."""
    return {
        os.path.relpath(os.path.join(folder, name), root): hashlib.sha256(
            Path(folder, name).read_bytes()
        ).hexdigest()
        for folder, _, names in os.walk(root)
        for name in names
    }


def put_side_by_side(pfs: PfsProcess, puts: list[tuple[str, Path]]) -> None:
    """Run one `pfs put file -r` for each (branch, folder), all at once."""
    running = [
        subprocess.Popen(
            pfs.command("put", "file", "-r", f"{branch}:/", "-f", folder),
            env=pfs.environment,
            cwd=SOURCES,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for branch, folder in puts
    ]
    for process in running:
        _, said = process.communicate(timeout=60)
        assert 0 == process.returncode, said.decode()


class Reader(threading.Thread):
    """Reads everything in some branches again and again; keeps what it could not read."""

    def __init__(self, roots: list[Path]) -> None:
        super().__init__(daemon=True)
        self._roots = roots
        self._ended = threading.Event()
        self.rounds = 0
        self.faults: list[OSError] = []

    def run(self) -> None:
        while not self._ended.is_set():
            for root in self._roots:
                try:
                    hashes_below(root)
                except FileNotFoundError:
                    # The branch is not there yet, or a name went between listing and reading.
                    continue
                except OSError as fault:
                    self.faults.append(fault)
            self.rounds += 1

    def stop(self) -> None:
        self._ended.set()
        self.join()


def test_two_processes_put_into_two_branches_while_a_third_reads(system: System, tmp_path: Path) -> None:
    """
    Each `put file -r` is a finished commit of its branch, whole.
    """
    pfs = PfsProcess(system.store.root)
    system.create_repo("both")
    expected = {name: folder_of_files(tmp_path / name, seed) for seed, name in enumerate(("left", "right"))}
    reader = Reader([system.point / "both" / name for name in expected])
    reader.start()

    put_side_by_side(pfs, [(f"both@{name}", tmp_path / name) for name in expected])
    reader.stop()

    assert [] == reader.faults
    assert reader.rounds
    assert expected == {name: hashes_below(system.point / "both" / name) for name in expected}


def test_two_processes_and_the_mount_add_to_one_open_commit(system: System, tmp_path: Path) -> None:
    """
    A file is being written through the mount; two `put file -r` go into the same open commit.
    """
    pfs = PfsProcess(system.store.root)
    system.create_repo("one")
    branch = system.branch("one")
    expected = folder_of_files(tmp_path / "left", 3) | folder_of_files(tmp_path / "right", 4)
    reader = Reader([branch])
    reader.start()

    with open(branch / "mine", "wb") as mine:
        mine.write(b"before\n")
        mine.flush()
        put_side_by_side(pfs, [("one@master", tmp_path / "left"), ("one@master", tmp_path / "right")])
        mine.write(b"after\n")
    shown = hashes_below(branch)
    reader.stop()
    change = system.finish("one")

    expected["mine"] = hashlib.sha256(b"before\nafter\n").hexdigest()
    assert [] == reader.faults
    assert expected == shown
    assert expected == {
        name: hashlib.sha256(data).hexdigest() for name, data in system.files("one", change).items()
    }
    assert 1 == len(os.listdir(system.point / "one" / ".commits"))
