"""
Reading one object of a document field by field, collecting everything that is wrong with it.

A reader never stops at the first problem: it notes it, hands out a harmless value and goes
on, so that a person sees all problems at once.  Whoever reads must look at the notes before
using what was read.  Field names are written `snake_case` or `camelCase`, as in Pachyderm.
Numbers may be given as strings.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from .errors import Problem

_HUMP = re.compile(r"(?<=[a-z0-9])([A-Z])")
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}\Z")
_NUMBER = re.compile(r"[+-]?[0-9]{1,18}(\.[0-9]{1,18})?\Z")


class Fields:
    """One object at *path*; problems are added to *problems*, which all readers of a document share."""

    def __init__(self, value: Mapping[Any, Any], path: str, problems: list[Problem]) -> None:
        self.path = path
        self._problems = problems
        self._value: dict[str, Any] = {}
        self._written: dict[str, str] = {}
        self._unread: dict[str, None] = {}
        self._asked: dict[str, None] = {}
        for key, member in value.items():
            self._add(str(key), member)

    def _add(self, key: str, member: Any) -> None:
        name = _HUMP.sub(r"_\1", key).lower()
        if name in self._written:
            self.problem(name, f"is given twice, as {self._written[name]} and {key}")
            return
        self._value[name] = member
        self._written[name] = key
        self._unread[name] = None

    # --- problems ---

    def at(self, name: str) -> str:
        """Return the path of the field *name*, spelt as in the document."""
        written = self._written.get(name, name)
        return f"{self.path}.{written}" if self.path else written

    def problem(self, name: str, message: str) -> None:
        """Note that the field *name* is wrong."""
        self._problems.append(Problem(self.at(name), message))

    def refuse(self, name: str, message: str) -> None:
        """Note *message* if there is a field *name*: it means something that cannot be had."""
        if name in self._unread:
            del self._unread[name]
            self.problem(name, message)

    def finish(self) -> None:
        """Note every field that nobody asked for; those that somebody did are suggested instead."""
        for name in self._unread:
            self.problem(name, f"there is no such field{suggestion(name, self._asked)}")

    def has(self, name: str) -> bool:
        """Say whether the field is given and not null."""
        return self._value.get(name) is not None

    def raw(self, name: str) -> Any:
        """Return the field as it stands; None if it is absent or null."""
        return self._take(name)

    def _take(self, name: str) -> Any:
        self._asked[name] = None
        self._unread.pop(name, None)
        return self._value.get(name)

    # --- typed fields ---

    def string(self, name: str, default: str | None = None) -> str:
        """Return a string; without a default the field is needed and not empty."""
        value = self._take(name)
        if value is None and default is not None:
            return default
        if not isinstance(value, str):
            self.problem(name, f"expected a string, got {shown(value)}{_quote_hint(value)}")
            return default or ""
        if "\0" in value:
            self.problem(name, "a string cannot contain the NUL character")
        if value == "" and default is None:
            self.problem(name, "expected a string, got an empty one")
        return value

    def boolean(self, name: str, default: bool) -> bool:
        """Return true or false."""
        value = self._take(name)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        self.problem(name, f"expected true or false, got {shown(value)}")
        return default

    def integer(self, name: str, default: int, *, least: int, most: int) -> int:
        """Return a whole number in the range, which may be written as a string."""
        value = self._take(name)
        number = default if value is None else as_integer(value)
        if number is None or not least <= number <= most:
            self.problem(name, f"expected a whole number from {least} to {most}, got {shown(value)}")
            return default
        return number

    def integers(self, name: str, *, least: int, most: int) -> tuple[int, ...]:
        """Return a list of whole numbers in the range."""
        numbers: list[int] = []
        for index, value in enumerate(self._list(name, "whole numbers")):
            number = as_integer(value)
            if number is None or not least <= number <= most:
                wrong = f"expected a whole number from {least} to {most}, got {shown(value)}"
                self._problems.append(Problem(f"{self.at(name)}[{index}]", wrong))
            else:
                numbers.append(number)
        return tuple(numbers)

    def number(self, name: str, default: float) -> float:
        """Return a number that is not negative, which may be written as a string."""
        value = self._take(name)
        if value is None:
            return default
        if isinstance(value, str) and _NUMBER.match(value):
            value = float(value)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e18:
            self.problem(name, f"expected a number that is 0 or more, got {shown(value)}")
            return default
        return float(value)

    def strings(self, name: str) -> tuple[str, ...]:
        """Return a list of strings; an absent one is empty."""
        lines: list[str] = []
        for index, value in enumerate(self._list(name, "strings")):
            path = f"{self.at(name)}[{index}]"
            if not isinstance(value, str):
                message = f"expected a string, got {shown(value)}{_quote_hint(value)}"
                self._problems.append(Problem(path, message))
            elif "\0" in value:
                self._problems.append(Problem(path, "a string cannot contain the NUL character"))
            else:
                lines.append(value)
        return tuple(lines)

    def string_map(self, name: str) -> dict[str, str]:
        """Return an object whose members are strings, by name."""
        value = self._take(name)
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            self.problem(name, f"expected an object of strings, got {shown(value)}")
            return {}
        members: dict[str, str] = {}
        for key, member in sorted(value.items(), key=lambda item: str(item[0])):
            path = f"{self.at(name)}.{key}"
            if not isinstance(member, str):
                message = f"expected a string, got {shown(member)}{_quote_hint(member)}"
                self._problems.append(Problem(path, message))
            elif not key or "=" in str(key) or "\0" in f"{key}{member}":
                self._problems.append(Problem(path, "no variable can have this name or value"))
            else:
                members[str(key)] = member
        return members

    def choice(self, name: str, choices: Mapping[str, Any], default: str | None) -> Any:
        """Return the value of the chosen key; upper or lower case does not matter."""
        value = self._take(name)
        if value is None and default is not None:
            return choices[default]
        found = choices.get(value.lower()) if isinstance(value, str) else None
        if found is None:
            self.problem(name, f"expected {one_of(choices)}, got {shown(value)}{suggestion(value, choices)}")
            return choices[default] if default is not None else None
        return found

    def object(self, name: str, *, needed: bool = True) -> Fields | None:
        """Return a reader of the object there; None, and a problem noted if it is needed, without one."""
        value = self._take(name)
        if isinstance(value, Mapping):
            return Fields(value, self.at(name), self._problems)
        if value is not None or needed:
            self.problem(name, f"expected an object, got {shown(value)}")
        return None

    def objects(self, name: str) -> list[Fields | None]:
        """Return readers of the objects in the list there; None stands for a member that is no object."""
        readers: list[Fields | None] = []
        for index, value in enumerate(self._list(name, "objects")):
            path = f"{self.at(name)}[{index}]"
            if isinstance(value, Mapping):
                readers.append(Fields(value, path, self._problems))
            else:
                self._problems.append(Problem(path, f"expected an object, got {shown(value)}"))
                readers.append(None)
        return readers

    def _list(self, name: str, members: str) -> list[Any]:
        value = self._take(name)
        if value is None:
            return []
        if isinstance(value, list):
            return value
        hint = f"; write [{shown(value)}]" if isinstance(value, str) else ""
        self.problem(name, f"expected a list of {members}, got {shown(value)}{hint}")
        return []


def as_integer(value: Any) -> int | None:
    """Return the whole number that *value* is or spells; None if it is none."""
    if isinstance(value, str) and _INTEGER.match(value):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def shown(value: Any) -> str:
    """Describe a value to the person who wrote it."""
    if value is None:
        return "nothing"
    if isinstance(value, str):
        text = json.dumps(value, ensure_ascii=False)
        return text if len(text) <= 60 else f'{text[:56]}…"'
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, Mapping):
        return "an object"
    return "a list" if isinstance(value, list) else f"a {type(value).__name__}"


def one_of(choices: Iterable[str]) -> str:
    """Return `a, b or c`."""
    *rest, last = choices
    return f"{', '.join(rest)} or {last}" if rest else last


def suggestion(value: Any, choices: Iterable[str]) -> str:
    """Return `; did you mean …?` if *value* is nearly one of the choices, else nothing."""
    close = difflib.get_close_matches(value.lower(), list(choices), n=1) if isinstance(value, str) else []
    return f"; did you mean {close[0]}?" if close else ""


def _quote_hint(value: Any) -> str:
    """Say how a number or a truth value becomes the string that was meant."""
    return f'; write "{shown(value)}"' if isinstance(value, bool | int | float) else ""
