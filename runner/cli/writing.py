"""What the commands that change files have in common."""

from __future__ import annotations

from pfsfuse.ids import CommitId
from pfsfuse.versions.branches import find_branch
from pfsfuse.versions.changesets import ChangeSet
from pfsfuse.versions.commits import OutputBranchError
from pfsfuse.versions.model import BranchRef
from pfsfuse.versions.repos import repo

from .names import FileName, open_branch
from .session import Session


def writable(session: Session, where: FileName) -> BranchRef:
    """Return the branch to write to.  What would be refused in the end is refused before any work."""
    with session.store.read() as txn:
        repo(txn, where.repo)
        ref = open_branch(txn, where.repo, where.commit)
        line = find_branch(txn, ref.repo, ref.branch)
    if line is not None and line.provenance:
        raise OutputBranchError(ref)
    return ref


def apply(session: Session, ref: BranchRef, changes: ChangeSet, description: str) -> CommitId:
    """Make *changes* in one commit, and say which: it is printed if it is finished."""
    commit, is_finished = session.writing.apply(ref, changes, description=description)
    if is_finished:
        session.screen.identifier(commit.hex())
    else:
        session.screen.note(f"in the open commit {commit.hex()} of {ref}")
    return commit
