"""
Sources of Debian packages, fetched by apt with lists of its own and built in the cache.

The system's own lists of packages are left alone.  What was built once is used again.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from .sides import ClientError, call

_SOURCES = """\
Types: deb-src
URIs: http://deb.debian.org/debian
Suites: bookworm
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb-src
URIs: http://deb.debian.org/debian-security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""


def source(cache: Path, package: str) -> Path:
    """Return the folder of the unpacked source of a package; ClientError if no version can be had."""
    folder = cache / "sources" / package
    if folder.exists():
        return folder
    options = _apt(cache)
    call("apt-get", *options, "update", timeout=300)
    shown = call("apt-cache", *options, "showsrc", package)
    versions = re.findall(r"^Version: (\S+)$", shown, re.MULTILINE)
    tried: list[str] = []
    # The newest may be announced and not be there.
    for version in versions:
        download = cache / "downloads" / package
        shutil.rmtree(download, ignore_errors=True)
        download.mkdir(parents=True)
        try:
            call(
                "apt-get",
                *options,
                "source",
                "--download-only",
                f"{package}={version}",
                cwd=download,
                timeout=300,
            )
        except ClientError as error:
            tried.append(str(error)[-200:])
            continue
        [description] = download.glob("*.dsc")
        folder.parent.mkdir(parents=True, exist_ok=True)
        call("dpkg-source", "--no-check", "-x", description, folder)
        return folder
    raise ClientError(f"no source of {package} can be had: {'; '.join(tried) or 'apt knows none'}")


def _apt(cache: Path) -> list[str]:
    """Return options that give apt lists and a cache of its own."""
    own = cache / "apt"
    (own / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    (own / "cache" / "archives" / "partial").mkdir(parents=True, exist_ok=True)
    (own / "parts").mkdir(exist_ok=True)
    (own / "parts" / "debian.sources").write_text(_SOURCES)
    return [
        *("-o", "Dir::Etc::sourcelist=/dev/null", "-o", f"Dir::Etc::sourceparts={own}/parts"),
        *("-o", f"Dir::State::lists={own}/lists", "-o", f"Dir::Cache={own}/cache"),
        *("-o", "APT::Sandbox::User=root"),
    ]


def built(cache: Path, package: str, *steps: list[str]) -> Path:
    """Return the folder of a package's source in which *steps* were run once."""
    folder = source(cache, package)
    stamp = folder / ".built-by-pfs"
    if not stamp.exists():
        for step in steps:
            call(*step, cwd=folder, timeout=3600)
        stamp.touch()
    return folder
