"""
What people and programs do to a store, noting what they intend and what they are told is durable.

Each workload gets the place of a store that is not there yet, on a disk that will lose its power.
As a program, `python -m tests.support.workloads NAME STORE SEED`, it prints what was acknowledged, to be
killed at any moment; the same seed gives the same intentions.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pfsfuse.store import chunks
from pfsfuse.store.index import Table
from pfsfuse.trees.entry import Kind
from pfsfuse.versions import overlay
from pfsfuse.versions.overlay import Overlay
from pfsfuse.versions.owner import Owner
from pfsfuse.versions.staged import StagedFile
from runner.cli.main import run
from runner.cli.session import ROOT_VARIABLE
from runner.jobs.records import job_key, jobs
from runner.jobs.triggers import trigger_change
from tests.support.builders import World, ref
from tests.support.commands import PfsProcess
from tests.support.ledger import Ledger
from tests.support.mounting import mounted
from tests.support.versions import Versions

MOUNTED = "mounted"
"""The folder of the mount, beside the disk: whoever kills a workload has to unmount it."""

Workload = Callable[[Path, Ledger, random.Random], None]


def pfs(store: Path, *words: str | Path) -> str:
    """Run a command that must succeed, on this store; return what it printed."""
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setenv(ROOT_VARIABLE, os.fspath(store))
        code = run(["pfs", *map(os.fspath, words), "--quiet"])
    assert 0 == code, words
    return printed.getvalue()


def put_files(store: Path, ledger: Ledger, draw: random.Random) -> None:
    """`pfs put file`, one file or a folder at a time, of all sizes; a repo is made and removed."""
    source = store.parent.parent / "source"
    (source / "folder" / "deep").mkdir(parents=True)
    content: dict[str, bytes] = {}
    ledger.repo("images")
    pfs(store, "create", "repo", "images")
    ledger.made("images")
    for number, size in enumerate([0, 300, 5_000, 200_000, 1_500_000]):
        data = content[f"f{number}"] = draw.randbytes(size)
        (source / "one").write_bytes(data)
        ledger.intends("images", content)
        pfs(store, "put", "file", f"images@master:/f{number}", "-f", source / "one")
        ledger.committed("images")
    for number in range(30):
        data = content[f"t/deep/n{number}"] = draw.randbytes(number * 50)
        (source / "folder" / "deep" / f"n{number}").write_bytes(data)
    ledger.intends("images", content)
    pfs(store, "put", "file", "-r", "images@master:/t", "-f", source / "folder")
    ledger.committed("images")

    ledger.repo("short")
    pfs(store, "create", "repo", "short")
    ledger.made("short")
    ledger.intends_removal("short")
    pfs(store, "delete", "repo", "short")
    ledger.removed("short")


def open_commit(store: Path, ledger: Ledger, draw: random.Random) -> None:
    """Start, put into the open commit, finish; without a mount."""
    source = store.parent.parent / "one"
    ledger.repo("images")
    pfs(store, "create", "repo", "images")
    ledger.made("images")
    content: dict[str, bytes] = {}
    for round_ in range(3):
        pfs(store, "start", "commit", "images@master")
        for number in range(3):
            name, data = f"r{round_}-{number}", draw.randbytes(draw.choice([10, 4_000, 400_000]))
            source.write_bytes(data)
            content[name] = data
            ledger.intends_file("images", name, data)
            pfs(store, "put", "file", f"images@master:/{name}", "-f", source)
            ledger.synced("images", name, data)
        ledger.intends("images", content)
        pfs(store, "finish", "commit", "images@master")
        ledger.committed("images")


def copy_into_the_mount(store: Path, ledger: Ledger, draw: random.Random) -> None:
    """Programs write files and sync some of them; commits are finished by name."""
    with mounted(autocommit_s=-1, store=store, folder=store.parent.parent / MOUNTED) as mount:
        ledger.repo("images")
        top = mount.repo()
        ledger.made("images")
        content: dict[str, bytes] = {}
        for round_ in range(3):
            (top / f"d{round_}").mkdir()
            for number, size in enumerate([0, 400, 30_000, 300_000, 900_000]):
                name = f"d{round_}/f{number}"
                data = content[name] = draw.randbytes(size)
                _write(ledger, top, name, data, sync=number != 1)
            _rewrite(ledger, top, f"d{round_}/f3", content, draw)
            _rename(ledger, top, f"d{round_}/f2", f"d{round_}/moved", content)
            ledger.intends("images", content)
            mount.finish()
            ledger.committed("images")


def _write(ledger: Ledger, top: Path, name: str, data: bytes, *, sync: bool) -> None:
    ledger.intends_file("images", name, b"")
    ledger.intends_file("images", name, data)
    with open(top / name, "wb") as file:
        file.write(data)
        if sync:
            file.flush()
            os.fsync(file.fileno())
            ledger.synced("images", name, data)


def _rewrite(ledger: Ledger, top: Path, name: str, content: dict[str, bytes], draw: random.Random) -> None:
    """Change some bytes in the middle, closed and not synced; then once more, synced."""
    for sync in (False, True):
        data = bytearray(content[name])
        data[150_000:150_100] = draw.randbytes(100)
        content[name] = bytes(data)
        ledger.forgets_file("images", name)
        ledger.intends_file("images", name, content[name])
        with open(top / name, "r+b") as file:
            file.seek(150_000)
            file.write(data[150_000:150_100])
            if sync:
                file.flush()
                os.fsync(file.fileno())
                ledger.synced("images", name, content[name])


def _rename(ledger: Ledger, top: Path, old: str, new: str, content: dict[str, bytes]) -> None:
    """The folder is synced, as programs do that replace files safely."""
    data = content[new] = content.pop(old)
    ledger.intends_file("images", new, data)
    ledger.forgets_file("images", old)
    os.rename(top / old, top / new)
    _sync_folder(top / os.path.dirname(new))
    ledger.synced("images", new, data)


def _sync_folder(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


def many_packs(store: Path, ledger: Ledger, draw: random.Random) -> None:
    """Packs are sealed and new ones begun, also in the middle of one commit."""
    with small_packs(300_000), _world(store) as world:
        ledger.repo("images")
        content: dict[str, bytes] = {}
        for number in range(8):
            new = {f"f{number}-{each}": draw.randbytes(draw.choice([900, 90_000])) for each in range(4)}
            content.update(new)
            ledger.intends("images", content)
            world.commit(new)
            ledger.committed("images")


@contextmanager
def small_packs(size: int) -> Iterator[None]:
    """Have packs sealed at *size* bytes: at 256 MiB a test would be long in coming there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "PACK_BYTES", size)
        yield


@contextmanager
def _world(store: Path) -> Iterator[World]:
    world = World(store)
    try:
        yield world
    finally:
        world.close()


def records_of_jobs(store: Path, ledger: Ledger, draw: random.Random) -> None:
    """Pipelines, their jobs and outputs, as the runner records them."""
    with _world(store) as world:
        versions = Versions(world.store)
        versions.repo("data")
        versions.pipeline("copy", [{"repo": {"name": "data"}}])
        ledger.repo("data")
        for number in range(5):
            content = {"f": draw.randbytes(700)}
            ledger.intends("data", content)
            made = versions.commit("data", content)
            ledger.committed("data")
            with world.store.write() as txn:
                trigger_change(txn, made.id, made.finished_ns or 0)
            with world.store.read() as txn:
                (job,) = [each for each in jobs(txn) if not each.state.is_final]
            ended = versions.end(job, reason="it failed" if number == 2 else "")
            with world.store.read() as txn:
                key = job_key(ended.pipeline, ended.id)
                value = txn.get(Table.DOCUMENTS, key)
            assert value is not None
            ledger.documented(key, value)


def long_open_commit(store: Path, ledger: Ledger, draw: random.Random) -> None:
    """Five files are written again and again in one open commit, so that its journal is written anew."""
    with _short_journals(15_000), _world(store) as world:
        ledger.repo("images")
        world.repo("images")
        ledger.made("images")
        owner = Owner(world.store, world.trees)
        opened = owner.start(ref("images"))
        content: dict[str, bytes] = {}
        for number in range(40):
            name, data = f"f{number % 5}", draw.randbytes(draw.choice([300, 2_000, 2_000, 8_000, 140_000]))
            ledger.forgets_file("images", name)
            ledger.intends_file("images", name, b"")
            ledger.intends_file("images", name, data)
            content[name] = data
            _stage(opened.overlay, name.encode(), data)
            if number % 3 == 0:
                found = opened.overlay.lookup(opened.overlay.root, name.encode())
                assert isinstance(found, StagedFile)
                opened.overlay.sync(found)
                ledger.synced("images", name, data)
        assert opened.overlay.journal.generation > 0
        ledger.intends("images", content)
        owner.finish(opened)
        ledger.committed("images")
        owner.close()


def _stage(tree: Overlay, name: bytes, data: bytes) -> None:
    """Do what `> file` does in the mount."""
    if tree.lookup(tree.root, name) is None:
        tree.create(tree.root, name, Kind.FILE, mode=0o644, uid=0, gid=0)
    file = tree.promote(tree.root, name)
    assert isinstance(file, StagedFile)
    tree.truncate(file, 0)
    tree.write(file, 0, data)
    tree.save(file)
    tree.bytes.rest(file)


@contextmanager
def _short_journals(size: int) -> Iterator[None]:
    """Have journals written anew from *size* bytes on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overlay, "_COMPACTED_FROM", size)
        yield


def rebuild_the_index(store: Path, ledger: Ledger, draw: random.Random) -> None:
    """The index is thrown away and made anew, in between puts."""
    source = store.parent.parent / "one"
    ledger.repo("images")
    pfs(store, "create", "repo", "images")
    ledger.made("images")
    content: dict[str, bytes] = {}
    for number in range(3):
        data = content[f"f{number}"] = draw.randbytes(50_000)
        source.write_bytes(data)
        ledger.intends("images", content)
        pfs(store, "put", "file", f"images@master:/f{number}", "-f", source)
        ledger.committed("images")
        pfs(store, "fsck", "--rebuild-index")


def collect_garbage(store: Path, ledger: Ledger, draw: random.Random) -> None:
    """Repos go, and gc gives the disk back what only they had; packs are small, so that some go."""
    source = store.parent.parent / "one"
    with small_packs(200_000):
        ledger.repo("stays")
        pfs(store, "create", "repo", "stays")
        ledger.made("stays")
        content: dict[str, bytes] = {}
        for round_ in range(2):
            goes = f"goes{round_}"
            ledger.repo(goes)
            pfs(store, "create", "repo", goes)
            for repo in (goes, "stays", goes):
                source.write_bytes(data := draw.randbytes(60_000))
                if repo == "stays":
                    content[f"f{round_}"] = data
                    ledger.intends("stays", content)
                else:
                    ledger.intends(goes, {"f": data})
                name = f"f{round_}" if repo == "stays" else "f"
                pfs(store, "put", "file", f"{repo}@master:/{name}", "-f", source)
                if repo == "stays":
                    ledger.committed("stays")
            ledger.intends_removal(goes)
            pfs(store, "delete", "repo", goes)
            ledger.removed(goes)
            pfs(store, "gc")


def from_other_stores(store: Path, ledger: Ledger, draw: random.Random) -> None:
    """A repo is restored from a dump and continued by a second one; another is copied; both come whole or not."""
    other = store.parent.parent / "other"
    source = store.parent.parent / "one"
    here, there = PfsProcess(store), PfsProcess(other)
    content: dict[str, bytes] = {}
    for repo in ("dumped", "copied"):
        ledger.repo(repo)
        pfs(other, "create", "repo", repo)
    for number in range(2):
        source.write_bytes(data := draw.randbytes(150_000))
        content[f"f{number}"] = data
        for repo in ("dumped", "copied"):
            pfs(other, "put", "file", f"{repo}@master:/f{number}", "-f", source)
            ledger.intends(repo, content)
        stream = subprocess.run(
            there.command("dump", "dumped"), env=there.environment, capture_output=True, check=True
        ).stdout
        here.ok("restore", input=stream)
        ledger.committed("dumped")
        pfs(other, "copy", "repo", "copied", store)
        ledger.committed("copied")


def transactions_and_purges(store: Path, ledger: Ledger, draw: random.Random) -> None:
    """Two repos are made in one transaction; a file is taken out of the history of one."""
    source = store.parent.parent / "one"
    with small_packs(100_000):
        ledger.repo("first")
        ledger.repo("second")
        ledger.together.append({"first", "second"})
        pfs(store, "start", "transaction")
        pfs(store, "create", "repo", "first")
        pfs(store, "create", "repo", "second")
        pfs(store, "finish", "transaction")
        ledger.made("first")
        ledger.made("second")

        pfs(store, "create", "repo", "people")
        secret = draw.randbytes(5_000)
        for name, data in (("secret", secret), ("other", draw.randbytes(120_000))):
            source.write_bytes(data)
            pfs(store, "put", "file", f"people@master:/{name}", "-f", source)
        pfs(store, "purge", "people:/secret", "--yes")
        ledger.purged(secret)
        ledger.intends("second", content := {"f": draw.randbytes(70_000)})
        source.write_bytes(content["f"])
        pfs(store, "put", "file", "second@master:/f", "-f", source)
        ledger.committed("second")


WORKLOADS: list[Workload] = [
    put_files,
    open_commit,
    copy_into_the_mount,
    many_packs,
    records_of_jobs,
    long_open_commit,
    rebuild_the_index,
    collect_garbage,
    from_other_stores,
    transactions_and_purges,
]


class Printed:
    """Tells the process that will kill this one."""

    def mark(self, text: str) -> None:
        print(text, flush=True)


def main() -> None:
    name, store, seed = sys.argv[1:]
    (workload,) = [each for each in WORKLOADS if each.__name__ == name]
    workload(Path(store), Ledger(Printed()), random.Random(seed))


if __name__ == "__main__":
    main()
