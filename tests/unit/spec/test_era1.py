"""Specifications of the 1.0 era -> model, and what is said about wrong ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runner.spec.era1 import DEFAULT_IMAGE, dump_job, dump_pipeline, load_jobs, load_pipelines
from runner.spec.errors import SpecError
from runner.spec.model import (
    Incremental,
    Input,
    Job,
    JobInput,
    Network,
    Parallelism,
    Partition,
    Pipeline,
    Transform,
    commit_variable,
    from_json,
    to_json,
)

ROOT = Path(__file__).parents[3]
DATA = ROOT / "tests" / "data" / "spec"


def document(**fields: Any) -> dict[str, Any]:
    """Return the smallest pipeline, with *fields* added or replaced; None removes one."""
    made = {"pipeline": {"name": "p"}, "transform": {"cmd": ["true"]}} | fields
    return {name: value for name, value in made.items() if value is not None}


def load(**fields: Any) -> Pipeline:
    [pipeline] = load_pipelines(json.dumps(document(**fields)))
    return pipeline


def load_input(**fields: Any) -> Input:
    [each] = load(inputs=[{"repo": {"name": "data"}} | fields]).inputs
    return each


def problems(**fields: Any) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load(**fields)
    return [str(problem) for problem in caught.value.problems]


def job_problems(value: dict[str, Any]) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load_jobs(json.dumps(value))
    return [str(problem) for problem in caught.value.problems]


# --- what can be written --------------------------------------------------------------------------


def test_the_example_of_the_reference_is_read() -> None:
    """
    The example of the 1.0 pipeline specification, with its parallelism "4".
    """
    expected = Pipeline(
        name="my-pipeline",
        transform=Transform(image="my-image", cmd=("my-binary", "arg1", "arg2"), stdin=("my-std-input",)),
        parallelism=Parallelism(4),
        inputs=(Input("my-input", "master", Partition.BLOCK, Incremental.DIFF),),
    )

    assert [expected] == load_pipelines((DATA / "pipeline-1.0.json").read_text())


def test_the_fruit_stand_is_two_pipelines() -> None:
    """
    Two objects in a row, the second with its method spelt out.
    """
    filtering, summing = load_pipelines((ROOT / "examples/fruit_stand/pipeline.json").read_text())

    assert ("filter", "sum") == (filtering.name, summing.name)
    assert (Input("filter", "master", Partition.FILE, Incremental.DIFF),) == summing.inputs
    assert b"grep apple" in filtering.transform.stdin_bytes()


def test_what_is_left_out_has_the_defaults_of_the_reference() -> None:
    """
    Method map, parallelism of our choice, the stock image, a network.
    """
    pipeline = load(inputs=[{"repo": {"name": "data"}}])

    assert Pipeline("p", Transform(DEFAULT_IMAGE, ("true",)), inputs=(Input("data"),)) == pipeline
    assert (Partition.BLOCK, Incremental.DIFF) == (
        pipeline.inputs[0].partition,
        pipeline.inputs[0].incremental,
    )
    assert Parallelism(0) == pipeline.parallelism
    assert Network.BRIDGE is pipeline.network


@pytest.mark.parametrize(
    ("method", "partition", "incremental"),
    [
        ("map", "block", "diff"),
        ("reduce", "file", "none"),
        ("incremental_reduce", "file", "diff"),
        ("incremental-reduce", "file", "diff"),
        ("global", "repo", "none"),
        ({"partition": "file", "incremental": True}, "file", "diff"),
        ({"partition": "REPO", "incremental": "FULL"}, "repo", "full"),
        ({"partition": "block", "incremental": "FILE"}, "block", "full"),
        ({"incremental": "NONE"}, "block", "none"),
        ({"partition": "file"}, "file", "none"),
        ({}, "block", "none"),
    ],
)
def test_a_method_is_an_alias_or_an_object(method: Any, partition: str, incremental: str) -> None:
    """
    The table of the reference, and the spellings of 1.2.
    """
    each = load_input(method=method)

    assert (Partition(partition), Incremental(incremental)) == (each.partition, each.incremental)


@pytest.mark.parametrize(
    ("fields", "machine", "containers"),
    [
        ({"parallelism": 3}, 8, 3),
        ({"parallelism": "3"}, 8, 3),
        ({"parallelism": 0}, 8, 8),
        ({}, 8, 8),
        ({"parallelism_spec": {"strategy": "CONSTANT", "constant": "2"}}, 8, 2),
        ({"parallelism_spec": {"strategy": "CONSTANT"}}, 8, 8),
        ({"parallelismSpec": {"strategy": "coefficient", "coefficient": 0.5}}, 5, 2),
        ({"parallelism_spec": {"strategy": "COEFFICIENT", "coefficient": "0.1"}}, 4, 1),
    ],
)
def test_parallelism_is_a_number_or_a_multiple_of_the_machine(
    fields: dict[str, Any], machine: int, containers: int
) -> None:
    """
    0 and nothing mean one per place of the machine; a multiple is rounded down, to at least one.
    """
    assert containers == load(**fields).parallelism.containers(machine)


@pytest.mark.parametrize("name", ["acceptReturnCode", "accept_return_code"])
def test_field_names_may_be_in_either_case(name: str) -> None:
    """
    Specifications of the 1.0 era use both spellings.
    """
    pipeline = load(transform={"cmd": ["x"], name: [4, "5"]})

    assert (4, 5) == pipeline.transform.accept_return_code


def test_everything_a_transform_can_say() -> None:
    """
    All fields at once; standard input lines get their newlines.
    """
    transform = load(
        transform={
            "image": "i:1",
            "cmd": ["sh"],
            "stdin": ["a", "b\n"],
            "env": {"K": "v"},
            "debug": True,
            "overwrite": True,
        },
        network="none",
        inputs=[{"repo": {"name": "r"}, "runEmpty": True}],
    )

    assert Transform("i:1", ("sh",), ("a", "b\n"), {"K": "v"}, (), True, True) == transform.transform
    assert b"a\nb\n" == transform.transform.stdin_bytes()
    assert Network.NONE is transform.network
    assert transform.inputs[0].run_empty


def test_the_same_pipeline_in_yaml() -> None:
    """
    YAML and JSON say the same thing.
    """
    text = (
        "pipeline: {name: p}\ntransform:\n  cmd: ['true']\ninputs:\n- repo: {name: data}\n  method: reduce\n"
    )

    assert [load(inputs=[{"repo": {"name": "data"}, "method": "reduce"}])] == load_pipelines(text)


def test_a_one_off_job_reads_commits_and_may_have_a_parent() -> None:
    """
    A job names what it reads by commit instead of repo.
    """
    value = {
        "transform": {"image": "i", "cmd": ["x"]},
        "parallelism": 2,
        "inputs": [{"commit": {"repo": {"name": "foo"}, "id": "master/0"}, "method": "reduce"}],
        "parent_job": {"id": "abc"},
    }
    expected = Job(
        transform=Transform("i", ("x",)),
        parallelism=Parallelism(2),
        inputs=(JobInput("foo", "master/0", Partition.FILE, Incremental.NONE),),
        parent_job="abc",
    )

    assert [expected] == load_jobs(json.dumps(value))
    assert [expected] == load_jobs(json.dumps(value | {"parent_job": "abc"}))


# --- what is said about mistakes ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"inputs": [{"repo": {"name": "a"}, "method": {"partition": "row"}}]},
            'inputs[0].method.partition: expected block, file or repo, got "row"',
        ),
        (
            {"inputs": [{"repo": {"name": "a"}, "method": "mop"}]},
            (
                "inputs[0].method: unrecognized input alias: "
                'expected map, reduce, incremental_reduce or global, got "mop"; did you mean map?'
            ),
        ),
        (
            {"inputs": [{"repo": {"name": "a"}, "method": {"incremental": "x"}}]},
            'inputs[0].method.incremental: expected true, false, NONE, DIFF or FULL, got "x"',
        ),
        ({"inputs": [{}]}, "inputs[0].repo: expected an object, got nothing"),
        (
            {"inputs": [{"repo": {"name": "a"}}, {"repo": {"name": "a"}}]},
            'inputs[1].repo.name: "a" is an input already (inputs[0].repo)',
        ),
        ({"inputs": [{"repo": {"name": "p"}}]}, "inputs[0].repo.name: a pipeline cannot read its own output"),
        ({"inputs": {"repo": 1}}, "inputs: expected a list of objects, got an object"),
        ({"pipeline": None}, "pipeline: expected an object, got nothing"),
        ({"pipeline": {}}, "pipeline.name: expected a string, got nothing"),
        ({"pipeline": {"name": "_p"}}, 'pipeline.name: expected a letter or a digit first, got "_p"'),
        ({"pipeline": {"name": "x" * 64}}, "pipeline.name: expected at most 63 characters, got 64"),
        ({"transform": None}, "transform: expected an object, got nothing"),
        ({"transform": {}}, "transform.cmd: unable to run; a cmd needs to be provided"),
        ({"transform": {"cmd": []}}, "transform.cmd: unable to run; a cmd needs to be provided"),
        (
            {"transform": {"cmd": "sh"}},
            'transform.cmd: expected a list of strings, got "sh"; write ["sh"]',
        ),
        ({"transform": {"cmd": ["a", 1]}}, 'transform.cmd[1]: expected a string, got 1; write "1"'),
        (
            {"transform": {"cmd": ["a"], "env": {"PORT": 80}}},
            'transform.env.PORT: expected a string, got 80; write "80"',
        ),
        (
            {"transform": {"cmd": ["a"], "accept_return_code": [300]}},
            "transform.accept_return_code[0]: expected a whole number from 0 to 255, got 300",
        ),
        (
            {"transform": {"cmd": ["a"], "imge": "x"}},
            "transform.imge: there is no such field; did you mean image?",
        ),
        ({"paralelism": 1}, "paralelism: there is no such field; did you mean parallelism?"),
        ({"parallelism": -1}, "parallelism: expected a whole number from 0 to 10000, got -1"),
        ({"parallelism": True}, "parallelism: expected a whole number from 0 to 10000, got true"),
        ({"parallelism": "many"}, 'parallelism: expected a whole number from 0 to 10000, got "many"'),
        (
            {"parallelism": 1, "parallelism_spec": {"constant": 1}},
            "parallelism_spec: is given beside parallelism; leave one out",
        ),
        (
            {"parallelism_spec": {"strategy": "COEFFICIENT"}},
            "parallelism_spec.coefficient: expected a number above 0 with the strategy COEFFICIENT",
        ),
        ({"network": "host"}, 'network: expected bridge or none, got "host"'),
    ],
)
def test_a_mistake_is_named_by_its_path_and_what_was_expected(fields: dict[str, Any], said: str) -> None:
    """
    One mistake each, and nothing else is said.
    """
    assert [said] == problems(**fields)


@pytest.mark.parametrize("name", ["a b", "out", "prev", "x/y", "..", ""])
def test_a_name_that_no_repo_can_have_is_refused(name: str) -> None:
    """
    The pipeline's name becomes a repo, an input's name a directory in the container.
    """
    assert problems(pipeline={"name": name})[0].startswith("pipeline.name: ")
    assert problems(inputs=[{"repo": {"name": name}}])[0].startswith("inputs[0].repo.name: ")


def test_all_problems_of_all_documents_are_said_at_once() -> None:
    """
    Two pipelines in a file, three mistakes; each is found in the one run.
    """
    text = "\n".join(
        [
            json.dumps(document(transform={"cmd": ["a"], "stdout": []}, parallelism="x")),
            json.dumps(document(pipeline={"name": "q"}, network="lan")),
        ]
    )

    with pytest.raises(SpecError) as caught:
        load_pipelines(text, source="two.json")

    assert {
        "document 1 (line 1): transform.stdout",
        "document 1 (line 1): parallelism",
        "document 2 (line 2): network",
    } == {problem.path for problem in caught.value.problems}
    assert "two.json" in str(caught.value)


def test_one_name_for_two_pipelines_of_a_file_is_refused() -> None:
    """
    The second would fail when it is created, after the first already runs.
    """
    text = json.dumps(document()) * 2

    with pytest.raises(SpecError, match='"p" is also the pipeline on line 1'):
        load_pipelines(text)


def test_a_field_in_both_spellings_is_refused() -> None:
    """
    One of the two would be lost.
    """
    said = problems(transform={"cmd": ["a"], "acceptReturnCode": [1], "accept_return_code": [2]})

    assert ["transform.acceptReturnCode: is given twice, as acceptReturnCode and accept_return_code"] == said


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"input": {"pfs": {}}}, "input"),
        ({"inputs": [{"repo": {"name": "a"}, "glob": "/*"}]}, "inputs[0].glob"),
        ({"inputs": [{"repo": {"name": "a"}, "lazy": True}]}, "inputs[0].lazy"),
        ({"service": {"internal_port": 80}}, "service"),
        ({"transform": {"cmd": ["a"], "secrets": []}}, "transform.secrets"),
    ],
)
def test_what_other_versions_know_and_this_cannot_do_is_refused_and_not_ignored(
    fields: dict[str, Any], path: str
) -> None:
    """
    A field that changes what the pipeline means must not be dropped without a word.
    """
    [said] = problems(**fields)

    assert said.startswith(f"{path}: ")
    assert "no such field" not in said


def test_a_service_is_no_job_that_can_be_run() -> None:
    """
    The service of the 1.2 documentation: everything in it is understood, the service refused.
    """
    with pytest.raises(SpecError) as caught:
        load_jobs((DATA / "service-job-1.2.json").read_text())

    assert ["service"] == [problem.path for problem in caught.value.problems]


def test_a_pipeline_given_as_a_job_is_told_the_other_command() -> None:
    """
    The two formats are easily mixed up.
    """
    said = job_problems(document(inputs=[{"repo": {"name": "a"}}]))

    assert any("pfs create pipeline -f" in each for each in said)
    assert any("pfs create job -f" in each for each in problems(inputs=[{"commit": {}}]))


# --- storing --------------------------------------------------------------------------------------

FULL = Pipeline(
    name="p",
    transform=Transform("i:1", ("sh", "-c"), ("a",), {"B": "2", "A": "1"}, (1,), True, True),
    parallelism=Parallelism(coefficient=0.5),
    inputs=(
        Input("a", incremental=Incremental.FULL),
        Input("b", partition=Partition.REPO, incremental=Incremental.NONE, run_empty=True),
    ),
    network=Network.NONE,
)
JOB = Job(
    transform=Transform("i:1", ("sh",)),
    inputs=(JobInput("a", "master~1"),),
    parent_job="x",
)


@pytest.mark.parametrize("spec", [FULL, JOB], ids=["pipeline", "job"])
def test_the_stored_form_gives_the_same_back(spec: Pipeline | Job) -> None:
    """
    What the store keeps is the whole specification.
    """
    assert spec == from_json(to_json(spec), type(spec))


def test_the_stored_form_does_not_depend_on_the_order_of_writing() -> None:
    """
    Equal pipelines have equal bytes, so these can be hashed.
    """
    one = Pipeline("p", Transform("i", ("x",), env={"A": "1", "B": "2"}))
    other = Pipeline("p", Transform("i", ("x",), env={"B": "2", "A": "1"}))

    assert to_json(one) == to_json(other)


def test_a_dumped_specification_can_be_created_again() -> None:
    """
    `inspect pipeline -o json` is a valid specification.
    """
    assert [FULL] == load_pipelines(json.dumps(dump_pipeline(FULL)))
    assert [JOB] == load_jobs(json.dumps(dump_job(JOB)))


def test_the_commit_variable_is_an_identifier() -> None:
    """
    What can stand in a repo's name and not in a variable's becomes an underscore.
    """
    assert "PACH_MY_INPUT_COMMIT_ID" == commit_variable("my-input")
