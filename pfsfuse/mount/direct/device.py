"""
The connection to the kernel: /dev/fuse, and the mount that it belongs to.

Root mounts by itself; others have `fusermount3` do it, which hands the open device over a socket.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import socket
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ...errors import UnavailableError
from .protocol import BUFFER_BYTES, OUT_HEADER

_MS_NOSUID = 2
_MS_NODEV = 4
_MNT_DETACH = 2
_UMOUNT_NOFOLLOW = 8
_OPTIONS = "rootmode=40000,user_id={uid},group_id={gid},default_permissions,allow_other"
_HELPER_OPTIONS = "nosuid,nodev,default_permissions,allow_other"

Buffer = bytes | bytearray | memoryview


class EndedError(Exception):
    """There will be no more requests.  No error of ours, so that no handler can raise it."""


class Device:
    """An open connection.  Requests are taken by one thread; any thread may tell the kernel something."""

    def __init__(self, fd: int, point: Path) -> None:
        os.set_blocking(fd, False)
        self.fd = fd
        self.point = point
        self.buffer = memoryview(bytearray(BUFFER_BYTES))
        self._into = [self.buffer]
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)

    def receive(self) -> int | None:
        """
        Take the next request into `buffer` and return its length; None if there is none now.

        EndedError when the file system is not mounted any more.
        """
        while True:
            try:
                return os.readv(self.fd, self._into)
            except BlockingIOError:
                return None
            except OSError as error:
                if error.errno in (errno.ENODEV, errno.ECONNABORTED):
                    raise EndedError from error
                # The one who asked gave up before we took the request.
                if error.errno not in (errno.ENOENT, errno.EINTR):
                    raise

    def linger(self, most_ms: int) -> bool:
        """Wait for a request, without the event loop; say whether there is one."""
        return bool(self._poll.poll(most_ms))

    def answer(self, unique: int, payload: Buffer) -> None:
        length = len(payload)
        header = OUT_HEADER.pack(OUT_HEADER.size + length, 0, unique)
        self._send((header, payload) if length else (header,))

    def refuse(self, unique: int, number: int) -> None:
        """Answer with an error number."""
        self._send((OUT_HEADER.pack(OUT_HEADER.size, -number, unique),))

    def _send(self, parts: Sequence[Buffer]) -> None:
        try:
            os.writev(self.fd, parts)
        except OSError as error:
            # ENOENT: whoever asked was killed.  The others: unmounted; `receive` will say so.
            if error.errno not in (errno.ENOENT, errno.ENODEV, errno.ECONNABORTED):
                raise

    def tell(self, what: int, *parts: Buffer) -> None:
        """Notify the kernel; OSError with ENOENT if it does not know what this is about."""
        length = OUT_HEADER.size + sum(map(len, parts))
        os.writev(self.fd, (OUT_HEADER.pack(length, what, 0), *parts))

    def close(self, *, unmount: bool) -> None:
        """Close the connection; without *unmount* the mount point is left dead."""
        if self.fd < 0:
            return
        # First: a mount without a process fails at once, and can never wait for us.
        os.close(self.fd)
        self.fd = -1
        if unmount:
            _unmount(self.point)


def open_device(point: Path, *, source: str, subtype: str) -> Device:
    """Mount at *point*; UnavailableError says why that is impossible."""
    if os.geteuid() == 0:
        return Device(_mount(point, source, subtype), point)
    return Device(_mount_by_helper(point, source, subtype), point)


def _mount(point: Path, source: str, subtype: str) -> int:
    try:
        fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise UnavailableError(
            f"/dev/fuse cannot be opened: {error.strerror}; load the module fuse"
        ) from error
    options = f"fd={fd}," + _OPTIONS.format(uid=os.getuid(), gid=os.getgid())
    try:
        _call(
            "mount",
            source.encode(),
            os.fsencode(point),
            b"fuse." + subtype.encode(),
            ctypes.c_ulong(_MS_NOSUID | _MS_NODEV),
            options.encode(),
        )
    except OSError as error:
        os.close(fd)
        raise UnavailableError(f"{point} cannot be mounted: {error.strerror}") from error
    return fd


def _call(name: str, *arguments: object) -> None:
    """Call a function of the C library that returns 0, or sets errno."""
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _mount_by_helper(point: Path, source: str, subtype: str) -> int:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs:
        done = subprocess.run(
            [
                "fusermount3",
                "-o",
                f"{_HELPER_OPTIONS},fsname={source},subtype={subtype}",
                "--",
                os.fspath(point),
            ],
            env={**os.environ, "_FUSE_COMMFD": str(theirs.fileno())},
            pass_fds=[theirs.fileno()],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise UnavailableError(f"{point} cannot be mounted: {done.stderr.strip()}")
        _, fds, _, _ = socket.recv_fds(ours, 1, 1)
    if not fds:
        raise UnavailableError(f"{point} cannot be mounted: fusermount3 gave no device")
    os.set_inheritable(fds[0], False)
    return fds[0]


def _unmount(point: Path) -> None:
    if os.geteuid() == 0:
        # Gone already, if somebody else unmounted it.
        with suppress(OSError):
            _call("umount2", os.fsencode(point), _MNT_DETACH | _UMOUNT_NOFOLLOW)
        return
    subprocess.run(
        ["fusermount3", "-u", "-q", "-z", "--", os.fspath(point)], capture_output=True, check=False
    )
