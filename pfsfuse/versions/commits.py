"""
Commits: start, finish, find, and the ways to name one.

Invariants (fsck.py):

- C1  a finished commit has a root, or an error;
- C2  a commit's parent is a finished commit of the same repo;
- C3  an open commit is the open commit of its branch;
- C4  provenance and subvenance agree;
- C5  the commit sets name exactly the commits.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence

import msgspec

from ..errors import ConflictError, InvalidNameError, NotFoundError, ReadOnlyError
from ..ids import BranchName, CommitId, RepoName, is_commit_id, new_commit_id, parse_commit_id
from ..store.index import ReadTxn, Table, WriteTxn
from ..trees.entry import Entry
from .branches import BranchNotFoundError, StaleHeadError, branch, create_branch, find_branch, put_branch
from .model import (
    Branch,
    BranchRef,
    Commit,
    CommitRef,
    CommitState,
    Origin,
    commit_key,
    commit_set_key,
    decode,
    encode,
    subvenance_key,
)
from .repos import repo
from .triggers import fire

_SHORTEST_PREFIX = 4
_HEX_DIGITS = frozenset("0123456789abcdef")
_ANCESTRY = re.compile(r"(?P<base>[A-Za-z0-9_-]+)(?P<steps>(?:[\^~][0-9]*|[./][0-9]+)*)\Z")
_STEP = re.compile(r"([\^~./])([0-9]*)")


class CommitNotFoundError(NotFoundError):
    """No commit of the repo is meant by this text."""


class AmbiguousCommitError(InvalidNameError):
    """A prefix fits more than one commit."""


class CommitFinishedError(ReadOnlyError):
    """A finished commit never changes."""

    def __init__(self, ref: CommitRef) -> None:
        super().__init__(f"commit {ref} is finished; start a new commit to change it")
        self.ref = ref


class BranchHasOpenCommitError(ConflictError):
    """A branch has one open commit at a time."""

    def __init__(self, ref: BranchRef, open_commit: CommitId) -> None:
        super().__init__(f"branch {ref} has the open commit {open_commit.hex()}; finish it first")
        self.ref = ref
        self.open_commit = open_commit


class NoOpenCommitError(NotFoundError):
    """The branch has no open commit."""

    def __init__(self, ref: BranchRef) -> None:
        super().__init__(f"branch {ref} has no open commit; `pfs start commit {ref}` starts one")


class OutputBranchError(ReadOnlyError):
    """A branch with provenance is written by its pipeline only."""

    def __init__(self, ref: BranchRef) -> None:
        super().__init__(f"branch {ref} is made from other branches; only its pipeline writes it")
        self.ref = ref


def find_commit(txn: ReadTxn, repo_name: RepoName, commit_id: CommitId) -> Commit | None:
    """Return a commit by its id, or None."""
    raw = txn.get(Table.COMMITS, commit_key(repo_name, commit_id))
    return decode(raw, Commit) if raw is not None else None


def commit(txn: ReadTxn, repo_name: RepoName, commit_id: CommitId) -> Commit:
    """Return a commit by its id; CommitNotFoundError."""
    found = find_commit(txn, repo_name, commit_id)
    if found is None:
        repo(txn, repo_name)
        raise CommitNotFoundError(f"commit {commit_id.hex()} not found in repo {repo_name}")
    return found


def open_commit(txn: ReadTxn, ref: BranchRef) -> Commit:
    """Return the open commit of a branch; NoOpenCommitError."""
    line = find_branch(txn, ref.repo, ref.branch)
    if line is None or line.open is None:
        raise NoOpenCommitError(ref)
    return commit(txn, ref.repo, line.open)


def commits_of_set(txn: ReadTxn, commit_id: CommitId) -> list[Commit]:
    """Return the commits of all repos that share this id."""
    keys = [key for key, _ in txn.scan(Table.COMMIT_SETS, commit_id)]
    return [commit(txn, RepoName(key[len(commit_id) :].decode()), commit_id) for key in keys]


def ancestors(txn: ReadTxn, start: Commit | None) -> Iterator[Commit]:
    """Yield *start*, its parent, and so on."""
    current = start
    while current is not None:
        yield current
        current = commit(txn, current.repo, current.parent) if current.parent is not None else None


def head_of(txn: ReadTxn, record: Branch) -> Commit | None:
    """Return the newest finished commit of a branch, or None."""
    return commit(txn, record.repo, record.head) if record.head is not None else None


def newest_good(txn: ReadTxn, record: Branch) -> Commit | None:
    """Return the newest commit without error: what the mount shows and what a new commit is based on."""
    return next((c for c in ancestors(txn, head_of(txn, record)) if not c.error), None)


def newest_data(txn: ReadTxn, record: Branch) -> Commit | None:
    """Return the newest commit that pipelines may use, or None."""
    return next((c for c in ancestors(txn, head_of(txn, record)) if c.is_data), None)


def base_root(txn: ReadTxn, record: Commit) -> Entry | None:
    """Return the content that an open commit starts from: its nearest ancestor's without error."""
    parent = commit(txn, record.repo, record.parent) if record.parent is not None else None
    return next((c.root for c in ancestors(txn, parent) if not c.error), None)


def list_commits(
    txn: ReadTxn, repo_name: RepoName, *, branch_name: str | None = None, number: int = 0
) -> list[Commit]:
    """
    Return commits newest first: a branch's own line with its open commit, or all of a repo.

    *number* limits the list; 0 does not.
    """
    if branch_name is None:
        repo(txn, repo_name)
        found = [decode(raw, Commit) for _, raw in txn.scan(Table.COMMITS, commit_key(repo_name, b""))]
        found.sort(key=lambda c: (c.started_ns, c.id), reverse=True)
    else:
        record = branch(txn, repo_name, branch_name)
        found = [commit(txn, repo_name, record.open)] if record.open is not None else []
        for ancestor in ancestors(txn, head_of(txn, record)):
            if number and len(found) >= number:
                break
            found.append(ancestor)
    return found[:number] if number else found


def start_commit(
    txn: WriteTxn,
    repo_name: RepoName,
    branch_name: str,
    *,
    commit_id: CommitId | None = None,
    origin: Origin = Origin.USER,
    provenance: Sequence[CommitRef] = (),
    description: str = "",
    explicit: bool = False,
    placeholder: bool = False,
) -> Commit:
    """
    Open a commit on a branch, making the branch if it is new, and return the commit.

    BranchHasOpenCommitError if there is one; OutputBranchError for a user's commit on a branch
    with provenance.
    """
    repo(txn, repo_name)
    record = find_branch(txn, repo_name, branch_name) or create_branch(txn, repo_name, branch_name)
    if record.provenance and origin is Origin.USER:
        raise OutputBranchError(record.ref)
    if record.open is not None:
        raise BranchHasOpenCommitError(record.ref, record.open)
    made = Commit(
        repo_name,
        commit_id or new_commit_id(),
        record.name,
        CommitState.OPEN,
        time.time_ns(),
        parent=record.head,
        origin=origin,
        description=description,
        provenance=tuple(provenance),
        explicit=explicit,
        placeholder=placeholder,
    )
    if find_commit(txn, repo_name, made.id) is not None:
        raise ConflictError(f"commit {made.ref} exists already; a repo has one commit of each id")
    txn.put(Table.COMMITS, commit_key(repo_name, made.id), encode(made))
    txn.put(Table.COMMIT_SETS, commit_set_key(made.id, repo_name), b"")
    for source in provenance:
        txn.put(Table.SUBVENANCE, subvenance_key(source, made.ref), b"")
    put_branch(txn, msgspec.structs.replace(record, open=made.id))
    return made


def finish_commit(
    txn: WriteTxn,
    ref: CommitRef,
    root: Entry | None,
    *,
    description: str | None = None,
    error: str = "",
    now_ns: int | None = None,
) -> Commit:
    """
    Seal an open commit with the content *root* and make it the head of its branch, and of those it triggers.

    CommitFinishedError if it is finished; StaleHeadError if the branch moved since it was
    started (H2).  A description given here replaces the one of the start.
    """
    record = commit(txn, ref.repo, ref.commit)
    if record.is_finished:
        raise CommitFinishedError(ref)
    assert root is not None or error  # C1
    line = branch(txn, ref.repo, record.branch)
    if line.head != record.parent:
        raise StaleHeadError(line.ref, record.parent, line.head)
    done = msgspec.structs.replace(
        record,
        state=CommitState.FINISHED,
        root=root,
        finished_ns=now_ns or time.time_ns(),
        description=record.description if description is None else description,
        error=error,
    )
    put_branch(txn, msgspec.structs.replace(line, head=done.id, open=None))
    done = msgspec.structs.replace(done, triggered=fire(txn, line, done))
    txn.put(Table.COMMITS, commit_key(ref.repo, ref.commit), encode(done))
    return done


def drop_open_commit(txn: WriteTxn, ref: CommitRef) -> None:
    """Take back an open commit; CommitFinishedError for a finished one."""
    record = commit(txn, ref.repo, ref.commit)
    if record.is_finished:
        raise CommitFinishedError(ref)
    txn.delete(Table.COMMITS, commit_key(ref.repo, ref.commit))
    txn.delete(Table.COMMIT_SETS, commit_set_key(ref.commit, ref.repo))
    for source in record.provenance:
        txn.delete(Table.SUBVENANCE, subvenance_key(source, ref))
    line = branch(txn, ref.repo, record.branch)
    if line.open == ref.commit:
        put_branch(txn, msgspec.structs.replace(line, open=None))


def subvenance_of(txn: ReadTxn, ref: CommitRef) -> list[CommitRef]:
    """Return the commits that were made directly from *ref*."""
    prefix = subvenance_key(ref)
    found = []
    for key, _ in txn.scan(Table.SUBVENANCE, prefix):
        name, _, commit_id = key[len(prefix) :].partition(b"\0")
        found.append(CommitRef(RepoName(name.decode()), CommitId(commit_id)))
    return found


# Names for commits


def resolve(txn: ReadTxn, repo_name: RepoName, text: str) -> Commit:
    """
    Return the finished or open commit that *text* means.

    `master` (the head), a full id or a unique prefix of at least 4 digits; then any number of
    `^`, `^N`, `~`, `~N` (N-th ancestor), `.N` (N-th commit of its line, from 1) and `/N` (the same
    from 0, the 1.0 era's counting, which knows no empty first commit).  A branch wins over an id.
    """
    repo(txn, repo_name)
    match = _ANCESTRY.match(text)
    if match is None:
        raise InvalidNameError(f"{text!r} names no commit: use a branch or an id, then ^N, ~N, .N or /N")
    current = _resolve_base(txn, repo_name, match["base"])
    for sign, digits in _STEP.findall(match["steps"]):
        current = _step(txn, current, sign, digits, text)
    return current


def _resolve_base(txn: ReadTxn, repo_name: RepoName, text: str) -> Commit:
    record = find_branch(txn, repo_name, text)
    if record is not None:
        if record.head is None:
            raise CommitNotFoundError(f"branch {record.ref} has no finished commit yet")
        return commit(txn, repo_name, record.head)
    if is_commit_id(text):
        return commit(txn, repo_name, parse_commit_id(text))
    found = _by_prefix(txn, repo_name, text)
    if found is not None:
        return found
    if set(text.lower()) <= _HEX_DIGITS:
        raise CommitNotFoundError(f"no branch and no commit {text!r} in repo {repo_name}")
    raise BranchNotFoundError(repo_name, text)


def _by_prefix(txn: ReadTxn, repo_name: RepoName, text: str) -> Commit | None:
    digits = text.lower()
    if len(digits) < _SHORTEST_PREFIX or len(digits) > 32 or not set(digits) <= _HEX_DIGITS:
        return None
    whole = bytes.fromhex(digits[: len(digits) // 2 * 2])
    matches = [
        raw
        for key, raw in txn.scan(Table.COMMITS, commit_key(repo_name, whole))
        if key[-16:].hex().startswith(digits)
    ]
    if len(matches) > 1:
        raise AmbiguousCommitError(
            f"{text!r} fits {len(matches)} commits of repo {repo_name}; give more digits"
        )
    return decode(matches[0], Commit) if matches else None


def _step(txn: ReadTxn, start: Commit, sign: str, digits: str, text: str) -> Commit:
    if sign in "^~":
        line = ancestors(txn, start)
        wanted = int(digits) if digits else 1
        found = next((c for n, c in enumerate(line) if n == wanted), None)
    else:
        forward = [c for c in ancestors(txn, start) if sign == "." or not c.placeholder][::-1]
        position = int(digits) - (1 if sign == "." else 0)
        found = forward[position] if 0 <= position < len(forward) else None
    if found is None:
        raise CommitNotFoundError(f"{start.repo}@{text}: the line has no such commit")
    return found


def parse_ref(text: str) -> tuple[RepoName, str]:
    """Split `repo@branch-or-commit`; the part after `@` may be missing and is "" then."""
    name, _, rest = text.partition("@")
    return RepoName(name), rest


def branch_named(text: str) -> tuple[RepoName, BranchName]:
    """Split `repo@branch`; the branch is master when not given."""
    name, rest = parse_ref(text)
    return name, BranchName(rest or "master")
