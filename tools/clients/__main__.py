"""
Run other people's programs on the mount and on a plain folder, and compare.

    python -m tools.clients [NAME ...]      names: see --list; none: all

Exit status 1 if anything is worse on the mount that docs/posix.md gives no reason for.  Sources of
packages are built once, in $PFS_CLIENTS_CACHE or ~/.cache/pfs-clients.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from . import backups, copies, cpython, fio, git, git_scripts, postgres, rsync_suite, sqlite, stress
from .sides import SOURCES, Checks, Client, ClientError, clean, mounted_side, plain_side, timed

CLIENTS: list[Client] = [
    cpython.CLIENT,
    git.CLIENT,
    sqlite.CLIENT,
    copies.CLIENT,
    postgres.CLIENT,
    backups.RESTIC,
    backups.BORG,
    fio.CLIENT,
    rsync_suite.CLIENT,
    stress.CLIENT,
    git_scripts.CLIENT,
]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--list", action="store_true", help="print the names and what they are")
    parser.add_argument("--keep", action="store_true", help="leave the folders of the run")
    parser.add_argument("--verbose", action="store_true", help="tell also what fails in the plain folder")
    parser.add_argument("names", nargs="*", help="which to run")
    arguments = parser.parse_args()
    if arguments.list:
        for client in CLIENTS:
            print(f"{client.name:12} {client.about}")
        return 0
    names = arguments.names or [client.name for client in CLIENTS]
    unknown = set(names) - {client.name for client in CLIENTS}
    if unknown:
        parser.error(f"no such client: {', '.join(sorted(unknown))}; --list shows them")
    _install()
    cache = Path(os.environ.get("PFS_CLIENTS_CACHE") or Path.home() / ".cache" / "pfs-clients")
    cache.mkdir(parents=True, exist_ok=True)
    # Not below /tmp: that may be in memory.
    base = Path(tempfile.mkdtemp(prefix="pfs-clients-", dir="/var/tmp"))
    base.chmod(0o755)
    print(f"{'client':12} {'checks':>6}  {'plain':>8} {'mount':>8}  what is worse on the mount", flush=True)
    try:
        worse = [
            _compare(client, base, cache, verbose=arguments.verbose)
            for client in CLIENTS
            if client.name in names
        ]
    finally:
        if not arguments.keep:
            clean(base.parent, base.name)
    print("nothing is worse than in a plain folder" if not any(worse) else f"{sum(worse)} checks are worse")
    return 1 if any(worse) else 0


def _install() -> None:
    """Install the packages that are missing."""
    wanted = [
        line.split("#")[0].strip()
        for line in (SOURCES / "requirements" / "debian-clients.txt").read_text().splitlines()
    ]
    missing = [package for package in wanted if package and not _is_installed(package)]
    if missing:
        print("installing Debian packages:", *missing, flush=True)
        apt = ["apt-get", "--quiet", "--quiet", "-o", "DPkg::Lock::Timeout=300"]
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run([*apt, "update"], env=env, check=True)
        subprocess.run([*apt, "install", "--yes", "--no-install-recommends", *missing], env=env, check=True)


def _is_installed(package: str) -> bool:
    done = subprocess.run(
        ["dpkg-query", "--show", "--showformat=${Status}", package],
        capture_output=True,
        text=True,
        check=False,
    )
    return "ok installed" in done.stdout


def _compare(client: Client, base: Path, cache: Path, *, verbose: bool) -> int:
    """Run a client on both sides and report; return how many checks are worse on the mount."""
    plain, mount, seconds = Checks(), Checks(), dict[str, float]()
    try:
        client.prepare(cache)
    except (ClientError, OSError) as error:
        print(f"{client.name:12} cannot be run: {error}", flush=True)
        return 1
    with timed(seconds, "plain"):
        try:
            client.run(plain_side(base, cache, client.name), plain)
        except ClientError as error:
            plain.outcomes["the client"] = str(error)
    with timed(seconds, "mount"):
        try:
            with mounted_side(base, cache, client.name, client.options) as side:
                client.run(side, mount)
        except ClientError as error:
            mount.outcomes["the mount and its store afterwards"] = str(error)
    names = [name for name in {**plain.outcomes, **mount.outcomes} if not plain.outcomes.get(name)]
    worse = [name for name in names if mount.outcomes.get(name, "did not come to it")]
    known = [name for name in worse if name in client.known]
    new = [name for name in worse if name not in client.known]
    failing = sum(1 for outcome in plain.outcomes.values() if outcome)
    remarks = [f"{len(new)}" if new else "nothing"]
    if known:
        remarks.append(f"({len(known)} with a reason)")
    if failing:
        remarks.append(f"({failing} fail in the plain folder too)")
    print(
        f"{client.name:12} {len(plain.outcomes):6}  {seconds['plain']:6.1f} s {seconds['mount']:6.1f} s  "
        + " ".join(remarks),
        flush=True,
    )
    for name in new:
        said = " ".join(mount.outcomes.get(name, "did not come to it").split())
        print(f"    {name}: {said}", flush=True)
    for name, said in plain.outcomes.items() if verbose else ():
        if said:
            print(f"    {name}: fails in the plain folder: {' '.join(said.split())}", flush=True)
    for name in known:
        print(f"    {name}: known: {client.known[name]}", flush=True)
    clean(base, client.name)
    return len(new)


if __name__ == "__main__":
    sys.exit(main())
