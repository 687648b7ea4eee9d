"""
Specifications in the format of Pachyderm 1.0 to 1.3: `inputs[].method`, no globs.

    {"pipeline": {"name": …}, "transform": {…}, "parallelism": 4,
     "inputs": [{"repo": {"name": …}, "method": "map"}]}

`load_pipelines` and `load_jobs` read whole files and raise one SpecError with all that is
wrong in them.  `dump_pipeline` and `dump_job` write what can be read again.

Beyond the original there is `network`: "bridge" (the default) or "none".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from pfsfuse.errors import InvalidNameError
from pfsfuse.names import check_repo_name

from .documents import Document, parse_documents
from .errors import Problem, SpecError
from .fields import Fields, one_of, shown, suggestion
from .model import (
    DEFAULT_BRANCH,
    Incremental,
    Input,
    Job,
    JobInput,
    Network,
    Parallelism,
    Partition,
    Pipeline,
    Transform,
)

DEFAULT_IMAGE = "docker.io/library/ubuntu:16.04"
"""What 1.2 and 1.3 took; 1.0 took an image that held its own shim."""

MOST_CONTAINERS = 10_000
LONGEST_PIPELINE_NAME = 63

Method = tuple[Partition, Incremental]

METHODS: dict[str, Method] = {
    "map": (Partition.BLOCK, Incremental.DIFF),
    "reduce": (Partition.FILE, Incremental.NONE),
    "incremental_reduce": (Partition.FILE, Incremental.DIFF),
    "global": (Partition.REPO, Incremental.NONE),
}
DEFAULT_METHOD = METHODS["map"]

_PARTITIONS = {partition.value: partition for partition in Partition}
_INCREMENTALS = {
    "none": Incremental.NONE,
    "diff": Incremental.DIFF,
    "full": Incremental.FULL,
    "file": Incremental.FULL,  # what the documentation of 1.2 calls it
}
_NETWORKS = {network.value: network for network in Network}

_LATER_FORMAT = (
    "this is the format of 1.4 and later, which cannot be read; use inputs[].repo and inputs[].method"
)

_Spec = TypeVar("_Spec")


def load_pipelines(text: str, *, source: str = "the specification") -> list[Pipeline]:
    """Return the pipelines of a file, in order; *source* is what errors call the file."""
    return _load(text, source, _pipeline)


def load_jobs(text: str, *, source: str = "the specification") -> list[Job]:
    """Return the one-off jobs of a file, in order."""
    return _load(text, source, _job)


def _load(text: str, source: str, read: Callable[[Fields], _Spec]) -> list[_Spec]:
    documents = parse_documents(text, source=source)
    specs: list[_Spec] = []
    problems: list[Problem] = []
    for number, document in enumerate(documents, start=1):
        found: list[Problem] = []
        reader = Fields(document.value, "", found)
        specs.append(read(reader))
        reader.finish()
        where = f"document {number} (line {document.line}): " if len(documents) > 1 else ""
        problems.extend(Problem(where + problem.path, problem.message) for problem in found)
    if problems:
        raise SpecError(problems, source=source)
    _refuse_equal_names(documents, specs, source)
    return specs


def _refuse_equal_names(documents: list[Document], specs: list[_Spec], source: str) -> None:
    first: dict[str, int] = {}
    for document, spec in zip(documents, specs, strict=True):
        if not isinstance(spec, Pipeline):
            continue
        if spec.name in first:
            message = f"{shown(spec.name)} is also the pipeline on line {first[spec.name]}"
            raise SpecError([Problem(f"line {document.line}: pipeline.name", message)], source=source)
        first[spec.name] = document.line


# --- pipelines ------------------------------------------------------------------------------------


def _pipeline(fields: Fields) -> Pipeline:
    name = _pipeline_name(fields)
    fields.refuse("input", _LATER_FORMAT)
    for field in ("service", "parent_job", "output", "gc_policy"):
        fields.refuse(field, "a pipeline of this format cannot have this here")
    return Pipeline(
        name=name,
        transform=_transform(fields),
        parallelism=_parallelism(fields),
        inputs=_inputs(fields, name),
        network=fields.choice("network", _NETWORKS, Network.BRIDGE.value),
    )


def _pipeline_name(fields: Fields) -> str:
    pipeline = fields.object("pipeline")
    if pipeline is None:
        return ""
    name = pipeline.string("name")
    pipeline.finish()
    if not name:
        return ""
    try:
        check_repo_name(name)
    except InvalidNameError as error:
        pipeline.problem("name", str(error))
        return name
    if "/" in name:
        pipeline.problem("name", f"expected a name without a slash, got {shown(name)}")
    elif not name[0].isalnum():
        pipeline.problem("name", f"expected a letter or a digit first, got {shown(name)}")
    elif len(name) > LONGEST_PIPELINE_NAME:
        pipeline.problem("name", f"expected at most {LONGEST_PIPELINE_NAME} characters, got {len(name)}")
    return name


def _inputs(fields: Fields, pipeline: str) -> tuple[Input, ...]:
    inputs: list[Input] = []
    seen: dict[str, str] = {}
    for reader in fields.objects("inputs"):
        if reader is None:
            continue
        reader.refuse("glob", _LATER_FORMAT)
        reader.refuse(
            "commit", "a pipeline reads repos, not commits; to run something once: pfs create job -f"
        )
        repo = _repo(reader.object("repo"), seen)
        if repo and repo == pipeline:
            reader.problem("repo.name", "a pipeline cannot read its own output")
        partition, incremental = _method(reader)
        inputs.append(Input(repo, DEFAULT_BRANCH, partition, incremental, _run_empty(reader)))
        reader.finish()
    return tuple(inputs)


# --- one-off jobs ---------------------------------------------------------------------------------


def _job(fields: Fields) -> Job:
    fields.refuse("pipeline", "a one-off job has no pipeline; to run on every commit: pfs create pipeline -f")
    fields.refuse("service", "only jobs that come to an end can be run, no services")
    fields.refuse("input", _LATER_FORMAT)
    return Job(
        transform=_transform(fields),
        parallelism=_parallelism(fields),
        inputs=_job_inputs(fields),
        parent_job=_parent_job(fields),
        network=fields.choice("network", _NETWORKS, Network.BRIDGE.value),
    )


def _job_inputs(fields: Fields) -> tuple[JobInput, ...]:
    inputs: list[JobInput] = []
    seen: dict[str, str] = {}
    for reader in fields.objects("inputs"):
        if reader is None:
            continue
        reader.refuse("repo", "a one-off job reads a commit: write commit.repo.name and commit.id")
        commit = reader.object("commit")
        repo = commit_id = ""
        if commit is not None:
            repo = _repo(commit.object("repo"), seen)
            commit_id = commit.string("id")
            commit.finish()
        partition, incremental = _method(reader)
        inputs.append(JobInput(repo, commit_id, partition, incremental, _run_empty(reader)))
        reader.finish()
    return tuple(inputs)


def _parent_job(fields: Fields) -> str | None:
    """Read `"parent_job": {"id": …}`, or the id alone."""
    if not fields.has("parent_job"):
        fields.raw("parent_job")
        return None
    if isinstance(fields.raw("parent_job"), str):
        return fields.string("parent_job")
    job = fields.object("parent_job")
    if job is None:
        return None
    parent = job.string("id")
    job.finish()
    return parent


# --- what both have -------------------------------------------------------------------------------


def _transform(fields: Fields) -> Transform:
    transform = fields.object("transform")
    if transform is None:
        return Transform(image=DEFAULT_IMAGE, cmd=())
    for field in ("secrets", "image_pull_secrets"):
        transform.refuse(field, "secrets cannot be given to containers")
    cmd = transform.strings("cmd")
    if not cmd and (not transform.has("cmd") or transform.raw("cmd") == []):
        transform.problem("cmd", "unable to run; a cmd needs to be provided")
    elif cmd and not cmd[0]:
        transform.problem("cmd", "expected the name of a program first, got an empty string")
    read = Transform(
        image=transform.string("image", "") or DEFAULT_IMAGE,
        cmd=cmd,
        stdin=transform.strings("stdin"),
        env=transform.string_map("env"),
        accept_return_code=transform.integers("accept_return_code", least=0, most=255),
        debug=transform.boolean("debug", False),
        overwrite=transform.boolean("overwrite", False),
    )
    transform.finish()
    return read


def _parallelism(fields: Fields) -> Parallelism:
    constant = fields.integer("parallelism", 0, least=0, most=MOST_CONTAINERS)
    if not fields.has("parallelism_spec"):
        fields.raw("parallelism_spec")
        return Parallelism(constant)
    spec = fields.object("parallelism_spec")
    if spec is None:
        return Parallelism(constant)
    if fields.has("parallelism"):
        fields.problem("parallelism_spec", "is given beside parallelism; leave one out")
    coefficient = spec.choice("strategy", {"constant": False, "coefficient": True}, "constant")
    number = spec.integer("constant", 0, least=0, most=MOST_CONTAINERS)
    factor = spec.number("coefficient", 0.0)
    spec.finish()
    if coefficient and not factor:
        spec.problem("coefficient", "expected a number above 0 with the strategy COEFFICIENT")
    return Parallelism(coefficient=factor) if coefficient else Parallelism(number)


def _repo(repo: Fields | None, seen: dict[str, str]) -> str:
    """Read `{"name": …}`; *seen* are the repos of the inputs before, with their paths."""
    if repo is None:
        return ""
    name = repo.string("name")
    repo.finish()
    if not name:
        return ""
    try:
        check_repo_name(name)
    except InvalidNameError as error:
        repo.problem("name", str(error))
    if "/" in name:
        repo.problem("name", f"expected a repo of the default project, got {shown(name)}")
    if name in seen:
        repo.problem("name", f"{shown(name)} is an input already ({seen[name]})")
    seen.setdefault(name, repo.path)
    return name


def _run_empty(reader: Fields) -> bool:
    reader.refuse("lazy", "files cannot be named pipes; every input is read lazily anyway, leave it out")
    return reader.boolean("run_empty", False)


def _method(reader: Fields) -> Method:
    """Read `method`: an alias, or an object of which what is left out is block and not incremental."""
    value = reader.raw("method")
    if value is None:
        return DEFAULT_METHOD
    if isinstance(value, str):
        return _method_alias(reader, value)
    if not isinstance(value, dict):
        reader.problem("method", f"expected {one_of(METHODS)}, or an object, got {shown(value)}")
        return DEFAULT_METHOD
    method = reader.object("method")
    assert method is not None  # it is a dict
    partition: Partition = method.choice("partition", _PARTITIONS, Partition.BLOCK.value)
    incremental = _incremental(method)
    method.finish()
    return partition, incremental


def _method_alias(reader: Fields, alias: str) -> Method:
    method = METHODS.get(alias.lower().replace("-", "_"))
    if method is not None:
        return method
    message = f"unrecognized input alias: expected {one_of(METHODS)}, got {shown(alias)}"
    reader.problem("method", message + suggestion(alias, METHODS))
    return DEFAULT_METHOD


def _incremental(method: Fields) -> Incremental:
    """Read true, false (1.0, 1.1), or NONE, DIFF, FULL (1.2)."""
    value = method.raw("incremental")
    if value is None or isinstance(value, bool):
        return Incremental.DIFF if value else Incremental.NONE
    found = _INCREMENTALS.get(value.lower()) if isinstance(value, str) else None
    if found is None:
        method.problem("incremental", f"expected true, false, NONE, DIFF or FULL, got {shown(value)}")
        return Incremental.NONE
    return found


# --- writing --------------------------------------------------------------------------------------


def dump_pipeline(pipeline: Pipeline) -> dict[str, Any]:
    """Return a document from which `load_pipelines` makes an equal pipeline."""
    inputs = [{"repo": {"name": each.repo}, **_dump_input(each)} for each in pipeline.inputs]
    document: dict[str, Any] = {"pipeline": {"name": pipeline.name}}
    return document | _dump_common(pipeline) | {"inputs": inputs}


def dump_job(job: Job) -> dict[str, Any]:
    """Return a document from which `load_jobs` makes an equal job."""
    inputs = [
        {"commit": {"repo": {"name": each.repo}, "id": each.commit}, **_dump_input(each)}
        for each in job.inputs
    ]
    document = _dump_common(job) | {"inputs": inputs}
    if job.parent_job is not None:
        document["parent_job"] = {"id": job.parent_job}
    return document


def _dump_common(spec: Pipeline | Job) -> dict[str, Any]:
    document: dict[str, Any] = {"transform": _dump_transform(spec.transform)}
    if spec.parallelism.coefficient:
        document["parallelism_spec"] = {
            "strategy": "COEFFICIENT",
            "coefficient": spec.parallelism.coefficient,
        }
    else:
        document["parallelism"] = spec.parallelism.constant
    if spec.network is not Network.BRIDGE:
        document["network"] = spec.network.value
    return document


def _dump_transform(transform: Transform) -> dict[str, Any]:
    document: dict[str, Any] = {"image": transform.image, "cmd": list(transform.cmd)}
    if transform.stdin:
        document["stdin"] = list(transform.stdin)
    if transform.env:
        document["env"] = dict(transform.env)
    if transform.accept_return_code:
        document["accept_return_code"] = list(transform.accept_return_code)
    if transform.debug:
        document["debug"] = True
    if transform.overwrite:
        document["overwrite"] = True
    return document


def _dump_input(each: Input | JobInput) -> dict[str, Any]:
    method = (each.partition, each.incremental)
    alias = next((name for name, meaning in METHODS.items() if meaning == method), None)
    document: dict[str, Any] = {"method": alias or _dump_method(method)}
    if each.run_empty:
        document["run_empty"] = True
    return document


def _dump_method(method: Method) -> dict[str, Any]:
    partition, incremental = method
    value: bool | str = incremental is Incremental.DIFF
    return {
        "partition": partition.value,
        "incremental": "FULL" if incremental is Incremental.FULL else value,
    }
