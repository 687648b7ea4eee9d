"""`pfs edit file`."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from pfsfuse.errors import ConflictError, IsADirectoryPathError
from pfsfuse.transfer.streams import Stream, parts_of, store
from pfsfuse.trees.entry import Entry, Kind
from pfsfuse.versions.changesets import Put
from pfsfuse.versions.export import write_to
from runner.errors import RunnerError

from .names import FileName, file_name
from .reading import entry_at, readable
from .session import Session
from .writing import apply, writable

_ON_DEFAULT = "vi"


class EditorError(RunnerError):
    """The editor cannot be run, or failed; nothing is changed."""


class EditedMeanwhileError(ConflictError):
    """Somebody else changed the file while it was in the editor."""


def edit_file(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="REPO@BRANCH:PATH", help="A file.")],
    editor: Annotated[
        str,
        typer.Option(
            "--editor",
            metavar="COMMAND",
            envvar=["PFS_EDITOR", "VISUAL", "EDITOR"],
            help="Is given the file.",
        ),
    ] = _ON_DEFAULT,
    description: Annotated[str, typer.Option("--message", "-m", help="Of the commit, if one is made.")] = "",
) -> None:
    """Edit a file of a branch; what the editor saves is committed, nothing if it is as it was."""
    where = file_name(name)
    ref = writable(session, where)
    before = _file(session, name, where)
    folder = Path(tempfile.mkdtemp(prefix="pfs-edit-"))
    # The editor shows the name, and chooses colours by its ending.
    draft = folder / os.fsdecode(where.elements[-1])
    with draft.open("wb") as stream:
        write_to(session.trees, before, stream)
    written = draft.stat()
    try:
        _run(shlex.split(editor), draft)
        after = _stored(session, where, before, draft)
        if after.content == before.content:
            session.screen.note(f"{name} is as it was; nothing is committed")
        else:
            _refuse_overtaken(session, name, where, before)
            apply(session, ref, [Put(where.elements, after)], description)
    except BaseException:
        if _is_as_written(draft, written):
            shutil.rmtree(folder)
        else:
            # What somebody typed is not thrown away.
            session.screen.warn(f"what was edited is kept in {draft}")
        raise
    shutil.rmtree(folder)


def _file(session: Session, name: str, where: FileName) -> Entry:
    entry = entry_at(session, readable(session, where), where.elements)
    if entry.kind != Kind.FILE:
        raise IsADirectoryPathError(f"{name} is no file and has no bytes to edit")
    return entry


def _is_as_written(draft: Path, written: os.stat_result) -> bool:
    """Return whether the editor has left the draft alone; one that it replaced has another inode."""
    try:
        now = draft.stat()
    except OSError:
        return False
    return (now.st_ino, now.st_size, now.st_mtime_ns) == (
        written.st_ino,
        written.st_size,
        written.st_mtime_ns,
    )


def _run(command: list[str], draft: Path) -> None:
    try:
        done = subprocess.run([*command, str(draft)], check=False)
    except OSError as error:
        raise EditorError(
            f"editor {shlex.join(command)}: {error.strerror or error}; give one with --editor or $EDITOR"
        ) from error
    if done.returncode:
        raise EditorError(f"editor {shlex.join(command)} ended with {done.returncode}; nothing is changed")


def _stored(session: Session, where: FileName, before: Entry, draft: Path) -> Entry:
    with draft.open("rb") as stream:
        made = store(session.store.chunks, Stream(where.elements, lambda: parts_of(stream)))
    return msgspec.structs.replace(made, mode=before.mode, uid=before.uid, gid=before.gid)


def _refuse_overtaken(session: Session, name: str, where: FileName, before: Entry) -> None:
    root = readable(session, where).root
    now = session.trees.resolve(root, where.elements)
    if now is None or now.content != before.content:
        raise EditedMeanwhileError(f"{name} was changed by somebody else meanwhile; edit it again")
