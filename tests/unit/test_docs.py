"""The documents say what the program is: their links lead somewhere, and their tables are those of the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from pfsfuse.store.index import Table
from pfsfuse.versions.model import Branch, Commit, Move, Project, Repo, Trigger
from pfsfuse.versions.replay import IN_GOOD_ORDER, Replay
from pfsfuse.versions.transactions import Transaction
from runner.cli import exits
from runner.cli.commands import COMMANDS
from runner.cli.exits import Exit
from runner.jobs.model import ContainerRecord, JobRecord, PipelineRecord

ROOT = Path(__file__).parents[2]
PACKAGES = ("pfsfuse", "runner")
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])

_LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)#\s]+)(?:#[^)]*)?\)")
_FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
_INVARIANT = re.compile(r"\b[CDFGHOPRSTX][0-9]\b")
_CODE_DOCUMENT = re.compile(r"\bdocs/[A-Za-z0-9_./-]*[A-Za-z0-9]")
_SOURCE = re.compile(r"`(?P<path>(?:[a-z0-9_]+/)+[a-z0-9_]+\.(?:py|c))`")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def prose(document: Path) -> str:
    """Return a document without its blocks of code."""
    return _FENCE.sub("", document.read_text(encoding="utf-8"))


def sources() -> Iterator[Path]:
    for package in PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


def docstring(source: Path) -> str:
    return ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_link_of_a_document_leads_to_a_file(document: Path) -> None:
    """
    Files are renamed; links to other sites are not looked at.
    """
    targets = [match["target"] for match in _LINK.finditer(prose(document)) if "://" not in match["target"]]

    assert [] == [target for target in targets if not (document.parent / target).exists()]


def test_every_source_file_that_a_document_names_exists() -> None:
    """
    Documents name sources from the root, or from below one of the packages.
    """
    tops = [ROOT, ROOT / "tests", *(ROOT / package for package in PACKAGES)]
    tops += [folder for top in PACKAGES for folder in (ROOT / top).iterdir() if folder.is_dir()]

    missing = [
        f"{name(document)}: {match['path']}"
        for document in DOCUMENTS
        for match in _SOURCE.finditer(prose(document))
        if not any((top / match["path"]).exists() for top in tops)
    ]

    assert [] == missing


def test_every_document_that_the_code_names_exists() -> None:
    """
    Docstrings and comments send their reader to docs/.
    """
    missing = [
        f"{name(source)}: {target}"
        for source in sources()
        for target in _CODE_DOCUMENT.findall(source.read_text(encoding="utf-8"))
        if not (ROOT / target).exists() and not list(ROOT.glob(f"{target}-*.md"))
    ]

    assert [] == missing


def test_every_invariant_of_the_list_is_stated_in_a_docstring_and_the_other_way() -> None:
    """
    fsck prints numbers; who reads one looks it up in docs/invariants.md.
    """
    listed = re.findall(r"^\| ([A-Z][0-9]) \|", (ROOT / "docs/invariants.md").read_text(), re.MULTILINE)
    stated = {number for source in sources() for number in _INVARIANT.findall(docstring(source))}

    assert sorted(set(listed)) == sorted(listed)
    assert stated == set(listed)


def test_every_invariant_is_stated_where_the_list_says() -> None:
    """
    The third column of the list names the module.
    """
    rows = re.findall(
        r"^\| ([A-Z][0-9]) \|[^|]*\| `([^`]+)` \|", (ROOT / "docs/invariants.md").read_text(), re.MULTILINE
    )

    wrong = [
        (number, path)
        for number, path in rows
        if not re.search(rf"\b{number}\b", docstring(ROOT / "pfsfuse" / path))
    ]

    assert rows
    assert [] == wrong


def test_the_format_has_every_table_of_the_index() -> None:
    """
    Tables are listed by name in docs/format.md, with those that are journaled marked.
    """
    rows = re.findall(r"^\| `(\w+)` \| (yes)?", (ROOT / "docs/format.md").read_text(), re.MULTILINE)

    assert {(table.label, table.journaled) for table in Table} <= {
        (label, bool(mark)) for label, mark in rows
    }


@pytest.mark.parametrize(
    "kind",
    [Project, Repo, Branch, Trigger, Commit, Move, Transaction, PipelineRecord, JobRecord, ContainerRecord],
)
def test_the_format_has_every_field_of_a_record(kind: type[msgspec.Struct]) -> None:
    """
    A record is a row of docs/format.md; its fields stand there by the names that are stored.
    """
    (row,) = re.findall(
        rf"^\| {kind.__name__} \| (.*) \|$", (ROOT / "docs/format.md").read_text(), re.MULTILINE
    )

    assert [] == [f.encode_name for f in msgspec.structs.fields(kind) if f"`{f.encode_name}`" not in row]


def test_the_format_has_every_record_of_a_journal() -> None:
    """
    What can be redone is what may stand in the journal of an open commit.
    """
    listed = re.findall(r'^\| `\["(\w+)"', (ROOT / "docs/format.md").read_text(), re.MULTILINE)
    redone = [name.removeprefix("_redo_") for name in vars(Replay) if name.startswith("_redo_")]

    assert sorted([*redone, IN_GOOD_ORDER]) == sorted(listed)


def test_the_exit_codes_of_the_reference_are_those_of_the_program() -> None:
    """
    Numbers and words are those of the docstring, which is held to the code elsewhere.
    """
    table = re.findall(r"^\| (\d+) \| (.+) \|$", (ROOT / "docs/reference/cli.md").read_text(), re.MULTILINE)
    said = re.findall(r"^    (\d+) +(.+)$", exits.__doc__ or "", re.MULTILINE)

    assert said == table
    assert [int(code) for code in Exit] == [int(number) for number, _ in table]


def test_the_reference_names_every_command() -> None:
    """
    A command that is added or renamed is added or renamed there, too.
    """
    text = (ROOT / "docs/reference/cli.md").read_text()

    assert [] == [" ".join(words) for words in COMMANDS if f"`{' '.join(words)}" not in text]


def test_a_decision_has_a_number_of_its_own_and_all_parts() -> None:
    """
    Decisions are named by number in code and documents.
    """
    decisions = sorted((ROOT / "docs/decisions").glob("[0-9]*.md"))
    numbers = [path.name[:4] for path in decisions]

    incomplete = [
        path.name
        for path in decisions
        for part in (f"# {path.name[:4]}. ", "\n## Context\n", "\n## Choice\n", "\n## Consequences\n")
        if part not in path.read_text(encoding="utf-8")
    ]

    assert sorted(set(numbers)) == numbers
    assert [] == incomplete
