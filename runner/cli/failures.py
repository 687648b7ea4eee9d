"""
What an error looks like to a person: what, which, what now.  One or two lines, on stderr.

A traceback is for our own mistakes, and for --verbose.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterable
from difflib import get_close_matches

from pfsfuse.errors import PfsError
from runner.errors import RunnerError

from .exits import exit_of
from .screen import Screen
from .session import Session


def report(error: Exception, *, verbose: bool = False) -> int | None:
    """Print an error that was to be expected and return the exit code; None for one that was not."""
    error = _only(error)
    if not isinstance(error, (PfsError, RunnerError, OSError)):
        return None
    if verbose:
        traceback.print_exception(error)
    print(f"error: {_message(error)}{_suggestion(error)}", file=sys.stderr)
    return int(exit_of(error))


def _only(error: Exception) -> Exception:
    """Return what a trio nursery wrapped into a group, if it is one error."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = f"{os.fsdecode(error.filename)}: " if error.filename is not None else ""
        return f"{where}{error.strerror}"
    return str(error) or type(error).__name__


def _suggestion(error: Exception) -> str:
    """Return what the person may have meant instead of a name that does not exist."""
    # By name and with a look whether the attributes are there: an error that came over the control
    # socket has only its message, and the classes are not worth an import.
    kind = type(error).__name__
    repo, ref, name = (getattr(error, attribute, None) for attribute in ("repo", "ref", "name"))
    try:
        if kind == "RepoNotFoundError" and repo is not None:
            return _close_to(repo, _repos())
        if kind == "BranchNotFoundError" and ref is not None:
            return _close_to(ref.branch, _branches(ref.repo))
        if kind == "PipelineNotFoundError" and name is not None:
            return _close_to(name, _pipelines())
    except PfsError:
        # The store cannot be looked into; the error itself is what matters.
        return ""
    return ""


def _close_to(name: str, existing: Iterable[str]) -> str:
    close = get_close_matches(name, list(existing), n=2)
    return f"\ndid you mean {' or '.join(close)}?" if close else ""


def _repos() -> list[str]:
    from pfsfuse.versions.repos import repos

    with _reading() as session, session.store.read() as txn:
        return [repo.name for repo in repos(txn)]


def _branches(repo: str) -> list[str]:
    from pfsfuse.ids import RepoName
    from pfsfuse.versions.branches import branches

    with _reading() as session, session.store.read() as txn:
        return [branch.name for branch in branches(txn, RepoName(repo))]


def _pipelines() -> list[str]:
    from runner.jobs.records import pipelines

    with _reading() as session, session.store.read() as txn:
        return [record.name for record in pipelines(txn)]


def _reading() -> Session:
    return Session(Screen())
