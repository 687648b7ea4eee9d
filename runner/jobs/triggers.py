"""
What starts jobs.

A change of people starts one job in every pipeline downstream of what it touches, all with the id of
the change, all at once: those whose inputs are still to be made wait for them.  So a diamond runs once
for a change, and every job of the change sees consistent inputs.  A change is

- a finished commit of people (origin USER); several commits of one id, such as a transaction makes,
  are one change;
- a head that was moved (pfsfuse/versions/moves.py): to an older commit, to one of another branch, or
  by a trigger; what a trigger moves has the id of the commit that fired it, a job's perhaps.

An input that the change does not touch gives its newest commit, or the one that is being made.
A pipeline runs only when every input has data; the empty first commit of an output branch is none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pfsfuse.ids import CommitId, new_commit_id
from pfsfuse.store.index import ReadTxn, Table, WriteTxn
from pfsfuse.versions.branches import find_branch, made_branches
from pfsfuse.versions.commits import ancestors, commits_of_set, find_commit, head_of, newest_data
from pfsfuse.versions.model import Branch, BranchRef, Commit, Move, Origin, decode
from pfsfuse.versions.moves import last_move, moves_of

from .model import JobInputRef, JobRecord, PipelineRecord, PipelineState
from .records import STARTING, find_job, inputs_of, output_of, pending_jobs, pipelines, put_job, spec_of


@dataclass(frozen=True, slots=True)
class _Maker:
    """What makes the commits of a branch out of those of others: a pipeline, or propagation."""

    output: BranchRef
    inputs: Sequence[BranchRef]
    pipeline: PipelineRecord | None


Changed = dict[BranchRef, CommitId]
"""The branches that a change touches, and the commits that it gives them; these may be still to come."""


def trigger_all(txn: WriteTxn, touched: Sequence[tuple[Table, bytes]]) -> list[JobRecord]:
    """
    Make the jobs that the changes among *touched* keys of the change log start; return them.

    However late the runner looks, the jobs are those that it would have made by looking at once.
    """
    # The change log names a commit when it is started; what counts is when it was finished.
    changes: dict[CommitId, int] = {}
    for table, key in touched:
        raw = txn.get(table, key) if table in STARTING else None
        if raw is not None and table is Table.COMMITS:
            _note_commit(changes, decode(raw, Commit))
        elif raw is not None:
            move = decode(raw, Move)
            changes[move.change] = min(move.moved_ns, changes.get(move.change, move.moved_ns))
    made: list[JobRecord] = []
    for change_id in sorted(changes, key=lambda each: changes[each]):
        made += trigger_change(txn, change_id, changes[change_id])
    return made


def _note_commit(changes: dict[CommitId, int], source: Commit) -> None:
    if source.is_data and source.origin is Origin.USER and source.finished_ns is not None:
        changes[source.id] = min(source.finished_ns, changes.get(source.id, source.finished_ns))


def trigger_change(txn: WriteTxn, change_id: CommitId, at_ns: int) -> list[JobRecord]:
    """Make the jobs that a change of the time *at_ns* starts; jobs that exist already are left alone."""
    changed = changed_by(txn, change_id)
    by_people = frozenset(changed)
    made: list[JobRecord] = []
    for maker in _makers(txn):
        touched = changed.keys() & set(maker.inputs)
        if not touched:
            continue
        if maker.pipeline is None:
            changed[maker.output] = _propagated(txn, maker.output, change_id)
        elif touched <= by_people and maker.pipeline.created_ns > at_ns:
            # The first job of a new pipeline saw this commit already.
            continue
        else:
            made += _follow(txn, maker.pipeline, change_id, changed, before_ns=at_ns)
    return made


def changed_by(txn: ReadTxn, change_id: CommitId) -> Changed:
    """
    Return what people did by a change: the commits that they put, and the branches that they moved.

    A commit of the set that is still open counts: who reads it waits for it.
    """
    changed: Changed = {}
    for commit in commits_of_set(txn, change_id):
        if commit.origin is Origin.USER and (commit.is_data or not commit.is_finished):
            changed[BranchRef(commit.repo, commit.branch)] = commit.id
    for move in moves_of(txn, change_id):
        head = find_commit(txn, move.repo, move.head)
        if head is not None and head.is_data:
            changed[move.ref] = head.id
    return changed


def _propagated(txn: ReadTxn, ref: BranchRef, change_id: CommitId) -> CommitId:
    """Return the commit that a change gives a propagated branch, or will."""
    known = find_commit(txn, ref.repo, change_id)
    line = find_branch(txn, ref.repo, ref.branch)
    if known is None or line is None or line.head is None or known.branch == ref.branch:
        return change_id
    # Two branches of one repo followed the change: one commit has its id, the other another.
    return line.head


def trigger_pipeline(
    txn: WriteTxn, record: PipelineRecord, *, change_id: CommitId | None = None
) -> list[JobRecord]:
    """Make one job for the data that is there already, with a new id if none is given, and what follows from it."""
    first = _make_job(txn, record, change_id or new_commit_id(), {}, None)
    if first is None:
        return []
    made = [first]
    changed: Changed = {output_of(record): first.id}
    for maker in _makers(txn):
        if not changed.keys() & set(maker.inputs):
            continue
        if maker.pipeline is None:
            changed[maker.output] = first.id
        else:
            made += _follow(txn, maker.pipeline, first.id, changed)
    return made


def _makers(txn: ReadTxn) -> list[_Maker]:
    """Return what makes branches now, each behind those whose output it reads."""
    running = [record for record in pipelines(txn) if record.state is not PipelineState.STOPPED]
    lines = [line for line in made_branches(txn) if line.propagated]
    return _ordered([*map(_maker_of, running), *(_Maker(line.ref, line.provenance, None) for line in lines)])


def _maker_of(record: PipelineRecord) -> _Maker:
    return _Maker(output_of(record), inputs_of(spec_of(record)), record)


def _follow(
    txn: WriteTxn,
    record: PipelineRecord,
    change_id: CommitId,
    changed: Changed,
    *,
    before_ns: int | None = None,
) -> list[JobRecord]:
    """Make the job of one pipeline that reads what *changed*, and note that its output changes too."""
    job = _make_job(txn, record, change_id, changed, before_ns)
    if job is None:
        return []
    changed[output_of(record)] = change_id
    return [job]


def _make_job(
    txn: WriteTxn, record: PipelineRecord, change_id: CommitId, changed: Changed, before_ns: int | None
) -> JobRecord | None:
    """Make a pipeline's job for a change; None if it has one, or if an input has no data yet."""
    refs = inputs_of(spec_of(record))
    if not refs or find_job(txn, record.name, change_id) is not None:
        return None
    inputs = []
    for ref in refs:
        commit_id = changed[ref] if ref in changed else newest_input(txn, ref, before_ns=before_ns)
        if commit_id is None:
            return None
        inputs.append(JobInputRef(ref.repo, ref.branch, commit_id))
    made = JobRecord(change_id, record.name, record.version, txn.now_ns(), record.name, tuple(inputs))
    put_job(txn, made)
    return made


def newest_input(txn: ReadTxn, ref: BranchRef, *, before_ns: int | None = None) -> CommitId | None:
    """
    Return the newest data of a branch, counting what a job is about to make; None if there is none.

    Of a branch that people write, only what was finished up to *before_ns*, if that is given.
    """
    line = find_branch(txn, ref.repo, ref.branch)
    if line is None:
        return None
    if not line.provenance or line.propagated:
        return next(
            (
                commit.id
                for commit in ancestors(txn, _head_at(txn, line, before_ns))
                if commit.is_data and (before_ns is None or (commit.finished_ns or 0) <= before_ns)
            ),
            None,
        )
    waiting = pending_jobs(txn, pipeline_name=ref.repo)
    if waiting:
        return max(waiting, key=lambda job: job.created_ns).id
    found = newest_data(txn, line)
    return found.id if found is not None else None


def _head_at(txn: ReadTxn, line: Branch, before_ns: int | None) -> Commit | None:
    """Return a branch's head, or the one that it had before it was moved later than *before_ns*."""
    move = last_move(txn, line)
    if before_ns is None or move is None or move.moved_ns <= before_ns:
        return head_of(txn, line)
    if move.before is None:
        return None
    # Taken away meanwhile: what there is now is the best that can be had.
    return find_commit(txn, line.repo, move.before) or head_of(txn, line)


def in_order(records: Sequence[PipelineRecord]) -> Iterator[PipelineRecord]:
    """Yield pipelines so that each comes behind those whose output it reads."""
    for maker in _ordered([_maker_of(record) for record in records]):
        if maker.pipeline is not None:
            yield maker.pipeline


def _ordered(makers: Sequence[_Maker]) -> list[_Maker]:
    by_output = {maker.output: maker for maker in makers}
    done: dict[BranchRef, _Maker] = {}
    pending = [(maker, False) for maker in reversed(makers)]
    while pending:
        maker, is_above_done = pending.pop()
        if is_above_done:
            done.setdefault(maker.output, maker)
        elif maker.output not in done:
            pending.append((maker, True))
            pending += [(by_output[ref], False) for ref in reversed(maker.inputs) if ref in by_output]
    return list(done.values())
