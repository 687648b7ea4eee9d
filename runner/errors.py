"""
What can go wrong in the runner.  Its bases; each error is defined beside its raiser.

    RunnerError
    └── EngineError                Podman said no, or does not answer     runner.containers.errors
        ├── ImageNotFoundError     there is no such image here
        └── ContainerDiedError     a worker container went away in the middle
"""

from __future__ import annotations


class RunnerError(Exception):
    """Anything that the runner raises on purpose."""
