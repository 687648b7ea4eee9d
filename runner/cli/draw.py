"""`pfs draw`: which repos are made from which, as text, Mermaid or Graphviz."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

import msgspec
import typer

from pfsfuse.store.index import ReadTxn
from pfsfuse.versions.branches import all_branches
from pfsfuse.versions.repos import repos
from runner.jobs.records import pipelines

from .session import Session


class Graph(msgspec.Struct):
    """The repos and what they are made from."""

    inputs: dict[str, list[str]]
    """Repo → the repos that its branches are made from."""
    pipelines: dict[str, str]
    """Pipeline → its state.  It has the name of its output repo."""

    def outputs(self) -> dict[str, list[str]]:
        """Return repo → the repos that are made from it."""
        found: dict[str, list[str]] = {name: [] for name in self.inputs}
        for name, sources in self.inputs.items():
            for source in sources:
                found.setdefault(source, []).append(name)
        return found


def read_graph(txn: ReadTxn) -> Graph:
    inputs: dict[str, list[str]] = {repo.name: [] for repo in repos(txn)}
    for branch in all_branches(txn):
        known = inputs.setdefault(branch.repo, [])
        known += [
            each.repo for each in branch.provenance if each.repo != branch.repo and each.repo not in known
        ]
    return Graph(inputs, {record.name: record.state.value for record in pipelines(txn)})


def draw(
    session: Session,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="As a Mermaid flowchart.")] = False,
    dot: Annotated[bool, typer.Option("--dot", help="For Graphviz.")] = False,
) -> None:
    """Draw the repos and pipelines: each stands below what it is made from."""
    with session.store.read() as txn:
        graph = read_graph(txn)
    if not session.screen.is_table:
        session.screen.record(graph, {})
        return
    lines = as_mermaid(graph) if mermaid else as_dot(graph) if dot else as_text(graph)
    for line in lines:
        session.screen.result(line)


def as_text(graph: Graph) -> Iterator[str]:
    """
    Yield an indented tree for each repo that is made from nothing.

    What is made from several repos stands in full below the first one, with the others named, and
    as a reference below those.
    """
    outputs = graph.outputs()
    drawn: set[str] = set()
    for name in sorted(name for name, sources in graph.inputs.items() if not sources):
        yield _label(graph, name, None)
        yield from _below(graph, outputs, name, "", drawn)


def _below(
    graph: Graph, outputs: Mapping[str, Sequence[str]], parent: str, indent: str, drawn: set[str]
) -> Iterator[str]:
    children = sorted(outputs.get(parent, ()))
    for position, name in enumerate(children):
        is_last = position == len(children) - 1
        corner, rail = ("└── ", "    ") if is_last else ("├── ", "│   ")
        if name in drawn:
            yield f"{indent}{corner}{name} (above)"
            continue
        drawn.add(name)
        yield indent + corner + _label(graph, name, parent)
        yield from _below(graph, outputs, name, indent + rail, drawn)


def _label(graph: Graph, name: str, parent: str | None) -> str:
    others = [source for source in graph.inputs.get(name, ()) if source != parent]
    also = f", also from {', '.join(others)}" if parent is not None and others else ""
    state = graph.pipelines.get(name)
    return f"{name} (pipeline, {state}{also})" if state else f"{name}{also}"


def as_mermaid(graph: Graph) -> Iterator[str]:
    """Yield a Mermaid flowchart."""
    yield "flowchart LR"
    numbers = {name: f"n{number}" for number, name in enumerate(sorted(graph.inputs))}
    for name, node in numbers.items():
        yield f'    {node}["{name}"]' if name in graph.pipelines else f'    {node}[("{name}")]'
    for name, sources in sorted(graph.inputs.items()):
        for source in sources:
            if source in numbers:
                yield f"    {numbers[source]} --> {numbers[name]}"


def as_dot(graph: Graph) -> Iterator[str]:
    """Yield a Graphviz digraph."""
    yield "digraph pfs {"
    yield "    rankdir=LR;"
    for name in sorted(graph.inputs):
        yield f'    "{name}" [shape={"box" if name in graph.pipelines else "cylinder"}];'
    for name, sources in sorted(graph.inputs.items()):
        for source in sources:
            yield f'    "{source}" -> "{name}";'
    yield "}"
