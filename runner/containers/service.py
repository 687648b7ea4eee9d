"""
Podman's own service, started by us as a child, and calls to it.

podman-py blocks, so each call runs in a worker thread with a client of its own.  A service that
died is started again by the next call: containers do not depend on it.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import trio

from .errors import EngineError, advice_for, explain
from .runtimes import podman_path

T = TypeVar("T")

_START_S = 30
_STOP_S = 5
_CALLS_AT_ONCE = 16


class PodmanService:
    """The process `podman system service` on a socket of ours.  Use start, then call, at last stop."""

    def __init__(self, socket: Path, runtime: str, log: Path) -> None:
        self._socket = socket
        self._runtime = runtime
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._starting = trio.Lock()
        self._limiter = trio.CapacityLimiter(_CALLS_AT_ONCE)

    async def start(self) -> None:
        """Start the service if it does not run, and return when it answers."""
        async with self._starting:
            if self._process is not None and self._process.poll() is None:
                return
            self._socket.unlink(missing_ok=True)
            self._process = self._spawn()
            answers = False
            try:
                await self._wait_until_it_answers(self._process)
                answers = True
            finally:
                if not answers:  # also when cancelled: a service that runs is one that answers
                    await self.stop()

    async def call(self, command: str, work: Callable[[Any], T], *, abandon: bool = False) -> T:
        """
        Return what *work* makes of a podman-py client, in a thread.

        Failures of Podman become EngineErrors that name *command*.  A cancelled call is waited
        for, so that what it made is known; with *abandon* its result is dropped instead.
        """
        await self.start()
        try:
            return await trio.to_thread.run_sync(
                self._with_client, work, limiter=self._limiter, abandon_on_cancel=abandon
            )
        except OSError as error:  # podman-py's APIError is one too
            raise explain(command, error) from error

    async def stop(self) -> None:
        """End the service.  Containers go on."""
        process, self._process = self._process, None
        if process is not None:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(_end, process)
        self._socket.unlink(missing_ok=True)

    def _with_client(self, work: Callable[[Any], T]) -> T:
        from podman import PodmanClient

        with PodmanClient(base_url=f"unix://{self._socket}") as client:
            return work(client)

    def _spawn(self) -> subprocess.Popen[bytes]:
        """
        Start the process, blocking for as long as a fork takes.

        It ends with us even when we are killed (setpriv --pdeathsig; the signal comes when the
        *thread* that forked ends, hence no worker thread here), and does not get the Ctrl-C of
        our terminal, because it is needed to remove the containers afterwards.
        """
        setpriv = shutil.which("setpriv")
        guard = [setpriv, "--pdeathsig", "TERM"] if setpriv else []
        podman = [str(podman_path()), "--runtime", self._runtime, "--log-level", "warn"]
        with self._log.open("wb") as log:
            return subprocess.Popen(
                [*guard, *podman, "system", "service", "--time=0", f"unix://{self._socket}"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def _wait_until_it_answers(self, process: subprocess.Popen[bytes]) -> None:
        with trio.move_on_after(_START_S):
            while process.poll() is None:
                if await self._answers():
                    return
                await trio.sleep(0.01)
        said = (await trio.Path(self._log).read_bytes())[-2000:].decode("utf-8", "replace")
        raise EngineError("podman system service", said, status=process.poll(), advice=advice_for(said))

    async def _answers(self) -> bool:
        try:
            connection = await trio.open_unix_socket(str(self._socket))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        await connection.aclose()
        return True


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
