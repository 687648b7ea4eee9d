"""The life of commits as seen through the mount: opened by writing, finished by themselves or by name."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from pfsfuse.errors import ConflictError, NotADirectoryPathError, StoreError
from pfsfuse.store.index import Table
from pfsfuse.versions.branches import branch, create_branch, set_provenance
from pfsfuse.versions.changesets import Append, Delete, Put
from pfsfuse.versions.commits import BranchHasOpenCommitError, finish_commit, start_commit
from pfsfuse.versions.model import Origin
from pfsfuse.versions.owner import NoOpenCommitError, commit_changes
from pfsfuse.versions.repos import create_repo, delete_repo, find_repo
from tests.support.builders import path_of, ref
from tests.support.mounting import Mounted

pytestmark = [pytest.mark.mount, pytest.mark.timeout(60)]


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """The name of a test's own repo."""
    return "".join(c if c.isalnum() else "-" for c in request.node.name)[:120].strip("-")


def one_open(mount: Mounted, name: str) -> dict[str, object] | None:
    """Return what the status says of the open commit of a repo's master."""
    found = [each for each in mount.status()["open_commits"] if each["repo"] == name]
    return found[0] if found else None


# By themselves


def test_a_copy_becomes_one_commit_by_itself(mount: Mounted, name: str, tmp_path: Path) -> None:
    """`cp -r` of a hundred files, then nothing for a while."""
    for number in range(100):
        (tmp_path / f"d{number % 10}").mkdir(exist_ok=True)
        (tmp_path / f"d{number % 10}/{number}").write_bytes(b"%d" % number * 100)
    master = mount.repo(name)

    subprocess.run(["cp", "-r", tmp_path, master / "copy"], check=True)
    mount.wait_for_commits(1, name)

    assert {f"copy/d{n % 10}/{n}": b"%d" % n * 100 for n in range(100)} == mount.files(name)
    assert 1 == mount.count(name)


def test_a_commit_stays_open_while_a_file_is_being_written(mount: Mounted, name: str) -> None:
    """A program holds a file open for writing for three times as long as a commit waits, then closes it."""
    master = mount.repo(name)
    with open(master / "f", "wb") as file:
        file.write(b"first")
        file.flush()
        os.fsync(file.fileno())
        (master / "other").mkdir()
        # Nothing tells of what does not happen.
        time.sleep(1.0)
        assert 0 == mount.count(name)
        file.write(b" and last")
    mount.wait_for_commits(1, name)

    assert {"f": b"first and last"} == mount.files(name)


@pytest.mark.parametrize(
    "change",
    [
        lambda master: (master / "new").mkdir(),
        lambda master: os.chmod(master / "f", 0o600),
        lambda master: os.rename(master / "f", master / "g"),
        lambda master: os.unlink(master / "f"),
        lambda master: os.symlink("x", master / "link"),
        lambda master: os.truncate(master / "f", 1),
        lambda master: os.utime(master / "f", ns=(7, 7)),
        lambda master: os.chmod(master, 0o700),
    ],
)
def test_every_kind_of_change_opens_a_commit(
    mount: Mounted, name: str, change: Callable[[Path], object]
) -> None:
    """A branch has one finished commit; something is changed."""
    mount.repo(name)
    mount.world.commit({"f": b"1"}, repo=name)
    mount.barrier()

    change(mount.master(name))
    mount.wait_for_commits(2, name)

    assert 2 == mount.count(name)


def test_reading_opens_no_commit(mount: Mounted, name: str) -> None:
    """Everything is listed and read, opened for writing and not written, and closed."""
    master = mount.repo(name)
    mount.world.commit({"d/f": b"1"}, repo=name)
    mount.barrier()

    subprocess.run(["tar", "-cf", "/dev/null", "."], cwd=master, check=True)
    os.close(os.open(master / "d/f", os.O_RDWR))

    assert one_open(mount, name) is None


def test_a_repo_has_its_own_time_to_wait(mount: Mounted, name: str) -> None:
    """A repo that says "never" keeps its commit open while others are finished."""
    master, other = mount.repo(name), mount.repo(f"{name}-2")
    with mount.world.store.write() as txn:
        create_repo(txn, name, autocommit_s=-1, update=True)
    (master / "f").write_bytes(b"1")
    (other / "f").write_bytes(b"1")

    mount.wait_for_commits(1, f"{name}-2")
    (other / "f").write_bytes(b"2")
    mount.wait_for_commits(2, f"{name}-2")

    assert one_open(mount, name) is not None
    mount.finish(name)


def test_a_shell_goes_on_across_finished_commits(mount: Mounted, name: str) -> None:
    """Its working directory is master/sub; it makes a file after each of three commits, and reads them all."""
    master = mount.repo(name)
    (master / "sub").mkdir()
    shell = subprocess.Popen(
        ["sh", "-c", 'while read line; do echo "$line" > "$line"; cat * | tr "\\n" " "; echo; done'],
        cwd=master / "sub",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert shell.stdin is not None
    assert shell.stdout is not None
    said = []
    for number, word in enumerate(("one", "three", "two"), 1):
        shell.stdin.write(f"{word}\n")
        shell.stdin.flush()
        said.append(shell.stdout.readline())
        mount.wait_for_commits(number, name)
    shell.stdin.close()
    assert 0 == shell.wait()

    assert ["one \n", "one three \n", "one three two \n"] == said
    assert {"sub/one": b"one\n", "sub/two": b"two\n", "sub/three": b"three\n"} == mount.files(name)


def test_a_child_appends_to_and_replaces_what_its_parent_has(patient: Mounted, name: str) -> None:
    """`>>` twice and `>` once, in a commit after the one that made the files."""
    master = patient.repo(name)
    subprocess.run(["sh", "-c", "echo a > f; echo a > g"], cwd=master, check=True)
    patient.finish(name)
    subprocess.run(["sh", "-c", "echo b >> f; echo b >> f; echo c > g"], cwd=master, check=True)
    patient.finish(name)

    assert {"f": b"a\nb\nb\n", "g": b"c\n"} == patient.files(name)


def test_a_pause_in_a_copy_splits_it_and_loses_nothing(mount: Mounted, name: str, tmp_path: Path) -> None:
    """`tar x` stands still, in the middle of a file's bytes, for longer than a commit waits."""
    (tmp_path / "d").mkdir()
    expected = {}
    for number in range(20):
        data = os.urandom(40_000)
        (tmp_path / "d" / f"{number:02d}").write_bytes(data)
        expected[f"d/{number:02d}"] = data
    archive = subprocess.run(["tar", "-C", tmp_path, "-cf", "-", "d"], capture_output=True, check=True).stdout
    master = mount.repo(name)
    tar = subprocess.Popen(["tar", "-xf", "-"], cwd=master, stdin=subprocess.PIPE)
    assert tar.stdin is not None
    tar.stdin.write(archive[:450_000])
    tar.stdin.flush()
    # Its file is open for writing, so the commit stays open as long as tar waits.
    time.sleep(1.0)
    assert 0 == mount.count(name)
    tar.stdin.write(archive[450_000:])
    tar.stdin.close()
    assert 0 == tar.wait()
    mount.wait_for_commits(1, name)

    assert expected == mount.files(name)


# By name


def test_a_commit_started_by_name_is_finished_by_name_only(mount: Mounted, name: str) -> None:
    """It is started, written, left alone for long, and finished with a message."""
    master = mount.repo(name)
    with mount.client() as client:
        started = client.start(ref(name))
        with pytest.raises(BranchHasOpenCommitError):
            client.start(ref(name))
        (master / "f").write_bytes(b"1")
        other = mount.repo(f"{name}-2")
        (other / "f").write_bytes(b"1")
        mount.wait_for_commits(1, f"{name}-2")
        assert 0 == mount.count(name)

        assert started == client.finish(ref(name), description="by name")
        with pytest.raises(NoOpenCommitError):
            client.finish(ref(name))

    assert "by name" == mount.head(name).description
    assert {"f": b"1"} == mount.files(name)


def test_setfattr_finishes_a_commit_with_a_message(patient: Mounted, name: str) -> None:
    """`setfattr -n user.pfs.finish -v "message" master`; other attributes, and other places, are refused."""
    master = patient.repo(name)
    (master / "f").write_bytes(b"1")

    os.setxattr(master, "user.pfs.finish", b"the message")

    assert "the message" == patient.head(name).description
    for path, attribute in (
        (master, "user.other"),
        (master / "f", "user.pfs.finish"),
        (patient.point, "user.pfs.finish"),
    ):
        with pytest.raises(OSError, match=os.strerror(errno.ENOTSUP)):
            os.setxattr(path, attribute, b"")
    with pytest.raises(FileNotFoundError):
        os.setxattr(master, "user.pfs.finish", b"nothing is open")


def test_an_open_file_is_named_when_a_finish_is_refused(patient: Mounted, name: str) -> None:
    """A program has a file open for writing; then it closes it."""
    master = patient.repo(name)
    with open(master / "busy", "wb") as file:
        file.write(b"1")
        with pytest.raises(ConflictError, match="/busy"):
            patient.finish(name)
        file.write(b"2")
    done = patient.finish(name)

    assert done.is_finished
    assert {"busy": b"12"} == patient.files(name)


def test_a_forced_finish_takes_what_was_written_and_cuts_the_writer_off(patient: Mounted, name: str) -> None:
    """A program has a file open for writing and goes on after the finish, in vain."""
    master = patient.repo(name)
    fd = os.open(master / "busy", os.O_CREAT | os.O_WRONLY)
    os.write(fd, b"1")

    patient.finish(name, force=True)

    assert {"busy": b"1"} == patient.files(name)
    os.write(fd, b"2")
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        os.fsync(fd)
    with suppress(OSError):
        os.close(fd)
    assert {"busy": b"1"} == patient.files(name)


def test_a_dropped_commit_leaves_what_was_before(patient: Mounted, name: str) -> None:
    """A file is changed, one is made and one removed; then the commit is thrown away."""
    master = patient.repo(name)
    (master / "f").write_bytes(b"1")
    (master / "d").mkdir()
    (master / "d/g").write_bytes(b"2")
    patient.finish(name)
    (master / "f").write_bytes(b"changed")
    (master / "new").write_bytes(b"new")
    os.unlink(master / "d/g")

    with patient.client() as client:
        client.drop(ref(name))

    assert ["d", "f"] == sorted(os.listdir(master))
    assert (b"1", b"2") == ((master / "f").read_bytes(), (master / "d/g").read_bytes())
    assert one_open(patient, name) is None
    (master / "after").write_bytes(b"3")
    patient.finish(name)
    assert {"f": b"1", "d/g": b"2", "after": b"3"} == patient.files(name)


def test_writers_wait_out_a_finish_and_write_into_the_next_commit(patient: Mounted, name: str) -> None:
    """Four threads make files without a pause while the commit is finished ten times."""
    master = patient.repo(name)
    made: list[list[str]] = [[] for _ in range(4)]
    is_over = threading.Event()

    def write(writer: int) -> None:
        while not is_over.is_set():
            path = f"{writer}-{len(made[writer])}"
            (master / path).write_bytes(path.encode() * 50)
            made[writer].append(path)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    finished = 0
    while finished < 10:
        try:
            patient.finish(name)
            finished += 1
        except (ConflictError, NoOpenCommitError):
            continue
    is_over.set()
    for thread in threads:
        thread.join()
    if one_open(patient, name):
        patient.finish(name)

    assert {path: path.encode() * 50 for paths in made for path in paths} == patient.files(name)


def test_who_was_cut_off_does_not_keep_the_next_commit_open(mount: Mounted, name: str) -> None:
    """A program has a file open for writing that a forced finish took from it; somebody else goes on."""
    master = mount.repo(name)
    fd = os.open(master / "busy", os.O_CREAT | os.O_WRONLY)
    os.write(fd, b"1")
    mount.finish(name, force=True)

    (master / "other").write_bytes(b"2")
    mount.wait_for_commits(2, name)

    with suppress(OSError):
        os.close(fd)
    assert {"busy": b"1", "other": b"2"} == mount.files(name)


def test_an_unlinked_file_neither_opens_a_commit_nor_keeps_one_open(mount: Mounted, name: str) -> None:
    """A program writes on into logs that somebody removed; the commit in which that was done is finished."""
    master = mount.repo(name)
    files = [open(master / each, "wb", buffering=0) for each in ("small", "large")]  # noqa: SIM115
    files[1].write(bytes(300_000))
    for file in files:
        os.unlink(file.name)
        file.write(b"before")
    mount.wait_for_commits(1, name)

    for file in files:
        file.write(b"after")
        os.fchmod(file.fileno(), 0o600)
        os.fsync(file.fileno())
    assert one_open(mount, name) is None
    sizes = [os.fstat(file.fileno()).st_size for file in files]
    for file in files:
        file.close()

    assert [11, 300_011] == sizes
    assert one_open(mount, name) is None
    assert 1 == mount.count(name)


def test_names_of_one_file_go_on_as_one_after_the_finish(patient: Mounted, name: str) -> None:
    """A file gets a second name, loses the first and gets a third; both are written on in the next commit."""
    master = patient.repo(name)
    (master / "d").mkdir()
    (master / "first").write_bytes(b"1")
    os.link(master / "first", master / "d/second")
    os.rename(master / "first", master / "third")
    assert 2 == (master / "third").stat().st_nlink
    patient.finish(name)

    for path, data in (("d/second", b"2"), ("third", b"3")):
        with open(master / path, "ab") as file:
            file.write(data)
    patient.finish(name)

    assert {"d/second": b"123", "third": b"123"} == patient.files(name)


# Finished commits


def test_finished_commits_refuse_every_change(patient: Mounted, name: str) -> None:
    """Below .commits, by id beside the branches, and by ancestry."""
    master = patient.repo(name)
    for number in (b"1", b"2"):
        (master / "f").write_bytes(number)
        (master / "d").mkdir(exist_ok=True)
        patient.finish(name)
    head = patient.head(name)
    repo = patient.point / name
    for top in (repo / ".commits" / head.id.hex(), repo / head.id.hex(), repo / "master^"):
        for call in (
            lambda top=top: os.open(top / "new", os.O_CREAT | os.O_WRONLY),
            lambda top=top: os.open(top / "f", os.O_RDWR),
            lambda top=top: os.truncate(top / "f", 0),
            lambda top=top: os.mkdir(top / "new"),
            lambda top=top: os.rmdir(top / "d"),
            lambda top=top: os.unlink(top / "f"),
            lambda top=top: os.rename(top / "f", top / "g"),
            lambda top=top: os.symlink("x", top / "link"),
            lambda top=top: os.link(top / "f", top / "hard"),
            lambda top=top: os.mkfifo(top / "fifo"),
            lambda top=top: os.chmod(top / "f", 0o600),
            lambda top=top: os.chown(top / "f", 1, 1),
            lambda top=top: os.utime(top / "f", ns=(1, 1)),
        ):
            with pytest.raises(OSError) as caught:
                call()
            assert "EROFS" == errno.errorcode[caught.value.errno or 0]

    assert b"2" == (repo / ".commits" / head.id.hex() / "f").read_bytes()
    assert b"1" == (repo / "master^" / "f").read_bytes()


def test_every_way_to_name_a_commit_leads_to_it(patient: Mounted, name: str) -> None:
    """Ids, prefixes, ancestry in the signs of both eras; a real branch of such a name wins."""
    master = patient.repo(name)
    ids = []
    for number in (b"0", b"1", b"2"):
        (master / "f").write_bytes(number)
        ids.append(patient.finish(name).id.hex())
    repo = patient.point / name
    expected = {
        b"0": [
            "master^2",
            "master~2",
            "master.1",
            "master-0",
            ids[0],
            ids[0][:16],
            f".commits/{ids[0]}",
            f"{ids[2]}^^",
        ],
        b"1": ["master^", "master~", "master.2", "master-1", f"{ids[2]}^", f".commits/{ids[1]}"],
        b"2": ["master", "master.3", "master-2", ids[2][:20]],
    }

    for data, names in expected.items():
        for each in names:
            assert data == (repo / each / "f").read_bytes(), each
    for each in (
        "master^3",
        "master.4",
        "master-3",
        "none",
        "0" * 32,
        ".commits/master",
        ".commits/" + ids[0][:16],
    ):
        assert not (repo / each).exists(), each
    assert sorted(ids) == sorted(os.listdir(repo / ".commits"))
    assert [".commits", "master"] == sorted(os.listdir(repo))
    with patient.world.store.write() as txn:
        create_branch(txn, ref(name).repo, "master-0")
    patient.barrier()
    time.sleep(1.1)  # the kernel may keep names at this level for a second
    assert [] == os.listdir(repo / "master-0")


# Repos and branches


def test_repos_and_branches_are_made_and_removed_by_mkdir_and_rmdir(patient: Mounted, name: str) -> None:
    """Names that cannot be, names that are taken, and ones that have commits."""
    point = patient.point
    (point / name).mkdir()
    assert [".commits", "master"] == sorted(os.listdir(point / name))
    (point / name / "dev").mkdir()
    (point / name / "dev" / "f").write_bytes(b"1")
    with pytest.raises(FileExistsError):
        (point / name).mkdir()
    for path, number in (
        (point / "bad.name", errno.EINVAL),
        (point / "out", errno.EINVAL),
        (point / name / "bad.name", errno.EINVAL),
        (point / name / ("f" * 32), errno.EINVAL),
    ):
        with pytest.raises(OSError) as caught:
            path.mkdir()
        assert errno.errorcode[number] == errno.errorcode[caught.value.errno or 0]
    with pytest.raises(OSError):
        (point / name / "dev").rmdir()
    with pytest.raises(OSError, match=os.strerror(errno.ENOTEMPTY)):
        (point / name).rmdir()
    with patient.client() as client:
        client.drop(ref(name, "dev"))
    (point / name / "dev").rmdir()
    (point / name).rmdir()

    assert name not in os.listdir(point)
    with patient.world.store.read() as txn:
        assert find_repo(txn, ref(name).repo) is None
    (point / name).mkdir()
    (point / name / "master" / "f").write_bytes(b"new life")
    patient.finish(name)
    assert {"f": b"new life"} == patient.files(name)


def test_above_the_branches_there_are_no_files(patient: Mounted, name: str) -> None:
    """EPERM for everything but mkdir and rmdir of repos and branches."""
    patient.repo(name)
    for top in (patient.point, patient.point / name, patient.point / ".pfs", patient.point / ".workers"):
        for call in (
            lambda top=top: os.open(top / "file", os.O_CREAT | os.O_WRONLY),
            lambda top=top: os.symlink("x", top / "link"),
            lambda top=top: os.mkfifo(top / "fifo"),
            lambda top=top: os.chmod(top, 0o700),
        ):
            with pytest.raises(OSError) as caught:
                call()
            assert "EPERM" == errno.errorcode[caught.value.errno or 0]
    with pytest.raises(OSError) as caught:
        os.rename(patient.point / name, patient.point / f"{name}-2")
    assert "EPERM" == errno.errorcode[caught.value.errno or 0]


def test_files_do_not_move_between_branches(patient: Mounted, name: str) -> None:
    """rename(2) says EXDEV, so mv copies."""
    master = patient.repo(name)
    (patient.point / name / "dev").mkdir()
    (master / "f").write_bytes(b"1")

    with pytest.raises(OSError, match=os.strerror(errno.EXDEV)):
        os.rename(master / "f", patient.point / name / "dev" / "f")
    subprocess.run(["mv", master / "f", patient.point / name / "dev" / "f"], check=True)

    assert ([], [b"1"]) == (os.listdir(master), [(patient.point / name / "dev" / "f").read_bytes()])
    with patient.client() as client:
        client.drop(ref(name))
        client.drop(ref(name, "dev"))


def test_an_output_branch_is_not_for_people(patient: Mounted, name: str) -> None:
    """A branch with provenance: EROFS, for existing files and new ones."""
    patient.repo(name)
    made = patient.world.output({"f": b"1"}, repo=f"{name}-out")
    with patient.world.store.write() as txn:
        line = branch(txn, made.repo, "master")
        set_provenance(txn, line.ref, [ref(name)])
    patient.barrier()
    output = patient.master(f"{name}-out")

    assert b"1" == (output / "f").read_bytes()
    for call in (
        lambda: os.open(output / "new", os.O_CREAT | os.O_WRONLY),
        lambda: os.open(output / "f", os.O_WRONLY | os.O_APPEND),
        lambda: os.mkdir(output / "d"),
    ):
        with pytest.raises(OSError, match=os.strerror(errno.EROFS)):
            call()


def test_the_mount_tells_of_itself(patient: Mounted) -> None:
    """.pfs/version and .pfs/status are files."""
    import json

    status = json.loads((patient.point / ".pfs/status").read_bytes())

    assert os.fspath(patient.point) == status["mount"]
    assert (patient.point / ".pfs/version").read_text().strip()
    assert ["status", "version"] == sorted(os.listdir(patient.point / ".pfs"))


# Others on the same branch


def test_what_others_commit_becomes_visible_and_what_is_equal_keeps_its_inode(
    patient: Mounted, name: str
) -> None:
    """A commit of another process changes one file, removes one, adds one, and leaves one alone."""
    master = patient.repo(name)
    for each in ("same", "changed", "removed", "d/same"):
        (master / each).parent.mkdir(exist_ok=True)
        (master / each).write_bytes(each.encode())
    patient.finish(name)
    inodes = {each: (master / each).stat().st_ino for each in ("same", "d", "d/same", ".")}
    world = patient.world
    commit_changes(
        world.store,
        world.trees,
        ref(name),
        [
            Put(path_of("changed"), world.entry(b"new bytes")),
            Delete(path_of("removed")),
            Put(path_of("d/added"), world.entry(b"added")),
        ],
    )
    patient.barrier()

    assert b"new bytes" == (master / "changed").read_bytes()
    assert ["changed", "d", "same"] == sorted(os.listdir(master))
    assert not (master / "removed").exists()
    assert b"added" == (master / "d/added").read_bytes()
    assert inodes == {each: (master / each).stat().st_ino for each in inodes}


def test_a_commit_with_an_error_is_not_shown(patient: Mounted, name: str) -> None:
    """A pipeline's newest commit has an error: the mount shows the one before it."""
    patient.world.output({"f": b"good"}, repo=name)
    patient.barrier()
    assert b"good" == (patient.master(name) / "f").read_bytes()

    patient.world.output({"f": b"bad"}, repo=name, error="failed")
    patient.barrier()

    assert b"good" == (patient.master(name) / "f").read_bytes()


def test_change_sets_go_into_the_open_commit(patient: Mounted, name: str) -> None:
    """Put, append and delete by another process, of files that the kernel knows, and of a directory."""
    master = patient.repo(name)
    (master / "d").mkdir()
    for each in ("put", "append", "delete", "d/inside"):
        (master / each).write_bytes(b"mine ")
        assert b"mine " == (master / each).read_bytes()
    entry = patient.world.entry
    yours, more = entry(b"yours" * 200), entry(b"more")
    patient.world.store.flush()

    with patient.client() as client:
        made, finished = client.apply(
            ref(name),
            [
                Put(path_of("put"), yours),
                Append(path_of("append"), more),
                Delete(path_of("delete")),
                Delete(path_of("d")),
                Put(path_of("deep/new"), more),
                Append(path_of("created"), more),
            ],
        )

    assert not finished
    assert b"yours" * 200 == (master / "put").read_bytes()
    assert b"mine more" == (master / "append").read_bytes()
    assert ["append", "created", "deep", "put"] == sorted(os.listdir(master))
    done = patient.finish(name)
    assert made == done.id
    assert {
        "put": b"yours" * 200, "append": b"mine more", "deep/new": b"more", "created": b"more"
    } == patient.files(name)  # fmt: skip


def test_a_change_set_that_cannot_be_applied_changes_nothing(patient: Mounted, name: str) -> None:
    """Its second change needs a directory where a file stands."""
    master = patient.repo(name)
    (master / "f").write_bytes(b"1")
    entry = patient.world.entry(b"x")

    with patient.client() as client, pytest.raises(NotADirectoryPathError):
        client.apply(ref(name), [Put(path_of("new"), entry), Put(path_of("f/below"), entry)])

    assert ["f"] == os.listdir(master)
    patient.finish(name)


def test_bytes_that_the_mount_cannot_see_are_not_taken(patient: Mounted, name: str) -> None:
    """A process forgot to flush its store before it handed over the change set."""
    master = patient.repo(name)
    (master / "f").write_bytes(b"1")
    entry = patient.world.entry(os.urandom(2000))

    with patient.client() as client, pytest.raises(StoreError):
        client.apply(ref(name), [Put(path_of("new"), entry)])

    patient.world.store.flush()
    with patient.client() as client:
        client.apply(ref(name), [Put(path_of("new"), entry)])
    patient.finish(name)


def test_a_change_set_without_open_commit_is_a_commit(patient: Mounted, name: str) -> None:
    """Two processes hand over a file each; a shell has looked at the branch before."""
    master = patient.repo(name)
    assert [] == os.listdir(master)
    entry = patient.world.entry(b"x")
    patient.world.store.flush()

    for each in ("a", "b"):
        with patient.client() as client:
            _, finished = client.apply(ref(name), [Put(path_of(each), entry)])
        assert finished

    assert ["a", "b"] == sorted(os.listdir(master))
    assert 2 == patient.count(name)


def test_appends_of_a_writer_and_of_others_are_all_there(patient: Mounted, name: str) -> None:
    """A `>>` writer has the file open and writes lines while another process appends by change sets."""
    master = patient.repo(name)
    (master / "log").write_bytes(b"begin\n")
    ours = [f"ours {n}\n".encode() for n in range(60)]
    theirs = [f"theirs {n}\n".encode() for n in range(20)]
    entries = [patient.world.entry(line) for line in theirs]
    patient.world.store.flush()
    with open(master / "log", "ab", buffering=0) as file, patient.client() as client:
        for number, line in enumerate(ours):
            file.write(line)
            if number % 3 == 0:
                client.apply(ref(name), [Append(path_of("log"), entries[number // 3])])
    patient.finish(name)

    lines = patient.files(name)["log"].splitlines(keepends=True)
    assert sorted([b"begin\n", *ours, *theirs]) == sorted(lines)
    assert ours == [line for line in lines if line in set(ours)]
    assert theirs == [line for line in lines if line in set(theirs)]
    assert b"".join(lines) == (master / "log").read_bytes()


def test_a_file_that_others_appended_to_can_be_cut_while_it_is_open(patient: Mounted, name: str) -> None:
    """A program has it open; another process appends; a third one cuts it, and somebody appends again."""
    master = patient.repo(name)
    (master / "f").write_bytes(b"0123456789")
    more = patient.world.entry(b"more" * 200)
    patient.world.store.flush()
    with open(master / "f", "r+b", buffering=0) as file:
        with patient.client() as client:
            client.apply(ref(name), [Append(path_of("f"), more)])
        os.truncate(master / "f", 5)
        assert b"01234" == (master / "f").read_bytes()
        with patient.client() as client:
            client.apply(ref(name), [Append(path_of("f"), more)])
        assert os.fstat(file.fileno()).st_size >= 0
        file.seek(0)
        assert file.read().startswith(b"01234")
        file.seek(0)
        file.write(b"#")
    patient.finish(name)

    # The kernel never learns that the file of the old inode got shorter, and may write its old end again.
    assert b"#1234" + b"more" * 200 == patient.files(name)["f"][:805]


def test_a_repo_deleted_by_others_disappears_with_its_open_commit(patient: Mounted, name: str) -> None:
    """A shell writes into a branch whose repo is deleted."""
    master = patient.repo(name)
    (master / "f").write_bytes(b"1")
    with patient.world.store.write() as txn:
        delete_repo(txn, name)
    patient.barrier()

    assert one_open(patient, name) is None
    assert name not in os.listdir(patient.point)
    patient.repo(name)
    time.sleep(1.1)  # the kernel may keep names at this level for a second
    assert [] == os.listdir(master)


def test_a_repo_deleted_and_made_again_by_others_is_another(patient: Mounted, name: str) -> None:
    """The mount hears of both at once; it had a commit open on the old one."""
    master = patient.repo(name)
    (master / "f").write_bytes(b"1")
    with patient.world.store.write() as txn:
        delete_repo(txn, name)
        create_branch(txn, create_repo(txn, name).name, "master")
    patient.barrier()

    assert one_open(patient, name) is None
    time.sleep(1.1)  # the kernel may keep names at this level for a second
    (master / "g").write_bytes(b"2")
    patient.finish(name)
    assert {"g": b"2"} == patient.files(name)


def test_a_commit_that_others_started_is_written_by_the_mount(patient: Mounted, name: str) -> None:
    """A record of an open commit appears in the store; then a file is written."""
    master = patient.repo(name)
    with patient.world.store.write() as txn:
        started = start_commit(txn, ref(name).repo, "master", explicit=True)
    patient.barrier()

    (master / "f").write_bytes(b"1")

    assert started.id == patient.finish(name).id


def test_the_open_commit_of_a_job_is_none_of_the_mounts(patient: Mounted, name: str) -> None:
    """An output commit is open; the mount shows the one before, then the new one."""
    patient.world.output({"f": b"old"}, repo=name)
    with patient.world.store.write() as txn:
        started = start_commit(txn, ref(name).repo, "master", origin=Origin.AUTO)
    patient.barrier()
    assert b"old" == (patient.master(name) / "f").read_bytes()

    root = patient.world.tree({"f": b"new"})
    with patient.world.store.write() as txn:
        finish_commit(txn, started.ref, root)
    patient.barrier()

    assert b"new" == (patient.master(name) / "f").read_bytes()


# Ends


_COPIES = """
import os, signal, sys, time
from pathlib import Path
master = Path(sys.argv[1])
(master / "first").write_bytes(b"1")
if sys.argv[2] == "in a file":
    open(master / "second", "wb").write(b"2")
    file = open(master / "third", "wb")
print("ready", flush=True)
sys.stdin.read() if sys.argv[2] == "ends" else time.sleep(60)
"""


@pytest.mark.parametrize("where", ["in a file", "between two files"])
def test_a_copy_that_was_killed_is_not_published(mount: Mounted, name: str, where: str) -> None:
    """kill -9 of a program in the middle of what it was doing; later somebody writes again."""
    master = mount.repo(name)
    copy = subprocess.Popen([sys.executable, "-c", _COPIES, master, where], stdout=subprocess.PIPE)
    assert copy.stdout is not None
    assert b"ready\n" == copy.stdout.readline()
    copy.kill()
    copy.wait()
    other = mount.repo(f"{name}-2")
    (other / "f").write_bytes(b"1")
    mount.wait_for_commits(1, f"{name}-2")

    found = one_open(mount, name)
    assert found is not None
    assert found["held"]
    assert 0 == mount.count(name)
    (master / "again").write_bytes(b"3")
    mount.wait_for_commits(1, name)
    assert {"first", "again"} <= mount.files(name).keys()


def test_a_copy_that_ended_in_its_own_time_is_published(mount: Mounted, name: str) -> None:
    """The program writes a file, and ends without an error."""
    master = mount.repo(name)
    subprocess.run(
        [sys.executable, "-c", _COPIES, master, "ends"],
        stdout=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        check=True,
    )

    mount.wait_for_commits(1, name)

    assert {"first": b"1"} == mount.files(name)


def test_ctrl_c_counts_as_killed(mount: Mounted, name: str) -> None:
    """SIGINT ends a shell script between two files."""
    master = mount.repo(name)
    script = "echo 1 > first; echo ready; sleep 60"
    # Who runs the tests in the background ignores SIGINT, and a shell cannot take that back by itself.
    shell = subprocess.Popen(
        ["env", "--default-signal=INT", "bash", "-c", script],
        cwd=master,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert shell.stdout is not None
    assert b"ready\n" == shell.stdout.readline()
    os.killpg(shell.pid, signal.SIGINT)
    shell.wait()
    other = mount.repo(f"{name}-2")
    (other / "f").write_bytes(b"1")
    mount.wait_for_commits(1, f"{name}-2")

    assert 0 == mount.count(name)
    mount.finish(name)


def test_documents_of_others_do_not_disturb(mount: Mounted) -> None:
    """The change log names keys that are none of the mount's business."""
    with mount.world.store.write() as txn:
        txn.put(Table.DOCUMENTS, b"job\0\xff\xfe", b"")
    mount.barrier()

    with mount.client() as client:
        assert [] == [opened for opened in client.status()["open_commits"] if opened["explicit"]]
