"""
What the frames of a dump say, besides objects.

    HEADER    first: format, store, what is in it
    REPO      a repo begins; its objects and commits follow, each commit behind what it is made of
    COMMIT    a finished commit
    MOVE      a head that changed without a new commit
    BRANCH    a branch, behind all commits
    REPO_END  how much there was: the repo can be put in place
    DOCUMENT  a record of the floors above: key and value
    END       last: the stream is whole

A copy is a talk of two processes over a pipe, in the same frames:

    → HELLO     which repo is to be brought, and the ids of its commits
    ← WELCOME   which of these are there
    → ASK       ids of objects               ← LACKS   which of them are not there, a byte each
    → objects   below before above
    → REPO … REPO_END as in a dump           ← DONE    what was put in place
    ← FAILED    at any time: why the other side gives up
"""

from __future__ import annotations

import msgspec

from ..ids import CommitId, RepoName
from ..versions.model import CommitRef, Repo

FORMAT = 1

HEADER = 64
REPO = 65
COMMIT = 66
MOVE = 67
BRANCH = 68
REPO_END = 69
PROJECT = 70
DOCUMENT = 71
END = 72
HELLO = 80
WELCOME = 81
ASK = 82
LACKS = 83
DONE = 84
FAILED = 85


class Header(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a stream begins."""

    format: int
    store: str
    """Id of the store that it is of."""
    created_ns: int
    chunking: dict[str, object]
    builds_on: tuple[CommitRef, ...] = ()
    """Commits that are not in the stream and must be there already."""


class RepoBegin(msgspec.Struct, frozen=True, omit_defaults=True):
    """A repo, and the ids of its commits, so that who has another repo of that name can refuse early."""

    repo: Repo
    commits: tuple[CommitId, ...] = ()


class Count(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a part of a stream, or all of it, had."""

    commits: int = 0
    branches: int = 0
    objects: int = 0
    documents: int = 0


class Hello(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the sender of a copy wants to bring."""

    format: int
    repo: RepoName
    """As it is to be called there."""
    commits: tuple[CommitId, ...]
    chunking: dict[str, object]
    force: bool = False


class Welcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the receiver has of it."""

    store: str
    commits: tuple[CommitId, ...] = ()


class Done(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the receiver put in place."""

    commits: int = 0
    branches: int = 0
    objects: int = 0
    left_out: int = 0
    """Commits whose provenance is not there, and was left out."""


class Failed(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why the receiver gives up."""

    kind: str
    """Name of the class of the error."""
    message: str
