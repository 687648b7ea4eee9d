"""
Mount points, from the outside: what is mounted where, whether it lives, how to take it away.

For processes other than the one that serves the mount.  All but `prepare_point` look into /proc only,
since whoever touches a mount whose process hangs, hangs too.
"""

from __future__ import annotations

import errno
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConflictError, UnavailableError

FUSE_KIND = "fuse.pfs"
"""The type of our mounts."""

_ESCAPED = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mounted:
    """A line of /proc/self/mountinfo."""

    point: str
    device: str
    """major:minor"""
    is_shared: bool
    """Whether what is mounted below it is seen by others who have it (mount_namespaces(7))."""
    kind: str
    """The type of the file system: `fuse.pfs` for ours."""
    source: str


def mounts() -> Iterator[Mounted]:
    """Yield what is mounted, in the order in which it was; looks in /proc only."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            fields = line.split(" ")
            after = fields.index("-")
            point = _ESCAPED.sub(lambda match: chr(int(match[1], 8)), fields[4])
            is_shared = any(each.startswith("shared:") for each in fields[6:after])
            yield Mounted(point, fields[2], is_shared, fields[after + 1], fields[after + 2])


def find_mount(point: Path) -> Mounted | None:
    """Return what is mounted at *point*, the uppermost if several; looks in /proc only."""
    wanted = os.path.realpath(point.parent) + "/" + point.name
    found = None
    for each in mounts():
        if each.point == wanted:
            found = each
    return found


def share_parent(point: Path) -> None:
    """
    Have containers that bind the folder above *point*, as `rslave`, see what is mounted at *point* later.

    That is so where the mount which the folder is on is shared, as systemd has it everywhere.
    UnavailableError without the right to change it.
    """
    folder = os.path.realpath(point.parent)
    holding = None
    for each in mounts():
        is_above = folder == each.point or folder.startswith(each.point.rstrip("/") + "/")
        if is_above and (holding is None or len(each.point) >= len(holding.point)):
            holding = each
    if holding is None or holding.is_shared:
        return
    done = subprocess.run(
        ["mount", "--make-shared", holding.point], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise UnavailableError(f"{holding.point} cannot be made a shared mount: {done.stderr.strip()}")


def abort(point: Path) -> None:
    """Have every request to the mount at *point* fail, now and later: its process does not answer them."""
    found = find_mount(point)
    if found is None or found.kind != FUSE_KIND:
        return
    control = Path(f"/sys/fs/fuse/connections/{found.device.partition(':')[2]}/abort")
    with suppress(OSError):
        # Without fusectl the end of the process does the same, where the process can be ended.
        control.write_text("1")


def mount_kind(point: Path) -> str | None:
    """Return the type of the file system mounted at *point*, or None; looks in /proc only."""
    found = find_mount(point)
    return found.kind if found is not None else None


def prepare_point(point: Path) -> None:
    """Make *point* a folder that can be mounted on; take away a dead mount; ConflictError for a live one."""
    kind = mount_kind(point)
    if kind is not None:
        if not _is_dead(point):
            raise ConflictError(f"{point} is a mount point already, of type {kind}; choose another folder")
        unmount(point, lazily=True)
    point.mkdir(parents=True, exist_ok=True)
    if any(point.iterdir()):
        raise ConflictError(f"{point} is not empty; mount on an empty folder")


def _is_dead(point: Path) -> bool:
    """Say whether the process behind a FUSE mount has died.  Never asked of a mount of this process."""
    try:
        # Always asks the process; stat(2) may be answered by the kernel from what it remembers.
        os.statvfs(point)
    except OSError as error:
        return error.errno == errno.ENOTCONN
    return False


def unmount(point: Path, *, lazily: bool = False) -> None:
    """Unmount *point*, at once if nobody uses it, else as soon as nobody does."""
    for flags in ([["-u"]] if not lazily else []) + [["-u", "-z"]]:
        done = subprocess.run(
            ["fusermount3", *flags, os.fspath(point)], capture_output=True, text=True, check=False
        )
        if done.returncode == 0 or mount_kind(point) is None:
            return
    raise UnavailableError(f"{point} cannot be unmounted: {done.stderr.strip()}")
