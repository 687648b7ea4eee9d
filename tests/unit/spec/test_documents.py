"""Text of a specification file -> documents."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.spec.documents import parse_documents
from runner.spec.errors import SpecError, SpecSyntaxError

DATA = Path(__file__).parents[2] / "data" / "spec"


def values(text: str) -> list[dict[str, object]]:
    return [document.value for document in parse_documents(text, source="test")]


@pytest.mark.parametrize("between", ["", "\n", "\n---\n", " // the next one\n"])
def test_json_objects_follow_one_another(between: str) -> None:
    """
    Files of the 1.0 era hold several objects in a row; newer ones put `---` between them.
    """
    assert [{"a": 1}, {"b": 2}] == values('{"a": 1}' + between + '{"b": 2}')


def test_a_list_stands_for_its_members() -> None:
    """
    A generated file may be one JSON array of pipelines.
    """
    assert [{"a": 1}, {"b": 2}] == values('[{"a": 1}, {"b": 2}]')


def test_comments_and_trailing_commas_are_allowed_but_not_inside_strings() -> None:
    """
    What people write by hand; an address in a string contains `//` too.
    """
    text = """
    // a pipeline
    {
      "url": "http://host/a, ]", /* of
      several lines */ "list": [1, 2,], // end
    }
    """

    assert [{"url": "http://host/a, ]", "list": [1, 2]}] == values(text)


def test_yaml_documents_are_separated_by_dashes() -> None:
    """
    Everything that does not begin with a bracket is YAML; an empty document is none.
    """
    assert [{"a": 1}, {"b": [2]}] == values("# first\na: 1\n---\nb: [2]\n---\n")


def test_a_document_knows_its_line() -> None:
    """
    Errors in the second of two pipelines name the line on which it begins.
    """
    documents = parse_documents('\n{"a": 1}\n\n{"b": 2}\n', source="test")

    assert [2, 4] == [document.line for document in documents]


def test_a_syntax_error_shows_the_line_and_points_at_the_place() -> None:
    """
    A comma is missing after the image, as in the original's own documentation.
    """
    text = (DATA / "missing-comma.json").read_text()

    with pytest.raises(SpecSyntaxError) as caught:
        parse_documents(text, source="spout.json")

    line = next(n for n, content in enumerate(text.splitlines(), start=1) if '"env"' in content)
    assert (line, 5) == (caught.value.line, caught.value.column)
    shown, caret = str(caught.value).splitlines()[-2:]
    assert '"env": {' in shown
    assert shown.index('"env"') == caret.index("^")
    assert "spout.json" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["{", '{"a": }', '{"a": "b}', "a: [", "a: b: c", '{"a": 1} x', "a: \x01", "{'a': 1}", "[" * 100_000],
)
def test_broken_text_is_a_spec_error(text: str) -> None:
    """
    Whatever is in the file, the person sees what is wrong and no traceback.
    """
    with pytest.raises(SpecError):
        parse_documents(text, source="test")


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', "a: 1\na: 2\n", '{"a": NaN}'])
def test_what_would_be_read_in_two_ways_is_refused(text: str) -> None:
    """
    A key twice: one of the two values would be lost without a word.
    """
    with pytest.raises(SpecError):
        parse_documents(text, source="test")


@pytest.mark.parametrize("text", ["", "  \n", "// nothing\n", "---\n"])
def test_a_file_without_documents_is_refused(text: str) -> None:
    """
    An empty file is a mistake, not zero pipelines.
    """
    with pytest.raises(SpecError, match="nothing in it"):
        parse_documents(text, source="test")


def test_a_document_that_is_no_object_is_named_by_its_line() -> None:
    """
    The second document is a number.
    """
    with pytest.raises(SpecError, match="line 2: expected an object"):
        parse_documents('{"a": 1}\n5\n', source="test")
