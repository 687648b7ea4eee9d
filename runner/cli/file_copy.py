"""`pfs copy|delete file`."""

from __future__ import annotations

from typing import Annotated

import typer

from pfsfuse.trees.entry import Kind
from pfsfuse.versions.changesets import Append, Change, Delete, Put, PutTree

from .names import file_name
from .reading import entry_at, readable
from .session import Session
from .writing import apply, writable

Description = Annotated[str, typer.Option("--message", "-m", help="Of the commit, if one is made.")]


def copy_file(
    session: Session,
    source: Annotated[str, typer.Argument(metavar="REPO@COMMIT:PATH", help="A file or a folder.")],
    target: Annotated[str, typer.Argument(metavar="REPO@BRANCH[:PATH]", help="Where to.")],
    append: Annotated[bool, typer.Option("--append", "-a", help="Add to files that are there.")] = False,
    description: Description = "",
) -> None:
    """
    Copy a file or a folder to another place, commit, repo or project; no data is moved.

    Without a path, or with a slash at its end, it keeps its name.  A folder joins one that is there.
    """
    whence, where = file_name(source), file_name(target)
    ref = writable(session, where)
    found = readable(session, whence)
    path = whence.elements
    entry = entry_at(session, found, path)
    to = where.elements
    if where.is_directory_form and path and not (entry.is_directory and where.path is not None):
        to = (*to, path[-1])
    change: Change
    if entry.is_directory:
        change = PutTree(to, entry, append)
    elif append and entry.kind == Kind.FILE:
        change = Append(to, entry)
    else:
        change = Put(to, entry)
    apply(session, ref, [change], description)


def delete_file(
    session: Session,
    names: Annotated[list[str], typer.Argument(metavar="REPO@BRANCH:PATH...", help="Of one branch.")],
    description: Description = "",
    recursive: Annotated[bool, typer.Option("--recursive", "-r", hidden=True)] = False,
) -> None:
    """Delete files, or folders with all below them; one that is not there is fine."""
    # --recursive is taken because the original wants it for folders; here they need nothing.
    places = [file_name(name) for name in names]
    if any(place.path is None for place in places):
        raise typer.BadParameter("a path is missing: REPO@BRANCH:PATH (:/ is everything)")
    refs = {writable(session, place) for place in places}
    if len(refs) > 1:
        raise typer.BadParameter("the files are on several branches; delete them one branch at a time")
    apply(session, refs.pop(), [Delete(place.elements) for place in places], description)
