"""
Make the base image of the demo and the tests: busybox and nothing else, from no registry.

Usage: python -m tools.base_image [NAME]

The image is called pfs-base unless named.  Every applet of busybox lies where Debian has it, so
that `#!/usr/bin/env sh` works.  Made from the same busybox it is the same image, so a second
run finds it and does nothing.  Needs Debian's busybox-static and Podman; runs no container.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

IMAGE = "localhost/pfs-base:latest"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LABEL = "pfs.base"
"""Carries the hash of the image's files, which says whether it has to be made again."""

_ETC_PASSWD = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n"
_ETC_GROUP = b"root:x:0:\nnogroup:x:65534:\n"


class BaseImageError(Exception):
    """The image cannot be made; the message says what to do."""


def busybox() -> Path:
    """Return where the static busybox is."""
    found = shutil.which("busybox")
    if found is None:
        raise BaseImageError("busybox is not installed; apt-get install busybox-static")
    return Path(found)


def file_system(program: Path) -> bytes:
    """Return a tar of the image's files: equal bytes for an equal busybox."""
    listed = subprocess.run(
        [program, "--list-full"], check=True, capture_output=True, text=True
    ).stdout.split()
    # Without the program itself, and without /linuxrc, which only an initrd needs.
    applets = [path for path in sorted(set(listed)) if "/" in path and path != "bin/busybox"]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        directories = {str(parent): 0o755 for path in applets for parent in Path(path).parents[:-1]}
        directories |= {"bin": 0o755, "etc": 0o755, "pfs": 0o755, "root": 0o700, "tmp": 0o1777}
        for name, mode in sorted(directories.items()):
            tar.addfile(_member(name, tarfile.DIRTYPE, mode))
        _add_file(tar, "etc/passwd", _ETC_PASSWD, 0o644)
        _add_file(tar, "etc/group", _ETC_GROUP, 0o644)
        _add_file(tar, "bin/busybox", program.read_bytes(), 0o755)
        for applet in applets:
            link = _member(applet, tarfile.SYMTYPE, 0o777)
            link.linkname = "/bin/busybox"
            tar.addfile(link)
    return buffer.getvalue()


def _member(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type = kind
    member.mode = mode
    return member


def _add_file(tar: tarfile.TarFile, name: str, data: bytes, mode: int) -> None:
    member = _member(name, tarfile.REGTYPE, mode)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def made_from(image: str) -> str | None:
    """Return the hash of what the present image was made from; None if there is no image."""
    found = subprocess.run(
        ["podman", "image", "inspect", "--format", f'{{{{index .Labels "{LABEL}"}}}}', image],
        check=False,
        capture_output=True,
        text=True,
    )
    return found.stdout.strip() if found.returncode == 0 else None


def ensure(image: str = IMAGE) -> bool:
    """Make the image if there is none from these files; say whether it was made."""
    files = file_system(busybox())
    digest = hashlib.sha256(files).hexdigest()
    if made_from(image) == digest:
        return False
    changes = [f"ENV PATH={PATH}", "WORKDIR /", 'CMD ["/bin/sh"]', f"LABEL {LABEL}={digest}"]
    command = ["podman", "import", "--quiet"]
    for change in changes:
        command += ["--change", change]
    done = subprocess.run([*command, "-", image], input=files, check=False, capture_output=True)
    if done.returncode != 0:
        raise BaseImageError(f"podman import failed: {done.stderr.decode(errors='replace').strip()}")
    return True


def main(arguments: list[str]) -> int:
    """Run the command line; return the exit code."""
    image = arguments[0] if arguments else IMAGE
    if shutil.which("podman") is None:
        print("podman is not installed; run `make setup`", file=sys.stderr)
        return 1
    try:
        made = ensure(image)
    except BaseImageError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{image}: {'made from busybox' if made else 'there already'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
