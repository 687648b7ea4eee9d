"""
What Podman refuses, in our words.

`explain` is the only place that turns failures of podman-py and of the `podman` command into
errors of ours.  What a caller may act on (a missing image, a conflict) is told by type and by
status, never by text; the text of Podman is only searched for advice to a person.
"""

from __future__ import annotations

import re
from typing import Any

from runner.errors import RunnerError

# What a person can do, by what Podman says.  The first match wins; no match gives no advice.
_ADVICE: tuple[tuple[str, str], ...] = (
    (r"cgroups in hybrid mode", "this OCI runtime cannot run here; install another one: apt install runc"),
    (
        r"setrlimit.*not permitted",
        "the limits of this process are too low; raise them with ulimit -n and ulimit -u",
    ),
    (r"transport endpoint is not connected", "the mount under the bound folder is dead; mount it again"),
    (r"(is already in use|name .* in use)", "remove the other container: podman rm -f NAME"),
    (r"no space left on device", "free space on the disk of `podman info -f {{.Store.GraphRoot}}`"),
    (
        r"netavark|CNI|iptables|nftables",
        "repair the network tools: apt install netavark iptables; or use network: none",
    ),
    (
        r"unqualified-search|short-name",
        "write the image with its registry, such as docker.io/library/debian:12",
    ),
    (r"connection refused|no such host|i/o timeout|dial tcp", "check that this machine reaches the registry"),
    (r"permission denied", "run as root, or set up rootless Podman (see `pfs doctor`)"),
)


class EngineError(RunnerError):
    """Podman said no, or does not answer."""

    def __init__(self, command: str, detail: str, *, status: int | None = None, advice: str = "") -> None:
        what = f"{command}: {detail.strip() or 'failed'}" + (
            f" (status {status})" if status is not None else ""
        )
        super().__init__(f"{what}; {advice}" if advice else what)
        self.command = command
        self.detail = detail
        self.status = status
        self.advice = advice


class ImageNotFoundError(EngineError):
    """The image is not in the local storage, or no registry has it."""

    def __init__(self, image: str, detail: str = "no such image on this machine") -> None:
        super().__init__(
            f"image {image}",
            detail,
            advice=f"build or pull it: podman build -t {image} . / podman pull {image}",
        )
        self.image = image


class ContainerDiedError(EngineError):
    """A worker container went away while it was needed.  What it was doing can be tried again in another."""

    def __init__(self, worker: str, exit_status: int | None, detail: str = "") -> None:
        how = "exit status unknown" if exit_status is None else f"exit status {exit_status}"
        super().__init__(
            f"worker {worker}",
            f"the container ended ({how})" + (f": {detail}" if detail else ""),
            advice="it was killed from outside, or the machine ran out of memory",
        )
        self.worker = worker
        self.exit_status = exit_status


def advice_for(text: str) -> str:
    """Say what a person can do about what Podman said; empty when nothing is known."""
    return next((advice for pattern, advice in _ADVICE if re.search(pattern, text, re.IGNORECASE)), "")


def failed_command(command: str, status: int, stderr: bytes) -> EngineError:
    """Describe a `podman` process that ended with *status*."""
    text = stderr.decode("utf-8", "replace")
    return EngineError(command, text, status=status, advice=advice_for(text))


def explain(command: str, error: Any) -> EngineError:
    """Describe what podman-py raised while it did *command*; without a status nothing answered."""
    status = getattr(error, "status_code", None)
    detail = str(getattr(error, "explanation", None) or error)
    if status is None:
        return EngineError(command, f"Podman's service does not answer: {detail}", advice="try `podman info`")
    return EngineError(command, detail, status=status, advice=advice_for(detail))
