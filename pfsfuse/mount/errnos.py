"""
Error numbers: the one place that says what the kernel is told when an operation fails.

Both transports ask `number_for`; none of them knows an error of ours by itself.
"""

from __future__ import annotations

import errno
import logging

from .. import errors
from .handles import CutOffError

log = logging.getLogger(__name__)


class NotSupportedError(errors.ForbiddenError):
    """The operation means nothing here."""


class NoAttributeError(errors.NotFoundError):
    """A file has no extended attribute of this name."""

    def __init__(self, name: bytes) -> None:
        super().__init__(f"there is no attribute {name!r}")
        self.name = name


class TooSmallError(errors.InvalidNameError):
    """The caller has no room for the whole answer."""


class NeverAskError(errors.ForbiddenError):
    """The operation means nothing anywhere in this mount: the kernel need not ask again."""


ERRNO: dict[type[BaseException], int] = {
    errors.NotFoundError: errno.ENOENT,
    errors.ExistsError: errno.EEXIST,
    errors.InvalidNameError: errno.EINVAL,
    errors.NameTooLongError: errno.ENAMETOOLONG,
    errors.ReadOnlyError: errno.EROFS,
    errors.ForbiddenError: errno.EPERM,
    errors.CrossBranchError: errno.EXDEV,
    errors.NotEmptyError: errno.ENOTEMPTY,
    errors.NotADirectoryPathError: errno.ENOTDIR,
    errors.IsADirectoryPathError: errno.EISDIR,
    errors.FileTooLargeError: errno.EFBIG,
    errors.ConflictError: errno.EBUSY,
    errors.OutOfSpaceError: errno.ENOSPC,
    errors.QuotaError: errno.EDQUOT,
    errors.UnavailableError: errno.EIO,
    errors.StoreError: errno.EIO,
    NotSupportedError: errno.ENOTSUP,
    NeverAskError: errno.ENOSYS,
    TooSmallError: errno.ERANGE,
    NoAttributeError: errno.ENODATA,
    errors.PfsError: errno.EIO,
}
"""The error number of each kind of error; a kind that is not here has that of its base."""


def errno_of(error: BaseException) -> int | None:
    """Return the error number of a PfsError, or None for anything else."""
    for kind in type(error).__mro__:
        if kind in ERRNO:
            return ERRNO[kind]
    return None


def number_for(error: Exception, operation: str, what: tuple[object, ...]) -> int:
    """
    Return what the kernel is told of *error*, which ended *operation* on *what*.

    A PfsError has its number.  Anything unexpected is EIO and is logged with its traceback; what says
    that the store is damaged is logged in one line.
    """
    number = errno_of(error)
    if number is None and isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        number = error.errno
    if number is None:
        log.error("%s%r failed", operation, what, exc_info=error)
    elif isinstance(error, errors.StoreError) and not isinstance(error, CutOffError):
        log.error("%s%r failed: %s", operation, what, error)
    return number or errno.EIO
