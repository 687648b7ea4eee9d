"""The graph of repos and pipelines, as text, Mermaid and Graphviz."""

from __future__ import annotations

from runner.cli.draw import Graph, as_dot, as_mermaid, as_text

DIAMOND = Graph(
    {"data": [], "left": ["data"], "right": ["data"], "join": ["left", "right"], "alone": []},
    {"left": "running", "right": "crashing", "join": "running"},
)


def test_what_is_made_from_a_repo_stands_below_it() -> None:
    """
    A diamond: what has two inputs is drawn once, and referred to the second time.
    """
    assert [
        "alone",
        "data",
        "├── left (pipeline, running)",
        "│   └── join (pipeline, running, also from right)",
        "└── right (pipeline, crashing)",
        "    └── join (above)",
    ] == list(as_text(DIAMOND))


def test_mermaid_has_a_node_and_an_arrow_for_each() -> None:
    """
    Repos are cylinders, pipelines boxes.
    """
    lines = list(as_mermaid(DIAMOND))

    assert "flowchart LR" == lines[0]
    assert '    n1[("data")]' in lines
    assert '    n2["join"]' in lines
    assert 4 == sum("-->" in line for line in lines)


def test_dot_is_a_digraph() -> None:
    """
    The same for Graphviz.
    """
    text = "\n".join(as_dot(DIAMOND))

    assert text.startswith("digraph pfs {")
    assert '"left" -> "join";' in text
    assert '"data" [shape=cylinder];' in text


def test_a_store_without_repos_draws_nothing() -> None:
    """
    Someone is curious too early.
    """
    assert [] == list(as_text(Graph({}, {})))
