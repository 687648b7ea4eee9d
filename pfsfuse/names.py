"""
What a project, repo, branch or path element may be called.

Repos and branches follow the original's rule ([A-Za-z0-9_-]+; a branch may not look like a
commit id).  Path elements inside a commit follow POSIX: any 1 to 255 bytes but `/` and NUL,
and neither `.` nor `..`.
"""

from __future__ import annotations

import re

from .errors import InvalidNameError, NameTooLongError
from .ids import BranchName, RepoName, is_commit_id

MAX_NAME_BYTES = 255
MAX_REPO_CHARACTERS = 180
"""Two names of repos with their projects, and two commit ids, make a key of the index: at most 511 bytes."""
MAX_PROJECT_CHARACTERS = 51
DEFAULT_PROJECT = "default"

_NAME = re.compile(r"[A-Za-z0-9_-]+\Z")
_GLOBBING = re.compile(rb"[*?\[\]{}!()@+^]")

RESERVED_REPOS = frozenset({"out", "prev"})
"""The names that a container's /pfs needs for itself (a rule of the 1.0 era)."""


def check_repo_name(text: str) -> RepoName:
    """Return *text* as the name of a repo (`repo` or `project/repo`), or raise InvalidNameError."""
    project, slash, repo = text.rpartition("/")
    if slash:
        check_project_name(project)
    if not _NAME.match(repo):
        raise InvalidNameError(f"repo name {text!r}: use letters, digits, '-' and '_' only")
    if len(repo) > MAX_REPO_CHARACTERS:
        raise InvalidNameError(f"repo name {text!r}: at most {MAX_REPO_CHARACTERS} characters")
    if repo in RESERVED_REPOS:
        raise InvalidNameError(
            f"repo name {text!r} is reserved: containers see /pfs/{repo} as something else"
        )
    return RepoName(repo if project in ("", DEFAULT_PROJECT) else text)


def check_project_name(text: str) -> str:
    """Return *text* as the name of a project, or raise InvalidNameError."""
    if not _NAME.match(text) or not text[0].isalnum():
        raise InvalidNameError(
            f"project name {text!r}: must start with an alphanumeric character; "
            "use letters, digits, '-' and '_' only"
        )
    if len(text) > MAX_PROJECT_CHARACTERS:
        raise InvalidNameError(f"project name {text!r}: at most {MAX_PROJECT_CHARACTERS} characters")
    return text


def check_branch_name(text: str) -> BranchName:
    """Return *text* as the name of a branch, or raise InvalidNameError."""
    if not _NAME.match(text) or len(text) > MAX_NAME_BYTES:
        raise InvalidNameError(f"branch name {text!r}: use letters, digits, '-' and '_' only")
    if is_commit_id(text):
        raise InvalidNameError(f"branch name {text!r} looks like a commit id; choose another")
    return BranchName(text)


def check_element(name: bytes) -> bytes:
    """Return *name* as one element of a path inside a commit, or raise InvalidNameError."""
    if name in (b"", b".", b"..") or b"/" in name or b"\0" in name:
        text = name.decode("utf-8", "backslashreplace")
        raise InvalidNameError(f"{text!r} cannot be the name of a file or folder inside a repo")
    if len(name) > MAX_NAME_BYTES:
        raise NameTooLongError(f"a file name has {len(name)} bytes; at most {MAX_NAME_BYTES} are possible")
    return name


def check_plain_path(path: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """
    Return *path* if no element has a character with a meaning in globs; InvalidNameError.

    A rule of the original for what is put through its API; the mount takes any name.
    """
    for name in path:
        found = _GLOBBING.search(name)
        if found is not None:
            raise InvalidNameError(
                f"{name.decode('utf-8', 'backslashreplace')!r} contains the globbing character "
                f"{found[0].decode()!r}; rename it, or use --any-names and quote the name in patterns"
            )
    return path


def split_path(path: bytes) -> tuple[bytes, ...]:
    """
    Return the checked elements of *path*; leading, trailing and double slashes do not matter.

    `.` and `..` are refused, as the original does ("relative file paths are not allowed").
    """
    return tuple(check_element(element) for element in path.split(b"/") if element)
