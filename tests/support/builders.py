"""Stores with something in them, made with few words."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pfsfuse.ids import BranchName, RepoName
from pfsfuse.store.index import WriteTxn
from pfsfuse.store.store import Store
from pfsfuse.trees import contents as file_contents
from pfsfuse.trees.contents import Contents, ContentsWriter
from pfsfuse.trees.entry import Entry, Kind
from pfsfuse.trees.tree import Trees
from pfsfuse.versions import fsck
from pfsfuse.versions.branches import branch as branch_of
from pfsfuse.versions.changesets import Change, Put
from pfsfuse.versions.commits import finish_commit, head_of, start_commit
from pfsfuse.versions.model import BranchRef, Commit, CommitRef, Origin
from pfsfuse.versions.owner import commit_changes
from pfsfuse.versions.projects import create_project, find_project, project_of
from pfsfuse.versions.repair import RepairReport, repair
from pfsfuse.versions.repos import create_repo

Files = Mapping[str, bytes]


class World:
    """An open store and what goes with it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = Store(root)
        self.trees = Trees(self.store.chunks)
        self.is_damaged = False
        """Set by tests that damage the store on purpose: then nobody expects fsck to be silent."""

    # Making

    def repo(self, name: str) -> RepoName:
        """Create a repo."""
        with self.store.write() as txn:
            _ensure_project(txn, name)
            return create_repo(txn, name).name

    def entry(self, data: bytes, *, mode: int = 0o644) -> Entry:
        """Store the bytes of a file and return its entry."""
        writer = ContentsWriter(self.store.chunks)
        writer.write(data)
        return writer.finish().entry(mode=mode, uid=0, gid=0, mtime_ns=1)

    def tree(self, files: Files) -> Entry:
        """Return a directory with *files*, by path."""
        changes = {path_of(path): self.entry(data) for path, data in files.items()}
        return self.trees.apply(self.trees.empty_directory(), changes)

    def commit(self, files: Files, *, repo: str = "images", branch: str = "master") -> Commit:
        """Add *files* as one finished commit, making the repo if need be."""
        with self.store.write() as txn:
            _ensure_project(txn, repo)
            create_repo(txn, repo, update=True)
        changes: list[Change] = [Put(path_of(path), self.entry(data)) for path, data in files.items()]
        return commit_changes(self.store, self.trees, ref(repo, branch), changes)

    def output(
        self,
        files: Files,
        provenance: tuple[CommitRef, ...] = (),
        *,
        repo: str = "output",
        branch: str = "master",
        error: str = "",
        placeholder: bool = False,
    ) -> Commit:
        """Add a finished commit such as pipelines make, with the whole content *files*."""
        root = self.tree(files)
        with self.store.write() as txn:
            _ensure_project(txn, repo)
            create_repo(txn, repo, update=True)
            started = start_commit(
                txn,
                RepoName(repo),
                branch,
                origin=Origin.AUTO,
                provenance=provenance,
                placeholder=placeholder,
            )
            return finish_commit(txn, started.ref, root, error=error)

    def put_commit(self, repo: str, root: Entry) -> Commit:
        """Add a finished commit with the content *root*, making the repo if need be."""
        with self.store.write() as txn:
            create_repo(txn, repo, update=True)
            started = start_commit(txn, RepoName(repo), "master")
            return finish_commit(txn, started.ref, root)

    # Looking

    def head(self, repo: str = "images", branch: str = "master") -> Commit:
        """Return the newest finished commit of a branch."""
        with self.store.read() as txn:
            found = head_of(txn, branch_of(txn, RepoName(repo), branch))
        assert found is not None
        return found

    def files(self, root: Entry | None) -> dict[str, bytes]:
        """Return all files below a directory, by path."""
        assert root is not None
        return {
            shown(path): self.read(entry) for path, entry in self.trees.walk(root) if entry.kind == Kind.FILE
        }

    def read(self, entry: Entry) -> bytes:
        """Return the bytes of a file."""
        return file_contents.read(self.store.chunks, Contents.of(entry), 0, entry.size)

    def fsck(self, *, verify_data: bool = True) -> list[fsck.Problem]:
        """Look for damage, as another process would: with a cache of its own."""
        return fsck.check(self.store, Trees(self.store.chunks), verify_data=verify_data)

    def repair(self, *, dry_run: bool = False) -> RepairReport:
        """Mend the store, as `pfs fsck --repair` does, and open it again."""
        self.store.close()
        try:
            return repair(self.root, dry_run=dry_run)
        finally:
            self.open()

    # Closing

    def open(self) -> None:
        """Open the store, which was closed."""
        self.store = Store(self.root)
        self.trees = Trees(self.store.chunks)

    def reopen(self) -> None:
        """Close the store and open it again, as another process would."""
        self.store.close()
        self.open()

    def close(self) -> None:
        self.store.close()


def _ensure_project(txn: WriteTxn, repo: str) -> None:
    if find_project(txn, project_of(repo)) is None:
        create_project(txn, project_of(repo))


@contextmanager
def checked_world(root: Path) -> Iterator[World]:
    """A store that must be sound at the end, also for a process that opens it later."""
    world = World(root)
    try:
        yield world
        if not world.is_damaged:
            assert_sound(world)
            world.reopen()
            assert_sound(world)
    finally:
        world.close()


def assert_sound(world: World) -> None:
    """Fail with all that fsck finds."""
    problems = world.fsck()
    assert not problems, "\n".join(str(problem) for problem in problems)


def ref(repo: str = "images", branch: str = "master") -> BranchRef:
    """Return the name of a branch."""
    return BranchRef(RepoName(repo), BranchName(branch))


def path_of(text: str) -> tuple[bytes, ...]:
    """Return the elements of a path."""
    return tuple(name.encode() for name in text.split("/"))


def shown(path: tuple[bytes, ...]) -> str:
    """Undo `path_of`."""
    return b"/".join(path).decode()


def flip(path: Path, offset: int, *, bit: int = 0) -> None:
    """Flip one bit: unlike overwriting, this always changes something."""
    data = bytearray(path.read_bytes())
    data[offset] ^= 1 << bit
    path.chmod(path.stat().st_mode | stat.S_IWUSR)
    path.write_bytes(data)
