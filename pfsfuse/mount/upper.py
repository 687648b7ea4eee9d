"""
The upper levels of the mounted tree, which the mount makes up: repos, branches, commits, views.

A directory of these levels is a `GeneratedPlace`, named by its `parts`:

    ()                      the root: repos of the default project, and the dotted names
    ("repo", NAME)          branches, .commits, and every commit by any of its names
    ("commits", NAME)       .commits: finished commits by id
    (".projects", …)        repos of other projects
    (".workers" | ".jobs", …)  views (views.py)
    (".pfs",)               version, status

Below a branch the places are live, below a commit frozen.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from weakref import WeakValueDictionary

import trio

from .. import __version__
from ..errors import ForbiddenError, InvalidNameError, NotEmptyError, NotFoundError, PfsError
from ..ids import BranchName, RepoName
from ..names import DEFAULT_PROJECT
from ..store.store import Store
from ..trees.entry import Entry, Kind
from ..trees.tree import Trees
from ..versions.branches import MASTER, branch, create_branch, delete_branch, find_branch
from ..versions.branches import branches as list_branches
from ..versions.commits import list_commits, newest_good, resolve
from ..versions.model import BranchRef, Commit
from ..versions.owner import Owner
from ..versions.projects import create_project, projects
from ..versions.repos import create_repo, delete_project, delete_repo, find_repo, repo, repos
from .home import BranchHome
from .inodes import Inodes
from .places import FrozenPlace, GeneratedPlace, Place, TextPlace
from .views import Views

_HEX_ID = 32


class UpperTree:
    """See the module."""

    def __init__(self, store: Store, trees: Trees, owner: Owner) -> None:
        self.store = store
        self.trees = trees
        self.owner = owner
        self.started_ns = time.time_ns()
        self.root = GeneratedPlace(created_ns=self.started_ns)
        self.homes: dict[BranchRef, BranchHome] = {}
        self.views = Views(store, trees, store.staging / "views")
        self.inodes = Inodes(self.root)
        self._directories: dict[tuple[str, ...], GeneratedPlace] = {}
        # Kept by the inode table as long as the kernel knows them.
        self._commit_roots: WeakValueDictionary[tuple[str, ...], FrozenPlace] = WeakValueDictionary()
        self.forget_later: Callable[[list[tuple[int, bytes]]], None] = lambda names: None
        """Takes (directory inode, name) pairs that the kernel has to look up again, soon."""
        self.status: Callable[[], bytes] = lambda: b"{}\n"
        """Gives the text of .pfs/status."""

    # Looking

    def recover(self) -> None:
        """Show the open commits that an earlier mount left."""
        for opened in self.owner.recover():
            home = self.home(opened.branch)
            if home.opened is None:
                home.adopt(opened)

    def home(self, ref: BranchRef) -> BranchHome:
        """Return the home of a branch; BranchNotFoundError."""
        found = self.homes.get(ref)
        if found is None:
            with self.store.read() as txn:
                line = branch(txn, ref.repo, ref.branch)
                good = newest_good(txn, line)
                quota = repo(txn, ref.repo).quota_bytes
            root = good.root if good is not None and good.root is not None else self._empty(line.created_ns)
            found = BranchHome(
                self.owner,
                ref,
                root,
                writable=not line.provenance,
                quota=quota,
                forget_later=lambda names: self.forget_later(names),
            )
            self.homes[ref] = found
            opened = self.owner.open.get(ref)
            if opened is not None:
                found.adopt(opened)
        return found

    def _empty(self, created_ns: int) -> Entry:
        return self.trees.empty_directory(mtime_ns=created_ns)

    def child(self, parts: tuple[str, ...], name: str) -> Place | None:
        match parts:
            case ():
                return self._child_of_root(name)
            case (".projects",):
                return self._directory(".projects", name) if name in self._projects() else None
            case (".projects", project):
                return self._repo_place(f"{project}/{name}")
            case ("repo", repo_name):
                return self._child_of_repo(RepoName(repo_name), name)
            case ("commits", repo_name):
                return (
                    self._commit_place("commits", RepoName(repo_name), name) if len(name) == _HEX_ID else None
                )
            case (".workers" | ".jobs", *_):
                return self._child_of_views(parts, name)
            case (".pfs",):
                return self._status_file(name)
        return None

    def _child_of_root(self, name: str) -> Place | None:
        if name in (".projects", ".workers", ".jobs", ".pfs"):
            return self._directory(name)
        return self._repo_place(name)

    def _directory(self, *parts: str, created_ns: int | None = None, mode: int = 0o755) -> GeneratedPlace:
        found = self._directories.get(parts)
        if found is None:
            found = GeneratedPlace(*parts, created_ns=created_ns or self.started_ns, mode=mode)
            self._directories[parts] = found
        return found

    def _repo_place(self, name: str) -> Place | None:
        with self.store.read() as txn:
            try:
                found = find_repo(txn, RepoName(name))
            except PfsError:
                return None
        return self._directory("repo", found.name, created_ns=found.created_ns) if found is not None else None

    def _projects(self) -> list[str]:
        with self.store.read() as txn:
            return [each.name for each in projects(txn) if each.name != DEFAULT_PROJECT]

    def _child_of_repo(self, repo_name: RepoName, name: str) -> Place | None:
        if name == ".commits":
            return self._directory("commits", repo_name)
        with self.store.read() as txn:
            is_branch = find_branch(txn, repo_name, name) is not None
        if is_branch:
            return self.home(BranchRef(repo_name, BranchName(name))).root
        return self._commit_place("repo", repo_name, name)

    def _commit_place(self, parent: str, repo_name: RepoName, name: str) -> Place | None:
        found = self._commit_named(repo_name, name)
        if found is None or found.root is None:
            return None
        # A directory has one parent and one name, so every way to a commit has a root of its own.
        key = (parent, repo_name, found.id.hex(), name)
        known = self._commit_roots.get(key)
        if known is None:
            known = self._commit_roots[key] = FrozenPlace(repo_name, (), found.root)
        return known

    def _commit_named(self, repo_name: RepoName, name: str) -> Commit | None:
        """Return the commit that a name in a repo's directory means: an id, master^, master.1, master-0."""
        with self.store.read() as txn:
            try:
                return resolve(txn, repo_name, name)
            except (NotFoundError, InvalidNameError):
                pass
            line, dash, number = name.rpartition("-")
            try:
                return resolve(txn, repo_name, f"{line}/{number}") if dash and number.isdecimal() else None
            except (NotFoundError, InvalidNameError):
                return None

    def _child_of_views(self, parts: tuple[str, ...], name: str) -> Place | None:
        if self.views.is_area(parts):
            return self._directory(*parts, name) if self.views.exists((*parts, name)) else None
        return self.views.child(parts, name.encode("utf-8", "surrogateescape"), self.inodes)

    def _status_file(self, name: str) -> Place | None:
        if name == "version":
            return TextPlace(f"{__version__}\n".encode(), self.started_ns)
        if name == "status":
            return TextPlace(self.status(), time.time_ns())
        return None

    def names(self, parts: tuple[str, ...]) -> list[str]:
        match parts:
            case ():
                with self.store.read() as txn:
                    names = [str(r.name) for r in repos(txn) if "/" not in r.name]
                return [".jobs", ".pfs", ".projects", ".workers", *names]
            case (".projects",):
                return self._projects()
            case (".projects", project):
                with self.store.read() as txn:
                    return [r.name.partition("/")[2] for r in repos(txn) if r.name.startswith(f"{project}/")]
            case ("repo", repo_name):
                with self.store.read() as txn:
                    return [".commits", *(b.name for b in list_branches(txn, RepoName(repo_name)))]
            case ("commits", repo_name):
                with self.store.read() as txn:
                    return [c.id.hex() for c in list_commits(txn, RepoName(repo_name)) if c.root is not None]
            case (".workers" | ".jobs", *_):
                return self.views.names(parts)
            case (".pfs",):
                return ["status", "version"]
        return []

    # Making and removing

    async def make(self, parts: tuple[str, ...], name: str, kind: Kind) -> Place:
        """mkdir at the upper levels makes projects, repos and branches; nothing else can be made there."""
        match parts:
            case (".projects",) if kind is Kind.DIRECTORY:
                await trio.to_thread.run_sync(self._create_project, name)
            case () | (".projects", _) if kind is Kind.DIRECTORY:
                full = name if not parts else f"{parts[1]}/{name}"
                await trio.to_thread.run_sync(self._create_repo, full)
            case ("repo", repo_name) if kind is Kind.DIRECTORY:
                await trio.to_thread.run_sync(self._create_branch, RepoName(repo_name), name)
            case _:
                raise ForbiddenError("only repos and branches can be made here, with mkdir")
        place = self.child(parts, name)
        assert place is not None
        return place

    def _create_project(self, name: str) -> None:
        with self.store.write() as txn:
            create_project(txn, name)

    def _create_repo(self, name: str) -> None:
        with self.store.write() as txn:
            create_repo(txn, name)
            create_branch(txn, RepoName(name), MASTER)

    def _create_branch(self, repo_name: RepoName, name: str) -> None:
        with self.store.write() as txn:
            create_branch(txn, repo_name, name)

    async def remove(self, parts: tuple[str, ...], name: str, *, is_directory: bool) -> None:
        match parts:
            case (".projects",) if is_directory:
                await trio.to_thread.run_sync(self._remove_project, name)
            case () | (".projects", _) if is_directory:
                full = RepoName(name if not parts else f"{parts[1]}/{name}")
                await trio.to_thread.run_sync(self._remove_empty_repo, full)
                for ref in [ref for ref in self.homes if ref.repo == full]:
                    del self.homes[ref]
            case ("repo", repo_name) if is_directory:
                await self._remove_branch(BranchRef(RepoName(repo_name), BranchName(name)))
            case _:
                raise ForbiddenError("only empty repos and branches can be removed here, with rmdir")

    def _remove_project(self, name: str) -> None:
        with self.store.write() as txn:
            delete_project(txn, name)

    def _remove_empty_repo(self, name: RepoName) -> None:
        with self.store.write() as txn:
            if any(b.head or b.open for b in list_branches(txn, name)):
                raise NotEmptyError(f"repo {name} has commits; `pfs delete repo {name}` deletes them")
            delete_repo(txn, name)

    async def _remove_branch(self, ref: BranchRef) -> None:
        def remove() -> None:
            with self.store.write() as txn:
                if branch(txn, ref.repo, ref.branch).head is not None:
                    raise NotEmptyError(f"branch {ref} has commits; `pfs delete branch {ref}` deletes it")
                delete_branch(txn, ref)

        await trio.to_thread.run_sync(remove)
        self.homes.pop(ref, None)

    # What others did

    def forget_repo(self, name: RepoName) -> list[tuple[int, bytes]]:
        """
        Drop what shows a repo that was deleted; return the name that the kernel has to forget.

        With it go all names below, those of finished commits too, which it would keep for ever.
        """
        for parts in (("repo", name), ("commits", name)):
            self._directories.pop(parts, None)
        project, _, short = name.rpartition("/")
        above = self._directories.get((".projects", project)) if project else self.root
        return [(above.ino, short.encode())] if above is not None and above.ino else []

    def refresh(self, ref: BranchRef) -> tuple[list[tuple[int, bytes]], list[int]]:
        """Show the newest commit of a branch that somebody else moved; return what the kernel has to forget."""
        home = self.homes.get(ref)
        if home is None or home.gate is not None:
            return [], []
        with self.store.read() as txn:
            line = find_branch(txn, ref.repo, ref.branch)
            good = newest_good(txn, line) if line is not None else None
        was_made_anew = home.opened is not None and line is not None and line.open != home.opened.record.id
        if line is None or was_made_anew:
            del self.homes[ref]
            if home.opened is not None:
                self.owner.forget(home.opened)
            repo_place = self._directories.get(("repo", ref.repo))
            return ([(repo_place.ino, ref.branch.encode())] if repo_place is not None else []), []
        home.writable = not line.provenance
        if home.opened is not None:
            return [], []
        root = good.root if good is not None and good.root is not None else self._empty(line.created_ns)
        if root == home.committed:
            return [], []
        return home.advance(root)
