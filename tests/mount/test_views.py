"""Views: what is bound into worker containers as /pfs, and what becomes of their `out`."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from pfsfuse.errors import ConflictError
from pfsfuse.mount.async_client import AsyncMountClient
from pfsfuse.mount.views import ViewNotFoundError, forget_views, keep_view
from pfsfuse.mount.wire import Sealed, Shown
from pfsfuse.trees.entry import Kind
from pfsfuse.versions.forks import How
from tests.support.builders import shown
from tests.support.mounting import Mounted

pytestmark = [pytest.mark.mount, pytest.mark.timeout(60)]


@pytest.fixture
async def client(patient: Mounted) -> AsyncIterator[AsyncMountClient]:
    """A connection for trio."""
    made = AsyncMountClient(patient.world.store.run)
    yield made
    await made.aclose()


@pytest.fixture
def worker(request: pytest.FixtureRequest) -> str:
    return "".join(c if c.isalnum() else "-" for c in request.node.name)[:100]


async def sh(script: str, cwd: Path) -> str:
    """Run a shell script, as in a container, and return what it prints."""
    done = await trio.run_process(["sh", "-ec", script], cwd=cwd, capture_stdout=True)
    return bytes(done.stdout).decode()


def how(sealed: Sealed) -> dict[str, str]:
    return {shown(change.path): str(change.how) for change in sealed.changes}


def tree(mount: Mounted, files: dict[str, bytes], label: str = "data") -> Shown:
    """Store a tree to be shown."""
    made = Shown(label, mount.world.tree(files))
    mount.world.store.flush()
    return made


async def test_a_worker_sees_its_inputs_and_cannot_change_them(
    patient: Mounted, client: AsyncMountClient, worker: str
) -> None:
    """Two inputs and no output."""
    inputs = {b"data": tree(patient, {"f": b"1", "d/g": b"2"}), b"prev": tree(patient, {})}
    await client.set_view(worker, inputs, writable=False)
    pfs = patient.point / ".workers" / worker

    assert "data\nprev\n" == await sh("ls", pfs)
    assert "12" == await sh("cat data/f data/d/g", pfs)
    for call in (
        lambda: os.open(pfs / "data/f", os.O_WRONLY),
        lambda: os.mkdir(pfs / "data/new"),
        lambda: os.unlink(pfs / "data/f"),
    ):
        with pytest.raises(OSError, match=os.strerror(errno.EROFS)):
            call()
    with pytest.raises(OSError, match=os.strerror(errno.EPERM)):
        (pfs / "new").mkdir()
    await client.drop_view(worker)
    assert worker not in os.listdir(patient.point / ".workers")


async def test_appending_replacing_and_removing_are_told_apart(
    patient: Mounted, client: AsyncMountClient, worker: str
) -> None:
    """The 1.0-era rules: `>>`, `>` with the same bytes, `rm`, `rm` and `>>`, new, untouched."""
    base = tree(patient, dict.fromkeys(("append", "replace", "remove", "again", "leave"), b"old\n"))
    await client.set_view(worker, {}, base.entry)
    out = patient.point / ".workers" / worker / "out"

    await sh(
        "echo more >> append; echo more >> append; printf 'old\\nmore\\n' > replace; rm remove; "
        "rm again; echo old >> again; mkdir dir; echo new >> dir/new; cat leave",
        out,
    )
    sealed = await client.seal_view(worker)

    assert {
        "append": How.APPENDED, "replace": How.REPLACED, "remove": How.DELETED, "again": How.REPLACED,
        "dir": How.REPLACED, "dir/new": How.REPLACED,
    } == how(sealed)  # fmt: skip
    appended = next(change.entry for change in sealed.changes if change.how is How.APPENDED)
    assert appended is not None
    assert b"more\nmore\n" == patient.world.read(appended)
    assert {
        "append": b"old\nmore\nmore\n", "replace": b"old\nmore\n", "again": b"old\n", "dir/new": b"new\n",
        "leave": b"old\n",
    } == patient.world.files(sealed.root)  # fmt: skip


async def test_a_sealed_output_takes_no_more(patient: Mounted, client: AsyncMountClient, worker: str) -> None:
    """A process of an ended run has a file open; another tries to make one; it is sealed twice."""
    await client.set_view(worker, {}, None)
    out = patient.point / ".workers" / worker / "out"
    (out / "f").write_bytes(b"1")
    reader = os.open(out / "f", os.O_RDONLY)

    sealed = await client.seal_view(worker)

    patient.declared += ["failed", "Traceback"]
    for call in (lambda: (out / "g").write_bytes(b"2"), lambda: os.unlink(out / "f")):
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            call()
    assert b"1" == os.read(reader, 10)
    os.close(reader)
    assert {"f": b"1"} == patient.world.files(sealed.root)
    with pytest.raises(ConflictError):
        await client.seal_view(worker)


async def test_every_run_has_a_new_output(patient: Mounted, client: AsyncMountClient, worker: str) -> None:
    """Three runs, one after the other, at the same place; the second one is not sealed."""
    pfs = patient.point / ".workers" / worker
    inodes = set()
    results = []
    for number in range(3):
        await client.set_view(worker, {b"data": tree(patient, {"n": b"%d" % number})}, None)
        inodes.add((pfs / "out").stat().st_ino)
        assert [] == os.listdir(pfs / "out")
        await sh("cat data/n > out/n", pfs)
        if number != 1:
            results.append(patient.world.files((await client.seal_view(worker)).root))

    assert [{"n": b"0"}, {"n": b"2"}] == results
    assert 3 == len(inodes)


async def test_large_outputs_and_special_files_come_through(
    patient: Mounted, client: AsyncMountClient, worker: str
) -> None:
    """A file of many chunks, a link, an empty directory, an executable."""
    await client.set_view(worker, {}, None)
    out = patient.point / ".workers" / worker / "out"
    data = os.urandom(5_000_000)
    (out / "big").write_bytes(data)
    await sh("ln -s big link; mkdir empty; echo '#!/bin/sh' > run; chmod 755 run", out)

    sealed = await client.seal_view(worker)

    world = patient.world
    assert data == world.files(sealed.root)["big"]
    kinds = {shown(path): Kind(entry.kind) for path, entry in world.trees.walk(sealed.root)}
    assert {"big": Kind.FILE, "link": Kind.SYMLINK, "empty": Kind.DIRECTORY, "run": Kind.FILE} == kinds


async def test_equal_files_of_views_and_commits_are_cached_once(
    patient: Mounted, client: AsyncMountClient, worker: str
) -> None:
    """Two workers see one tree: the files have one inode, so one copy in memory."""
    same = tree(patient, {"f": b"x" * 10_000})
    await client.set_view(f"{worker}-1", {b"data": same}, writable=False)
    await client.set_view(f"{worker}-2", {b"data": same}, writable=False)
    workers = patient.point / ".workers"

    inodes = {(workers / f"{worker}-{n}" / "data/f").stat().st_ino for n in (1, 2)}

    assert 1 == len(inodes)


async def test_a_view_that_was_not_set_cannot_be_sealed(client: AsyncMountClient) -> None:
    """The mount was restarted since."""
    with pytest.raises(ViewNotFoundError):
        await client.seal_view("nobody")


async def test_what_a_datum_saw_is_shown_while_it_is_kept(
    patient: Mounted, client: AsyncMountClient, worker: str
) -> None:
    """Records of two datums of a job, of which one has a file at its top; then they are forgotten."""
    world = patient.world
    seen = tree(patient, {"f": b"1"})
    with world.store.write() as txn:
        keep_view(txn, worker, "1", {b"data": seen, b"file": Shown("data", world.entry(b"2"))})
        keep_view(txn, worker, "2", {b"data": seen})
    jobs = patient.point / ".jobs"

    assert worker in os.listdir(jobs)
    assert ["1", "2"] == sorted(os.listdir(jobs / worker))
    assert (b"1", b"2") == (
        (jobs / worker / "1/data/f").read_bytes(),
        (jobs / worker / "1/file").read_bytes(),
    )
    with world.store.write() as txn:
        forget_views(txn, worker)
    assert worker not in os.listdir(jobs)


async def test_a_killed_command_leaves_what_it_had_written(
    patient: Mounted, client: AsyncMountClient, worker: str
) -> None:
    """kill -9 of everything in a container before its output is sealed: the seal does not wait for long."""
    await client.set_view(worker, {}, None)
    out = patient.point / ".workers" / worker / "out"
    command = subprocess.Popen(  # noqa: ASYNC220 - takes no time
        ["sh", "-c", "exec 3> f; echo written >&3; echo ready; exec cat"],
        cwd=out,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert command.stdout is not None
    assert b"ready\n" == command.stdout.readline()
    command.kill()
    command.communicate()

    with trio.fail_after(3):
        sealed = await client.seal_view(worker)

    assert {"f": b"written\n"} == patient.world.files(sealed.root)
