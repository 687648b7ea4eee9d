"""Nothing that goes wrong in a handler, or beside them, ends the mount."""

from __future__ import annotations

import errno
import inspect
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pyfuse3
import pytest

from pfsfuse import errors
from pfsfuse.mount.adapter import Adapter, errno_for
from pfsfuse.mount.errnos import ERRNO, errno_of
from tests.support.builders import ref
from tests.support.mounting import Mounted, mounted

pytestmark = [pytest.mark.mount, pytest.mark.timeout(60)]

Provoke = Callable[[Path], object]


@pytest.fixture(scope="module")
def mount() -> Iterator[Mounted]:
    """A mount of this module's own, which finishes nothing by itself."""
    with mounted(autocommit_s=-1) as made:
        made.repo()
        yield made


@pytest.fixture
def place(mount: Mounted, request: pytest.FixtureRequest) -> Path:
    """A new directory with a file, which the kernel has never heard of below the top."""
    name = "".join(c if c.isalnum() else "-" for c in request.node.name)[:200]
    folder = mount.master() / name
    folder.mkdir()
    (folder / "f").write_bytes(b"content")
    (folder / "d").mkdir()
    os.symlink("target", folder / "link")
    return folder


def fails(number: int = errno.EIO) -> object:
    """Expect an error number."""
    return pytest.raises(OSError, match=os.strerror(number))


def _open_write(place: Path) -> None:
    fd = os.open(place / "f", os.O_WRONLY)
    try:
        os.write(fd, b"new")
        os.fsync(fd)
    finally:
        with suppress(OSError):
            os.close(fd)


def _close_written(place: Path) -> None:
    with open(place / "f", "wb") as file:
        file.write(b"new")


def _sync_folder(place: Path) -> None:
    fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _read_around_the_cache(place: Path) -> None:
    fd = os.open(place / "f", os.O_RDONLY)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.read(fd, 100)
    finally:
        os.close(fd)


# By handler: the method of the vfs that is made to fail, what has the kernel call it, and whether
# whoever does that is told.
HANDLERS: dict[str, tuple[str, Provoke, bool]] = {
    "lookup": ("lookup", lambda p: os.stat(p / "unknown"), True),
    "forget": ("forget", lambda p: (os.unlink(p / "f"), time.sleep(0.05)), False),
    "mkdir": ("make", lambda p: os.mkdir(p / "new"), True),
    "mknod": ("make", lambda p: os.mkfifo(p / "new"), True),
    "symlink": ("make", lambda p: os.symlink("x", p / "new"), True),
    "create": ("make", lambda p: os.open(p / "new", os.O_CREAT | os.O_WRONLY), True),
    "link": ("link", lambda p: os.link(p / "f", p / "new"), True),
    "unlink": ("remove", lambda p: os.unlink(p / "f"), True),
    "rmdir": ("remove", lambda p: os.rmdir(p / "d"), True),
    "rename": ("rename", lambda p: os.rename(p / "f", p / "new"), True),
    "readlink": ("readlink", lambda p: os.readlink(p / "link"), True),
    "getattr": ("getattr", lambda p: os.stat(p.parents[2] / ".pfs/version"), True),
    "setattr": ("setattr", lambda p: os.chmod(p / "f", 0o600), True),
    "setxattr": ("finish", lambda p: os.setxattr(p.parent, "user.pfs.finish", b""), True),
    "statfs": ("statfs", lambda p: os.statvfs(p), True),
    "opendir": ("opendir", lambda p: os.listdir(p), True),
    "readdir": ("readdir", lambda p: os.listdir(p), True),
    "releasedir": ("release", lambda p: os.listdir(p), False),
    "fsyncdir": ("fsyncdir", _sync_folder, True),
    "open": ("open", lambda p: os.open(p / "f", os.O_RDONLY), True),
    "read": ("read", _read_around_the_cache, True),
    "write": ("write", _open_write, True),
    "flush": ("flush", _close_written, True),
    "fsync": ("fsync", _open_write, True),
    "release": ("release", _close_written, False),
}
WITHOUT_RULES = {"access", "getxattr", "listxattr", "removexattr"}
"""They answer the same always."""


def test_the_table_has_every_handler() -> None:
    """A handler is added to the adapter, and not to this test."""
    handlers = {
        name
        for name, member in vars(Adapter).items()
        if inspect.iscoroutinefunction(member) and hasattr(pyfuse3.Operations, name)
    }

    assert handlers == HANDLERS.keys() | WITHOUT_RULES


@pytest.mark.parametrize("error", ["RuntimeError", "KeyError", "ExceptionGroup", "OSError"])
@pytest.mark.parametrize("handler", HANDLERS)
def test_an_exception_in_a_handler_is_an_error_for_one_caller_only(
    mount: Mounted, place: Path, handler: str, error: str
) -> None:
    """A method of the vfs raises what nobody expects; afterwards the mount works as before."""
    method, provoke, is_told = HANDLERS[handler]
    with mount.trap(method, error):
        if is_told:
            with fails():
                provoke(place)
        else:
            with suppress(OSError):
                provoke(place)

    works = place / "works"
    works.write_bytes(b"as before")
    assert b"as before" == works.read_bytes()
    assert "works" in os.listdir(place)
    assert mount.process is not None
    assert mount.process.poll() is None


@pytest.mark.parametrize("error", ["RuntimeError", "OSError"])
def test_an_exception_beside_the_handlers_does_not_end_the_mount(error: str) -> None:
    """The automatic finish fails, and so does showing what others did; then both work again."""
    with mounted(autocommit_s=0.2) as mount:
        master = mount.repo()
        with mount.trap("_finish", error), mount.trap("refresh_all", error):
            (master / "f").write_bytes(b"1")
            with pytest.raises(errors.PfsError):
                mount.barrier()
            while "finishing the commit" not in mount.log:
                time.sleep(0.02)
            mount.world.commit({"g": b"2"}, repo="other")
        mount.barrier()

        assert b"2" == (mount.master("other") / "g").read_bytes()
        mount.finish()
        assert {"f": b"1"} == mount.files()


def test_a_request_on_the_control_socket_that_fails_is_an_error_for_one_caller_only(mount: Mounted) -> None:
    """The method behind a request raises; the same connection is used again; nonsense is refused."""
    with mount.client() as client:
        with mount.trap("finish"), pytest.raises(errors.PfsError):
            client.finish(ref())
        with pytest.raises(errors.InvalidNameError):
            client.call("no such operation")
        with pytest.raises(errors.InvalidNameError):
            client.call("finish", wrong="argument")
        assert client.status()["handles"] >= 0


def subclasses(kind: type[BaseException]) -> set[type[BaseException]]:
    return {kind}.union(*(subclasses(below) for below in kind.__subclasses__()))


def test_every_error_of_ours_has_a_number() -> None:
    """Errors of all modules, also of those that define their own."""
    assert {errors.PfsError, *errors.PfsError.__subclasses__()} <= ERRNO.keys()
    assert all(errno_of(kind("")) for kind in ERRNO)
    assert None not in {errno_of(kind.__new__(kind)) for kind in subclasses(errors.PfsError)}


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (errors.PathNotFoundError(b"x"), errno.ENOENT),
        (errors.OutOfSpaceError("full"), errno.ENOSPC),
        (OSError(errno.ENOSPC, "full"), errno.ENOSPC),
        (OSError(errno.EBADF, "bad"), errno.EIO),
        (ZeroDivisionError(), errno.EIO),
        (pyfuse3.FUSEError(errno.EPERM), errno.EPERM),
    ],
)
def test_errors_become_numbers(error: Exception, number: int) -> None:
    """What a handler may run into."""
    with pytest.raises(pyfuse3.FUSEError) as caught, errno_for("test"):
        raise error

    assert number == caught.value.errno


def test_a_cancellation_goes_on() -> None:
    """The mount is being stopped."""
    import trio

    async def main() -> None:
        with trio.move_on_after(0) as scope, errno_for("test"):
            await trio.sleep(1)
        assert scope.cancelled_caught

    trio.run(main)
