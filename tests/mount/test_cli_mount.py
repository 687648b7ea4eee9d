"""`pfs up`, `down`, `mount` and the commands that talk to the mount, with real processes and a real mount."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pfsfuse.mount.mountpoint import FUSE_KIND, mount_kind
from runner.supervisor import is_supervised, read_state
from tests.support.up import Up

pytestmark = [pytest.mark.mount, pytest.mark.timeout(90)]


@pytest.fixture
def it() -> Iterator[Up]:
    made = Up(Path(tempfile.mkdtemp(prefix="pfst-", dir="/tmp")))
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def store(it: Up) -> Up:
    """Up, with a repo."""
    done = it.up()
    assert 0 == done.code, done.err
    it.pfs.ok("create", "repo", "data")
    return it


def test_up_returns_when_the_mount_can_be_used_and_down_leaves_nothing(it: Up) -> None:
    """
    The whole way, once, with `up` and `down` each given twice.
    """
    first, again = it.up(), it.up()
    (it.point / "data").mkdir()
    with open(it.master / "f", "wb") as file:
        file.write(b"hello\n")
    status = it.pfs.ok("status", "-o", "json").json
    known = it.processes()
    down, not_up = it.pfs("down"), it.pfs("down")

    assert [0, 0, 0, 0] == [done.code for done in (first, again, down, not_up)]
    assert "up already" in again.err
    assert "not up" in not_up.err
    assert (str(it.point), False) == (status["mount"], status["runner"])
    assert ["data@master"] == [each["name"] for each in status["open_commits"]]
    assert mount_kind(it.point) is None
    assert not any(who.is_alive() for who in known)
    assert read_state(it.run) is None


def test_another_mount_point_is_refused_while_up(store: Up) -> None:
    """
    One store has one mount.
    """
    done = store.pfs("up", store.folder / "elsewhere", "--detach", "--no-runner")

    assert 4 == done.code
    assert str(store.point) in done.err


def test_a_mount_point_that_cannot_be_used_is_said_at_once(it: Up) -> None:
    """
    The folder has something in it; it and the store are one inside the other.
    """
    it.point.mkdir()
    (it.point / "letter").write_text("Dear …")

    taken = it.up()
    inside = it.pfs("up", it.pfs.root / "pfs", "--detach", "--no-runner")

    assert (4, 5) == (taken.code, inside.code)
    assert "not empty" in taken.err
    assert "cannot be inside each other" in inside.err
    assert mount_kind(it.point) is None
    assert not is_supervised(it.run)


def test_commands_and_the_mount_see_the_same_files(store: Up) -> None:
    """
    Written through the mount, read by the command; put by the command, read through the mount.
    """
    with open(store.master / "through-mount", "wb") as file:
        file.write(b"m" * 100_000)
    (store.folder / "by-command").write_bytes(b"c" * 100_000)
    put = store.pfs.ok("put", "file", "data", "-f", store.folder / "by-command")
    finished = store.pfs.ok("finish", "commit", "data").out.strip()
    store.pfs.ok("wait", "commit", "data@master")

    assert finished in put.err
    assert "m" * 100_000 == store.pfs.ok("get", "file", "data:/through-mount").out
    assert b"c" * 100_000 == (store.master / "by-command").read_bytes()
    assert ["/by-command", "/through-mount"] == [
        each["path"] for each in store.pfs.ok("list", "file", "data", "-o", "json").json
    ]


def test_a_put_into_a_branch_without_open_commit_shows_in_the_mount(store: Up) -> None:
    """
    A folder is put, then put again with a file changed; a shell has looked at it between.
    """
    folder = store.folder / "in"
    (folder / "sub" / "empty").mkdir(parents=True)
    (folder / "sub" / "f").write_bytes(b"one")
    (folder / "sub" / "empty").chmod(0o700)
    store.pfs.ok("put", "file", "data:/", "-r", "-f", folder)
    store.pfs.ok("wait", "commit", "data")
    assert b"one" == (store.master / "sub" / "f").read_bytes()
    assert 0o700 == (store.master / "sub" / "empty").stat().st_mode & 0o7777
    (folder / "sub" / "f").write_bytes(b"two, longer")
    store.pfs.ok("put", "file", "data:/", "-r", "-f", folder)
    store.pfs.ok("wait", "commit", "data")

    assert b"two, longer" == (store.master / "sub" / "f").read_bytes()
    assert 2 == len(store.pfs.ok("list", "commit", "data@master", "-o", "json").json)


def test_a_folder_put_into_an_open_commit_keeps_what_the_mount_wrote_there(store: Up) -> None:
    """
    A shell stands in a folder of the open commit while a command puts files and times into it.
    """
    store.pfs.ok("start", "commit", "data")
    (store.master / "deep" / "sub").mkdir(parents=True)
    (store.master / "deep" / "sub" / "mine").write_bytes(b"mine")
    folder = store.folder / "in"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "yours").write_bytes(b"yours")
    os.utime(folder / "sub", ns=(1, 1_000_000_000_000_000_007))
    shell = os.open(store.master / "deep" / "sub", os.O_RDONLY | os.O_DIRECTORY)
    try:
        store.pfs.ok("put", "file", "data:/deep", "-r", "-f", folder)

        assert {"mine", "yours"} == set(os.listdir(shell))
        assert 1_000_000_000_000_000_007 == (store.master / "deep" / "sub").stat().st_mtime_ns
        assert os.fstat(shell).st_ino == (store.master / "deep" / "sub").stat().st_ino
        (store.master / "deep" / "sub" / "later").write_bytes(b"later")
    finally:
        os.close(shell)
    store.pfs.ok("finish", "commit", "data")

    found = [each["path"] for each in store.pfs.ok("list", "file", "data:/deep/sub", "-o", "json").json]
    assert ["/deep/sub/later", "/deep/sub/mine", "/deep/sub/yours"] == found


def test_an_explicit_commit_waits_for_its_finish(store: Up) -> None:
    """
    `wait` gives up in the time it is given; the commit is open still.
    """
    store.pfs.ok("start", "commit", "data")
    (store.master / "f").write_bytes(b"x")

    done = store.pfs("wait", "commit", "data", "--timeout", "0.3")

    assert 124 == done.code
    assert "`pfs finish commit data@master`" not in done.out
    (open_commit,) = store.pfs.ok("status", "-o", "json").json["open_commits"]
    assert open_commit["explicit"]


def test_a_killed_mount_is_mounted_again(store: Up) -> None:
    """
    kill -9 of the mount process; what was closed before is there, and the mount goes on.
    """
    (store.master / "f").write_bytes(b"before")
    old = store.state.children["mount"]

    old.send(signal.SIGKILL)
    store.until(lambda: store.state.children.get("mount", old) != old, "the mount is started again")
    store.until(lambda: store.pfs("list", "repo", "-o", "json").code == 0, "the store answers")
    store.until(lambda: _mount_answers(store), "the mount answers")

    assert b"before" == (store.master / "f").read_bytes()
    (store.master / "g").write_bytes(b"after")
    store.pfs.ok("finish", "commit", "data")
    assert "after" == store.pfs.ok("get", "file", "data:g").out


def _mount_answers(store: Up) -> bool:
    return store.pfs.ok("status", "-o", "json").json["mount"] == str(store.point)


def test_a_killed_supervisor_does_not_keep_the_next_up_away(store: Up) -> None:
    """
    kill -9 of the supervisor: its mount process ends too, and `up` begins anew.
    """
    known = store.processes()
    store.state.supervisor.send(signal.SIGKILL)

    again = store.up()

    assert 0 == again.code, again.err
    assert not any(who.is_alive() for who in known)
    assert (store.point / "data").is_dir()


def test_down_tidies_up_after_everything_was_killed(store: Up) -> None:
    """
    Supervisor and mount are killed at once; a dead mount point is left.
    """
    known = store.processes()
    # A stopped supervisor neither mounts again, nor has its end tell the mount to unmount.
    store.state.supervisor.send(signal.SIGSTOP)
    for who in reversed(known):
        who.send(signal.SIGKILL)
    for who in known:
        assert who.wait(10)
    assert FUSE_KIND == mount_kind(store.point)

    done = store.pfs("down")

    assert 0 == done.code
    assert mount_kind(store.point) is None


def test_down_does_not_wait_for_who_uses_the_mount(store: Up) -> None:
    """
    A shell stands in the mounted tree.
    """
    shell = subprocess.Popen(["cat"], cwd=store.master, stdin=subprocess.PIPE)
    try:
        done = store.pfs("down", timeout_s=30)
    finally:
        shell.communicate()

    assert 0 == done.code
    assert mount_kind(store.point) is None


def test_ctrl_c_ends_up_in_the_foreground(it: Up) -> None:
    """
    `pfs up` without --detach, in a terminal of its own.
    """
    process = subprocess.Popen(
        it.pfs.command("up", it.point, "--no-runner"),
        env=it.pfs.environment,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stderr is not None
    assert b"mounted at" in process.stderr.readline()
    assert FUSE_KIND == mount_kind(it.point)

    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=30)

    assert 0 == process.returncode
    assert mount_kind(it.point) is None


def test_the_mount_runs_alone_and_is_taken_away_by_umount(it: Up) -> None:
    """
    `pfs mount` in the foreground; `pfs umount` from elsewhere; a second umount has nothing to do.
    """
    process = subprocess.Popen(
        it.pfs.command("mount", it.point, "--autocommit", "off"),
        env=it.pfs.environment,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    assert b"mounted at" in process.stderr.readline()

    assert 0 == it.pfs("umount", timeout_s=30).code
    process.communicate(timeout=30)

    assert 0 == process.returncode
    assert mount_kind(it.point) is None
    assert "nothing is mounted" in it.pfs("umount").err


def test_umount_leaves_what_belongs_to_up(store: Up) -> None:
    """
    The supervisor would mount it again.
    """
    done = store.pfs("umount", store.point)

    assert 4 == done.code
    assert "pfs down" in done.err


def test_what_the_processes_say_is_in_the_run_folder(store: Up) -> None:
    """
    The log of a process that was killed tells of it.
    """
    store.state.children["mount"].send(signal.SIGKILL)
    store.until(lambda: "status -9" in (store.run / "up.log").read_text(), "the supervisor says so")

    assert json.loads((store.run / "up.json").read_text())["mount"] == str(store.point)


def test_a_change_that_somebody_is_writing_is_not_deleted(store: Up) -> None:
    """
    A program has a file of the open commit open; when it is done, the commit can go, by its id.
    """
    opened = store.pfs.ok("start", "commit", "data@master").out.strip()
    with open(store.master / "f", "wb") as file:
        file.write(b"half")
        file.flush()
        refused = store.pfs("delete", "commit", opened)
        assert 4 == refused.code, refused.err
        assert "open for writing" in refused.err
        file.write(b" and the rest")
    assert b"half and the rest" == (store.master / "f").read_bytes()

    store.pfs.ok("delete", "commit", opened)

    assert [] == os.listdir(store.master)
    assert [] == store.pfs.ok("list", "commit", "data@master", "-o", "json").json
