"""Transactions that finish commits which the mount owns: they stand still meanwhile, and then go on or are finished."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from pfsfuse.errors import ConflictError, UnavailableError
from pfsfuse.mount.writing import Writing
from pfsfuse.versions import transactions
from pfsfuse.versions.model import BranchRef
from pfsfuse.versions.owner import NoOpenCommitError
from pfsfuse.versions.requests import CreateRepo, FinishCommit
from pfsfuse.versions.transactions import TransactionFailedError, commits_to_seal, transaction
from tests.support.builders import ref
from tests.support.mounting import Mounted, mounted

pytestmark = [pytest.mark.mount, pytest.mark.timeout(60)]


@pytest.fixture
def names(request: pytest.FixtureRequest) -> list[str]:
    """The names of a test's own repos."""
    base = "".join(c if c.isalnum() else "-" for c in request.node.name)[:100].strip("-")
    return [f"{base}-{letter}" for letter in "ab"]


def begin(mount: Mounted, names: list[str]) -> transactions.Transaction:
    """Write into two repos and ask, in a transaction, that both commits be finished."""
    world = mount.world
    for name in names:
        (mount.repo(name) / "f").write_bytes(b"first")
    begun = transactions.start(world.store)
    transactions.append(world.store, world.trees, begun.id, *(FinishCommit(ref(name)) for name in names))
    return begun


def finish(mount: Mounted, begun: transactions.Transaction) -> transactions.Transaction:
    """Do as the command line does."""
    store, trees = mount.world.store, mount.world.trees
    with store.read() as txn:
        opened = commits_to_seal(txn, transaction(txn, begun.id))
    refs = [BranchRef(each.repo, each.branch) for each in opened]
    with Writing(store, trees).holding(refs) as held:
        return transactions.finish(store, trees, begun.id, roots=held.roots, assure=held.assure)


def test_commits_that_the_mount_owns_are_finished_together(patient: Mounted, names: list[str]) -> None:
    """
    What was copied into two repos appears in one step; writing goes on in new commits.
    """
    begun = begin(patient, names)

    done = finish(patient, begun)

    assert [{"f": b"first"}] * 2 == [patient.files(name) for name in names]
    assert list(done.responses) == [patient.head(name).id for name in names]
    for name in names:
        path = patient.master(name) / "f"
        assert b"first" == path.read_bytes()
        path.write_bytes(b"second")
        patient.finish(name)
        assert {"f": b"second"} == patient.files(name)


def test_a_transaction_that_fails_leaves_the_commits_open(patient: Mounted, names: list[str]) -> None:
    """
    Another request of it cannot be done; the commits can be written and finished as before.
    """
    world = patient.world
    begun = begin(patient, names)
    transactions.append(world.store, world.trees, begun.id, CreateRepo(ref(f"{names[0]}-c").repo))
    world.repo(f"{names[0]}-c")

    with pytest.raises(TransactionFailedError):
        finish(patient, begun)

    transactions.delete(world.store, begun.id)
    for name in names:
        (patient.master(name) / "g").write_bytes(b"more")
        patient.finish(name)
        assert {"f": b"first", "g": b"more"} == patient.files(name)


def test_who_writes_waits_while_commits_are_held(patient: Mounted, names: list[str]) -> None:
    """
    A program writes meanwhile: its bytes are in the next commit, none is lost.
    """
    begun = begin(patient, names)
    world = patient.world
    wrote = threading.Event()

    def write() -> None:
        (patient.master(names[0]) / "late").write_bytes(b"late")
        wrote.set()

    with Writing(world.store, world.trees).holding([ref(name) for name in names]) as held:
        writer = threading.Thread(target=write)
        writer.start()
        assert not wrote.wait(0.3)
        transactions.finish(world.store, world.trees, begun.id, roots=held.roots, assure=held.assure)
    writer.join()

    assert {"f": b"first"} == patient.files(names[0])
    patient.finish(names[0])
    assert {"f": b"first", "late": b"late"} == patient.files(names[0])


def test_a_killed_process_lets_go_of_what_it_held(patient: Mounted, names: list[str]) -> None:
    """
    It held two commits and had not finished them.
    """
    begin(patient, names)
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from pfsfuse.mount.client import MountClient\n"
        "from tests.support.builders import ref\n"
        "held = MountClient(Path(sys.argv[1]))\n"
        "held.hold([ref(name) for name in sys.argv[2:]])\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", program, patient.world.store.run, *names], check=False, timeout=30)

    for name in names:
        (patient.master(name) / "g").write_bytes(b"more")
        patient.finish(name)
        assert {"f": b"first", "g": b"more"} == patient.files(name)


def test_a_mount_that_ended_holds_nothing(names: list[str]) -> None:
    """
    It is killed while a transaction is about to be finished; nothing is done, and the next mount goes on.
    """
    with mounted(autocommit_s=-1) as mount:
        begun = begin(mount, names)
        store, trees = mount.world.store, mount.world.trees

        with Writing(store, trees).holding([ref(name) for name in names]) as held:
            mount.kill()
            with pytest.raises(UnavailableError):
                transactions.finish(store, trees, begun.id, roots=held.roots, assure=held.assure)
        mount.start()

        (mount.master(names[0]) / "g").write_bytes(b"more")
        finish(mount, begun)
        assert {"f": b"first", "g": b"more"} == mount.files(names[0])
        assert {"f": b"first"} == mount.files(names[1])


def test_commits_that_are_written_or_not_there_cannot_be_held(patient: Mounted, names: list[str]) -> None:
    """
    The first has a file open for writing, the second does not exist; nothing stays held.
    """
    writing = Writing(patient.world.store, patient.world.trees)
    for name in names:
        patient.repo(name)
    with open(patient.master(names[0]) / "f", "wb") as file:
        file.write(b"first")
        file.flush()
        with pytest.raises(ConflictError, match="/f"), writing.holding([ref(name) for name in names]):
            pass
    with pytest.raises(NoOpenCommitError), writing.holding([ref(name) for name in names]):
        pass

    patient.finish(names[0])
    assert {"f": b"first"} == patient.files(names[0])
