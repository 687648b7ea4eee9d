"""
Very often, and very many at once: nothing leaks, nobody is lost.

PFS_SOAK_CYCLES says how often a file is opened and closed (default 3,000, `make soak` 100,000).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.builders import World, assert_sound
from tests.support.commands import PfsProcess
from tests.support.mounting import Mounted, mounted

from .test_soak import memory

CYCLES = int(os.environ.get("PFS_SOAK_CYCLES", "3000"))
CLIENTS = 32
PUTS = 32 if CYCLES >= 100_000 else 8
"""Each is a process with all of Python to load."""

pytestmark = [pytest.mark.mount, pytest.mark.timeout(900)]

CLIENT = """
import os, sys
top, who, round_ = sys.argv[1], sys.argv[2], 0
mine = os.path.join(top, "d" + who)
os.mkdir(mine)
for number in range(20):
    path = os.path.join(mine, f"f{number}")
    with open(path, "wb") as file:
        file.write(f"{who} {number} ".encode() * 2000)
    os.rename(path, path + "-done")
    with open(os.path.join(top, "log"), "ab", buffering=0) as log:
        log.write(f"{who} {number}\\n".encode())
    for folder in os.listdir(top):
        if folder.startswith("d"):
            os.listdir(os.path.join(top, folder))
"""


def descriptors(mount: Mounted) -> int:
    assert mount.process is not None
    return len(os.listdir(f"/proc/{mount.process.pid}/fd"))


def cycle(top: Path, count: int) -> None:
    """Open and close files; every tenth is new, written and removed."""
    for number in range(count):
        if number % 10:
            os.close(os.open(top / f"f{number % 7}", os.O_RDWR if number % 3 else os.O_RDONLY))
        else:
            fd = os.open(top / "new", os.O_WRONLY | os.O_CREAT)
            os.write(fd, b"new")
            os.close(fd)
            os.unlink(top / "new")


def test_opening_and_closing_very_often_leaks_no_handles_descriptors_or_memory() -> None:
    """Some cycles first, for caches to fill; then all of them."""
    with mounted(autocommit_s=-1, limit_s=800) as mount:
        top = mount.repo()
        for number in range(7):
            (top / f"f{number}").write_bytes(b"x" * 200_000)
        mount.finish()
        cycle(top, CYCLES // 5)
        before = (descriptors(mount), memory(mount), mount.status()["handles"])
        cycle(top, CYCLES)
        after = (descriptors(mount), memory(mount), mount.status()["handles"])
        print(f"{CYCLES} cycles: descriptors, bytes, handles: {before} before, {after} after")

        assert before[2] == after[2] == 0
        assert after[0] <= before[0] + 2
        # The journal of the open commit is on the disk; what grows is known to the overlay by number.
        assert after[1] <= before[1] * 1.1 + (4 << 20)


def test_32_programs_at_once_on_a_mount_do_not_disturb_each_other() -> None:
    """Each writes, renames and lists, and all append to one file; then the commit is finished."""
    with mounted(autocommit_s=-1, limit_s=300) as mount:
        top = mount.repo()
        running = [
            subprocess.Popen([sys.executable, "-c", CLIENT, top, str(who)], stderr=subprocess.PIPE)
            for who in range(CLIENTS)
        ]
        ended = [process.communicate()[1].decode() for process in running]
        assert [""] * CLIENTS == ended
        mount.finish()
        found = mount.files()

        log = found.pop("log").decode().split("\n")[:-1]
        assert sorted(f"{who} {number}" for who in range(CLIENTS) for number in range(20)) == sorted(log)
        assert {
            f"d{who}/f{number}-done": f"{who} {number} ".encode() * 2000
            for who in range(CLIENTS)
            for number in range(20)
        } == found


@pytest.mark.parametrize("is_mounted", [False, True])
def test_puts_at_once_are_all_there(tmp_path: Path, *, is_mounted: bool) -> None:
    """Each is a process of its own and puts one file into the same branch; each is a commit."""
    pfs = PfsProcess(tmp_path / "store")
    pfs.ok("create", "repo", "images")
    for number in range(PUTS):
        (tmp_path / f"f{number}").write_bytes(b"%d " % number * 20_000)
    if is_mounted:
        with mounted(autocommit_s=0.3, store=tmp_path / "store", folder=tmp_path / "mounted") as mount:
            put_at_once(pfs, tmp_path)
            mount.barrier()
            assert PUTS == len(os.listdir(mount.master()))
    else:
        put_at_once(pfs, tmp_path)
    world = World(tmp_path / "store")
    assert_sound(world)
    world.close()
    assert PUTS == len(pfs.ok("list", "commit", "images@master", "-o", "json").json)
    listed = pfs.ok("list", "file", "images@master:/", "-o", "json").json
    assert sorted(f"f{number}" for number in range(PUTS)) == sorted(
        each["path"].strip("/") for each in listed
    )


def put_at_once(pfs: PfsProcess, folder: Path) -> None:
    running = [
        subprocess.Popen(
            pfs.command("put", "file", f"images@master:/f{number}", "-f", folder / f"f{number}"),
            env=pfs.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for number in range(PUTS)
    ]
    said = [process.communicate()[1].decode() for process in running]
    assert [0] * PUTS == [process.returncode for process in running], "\n".join(said)
