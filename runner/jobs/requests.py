"""
Requests of this floor, for transactions that pipelines are part of (versions/requests.py).

The body of a request is the pipeline's specification as it is stored, so that what is done later is
what was meant when it was asked.
"""

from __future__ import annotations

from pfsfuse.errors import InvalidNameError
from pfsfuse.ids import CommitId, parse_commit_id
from pfsfuse.store.index import WriteTxn
from pfsfuse.versions.requests import Change, Foreign
from runner.spec.model import Pipeline, from_json, to_json

from .creation import create_pipeline
from .removal import squash_set

_CREATE = "create pipeline"
_SQUASH = "squash commit"


def creating(spec: Pipeline) -> Foreign:
    """Return the request to create a pipeline."""
    return Foreign(_CREATE, spec.name, to_json(spec))


def squashing(change_id: CommitId) -> Foreign:
    """Return the request to squash all commits of a change."""
    return Foreign(_SQUASH, change_id.hex(), b"")


def perform_foreign(txn: WriteTxn, request: Foreign, change: Change) -> CommitId | None:
    """Do a request of this floor; InvalidNameError for one of another."""
    if request.operation == _CREATE:
        create_pipeline(txn, change.trees, from_json(request.body, Pipeline), change_id=change.id)
    elif request.operation == _SQUASH:
        squash_set(txn, parse_commit_id(request.subject))
    else:
        raise InvalidNameError(f"this program does not know how to {request.operation}")
    return None
