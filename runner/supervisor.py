"""
`pfs up`: keeps the processes of a store running, and ends them in order.

    supervisor ── mount      pfs mount DIR
              └── runner     pfs runner

It starts the mount, then the runner, each when the one before is ready; starts again what dies,
after 0.2 s, then twice as long each time, up to 30 s; keeps their logs.  A mount that lives and has
not answered on its control socket for a minute is ended, and so started again.  At its end it ends
the runner first (which removes its containers), then unmounts.  When it is killed, the children
get SIGTERM from the kernel, and the next `up` or `down` tidies up what is left.

It never touches the mount point, which may be dead: it reads /proc/self/mountinfo only.

In the store's run folder:

    up.lock      flock: a supervisor lives
    up.json      UpState; left behind only when it did not end well
    mount.log, runner.log, up.log, and older ones with .1, .2
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import trio

from pfsfuse.errors import ConflictError, UnavailableError
from pfsfuse.mount.async_client import AsyncMountClient
from pfsfuse.mount.mountpoint import FUSE_KIND, abort, mount_kind, share_parent, unmount
from runner.errors import RunnerError
from runner.logfiles import RotatingLog
from runner.processes import Identity, identity_of, is_locked, take_lock

log = logging.getLogger(__name__)

_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 30.0
_STEADY_S = 60.0
"""A child that lived so long begins again with the shortest pause."""
_READY_S = 120.0
_END_S = {"runner": 60.0, "mount": 30.0}
_UNMOUNT_S = 10.0
_DOWN_S = 110.0
_SWEEP_S = 60.0
_LAST_WORDS_S = 1.0
_LOOK_EVERY_S = 5.0
HUNG_S = 60.0
"""A mount that has not answered for so long is ended: whoever uses it waits for ever otherwise."""

MOUNT = "mount"
RUNNER = "runner"


class ProcessFailedError(RunnerError):
    """A process that was to be started did not come up; the message ends with what it said."""

    def __init__(self, name: str, status: int, said: str) -> None:
        how = f"was killed by signal {-status}" if status < 0 else f"ended with exit code {status}"
        super().__init__(
            f"the {name} did not start, it {how}" + (f":\n{said.strip()}" if said.strip() else "")
        )
        self.exit_code = status if status > 0 else 1


class UpElsewhereError(ConflictError):
    """The store is up already, with another mount point."""


class UpState(msgspec.Struct):
    """What up.json says."""

    supervisor: Identity
    mount: str
    """The mount point."""
    programs: list[str] = []
    """The names of what it keeps running."""
    children: dict[str, Identity] = {}
    """Those that run now."""
    ready: bool = False


# What everybody may ask


def read_state(run: Path) -> UpState | None:
    """Return what the supervisor of a store, or a dead one, wrote down."""
    try:
        return msgspec.json.decode((run / "up.json").read_bytes(), type=UpState)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError:
        # Written by another version; whoever holds the lock matters, not this.
        return None


def is_supervised(run: Path) -> bool:
    """Say whether a supervisor of this store lives."""
    return is_locked(run / "up.lock")


def live_state(run: Path) -> UpState | None:
    """Return the state of the living supervisor, waiting a moment for one that just starts; None if there is none."""
    deadline = time.monotonic() + 5.0
    while is_supervised(run):
        state = read_state(run)
        if state is not None and state.supervisor.is_alive():
            return state
        if time.monotonic() > deadline:
            raise UnavailableError(f"a supervisor holds {run}/up.lock, but does not say who it is")
        time.sleep(0.02)
    return None


def keeps_runner(run: Path) -> bool:
    """Say whether a living supervisor keeps a runner running, so that one comes back."""
    state = read_state(run) if is_supervised(run) else None
    return state is not None and RUNNER in state.programs


def bring_down(run: Path) -> bool:
    """
    End the supervisor of a store with all its processes, and tidy up after one that was killed.

    Says whether there was anything to end.  UnavailableError if something resists.
    """
    state = live_state(run)
    if state is not None:
        state.supervisor.send(signal.SIGTERM)
        if not state.supervisor.wait(_DOWN_S):
            state.supervisor.send(signal.SIGKILL)
            state.supervisor.wait(5.0)
    left = read_state(run)
    if left is not None:
        tidy_up(run, left)
        if RUNNER in left.programs:
            trio.run(remove_containers, run)
    return state is not None or left is not None


def tidy_up(run: Path, state: UpState) -> None:
    """Remove what a killed supervisor left: its children, which are ending, and its mount."""
    for name in (RUNNER, MOUNT):
        child = state.children.get(name)
        if child is not None and not child.wait(_END_S[name] / 2):
            child.send(signal.SIGKILL)
            if not child.wait(10.0):
                raise UnavailableError(f"process {child.pid} ({name}) of this store does not end")
    point = Path(state.mount)
    if mount_kind(point) == FUSE_KIND:
        unmount(point, lazily=True)
    (run / "up.json").unlink(missing_ok=True)


# The supervisor


@dataclass(frozen=True, slots=True)
class Program:
    """One of the processes to keep running."""

    name: str
    command: Sequence[str]
    """It is given `--ready-fd N --parent PID` too; it writes a byte to N when it is ready."""


class Supervisor:
    """See the module."""

    def __init__(
        self,
        run: Path,
        point: Path,
        programs: Sequence[Program],
        *,
        environment: Mapping[str, str],
        hung_s: float = HUNG_S,
    ) -> None:
        self.run_folder = run
        self.point = point
        self._hung_s = hung_s
        names = [program.name for program in programs]
        self.state = UpState(identity_of(os.getpid()), os.fspath(point), names)
        self.children = [
            Child(program, RotatingLog(run / f"{program.name}.log"), environment, self._note)
            for program in programs
        ]

    async def run(self, *, ready: Callable[[], None] = lambda: None) -> None:
        """
        Keep everything running until SIGINT, SIGTERM or SIGHUP, then end it.

        Calls *ready* when all programs are ready.  ProcessFailedError if one does not come up the
        first time; UpElsewhereError.
        """
        with self._exclusively():
            left = read_state(self.run_folder)
            if left is not None:
                await trio.to_thread.run_sync(tidy_up, self.run_folder, left)
            self._write()
            try:
                await trio.to_thread.run_sync(share_parent, self.point)
            except UnavailableError as error:
                log.info("containers that bind %s will not see a new mount: %s", self.point.parent, error)
            failure = await self._keep_all(ready)
            (self.run_folder / "up.json").unlink(missing_ok=True)
        if failure is not None:
            raise failure

    async def _keep_all(self, ready: Callable[[], None]) -> ProcessFailedError | None:
        failure = None
        async with trio.open_nursery() as keepers:
            # Only this block is cancelled by a signal; the children's output is copied to the end.
            with trio.CancelScope() as working:
                await keepers.start(_cancel_on_signal, working)
                try:
                    for child in self.children:
                        keepers.start_soon(child.keep)
                        await child.came_up()
                        if child.name == MOUNT:
                            keepers.start_soon(self._watch, child)
                    self.state.ready = True
                    self._write()
                    ready()
                    await trio.sleep_forever()
                except ProcessFailedError as error:
                    failure = error
            await self._end_all()
            keepers.cancel_scope.cancel()
        return failure

    async def _watch(self, child: Child) -> None:
        """End the mount process when it hangs, for ever."""
        client = AsyncMountClient(self.run_folder)
        while True:
            await trio.sleep(min(_LOOK_EVERY_S, self._hung_s))
            watched = child.identity
            if watched is None or not child.is_ready or await self._answers(client):
                continue
            if child.identity == watched:
                log.warning("the mount has not answered for %g s; it is ended", self._hung_s)
                await trio.to_thread.run_sync(abort, self.point)
                watched.send(signal.SIGKILL)

    async def _answers(self, client: AsyncMountClient) -> bool:
        with trio.move_on_after(self._hung_s) as waiting:
            try:
                await client.status()
            except UnavailableError:
                # It ends just now, and who keeps it running sees that.
                return True
        return not waiting.cancelled_caught

    async def _end_all(self) -> None:
        for child in reversed(self.children):
            if child.name == MOUNT:
                await self._unmount(child)
            await child.end(_END_S[child.name])
            if child.name == RUNNER and child.was_killed:
                await remove_containers(self.run_folder)
        if mount_kind(self.point) == FUSE_KIND:
            await trio.to_thread.run_sync(lambda: unmount(self.point, lazily=True))

    async def _unmount(self, child: Child) -> None:
        """
        Have the kernel unmount: it writes back what it still holds, and the mount process ends by itself.

        Not possible while somebody uses the mount; then the mount process is told to end, and the
        mount point goes when its last user does.
        """
        child.expect_end()
        if not child.is_ready or mount_kind(self.point) != FUSE_KIND:
            return
        process = _spawn_unmount(self.point)
        with trio.move_on_after(_UNMOUNT_S):
            await _ended(process.pid)
            if process.wait() == 0:
                await child.ended.wait()
            return
        # It hangs in the kernel, behind a mount process that does not answer.  That one is ended next.
        log.warning("unmounting %s takes too long", self.point)

    def _note(self, name: str, who: Identity | None) -> None:
        if who is None:
            self.state.children.pop(name, None)
        else:
            self.state.children[name] = who
        self._write()

    def _write(self) -> None:
        path = self.run_folder / "up.json"
        draft = path.with_suffix(".new")
        draft.write_bytes(msgspec.json.format(msgspec.json.encode(self.state)) + b"\n")
        draft.replace(path)

    @contextmanager
    def _exclusively(self) -> Iterator[None]:
        fd = take_lock(self.run_folder / "up.lock")
        if fd is None:
            raise UpElsewhereError("this store is up already; see `pfs status`, or `pfs down`")
        try:
            yield
        finally:
            os.close(fd)


async def _cancel_on_signal(
    scope: trio.CancelScope, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        task_status.started()
        async for number in signals:
            log.info("%s: ending", signal.Signals(number).name)
            scope.cancel()


class Child:
    """A program, started again whenever it dies."""

    def __init__(
        self,
        program: Program,
        output: RotatingLog,
        environment: Mapping[str, str],
        note: Callable[[str, Identity | None], None],
    ) -> None:
        self.name = program.name
        self.ended = trio.Event()
        """It has ended and is not started again."""
        self.was_killed = False
        """It had to be, so it may have left something."""
        self._command = program.command
        self._log = output
        self._environment = environment
        self._note = note
        self._process: subprocess.Popen[bytes] | None = None
        self._is_ready = False
        """The process that runs now."""
        self._first = trio.Event()
        """It is ready the first time, or has failed."""
        self._failure: ProcessFailedError | None = None
        self._ending = trio.Event()

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def identity(self) -> Identity | None:
        """The process that runs now."""
        try:
            return identity_of(self._process.pid) if self._process is not None and self.is_running else None
        except ProcessLookupError:
            return None

    @property
    def is_ready(self) -> bool:
        """Whether it runs and has said that it can be used."""
        return self._is_ready and self.is_running

    async def came_up(self) -> None:
        """Return when the program is ready the first time; ProcessFailedError if it is not going to be."""
        await self._first.wait()
        if self._failure is not None:
            raise self._failure

    async def keep(self) -> None:
        """Run the program until `end` is called, or it does not come up the first time."""
        pause = _FIRST_PAUSE_S
        try:
            while not self._ending.is_set():
                began = time.monotonic()
                status = await self._run_once()
                if not self._first.is_set():
                    self._failure = ProcessFailedError(self.name, status, self._log.tail())
                    return
                if self._ending.is_set():
                    return
                if time.monotonic() - began > _STEADY_S:
                    pause = _FIRST_PAUSE_S
                log.warning("the %s ended with status %d; started again in %g s", self.name, status, pause)
                with trio.move_on_after(pause):
                    await self._ending.wait()
                pause = min(2 * pause, _LONGEST_PAUSE_S)
        finally:
            self._first.set()
            self.ended.set()

    async def _run_once(self) -> int:
        """Run the program to its end and return its status."""
        process, ready, output = self._spawn()
        copied = trio.Event()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._copy, output, copied)
                nursery.start_soon(self._wait_until_ready, ready, process)
                await _ended(process.pid)
                with trio.move_on_after(_LAST_WORDS_S):
                    # Not for ever: a process that it started may have inherited the pipe.
                    await copied.wait()
                nursery.cancel_scope.cancel()
        finally:
            os.close(ready)
            os.close(output)
        self._note(self.name, None)
        return process.wait()

    def _spawn(self) -> tuple[subprocess.Popen[bytes], int, int]:
        """
        Start the process; return it with what it says when it is ready, and what it prints.

        From the main thread: see `die_with`.  It is in a session of its own, so that a Ctrl-C comes
        to the supervisor alone.
        """
        ready, ready_child = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        output, output_child = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(output, False)
        try:
            process = subprocess.Popen(
                [*self._command, "--ready-fd", str(ready_child), "--parent", str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=output_child,
                stderr=output_child,
                pass_fds=[ready_child],
                env=dict(self._environment),
                cwd="/",
                start_new_session=True,
            )
        except BaseException:
            os.close(ready)
            os.close(output)
            raise
        finally:
            os.close(ready_child)
            os.close(output_child)
        self._process, self._is_ready = process, False
        self._note(self.name, identity_of(process.pid))
        return process, ready, output

    async def _copy(self, output: int, copied: trio.Event) -> None:
        while data := await _read_some(output):
            self._log.write(data)
        copied.set()

    async def _wait_until_ready(self, ready: int, process: subprocess.Popen[bytes]) -> None:
        with trio.move_on_after(_READY_S):
            if await _read_some(ready):
                self._is_ready = True
                self._first.set()
            return
        log.warning("the %s is not ready after %g s; it is killed", self.name, _READY_S)
        process.kill()

    def expect_end(self) -> None:
        """Do not start it again."""
        self._ending.set()

    async def end(self, grace_s: float) -> None:
        """Have the program end: by SIGTERM and, after *grace_s*, by SIGKILL."""
        self.expect_end()
        if self._process is None:
            return
        for number, patience in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 10.0)):
            if self.is_running:
                self._process.send_signal(number)
                self.was_killed = number == signal.SIGKILL
            with trio.move_on_after(patience):
                await self.ended.wait()
                return
        log.error("process %d (%s) does not end, not even by SIGKILL", self._process.pid, self.name)


async def remove_containers(run: Path) -> None:
    """Remove the containers of a runner that could not do so itself."""
    from runner.containers import EngineError, open_engine

    store_id: str = msgspec.json.decode((run.parent / "format.json").read_bytes())["store"]
    try:
        with trio.move_on_after(_SWEEP_S):
            async with open_engine(run, store_id) as engine:
                await engine.remove_leftovers()
    except EngineError as error:
        log.warning("containers of the runner may be left: %s; the next runner removes them", error)


def _spawn_unmount(point: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["fusermount3", "-u", os.fspath(point)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


async def _ended(pid: int) -> None:
    """Return when a child process has ended; it is still to be waited for."""
    fd = os.pidfd_open(pid)
    try:
        await trio.lowlevel.wait_readable(fd)
    finally:
        os.close(fd)


async def _read_some(fd: int) -> bytes:
    """Return what can be read from a descriptor that does not block; b"" at its end."""
    while True:
        try:
            return os.read(fd, 1 << 16)
        except BlockingIOError:
            await trio.lowlevel.wait_readable(fd)
