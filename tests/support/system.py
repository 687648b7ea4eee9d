"""
A whole system for a test: a store, a mount process, a runner process, and what one does with them.

    with System(base_image) as system:
        system.create_repo("data")
        system.create_pipeline(name="copy", inputs=[{"repo": {"name": "data"}}], stdin=["cp -r /pfs/data/* /pfs/out"])
        change = system.put("data", {"file": b"hello"})
        system.wait(change)
        assert {"file": b"hello"} == system.files("copy")

Whatever happens in the block, at its end there is no process, no mount and no container of it left.
Nothing here touches the mount but by the ways that users have: files, and the control socket.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from pfsfuse.ids import BranchName, CommitId, RepoName
from pfsfuse.mount.client import MountClient
from pfsfuse.mount.mountpoint import mount_kind
from pfsfuse.store.store import Store
from pfsfuse.trees.contents import Contents, ContentsWriter, Reader
from pfsfuse.trees.entry import Entry, Kind
from pfsfuse.trees.tree import Trees
from pfsfuse.versions.branches import create_branch
from pfsfuse.versions.changes import Listener, poke_after_writes
from pfsfuse.versions.changesets import Put
from pfsfuse.versions.commits import commit, resolve
from pfsfuse.versions.fsck import check
from pfsfuse.versions.model import BranchRef, Commit
from pfsfuse.versions.owner import commit_changes
from pfsfuse.versions.repos import create_repo
from runner.jobs.creation import create_job, create_pipeline, delete_pipeline
from runner.jobs.logs import LogLine, LogReader
from runner.jobs.model import ContainerRecord, JobRecord, JobState
from runner.jobs.records import containers, find_job, has_read, jobs
from runner.spec.era1 import load_jobs, load_pipelines

TIMEOUT_S = 30.0
GATE = "mkfifo /pfs/out/gate && cat /pfs/out/gate; rm /pfs/out/gate"
"""A line of shell that waits until the test opens the gate, and then leaves nothing of it."""
MASTER = "master"
_RUNTIME = "oci-runtime.json"
_SOURCES = Path(__file__).parents[2]


class System:
    """See the module."""

    def __init__(
        self,
        image: str,
        *,
        memory: Path | None = None,
        autocommit_s: float = 0.2,
        run: bool = True,
        disk: str = "",
    ) -> None:
        """
        *memory* is a folder of the session: finding the OCI runtime that works takes a second.

        *run* says whether the runner is started; the mount always is.  *disk*, such as "64m", is
        the size of a disk for the store alone.
        """
        self.image = image
        self._memory = memory
        self.root = Path(tempfile.mkdtemp(prefix="pfst-", dir="/tmp"))
        self.point = self.root / "pfs"
        self.autocommit_s = autocommit_s
        self._run = run
        self._has_disk = bool(disk)
        if disk:
            (self.root / "store").mkdir()
            command = ["mount", "-t", "tmpfs", "-o", f"size={disk}", "pfs-test", self.root / "store"]
            subprocess.run(command, check=True)
        self.store = Store(self.root / "store")
        poke_after_writes(self.store)
        self.trees = Trees(self.store.chunks)
        self.mount: subprocess.Popen[bytes] | None = None
        self.runner: subprocess.Popen[bytes] | None = None
        if memory is not None and (memory / _RUNTIME).exists():
            shutil.copy(memory / _RUNTIME, self.store.run)

    def __enter__(self) -> System:
        try:
            self.start_mount()
            if self._run:
                self.start_runner()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # Processes

    def start_mount(self) -> None:
        """Start the mount process; return when the mount point can be used."""
        self.mount = self._spawn("mount", os.fspath(self.point), str(self.autocommit_s))

    def start_runner(self) -> None:
        """Start the runner process; return when it takes jobs."""
        self.runner = self._spawn("runner")
        if self._memory is not None:
            shutil.copy(self.store.run / _RUNTIME, self._memory)

    def _spawn(self, role: str, *arguments: str) -> subprocess.Popen[bytes]:
        with open(self.root / f"{role}.log", "ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.processes", role, self.store.root, *arguments],
                cwd=_SOURCES,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            process.wait()
            raise AssertionError(f"the {role} did not start:\n{self.log_of(role)}")
        return process

    def kill_mount(self) -> None:
        """kill -9."""
        _kill(self.mount)
        self.mount = None

    def kill_runner(self) -> None:
        """kill -9."""
        _kill(self.runner)
        self.runner = None

    def stop_mount(self) -> None:
        """Have the mount unmount and end."""
        _stop(self.mount)
        self.mount = None

    def stop_runner(self) -> None:
        """Have the runner end in good order."""
        _stop(self.runner)
        self.runner = None

    def log_of(self, role: str) -> str:
        """Return the end of a process's log."""
        path = self.root / f"{role}.log"
        return path.read_text(errors="replace")[-6000:] if path.exists() else ""

    def close(self) -> None:
        """End everything; fail if the store is damaged, or the runner, ended in good order, left a container."""
        orderly = self.runner is not None and self.runner.poll() is None
        try:
            _stop(self.runner)
            left = self.containers()
            for name in left:
                subprocess.run(
                    ["podman", "rm", "--force", "--time", "0", name], capture_output=True, check=False
                )
            _stop(self.mount)
        finally:
            self._unmount()
            problems = check(self.store, self.trees)
            self.store.close()
            if self._has_disk:
                subprocess.run(["umount", "--lazy", self.root / "store"], check=True)
            shutil.rmtree(self.root)
        assert [] == problems
        if orderly:
            assert [] == left, "the runner left containers"

    def _unmount(self) -> None:
        for flags in (["-u"], ["-u", "-z"]):
            if mount_kind(self.point) is None:
                return
            subprocess.run(["fusermount3", *flags, self.point], capture_output=True, check=False)

    def containers(self) -> list[str]:
        """Return the names of this store's containers."""
        label = f"label=io.pfs.store={self.store.id.hex()}"
        done = subprocess.run(
            ["podman", "ps", "--all", "--filter", label, "--format", "{{.Names}}"],
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.split()

    # Data

    def create_repo(self, name: str) -> None:
        """Create a repo with the branch master."""
        with self.store.write() as txn:
            create_repo(txn, name)
            create_branch(txn, RepoName(name), MASTER)

    def branch(self, repo: str) -> Path:
        """Return where a repo's master is mounted."""
        return self.point / repo / MASTER

    def put(self, repo: str, files: Mapping[str, bytes | None]) -> CommitId:
        """Write files through the mount and finish the commit; None removes, a name in `+` is appended to."""
        with self.client() as client:
            client.barrier()
        for name, data in files.items():
            path = self.branch(repo) / name.removesuffix("+")
            if data is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "ab" if name.endswith("+") else "wb") as file:
                file.write(data)
        return self.finish(repo)

    def put_without_mount(self, repo: str, files: Mapping[str, bytes]) -> CommitId:
        """Commit files as `pfs put file` does while no mount runs."""
        changes = []
        for name, data in files.items():
            writer = ContentsWriter(self.store.chunks)
            writer.write(data)
            entry = writer.finish().entry(mode=0o644, uid=0, gid=0, mtime_ns=time.time_ns())
            changes.append(Put(tuple(name.encode().split(b"/")), entry))
        ref = BranchRef(RepoName(repo), BranchName(MASTER))
        return commit_changes(self.store, self.trees, ref, changes).id

    def finish(self, repo: str) -> CommitId:
        """Finish the open commit of master."""
        with self.client() as client:
            return client.finish(BranchRef(RepoName(repo), BranchName(MASTER)))

    @contextmanager
    def client(self) -> Iterator[MountClient]:
        """A connection to the mount."""
        with MountClient(self.store.run, timeout_s=TIMEOUT_S) as client:
            yield client

    def commit(self, repo: str, text: str | CommitId = MASTER) -> Commit:
        """Return a commit, by id or as users name it."""
        with self.store.read() as txn:
            if isinstance(text, bytes):
                return commit(txn, RepoName(repo), text)
            return resolve(txn, RepoName(repo), text)

    def files(self, repo: str, text: str | CommitId = MASTER) -> dict[str, bytes]:
        """Return the files of a commit, by path, as the store has them."""
        root = self.commit(repo, text).root
        assert root is not None, f"{repo}@{text!r} has no content"
        return self.files_of(root)

    def files_of(self, root: Entry) -> dict[str, bytes]:
        """Return the files of a tree, by path."""
        found = {}
        for path, entry in self.trees.walk(root):
            if entry.kind == Kind.FILE:
                reader = Reader(self.store.chunks, Contents.of(entry))
                found[b"/".join(path).decode()] = reader.read(0, entry.size)
        return found

    def mounted(self, repo: str, text: str = MASTER) -> dict[str, bytes]:
        """Return the files of a branch or a commit as the mount shows them now."""
        with self.client() as client:
            client.barrier()
        top = self.point / repo / text
        return {
            os.fspath(path.relative_to(top)): path.read_bytes()
            for path in sorted(top.rglob("*"))
            if path.is_file()
        }

    # Pipelines and jobs

    def create_pipeline(
        self,
        name: str,
        inputs: Sequence[Mapping[str, Any]],
        script: Sequence[str] | str = (),
        *,
        cmd: Sequence[str] = ("sh",),
        parallelism: int = 1,
        image: str | None = None,
        network: str = "none",
        **transform: Any,
    ) -> None:
        """Create a pipeline whose shell runs *script*; the inputs are written by `reads`."""
        document = {
            "pipeline": {"name": name},
            "transform": self._transform(script, cmd, image, transform),
            "parallelism": parallelism,
            "inputs": list(inputs),
            "network": network,
        }
        self.create_pipelines(json.dumps(document))

    def create_pipelines(self, text: str) -> None:
        """Create the pipelines of a specification."""
        with self.store.write() as txn:
            for each in load_pipelines(text):
                create_pipeline(txn, self.trees, each)

    def create_job(
        self,
        inputs: Sequence[Mapping[str, Any]] = (),
        script: Sequence[str] | str = (),
        *,
        cmd: Sequence[str] = ("sh",),
        parallelism: int = 1,
        parent_job: str | None = None,
    ) -> JobRecord:
        """Create a one-off job; the inputs are written by `reads_commit`."""
        document: dict[str, Any] = {
            "transform": self._transform(script, cmd, None, {}),
            "parallelism": parallelism,
            "inputs": list(inputs),
            "network": "none",
        }
        if parent_job is not None:
            document["parent_job"] = parent_job
        (spec,) = load_jobs(json.dumps(document))
        with self.store.write() as txn:
            return create_job(txn, spec)

    def _transform(
        self, script: Sequence[str] | str, cmd: Sequence[str], image: str | None, more: Mapping[str, Any]
    ) -> dict[str, Any]:
        lines = [script] if isinstance(script, str) else list(script)
        return {"image": image or self.image, "cmd": list(cmd), "stdin": lines, **more}

    def delete_pipeline(self, name: str) -> None:
        with self.store.write() as txn:
            delete_pipeline(txn, name)

    def job(self, pipeline: str, job_id: CommitId) -> JobRecord:
        """Return a job's newest record."""
        with self.store.read() as txn:
            found = find_job(txn, pipeline, job_id)
        assert found is not None, f"no job {pipeline}@{job_id.hex()}"
        return found

    def job_exists(self, pipeline: str, job_id: CommitId) -> bool:
        """Say whether a job was made."""
        with self.store.read() as txn:
            return find_job(txn, pipeline, job_id) is not None

    def jobs(self, pipeline: str | None = None) -> list[JobRecord]:
        """Return jobs, oldest first."""
        with self.store.read() as txn:
            return sorted(jobs(txn, pipeline_name=pipeline), key=lambda job: job.created_ns)

    def runs(self, job: JobRecord) -> list[ContainerRecord]:
        """Return the records of a job's containers."""
        with self.store.read() as txn:
            return containers(txn, job)

    def log(self, job: JobRecord) -> list[LogLine]:
        """Return a job's log."""
        return list(LogReader(self.store, job).read(self.job(job.pipeline, job.id)))

    # Gates: how a test holds a command in the middle of its work

    def gates(self) -> list[Path]:
        """Return the fifos at which commands wait that run GATE."""
        found = []
        for worker in sorted((self.point / ".workers").iterdir()):
            gate = worker / "out" / "gate"
            if gate.is_fifo():
                found.append(gate)
        return found

    def wait_at_gates(self, count: int = 1, *, besides: Sequence[Path] = ()) -> list[Path]:
        """Wait until *count* commands are in the middle of their work; they stay there."""

        def found() -> list[Path]:
            return [gate for gate in self.gates() if gate not in besides]

        self.until(lambda: len(found()) >= count, f"{count} commands stand at their gates")
        return found()

    def open_gate(self, gate: Path) -> None:
        """Let one command go on."""
        fd = -1

        def opened() -> bool:
            nonlocal fd
            try:
                fd = os.open(gate, os.O_WRONLY | os.O_NONBLOCK)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                # It has made the fifo and is about to read from it.
                return False
            return True

        self.until(opened, f"somebody reads {gate}")
        os.close(fd)

    def wait(self, change: CommitId) -> list[JobRecord]:
        """Wait until every job that *change* caused is final and return them; every one must have succeeded."""
        ended = self.wait_ended(change)
        for job in ended:
            assert job.state is JobState.SUCCESS, (
                f"{job.name} is {job.state}: {job.reason}\n{self._told(job)}"
            )
        return ended

    def wait_ended(self, change: CommitId) -> list[JobRecord]:
        """Wait until every job that *change* caused is final, and return them, oldest first."""
        with self.store.read() as txn:
            needed = txn.sequence()

        def ended() -> bool:
            with self.store.read() as txn:
                return has_read(txn, needed) and all(
                    job.state.is_final for job in jobs(txn) if job.id == change
                )

        self.until(ended, f"the jobs of {change.hex()} end")
        return [job for job in self.jobs() if job.id == change]

    def wait_all(self) -> list[JobRecord]:
        """Wait until no job is left to run, and return all jobs, oldest first."""
        with self.store.read() as txn:
            needed = txn.sequence()

        def ended() -> bool:
            with self.store.read() as txn:
                return has_read(txn, needed) and all(job.state.is_final for job in jobs(txn))

        self.until(ended, "all jobs end")
        return self.jobs()

    def until(self, holds: Callable[[], bool], what: str, timeout_s: float = TIMEOUT_S) -> None:
        """Wait for something that shows in the store, the mount or a file."""
        deadline = time.monotonic() + timeout_s
        with Listener(self.store) as listener:
            while not holds():
                if time.monotonic() > deadline:
                    states = "\n".join(f"{job.name} {job.state} {job.reason}" for job in self.jobs())
                    raise AssertionError(
                        f"waited in vain until {what}\n{states}\nrunner:\n{self.log_of('runner')}\n"
                        f"mount:\n{self.log_of('mount')}"
                    )
                listener.news()
                listener.wait(0.02)

    def _told(self, job: JobRecord) -> str:
        lines = [f"{line.container} {line.source} {line.text!r}" for line in self.log(job)[-30:]]
        return "\n".join([*lines, "runner:", self.log_of("runner"), "mount:", self.log_of("mount")])


def reads(repo: str, method: Mapping[str, Any] | str = "map", **more: Any) -> dict[str, Any]:
    """Return an input of a pipeline."""
    return {"repo": {"name": repo}, "method": method, **more}


def reads_commit(repo: str, commit_id: str, method: Mapping[str, Any] | str = "map") -> dict[str, Any]:
    """Return an input of a one-off job."""
    return {"commit": {"repo": {"name": repo}, "id": commit_id}, "method": method}


def method(partition: str, *, incremental: bool) -> dict[str, Any]:
    """Return a method in its long form."""
    return {"partition": partition, "incremental": incremental}


def _kill(process: subprocess.Popen[bytes] | None) -> None:
    assert process is not None
    process.kill()
    process.wait()
    _close(process.stdout)


def _stop(process: subprocess.Popen[bytes] | None) -> None:
    if process is None:
        return
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    _close(process.stdout)


def _close(stream: IO[bytes] | None) -> None:
    if stream is not None:
        stream.close()
