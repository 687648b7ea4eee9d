"""
What goes over /dev/fuse: numbers and layouts, after <linux/fuse.h> (version 7.31 to 7.45).

Every request begins with `IN_HEADER`, every answer with `OUT_HEADER`; integers have the machine's
order and the layouts no gaps.
"""

from __future__ import annotations

import enum
from struct import Struct

MAJOR = 7
MINOR = 45
"""Of the protocol that we speak; the kernel keeps to the smaller of its own and this."""
OLDEST_MINOR = 31
"""Linux 5.4: everything that is used here is there."""

ROOT = 1


class Op(enum.IntEnum):
    """Operations that are answered with something else than ENOSYS."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    SETATTR = 4
    READLINK = 5
    SYMLINK = 6
    MKNOD = 8
    MKDIR = 9
    UNLINK = 10
    RMDIR = 11
    RENAME = 12
    LINK = 13
    OPEN = 14
    READ = 15
    WRITE = 16
    STATFS = 17
    RELEASE = 18
    FSYNC = 20
    SETXATTR = 21
    GETXATTR = 22
    LISTXATTR = 23
    REMOVEXATTR = 24
    FLUSH = 25
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    FSYNCDIR = 30
    CREATE = 35
    INTERRUPT = 36
    DESTROY = 38
    BATCH_FORGET = 42
    READDIRPLUS = 44
    RENAME2 = 45


class Notify(enum.IntEnum):
    """What can be told to the kernel without being asked."""

    INVAL_INODE = 2
    INVAL_ENTRY = 3
    STORE = 4
    PRUNE = 9


class Init(enum.IntFlag):
    """What kernel and file system agree on when the connection begins."""

    ASYNC_READ = 1 << 0
    ATOMIC_O_TRUNC = 1 << 3
    BIG_WRITES = 1 << 5
    AUTO_INVAL_DATA = 1 << 12
    DO_READDIRPLUS = 1 << 13
    READDIRPLUS_AUTO = 1 << 14
    ASYNC_DIO = 1 << 15
    WRITEBACK_CACHE = 1 << 16
    PARALLEL_DIROPS = 1 << 18
    MAX_PAGES = 1 << 22
    CACHE_SYMLINKS = 1 << 23


class Open(enum.IntFlag):
    """Flags of an answer to OPEN, OPENDIR and CREATE."""

    DIRECT_IO = 1 << 0
    KEEP_CACHE = 1 << 1
    CACHE_DIR = 1 << 3


# Which fields of a SETATTR request count.  An operation on an enum would cost a microsecond.
SET_MODE = 1 << 0
SET_UID = 1 << 1
SET_GID = 1 << 2
SET_SIZE = 1 << 3
SET_ATIME = 1 << 4
SET_MTIME = 1 << 5
SET_FH = 1 << 6
SET_ATIME_NOW = 1 << 7
SET_MTIME_NOW = 1 << 8


IN_HEADER = Struct("=IIQQIIIHH")
"""length, operation, unique, node, uid, gid, pid, length of extensions, padding"""
OUT_HEADER = Struct("=IiQ")
"""length, minus the error number, unique; of a notification: length, what it is, 0"""

INIT_IN = Struct("=IIII")
"""major, minor, max_readahead, flags; more follows"""
INIT_OUT = Struct("=IIIIHHIIHHI28x")
"""major, minor, max_readahead, flags, max_background, congestion, max_write, time_gran, max_pages, -, flags2"""

_ATTRIBUTES = "QQQqqqIIIIIIIIII"
"""
ino, size, blocks, atime, mtime, ctime, their nanoseconds, mode, nlink, uid, gid, rdev, blksize, flags

Times are signed though the header says otherwise: the kernel takes them so.
"""
ENTRY_OUT = Struct("=QQQQII" + _ATTRIBUTES)
"""node, generation, seconds that the name and the attributes may be kept, their nanoseconds, attributes"""
ATTR_OUT = Struct("=QII" + _ATTRIBUTES)
"""seconds that the attributes may be kept, nanoseconds, padding, attributes"""

SETATTR_IN = Struct("=IIQQQqqqIIIIIIII")
"""
valid, -, fh, size, lock owner, atime, mtime, ctime, their nanoseconds, mode, -, uid, gid, -
"""
MKNOD_IN = Struct("=IIII")
"""mode, rdev, umask, padding"""
MKDIR_IN = Struct("=II")
"""mode, umask"""
RENAME_IN = Struct("=Q")
"""new directory"""
RENAME2_IN = Struct("=QII")
"""new directory, flags, padding"""
LINK_IN = Struct("=Q")
"""old node"""
OPEN_IN = Struct("=II")
"""flags, flags of FUSE"""
OPEN_OUT = Struct("=QII")
"""fh, flags, padding"""
CREATE_IN = Struct("=IIII")
"""flags, mode, umask, flags of FUSE"""
READ_IN = Struct("=QQI")
"""fh, offset, size; more follows"""
WRITE_IN = Struct("=QQIIQII")
"""fh, offset, size, flags of FUSE, lock owner, flags, padding"""
WRITE_OUT = Struct("=II")
"""size, padding"""
FH_IN = Struct("=Q")
"""What FLUSH, FSYNC, FSYNCDIR, RELEASE and RELEASEDIR begin with"""
SETXATTR_IN = Struct("=II")
"""size, flags; the name, a zero byte and the value follow"""
GETXATTR_IN = Struct("=II")
"""size, padding"""
GETXATTR_OUT = Struct("=II")
"""size, padding"""
STATFS_OUT = Struct("=QQQQQIIII24x")
"""blocks, bfree, bavail, files, ffree, bsize, namelen, frsize, padding"""
FORGET_IN = Struct("=Q")
"""count"""
BATCH_FORGET_IN = Struct("=II")
"""number of pairs, padding"""
FORGET_ONE = Struct("=QQ")
"""node, count"""
INTERRUPT_IN = Struct("=Q")
"""unique of the request"""
DIRENT = Struct("=QQII")
"""ino, position behind it, length of the name, type; the name follows, filled up to 8 bytes"""

INVAL_INODE = Struct("=Qqq")
"""node, offset, length"""
INVAL_ENTRY = Struct("=QII")
"""directory, length of the name, flags; the name and a zero byte follow"""

STORE = Struct("=QQII")
"""node, offset, size, padding; the bytes follow"""

PRUNE = Struct("=IIQ")
"""count, padding, spare; the numbers of the nodes follow"""
PRUNE_MINOR = 45

MAX_PAGES = 256
MAX_WRITE = 1 << 20
BUFFER_BYTES = MAX_WRITE + 4096
"""A request: its header and arguments need less than a page, what is to be written the rest."""
