"""
What a pipeline and a one-off job are, whatever format they were written in.

This is the one model that the runner works with.  A front end for each era (era1) turns
documents into it and checks everything that can be checked without looking at the store; so
who holds a Pipeline or a Job need not check again.  Whether repos and commits exist, and
whether a name is free, is the business of whoever creates it.

`to_json` is the stored form: canonical (equal values give equal bytes, so it can be hashed)
and readable by later versions, which may add fields with defaults but not change any.
"""

from __future__ import annotations

import enum
import re
from typing import TypeVar

import msgspec

DEFAULT_BRANCH = "master"

_NO_IDENTIFIER_CHARACTER = re.compile(r"[^A-Z0-9_]")


class Partition(enum.StrEnum):
    """The unit in which an input is dealt out to containers."""

    BLOCK = "block"
    """Runs of lines of about 8 MB; one file may go to several containers."""
    FILE = "file"
    """What stands directly under the root; a directory stays together."""
    REPO = "repo"
    """Everything goes to every container."""


class Incremental(enum.StrEnum):
    """What a job with a parent job sees of an input that has a new commit."""

    NONE = "none"
    """All of it."""
    DIFF = "diff"
    """What was added since the parent job: new files, and the appended bytes of others."""
    FULL = "full"
    """The files (top-level objects, where those are the unit) of which anything changed, whole."""


class Network(enum.StrEnum):
    """What a container reaches."""

    BRIDGE = "bridge"
    NONE = "none"


class Parallelism(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many containers a job may have at most: a number, or a multiple of the machine's size."""

    constant: int = 0
    """0 = choose."""
    coefficient: float = 0.0
    """0 = see `constant`."""

    def containers(self, machine: int) -> int:
        """Return the upper bound on a machine for which *machine* containers are a good number."""
        if self.coefficient:
            return max(1, int(self.coefficient * machine))
        return self.constant or max(1, machine)


class Transform(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a container runs."""

    image: str
    cmd: tuple[str, ...]
    """The arguments, the program first; no shell looks at them."""
    stdin: tuple[str, ...] = ()
    """Lines for the standard input, without their newlines."""
    env: dict[str, str] = {}
    accept_return_code: tuple[int, ...] = ()
    """Exit codes that count as success, beside 0."""
    debug: bool = False
    overwrite: bool = False
    """True: what is written replaces the parent job's file.  False: it is as `>` and `>>` say."""

    def stdin_bytes(self) -> bytes:
        """Return the standard input: every line ends with a newline."""
        return "".join(line if line.endswith("\n") else line + "\n" for line in self.stdin).encode()


class Input(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A branch that a pipeline reads and is started by; containers see it as /pfs/<repo>."""

    repo: str
    branch: str = DEFAULT_BRANCH
    partition: Partition = Partition.BLOCK
    incremental: Incremental = Incremental.DIFF
    run_empty: bool = False
    """Whether a commit without any file runs the command, or makes an empty output without it."""


class JobInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A commit that a one-off job reads."""

    repo: str
    commit: str
    """As written: an id, a unique beginning of one, or a branch expression such as master~1 or master/0."""
    partition: Partition = Partition.BLOCK
    incremental: Incremental = Incremental.DIFF
    run_empty: bool = False


class Pipeline(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A standing order: run `transform` on every new commit of the inputs."""

    name: str
    """Also the name of the output repo."""
    transform: Transform
    parallelism: Parallelism = Parallelism()
    inputs: tuple[Input, ...] = ()
    """The job's containers are the cross product of their shares.  None: run by hand only."""
    network: Network = Network.BRIDGE


class Job(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A one-off order."""

    transform: Transform
    parallelism: Parallelism = Parallelism()
    inputs: tuple[JobInput, ...] = ()
    parent_job: str | None = None
    """The job whose output this one continues, and against whose inputs "incremental" is meant."""
    network: Network = Network.BRIDGE


def commit_variable(repo: str) -> str:
    """Return the environment variable with the commit id of the input *repo*: PACH_MY_INPUT_COMMIT_ID."""
    return f"PACH_{_NO_IDENTIFIER_CHARACTER.sub('_', repo.upper())}_COMMIT_ID"


Spec = TypeVar("Spec", Pipeline, Job)

_encoder = msgspec.json.Encoder(order="deterministic")


def to_json(spec: Pipeline | Job) -> bytes:
    """Return the stored form."""
    return _encoder.encode(spec)


def from_json(data: bytes, kind: type[Spec]) -> Spec:
    """Return what `to_json` wrote; msgspec.ValidationError if it is something else."""
    return msgspec.json.decode(data, type=kind)
