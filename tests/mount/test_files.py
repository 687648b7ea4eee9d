"""Reading and writing below a branch, as users and their programs do."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mounting import Mounted

pytestmark = [pytest.mark.mount, pytest.mark.timeout(60)]

AT_FDCWD = -100
RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
_libc = ctypes.CDLL(None, use_errno=True)


def renameat2(old: Path, new: Path, flags: int) -> None:
    """Call renameat2(2)."""
    if _libc.renameat2(AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """The name of a test's own repo."""
    return "".join(c if c.isalnum() else "-" for c in request.node.name)[:120].strip("-")


@pytest.fixture
def master(patient: Mounted, name: str) -> Iterator[Path]:
    """An empty branch; at the end the commit is finished and the store shows what the mount showed."""
    made = patient.repo(name)
    with patient.watched():
        yield made
        shown = tree_of(made)
        if any(each["repo"] == name for each in patient.status()["open_commits"]):
            patient.finish(name)
            assert {path: data for path, data in shown.items() if data is not None} == patient.files(name)
        assert shown == tree_of(made)


def tree_of(top: Path) -> dict[str, bytes | None]:
    """Return regular files with their bytes by path; None for a directory."""
    found: dict[str, bytes | None] = {}
    for folder, folders, names in os.walk(top, topdown=True):
        for each in folders:
            if not os.path.islink(os.path.join(folder, each)):
                found[os.path.relpath(os.path.join(folder, each), top)] = None
        for each in names:
            path = os.path.join(folder, each)
            if stat.S_ISREG(os.lstat(path).st_mode):
                found[os.fsencode(os.path.relpath(path, top)).decode()] = Path(path).read_bytes()
    return found


def sh(script: str, cwd: Path) -> str:
    """Run a shell script and return what it prints."""
    done = subprocess.run(["sh", "-ec", script], cwd=cwd, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr
    return done.stdout


def test_what_a_shell_writes_it_reads_at_once(master: Path) -> None:
    """Creating, appending and replacing."""
    assert "one\ntwo\n" == sh("echo one > f; echo two >> f; cat f", master)
    assert "three\n" == sh("echo three > f; cat f", master)
    assert "6\n" == sh("stat -c %s f", master)


@pytest.mark.parametrize("size", [0, 1, 512, 513, 4096, 131_072, 131_073, 3_000_000])
def test_files_of_all_sizes_come_back(master: Path, size: int) -> None:
    """Sizes around the borders of inline, small, staged in ranges, one chunk and many."""
    data = os.urandom(size)
    (master / "f").write_bytes(data)

    assert data == (master / "f").read_bytes()
    assert size == (master / "f").stat().st_size


def test_truncating_cuts_and_extends_with_zeros(master: Path) -> None:
    """truncate(2) and ftruncate(2), shorter and longer."""
    path = master / "f"
    path.write_bytes(b"0123456789")
    os.truncate(path, 4)
    assert b"0123" == path.read_bytes()
    with open(path, "r+b") as file:
        file.truncate(8)
    assert b"0123\0\0\0\0" == path.read_bytes()


def test_a_sparse_file_reads_as_zeros_between_its_parts(master: Path) -> None:
    """A byte is written at 1 GiB."""
    with open(master / "f", "wb") as file:
        file.write(b"begin")
        file.seek(1 << 30)
        file.write(b"end")
    with open(master / "f", "rb") as file:
        file.seek((1 << 30) - 4)
        assert b"\0\0\0\0end" == file.read()
    os.truncate(master / "f", 5)


def test_a_file_is_renamed_over_another(master: Path) -> None:
    """What editors do: write a new file and rename it over the old one, which somebody has open."""
    (master / "old").write_bytes(b"old")
    (master / "new").write_bytes(b"new")
    with open(master / "old", "rb") as file:
        os.rename(master / "new", master / "old")

        assert b"old" == file.read()
    assert {"old": b"new"} == tree_of(master)


def test_directories_are_renamed_with_what_is_in_them(master: Path) -> None:
    """Over an empty directory; not over a full one; not into itself."""
    (master / "a/b").mkdir(parents=True)
    (master / "a/b/f").write_bytes(b"x")
    (master / "empty").mkdir()
    (master / "full").mkdir()
    (master / "full/g").write_bytes(b"y")

    os.rename(master / "a", master / "empty")
    with pytest.raises(OSError, match=os.strerror(errno.ENOTEMPTY)):
        os.rename(master / "empty", master / "full")
    with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
        os.rename(master / "empty", master / "empty/b/c")

    assert {"empty": None, "empty/b": None, "empty/b/f": b"x", "full": None, "full/g": b"y"} == tree_of(
        master
    )


def test_the_flags_of_renameat2_are_honoured(master: Path) -> None:
    """RENAME_NOREPLACE refuses a taken name; RENAME_EXCHANGE swaps a file and a directory."""
    (master / "f").write_bytes(b"f")
    (master / "d").mkdir()
    (master / "d/g").write_bytes(b"g")
    with pytest.raises(FileExistsError):
        renameat2(master / "f", master / "d", RENAME_NOREPLACE)
    with pytest.raises(FileNotFoundError):
        renameat2(master / "f", master / "none", RENAME_EXCHANGE)

    renameat2(master / "f", master / "d", RENAME_EXCHANGE)
    renameat2(master / "d", master / "moved", RENAME_NOREPLACE)

    assert {"f": None, "f/g": b"g", "moved": b"f"} == tree_of(master)


def test_names_that_cannot_be_are_refused_as_posix_says(master: Path) -> None:
    """Taken, absent, of the wrong kind, too long."""
    (master / "f").write_bytes(b"")
    (master / "d").mkdir()
    for call, number in [
        (lambda: os.mkdir(master / "f"), errno.EEXIST),
        (lambda: os.mkdir(master / "none/d"), errno.ENOENT),
        (lambda: os.mkdir(master / "f/d"), errno.ENOTDIR),
        (lambda: os.rmdir(master / "f"), errno.ENOTDIR),
        (lambda: os.unlink(master / "d"), errno.EISDIR),
        (lambda: os.unlink(master / "none"), errno.ENOENT),
        (lambda: os.open(master / "d", os.O_WRONLY), errno.EISDIR),
        (lambda: os.open(master / "f", os.O_CREAT | os.O_EXCL), errno.EEXIST),
        (lambda: os.mkdir(master / ("x" * 256)), errno.ENAMETOOLONG),
        (lambda: os.rename(master / "f", master / "d"), errno.EISDIR),
        (lambda: os.rename(master / "d", master / "f"), errno.ENOTDIR),
        (lambda: os.readlink(master / "f"), errno.EINVAL),
    ]:
        with pytest.raises(OSError) as caught:
            call()
        assert errno.errorcode[number] == errno.errorcode[caught.value.errno or 0]


def test_an_unlinked_file_lives_while_it_is_open(master: Path) -> None:
    """A small and a large file; two descriptors, of which the one that writes is closed first."""
    for size in (10, 1_000_000):
        data = os.urandom(size)
        path = master / "f"
        writer = open(path, "wb")  # noqa: SIM115 - closed in the middle
        writer.write(data)
        writer.flush()
        reader = open(path, "rb")  # noqa: SIM115
        os.unlink(path)
        assert not path.exists()
        writer.write(b"more")
        writer.close()
        # So that the mount is asked, and not the kernel's cache.
        os.posix_fadvise(reader.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

        assert data + b"more" == reader.read()
        assert 0 == os.fstat(reader.fileno()).st_nlink
        reader.close()
    assert {} == tree_of(master)


def test_an_unlinked_file_survives_the_finish_of_its_commit(
    patient: Mounted, name: str, master: Path
) -> None:
    """It is open for reading; what it held was never in any commit."""
    data = os.urandom(300_000)
    (master / "f").write_bytes(data)
    (master / "g").write_bytes(b"other")
    with open(master / "f", "rb") as reader:
        os.unlink(master / "f")
        patient.finish(name)

        assert data == reader.read()
        os.posix_fadvise(reader.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        assert data == os.pread(reader.fileno(), 300_000, 0)
        os.fchmod(reader.fileno(), 0o600)
    assert {"g": b"other"} == tree_of(master)


def test_links_and_special_files(master: Path) -> None:
    """A symbolic link, a FIFO that two threads use, a socket, a device node."""
    os.symlink("target/of it", master / "link")
    os.mkfifo(master / "fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.fspath(master / "socket"))
    if os.geteuid() == 0:
        os.mknod(master / "null", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
        assert os.makedev(1, 3) == os.lstat(master / "null").st_rdev

    writer = threading.Thread(target=lambda: (master / "fifo").write_bytes(b"through the fifo"))
    writer.start()
    assert b"through the fifo" == (master / "fifo").read_bytes()
    writer.join()
    assert "target/of it" == os.readlink(master / "link")
    assert stat.S_ISFIFO(os.lstat(master / "fifo").st_mode)
    assert stat.S_ISSOCK(os.lstat(master / "socket").st_mode)


def test_links_and_special_files_are_the_same_in_the_finished_commit(
    patient: Mounted, name: str, master: Path
) -> None:
    """They are finished, and looked at below `.commits`, where nothing is cached."""
    os.symlink("target", master / "link")
    os.mkfifo(master / "fifo", 0o640)
    if os.geteuid() == 0:
        os.mknod(master / "zero", 0o600 | stat.S_IFCHR, os.makedev(1, 5))
    done = patient.finish(name)
    frozen = patient.point / name / ".commits" / done.id.hex()

    assert "target" == os.readlink(frozen / "link")
    assert stat.S_IFIFO | 0o640 == os.lstat(frozen / "fifo").st_mode
    if os.geteuid() == 0:
        assert os.makedev(1, 5) == os.lstat(frozen / "zero").st_rdev


def test_attributes_are_kept_also_in_the_finished_commit(patient: Mounted, name: str, master: Path) -> None:
    """chmod, chown, utimes of a file and a directory."""
    (master / "d").mkdir()
    (master / "f").write_bytes(b"x")
    for path, mode in ((master / "d", 0o2750), (master / "f", 0o4511)):
        if os.geteuid() == 0:
            os.chown(path, 1234, 5678)
        os.chmod(path, mode)
        os.utime(path, ns=(1, 1_234_567_890_123_456_789))
    done = patient.finish(name)

    for top in (master, patient.point / name / ".commits" / done.id.hex()):
        for path, mode in ((top / "d", stat.S_IFDIR | 0o2750), (top / "f", stat.S_IFREG | 0o4511)):
            found = os.stat(path)
            assert (mode, 1_234_567_890_123_456_789) == (found.st_mode, found.st_mtime_ns)
            if os.geteuid() == 0:
                assert (1234, 5678) == (found.st_uid, found.st_gid)


def test_writing_changes_the_time_of_a_file_and_making_that_of_its_directory(master: Path) -> None:
    """A file and its directory have old times."""
    (master / "d").mkdir()
    (master / "d/f").write_bytes(b"x")
    os.utime(master / "d/f", ns=(1, 1))
    os.utime(master / "d", ns=(1, 1))
    with open(master / "d/f", "ab") as file:
        file.write(b"y")
    assert 1 < (master / "d/f").stat().st_mtime_ns
    assert 1 == (master / "d").stat().st_mtime_ns
    (master / "d/g").write_bytes(b"")
    assert 1 < (master / "d").stat().st_mtime_ns


def test_fsync_of_files_and_directories_succeeds(master: Path) -> None:
    """Small and large files, and the directory they are in."""
    for size in (10, 1_000_000):
        with open(master / f"f{size}", "wb") as file:
            file.write(os.urandom(size))
            file.flush()
            os.fsync(file.fileno())
            os.fdatasync(file.fileno())
        assert size == (master / f"f{size}").stat().st_size
    folder = os.open(master, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(folder)
    os.close(folder)
    assert {"f10", "f1000000"} <= set(os.listdir(master))


def test_statfs_tells_the_room_of_the_stores_disk(patient: Mounted, master: Path) -> None:
    """df and programs that look before they write."""
    here, there = os.statvfs(master), os.statvfs(patient.world.root)

    assert there.f_blocks * there.f_frsize == here.f_blocks * here.f_frsize
    assert 255 == here.f_namemax
    assert here.f_bavail > 0


def test_five_thousand_names_are_listed_each_once(patient: Mounted, name: str, master: Path) -> None:
    """In an open commit, after the finish, and while half of them are removed."""
    expected = {f"file-{number:04d}" for number in range(5000)}
    for each in expected:
        os.close(os.open(master / each, os.O_CREAT | os.O_WRONLY))

    listed = os.listdir(master)
    assert (5000, expected) == (len(listed), set(listed))
    patient.finish(name)
    listed = os.listdir(master)
    assert (5000, expected) == (len(listed), set(listed))
    with os.scandir(master) as entries:
        for number, entry in enumerate(entries):
            if number % 2:
                os.unlink(entry.path)
    assert 2500 == len(os.listdir(master))


def test_names_may_have_any_bytes(patient: Mounted, name: str, master: Path) -> None:
    """255 bytes that are no text, and what shells and encodings trip over."""
    odd = [bytes(255 - n % 255 or 1 for n in range(255)).replace(b"/", b"_").replace(b"\0", b"_")]
    odd += [b"\xff\xfe", b" ", b"-rf", b"new\nline", "ü€😀".encode(), b"*?[", b"\x01\x02", b"...", b"a\\b"]
    for each in odd:
        with open(os.path.join(os.fsencode(master), each), "wb") as file:
            file.write(each)

    assert sorted(odd) == sorted(os.listdir(os.fsencode(master)))
    done = patient.finish(name)
    frozen = os.fsencode(patient.point / name / ".commits" / done.id.hex())
    assert sorted(odd) == sorted(os.listdir(frozen))
    for each in odd:
        with open(os.path.join(frozen, each), "rb") as file:
            assert each == file.read()
        os.unlink(os.path.join(os.fsencode(master), each))


def test_directories_may_be_nested_deeply(patient: Mounted, name: str, master: Path) -> None:
    """Deeper than a path may be long, by going down step by step; then the mount forgets and looks again."""
    top = os.open(master, os.O_RDONLY | os.O_DIRECTORY)
    current = os.dup(top)
    for _ in range(1500):
        os.mkdir("d", dir_fd=current)
        below = os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=current)
        os.close(current)
        current = below
    os.close(os.open("bottom", os.O_CREAT | os.O_WRONLY, dir_fd=current))
    patient.finish(name)
    os.close(os.open("again", os.O_CREAT | os.O_WRONLY, dir_fd=current))
    assert ["again", "bottom"] == sorted(os.listdir(current))
    os.close(current)
    subprocess.run(["rm", "-r", "d"], cwd=master, check=True)
    assert [] == os.listdir(top)
    os.close(top)


def test_two_programs_append_to_one_file(master: Path) -> None:
    """Each opens it with O_APPEND and writes lines; none is lost or torn."""
    script = "for n in $(seq 200); do echo $0 $n >> log; done"
    running = [subprocess.Popen(["sh", "-ec", script, who], cwd=master) for who in ("one", "other")]
    assert [0, 0] == [process.wait() for process in running]

    lines = (master / "log").read_text().splitlines()
    assert sorted(f"{who} {n}" for who in ("one", "other") for n in range(1, 201)) == sorted(lines)


def test_a_shared_mapping_is_written(master: Path) -> None:
    """mmap(2) with MAP_SHARED, as sqlite and git do."""
    import mmap

    (master / "f").write_bytes(bytes(10_000))
    with open(master / "f", "r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[5000:5005] = b"hello"
        mapped.flush()
    assert bytes(5000) + b"hello" + bytes(4995) == (master / "f").read_bytes()


def test_locks_exclude_each_other(master: Path) -> None:
    """flock(2) of two processes."""
    (master / "lock").write_bytes(b"")
    with open(master / "lock", "rb") as file:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)
        done = subprocess.run(["flock", "-n", os.fspath(master / "lock"), "true"], check=False)
        assert 0 != done.returncode
        fcntl.flock(file, fcntl.LOCK_UN)
        subprocess.run(["flock", "-n", os.fspath(master / "lock"), "true"], check=True)


def test_tar_and_cp_bring_everything_back(master: Path, tmp_path: Path) -> None:
    """A tree with links, modes, times and holes goes in by tar and out by cp -a; diff finds nothing."""
    source = tmp_path / "source"
    (source / "sub/empty").mkdir(parents=True)
    (source / "sub/run").write_bytes(b"#!/bin/sh\n")
    (source / "sub/run").chmod(0o755)
    (source / "big").write_bytes(os.urandom(500_000))
    (source / "link").symlink_to("sub/run")
    os.utime(source / "big", ns=(5, 5_000_000_005))
    sh(f"tar -C {source} --format=pax -cf - . | tar -xf -", master)
    sh(f"cp -a {master} {tmp_path}/out", tmp_path)

    assert "" == sh("diff -r --no-dereference source out", tmp_path)
    listing = "find . -mindepth 1 -type f -printf '%P %m %s %T@\\n' | sort"
    assert sh(listing, source) == sh(listing, tmp_path / "out")
