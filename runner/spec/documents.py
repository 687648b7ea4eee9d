"""
From the text of a specification file to the objects in it, whatever they mean.

A file holds one or several documents.  If it begins with `{` or `[` it is JSON: objects that
follow one another with nothing or a line `---` between them, as files of the 1.0 era do; a
list stands for its members; comments (`//` and `/* */`) and trailing commas are allowed.
Everything else is YAML.  A key that is given twice is an error in both.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from .errors import Problem, SpecError, SpecSyntaxError

_STRING = r'"(?:\\.|[^"\\\n])*"'
_COMMENT = re.compile(rf"{_STRING}|//[^\n]*|/\*.*?\*/", re.DOTALL)
_TRAILING_COMMA = re.compile(rf"{_STRING}|,(?=\s*[}}\]])")
_BETWEEN_DOCUMENTS = re.compile(r"(?:\s|^---[ \t]*$)*", re.MULTILINE)
_NOT_NEWLINE = re.compile(r"[^\n]")


@dataclass(frozen=True, slots=True)
class Document:
    """One object of a file, with the line on which it begins (from 1)."""

    value: dict[str, Any]
    line: int


def parse_documents(text: str, *, source: str) -> list[Document]:
    """
    Return the documents of a file, in order.

    *source* is what errors call the file.  SpecSyntaxError points at what is no JSON or YAML;
    SpecError says that there is no document, or one that is no object.
    """
    text = text.removeprefix("\ufeff")
    bare = _without_extras(text)
    is_json = not bare.strip() or bare.lstrip()[0] in "{["
    found = _json(bare, text, source) if is_json else _yaml(text, source)
    documents = [Document(value, line) for value, line in found if isinstance(value, dict)]
    if len(documents) < len(found):
        problems = [
            Problem(f"line {line}", "expected an object")
            for value, line in found
            if not isinstance(value, dict)
        ]
        raise SpecError(problems, source=source)
    if not documents:
        raise SpecError([Problem("", "there is nothing in it")], source=source)
    return documents


def _without_extras(text: str) -> str:
    """Blank out comments and trailing commas, so that every other character keeps its place."""

    def blank(match: re.Match[str]) -> str:
        found = match.group()
        return found if found.startswith('"') else _NOT_NEWLINE.sub(" ", found)

    return _TRAILING_COMMA.sub(blank, _COMMENT.sub(blank, text))


# --- JSON ---------------------------------------------------------------------------------------


class _NotAcceptedError(ValueError):
    """What JSON allows, or Python takes for JSON, and a specification may not contain."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for key, member in pairs:
        if key in value:
            raise _NotAcceptedError(f"{json.dumps(key)} is given twice in one object")
        value[key] = member
    return value


def _no_constant(name: str) -> Any:
    raise _NotAcceptedError(f"{name} is no number in JSON")


def _json(bare: str, text: str, source: str) -> list[tuple[Any, int]]:
    decoder = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_no_constant)
    found: list[tuple[Any, int]] = []
    position = _next_document(bare, 0)
    while position < len(bare):
        line = bare.count("\n", 0, position) + 1
        try:
            value, end = decoder.raw_decode(bare, position)
        except json.JSONDecodeError as error:
            raise SpecSyntaxError(
                error.msg, source=source, text=text, line=error.lineno, column=error.colno
            ) from None
        except (_NotAcceptedError, RecursionError) as error:
            message = (
                str(error) if isinstance(error, _NotAcceptedError) else "too many brackets inside brackets"
            )
            raise SpecError(
                [Problem(f"in the object that begins on line {line}", message)], source=source
            ) from None
        members = value if isinstance(value, list) else [value]
        found.extend((member, line) for member in members)
        position = _next_document(bare, end)
    return found


def _next_document(bare: str, position: int) -> int:
    match = _BETWEEN_DOCUMENTS.match(bare, position)
    return match.end() if match else position


# --- YAML ---------------------------------------------------------------------------------------


class _Loader(yaml.CSafeLoader):
    """SafeLoader that refuses a key that is given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the mapping of *node*."""
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            name = (key.tag, str(key.value))
            if name in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{json.dumps(str(key.value))} is given twice in one object", key.start_mark
                )
            seen.add(name)
        return super().construct_mapping(node, deep)


def _yaml(text: str, source: str) -> list[tuple[Any, int]]:
    try:
        return list(_yaml_documents(text))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        message = error.problem or error.context or "this is no YAML"
        raise SpecSyntaxError(message, source=source, text=text, line=line, column=column) from None
    except yaml.YAMLError as error:  # a character that YAML does not allow
        raise SpecError([Problem("", str(error))], source=source) from None
    except RecursionError:
        raise SpecError([Problem("", "too many brackets inside brackets")], source=source) from None


def _yaml_documents(text: str) -> Iterator[tuple[Any, int]]:
    loader = _Loader(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            if node is None:
                return
            value = loader.construct_document(node)
            if value is None:  # nothing between two `---`
                continue
            members = value if isinstance(value, list) else [value]
            for member in members:
                yield member, node.start_mark.line + 1
    finally:
        loader.dispose()
