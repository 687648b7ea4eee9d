"""
What `pfs doctor` asks about containers: whether this machine can run them, really tried.

The functions block, some for as long as a container takes to start.
"""

from __future__ import annotations

import os
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .binary import shim_path
from .errors import EngineError
from .limits import ulimits
from .runtimes import CANDIDATES, Trial, cgroup_mounts, installed, podman_path, try_runtime

_OLDEST_PODMAN = (4, 3)
_FEW = 1024  # files or processes; less is not enough for ordinary programs
_FUSE = Path("/dev/fuse")


@dataclass(frozen=True, slots=True)
class Check:
    """
    One question and its answer.

    `ok` None: something to know, which stops nothing.  `mend` says what to do where not ok.
    """

    name: str
    ok: bool | None
    detail: str
    mend: str = ""


def run_checks() -> list[Check]:
    """Ask everything.  A failure of one check never hides the others."""
    return [
        check_podman(),
        check_shim(),
        *check_containers(),
        check_limits(),
        check_cgroups(),
        check_fuse(),
    ]


def check_podman() -> Check:
    """Is Podman there, and new enough?"""
    try:
        podman = podman_path()
    except EngineError as error:
        return Check("podman", False, error.detail, error.advice)
    said = subprocess.run([podman, "--version"], capture_output=True, text=True)
    words = said.stdout.split()
    if said.returncode != 0 or not words:
        return Check(
            "podman", False, f"{podman} fails: {said.stderr.strip()}", "apt install --reinstall podman"
        )
    version = words[-1]
    number = tuple(int(part) for part in version.split("-")[0].split(".")[:2])
    wanted = ".".join(map(str, _OLDEST_PODMAN))
    return Check(
        "podman",
        number >= _OLDEST_PODMAN,
        f"{podman}, version {version}",
        f"install Podman {wanted} or newer",
    )


def check_shim() -> Check:
    """Is the shim built?"""
    try:
        return Check("shim", True, str(shim_path()))
    except EngineError as error:
        return Check("shim", False, error.detail, error.advice)


def check_containers() -> list[Check]:
    """Does an OCI runtime run a container, without and with a network?"""
    try:
        podman_path()
        shim = shim_path()
    except EngineError as error:
        return [Check("OCI runtime", False, f"cannot be tried: {error.detail}", error.advice)]
    trials = [try_runtime(name, shim) for name in installed()]
    working = [trial.runtime for trial in trials if not trial.error]
    names = " or ".join(CANDIDATES)
    checks = [
        Check(
            "OCI runtime",
            bool(working),
            "; ".join(map(_describe, trials)) or "none is installed",
            f"install {names} such that one works: apt install runc",
        )
    ]
    if working:
        checks.append(_check_network(try_runtime(working[0], shim, "bridge")))
    return checks


def check_limits() -> Check:
    """Are the limits that containers get high enough for ordinary programs?"""
    limits = ulimits()
    return Check(
        "limits",
        all(limit.value >= _FEW for limit in limits),
        ", ".join(f"{limit.name} {limit.value}" for limit in limits),
        "raise the hard limits of the user: ulimit -H -n, ulimit -H -u (see limits.conf(5))",
    )


def check_cgroups() -> Check:
    """Can cpu and memory of a container be limited?"""
    kinds = {mount.split()[0] for mount in cgroup_mounts()}
    mode = {frozenset({"cgroup2"}): "version 2", frozenset({"cgroup"}): "version 1"}.get(
        frozenset(kinds), "hybrid" if kinds else "none"
    )
    if not kinds:
        return Check(
            "cgroups", False, "no cgroup hierarchy is mounted", "boot with systemd, or mount cgroup2"
        )
    if "cgroup" in kinds and os.geteuid() != 0:
        return Check("cgroups", None, f"{mode}: memory limits are ignored without root", "run pfs as root")
    return Check("cgroups", True, mode)


def check_fuse() -> Check:
    """Can a FUSE file system be served?"""
    try:
        is_device = stat.S_ISCHR(_FUSE.stat().st_mode)
        os.close(os.open(_FUSE, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        return Check("/dev/fuse", False, "there is no such device", "modprobe fuse")
    except PermissionError:
        return Check("/dev/fuse", False, "not allowed to open it", f"run as root, or chmod 0666 {_FUSE}")
    except OSError as error:
        return Check("/dev/fuse", False, f"cannot be opened: {error.strerror}", "modprobe fuse")
    return Check("/dev/fuse", is_device, "can be opened", "modprobe fuse")


def _check_network(trial: Trial) -> Check:
    return Check(
        "container network",
        not trial.error,
        trial.error or "a container with the bridge network starts",
        "apt install netavark aardvark-dns iptables; pipelines with network: none run without",
    )


def _describe(trial: Trial) -> str:
    return f"{trial.runtime} fails ({trial.error})" if trial.error else f"{trial.runtime} works"
