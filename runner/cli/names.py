"""How things are named on the command line: repo, repo@branch, repo@commit, repo@branch:/path."""

from __future__ import annotations

import os
from dataclasses import dataclass

from pfsfuse.errors import InvalidNameError
from pfsfuse.ids import BranchName, RepoName
from pfsfuse.names import check_branch_name, check_repo_name
from pfsfuse.versions.model import BranchRef


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


def branch_name(text: str) -> BranchRef:
    """Return `repo@branch` as a branch; master when not given."""
    repo, branch = commit_name(text)
    return BranchRef(repo, check_branch_name(branch))


def repo_and_branch(text: str) -> tuple[RepoName, BranchName | None]:
    """Return `repo` or `repo@branch` taken apart."""
    repo, at, _ = text.partition("@")
    return (check_repo_name(repo), None) if not at else (branch_name(text).repo, branch_name(text).branch)
