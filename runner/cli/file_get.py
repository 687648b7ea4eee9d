"""
`pfs get file`.

What only some calls need (URLs, archives) is loaded when it is needed: it takes longer than getting a file.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, BinaryIO

import typer

from pfsfuse.errors import IsADirectoryPathError, PathNotFoundError
from pfsfuse.remote.schemes import is_url
from pfsfuse.trees.entry import Entry, Kind
from pfsfuse.trees.glob import Glob, has_glob
from pfsfuse.trees.order import walk_in_order
from pfsfuse.trees.tree import Path
from pfsfuse.versions.export import export_all, write_to
from pfsfuse.versions.ingest import THREADS, Progress

from .names import FileName, file_name
from .reading import Readable, readable
from .screen import shown
from .session import Session
from .transfers import Parallel, ShowProgress, counted

Found = list[tuple[Path, Entry]]


def get_file(
    session: Session,
    name: Annotated[
        str, typer.Argument(metavar="REPO@COMMIT:PATH", help="A file, a folder, or a pattern in quotes.")
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "--to", "--output", "-o", metavar="PATH", help="A file, a folder, or an object-store URL."
        ),
    ] = None,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Folders, with all below them.")
    ] = False,
    is_tar: Annotated[bool, typer.Option("--tar", help="As a tar archive.")] = False,
    offset: Annotated[int, typer.Option(min=0, help="Begin at this byte.")] = 0,
    length: Annotated[int | None, typer.Option("--size", min=0, help="At most so many bytes.")] = None,
    parallelism: Parallel = THREADS,
    progress: ShowProgress = True,
    retry: Annotated[bool, typer.Option("--retry", hidden=True)] = False,
) -> None:
    """
    Get files out of a commit; of an open one, as they are now.

    To stdout, or --to a place.  What a pattern finds is joined on stdout, in the order of paths; in a folder
    or below a URL every file has its path.
    """
    # --retry is the original's, for connections that break; here there is none.
    where = file_name(name)
    commit = readable(session, where)
    is_pattern, found = _found(session, commit, where)
    if not recursive and not is_tar and any(entry.is_directory for _, entry in found):
        what = "finds a directory" if is_pattern else "is a directory"
        raise IsADirectoryPathError(f"{name} {what}; try again with the -r flag")
    has_range = bool(offset) or length is not None
    if has_range and (is_pattern or len(found) != 1 or found[0][1].kind != Kind.FILE or is_tar):
        raise typer.BadParameter("--offset and --size are for one file")
    with session.screen.progress(f"getting {name}", is_wanted=progress) as bar:
        get = _Get(session, parallelism, lambda state: bar(state.bytes, state.found_bytes, counted(state)))
        if is_tar:
            if output is not None and is_url(output):
                raise typer.BadParameter("--tar goes to a file or to stdout")
            get.as_tar(found, output)
        elif output is not None and is_url(output):
            get.to_url(found, output)
        elif output is None:
            get.to_stdout(name, found, offset, length)
        elif is_pattern:
            get.to_folder(found, output)
        else:
            path, entry = found[0]
            place = _place(path, entry, os.fsencode(output))
            if has_range:
                get.one_range(entry, place, offset, length)
            else:
                get.to_hosts([(entry, place)])


def _place(path: Path, entry: Entry, output: bytes) -> bytes:
    """Return where one thing goes: a file into a folder that is there, or that *output* says is one, as with cp."""
    if entry.is_directory or not (output.endswith(b"/") or os.path.isdir(output)):
        return output
    os.makedirs(output, exist_ok=True)
    return os.path.join(output, path[-1])


def _found(session: Session, commit: Readable, where: FileName) -> tuple[bool, Found]:
    """Return whether the path is a pattern, and what it stands for; PathNotFoundError if that is nothing."""
    text = os.fsdecode(where.path or b"")
    entry = session.trees.resolve(commit.root, where.elements)
    if entry is not None:
        return False, [(where.elements, entry)]
    if not has_glob(text):
        raise PathNotFoundError(b"/".join(where.elements), commit.name)
    found = [(path, entry) for path, entry, _ in Glob(text).walk(session.trees, commit.root)]
    if not found:
        raise PathNotFoundError(b"/".join(where.elements), f"{commit.name}: nothing matches the pattern")
    return True, found


class _Get:
    """One `get file`."""

    def __init__(self, session: Session, threads: int, tell: Callable[[Progress], None]) -> None:
        self._session = session
        self._trees = session.trees
        self._threads = threads
        self._tell = tell

    def to_stdout(self, name: str, found: Found, offset: int, length: int | None) -> None:
        """Write files one behind the other."""
        if any(entry.is_directory for _, entry in found):
            raise typer.BadParameter("a folder needs --to FOLDER, or --tar")
        for path, entry in found:
            if entry.kind != Kind.FILE:
                raise IsADirectoryPathError(f"{name}: /{shown(b'/'.join(path))} is no file and has no bytes")
            write_to(self._trees, entry, sys.stdout.buffer, offset=offset, length=length)
        sys.stdout.buffer.flush()

    def one_range(self, entry: Entry, output: bytes, offset: int, length: int | None) -> None:
        with open(output, "wb") as stream:
            write_to(self._trees, entry, stream, offset=offset, length=length)

    def as_tar(self, found: Found, output: str | None) -> None:
        """Write an archive in which everything has its path from the root of the commit."""
        from pfsfuse.transfer.tars import write_tar

        with _stream(output) as stream:
            write_tar(self._trees, self._with_below(found), stream, threads=self._threads)

    def to_url(self, found: Found, url: str) -> None:
        """Write files below a URL, by their paths from the root of the commit."""
        from pfsfuse.transfer.urls import export_to_url

        left_out = export_to_url(
            self._session.store.chunks,
            self._with_below(found),
            url,
            threads=self._threads,
            progress=self._tell,
        )
        self._warn("/" + shown(b"/".join(path)) for path in left_out)

    def to_hosts(self, wanted: Sequence[tuple[Entry, bytes]]) -> None:
        """Write each entry to its place on the host."""
        left_out = export_all(self._trees, wanted, threads=self._threads, progress=self._tell)
        self._warn(map(shown, left_out))

    def to_folder(self, found: Found, output: str) -> None:
        """Write what a pattern found into a folder, everything by its path from the root of the commit."""
        places = [(entry, os.path.join(os.fsencode(output), *path)) for path, entry in _topmost(found)]
        for above in {os.path.dirname(place) for _, place in places}:
            os.makedirs(above, exist_ok=True)
        self.to_hosts(places)

    def _with_below(self, found: Found) -> Iterator[tuple[Path, Entry]]:
        for path, entry in _topmost(found):
            yield path, entry
            if entry.is_directory:
                yield from walk_in_order(self._trees, entry, path)

    def _warn(self, left_out: Iterable[str]) -> None:
        for name in left_out:
            self._session.screen.warn(f"left out, neither file nor folder nor symbolic link: {name}")


def _topmost(found: Found) -> Found:
    """Return what was found without what is below another; a pattern may find a folder and what is in it."""
    folders = {path for path, entry in found if entry.is_directory}
    return [
        (path, entry)
        for path, entry in found
        if not any(path[:length] in folders for length in range(len(path)))
    ]


@contextmanager
def _stream(output: str | None) -> Iterator[BinaryIO]:
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    else:
        with open(output, "wb") as stream:
            yield stream
