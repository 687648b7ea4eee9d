"""
Which OCI runtime can run a container here.

Being installed says little (crun refuses hybrid cgroup hierarchies, for one), so each candidate
runs one container: an empty root and the shim, no image needed.  The answer is remembered in
the run directory, and asked anew when Podman, a runtime, the kernel or the cgroup hierarchy
changes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .errors import EngineError, failed_command
from .limits import ulimits
from .model import Network

CANDIDATES = ("crun", "runc")  # the faster first
_SEARCH_PATH = f"{os.defpath}:/usr/sbin:/sbin:/usr/local/bin:/usr/local/sbin"
_TRIAL_S = 30


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of one runtime; `error` is empty for one that works."""

    runtime: str
    error: str


def installed() -> list[str]:
    """Return the candidates that are installed, best first."""
    return [name for name in CANDIDATES if _which(name)]


def find_runtime(run_dir: Path, shim: Path) -> str:
    """Return the best runtime that works.  Raises EngineError with what each said when none does."""
    memory = run_dir / "oci-runtime.json"
    key = _fingerprint()
    known = _recall(memory, key)
    if known:
        return known
    failures = []
    for name in installed():
        trial = try_runtime(name, shim)
        if not trial.error:
            _remember(memory, key, name)
            return name
        failures.append(f"{name}: {trial.error}")
    raise EngineError(
        "OCI runtime",
        "; ".join(failures) or "none is installed",
        advice="install one that works here: apt install runc",
    )


def try_runtime(name: str, shim: Path, network: Network = "none") -> Trial:
    """Run one container with the runtime *name*."""
    podman = podman_path()
    with tempfile.TemporaryDirectory(prefix="pfs-trial-") as root:
        arguments = [str(podman), "--runtime", name, "run", "--rm", "--network", network]
        for limit in ulimits():
            arguments += ["--ulimit", limit.argument()]
        arguments += ["--volume", f"{shim}:/pfs-shim:ro", "--rootfs", root, "/pfs-shim", "--check"]
        try:
            done = subprocess.run(arguments, capture_output=True, stdin=subprocess.DEVNULL, timeout=_TRIAL_S)
        except subprocess.TimeoutExpired:
            return Trial(name, f"no answer within {_TRIAL_S} s")
    if done.returncode == 0:
        return Trial(name, "")
    return Trial(name, str(failed_command("podman run", done.returncode, done.stderr)))


def podman_path() -> Path:
    """Return where podman is.  Raises EngineError when it is not installed."""
    found = _which("podman")
    if not found:
        raise EngineError("podman", "it is not installed", advice="apt install podman")
    return Path(found)


def _which(name: str) -> str | None:
    # runc lies in /usr/sbin, which is not on the PATH of every user.
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{_SEARCH_PATH}")


def _fingerprint() -> dict[str, object]:
    programs = {}
    for name in ("podman", *CANDIDATES):
        path = _which(name)
        status = os.stat(path) if path else None
        programs[name] = [path, status.st_size, status.st_mtime_ns] if status else None
    return {
        "programs": programs,
        "kernel": os.uname().release,
        "cgroups": cgroup_mounts(),
        "uid": os.geteuid(),
    }


def cgroup_mounts() -> list[str]:
    """Return the mounted cgroup hierarchies, as `type folder`."""
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return sorted(
        f"{fields[2]} {fields[1]}" for fields in map(str.split, lines) if fields[2].startswith("cgroup")
    )


def _recall(memory: Path, key: dict[str, object]) -> str | None:
    """Return the remembered runtime if *key* still holds.  An unreadable memory is none."""
    try:
        remembered = json.loads(memory.read_text())
        return str(remembered["runtime"]) if remembered["key"] == key else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _remember(memory: Path, key: dict[str, object], runtime: str) -> None:
    memory.parent.mkdir(parents=True, exist_ok=True)
    fresh = memory.with_name(f"{memory.name}.{os.getpid()}")
    fresh.write_text(json.dumps({"key": key, "runtime": runtime}))
    fresh.replace(memory)
