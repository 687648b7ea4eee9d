"""
cp, rsync, tar, bsdtar and mtree: a difficult tree goes onto the side and comes back, unchanged.

The tree has extended attributes, hard links, symlinks to nothing and to folders, holes, names of any bytes, times
before 1970 and to the nanosecond, set-ID and sticky modes, owners, FIFOs, sockets and devices.
"""

from __future__ import annotations

import hashlib
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

from .sides import Checks, Client, ClientError, Side, call

_HOLE = 256 << 20


def run(side: Side, checks: Checks) -> None:
    origin = side.scratch / "origin"
    make_tree(origin)
    expected = seen(origin)
    ways: dict[str, Callable[[Path], object]] = {
        "cp -a": lambda to: call("cp", "-a", origin, to),
        "rsync -aHAX": lambda to: call("rsync", "-aHAX", "--specials", "--devices", f"{origin}/", f"{to}/"),
        "rsync -aHAXS --inplace": lambda to: call("rsync", "-aHAXS", "--inplace", f"{origin}/", f"{to}/"),
        "tar": lambda to: _through_tar("tar", origin, to, side.scratch / "of-tar"),
        "bsdtar": lambda to: _through_tar("bsdtar", origin, to, side.scratch / "of-bsdtar"),
    }
    folders = {name: name.replace(" ", "") for name in ways}
    for name, copy in ways.items():
        to = side.folder / folders[name]
        with checks.one(f"{name} onto it"):
            copy(to)
            _compare(expected, seen(to), by=name)
    manifest = side.scratch / "manifest"
    manifest.write_text(
        call("mtree", "-c", "-p", origin, "-k", "type,mode,uid,gid,size,time,link,sha256", timeout=300)
    )
    _check_all(side.folder, "", origin, manifest, checks)
    finished = side.finished()
    for name in ways:
        with checks.one(f"{name}: the same in the finished commit"):
            _compare(expected, seen(finished / folders[name]), by=name)
    _check_all(finished, "finished: ", origin, manifest, checks)
    back = side.scratch / "back"
    back.mkdir()
    for name, command in {
        "cp -a": ["cp", "-a", f"{finished}/cp-a", f"{back}/cp"],
        "rsync -aHAX": ["rsync", "-aHAX", f"{finished}/cp-a/", f"{back}/rsync/"],
    }.items():
        with checks.one(f"{name} back from the finished commit"):
            call(*command)
            _compare(expected, seen(Path(command[-1])))
    with checks.one("tar back from the finished commit"):
        _through_tar("tar", finished / "cp-a", back / "tar", side.scratch / "back-tar")
        _compare(expected, seen(back / "tar"), by="tar")


def _check_all(folder: Path, prefix: str, origin: Path, manifest: Path, checks: Checks) -> None:
    """Have the programs themselves say whether there is a difference."""
    with checks.one(f"{prefix}rsync --checksum finds no difference"):
        words = [
            "rsync",
            "-aHAXn",
            "--checksum",
            "--delete",
            "--itemize-changes",
            f"{origin}/",
            f"{folder}/cp-a/",
        ]
        said = call(*words)
        if said.strip():
            raise ClientError(said)
    with checks.one(f"{prefix}mtree finds no difference"):
        call("mtree", "-f", manifest, "-p", folder / "cp-a")
    with checks.one(f"{prefix}diff finds no difference"):
        call("diff", "-r", "--no-dereference", origin / "files", folder / "cp-a" / "files")


def _through_tar(program: str, origin: Path, to: Path, archive: Path) -> None:
    more = ["--sparse", "--format=posix", "--xattrs"] if program == "tar" else ["--format=pax"]
    call(program, "-c", "-f", archive, *more, "-C", origin, ".", passes=(0, 1))
    to.mkdir()
    call(
        program,
        "-x",
        "-p",
        "-f",
        archive,
        "-C",
        to,
        *(["--same-owner", "--xattrs", "--xattrs-include=*"] if program == "tar" else []),
    )


def make_tree(top: Path) -> None:
    """Make the tree; as root."""
    files = top / "files"
    files.mkdir(parents=True)
    for number in range(300):
        (files / f"f{number:03}").write_bytes(hashlib.sha256(b"%d" % number).digest() * (number * 7))
    (files / "large").write_bytes(os.urandom(9 << 20))
    for odd in (
        b"\xff\xfe",
        b"new\nline",
        b" ",
        b"-rf",
        b"n" * 255,
        "ä€😀".encode(),
        b"back\\slash",
        b"\x01\x7f",
    ):
        with open(os.path.join(os.fsencode(files), odd), "wb") as file:
            file.write(odd)
    links = top / "links"
    links.mkdir()
    (links / "one").write_bytes(b"linked" * 100)
    for name in ("two", "three"):
        os.link(links / "one", links / name)
    os.link(files / "large", links / "large")
    for name, target in {
        "absolute": "/etc/passwd",
        "nowhere": "absent/x",
        "up": "../files",
        "loop": "loop",
    }.items():
        os.symlink(target, links / name)
    os.link(links / "nowhere", links / "nowhere-again", follow_symlinks=False)
    sparse = top / "sparse"
    sparse.mkdir()
    with open(sparse / "hole-first", "wb") as file:
        file.seek(_HOLE)
        file.write(b"end")
    with open(sparse / "only-hole", "wb") as file:
        file.truncate(_HOLE)
    with open(sparse / "islands", "wb") as file:
        for place in range(0, 64 << 20, 8 << 20):
            file.seek(place + 12345)
            file.write(b"island")
    special = top / "special"
    special.mkdir()
    os.mkfifo(special / "fifo", 0o640)
    os.mknod(special / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(special / "disk", stat.S_IFBLK | 0o660, os.makedev(259, 65537))
    here = os.getcwd()
    os.chdir(special)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("socket")
    os.chdir(here)
    modes = top / "modes"
    modes.mkdir()
    for mode in (0o000, 0o400, 0o755, 0o1777, 0o2755, 0o4755, 0o6711):
        (modes / f"file-{mode:o}").write_bytes(b"x")
        os.chown(modes / f"file-{mode:o}", 1000 + mode, 2000 + mode)
        os.chmod(modes / f"file-{mode:o}", mode)
        (modes / f"dir-{mode:o}").mkdir()
        os.chmod(modes / f"dir-{mode:o}", mode)
    deep = top
    for _ in range(40):
        deep = deep / "deeper"
        deep.mkdir()
    (deep / "bottom").write_bytes(b"here")
    for number, path in enumerate((files / "f001", files / "large", links, modes)):
        os.setxattr(path, "user.note", b"value %d\0\xff" % number)
    (top / "empty-dir").mkdir()
    (top / "empty").touch()
    times = top / "times"
    times.mkdir()
    for ns in (0, 1, -1_000_000_000, 1_000_000_000_123_456_789, 4_102_444_800_999_999_999):
        path = times / f"at{ns}"
        path.write_bytes(b"t")
        os.utime(path, ns=(ns, ns))
    os.utime(links / "absolute", ns=(5, 1_234_567_890_987_654_321), follow_symlinks=False)
    for folder in sorted(top.rglob("*"), reverse=True):
        if folder.is_dir() and not folder.is_symlink():
            os.utime(folder, ns=(7, 1_500_000_000_000_000_000 + len(folder.name)))
    os.utime(top, ns=(7, 1_600_000_000_111_111_111))


Seen = dict[bytes, tuple[object, ...]]


def seen(top: Path) -> Seen:
    """Return all that a copy has to keep, by path; names of one file have the first of them."""
    found: Seen = {}
    first: dict[tuple[int, int], bytes] = {}
    base = os.fsencode(top)
    for folder, folders, names in os.walk(base):
        folders.sort()
        for name in [b"", *sorted([*folders, *names])] if folder == base else sorted([*folders, *names]):
            path = os.path.join(folder, name) if name else folder
            status = os.lstat(path)
            kind = stat.S_IFMT(status.st_mode)
            shown = os.path.relpath(path, base)
            size = status.st_size if kind in (stat.S_IFREG, stat.S_IFLNK) else 0
            links, same = 0, b""
            if kind != stat.S_IFDIR:
                links = status.st_nlink
                same = first.setdefault((status.st_dev, status.st_ino), shown)
            content: object = b""
            if kind == stat.S_IFREG:
                with open(path, "rb") as file:
                    content = hashlib.file_digest(file, "blake2b").hexdigest()
            elif kind == stat.S_IFLNK:
                content = os.readlink(path)
            elif kind in (stat.S_IFCHR, stat.S_IFBLK):
                content = status.st_rdev
            noted = b""
            if kind in (stat.S_IFREG, stat.S_IFDIR) and b"user.note" in map(os.fsencode, os.listxattr(path)):
                noted = os.getxattr(path, "user.note")
            found[shown] = (
                oct(status.st_mode), status.st_uid, status.st_gid, size, status.st_mtime_ns, links, same, content,
                noted,
            )  # fmt: skip
    return found


_LEFT_OUT = {"tar": {b"special/socket"}, "bsdtar": {b".", b"special/socket"}}
"""What programs do not keep anywhere: both no sockets, bsdtar not the time of the top."""


def _compare(expected: Seen, got: Seen, *, by: str = "") -> None:
    different = [
        f"{path!r}: {expected.get(path)} is {got.get(path)}"
        for path in sorted({*expected, *got})
        if path not in _LEFT_OUT.get(by, ()) and expected.get(path) != got.get(path)
    ]
    if different:
        raise ClientError(f"{len(different)} differ: " + "; ".join(different[:3]))


CLIENT = Client(
    "copies",
    "cp, rsync, tar, bsdtar and mtree with a difficult tree, there and back",
    run,
    options=("--xattrs",),
)
