"""
Commits: start, finish, find, and the ways to name one.

Invariants (fsck.py):

- C1  a finished commit has a root, or an error, or was forgotten;
- C2  a commit's parent is a finished commit of the same repo;
- C3  an open commit is the open commit of its branch;
- C4  provenance and subvenance agree;
- C5  the commit sets name exactly the commits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice

import msgspec

from ..errors import ConflictError, InvalidNameError, NotFoundError, ReadOnlyError
from ..ids import BranchName, CommitId, RepoName, is_commit_id, new_commit_id, parse_commit_id
from ..store.index import ReadTxn, Table, WriteTxn
from ..trees.entry import Entry
from .branches import (
    MASTER,
    BranchNotFoundError,
    StaleHeadError,
    branch,
    create_branch,
    find_branch,
    is_written_by_pipeline,
    put_branch,
)
from .model import (
    Branch,
    BranchRef,
    Commit,
    CommitRef,
    CommitState,
    Origin,
    commit_key,
    decode,
)
from .propagation import propagate
from .records import CommitNotFoundError as CommitNotFoundError
from .records import add_commit, all_commits, existing_commit, remove_commit, replace_commit
from .records import ancestors as ancestors
from .records import find_commit as find_commit
from .records import head_of as head_of
from .records import newest_good as newest_good
from .records import subvenance_of as subvenance_of
from .repos import repo
from .sets import alias, sets_with_prefix
from .sets import commits_of_set as commits_of_set
from .triggers import fire

_SHORTEST_PREFIX = 4
_HEX_DIGITS = frozenset("0123456789abcdef")
_ANCESTRY = re.compile(r"(?P<base>[A-Za-z0-9_-]+(?:=[0-9a-fA-F]+)?)(?P<steps>(?:[\^~][0-9]*|[./][0-9]+)*)\Z")
_STEP = re.compile(r"([\^~./])([0-9]*)")


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


def commit(txn: ReadTxn, repo_name: RepoName, commit_id: CommitId) -> Commit:
    """Return a commit by its id; CommitNotFoundError."""
    found = find_commit(txn, repo_name, commit_id)
    return found if found is not None else existing_commit(txn, repo(txn, repo_name).name, commit_id)


def open_commit(txn: ReadTxn, ref: BranchRef) -> Commit:
    """Return the open commit of a branch; NoOpenCommitError."""
    line = find_branch(txn, ref.repo, ref.branch)
    if line is None or line.open is None:
        raise NoOpenCommitError(ref)
    return commit(txn, ref.repo, line.open)


def newest_data(txn: ReadTxn, record: Branch) -> Commit | None:
    """Return the newest commit that pipelines may use, or None."""
    return next((c for c in ancestors(txn, head_of(txn, record)) if c.is_data), None)


def base_root(txn: ReadTxn, record: Commit) -> Entry | None:
    """Return the content that an open commit starts from: that of its nearest ancestor which is good."""
    parent = commit(txn, record.repo, record.parent) if record.parent is not None else None
    return next((c.root for c in ancestors(txn, parent) if c.is_good), None)


def list_commits(
    txn: ReadTxn,
    repo_name: RepoName,
    *,
    branch_name: str | None = None,
    number: int = 0,
    after: Commit | None = None,
    up_to: Commit | None = None,
    oldest_first: bool = False,
    origin: Origin | None = None,
    started_before_ns: int | None = None,
) -> list[Commit]:
    """
    Return commits newest first: a branch's own line with its open commit, or all of a repo.

    A line begins at *up_to*, if given, and ends before *after*; CommitNotFoundError if it never meets
    that one.  *number* limits the list, once it is in its order; 0 does not.
    """
    if branch_name is None and up_to is None and after is None:
        repo(txn, repo_name)
        found = all_commits(txn, repo_name)
    else:
        found = _line(txn, repo_name, branch_name, after, up_to)
    wanted = (
        each
        for each in found
        if (origin is None or each.origin is origin)
        and (started_before_ns is None or each.started_ns < started_before_ns)
    )
    if branch_name is None and up_to is None and after is None:
        return _cut(sorted(wanted, key=lambda c: (c.started_ns, c.id), reverse=not oldest_first), number)
    if not oldest_first:
        return list(islice(wanted, number or None))
    return _cut(list(wanted)[::-1], number)


def _cut(found: list[Commit], number: int) -> list[Commit]:
    return found[:number] if number else found


def _line(
    txn: ReadTxn, repo_name: RepoName, branch_name: str | None, after: Commit | None, up_to: Commit | None
) -> Iterator[Commit]:
    """Yield a line of commits, newest first, from *up_to* or the newest of the branch to before *after*."""
    if up_to is not None:
        start = ancestors(txn, up_to)
    else:
        record = branch(txn, repo_name, branch_name or MASTER)
        if record.open is not None:
            yield commit(txn, repo_name, record.open)
        start = ancestors(txn, head_of(txn, record))
    for ancestor in start:
        if after is not None and ancestor.id == after.id:
            return
        yield ancestor
    if after is not None:
        raise CommitNotFoundError(f"commit {after.ref} is not on this line")


def describe_commit(txn: WriteTxn, ref: CommitRef, description: str) -> Commit:
    """Give a commit another description; what is in it stays as it is."""
    record = commit(txn, ref.repo, ref.commit)
    changed = msgspec.structs.replace(record, description=description)
    replace_commit(txn, record, changed)
    return changed


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
    merged: CommitId | None = None,
) -> Commit:
    """
    Open a commit on a branch, making the branch if it is new, and return the commit.

    BranchHasOpenCommitError if there is one; OutputBranchError for a user's commit on a branch
    with provenance.  People cannot choose the id in a repo that a pipeline writes: the pipeline's own
    commit of that change may need it.
    """
    repo(txn, repo_name)
    record = find_branch(txn, repo_name, branch_name) or create_branch(txn, repo_name, branch_name)
    if commit_id is not None and origin is Origin.USER and is_written_by_pipeline(txn, repo_name):
        raise ConflictError(
            f"repo {repo_name} is written by a pipeline, whose commit will have the id of this change; "
            f"write branch {record.ref} by itself"
        )
    if record.propagated or (record.provenance and origin is Origin.USER):
        raise OutputBranchError(record.ref)
    if record.open is not None:
        raise BranchHasOpenCommitError(record.ref, record.open)
    made = Commit(
        repo_name,
        commit_id or new_commit_id(),
        record.name,
        CommitState.OPEN,
        txn.now_ns(),
        parent=record.head,
        origin=origin,
        description=description,
        provenance=tuple(provenance),
        explicit=explicit,
        placeholder=placeholder,
        merged=merged,
    )
    if find_commit(txn, repo_name, made.id) is not None:
        raise ConflictError(f"commit {made.ref} exists already; a repo has one commit of each id")
    add_commit(txn, made)
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
        finished_ns=now_ns or txn.now_ns(),
        description=record.description if description is None else description,
        error=error,
    )
    put_branch(txn, msgspec.structs.replace(line, head=done.id, open=None))
    replace_commit(txn, record, done)
    if done.is_data:
        propagate(txn, [line.ref, *fire(txn, line, done)], done.id)
    return done


def drop_open_commit(txn: WriteTxn, ref: CommitRef) -> None:
    """Take back an open commit; CommitFinishedError for a finished one."""
    record = commit(txn, ref.repo, ref.commit)
    if record.is_finished:
        raise CommitFinishedError(ref)
    remove_commit(txn, record)
    line = branch(txn, ref.repo, record.branch)
    if line.open == ref.commit:
        put_branch(txn, msgspec.structs.replace(line, open=None))


# Names for commits


def resolve(txn: ReadTxn, repo_name: RepoName, text: str) -> Commit:
    """
    Return the finished or open commit that *text* means.

    `master` (the head), a full id or a unique prefix of at least 4 digits; then any number of
    `^`, `^N`, `~`, `~N` (N-th ancestor), `.N` (N-th commit of its line, from 1) and `/N` (the same
    from 0, the 1.0 era's counting, which knows no empty first commit).  A branch wins over an id.
    The id of a change that made no commit in this repo means the one that it used (sets.py);
    `master=<id>` is the one on that branch.
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
    line, equals, digits = text.rpartition("=")
    found = _by_digits(txn, repo_name, digits, BranchName(line) if equals else None)
    if found is not None:
        return found
    if equals or set(text.lower()) <= _HEX_DIGITS:
        raise CommitNotFoundError(f"no branch and no commit {text!r} in repo {repo_name}")
    raise BranchNotFoundError(repo_name, text)


def _by_digits(txn: ReadTxn, repo_name: RepoName, text: str, line: BranchName | None) -> Commit | None:
    """Return the commit of an id, or of its beginning: one of the repo, else the alias of a change's."""
    digits = text.lower()
    if not _SHORTEST_PREFIX <= len(digits) <= 32 or not set(digits) <= _HEX_DIGITS:
        return None
    if is_commit_id(digits):
        return alias(txn, parse_commit_id(digits), repo_name, line)
    own = _by_prefix(txn, repo_name, digits)
    if own is not None:
        return own if line in (None, own.branch) else None
    changes = sets_with_prefix(txn, digits)
    if len(changes) > 1:
        raise AmbiguousCommitError(f"{text!r} fits several changes; give more digits")
    return alias(txn, changes[0], repo_name, line) if changes else None


def _by_prefix(txn: ReadTxn, repo_name: RepoName, digits: str) -> Commit | None:
    whole = bytes.fromhex(digits[: len(digits) // 2 * 2])
    matches = [
        raw
        for key, raw in txn.scan(Table.COMMITS, commit_key(repo_name, whole))
        if key[-16:].hex().startswith(digits)
    ]
    if len(matches) > 1:
        raise AmbiguousCommitError(
            f"{digits!r} fits {len(matches)} commits of repo {repo_name}; give more digits"
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
