"""`pfs doctor`: whether this machine can do what pfs needs, and how to mend what it cannot."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from pfsfuse.errors import PfsError
from pfsfuse.store.store import FORMAT, file_system_of
from runner.containers.checks import Check, check_fuse, run_checks

from .exits import Exit
from .screen import size
from .session import Session

_FEW_BYTES = 1 << 30


class Finding(msgspec.Struct):
    """A question and its answer, as JSON and YAML have it."""

    name: str
    ok: bool | None
    """None: something to know, which stops nothing."""
    detail: str
    mend: str


def doctor(
    session: Session,
    no_containers: Annotated[
        bool, typer.Option("--no-containers", help="Only what the mount and the store need.")
    ] = False,
) -> None:
    """Check what this machine can do; exit code 1 if something needed is missing."""
    found = [
        Finding(check.name, check.ok, check.detail, check.mend if check.ok is not True else "")
        for check in (*([check_fuse()] if no_containers else run_checks()), *own_checks(session))
    ]
    if session.screen.is_table:
        for each in found:
            print_finding(session, each)
    else:
        session.screen.rows(found, {})
    if any(each.ok is False for each in found):
        raise typer.Exit(Exit.FAILURE)


def print_finding(session: Session, finding: Finding) -> None:
    mark = {True: "ok  ", False: "FAIL", None: "note"}[finding.ok]
    session.screen.result(f"{mark}  {finding.name}: {finding.detail}")
    if finding.mend:
        session.screen.result(f"      → {finding.mend}")


def own_checks(session: Session) -> Iterator[Check]:
    """Yield the checks of the mount and the store."""
    yield check_fusermount()
    if os.geteuid() != 0:
        yield check_allow_other(Path("/etc/fuse.conf"))
    yield check_propagation()
    yield check_disk(session.root)
    yield check_store(session)


def check_fusermount() -> Check:
    """Is there a way to mount and unmount?"""
    found = shutil.which("fusermount3")
    return Check("fusermount3", found is not None, found or "not installed", "apt install fuse3")


def check_allow_other(conf: Path) -> Check:
    """May a user who is not root let others, such as containers, into the mount?"""
    lines = conf.read_text(encoding="utf-8").splitlines() if conf.exists() else []
    ok = any(line.strip() == "user_allow_other" for line in lines)
    detail = "set" if ok else f"not set in {conf}; containers would not see the mount"
    return Check("user_allow_other", ok, detail, f"echo user_allow_other | sudo tee -a {conf}")


def check_propagation() -> Check:
    """Do mounts that are made later show in containers?"""
    try:
        said = subprocess.run(
            ["findmnt", "-n", "-o", "PROPAGATION", "/"], capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        return Check("mount propagation", None, f"cannot be asked: {error}", "apt install util-linux")
    # Each worker container is started after the mount and binds it directly, so private will do.
    if "shared" in said or os.geteuid() == 0:
        return Check("mount propagation", True, f"/ is {said}")
    return Check("mount propagation", False, f"/ is {said}", "sudo mount --make-rshared /")


def check_disk(root: Path) -> Check:
    """Is there room, and is it local?"""
    there = next(path for path in (root, *root.parents) if path.exists())
    free = shutil.disk_usage(there).free
    detail = f"{size(free)} free for {root} ({file_system_of(root)})"
    return Check(
        "disk",
        free >= _FEW_BYTES,
        detail,
        f"free at least {size(_FEW_BYTES)}, or set PFS_ROOT to another disk",
    )


def check_store(session: Session) -> Check:
    """Can the store be opened?"""
    if not (session.root / "format.json").exists():
        return Check("store", None, f"none in {session.root} yet; the first use makes it")
    try:
        session.store.check_readers()
    except PfsError as error:
        return Check("store", False, str(error), "see the message; `pfs fsck` tells more")
    return Check("store", True, f"{session.root}, format {FORMAT}")
