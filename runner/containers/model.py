"""What containers are made of: frozen records, no behaviour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Network = Literal["bridge", "none"]
Propagation = Literal["rprivate", "rslave"]


@dataclass(frozen=True, slots=True)
class Image:
    """What the runner needs to know of an image."""

    name: str
    id: str
    env: Mapping[str, str]
    cwd: str
    user: str
    command: tuple[str, ...]  # entrypoint and arguments; what runs where a pipeline has no cmd


@dataclass(frozen=True, slots=True)
class Bind:
    """A file or folder of the host, seen in a container."""

    source: Path
    target: str
    read_only: bool = True
    propagation: Propagation = "rprivate"

    def record(self) -> dict[str, Any]:
        """Return what podman-py takes."""
        return {
            "type": "bind",
            "source": str(self.source),
            "target": self.target,
            "read_only": self.read_only,
            "propagation": self.propagation,
        }


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """What a container is made of."""

    name: str
    image: str
    command: Sequence[str]
    binds: Sequence[Bind] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    network: Network = "bridge"
    cpus: float | None = None
    memory: int | None = None
