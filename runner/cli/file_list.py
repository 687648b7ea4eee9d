"""`pfs list|walk|glob|inspect file`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from typing import Annotated

import msgspec
import typer

from pfsfuse.errors import PathNotFoundError
from pfsfuse.trees.entry import Entry, is_same_content
from pfsfuse.trees.glob import Glob, has_glob
from pfsfuse.trees.order import path_key, walk_in_order
from pfsfuse.trees.tree import Path
from pfsfuse.versions import listing
from pfsfuse.versions.commits import ancestors
from pfsfuse.versions.model import Commit
from pfsfuse.versions.search import search

from .names import FileName, file_name
from .reading import (
    FILE_COLUMNS,
    Readable,
    ShownFile,
    entry_at,
    parent_of,
    readable,
    shown_file,
)
from .screen import ago, local_time, shown, size
from .session import Session

Place = Annotated[str, typer.Argument(metavar="REPO@COMMIT[:PATH]", help="A folder, a file, or a pattern.")]


def list_file(
    session: Session,
    name: Place,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="All below it.")] = False,
    marker: Annotated[
        str, typer.Option(metavar="PATH", help="Begin behind this path; with --reverse, before it.")
    ] = "",
    number: Annotated[int, typer.Option("--number", "-n", min=0, help="At most so many; 0: all.")] = 0,
    reverse: Annotated[bool, typer.Option("--reverse", help="The last first; needs --number.")] = False,
    history: Annotated[
        str | None,
        typer.Option(metavar="N", help="The versions of the path, newest first: so many, or `all`."),
    ] = None,
) -> None:
    """List the files of a commit; of an open one, as it is now."""
    where = file_name(name)
    if history is not None:
        _list_versions(session, where, _number_of_versions(history))
        return
    found = readable(session, where)
    pattern = _pattern(session, found, where)
    if pattern is not None:
        if marker or number or reverse:
            raise typer.BadParameter("--marker, --number and --reverse are for a folder, not for a pattern")
        entries = _only(pattern.walk(session.trees, found.root))
    else:
        path = where.elements
        entry = entry_at(session, found, path)
        if marker or number or reverse:
            if recursive or not entry.is_directory:
                raise typer.BadParameter("--marker, --number and --reverse are for one folder at a time")
            key = _marker_key(marker, path)
            entries = _page(session, entry, path, key, number=number, reverse=reverse)
        elif not entry.is_directory:
            entries = iter([(path, entry)])
        elif recursive:
            entries = walk_in_order(session.trees, entry, path)
        else:
            entries = listing.entries_after(session.trees, entry, path)
    session.screen.rows([shown_file(*each) for each in entries], FILE_COLUMNS)


def _only(found: Iterator[tuple[Path, Entry, object]]) -> Iterator[tuple[Path, Entry]]:
    return ((path, entry) for path, entry, _ in found)


def _pattern(session: Session, found: Readable, where: FileName) -> Glob | None:
    """Return the pattern that a path is, unless there is a file of just that name."""
    text = os.fsdecode(where.path or b"")
    if not has_glob(text) or session.trees.resolve(found.root, where.elements) is not None:
        return None
    return Glob(text)


def _marker_key(marker: str, parent: Path) -> bytes:
    """Return the marker as a path from the root; a bare name is one of the folder that is listed."""
    raw = os.fsencode(marker)
    return raw if not raw or raw.startswith(b"/") else path_key((*parent, raw), _A_FILE)


_A_FILE = Entry(1, 0, 0, 0, 0, 0, 1, 0, b"", b"")


def _page(
    session: Session, entry: Entry, path: Path, marker: bytes, *, number: int, reverse: bool
) -> Iterator[tuple[Path, Entry]]:
    if number or reverse:
        yield from listing.page(session.trees, entry, path, marker=marker, number=number, reverse=reverse)
    else:
        yield from listing.entries_after(session.trees, entry, path, marker)


class ShownVersion(msgspec.Struct):
    """A version of a file, as JSON and YAML have it."""

    commit: str
    change: str
    file: ShownFile | None


def _number_of_versions(text: str) -> int | None:
    if text in ("all", "-1"):
        return None
    if not text.isdigit():
        raise typer.BadParameter(f"--history takes a number or `all`, not {text!r}")
    return int(text)


def _list_versions(session: Session, where: FileName, most: int | None) -> None:
    found = readable(session, where)
    path = where.elements
    rows: list[ShownVersion] = []
    for commit, entry in islice(_versions(session, found, path), most):
        file = shown_file(path, entry) if entry is not None else None
        rows.append(ShownVersion(commit.id.hex(), "changed" if file else "deleted", file))
    if not rows:
        raise PathNotFoundError(b"/".join(path), f"{found.name} or any commit before it")
    session.screen.rows(
        rows,
        {
            "COMMIT": lambda row: row.commit,
            "CHANGE": lambda row: row.change,
            "NAME": lambda row: row.file.path if row.file else "/" + shown(b"/".join(path)),
            "SIZE": lambda row: size(row.file.size_bytes) if row.file else "-",
            "MODIFIED": lambda row: ago(row.file.modified) if row.file else "-",
        },
    )


def _versions(session: Session, found: Readable, path: Path) -> Iterator[tuple[Commit, Entry | None]]:
    """Yield the commits that changed a path, newest first, with what they left there."""
    start: Commit | None = found.commit
    if not found.commit.is_finished:
        base = parent_of(session, found)
        before = session.trees.resolve(base, path) if base is not None else None
        after = session.trees.resolve(found.root, path)
        if not is_same_content(before, after):
            yield found.commit, after
        with session.store.read() as txn:
            start = next(islice(ancestors(txn, found.commit), 1, None), None)
    if start is not None:
        yield from (
            (step.commit, step.entry)
            for step in search(session.store, session.trees, start, path)
            if step.changed
        )


def walk_file(session: Session, name: Place) -> None:
    """List a file or folder with everything below it, in the order of paths."""
    where = file_name(name)
    found = readable(session, where)
    path = where.elements
    entry = entry_at(session, found, path)
    rows = [shown_file(path, entry)]
    if entry.is_directory:
        rows += [shown_file(*each) for each in walk_in_order(session.trees, entry, path)]
    session.screen.rows(rows, FILE_COLUMNS)


def glob_file(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="REPO@COMMIT:PATTERN", help="Quote it for the shell.")],
) -> None:
    """List the files and folders that match a pattern; that none does is no error."""
    where = file_name(name)
    if where.path is None:
        raise typer.BadParameter("a pattern is missing: REPO@COMMIT:PATTERN (:/ is the root)")
    pattern = Glob(os.fsdecode(where.path))
    found = readable(session, where)
    rows = [shown_file(path, entry) for path, entry, _ in pattern.walk(session.trees, found.root)]
    session.screen.rows(rows, FILE_COLUMNS)


def inspect_file(session: Session, name: Place) -> None:
    """Show a file or a folder: size and number of files of all that is below, and the hash of the content."""
    where = file_name(name)
    found = readable(session, where)
    path = where.elements
    session.screen.record(
        shown_file(path, entry_at(session, found, path)),
        {
            "Path": lambda file: file.path,
            "Commit": lambda _: found.name,
            "Type": lambda file: file.type,
            "Size": lambda file: size(file.size_bytes),
            "Files": lambda file: str(file.files),
            "Mode": lambda file: file.mode,
            "Modified": lambda file: local_time(file.modified),
            "Hash": lambda file: file.hash,
        },
    )
