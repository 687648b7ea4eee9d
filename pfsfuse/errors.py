"""
What can go wrong, as a person and a program see it.

Every error carries a message for a person (what, which, what now) and, in attributes, the
objects a program needs.  Errors live next to the code that raises them; this module holds
the bases, one per thing a caller can do differently, and the few that several modules raise.

    PfsError
    ├── NotFoundError          there is no such thing                      ENOENT
    │   └── PathNotFoundError
    ├── ExistsError            the name is taken                           EEXIST
    ├── InvalidNameError       no repo, branch or file can have this name  EINVAL
    │   └── NameTooLongError                                               ENAMETOOLONG
    ├── ReadOnlyError          written where nothing can be written        EROFS
    ├── ForbiddenError         the operation makes no sense at this place  EPERM
    ├── CrossBranchError       a rename or link from one branch to another EXDEV
    ├── NotEmptyError          a directory still has entries               ENOTEMPTY
    ├── NotADirectoryPathError a file stands where a directory is needed   ENOTDIR
    ├── IsADirectoryPathError  a directory stands where a file is needed   EISDIR
    ├── FileTooLargeError      more bytes than a file can have             EFBIG
    ├── ConflictError          someone else was faster, or is at work      EBUSY
    ├── OutOfSpaceError        the disk is full                            ENOSPC
    │   └── QuotaError         the repo may not have more                  EDQUOT
    ├── UnavailableError       a process that is needed does not answer    EIO
    └── StoreError             what is on disk is not what was written     EIO
"""

from __future__ import annotations


class PfsError(Exception):
    """Anything that pfsfuse raises on purpose."""


class NotFoundError(PfsError):
    """There is no such project, repo, branch, commit or path."""


class PathNotFoundError(NotFoundError):
    """No entry has this path in the commit."""

    def __init__(self, path: bytes, where: str = "") -> None:
        shown = path.decode("utf-8", "backslashreplace")
        super().__init__(f"no file /{shown}" + (f" in {where}" if where else ""))
        self.path = path


class ExistsError(PfsError):
    """The name is taken."""


class InvalidNameError(PfsError):
    """The name cannot be used; the message says which rule it breaks."""


class NameTooLongError(InvalidNameError):
    """A path element has more than 255 bytes."""


class ReadOnlyError(PfsError):
    """A write where nothing can be written, such as a finished commit."""


class ReadOnlyDiskError(ReadOnlyError):
    """The disk under the store is mounted read-only: everything can be read and nothing changed."""

    def __init__(self) -> None:
        super().__init__("the disk under the store is read-only; make it writable to change something")


class ForbiddenError(PfsError):
    """The operation makes no sense at this place of the tree."""


class CrossBranchError(PfsError):
    """A file cannot be moved from one branch into another; copy it."""


class NotEmptyError(PfsError):
    """A directory that must be empty is not."""


class NotADirectoryPathError(PfsError):
    """A path goes through something that is not a directory."""


class IsADirectoryPathError(PfsError):
    """A file operation was asked of a directory."""


class FileTooLargeError(PfsError):
    """A file would get more bytes than a file can have."""


class ConflictError(PfsError):
    """Another writer was faster, or is still at work.  Read again and retry."""


class OutOfSpaceError(PfsError):
    """The disk under the store is full.  Nothing half-written is visible; free space and retry."""


class QuotaError(OutOfSpaceError):
    """The quota of the repo would be exceeded (versions/quotas.py)."""


class UnavailableError(PfsError):
    """A process that this operation needs does not run or does not answer."""


class StoreError(PfsError):
    """What is on disk is not what was written, or not of a format that this program knows."""
