"""
A mount or a runner as a process of its own, for tests: `python -m tests.support.processes <role> <store> …`.

It prints "ready" when it can be used, and ends in good order on SIGTERM.
"""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

from pfsfuse.mount.mount import Mount
from pfsfuse.store.store import Store
from runner.jobs.main import run as run_runner


def main() -> None:
    """Run the role that the command line names."""
    role, root, *rest = sys.argv[1:]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    store = Store(Path(root))
    if role == "mount":
        mount = Mount(store, Path(rest[0]), autocommit_s=float(rest[1]))
        trio.run(_until_told, lambda: mount.run(ready=_ready), mount.stop)
    else:
        trio.run(_until_told, lambda: run_runner(store, ready=_ready), None)
    store.close()


async def _until_told(work: Callable[[], Awaitable[None]], stop: Callable[[], None] | None) -> None:
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                async for _ in signals:
                    if stop is None:
                        nursery.cancel_scope.cancel()
                    else:
                        stop()

            nursery.start_soon(wait)
            await work()
            nursery.cancel_scope.cancel()


def _ready() -> None:
    print("ready", flush=True)


if __name__ == "__main__":
    main()
