"""
Images and containers of one store, through Podman.

Promises:

- every container carries the labels io.pfs.store and io.pfs.worker, so that what a killed
  runner left is found (`remove_leftovers`);
- nothing under /etc is touched: runtime, limits and socket are given with each call;
- one engine per run directory: a second one is refused.

Tasks may use one engine side by side; its calls to Podman run in threads.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import trio

from .binary import shim_path
from .errors import EngineError, ImageNotFoundError
from .limits import ulimits
from .model import Bind, ContainerSpec, Image, Network, Propagation
from .runtimes import find_runtime
from .service import PodmanService
from .sockets import remove_stand_in, socket_directory
from .worker import Worker, open_worker

STORE_LABEL = "io.pfs.store"
WORKER_LABEL = "io.pfs.worker"

_NOT_FOUND = 404
_CPU_PERIOD_US = 100_000
_REMOVAL_S = 15
_SIGKILL = 9


class Engine:
    """Podman, for the containers of one store.  Made by open_engine."""

    def __init__(self, service: PodmanService, *, store_id: str, runtime: str, sockets: Path) -> None:
        self.store_id = store_id
        self.runtime = runtime
        self.sockets = sockets
        self._service = service

    # --- images

    async def image(self, name: str) -> Image:
        """Describe an image of the local storage.  Raises ImageNotFoundError."""
        found = await self._service.call(f"image {name}", lambda client: _inspect_image(client, name))
        if found is None:
            raise ImageNotFoundError(name)
        return _image_of(name, found)

    async def ensure_image(self, name: str) -> Image:
        """Describe an image, pulling it when it is not here.  Raises ImageNotFoundError as `pull` does."""
        try:
            return await self.image(name)
        except ImageNotFoundError:
            await self.pull(name)
        return await self.image(name)

    async def pull(self, name: str) -> None:
        """Fetch an image from its registry.  Raises ImageNotFoundError with the registry's reason."""
        refusal = await self._service.call(f"pull {name}", lambda client: _pull(client, name), abandon=True)
        if refusal:
            raise ImageNotFoundError(name, refusal)

    # --- workers

    def worker(
        self,
        *,
        name: str,
        image: str,
        pfs: Path | None = None,
        pfs_propagation: Propagation = "rprivate",
        network: Network = "bridge",
        cpus: float | None = None,
        memory: int | None = None,
        env: Mapping[str, str] | None = None,
        binds: Sequence[Bind] = (),
    ) -> AbstractAsyncContextManager[Worker]:
        """
        Start a worker: one container that lives as long as the context, for any number of runs.

        *pfs* is the folder of the host that the container sees as /pfs.  *env* is laid over the
        image's environment.  *cpus* is a number of processors, *memory* bytes.  On exit, also
        by an error or cancellation, the container has been removed.
        """
        pfs_bind = [Bind(pfs, "/pfs", read_only=False, propagation=pfs_propagation)] if pfs else []
        spec = ContainerSpec(
            name=name,
            image=image,
            command=(),
            binds=[*pfs_bind, *binds],
            env=env or {},
            network=network,
            cpus=cpus,
            memory=memory,
        )
        return open_worker(self, spec)

    async def create(self, spec: ContainerSpec) -> str:
        """Make a container, removed when its spec.command (run as root) ends.  Returns its id."""
        arguments = self._arguments(spec)
        image = await self.image(spec.image)
        return await self._service.call(
            f"create container {arguments['name']}",
            # By id: a tag that moves now must not give another image than the one just described.
            lambda client: str(client.containers.create(image.id, **arguments).id),
        )

    async def start(self, container_id: str) -> None:
        """Start a container."""
        await self._service.call(
            f"start container {container_id[:12]}", lambda client: client.containers.get(container_id).start()
        )

    async def is_running(self, container_id: str) -> bool:
        """Tell whether a container runs."""
        state = await self._service.call(
            f"inspect container {container_id[:12]}", lambda client: _state(client, container_id)
        )
        return state == "running"

    async def exit_status(self, container_id: str, since: float, wait_s: float = 3.0) -> int | None:
        """
        Return the exit status of a container that ended after *since*, or None if it stays unknown.

        The container is gone by now; Podman's log of events knows, once its own clean-up has run.
        """
        with trio.move_on_after(wait_s):
            while True:
                status = await self._service.call(
                    f"events of container {container_id[:12]}",
                    lambda client: _died_with(client, container_id, since),
                )
                if status is not None:
                    return status
                await trio.sleep(0.05)
        return None

    async def remove(self, container_id: str) -> None:
        """Kill and remove a container, and return when it is gone.  One that is gone already is fine."""
        await self._service.call(
            f"remove container {container_id[:12]}", lambda client: _remove(client, container_id)
        )

    async def remove_leftovers(self, store: str | None = None) -> list[str]:
        """
        Kill and remove every container of *store* (default: this one).  Returns the names of the workers.

        For the start of a runner: it does not spare the workers of this engine.
        """
        label = f"{STORE_LABEL}={store or self.store_id}"
        found = await self._service.call("list containers", lambda client: _labelled(client, label))
        async with trio.open_nursery() as nursery:
            for container_id in found:
                nursery.start_soon(self.remove, container_id)
        return sorted(found.values())

    # --- network

    async def bridge_gateway(self) -> str:
        """Return the address of this host in the bridge network, where containers reach its servers."""
        subnets = await self._service.call(
            "network podman", lambda client: client.networks.get("podman").attrs["subnets"]
        )
        return str(subnets[0]["gateway"])

    def _arguments(self, spec: ContainerSpec) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            "name": f"pfs-{self.store_id[:12]}-{spec.name}",
            "entrypoint": [*spec.command],
            "command": [],
            "user": "0",  # the shim; it becomes the user of each run
            "environment": dict(spec.env),
            "labels": {STORE_LABEL: self.store_id, WORKER_LABEL: spec.name},
            "mounts": [bind.record() for bind in spec.binds],
            "network_mode": spec.network,
            "ulimits": [limit.record() for limit in ulimits()],
            "auto_remove": True,  # by Podman's own clean-up, so it happens without a runner too
            "stop_signal": _SIGKILL,  # PID 1 ignores others; without this `podman stop` takes 10 s
            "healthcheck": {"Test": ["NONE"]},
            "log_config": {"Type": "k8s-file"},
            "runtime": self.runtime,
        }
        if spec.cpus is not None:
            arguments["cpu_period"] = _CPU_PERIOD_US
            arguments["cpu_quota"] = max(int(spec.cpus * _CPU_PERIOD_US), 1000)  # the kernel's least
        if spec.memory is not None:
            arguments["mem_limit"] = spec.memory
        return arguments


@asynccontextmanager
async def open_engine(run_dir: Path, store_id: str, *, runtime: str | None = None) -> AsyncIterator[Engine]:
    """
    Start Podman's service for the containers of one store; it ends with the context.

    *run_dir* is a folder of the store for what a running engine needs.  *runtime* overrides the
    choice of the OCI runtime.  Raises EngineError when no container can be run here.
    """
    with _exclusively(run_dir):
        sockets = socket_directory(run_dir)
        _clean(sockets)
        chosen = await _choose_runtime(run_dir, runtime)
        service = PodmanService(sockets / "podman.sock", chosen, run_dir / "podman-service.log")
        try:
            await service.start()
            yield Engine(service, store_id=store_id, runtime=chosen, sockets=sockets)
        finally:
            await service.stop()
            remove_stand_in(run_dir, sockets)


async def _choose_runtime(run_dir: Path, wanted: str | None) -> str:
    if wanted is not None:
        return wanted
    return await trio.to_thread.run_sync(find_runtime, run_dir, shim_path())


@contextmanager
def _exclusively(run_dir: Path) -> Iterator[None]:
    run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(run_dir / "engine.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EngineError(
                "engine", f"another runner uses {run_dir}", advice="stop it first: pfs down"
            ) from None
        yield
    finally:
        os.close(descriptor)


def _clean(sockets: Path) -> None:
    """Remove the socket folders of workers whose runner was killed; the lock says that nobody uses them."""
    for folder in sockets.glob("w-*"):
        shutil.rmtree(folder)


# --- in a thread, with a podman-py client ---------------------------------------------------------


def _inspect_image(client: Any, name: str) -> dict[str, Any] | None:
    from podman.errors import NotFound

    response = client.api.get(f"/images/{name}/json")
    if response.status_code == _NOT_FOUND:
        return None
    response.raise_for_status(NotFound)
    found: dict[str, Any] = response.json()
    return found


def _image_of(name: str, inspected: Mapping[str, Any]) -> Image:
    config = inspected.get("Config") or {}
    return Image(
        name=name,
        id=inspected["Id"],
        env=dict(variable.partition("=")[::2] for variable in config.get("Env") or ()),
        cwd=config.get("WorkingDir") or "/",
        user=config.get("User") or "",
        command=(*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())),
    )


def _pull(client: Any, name: str) -> str:
    """Pull, and return why it failed.  Podman says 200 first and the error in a later line."""
    response = client.api.post("/images/pull", params={"reference": name, "policy": "missing"}, stream=True)
    response.raise_for_status()
    errors = [json.loads(line).get("error") for line in response.iter_lines() if line]
    return "; ".join(error for error in errors if error)


def _state(client: Any, container_id: str) -> str | None:
    response = client.api.get(f"/containers/{container_id}/json")
    if response.status_code == _NOT_FOUND:
        return None
    response.raise_for_status()
    return str(response.json()["State"]["Status"])


def _died_with(client: Any, container_id: str, since: float) -> int | None:
    filters = json.dumps({"container": [container_id], "event": ["died"]})
    response = client.api.get(
        "/events", params={"stream": "false", "since": str(int(since)), "filters": filters}
    )
    response.raise_for_status()
    for line in response.iter_lines():
        attributes = json.loads(line)["Actor"]["Attributes"] if line else {}
        if "containerExitCode" in attributes:
            return int(attributes["containerExitCode"])
    return None


def _labelled(client: Any, label: str) -> dict[str, str]:
    filters = json.dumps({"label": [label]})
    response = client.api.get("/containers/json", params={"all": "true", "filters": filters})
    response.raise_for_status()
    return {found["Id"]: found["Labels"].get(WORKER_LABEL, "") for found in response.json()}


def _remove(client: Any, container_id: str) -> None:
    """
    Remove, however the clean-up that Podman starts itself when PID 1 ends runs beside us.

    While that is half done Podman answers anything: 200 with an error in the body, 409, 500.
    """
    deadline = time.monotonic() + _REMOVAL_S
    while True:
        response = client.api.delete(
            f"/containers/{container_id}", params={"force": "true", "v": "true", "timeout": "0"}
        )
        if _NOT_FOUND in (
            response.status_code,
            client.api.get(f"/containers/{container_id}/exists").status_code,
        ):
            return
        if time.monotonic() > deadline:
            response.raise_for_status()
            raise EngineError("remove", f"container {container_id[:12]} does not go away: {response.text}")
        time.sleep(0.05)
