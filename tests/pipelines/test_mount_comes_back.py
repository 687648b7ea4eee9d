"""
`pfs up` brings a mount back that died or hangs, and containers see the new one.

The folder above the mount point is on a small disk of its own, so that only that is made a shared mount.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from pfsfuse.mount.mountpoint import find_mount
from runner.containers.binary import shim_path
from runner.containers.limits import ulimits
from runner.containers.runtimes import find_runtime
from runner.processes import Identity
from runner.supervisor import MOUNT, Program, Supervisor, read_state
from tests.support.disks import disk_of
from tests.support.up import Up

pytestmark = [pytest.mark.podman, pytest.mark.timeout(110)]


@pytest.fixture
def up() -> Iterator[Up]:
    """A store with a repo `data` of one file, not up yet."""
    folder = Path(tempfile.mkdtemp(prefix="pfst-", dir="/tmp"))
    with disk_of("64m", folder / "disk") as disk:
        made = Up(disk)
        try:
            made.pfs.ok("create", "repo", "data")
            made.pfs.ok("put", "file", "data@master:/f", "-f", "-", input=b"data")
            yield made
        finally:
            made.close(remove=False)
    (folder / "disk").rmdir()
    folder.rmdir()


@contextmanager
def container(image: str, run_dir: Path, folder: Path) -> Iterator[str]:
    """A user's own container, which binds *folder* to /shown as `rslave`."""
    name = f"pfs-test-{os.getpid()}-own"
    words = ["podman", "--runtime", find_runtime(run_dir, shim_path()), "run", "--detach", "--rm"]
    for limit in ulimits():
        words += ["--ulimit", limit.argument()]
    words += ["--name", name, "--network", "none", "--volume", f"{folder}:/shown:rslave", image]
    subprocess.run([*words, "sleep", "1000"], check=True, capture_output=True)
    try:
        yield name
    finally:
        subprocess.run(["podman", "rm", "--force", "--time", "0", name], check=True, capture_output=True)


def seen_in(name: str, path: str) -> str:
    """Return a file as a process in the container reads it; what went wrong, if it cannot."""
    done = subprocess.run(["podman", "exec", name, "cat", path], capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else done.stderr


def kill_mount(up: Up) -> Identity:
    """kill -9 of the mount; return who that was."""
    who = up.state.children[MOUNT]
    who.send(signal.SIGKILL)
    return who


def test_a_container_that_binds_the_parent_folder_sees_the_mount_that_comes_back(
    up: Up, base_image: str, run_dir: Path
) -> None:
    """The container is there all the time; the mount process is killed."""
    assert 0 == up.up().code
    mounted = find_mount(up.point.parent)
    assert mounted is not None
    assert mounted.is_shared
    with container(base_image, run_dir, up.point.parent) as name:
        for _ in range(2):
            assert "data" == seen_in(name, "/shown/pfs/data/master/f")
            before = kill_mount(up)
            up.until(
                lambda before=before: (
                    up.state.children.get(MOUNT) not in (None, before)  # type: ignore[misc]
                    and seen_in(name, "/shown/pfs/data/master/f") == "data"
                ),
                "the container sees the new mount",
            )
        (up.point / "data" / "master" / "g").write_text("more")
        assert "more" == seen_in(name, "/shown/pfs/data/master/g")


def test_a_mount_that_is_there_after_the_container_is_seen_too(
    up: Up, base_image: str, run_dir: Path
) -> None:
    """The disk was made shared by an earlier `pfs up`."""
    assert 0 == up.up().code
    assert 0 == up.pfs("down").code
    with container(base_image, run_dir, up.point.parent) as name:
        assert 0 == up.up().code
        assert "data" == seen_in(name, "/shown/pfs/data/master/f")


async def test_a_mount_that_hangs_is_ended_and_comes_back(up: Up) -> None:
    """The process is stopped, so it lives and answers nobody; a program waits for it."""
    command = up.pfs.command("mount", up.point)
    supervisor = Supervisor(
        up.run, up.point, [Program(MOUNT, command)], environment=up.pfs.environment, hung_s=1.0
    )
    ready = trio.Event()
    async with trio.open_nursery() as nursery:

        async def run() -> None:
            await supervisor.run(ready=ready.set)

        nursery.start_soon(run)
        await ready.wait()
        state = read_state(up.run)
        assert state is not None
        hung = state.children[MOUNT]
        hung.send(signal.SIGSTOP)
        waiting = ["ls", up.point / "data" / "master"]
        nursery.start_soon(partial(trio.run_process, waiting, check=False, stderr=subprocess.DEVNULL))

        with trio.fail_after(60):
            while (now := read_state(up.run)) is None or now.children.get(MOUNT, hung) == hung:  # noqa: ASYNC110
                await trio.sleep(0.05)
            while supervisor.children[0].is_ready is False:  # noqa: ASYNC110
                await trio.sleep(0.05)
        assert not hung.is_alive()
        seen = await trio.run_process(["cat", up.point / "data" / "master" / "f"], capture_stdout=True)
        assert b"data" == seen.stdout
        os.kill(os.getpid(), signal.SIGTERM)
