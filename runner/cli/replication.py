"""`pfs dump`, `pfs restore`, `pfs copy repo`: repos that leave for another store."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Annotated, BinaryIO

import msgspec
import typer

from pfsfuse.errors import InvalidNameError, PfsError, UnavailableError
from pfsfuse.ids import RepoName
from pfsfuse.names import check_repo_name
from pfsfuse.replication.dump import Dump
from pfsfuse.replication.frames import BadStreamError
from pfsfuse.replication.receiving import Receiving
from pfsfuse.replication.restore import Restore, RestoreReport
from pfsfuse.replication.sending import Sending
from pfsfuse.versions.commits import resolve
from pfsfuse.versions.model import CommitRef
from runner.jobs.leaving import lasting_documents

from .exits import exit_of
from .names import commit_name
from .screen import size
from .session import Session

_REMOTE = re.compile(r"(?P<host>[^/:]+):(?P<path>.+)\Z", re.DOTALL)
"""As rsync has it: a colon before the first slash."""


class ShownRestore(msgspec.Struct):
    """What a restore brought, as JSON and YAML have it."""

    repos: list[str]
    commits: int
    objects: int
    documents: int
    bytes: int
    notes: list[str]


class ShownCopy(msgspec.Struct):
    """What a copy brought, as JSON and YAML have it."""

    repo: str
    commits: int
    branches: int
    objects: int
    sent_bytes: int
    received_bytes: int


def dump(
    session: Session,
    repos: Annotated[
        list[str] | None, typer.Argument(metavar="[REPO]...", help="Only these; else all, with pipelines.")
    ] = None,
    exclude_commit: Annotated[
        list[str] | None,
        typer.Option(metavar="REPO@COMMIT", help="Leave a commit out, which must be there at a restore."),
    ] = None,
    since: Annotated[
        datetime | None, typer.Option(help="Leave commits out that were finished before this time.")
    ] = None,
) -> None:
    """Write repos as one stream to stdout, for `pfs restore`."""
    if sys.stdout.isatty():
        raise InvalidNameError("a dump is no text: send it to a file or a program (`pfs dump > FILE`)")
    with session.store.hold():
        excluded = {_commit(session, name) for name in exclude_commit or ()}
        done = Dump(session.store, sys.stdout.buffer.write)
        count = done.run(
            [check_repo_name(name) for name in repos or ()],
            exclude=excluded,
            since_ns=int(since.astimezone().timestamp() * 1e9) if since is not None else None,
            documents=lasting_documents,
        )
    sys.stdout.buffer.flush()
    session.screen.note(
        f"{count.commits} commits, {count.branches} branches, {count.objects} objects, "
        f"{count.documents} documents: {size(done.bytes)}"
    )


def _commit(session: Session, name: str) -> CommitRef:
    repo, text = commit_name(name)
    with session.store.read() as txn:
        return resolve(txn, repo, text).ref


def restore(
    session: Session,
    rename: Annotated[
        list[str] | None,
        typer.Option("--as", metavar="REPO=NAME", help="Restore a repo under another name; repeatable."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Replace repos and documents that are in the way.")
    ] = False,
) -> None:
    """Read a stream of `pfs dump` from stdin; repos that are here already are continued."""
    names = dict(_renaming(each) for each in rename or ())
    work = Restore(session.store, sys.stdin.buffer.read, names=names, force=force)
    try:
        report = work.run()
    except PfsError:
        whole = ", ".join(each.repo for each in work.report.repos)
        session.screen.warn(f"restored whole so far: {whole or 'nothing'}; the rest is as it was")
        raise
    _show_restored(session, report)


def _renaming(text: str) -> tuple[RepoName, RepoName]:
    old, equals, new = text.partition("=")
    if not equals:
        raise InvalidNameError(f"--as {text!r}: give it as REPO=NAME")
    return check_repo_name(old), check_repo_name(new)


def _show_restored(session: Session, report: RestoreReport) -> None:
    commits = sum(each.commits for each in report.repos)
    for note in report.notes:
        session.screen.warn(note)
    if session.screen.is_table:
        session.screen.note(
            f"{len(report.repos)} repos, {commits} new commits, {report.objects} new objects, "
            f"{report.documents} documents of {size(report.bytes)}"
        )
        return
    names = [str(each.repo) for each in report.repos]
    shown = ShownRestore(names, commits, report.objects, report.documents, report.bytes, report.notes)
    session.screen.record(shown, {})


def copy_repo(
    session: Session,
    repo: Annotated[str, typer.Argument(metavar="REPO")],
    to: Annotated[str, typer.Argument(metavar="STORE", help="A folder, or HOST:FOLDER.")],
    name: Annotated[str | None, typer.Option("--as", metavar="NAME", help="What it is called there.")] = None,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Replace a repo there that has another history.")
    ] = False,
    whole: Annotated[
        bool, typer.Option("--whole", help="Look at every object: brings what the other store has lost.")
    ] = False,
    rsh: Annotated[
        str, typer.Option("--rsh", "-e", metavar="COMMAND", help="How to reach HOST.", envvar="PFS_RSH")
    ] = "ssh",
    remote_pfs: Annotated[str, typer.Option(help="What `pfs` is called on HOST.")] = "pfs",
) -> None:
    """Copy a repo to another store; only what is missing there is sent."""
    command = _command(to, rsh, remote_pfs)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        sending = Sending(session.store, _writable(other), _readable(other), whole=whole)
        wanted = check_repo_name(name) if name is not None else None
        try:
            with session.store.hold():
                done = sending.run(check_repo_name(repo), name=wanted, force=force)
        except (BadStreamError, BrokenPipeError) as error:
            other.kill()
            raise UnavailableError(f"{shlex.join(command)} does not answer as it should: {error}") from error
        finally:
            with suppress(BrokenPipeError):
                # What is left in the buffer has nobody to read it.
                other.stdin.close()
    session.screen.note(f"{done.commits} new commits, {done.objects} objects, {size(done.sent_bytes)} sent")
    if done.left_out:
        session.screen.warn(
            f"{done.left_out} commits were made from others that are not there; copy those repos first"
        )
    if not session.screen.is_table:
        shown = ShownCopy(
            wanted or repo, done.commits, done.branches, done.objects, done.sent_bytes, done.received_bytes
        )
        session.screen.record(shown, {})


def _writable(other: subprocess.Popen[bytes]) -> BinaryIO:
    assert other.stdin is not None
    return other.stdin  # type: ignore[return-value]


def _readable(other: subprocess.Popen[bytes]) -> BinaryIO:
    assert other.stdout is not None
    return other.stdout  # type: ignore[return-value]


def _command(to: str, rsh: str, remote_pfs: str) -> list[str]:
    """Return the command that serves the other store."""
    remote = _REMOTE.match(to)
    if remote is None:
        folder = Path(to).expanduser().absolute()
        return [sys.executable, "-m", "runner.cli.main", "serve-copy", str(folder)]
    # The remote shell splits it again, as it does for rsync and git.
    return [
        *shlex.split(rsh),
        remote["host"],
        *shlex.split(remote_pfs),
        "serve-copy",
        shlex.quote(remote["path"]),
    ]


def serve_copy(
    session: Session,
    store: Annotated[Path, typer.Argument(metavar="STORE", help="The folder of the store.")],
) -> None:
    """Take a repo from the other end of stdin and stdout; `pfs copy repo` starts this."""
    with Session(session.screen, store.expanduser().absolute()) as served:
        try:
            Receiving(served.store, sys.stdin.buffer, sys.stdout.buffer).run()
        except PfsError as error:
            # The other side was told, and tells the person.
            raise typer.Exit(exit_of(error)) from None
