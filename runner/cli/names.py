"""How things are named on the command line: repo, repo@branch, repo@commit, repo@branch:/path."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes, urlsplit

from pfsfuse.errors import InvalidNameError, NotFoundError
from pfsfuse.ids import BranchName, CommitId, RepoName, is_commit_id, parse_commit_id
from pfsfuse.names import check_branch_name, check_repo_name, split_path
from pfsfuse.remote.schemes import is_url
from pfsfuse.store.index import ReadTxn
from pfsfuse.versions.branches import find_branch
from pfsfuse.versions.commits import AmbiguousCommitError, CommitFinishedError, commit
from pfsfuse.versions.model import BranchRef
from pfsfuse.versions.repos import find_repo
from pfsfuse.versions.sets import CommitSetNotFoundError, sets_with_prefix

_HEX_DIGITS = frozenset("0123456789abcdef")


class NeitherRepoNorChangeError(NotFoundError):
    """A name that looks like the beginning of an id, and is none, and no repo either."""

    def __init__(self, text: str) -> None:
        super().__init__(
            f"{text!r} is neither a repo nor the beginning of a change's id; see `pfs list repo`, `pfs list commit`"
        )


@dataclass(frozen=True)
class FileName:
    """A path in a commit."""

    repo: RepoName
    commit: str
    """A branch, an id, or an expression such as master~2."""
    path: bytes | None
    """As written; None if there was no colon."""

    @property
    def is_directory_form(self) -> bool:
        """Whether the path says itself that it is a directory: empty, or with a slash at its end."""
        return not self.path or self.path.endswith(b"/")

    @property
    def elements(self) -> tuple[bytes, ...]:
        """The path taken apart; () is the root."""
        return split_path(self.path or b"")


def file_name(text: str) -> FileName:
    """Return `repo@commit:/path` taken apart; the commit is master when not given."""
    where, colon, path = text.partition(":")
    repo, commit = commit_name(where)
    return FileName(repo, commit, os.fsencode(path) if colon else None)


def commit_name(text: str) -> tuple[RepoName, str]:
    """Return `repo@commit` taken apart; the commit is master when not given."""
    if ":" in text:
        raise InvalidNameError(f"{text!r} names a path; here a branch or commit is meant: repo@branch")
    repo, at, commit = text.partition("@")
    if at and not commit:
        raise InvalidNameError(f"{text!r}: a branch or commit is missing after the @")
    return check_repo_name(repo), commit or "master"


def change_name(txn: ReadTxn, text: str) -> CommitId | None:
    """
    Return the change that *text* means by its id alone, or by the beginning of it; None if it names a repo.

    CommitSetNotFoundError for a full id that no change has; NeitherRepoNorChangeError for what could be either.
    """
    digits = text.lower()
    if not 4 <= len(digits) <= 32 or not set(digits) <= _HEX_DIGITS:
        return None
    if find_repo(txn, RepoName(text)) is not None:
        return None
    found = sets_with_prefix(txn, digits)
    if len(found) > 1:
        raise AmbiguousCommitError(f"{text!r} fits several changes; give more digits")
    if not found and is_commit_id(digits):
        raise CommitSetNotFoundError(parse_commit_id(digits))
    if not found:
        raise NeitherRepoNorChangeError(text)
    return found[0]


def branch_name(text: str) -> BranchRef:
    """Return `repo@branch` as a branch; master when not given."""
    repo, branch = commit_name(text)
    return BranchRef(repo, check_branch_name(branch))


def repo_and_branch(text: str) -> tuple[RepoName, BranchName | None]:
    """Return `repo` or `repo@branch` taken apart."""
    repo, at, _ = text.partition("@")
    return (check_repo_name(repo), None) if not at else (branch_name(text).repo, branch_name(text).branch)


def open_branch(txn: ReadTxn, repo: RepoName, text: str) -> BranchRef:
    """
    Return the branch that can be written by the name *text*: a branch, or the id of an open commit.

    CommitFinishedError for the id of a finished one.
    """
    if find_branch(txn, repo, text) is None and is_commit_id(text):
        found = commit(txn, repo, parse_commit_id(text))
        if found.is_finished:
            raise CommitFinishedError(found.ref)
        return BranchRef(repo, found.branch)
    return BranchRef(repo, check_branch_name(text))


def targets(
    where: FileName, sources: Sequence[str], *, recursive: bool, full_path: bool
) -> list[tuple[str, tuple[bytes, ...]]]:
    """
    Return (source, path in the commit) for each source of `put file`, by the original's rules.

        repo@b             -f a/b/t.txt              /t.txt        with --full-path: /a/b/t.txt
        repo@b:x/y.txt     -f a/b/t.txt              /x/y.txt      with --full-path as well
        repo@b:dir/        -f a/b/t.txt              /dir/t.txt    with --full-path: /dir/a/b/t.txt
        repo@b:dir         -f one -f other           /dir/one, /dir/other
        repo@b             -r -f folder              /folder/…
        repo@b:/           -r -f folder              /…
        repo@b:dir         -r -f folder              /dir/…

    A URL counts as the path in it; with *recursive*, as a folder.
    """
    if "-" in sources and (where.is_directory_form or len(sources) > 1):
        raise InvalidNameError("what is read from stdin needs a path of its own: REPO@BRANCH:PATH -f -")
    prefix = split_path(where.path or b"")
    if len(sources) == 1 and where.path is not None:
        is_folder = recursive and (is_url(sources[0]) or os.path.isdir(sources[0]))
        if is_folder or not where.is_directory_form:
            return [(sources[0], prefix)]
    return [(source, (*prefix, *_own_path(source, full_path))) for source in sources]


def _own_path(source: str, full_path: bool) -> tuple[bytes, ...]:
    if is_url(source):
        return _own_path_of_url(source, full_path)
    normal = os.path.normpath(source)
    kept = normal if full_path else os.path.basename(normal)
    if kept in ("", ".", ".."):
        kept = os.path.basename(os.path.abspath(source))
    return split_path(os.fsencode(kept))


def _own_path_of_url(url: str, full_path: bool) -> tuple[bytes, ...]:
    parts = urlsplit(url)
    path = split_path(unquote_to_bytes(parts.path))
    if not path:
        # The root of a host or bucket.
        return split_path(os.fsencode(parts.netloc))
    return path if full_path else path[-1:]
