"""
The only code that talks to Podman: images, worker containers and the shim inside of them.

    async with open_engine(run_dir, store_id) as engine:
        async with engine.worker(name="w0", image="debian", pfs=Path("/pfs/.workers/w0")) as worker:
            outcome = await worker.run(Command(["sh"], stdin=b"ls /pfs"), on_output)

`engine` owns Podman's service, `worker` one container, `protocol` the frames between a worker
and its shim, `checks` what `pfs doctor` asks.  podman-py is imported when it is first needed,
since it costs a third of a second.
"""

from __future__ import annotations

from .binary import shim_path
from .engine import Engine, open_engine
from .errors import ContainerDiedError, EngineError, ImageNotFoundError
from .model import Bind, Image
from .protocol import Command, ExecError, Outcome, Stage
from .worker import Stream, Worker

__all__ = [
    "Bind",
    "Command",
    "ContainerDiedError",
    "Engine",
    "EngineError",
    "ExecError",
    "Image",
    "ImageNotFoundError",
    "Outcome",
    "Stage",
    "Stream",
    "Worker",
    "open_engine",
    "shim_path",
]
