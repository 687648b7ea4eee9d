"""
Mends repos, branches and commits: the smallest change that makes their invariants true again.

The records are taken as fsck reads them, changed in memory rule by rule, and what differs then is
written in one transaction.  What can be computed from commits is computed anew.

    R1  a repo that branches or commits belong to is made again
    R2 H4 C6  provenance on what does not exist, and what closes a loop, is left out
    H5 G1 G2 G3  a branch that cannot be propagated or triggered as it says is so no more
    C1 C7  a finished commit that has lost its content gets an error that says so; one that has it was not
        forgotten
    C2  a commit whose parent is gone continues the newest commit of its branch that is older
    H1  a head that is gone goes to the newest commit of the branch that can be read
    H3 C3  an open commit is that of its branch, and continues the head; one that cannot be is dropped
    C4 C5 C8  subvenance, commit sets and children
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from ..errors import StoreError
from ..ids import BranchName, CommitId, RepoName
from ..store.index import Table, WriteTxn
from ..store.problems import Mending
from ..trees.tree import Trees
from .checks import Records, check_triggers
from .model import (
    Branch,
    BranchRef,
    Commit,
    CommitRef,
    Origin,
    Repo,
    branch_key,
    child_key,
    commit_key,
    commit_set_key,
    encode,
    repo_key,
    subvenance_key,
)


class RefRepair:
    """One repair of all records; `mendings` says what it changed."""

    def __init__(self, records: Records, trees: Trees, is_staged: Callable[[Commit], bool]) -> None:
        """*is_staged* says whether an open commit has a staging folder."""
        self._records = records
        self._trees = trees
        self._is_staged = is_staged
        self._before = Records(dict(records.repos), dict(records.branches), dict(records.commits))
        self.mendings: list[Mending] = []

    def run(self) -> None:
        """Change the records in memory; `write` makes it durable."""
        self._mend_repos()
        self._mend_finished()
        self._mend_parents()
        self._mend_heads()
        self._mend_open_commits()
        self._mend_sources()
        self._mend_provenance()
        self._break_loops()
        self._mend_triggers()
        self._compare_tables()

    def _mended(self, invariant: str, message: str) -> None:
        self.mendings.append(Mending(invariant, message))

    # Repos

    def _mend_repos(self) -> None:
        lost: dict[RepoName, int] = {}
        for line in self._records.branches.values():
            lost[line.repo] = min(line.created_ns, lost.get(line.repo, line.created_ns))
        for commit in self._records.commits.values():
            lost[commit.repo] = min(commit.started_ns, lost.get(commit.repo, commit.started_ns))
        for name, created_ns in lost.items():
            if name not in self._records.repos:
                self._records.repos[name] = Repo(name, created_ns)
                self._mended("R1", f"repo {name} was made again for what belongs to it")

    # Commits

    def _set_commit(self, commit: Commit, **changes: object) -> None:
        self._records.commits[commit.ref] = msgspec.structs.replace(commit, **changes)

    def _mend_finished(self) -> None:
        for commit in list(self._records.commits.values()):
            if commit.forgotten and (not commit.is_finished or commit.root or commit.origin is Origin.USER):
                self._set_commit(commit, forgotten=False)
                self._mended("C7", f"commit {commit.ref} is not forgotten any more")
        for commit in list(self._records.commits.values()):
            if commit.is_finished and commit.root is None and not commit.error and not commit.forgotten:
                self._set_commit(commit, error="its content is lost")
                self._mended("C1", f"commit {commit.ref} has an error now, for it has no content")

    def _mend_parents(self) -> None:
        for commit in list(self._records.commits.values()):
            if commit.parent is not None and self._finished(commit.repo, commit.parent) is None:
                older = self._newest(commit.repo, commit.branch, before=commit)
                self._set_commit(commit, parent=older)
                self._mended("C2", f"the parent of {commit.ref} is now {_shown(older)}")

    def _finished(self, repo: RepoName, commit_id: CommitId) -> Commit | None:
        found = self._records.commits.get(CommitRef(repo, commit_id))
        return found if found is not None and found.is_finished else None

    def _newest(self, repo: RepoName, branch: BranchName, *, before: Commit | None = None) -> CommitId | None:
        """Return the newest finished commit of a branch that can be read, older than *before*."""
        candidates = [
            c
            for c in self._records.commits.values()
            if c.repo == repo and c.branch == branch and c.is_finished and c.ref != (before and before.ref)
        ]
        if before is not None:
            candidates = [c for c in candidates if (c.finished_ns or 0) <= before.started_ns]
            candidates = [c for c in candidates if before.id not in self._line(c)]
        candidates.sort(key=lambda c: (c.finished_ns or 0, c.started_ns), reverse=True)
        return next((c.id for c in candidates if self._is_readable(c)), None)

    def _line(self, commit: Commit) -> set[CommitId]:
        seen: set[CommitId] = set()
        current: Commit | None = commit
        while current is not None and current.id not in seen:
            seen.add(current.id)
            parent = current.parent
            current = self._records.commits.get(CommitRef(commit.repo, parent)) if parent else None
        return seen

    def _is_readable(self, commit: Commit) -> bool:
        if commit.root is None:
            return False
        try:
            next(self._trees.list(commit.root), None)
        except StoreError:
            return False
        return True

    # Branches

    def _set_branch(self, line: Branch, **changes: object) -> Branch:
        changed = self._records.branches[line.ref] = msgspec.structs.replace(line, **changes)
        return changed

    def _mend_heads(self) -> None:
        for line in list(self._records.branches.values()):
            found = self._finished(line.repo, line.head) if line.head is not None else None
            if line.head is not None and (found is None or found.forgotten):
                newest = self._newest(line.repo, line.name)
                self._set_branch(line, head=newest)
                gone = line.head.hex()
                self._mended(
                    "H1", f"the head of {line.ref} was {gone}, which is gone; it is {_shown(newest)}"
                )

    def _mend_open_commits(self) -> None:
        for line in list(self._records.branches.values()):
            if line.open is not None:
                self._mend_open_of(line)
        for commit in list(self._records.commits.values()):
            if not commit.is_finished:
                self._mend_unowned(commit)

    def _mend_open_of(self, line: Branch) -> None:
        assert line.open is not None
        found = self._records.commits.get(CommitRef(line.repo, line.open))
        if found is None or found.is_finished or found.branch != line.name or line.propagated:
            self._set_branch(line, open=None)
            self._mended("H3", f"{line.ref} has no open commit any more: {line.open.hex()} is none")
        elif found.parent != line.head:
            self._set_commit(found, parent=line.head)
            self._mended("H3", f"open commit {found.ref} continues the head {_shown(line.head)} now")

    def _mend_unowned(self, commit: Commit) -> None:
        """C3: give the branch its open commit back, or drop the commit."""
        line = self._records.branches.get(BranchRef(commit.repo, commit.branch))
        if line is not None and line.open == commit.id:
            return
        if (
            line is not None
            and line.open is None
            and commit.origin is Origin.USER
            and self._is_staged(commit)
        ):
            self._set_branch(line, open=commit.id)
            self._set_commit(commit, parent=line.head)
            self._mended("C3", f"{line.ref} has its open commit {commit.id.hex()} back")
        else:
            del self._records.commits[commit.ref]
            self._mended("C3", f"open commit {commit.ref}, which no branch knows, was dropped")

    def _mend_sources(self) -> None:
        """C6: what a commit was made from exists."""
        for commit in list(self._records.commits.values()):
            left = tuple(source for source in commit.provenance if source in self._records.commits)
            if left != commit.provenance:
                self._set_commit(commit, provenance=left)
                self._mended("C6", f"{commit.ref} does not name commits any more that are gone")

    def _mend_provenance(self) -> None:
        for line in list(self._records.branches.values()):
            gone = [source for source in line.provenance if source not in self._records.branches]
            if gone:
                self._leave_out(line, gone)
                names = ", ".join(map(str, gone))
                self._mended("R2", f"{line.ref} is not made from {names} any more, which do not exist")

    def _leave_out(self, line: Branch, gone: list[BranchRef]) -> None:
        self._records.branches[line.ref] = line.without(gone)

    def _break_loops(self) -> None:
        """H4: in each loop the branch that was made last gives up what closes it."""
        while True:
            loop = self._loop()
            if not loop:
                return
            line = max((self._records.branches[ref] for ref in loop), key=lambda each: each.created_ns)
            self._leave_out(line, [source for source in line.provenance if source in loop])
            self._mended("H4", f"{line.ref} is not made from itself any more")

    def _loop(self) -> list[BranchRef]:
        """Return branches that are made from each other, in a circle."""
        for start in self._records.branches:
            found = self._way_back(start)
            if found:
                return found
        return []

    def _way_back(self, start: BranchRef) -> list[BranchRef]:
        pending, seen = [[start]], set[BranchRef]()
        while pending:
            way = pending.pop()
            for source in self._records.branches[way[-1]].provenance:
                if source == start:
                    return way
                if source not in seen and source in self._records.branches:
                    seen.add(source)
                    pending.append([*way, source])
        return []

    def _mend_triggers(self) -> None:
        """H5 and G: what a branch says of how it moves must be possible."""
        for line in list(self._records.branches.values()):
            if line.propagated and not line.provenance:
                self._set_branch(line, propagated=False)
                self._mended("H5", f"{line.ref} is not propagated any more")
        while True:
            hurt = [line for line in self._records.branches.values() if self._trigger_is_wrong(line)]
            if not hurt:
                return
            self._set_branch(hurt[0], trigger=None)
            self._mended("G1", f"{hurt[0].ref} has no trigger any more: it made no sense")

    def _trigger_is_wrong(self, line: Branch) -> bool:
        """Ask the checks of triggers, with nothing else in the world than the branches of the repo."""
        if line.trigger is None:
            return False
        repo = {ref: each for ref, each in self._records.branches.items() if ref.repo == line.repo}
        return any(str(line.ref) in problem.message for problem in check_triggers(Records({}, repo)))

    # What follows from the commits

    def _tables(self) -> dict[Table, tuple[set[bytes], set[bytes]]]:
        """Return the keys that the tables have and that they should have."""
        commits, records = self._records.commits.values(), self._records
        sets = {commit_set_key(c.id, c.repo) for c in commits}
        subvenance = {subvenance_key(source, c.ref) for c in commits for source in c.provenance}
        children = {child_key(c.repo, c.parent, c.id) for c in commits if c.parent is not None}
        return {
            Table.COMMIT_SETS: (records.commit_sets, sets),
            Table.SUBVENANCE: (records.subvenance, subvenance),
            Table.CHILDREN: (children if records.children is None else records.children, children),
        }

    def _compare_tables(self) -> None:
        invariants = {Table.COMMIT_SETS: "C5", Table.SUBVENANCE: "C4", Table.CHILDREN: "C8"}
        for table, (before, after) in self._tables().items():
            if before != after:
                self._mended(invariants[table], f"the table {table.label} was computed anew")

    def write(self, txn: WriteTxn) -> None:
        """Write what was changed."""
        changes = list(self._changed_records())
        for table, (before, after) in self._tables().items():
            changes += [(table, key, b"") for key in sorted(after - before)]
            changes += [(table, key, None) for key in sorted(before - after)]
        for table, key, value in changes:
            if value is None:
                txn.delete(table, key)
            else:
                txn.put(table, key, value)

    def _changed_records(self) -> Iterator[tuple[Table, bytes, bytes | None]]:
        before, after = self._before, self._records
        for name, repo in after.repos.items():
            if before.repos.get(name) != repo:
                yield Table.REPOS, repo_key(name), encode(repo)
        for line in after.branches.values():
            if before.branches.get(line.ref) != line:
                yield Table.BRANCHES, branch_key(line.repo, line.name), encode(line)
        for commit in after.commits.values():
            if before.commits.get(commit.ref) != commit:
                yield Table.COMMITS, commit_key(commit.repo, commit.id), encode(commit)
        for ref in before.commits.keys() - after.commits.keys():
            yield Table.COMMITS, commit_key(ref.repo, ref.commit), None


def _shown(commit_id: CommitId | None) -> str:
    return commit_id.hex() if commit_id is not None else "none"
