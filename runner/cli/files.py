"""`pfs put|get|list|delete file`."""

from __future__ import annotations

import os
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from pfsfuse.errors import IsADirectoryPathError, NotFoundError, PathNotFoundError
from pfsfuse.names import split_path
from pfsfuse.trees.entry import Entry, Kind
from pfsfuse.versions.branches import find_branch
from pfsfuse.versions.changesets import Change, Delete
from pfsfuse.versions.commits import OutputBranchError, resolve
from pfsfuse.versions.export import export, write_to
from pfsfuse.versions.ingest import THREADS, Progress, Source, ingest, ingest_stream
from pfsfuse.versions.model import BranchRef
from pfsfuse.versions.repos import repo

from .names import FileName, file_name, open_branch, targets
from .screen import ago, shown, size, when
from .session import Session

STDIN = "-"

Parallel = Annotated[int, typer.Option("--parallelism", "-p", min=1, help="Threads.")]


def put_file(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="REPO@BRANCH[:PATH]", help="Where to.")],
    sources: Annotated[
        list[str], typer.Option("--file", "-f", metavar="FILE", help="A file, a folder, or -; repeatable.")
    ],
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Put what is in folders.")] = False,
    append: Annotated[bool, typer.Option("--append", help="Add to files that are there.")] = False,
    full_path: Annotated[
        bool, typer.Option("--full-path", help="Without a path: keep the whole path of the source.")
    ] = False,
    description: Annotated[str, typer.Option("--message", "-m", help="Of the commit, if one is made.")] = "",
    parallelism: Parallel = THREADS,
) -> None:
    """
    Put files into a branch.

    Into its open commit if it has one; otherwise as one finished commit, whose id is printed.
    """
    where = file_name(name)
    ref = _writable(session, where)
    placed = targets(where, sources, recursive=recursive, full_path=full_path)
    changes: list[Change] = []
    with session.screen.progress(f"putting into {ref}") as bar:
        files = [Source(os.fsencode(host), path) for host, path in placed if host != STDIN]
        made = ingest(
            session.store.chunks,
            files,
            recursive=recursive,
            append=append,
            threads=parallelism,
            progress=lambda state: bar(state.bytes, state.found_bytes, _counted(state)),
        )
        changes += made.changes
        for path in (path for host, path in placed if host == STDIN):
            now = time.time_ns()
            changes.append(
                ingest_stream(session.store.chunks, sys.stdin.buffer, path, mtime_ns=now, append=append)
            )
    for host in made.left_out:
        session.screen.warn(f"left out, neither file nor folder nor symbolic link: {shown(host)}")
    commit, is_finished = session.writing.apply(ref, changes, description=description)
    if is_finished:
        session.screen.result(commit.hex())
    else:
        session.screen.note(f"in the open commit {commit.hex()} of {ref}")


def _counted(state: Progress) -> str:
    return f"{state.files}/{state.found_files} files, {size(state.bytes)}"


def _writable(session: Session, where: FileName) -> BranchRef:
    """Return the branch to write to.  What would be refused in the end is refused before any work."""
    with session.store.read() as txn:
        repo(txn, where.repo)
        ref = open_branch(txn, where.repo, where.commit)
        line = find_branch(txn, ref.repo, ref.branch)
    if line is not None and line.provenance:
        raise OutputBranchError(ref)
    return ref


def get_file(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="REPO@COMMIT:PATH", help="Which file.")],
    output: Annotated[
        Path | None, typer.Option("--to", "--output", "-o", metavar="PATH", help="Where to; else to stdout.")
    ] = None,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="A folder, with all below it.")
    ] = False,
    offset: Annotated[int, typer.Option(min=0, help="Begin at this byte.")] = 0,
    parallelism: Parallel = THREADS,
) -> None:
    """Get a file, or a folder with -r, out of a finished commit."""
    where = file_name(name)
    entry = _find(session, where)
    if entry.kind == Kind.DIRECTORY and not recursive:
        raise IsADirectoryPathError(f"{name} is a directory; try again with -r and --to FOLDER")
    if output is None:
        if entry.kind == Kind.DIRECTORY:
            raise typer.BadParameter("a folder needs --to FOLDER")
        if entry.kind != Kind.FILE:
            raise IsADirectoryPathError(f"{name} is no file and has no bytes")
        write_to(session.trees, entry, sys.stdout.buffer, offset=offset)
        sys.stdout.buffer.flush()
        return
    if offset:
        raise typer.BadParameter("--offset goes with stdout only")
    with session.screen.progress(f"getting {name}") as bar:
        left_out = export(
            session.trees,
            entry,
            os.fsencode(output),
            threads=parallelism,
            progress=lambda state: bar(state.bytes, state.found_bytes, _counted(state)),
        )
    for host in left_out:
        session.screen.warn(f"left out, neither file nor folder nor symbolic link: {shown(host)}")


def _find(session: Session, where: FileName) -> Entry:
    with session.store.read() as txn:
        commit = resolve(txn, where.repo, where.commit)
    if commit.root is None:
        state = (
            f"failed: {commit.error}" if commit.error else "is open; finish it first, or read it in the mount"
        )
        raise NotFoundError(f"commit {commit.ref} has no content to read: it {state}")
    path = split_path(where.path or b"")
    found = session.trees.resolve(commit.root, path)
    if found is None:
        raise PathNotFoundError(b"/".join(path), str(commit.ref))
    return found


class ShownFile(msgspec.Struct):
    """A file, as JSON and YAML have it."""

    path: str
    type: str
    size_bytes: int
    files: int
    mode: str
    modified: datetime | None
    hash: str
    """Of the content: equal for equal bytes, whatever the name and the times."""


def shown_file(path: tuple[bytes, ...], entry: Entry) -> ShownFile:
    kind = Kind(entry.kind)
    slash = "/" if kind is Kind.DIRECTORY and path else ""
    return ShownFile(
        "/" + shown(b"/".join(path)) + slash,
        {Kind.FILE: "file", Kind.DIRECTORY: "dir"}.get(kind, kind.name.lower()),
        entry.size,
        entry.files,
        f"{entry.mode:04o}",
        when(entry.mtime_ns),
        entry.content.hex(),
    )


def list_file(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="REPO@COMMIT[:PATH]", help="A folder or a file.")],
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="All below it.")] = False,
) -> None:
    """List the files of a finished commit."""
    where = file_name(name)
    entry = _find(session, where)
    path = split_path(where.path or b"")
    if entry.kind != Kind.DIRECTORY:
        found = [shown_file(path, entry)]
    elif recursive:
        found = [shown_file((*path, *below), each) for below, each in session.trees.walk(entry)]
    else:
        found = [shown_file((*path, child), each) for child, each in session.trees.list(entry)]
    session.screen.rows(
        found,
        {
            "NAME": lambda file: file.path,
            "TYPE": lambda file: file.type,
            "SIZE": lambda file: size(file.size_bytes),
            "MODE": lambda file: file.mode,
            "MODIFIED": lambda file: ago(file.modified),
        },
    )


def delete_file(
    session: Session,
    names: Annotated[list[str], typer.Argument(metavar="REPO@BRANCH:PATH...", help="Of one branch.")],
    description: Annotated[str, typer.Option("--message", "-m", help="Of the commit, if one is made.")] = "",
    recursive: Annotated[bool, typer.Option("--recursive", "-r", hidden=True)] = False,
) -> None:
    """Delete files, or folders with all below them; one that is not there is fine."""
    # --recursive is taken because the original wants it for folders; here they need nothing.
    places = [file_name(name) for name in names]
    if any(place.path is None for place in places):
        raise typer.BadParameter("a path is missing: REPO@BRANCH:PATH (:/ is everything)")
    refs = {_writable(session, place) for place in places}
    if len(refs) > 1:
        raise typer.BadParameter("the files are on several branches; delete them one branch at a time")
    changes = [Delete(split_path(place.path or b"")) for place in places]
    commit, is_finished = session.writing.apply(refs.pop(), changes, description=description)
    if is_finished:
        session.screen.result(commit.hex())
