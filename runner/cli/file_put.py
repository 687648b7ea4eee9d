"""
`pfs put file`.

What only some calls need (URLs, archives) is loaded when it is needed: it takes longer than putting a file.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated

import typer

from pfsfuse.errors import InvalidNameError, NotFoundError
from pfsfuse.names import check_plain_path
from pfsfuse.remote.schemes import is_url
from pfsfuse.transfer.split import Format, Splitting, number_of, numbered, split
from pfsfuse.transfer.streams import Stream, ingest_streams, parts_of
from pfsfuse.trees.tree import Path
from pfsfuse.versions.changesets import Append, Change, Delete, Put
from pfsfuse.versions.ingest import THREADS, Progress, Source, ingest

from .names import FileName, file_name, targets
from .reading import readable
from .screen import shown
from .session import Session
from .transfers import Parallel, ShowProgress, counted
from .writing import apply, writable

STDIN = "-"


def put_file(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="REPO@BRANCH[:PATH]", help="Where to.")],
    sources: Annotated[
        list[str] | None,
        typer.Option("--file", "-f", metavar="FILE", help="A file, folder or URL; -, or nothing: stdin."),
    ] = None,
    input_file: Annotated[
        str | None,
        typer.Option(
            "--input-file", "-i", metavar="LIST", help="A file (or URL, or -) with a source a line."
        ),
    ] = None,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Put what is in folders, or below URLs.")
    ] = False,
    append: Annotated[bool, typer.Option("--append", "-a", help="Add to files that are there.")] = False,
    full_path: Annotated[
        bool, typer.Option("--full-path", help="Without a path: keep the whole path of the source.")
    ] = False,
    is_untarred: Annotated[bool, typer.Option("--untar", help="Put what is in the tar archives.")] = False,
    splitting: Annotated[
        Format | None, typer.Option("--split", help="Make a folder of many files of each source.")
    ] = None,
    target_datums: Annotated[
        int, typer.Option("--target-file-datums", min=0, help="Of --split: records a file.")
    ] = 0,
    target_bytes: Annotated[
        int, typer.Option("--target-file-bytes", min=0, help="Of --split: bytes a file, or a little more.")
    ] = 0,
    header_records: Annotated[
        int, typer.Option(min=0, help="Of --split: records at the top that begin every file.")
    ] = 0,
    any_names: Annotated[
        bool, typer.Option("--any-names", help="Take names with characters that mean something in patterns.")
    ] = False,
    description: Annotated[str, typer.Option("--message", "-m", help="Of the commit, if one is made.")] = "",
    parallelism: Parallel = THREADS,
    progress: ShowProgress = True,
    compress: Annotated[bool, typer.Option("--compress", hidden=True)] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", "-o", hidden=True)] = False,
) -> None:
    """
    Put files into a branch.

    Into its open commit if it has one; otherwise as one finished commit, whose id is printed.
    """
    # --compress is the original's for the way to the server; here what gets smaller is stored compressed.
    # --overwrite is what 1.x needs to have what is the rule here.
    if overwrite and append:
        raise typer.BadParameter("--overwrite and --append exclude each other")
    if is_untarred and splitting is not None:
        raise typer.BadParameter("--untar and --split exclude each other")
    if splitting is None and (target_datums or target_bytes or header_records):
        raise typer.BadParameter(
            "--target-file-datums, --target-file-bytes and --header-records need --split"
        )
    where = file_name(name)
    ref = writable(session, where)
    given = [*(sources or ()), *(_listed(input_file) if input_file is not None else ())]
    if not given and input_file is None:
        given = [STDIN]
    put = _Put(session, recursive, append, parallelism, progress, f"putting into {ref}")
    if is_untarred:
        changes = put.untarred(where, given)
    else:
        placed = targets(where, given, recursive=recursive, full_path=full_path)
        if not any_names:
            for _, path in placed:
                check_plain_path(path)
        if splitting is not None:
            how = Splitting(splitting, target_datums, target_bytes, header_records)
            changes = put.split(where, placed, how)
        else:
            changes = put.whole(placed)
    if not any_names:
        for change in changes:
            check_plain_path(change.path)
    apply(session, ref, changes, description)


def _listed(name: str) -> list[str]:
    """Return the sources that a list names, one a line."""
    lines = b"".join(_parts(name)).splitlines()
    return [os.fsdecode(line.strip()) for line in lines if line.strip()]


def _parts(source: str) -> Iterator[bytes]:
    """Yield the bytes of a file of the host, of stdin, or behind a URL."""
    if source == STDIN:
        yield from parts_of(sys.stdin.buffer)
    elif is_url(source):
        from pfsfuse.transfer.urls import open_url

        yield from open_url(source)
    else:
        with open(source, "rb") as file:
            yield from parts_of(file)


@dataclass(frozen=True)
class _Put:
    """One `put file`."""

    session: Session
    recursive: bool
    append: bool
    threads: int
    progress: bool
    title: str

    def whole(self, placed: list[tuple[str, Path]]) -> list[Change]:
        """Put sources as they are."""
        objects = self.session.store.chunks
        hosts = [(source, path) for source, path in placed if source != STDIN and not is_url(source)]
        elsewhere = [(source, path) for source, path in placed if source == STDIN or is_url(source)]
        changes: list[Change] = []
        with self.session.screen.progress(self.title, is_wanted=self.progress) as bar:

            def tell(state: Progress) -> None:
                bar(state.bytes, state.found_bytes, counted(state))

            if hosts:
                made = ingest(
                    objects,
                    [Source(os.fsencode(source), path) for source, path in hosts],
                    recursive=self.recursive,
                    append=self.append,
                    threads=self.threads,
                    progress=tell,
                )
                self._warn(shown(host) for host in made.left_out)
                changes += made.changes
            streams = self._streams(elsewhere)
            changes += ingest_streams(
                objects, streams, append=self.append, threads=self.threads, progress=tell
            )
        return changes

    def _streams(self, placed: Iterable[tuple[str, Path]]) -> Iterator[Stream]:
        for source, path in placed:
            if source == STDIN:
                yield Stream(path, lambda: parts_of(sys.stdin.buffer))
            else:
                from pfsfuse.transfer.urls import streams_of

                yield from streams_of(source, path, recursive=self.recursive)

    def untarred(self, where: FileName, given: list[str]) -> list[Change]:
        """Put the members of archives."""
        from pfsfuse.transfer.tars import untar

        changes: list[Change] = []
        target = where.elements
        for source in given:
            made = untar(self.session.store.chunks, _parts(source), source, target, append=self.append)
            self._warn(made.left_out)
            changes += made.changes
        return changes

    def split(self, where: FileName, placed: list[tuple[str, Path]], how: Splitting) -> list[Change]:
        """Put each source as a folder of numbered files; with append, behind those that are there."""
        changes: list[Change] = []
        for source, path in placed:
            if not path:
                raise InvalidNameError("what is split becomes a folder, which needs a name: REPO@BRANCH:PATH")
            first = self._next_number(where, path) if self.append else 0
            entries = split(self.session.store.chunks, _parts(source), how)
            # Two that append at a time may have the same number: then one adds to the other's file.
            make = Append if self.append else Put
            changes += [] if self.append else [Delete(path)]
            changes += [make((*path, numbered(number)), entry) for number, entry in enumerate(entries, first)]
        return changes

    def _next_number(self, where: FileName, path: Path) -> int:
        try:
            root = readable(self.session, where).root
        except NotFoundError:
            return 0
        directory = self.session.trees.resolve(root, path)
        if directory is None or not directory.is_directory:
            return 0
        numbers = (number_of(name) for name, _ in self.session.trees.list(directory))
        return max((number for number in numbers if number is not None), default=-1) + 1

    def _warn(self, left_out: Iterable[str]) -> None:
        for name in left_out:
            self.session.screen.warn(f"left out, neither file nor folder nor symbolic link: {name}")
