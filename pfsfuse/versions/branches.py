"""
Branches and their heads.

A branch is a name for the newest finished commit of one line of work.  Heads are the only
thing that ever changes: everything a head points at is immutable.

Invariants (fsck.py):

- H1  a head names a finished commit of the same repo;
- H2  a head changes only from the value that its mover saw;
- H3  a branch has at most one open commit, and that commit's parent is the head;
- H4  provenance has no loops;
- H5  a propagated branch has provenance, and no open commit.

Other branches hear of none of this: propagation.py and wiring.py are what people's changes go through.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from ..errors import ConflictError, ExistsError, NotFoundError
from ..ids import BranchName, CommitId, RepoName
from ..names import check_branch_name
from ..store.index import ReadTxn, Table, WriteTxn
from .model import Branch, BranchRef, branch_key, decode, encode
from .records import find_commit
from .repos import repo

MASTER = BranchName("master")


class BranchNotFoundError(NotFoundError):
    """The repo has no branch of this name."""

    def __init__(self, repo: RepoName, branch: str) -> None:
        super().__init__(f'branch "{branch}" not found in repo {repo}')
        self.ref = BranchRef(repo, BranchName(branch))


class BranchExistsError(ExistsError):
    """The name of the branch is taken."""

    def __init__(self, ref: BranchRef) -> None:
        super().__init__(f"branch {ref} already exists")
        self.ref = ref


class StaleHeadError(ConflictError):
    """The branch moved since the caller read it.  Read the head again and retry."""

    def __init__(self, ref: BranchRef, expected: CommitId | None, found: CommitId | None) -> None:
        shown = [commit.hex() if commit else "no commit" for commit in (expected, found)]
        super().__init__(
            f"branch {ref} was expected at {shown[0]}, but is at {shown[1]}; read it again and retry"
        )
        self.ref = ref


class ProvenanceLoopError(ConflictError):
    """A branch would be made from itself."""


class BranchInUseError(ConflictError):
    """Other branches are made from this one, or it has an open commit."""


class HeadOfOtherRepoError(ConflictError):
    """A head is a finished commit of the branch's own repo, whose content is there."""


def find_branch(txn: ReadTxn, repo_name: RepoName, name: str) -> Branch | None:
    """Return a branch, or None."""
    raw = txn.get(Table.BRANCHES, branch_key(repo_name, name))
    return decode(raw, Branch) if raw is not None else None


def branch(txn: ReadTxn, repo_name: RepoName, name: str) -> Branch:
    """Return a branch; RepoNotFoundError or BranchNotFoundError."""
    found = find_branch(txn, repo_name, name)
    if found is None:
        raise BranchNotFoundError(repo(txn, repo_name).name, name)
    return found


def branches(txn: ReadTxn, repo_name: RepoName) -> Iterator[Branch]:
    """Yield the branches of a repo, by name."""
    for _, raw in txn.scan(Table.BRANCHES, repo_name.encode() + b"\0"):
        yield decode(raw, Branch)


def all_branches(txn: ReadTxn) -> Iterator[Branch]:
    """Yield every branch of the store."""
    for _, raw in txn.scan(Table.BRANCHES):
        yield decode(raw, Branch)


def is_written_by_pipeline(txn: ReadTxn, repo_name: RepoName) -> bool:
    """Say whether a pipeline makes a branch of a repo: the ids of changes are for its commits there."""
    return any(line.provenance and not line.propagated for line in branches(txn, repo_name))


def create_branch(
    txn: WriteTxn,
    repo_name: RepoName,
    name: str,
    *,
    head: CommitId | None = None,
    provenance: Sequence[BranchRef] = (),
    propagated: bool = False,
    now_ns: int | None = None,
) -> Branch:
    """
    Create a branch.  BranchExistsError if there is one; ProvenanceLoopError.

    *head* must be a finished commit of the same repo.  Nothing follows from it yet (wiring.py).
    """
    repo(txn, repo_name)
    checked = check_branch_name(name)
    if find_branch(txn, repo_name, checked) is not None:
        raise BranchExistsError(BranchRef(repo_name, checked))
    for source in provenance:
        branch(txn, source.repo, source.branch)
    made = Branch(
        repo_name,
        checked,
        now_ns or txn.now_ns(),
        provenance=tuple(dict.fromkeys(provenance)),
        propagated=propagated and bool(provenance),
    )
    _refuse_loop(txn, made)
    put_branch(txn, made)
    if head is not None:
        made = move_head(txn, made.ref, head, expected=None)
    return made


def set_provenance(
    txn: WriteTxn, ref: BranchRef, provenance: Sequence[BranchRef], *, propagated: bool = False
) -> Branch:
    """
    Make *ref* a branch made from *provenance*; ProvenanceLoopError, ConflictError if it has a trigger.

    Nothing follows from it yet (wiring.py).
    """
    for source in provenance:
        branch(txn, source.repo, source.branch)
    line = branch(txn, ref.repo, ref.branch)
    if provenance and line.trigger is not None:
        raise ConflictError(f"branch {ref} has a trigger; it cannot be made from other branches as well")
    changed = msgspec.structs.replace(
        line, provenance=tuple(dict.fromkeys(provenance)), propagated=propagated and bool(provenance)
    )
    _refuse_loop(txn, changed)
    put_branch(txn, changed)
    return changed


def _refuse_loop(txn: ReadTxn, start: Branch) -> None:
    pending, seen = list(start.provenance), set[BranchRef]()
    while pending:
        ref = pending.pop()
        if ref == start.ref:
            raise ProvenanceLoopError(f"branch {start.ref} cannot be made from itself")
        if ref not in seen:
            seen.add(ref)
            found = find_branch(txn, ref.repo, ref.branch)
            pending.extend(found.provenance if found else ())


def subvenance(txn: ReadTxn, ref: BranchRef) -> list[BranchRef]:
    """Return the branches that are made directly from *ref*."""
    return [other.ref for other in made_branches(txn) if ref in other.provenance]


def made_branches(txn: ReadTxn) -> list[Branch]:
    """Return the branches that have provenance."""
    # A field that has its default is not written, so most records need not be decoded.
    found = [decode(raw, Branch) for _, raw in txn.scan(Table.BRANCHES) if b"provenance" in raw]
    return [line for line in found if line.provenance]


def all_provenance(txn: ReadTxn, ref: BranchRef) -> list[BranchRef]:
    """Return all that a branch is made from, directly or not: the direct ones first."""
    found: dict[BranchRef, None] = {}
    pending = list(branch(txn, ref.repo, ref.branch).provenance)
    while pending:
        source = pending.pop(0)
        if source not in found:
            found[source] = None
            line = find_branch(txn, source.repo, source.branch)
            pending.extend(line.provenance if line is not None else ())
    return list(found)


def downstream(txn: ReadTxn, start: Iterable[BranchRef], *, propagated_only: bool = False) -> list[Branch]:
    """
    Return the branches that are made from *start*, directly or not, each behind those it is made from.

    With *propagated_only* without those that pipelines make, and what is behind these.
    """
    users: dict[BranchRef, list[Branch]] = {}
    for line in made_branches(txn):
        if line.propagated or not propagated_only:
            for source in line.provenance:
                users.setdefault(source, []).append(line)
    reached: dict[BranchRef, Branch] = {}
    pending = list(start)
    while pending:
        for line in users.get(pending.pop(), ()):
            if line.ref not in reached:
                reached[line.ref] = line
                pending.append(line.ref)
    waits_for = {ref: sum(source in reached for source in line.provenance) for ref, line in reached.items()}
    ready = [line for ref, line in reached.items() if not waits_for[ref]]
    for line in ready:
        for user in users.get(line.ref, ()):
            waits_for[user.ref] -= 1
            if not waits_for[user.ref]:
                ready.append(user)
    return ready


def listening_branches(txn: ReadTxn, repo_name: RepoName) -> list[Branch]:
    """Return the branches of a repo that have a trigger."""
    lines = txn.scan(Table.BRANCHES, repo_name.encode() + b"\0")
    found = [decode(raw, Branch) for _, raw in lines if b"trigger" in raw]
    return [line for line in found if line.trigger is not None]


def triggered_by(txn: ReadTxn, ref: BranchRef) -> list[Branch]:
    """Return the branches whose triggers look at this one."""
    return [
        line
        for line in listening_branches(txn, ref.repo)
        if line.trigger is not None and line.trigger.branch == ref.branch
    ]


def delete_branch(txn: WriteTxn, ref: BranchRef, *, force: bool = False) -> None:
    """
    Delete a branch; its commits stay readable by id.

    BranchInUseError if it has an open commit, or if other branches are made from it or triggered
    by it; with *force* those are then made without it, and lose their triggers.
    """
    target = branch(txn, ref.repo, ref.branch)
    if target.open is not None:
        raise BranchInUseError(f"branch {ref} has the open commit {target.open.hex()}; finish it first")
    users = subvenance(txn, ref)
    if users and not force:
        names = ", ".join(str(user) for user in users)
        raise BranchInUseError(f"branch {ref} cannot be deleted: {names} is made from it; use --force")
    followers = triggered_by(txn, ref)
    if followers and not force:
        names = ", ".join(str(follower.ref) for follower in followers)
        raise BranchInUseError(f"branch {ref} cannot be deleted: it triggers {names}; use --force")
    for follower in followers:
        put_branch(txn, msgspec.structs.replace(follower, trigger=None, ticked_ns=None))
    txn.delete(Table.BRANCHES, branch_key(ref.repo, ref.branch))
    for user in users:
        line = branch(txn, user.repo, user.branch)
        put_branch(txn, line.without({ref}))


def move_head(txn: WriteTxn, ref: BranchRef, to: CommitId, *, expected: CommitId | None) -> Branch:
    """
    Point a branch at the finished commit *to* and return it.

    The caller says which head it saw.  Two writers that both saw the same head cannot both win:
    the second gets StaleHeadError and nothing is written.  BranchInUseError while a commit is
    open, for its parent is the head (H3).
    """
    found = branch(txn, ref.repo, ref.branch)
    if found.open is not None:
        raise BranchInUseError(f"branch {ref} has the open commit {found.open.hex()}; finish it first")
    if found.head != expected:
        raise StaleHeadError(ref, expected, found.head)
    wanted = find_commit(txn, ref.repo, to)
    if wanted is None or not wanted.is_finished:  # H1
        raise HeadOfOtherRepoError(
            f"{ref.repo}@{to.hex()} is no finished commit of repo {ref.repo}; "
            "branch and head commit must belong to the same repo"
        )
    if wanted.forgotten:  # C7
        raise HeadOfOtherRepoError(f"commit {wanted.ref} is forgotten; a head needs its content")
    moved = msgspec.structs.replace(found, head=to)
    put_branch(txn, moved)
    return moved


def put_branch(txn: WriteTxn, record: Branch) -> None:
    """Write a branch record.  The invariants are the caller's to keep."""
    txn.put(Table.BRANCHES, branch_key(record.repo, record.name), encode(record))
