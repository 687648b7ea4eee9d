"""
Makes system calls as another user, and says what came of each.

    python -m tests.posix.caller <uid> <gid> <group,group,…>

Reads batches from stdin, each a folder to work in and a list of calls, and answers with the list of
outcomes: a value that can be compared, or the name of an error number.  Descriptors are kept by labels.
Started as root, it becomes the user for good before it makes the first call.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import marshal
import mmap
import os
import socket
import stat
import sys
import time
from collections.abc import Callable
from typing import Any

AT_FDCWD = -100
_COARSE = 5
"""CLOCK_REALTIME_COARSE: the clock that files are stamped with."""

_libc = ctypes.CDLL(None, use_errno=True)
_descriptors: dict[str, int] = {}
_times: dict[str, tuple[int, int]] = {}

_LETTERS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "dir",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
}


class Timespec(ctypes.Structure):
    """struct timespec."""

    _fields_ = [("s", ctypes.c_long), ("ns", ctypes.c_long)]


def _checked(result: int) -> str:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return "ok"


def _shown(status: os.stat_result) -> tuple[Any, ...]:
    kind = stat.S_IFMT(status.st_mode)
    is_device = kind in (stat.S_IFCHR, stat.S_IFBLK)
    size = -1 if kind == stat.S_IFDIR else status.st_size
    rdev = status.st_rdev if is_device else 0
    mode = oct(stat.S_IMODE(status.st_mode))
    return (_LETTERS[kind], mode, status.st_nlink, status.st_uid, status.st_gid, size, rdev)


# What a batch may ask for: each name is that of a system call, or says what is looked at.


def open_(path: str, flags: int, mode: int = 0o644, label: str | None = None) -> str:
    fd = os.open(path, flags, mode)
    if label is None:
        os.close(fd)
    else:
        _descriptors[label] = fd
    return "ok"


def close(label: str) -> None:
    os.close(_descriptors.pop(label))


def read(label: str, length: int) -> bytes:
    return os.read(_descriptors[label], length)


def pread(label: str, length: int, offset: int) -> bytes:
    return os.pread(_descriptors[label], length, offset)


def write(label: str, data: bytes) -> int:
    return os.write(_descriptors[label], data)


def pwrite(label: str, data: bytes, offset: int) -> int:
    return os.pwrite(_descriptors[label], data, offset)


def contents(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        return os.read(fd, 1 << 20)
    finally:
        os.close(fd)


def fstat(label: str) -> tuple[Any, ...]:
    return _shown(os.fstat(_descriptors[label]))


def stat_(path: str) -> tuple[Any, ...]:
    return _shown(os.stat(path))


def lstat(path: str) -> tuple[Any, ...]:
    return _shown(os.lstat(path))


def kind(path: str) -> str:
    return _LETTERS[stat.S_IFMT(os.lstat(path).st_mode)]


def set_times(path: str, atime: tuple[int, int], mtime: tuple[int, int], flags: int = 0) -> str:
    """utimensat(2), with UTIME_NOW and UTIME_OMIT as nanoseconds."""
    both = (Timespec * 2)(Timespec(*atime), Timespec(*mtime))
    return _checked(_libc.utimensat(AT_FDCWD, os.fsencode(path), both, flags))


def set_times_now(path: str) -> str:
    return _checked(_libc.utimensat(AT_FDCWD, os.fsencode(path), None, 0))


def times(path: str) -> tuple[int, int]:
    """Return atime and mtime, in nanoseconds."""
    status = os.lstat(path)
    return status.st_atime_ns, status.st_mtime_ns


def remember(path: str) -> None:
    """Note the times of *path*, and return when the clock has gone on, so that a change shows."""
    status = os.lstat(path)
    _times[path] = (status.st_mtime_ns, status.st_ctime_ns)
    # The stamp may be of a later step of the clock than the one that is seen here.
    before = max(time.clock_gettime_ns(_COARSE), status.st_ctime_ns)
    while time.clock_gettime_ns(_COARSE) <= before:
        time.sleep(0.0005)


def changed(path: str, remembered: str | None = None) -> str:
    """Say which of mtime and ctime of *path* are not those that were noted: `m`, `c`, `mc` or nothing."""
    status, (mtime, ctime) = os.lstat(path), _times[remembered or path]
    return ("m" if status.st_mtime_ns != mtime else "") + ("c" if status.st_ctime_ns != ctime else "")


def is_now(path: str) -> list[bool]:
    """Say whether atime and mtime are of this minute."""
    status, now = os.lstat(path), time.time()
    return [abs(now - status.st_atime) < 60, abs(now - status.st_mtime) < 60]


def bind(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path)


def connect(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.connect(path)


def link(old: str, new: str, follow: bool = False) -> str:
    return _checked(
        _libc.linkat(AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), 0x400 if follow else 0)
    )


def rename(old: str, new: str, flags: int = 0) -> str:
    if flags == 0:
        os.rename(old, new)
        return "ok"
    return _checked(_libc.renameat2(AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags))


def same(one: str, other: str) -> bool:
    return os.path.samestat(os.lstat(one), os.lstat(other))


def mknod(path: str, mode: int, major: int = 0, minor: int = 0) -> None:
    os.mknod(path, mode, os.makedev(major, minor))


def listdir(path: str) -> list[str]:
    return sorted(os.listdir(path))


def fallocate(label: str, mode: int, offset: int, length: int) -> str:
    return _checked(
        _libc.fallocate64(_descriptors[label], mode, ctypes.c_long(offset), ctypes.c_long(length))
    )


def mapped(label: str, length: int, offset: int, data: bytes) -> None:
    """Write through a shared mapping of the first *length* bytes."""
    with mmap.mmap(_descriptors[label], length) as memory:
        memory[offset : offset + len(data)] = data
        memory.flush()


def lock(label: str, operation: int) -> None:
    fcntl.flock(_descriptors[label], operation)


def range_lock(label: str, operation: int, start: int, length: int) -> None:
    """fcntl(2) with F_SETLK: *operation* is LOCK_SH, LOCK_EX or LOCK_UN, with LOCK_NB."""
    fcntl.lockf(_descriptors[label], operation, length, start)


def umask(mask: int) -> None:
    os.umask(mask)


def bad_address(name: str) -> str:
    """Call *name* with a path that is nowhere."""
    nowhere = ctypes.c_void_p(1)
    extra = {"chmod": (0o644,), "mkdir": (0o755,), "open": (0,), "truncate": (ctypes.c_long(1),)}
    return _checked(getattr(_libc, name)(nowhere, *extra.get(name, ())))


_CALLS: dict[str, Callable[..., Any]] = {
    "open": open_,
    "stat": stat_,
    "chmod": os.chmod,
    "fchmod": lambda label, mode: os.fchmod(_descriptors[label], mode),
    "chown": os.chown,
    "lchown": os.lchown,
    "fchown": lambda label, uid, gid: os.fchown(_descriptors[label], uid, gid),
    "mkdir": os.mkdir,
    "mkfifo": os.mkfifo,
    "rmdir": os.rmdir,
    "unlink": os.unlink,
    "symlink": os.symlink,
    "readlink": os.readlink,
    "truncate": os.truncate,
    "ftruncate": lambda label, size: os.ftruncate(_descriptors[label], size),
    "fsync": lambda label: os.fsync(_descriptors[label]),
    "lseek": lambda label, offset, whence: os.lseek(_descriptors[label], offset, whence),
    "access": os.access,
    "setxattr": os.setxattr,
    "getxattr": os.getxattr,
    "listxattr": lambda path: sorted(os.listxattr(path)),
    "removexattr": os.removexattr,
    **{
        made.__name__: made
        for made in (
            *(
                close,
                read,
                pread,
                write,
                pwrite,
                contents,
                fstat,
                lstat,
                kind,
                set_times,
                set_times_now,
                times,
            ),
            *(
                remember,
                changed,
                is_now,
                bind,
                connect,
                link,
                rename,
                same,
                mknod,
                listdir,
                fallocate,
                mapped,
            ),
            *(lock, range_lock, umask, bad_address),
        )
    },
}


def _outcome(name: str, arguments: tuple[Any, ...]) -> Any:
    try:
        result = _CALLS[name](*arguments)
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return "ok" if result is None else result


def main() -> None:
    uid, gid = int(sys.argv[1]), int(sys.argv[2])
    if uid:
        os.setgroups([int(group) for group in sys.argv[3].split(",") if group])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    os.umask(0o022)
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while True:
        try:
            folder, calls = marshal.load(source)
        except EOFError:
            return
        try:
            os.chdir(folder)
            outcomes = [_outcome(name, arguments) for name, arguments in calls]
        except Exception as error:  # noqa: BLE001 - whatever it is, the test has to hear of it
            outcomes = [f"the caller failed: {error!r}"] * len(calls)
        marshal.dump(outcomes, sink)
        sink.flush()


if __name__ == "__main__":
    main()
