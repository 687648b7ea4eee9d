"""
What a test has been promised, and whether a store keeps it after a power cut.

While a workload runs on a `faultfs`, a `Ledger` notes what it is about to do (*intended*) and, in the
log of the disk, what it was told to be durable (*acknowledged*).  After a cut at any point of the log,
`check_promises` looks at what is left:

- what was acknowledged before the cut is there;
- nothing is there that was not intended as a whole: no commit with half of its files;
- fsck, which reads every byte, finds nothing;
- the next write works.

Contents are dictionaries of path → bytes; the history of a repo is the list of its contents.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import msgspec
import pytest

from pfsfuse.errors import NotFoundError
from pfsfuse.ids import RepoName
from pfsfuse.store import boot
from pfsfuse.store.index import Table
from pfsfuse.versions.commits import list_commits
from pfsfuse.versions.owner import Owner
from pfsfuse.versions.repos import repos as all_repos
from pfsfuse.versions.staged import StagedFile
from tests.support.builders import World, assert_sound

Content = dict[str, bytes]


class Kept(msgspec.Struct, frozen=True):
    """What was acknowledged up to some moment."""

    commits: dict[str, int] = {}
    """Repo → how many commits of its history are finished."""
    files: dict[str, dict[str, str]] = {}
    """Repo → path → bytes (base64) of files that were synced in its open commit."""
    gone: list[str] = []
    """Repos that were deleted."""
    documents: dict[str, str] = {}
    """Key → value, both in base64."""
    purged: list[str] = []
    """Bytes (base64) that must be nowhere in the packs."""


class Disk(Protocol):
    """What takes a note that something was acknowledged."""

    def mark(self, text: str) -> object: ...


class Ledger:
    """See the module."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self.histories: dict[str, list[Content]] = {}
        """What each repo may come to have, commit after commit."""
        self.written: dict[str, dict[str, set[bytes]]] = {}
        """Repo → path → everything that the file in the open commit has ever been, closed or synced."""
        self.together: list[set[str]] = []
        """Repos that are made in one transaction: all are there, or none."""
        self._kept = Kept()

    def repo(self, name: str) -> None:
        self.histories.setdefault(name, [])
        self.written.setdefault(name, {})

    def intends(self, repo: str, content: Mapping[str, bytes]) -> None:
        """The next commit of *repo* is to have this whole content."""
        self.histories[repo].append(dict(content))

    def intends_file(self, repo: str, path: str, data: bytes) -> None:
        """A file of the open commit is to have these bytes at some moment."""
        self.written[repo].setdefault(path, set()).add(data)

    def intends_removal(self, name: str) -> None:
        """A repo may be gone from now on, with all that was promised of it."""
        files = {repo: kept for repo, kept in self._kept.files.items() if repo != name}
        commits = {repo: number for repo, number in self._kept.commits.items() if repo != name}
        self._acknowledge(commits=commits, files=files)

    # What was acknowledged

    def committed(self, repo: str) -> None:
        """The commit that was intended last is finished."""
        commits = {**self._kept.commits, repo: len(self.histories[repo])}
        # What was in the open commit is in the finished one now.
        files = {name: kept for name, kept in self._kept.files.items() if name != repo}
        self._acknowledge(commits=commits, files=files)

    def made(self, repo: str) -> None:
        """The repo is there."""
        self._acknowledge(commits={**self._kept.commits, repo: len(self.histories[repo])})

    def synced(self, repo: str, path: str, data: bytes) -> None:
        """A file in the open commit is durable."""
        here = {**self._kept.files.get(repo, {}), path: base64.b64encode(data).decode()}
        self._acknowledge(files={**self._kept.files, repo: here})

    def renamed(self, repo: str, old: str, new: str) -> None:
        here = dict(self._kept.files[repo])
        here[new] = here.pop(old)
        self._acknowledge(files={**self._kept.files, repo: here})

    def forgets_file(self, repo: str, path: str) -> None:
        """A file is about to change: what was promised of it counts no more."""
        here = {name: data for name, data in self._kept.files.get(repo, {}).items() if name != path}
        self._acknowledge(files={**self._kept.files, repo: here})

    def removed(self, name: str) -> None:
        """The repo is gone."""
        self._acknowledge(gone=[*self._kept.gone, name])

    def documented(self, key: bytes, value: bytes) -> None:
        """A record of the floors above is there."""
        coded = {base64.b64encode(key).decode(): base64.b64encode(value).decode()}
        self._acknowledge(documents={**self._kept.documents, **coded})

    def purged(self, data: bytes) -> None:
        """These bytes, of a file that was stored raw, are gone for good."""
        self._acknowledge(purged=[*self._kept.purged, base64.b64encode(data).decode()])

    def _acknowledge(self, **what: object) -> None:
        self._kept = msgspec.structs.replace(self._kept, **what)
        self._disk.mark(msgspec.json.encode(self._kept).decode())


def kept_at(marks: list[str]) -> Kept:
    """Return what was acknowledged when the newest of *marks* was made."""
    return msgspec.json.decode(marks[-1], type=Kept) if marks else Kept()


def check_promises(root: Path, ledger: Ledger, kept: Kept) -> None:
    """
    Fail if the store at *root* does not keep what it promised, or cannot be written.

    After a power cut, in the block of `another_life`.
    """
    world = World(root)
    try:
        _check(world, ledger, kept)
        before = history(world, "after") if "after" in repos(world) else []
        world.commit({f"f{len(before)}": b"after" * 2000, "g": bytes([len(before)]) * 100}, repo="after")
        assert_sound(world)
        world.reopen()
        _check(world, ledger, kept)
        assert len(before) + 1 == len(history(world, "after"))
    finally:
        world.close()


@contextmanager
def another_life(folder: Path) -> Iterator[None]:
    """Have the machine be started anew, as far as programs can tell."""
    (folder / "boot_id").write_text(f"{uuid.uuid4()}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boot, "BOOT_ID", folder / "boot_id")
        yield


def _check(world: World, ledger: Ledger, kept: Kept) -> None:
    assert_sound(world)
    there = repos(world)
    assert kept.commits.keys() <= there, f"lost: {kept.commits.keys() - there}"
    assert not there & set(kept.gone)
    for repo in there & ledger.histories.keys():
        found = history(world, repo)
        wanted = ledger.histories[repo]
        least = kept.commits.get(repo, 0)
        assert least <= len(found), f"{repo}: {len(found)} commits, {least} were acknowledged"
        assert wanted[: len(found)] == found, f"{repo}: a commit has other files than it was given"
    assert all(there & made in (set(), made) for made in ledger.together)
    for coded in kept.purged:
        data = base64.b64decode(coded)
        assert not any(data in pack.read_bytes() for pack in (world.root / "packs").iterdir())
    _check_open(world, ledger, kept)
    with world.store.read() as txn:
        for key, value in kept.documents.items():
            assert base64.b64decode(value) == txn.get(Table.DOCUMENTS, base64.b64decode(key)), key


def _check_open(world: World, ledger: Ledger, kept: Kept) -> None:
    """What is in open commits, after the recovery that every mount begins with."""
    owner = Owner(world.store, world.trees, wait_s=5.0)
    try:
        owner.recover()
        contents = {str(ref.repo): world.files(opened.overlay.seal()) for ref, opened in owner.open.items()}
        doubtful = {
            str(ref.repo): {path for file in opened.overlay.doubtful_files() for path in paths_of(file)}
            for ref, opened in owner.open.items()
        }
    finally:
        owner.close(half=set(owner.open))
    for repo, content in contents.items():
        finished = history(world, repo)
        committed = finished[-1] if finished else {}
        for path, data in content.items():
            if path in doubtful[repo]:
                # The mount says so, and waits for it to be written anew.
                continue
            may_be = {*ledger.written.get(repo, {}).get(path, set()), committed.get(path, b"")}
            assert data in may_be, f"{repo}: {path} has {len(data)} bytes that nobody wrote like that"
    for repo, files in kept.files.items():
        finished = history(world, repo)
        here = contents.get(repo, finished[-1] if finished else {})
        for path, coded in files.items():
            assert base64.b64decode(coded) == here.get(path), (
                f"{repo}: {path} was synced; there are {sorted(here)}"
                + ("" if repo in contents else " and no open commit")
            )


def paths_of(file: StagedFile) -> list[str]:
    """Return the paths of a staged file."""
    found = []
    for directory, name in [(file.parent, file.name), *file.more_names]:
        elements = [name]
        while directory is not None and directory.parent is not None:
            elements.insert(0, directory.name)
            directory = directory.parent
        if directory is not None:
            found.append(b"/".join(elements).decode())
    return found


def repos(world: World) -> set[str]:
    with world.store.read() as txn:
        return {str(each.name) for each in all_repos(txn)}


def history(world: World, repo: str) -> list[Content]:
    """Return the contents of the finished commits of a repo's master, oldest first."""
    with world.store.read() as txn:
        try:
            found = list_commits(txn, RepoName(repo), branch_name="master")
        except NotFoundError:
            return []
    newest_first = [commit for commit in found if commit.is_finished]
    return [world.files(commit.root) for commit in reversed(newest_first)]
