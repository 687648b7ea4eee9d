"""
kill -9 of the mount, or of the copy, at random moments of a `cp -r`.

A tenth of PFS_CRASH_KILLS says how often (default 3, `make crash` 20), PFS_CRASH_SEED which moments.  The log
(-rA, or a failure) shows the seed and, for each kill, how much was copied: it proves that the kill
landed in the middle.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pfsfuse.versions.commits import list_commits
from tests.support.builders import assert_sound, ref
from tests.support.mounting import Mounted, mounted

from .conftest import kills

KILLS = kills(least=3, share=0.1)
SEED = int(os.environ.get("PFS_CRASH_SEED", "20261120"))

pytestmark = [pytest.mark.mount, pytest.mark.timeout(120 + 90 * KILLS)]

AUTOCOMMIT_S = 0.3
SIZES = [0, 100, 600, 5_000, 40_000, 200_000, 1_500_000]
FILES = 250

_SYNCS = """
import os, sys
number = 0
while True:
    name = f"{sys.argv[2]}-{number}"
    fd = os.open(os.path.join(sys.argv[1], name), os.O_CREAT | os.O_WRONLY)
    os.write(fd, name.encode() * 100)
    os.fsync(fd)
    if number % 2:
        os.rename(os.path.join(sys.argv[1], name), os.path.join(sys.argv[1], name + "-moved"))
        name += "-moved"
        folder = os.open(sys.argv[1], os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
    print(name, flush=True)
    os.close(fd)
    number += 1
"""
"""Makes files, and says of each when fsync has returned."""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree of small and large files."""
    draw = random.Random(SEED)
    top = tmp_path_factory.mktemp("source") / "tree"
    for number in range(FILES):
        folder = top / f"d{number % 12}" / f"e{number % 5}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"f{number}").write_bytes(draw.randbytes(draw.choice(SIZES)))
    return top


@pytest.fixture
def mount() -> Iterator[Mounted]:
    """A mount with a finished commit, which finishes copies by itself soon."""
    with mounted(autocommit_s=AUTOCOMMIT_S, limit_s=100 + 90 * KILLS) as made:
        master = made.repo()
        (master / "finished").write_bytes(b"finished" * 10_000)
        made.wait_for_commits(1)
        yield made


def files_below(top: Path) -> dict[str, bytes]:
    return {
        os.path.relpath(path, top): path.read_bytes() for path in sorted(top.rglob("*")) if path.is_file()
    }


def duration(source: Path, target: Path) -> float:
    """Return how long an undisturbed copy takes."""
    before = time.monotonic()
    subprocess.run(["cp", "-r", source, target], check=True)
    return time.monotonic() - before


def history(mount: Mounted) -> dict[bytes, dict[str, bytes]]:
    """Return the content of every finished commit, read anew from the packs."""
    with mount.world.store.read() as txn:
        commits = list_commits(txn, ref().repo, branch_name="master")
    return {commit.id: mount.world.files(commit.root) for commit in commits if commit.is_finished}


def assert_waits(mount: Mounted, commits: int) -> None:
    """The open commit is held, and is not finished in twice the time that others wait."""
    (found,) = mount.status()["open_commits"]
    assert found["held"]
    time.sleep(2 * AUTOCOMMIT_S)
    assert commits == mount.count()


def test_a_mount_that_is_killed_loses_nothing_that_was_promised(mount: Mounted, source: Path) -> None:
    """
    Each round a copy runs beside a program that syncs its files; the mount is killed and mounted again.
    """
    draw = random.Random(SEED)
    master = mount.master()
    expected = files_below(source)
    takes = duration(source, master / "undisturbed")
    mount.wait_for_commits(2)
    print(f"seed {SEED}, {KILLS} kills, an undisturbed copy takes {takes:.2f} s")
    landed = 0
    while landed < KILLS:
        before = history(mount)
        name = f"round{landed}"
        (master / f"{name}-synced").mkdir()
        copy = subprocess.Popen(["cp", "-r", source, master / name], stderr=subprocess.DEVNULL)
        syncing = subprocess.Popen(
            [sys.executable, "-c", _SYNCS, master / f"{name}-synced", name],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(draw.uniform(0.0, takes * 1.5))
        is_running = copy.poll() is None
        mount.kill()
        said, _ = syncing.communicate()
        copy.wait()
        assert_sound(mount.world)
        mount.start()

        synced = said.decode().split()
        shown = files_below(master / f"{name}-synced")
        assert {each: shown.get(each) for each in synced} == {
            each: each.removesuffix("-moved").encode() * 100 for each in synced
        }
        assert before == history(mount)
        copied = files_below(master / name) if (master / name).exists() else {}
        assert copied.keys() <= expected.keys()
        if is_running:
            assert 0 != copy.returncode
            assert_waits(mount, len(before))
            landed += 1
        print(
            f"{f'kill {landed}' if is_running else 'too late'}: "
            f"{len(copied)} of {FILES} files, {len(synced)} synced"
        )
        shutil.rmtree(master / name, ignore_errors=True)
        shutil.rmtree(master / f"{name}-synced")
        subprocess.run(["cp", "-r", source, master / name], check=True)
        done = mount.finish()
        assert {f"{name}/{path}": data for path, data in expected.items()}.items() <= mount.world.files(
            done.root
        ).items()
        shutil.rmtree(master / name)
        mount.finish()


def test_a_copy_that_is_killed_is_not_published(mount: Mounted, source: Path) -> None:
    """
    Each round a copy is killed; what it left waits until it is removed and copied again.
    """
    draw = random.Random(SEED + 1)
    master = mount.master()
    expected = files_below(source)
    takes = duration(source, master / "undisturbed")
    mount.wait_for_commits(2)
    print(f"seed {SEED}, {KILLS} kills, an undisturbed copy takes {takes:.2f} s")
    commits = landed = 0
    while landed < KILLS:
        commits = mount.count()
        name = f"round{landed}"
        copy = subprocess.Popen(["cp", "-r", source, master / name])
        while not (master / name).exists():
            time.sleep(0.001)
        time.sleep(draw.uniform(0.0, takes))
        copy.kill()
        if copy.wait() == 0:
            print("too late: the copy was done")
            mount.wait_for_commits(commits + 1)
            shutil.rmtree(master / name)
            mount.wait_for_commits(commits + 2)
            continue
        copied = files_below(master / name)
        landed += 1
        print(f"kill {landed}: {len(copied)} of {FILES} files")

        time.sleep(AUTOCOMMIT_S)
        assert_waits(mount, commits)

        shutil.rmtree(master / name)
        subprocess.run(["cp", "-r", source, master / name], check=True)
        mount.wait_for_commits(commits + 1)
        published = mount.files()
        assert expected == {
            path.removeprefix(f"{name}/"): data
            for path, data in published.items()
            if path.startswith(f"{name}/")
        }
    assert_sound(mount.world)
