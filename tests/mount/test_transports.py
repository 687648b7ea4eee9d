"""Both ways to talk to the kernel do the same; the other tests of this folder use the default."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pfsfuse.errors import ConflictError, InvalidNameError
from pfsfuse.mount.mountpoint import FUSE_KIND, find_mount, mount_kind
from pfsfuse.mount.transports import TRANSPORTS, open_transport
from pfsfuse.versions.owner import NoOpenCommitError
from tests.support.builders import ref
from tests.support.mounting import Mounted, mounted

pytestmark = [pytest.mark.mount, pytest.mark.timeout(60)]

_MKDIR = "import os, signal, sys; signal.signal(signal.SIGUSR1, lambda *_: None); os.mkdir(sys.argv[1])"

_RENAME_NOREPLACE, _RENAME_EXCHANGE = 1, 2


@pytest.fixture(scope="module", params=list(TRANSPORTS))
def mount(request: pytest.FixtureRequest) -> Iterator[Mounted]:
    """A mount that finishes nothing by itself."""
    with mounted(autocommit_s=-1, transport=request.param) as made:
        made.repo()
        yield made


@pytest.fixture
def place(mount: Mounted, request: pytest.FixtureRequest) -> Path:
    """A new directory in an open commit."""
    folder = mount.master() / "".join(c if c.isalnum() else "-" for c in request.node.name)
    folder.mkdir()
    return folder


def test_the_mount_is_one_of_ours_and_takes_no_set_user_id(mount: Mounted) -> None:
    """What /proc says of it."""
    found = find_mount(mount.point)

    assert found is not None
    assert (FUSE_KIND, "pfs") == (found.kind, found.source)
    with open("/proc/self/mountinfo", encoding="utf-8") as lines:
        (line,) = [line for line in lines if f" {mount.point} " in line]
    assert {"nosuid", "nodev"} <= set(line.split()[5].split(","))


def test_what_is_written_is_read(mount: Mounted, place: Path) -> None:
    """Small, large, at an offset, appended, cut; and all of it in the finished commit."""
    large = os.urandom(3_000_001)
    (place / "small").write_bytes(b"small")
    (place / "large").write_bytes(large)
    with open(place / "small", "ab") as file:
        file.write(b" and more")
    with open(place / "large", "r+b") as file:
        file.seek(1_000_000)
        file.write(b"here")
        file.truncate(2_500_000)

    expected = large[:1_000_000] + b"here" + large[1_000_004:2_500_000]
    assert b"small and more" == (place / "small").read_bytes()
    assert expected == (place / "large").read_bytes()
    mount.finish()
    assert expected == mount.files()[f"{place.name}/large"]
    assert expected == (place / "large").read_bytes()


def test_attributes_come_and_go(place: Path) -> None:
    """Mode, owner, times to the nanosecond, also before 1970, and what is no file."""
    path = place / "f"
    path.write_bytes(b"x" * 1000)
    os.chmod(path, 0o640)
    os.chown(path, 12, 34)
    os.utime(path, ns=(-1_500_000_001, 1_234_567_890_123_456_789))
    os.symlink("target", place / "link")
    os.mkfifo(place / "fifo", 0o600)

    found = path.stat()
    assert (0o100640, 12, 34, 1000) == (found.st_mode, found.st_uid, found.st_gid, found.st_size)
    assert (-1_500_000_001, 1_234_567_890_123_456_789) == (found.st_atime_ns, found.st_mtime_ns)
    assert "target" == os.readlink(place / "link")
    assert stat.S_ISFIFO((place / "fifo").stat().st_mode)


def test_a_large_directory_is_listed_whole(place: Path) -> None:
    """More names than go into one answer; the kinds and inodes of the listing are those of stat."""
    names = {f"name-{number:04}-{'x' * 100}" for number in range(700)}
    for name in names:
        (place / name).touch()

    listed = {entry.name: (entry.inode(), entry.is_file()) for entry in os.scandir(place)}

    assert names == listed.keys()
    assert listed == {name: ((place / name).stat().st_ino, True) for name in names}


def test_a_committed_directory_is_listed_with_the_inodes_of_its_files(mount: Mounted, place: Path) -> None:
    """The kernel hears the names first, and looks the files up later."""
    names = {f"f{number}" for number in range(300)}
    for name in names:
        (place / name).write_bytes(b"1")
    mount.finish()
    mount.restart()

    listed = {entry.name: entry.inode() for entry in os.scandir(place)}

    assert listed == {name: (place / name).stat().st_ino for name in names}


def test_renames_have_their_flags(place: Path) -> None:
    """renameat2 with RENAME_NOREPLACE and RENAME_EXCHANGE."""
    libc = ctypes.CDLL(None, use_errno=True)

    def rename(old: str, new: str, flags: int) -> int:
        done = libc.renameat2(-100, os.fsencode(place / old), -100, os.fsencode(place / new), flags)
        return 0 if done == 0 else ctypes.get_errno()

    (place / "a").write_bytes(b"a")
    (place / "b").write_bytes(b"b")
    assert errno.EEXIST == rename("a", "b", _RENAME_NOREPLACE)
    assert 0 == rename("a", "b", _RENAME_EXCHANGE)
    assert (b"b", b"a") == ((place / "a").read_bytes(), (place / "b").read_bytes())
    assert 0 == rename("a", "c", _RENAME_NOREPLACE)
    assert ["b", "c"] == sorted(os.listdir(place))


def test_errors_are_those_of_the_manual(mount: Mounted, place: Path) -> None:
    """What is not there, is there already, is a directory, is none, is not empty, is too long, is finished."""
    (place / "f").write_bytes(b"f")
    (place / "d").mkdir()
    (place / "d/g").write_bytes(b"g")
    mount.finish()
    finished = mount.point / "images" / ".commits" / mount.head().id.hex() / place.name

    for number, work in [
        (errno.ENOENT, lambda: os.stat(place / "none")),
        (errno.EEXIST, lambda: os.mkdir(place / "d")),
        (errno.EISDIR, lambda: os.unlink(place / "d")),
        (errno.ENOTDIR, lambda: os.rmdir(place / "f")),
        (errno.ENOTEMPTY, lambda: os.rmdir(place / "d")),
        (errno.ENAMETOOLONG, lambda: os.mkdir(place / ("x" * 256))),
        (errno.EROFS, lambda: (finished / "new").write_bytes(b"")),
        (errno.EROFS, lambda: os.unlink(finished / "f")),
        (errno.ENOTSUP, lambda: os.setxattr(place / "f", "trusted.x", b"")),
        (errno.ENOTSUP, lambda: os.getxattr(place / "f", "user.x")),
    ]:
        with pytest.raises(OSError, match=os.strerror(number)):
            work()


def test_a_change_waits_for_the_finish_and_goes_into_the_next_commit(mount: Mounted, place: Path) -> None:
    """Four threads make and sync files without a pause while three commits are finished."""
    is_over = threading.Event()
    made: list[str] = []

    def write(number: int) -> None:
        count = 0
        while not is_over.is_set():
            path = place / f"{number}-{count}"
            with open(path, "wb") as file:
                file.write(b"x" * count)
                os.fsync(file.fileno())
            made.append(path.name)
            count += 1

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    finished = 0
    while finished < 3:
        with suppress(ConflictError, NoOpenCommitError):
            mount.finish()
            finished += 1
    is_over.set()
    for thread in threads:
        thread.join()
    (place / "last").write_bytes(b"")
    mount.finish()

    assert {*made, "last"} == set(os.listdir(place))
    assert {*made, "last"} <= {path.rpartition("/")[2] for path in mount.files()}


def test_a_handler_that_fails_is_an_error_for_one_caller_only(mount: Mounted, place: Path) -> None:
    """One that answers at once, one that changes something, one that waits."""
    (place / "f").write_bytes(b"1")
    fd = os.open(place / "f", os.O_WRONLY)
    try:
        for method, work in [
            ("lookup", lambda: os.stat(place / "unknown")),
            ("make", lambda: os.mkdir(place / "new")),
            ("fsync", lambda: os.fsync(fd)),
        ]:
            with mount.trap(method), pytest.raises(OSError, match=os.strerror(errno.EIO)):
                work()
            assert b"1" == (place / "f").read_bytes()
    finally:
        os.close(fd)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_extended_attributes_tell_how_long_they_are(transport: str) -> None:
    """A buffer of no length asks for it, one that is too small is ERANGE."""
    with mounted(autocommit_s=-1, transport=transport, xattrs=True) as mount:
        path = mount.repo() / "f"
        path.write_bytes(b"")
        os.setxattr(path, "user.long", b"x" * 1000)
        libc = ctypes.CDLL(None, use_errno=True)
        buffer = ctypes.create_string_buffer(1000)

        found = [libc.getxattr(os.fsencode(path), b"user.long", buffer, size) for size in (0, 999, 1000)]

        assert ([1000, -1, 1000], errno.ERANGE) == (found, ctypes.get_errno())
        assert ["user.long"] == os.listxattr(path)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_killed_mount_is_dead_and_not_empty_and_a_new_one_replaces_it(transport: str) -> None:
    """kill -9; whoever asks is told; the next mount takes the point over."""
    with mounted(autocommit_s=-1, transport=transport) as mount:
        master = mount.repo()
        (master / "f").write_bytes(b"kept")
        mount.kill()

        with pytest.raises(OSError, match=os.strerror(errno.ENOTCONN)):
            os.listdir(mount.point)
        mount.start()
        assert b"kept" == (master / "f").read_bytes()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_mount_that_is_unmounted_from_outside_ends(transport: str) -> None:
    """fusermount3 -u, and nobody tells the process."""
    with mounted(transport=transport) as mount:
        assert mount.process is not None
        subprocess.run(["fusermount3", "-u", mount.point], check=True)

        assert 0 == mount.process.wait(20)
        mount.process = None
        assert mount_kind(mount.point) is None


def test_a_program_that_is_killed_while_its_request_waits_disturbs_nobody(
    mount: Mounted, place: Path
) -> None:
    """Programs that write and sync are killed at any moment."""
    script = f"while :; do echo x > {place}/f$RANDOM; sync {place}; done"
    for number in range(10):
        process = subprocess.Popen(["bash", "-c", script], stderr=subprocess.DEVNULL)
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.05 + number / 100)
        process.send_signal(signal.SIGKILL)
        process.wait()

    (place / "after").write_bytes(b"works")
    assert b"works" == (place / "after").read_bytes()


def test_who_is_killed_while_waiting_for_a_finish_does_not_wait_any_longer() -> None:
    """Another process holds the commit, so a change waits; a signal that kills nobody waits, too."""
    with mounted(autocommit_s=-1, transport="direct") as mount:
        (mount.repo() / "f").write_bytes(b"1")
        with mount.client() as holder:
            holder.hold([ref()])
            process = subprocess.Popen([sys.executable, "-c", _MKDIR, mount.master() / "new"])
            while (
                "fuse" not in (wait := Path(f"/proc/{process.pid}/wchan").read_text())
                and "request" not in wait
            ):
                time.sleep(0.01)
            process.send_signal(signal.SIGUSR1)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.3)
            process.kill()
            process.wait(10)
            holder.release()

        assert ["f"] == os.listdir(mount.master())


def test_a_transport_that_is_not_known_is_refused() -> None:
    """The message names those that there are."""
    with pytest.raises(InvalidNameError, match="pyfuse3, direct"):
        open_transport("carrier-pigeon")


def test_bytes_that_the_kernel_got_unasked_are_those_of_the_file(mount: Mounted, place: Path) -> None:
    """Committed, read, changed, committed again, read by two; then read while it is open for writing."""
    sizes = [1, 511, 513, 4095, 4096, 4097, 60_000]
    before = {f"f{size}": os.urandom(size) for size in sizes}
    for name, data in before.items():
        (place / name).write_bytes(data)
    mount.finish()
    mount.restart()
    assert before == {name: (place / name).read_bytes() for name in before}

    for name in before:
        with open(place / name, "ab") as file:
            file.write(b"more")
    after = {name: data + b"more" for name, data in before.items()}
    assert after == {name: (place / name).read_bytes() for name in before}
    mount.finish()

    for name in before:
        with (
            open(place / name, "rb") as one,
            open(place / name, "rb") as other,
            open(place / name, "ab") as more,
        ):
            more.write(b"!")
            more.flush()
            assert after[name] + b"!" == one.read() == other.read()
