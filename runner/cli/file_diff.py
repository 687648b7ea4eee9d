"""`pfs diff file`."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from pfsfuse.errors import PathNotFoundError
from pfsfuse.trees.entry import Entry, Kind
from pfsfuse.versions.export import write_to
from pfsfuse.versions.listing import Pair, pairs
from runner.errors import RunnerError

from .names import FileName, file_name
from .reading import ShownFile, parent_of, readable, shown_file, shown_path
from .screen import size
from .session import Session

_SAME, _DIFFERENT = 0, 1
"""How diff(1) and what imitates it end; anything above is a failure."""


class DiffCommandError(RunnerError):
    """The command that compares two files cannot be run, or failed."""


class ShownPair(msgspec.Struct):
    """A path that differs, as JSON and YAML have it."""

    change: str
    path: str
    old: ShownFile | None
    new: ShownFile | None


def diff_file(
    session: Session,
    new: Annotated[str, typer.Argument(metavar="NEW", help="REPO@COMMIT[:PATH], a file or a folder.")],
    old: Annotated[
        str | None,
        typer.Argument(
            metavar="[OLD]", help="REPO@COMMIT[:PATH]; without it NEW's path in the commit before."
        ),
    ] = None,
    name_only: Annotated[bool, typer.Option("--name-only", help="Say which, not how.")] = False,
    shallow: Annotated[
        bool, typer.Option("--shallow", "-s", help="Folders in the folder as a whole, not what is in them.")
    ] = False,
    command: Annotated[
        str,
        typer.Option(
            "--diff-command",
            metavar="COMMAND",
            envvar="PFS_DIFF_COMMAND",
            help="Is given two files, the old one first.",
        ),
    ] = "diff -u",
    no_pager: Annotated[bool, typer.Option("--no-pager", hidden=True)] = False,
) -> None:
    """Show what differs between two files or folders of any commits, as text or by name."""
    # --no-pager is taken because the original has it; here there is none.
    where = file_name(new)
    after = readable(session, where)
    newer = session.trees.resolve(after.root, where.elements)
    if old is None:
        base = parent_of(session, after)
        older = session.trees.resolve(base, where.elements) if base is not None else None
    else:
        older = _at(session, file_name(old))
    if newer is None and older is None:
        raise PathNotFoundError(b"/".join(where.elements), f"{after.name} or what it is compared with")
    found = pairs(session.trees, older, newer, where.elements, shallow=shallow)
    if name_only or not session.screen.is_table:
        _show_names(session, found)
        return
    for pair in found:
        # What differs below a folder is named by itself, but for a shallow comparison.
        if _is_file(pair.old) or _is_file(pair.new):
            _show_text(session, pair, shlex.split(command))
        elif shallow and pair.path != where.elements:
            session.screen.result(f"{_change(pair)} {_path(pair)}")


def _at(session: Session, where: FileName) -> Entry | None:
    return session.trees.resolve(readable(session, where).root, where.elements)


def _show_names(session: Session, found: list[Pair]) -> None:
    rows = [
        ShownPair(
            _change(pair),
            _path(pair),
            shown_file(pair.path, pair.old) if pair.old is not None else None,
            shown_file(pair.path, pair.new) if pair.new is not None else None,
        )
        for pair in found
    ]
    session.screen.rows(
        rows,
        {
            "CHANGE": lambda row: row.change,
            "NAME": lambda row: row.path,
            "OLD SIZE": lambda row: size(row.old.size_bytes) if row.old else "-",
            "NEW SIZE": lambda row: size(row.new.size_bytes) if row.new else "-",
        },
    )


def _change(pair: Pair) -> str:
    if pair.old is None:
        return "added"
    return "deleted" if pair.new is None else "changed"


def _path(pair: Pair) -> str:
    entry = pair.new or pair.old
    assert entry is not None  # a pair names something that there is or was
    return shown_path(pair.path, entry)


def _is_file(entry: Entry | None) -> bool:
    return entry is not None and entry.kind == Kind.FILE


def _show_text(session: Session, pair: Pair, command: list[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="pfs-diff-") as folder:
        # The command prints the names that it is given; those of this folder mean nothing to anybody.
        names = [
            _written(session, entry, Path(folder), Path(label, *map(os.fsdecode, pair.path)))
            for entry, label in ((pair.old, "old"), (pair.new, "new"))
        ]
        sys.stdout.flush()
        try:
            done = subprocess.run([*command, *names], cwd=folder, check=False)
        except OSError as error:
            raise DiffCommandError(
                f"{shlex.join(command)}: {error.strerror or error}; give another with --diff-command"
            ) from error
    if done.returncode not in (_SAME, _DIFFERENT):
        raise DiffCommandError(f"{shlex.join(command)} ended with {done.returncode} on {_path(pair)}")


def _written(session: Session, entry: Entry | None, folder: Path, name: Path) -> str:
    """Write a file for the command to read and return its name below *folder*."""
    if entry is None or entry.kind == Kind.DIRECTORY:
        return os.devnull
    (folder / name).parent.mkdir(parents=True)
    with (folder / name).open("wb") as stream:
        if entry.kind == Kind.FILE:
            write_to(session.trees, entry, stream)
        else:
            stream.write(entry.data)
    # What compares files shows their times.
    os.utime(folder / name, ns=(entry.mtime_ns, entry.mtime_ns))
    return str(name)
