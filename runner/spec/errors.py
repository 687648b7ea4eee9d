"""
What is wrong with a specification, in the words of the file that the person wrote.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runner.errors import RunnerError


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to mend: where it is (`inputs[0].method.partition`) and what was expected there."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class SpecError(RunnerError):
    """A specification says something that cannot be.  Carries all problems of all its documents."""

    def __init__(self, problems: Sequence[Problem], *, source: str) -> None:
        shown = "\n".join(f"  {problem}" for problem in problems)
        super().__init__(f"malformed pipeline spec in {source}:\n{shown}")
        self.problems = tuple(problems)
        self.source = source


class SpecSyntaxError(SpecError):
    """The text is neither JSON nor YAML.  Lines and columns count from 1."""

    def __init__(self, message: str, *, source: str, text: str, line: int, column: int) -> None:
        lines = text.splitlines() or [""]
        line = min(line, len(lines))  # the end of a text that ends too early is after its last line
        shown = lines[line - 1].replace("\t", " ")
        # A long line is cut around the place that matters.
        start = max(0, column - 60)
        caret = " " * (column - 1 - start) + "^"
        problem = Problem(
            f"line {line}, column {column}", f"{message}\n    {shown[start : start + 100]}\n    {caret}"
        )
        super().__init__([problem], source=source)
        self.line = line
        self.column = column
