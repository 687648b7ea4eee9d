"""
The exit codes of `pfs`, and which error has which.

    0    done
    1    it failed for a reason that has no code of its own
    2    the command line makes no sense
    3    there is no such repo, branch, commit, file, pipeline or job
    4    the name is taken, or somebody else is at work there
    5    what was given cannot be used: a bad name, a malformed specification, the wrong kind of file
    6    the disk is full, or the quota of the repo is used up
    7    a process that is needed does not run: the mount, the runner, Podman
    8    the store is damaged
    9    a job failed
    10   written where nothing can be written
    124  the time was up
    130  interrupted

Scripts rely on the numbers: none ever changes its meaning.
"""

from __future__ import annotations

import enum
import errno


class Exit(enum.IntEnum):
    """See the module."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    NOT_FOUND = 3
    CONFLICT = 4
    INVALID = 5
    NO_SPACE = 6
    UNAVAILABLE = 7
    DAMAGED = 8
    JOB_FAILED = 9
    READ_ONLY = 10
    TIMEOUT = 124
    INTERRUPTED = 130


# By name, because importing the classes would load Podman's library for `pfs list repo`.
# A test goes through all errors there are.
_BY_ERROR: dict[str, Exit] = {
    "NotFoundError": Exit.NOT_FOUND,
    "ExistsError": Exit.CONFLICT,
    "ConflictError": Exit.CONFLICT,
    "NotEmptyError": Exit.CONFLICT,
    "InvalidNameError": Exit.INVALID,
    "CrossBranchError": Exit.INVALID,
    "NotADirectoryPathError": Exit.INVALID,
    "IsADirectoryPathError": Exit.INVALID,
    "FileTooLargeError": Exit.INVALID,
    "ReadOnlyError": Exit.READ_ONLY,
    "ForbiddenError": Exit.READ_ONLY,
    "OutOfSpaceError": Exit.NO_SPACE,
    "UnavailableError": Exit.UNAVAILABLE,
    "StoreError": Exit.DAMAGED,
    "BadStreamError": Exit.INVALID,
    "TimeIsUpError": Exit.TIMEOUT,
    "SpecError": Exit.INVALID,
    "EngineError": Exit.UNAVAILABLE,
    "ImageNotFoundError": Exit.NOT_FOUND,
    "JobFailedError": Exit.JOB_FAILED,
    "JobFailed": Exit.JOB_FAILED,
    "CommitFailedError": Exit.JOB_FAILED,
    "OutputConflictError": Exit.JOB_FAILED,
    "JobGoneError": Exit.NOT_FOUND,
    "DiffCommandError": Exit.FAILURE,
    "EditorError": Exit.FAILURE,
}

_BY_ERRNO: dict[int | None, Exit] = {
    errno.ENOENT: Exit.NOT_FOUND,
    errno.EEXIST: Exit.CONFLICT,
    errno.EBUSY: Exit.CONFLICT,
    errno.ENOTDIR: Exit.INVALID,
    errno.EISDIR: Exit.INVALID,
    errno.EINVAL: Exit.INVALID,
    errno.ENAMETOOLONG: Exit.INVALID,
    errno.ENOSPC: Exit.NO_SPACE,
    errno.EDQUOT: Exit.NO_SPACE,
    errno.EROFS: Exit.READ_ONLY,
}


def known_exit(kind: type[BaseException]) -> Exit | None:
    """Return the code that errors of this class, or of the nearest class above it, have."""
    return next((_BY_ERROR[above.__name__] for above in kind.__mro__ if above.__name__ in _BY_ERROR), None)


def exit_of(error: BaseException) -> int:
    """Return the exit code of a program that ends with *error*."""
    given = getattr(error, "exit_code", None)
    if isinstance(given, int):
        # Of a process that did the work for this one.
        return given
    if isinstance(error, KeyboardInterrupt):
        return Exit.INTERRUPTED
    if isinstance(error, OSError):
        return _BY_ERRNO.get(error.errno, Exit.FAILURE)
    return known_exit(type(error)) or Exit.FAILURE
