"""
The main job from beginning to end, by the commands a person would type.

Usage: python -m tools.demo            run it (this is `make demo`)
       python tools/demo.py --clean    remove what interrupted demos and their image left

Two days of a fruit stand's sales go into a mounted repo with `cp` and `>>`; two pipelines in
real containers keep the totals; the totals are compared with awk's over the same two files.
The demo has a store and a mount point of its own under /tmp and leaves nothing of them,
neither after Ctrl-C nor after a failure.

This program may not use anything that `make setup` installs: `make clean` runs it too.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "fruit_stand"
FRUITS = ("apple", "banana", "orange")
PREFIX = "pfs-demo-"
IMAGE = "localhost/pfs-base:latest"
COMMAND_SECONDS = 300


class DemoError(Exception):
    """The demo did not show what it should; the message says what."""


class Demo:
    """One run: a directory under /tmp, and the commands that run in it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.mount = directory / "pfs"
        self.store = directory / "store"
        self.environment = {
            **os.environ,
            "PFS_ROOT": str(self.store),
            "PATH": f"{ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        }

    def run(self, command: str) -> str:
        """Print *command*, run it in a shell, show what it prints and return that."""
        print(f"\n$ {command}", flush=True)
        # Whatever touches the mount is a process of its own, so that a dead mount hangs that
        # process and not this one; and nothing here waits for a process that was killed.
        process = subprocess.Popen(
            ["sh", "-c", command],
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            output, _ = process.communicate(timeout=COMMAND_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise DemoError(f"no end after {COMMAND_SECONDS} s: {command}") from None
        except KeyboardInterrupt:
            process.kill()
            raise
        print(output, end="", flush=True)
        if process.returncode != 0:
            raise DemoError(f"exit code {process.returncode}: {command}")
        return output

    def down(self) -> None:
        """Stop the processes and their containers, unmount, remove the directory."""
        if self.store.exists():
            self._say_down()
        if is_mounted(self.mount):
            # `pfs down` did not manage; a lazy unmount leaves at least no mount point behind.
            subprocess.run(["umount", "--lazy", str(self.mount)], check=False)
        if is_mounted(self.mount):  # removing what is below would remove it from the repos
            print(f"still mounted, so not removed: {self.mount}", file=sys.stderr)
            return
        shutil.rmtree(self.directory, ignore_errors=True)

    def _say_down(self) -> None:
        print("\n$ pfs down", flush=True)
        try:
            # A session of its own: the Ctrl-C that brought us here must not end this too.
            done = subprocess.run(
                ["pfs", "down"],
                cwd=self.directory,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                timeout=60,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            print(f"pfs down: {error}", file=sys.stderr)
            return
        if done.returncode != 0:
            print(f"pfs down: exit code {done.returncode}", file=sys.stderr)


def is_mounted(directory: Path) -> bool:
    """Say whether *directory* is a mount point, without touching it."""
    return any(line.split()[1] == str(directory) for line in Path("/proc/mounts").read_text().splitlines())


def play(demo: Demo) -> None:
    """Run the whole story; DemoError where it goes another way than it should."""
    mount, directory = shlex.quote(str(demo.mount)), shlex.quote(str(demo.directory))
    example = shlex.quote(str(EXAMPLE))
    demo.mount.mkdir()
    demo.run(f"python3 {shlex.quote(str(ROOT))}/tools/base_image.py")
    demo.run(f"python3 {example}/generate.py {directory}")

    demo.run(f"pfs up {mount} --detach")
    demo.run(f"mkdir {mount}/data")
    demo.run(f"ls {mount}/data/master")
    demo.run(f"pfs create pipeline -f {example}/pipeline.json")

    demo.run(f"cp set1.txt {mount}/data/master/sales")
    demo.run("pfs wait commit data@master")
    check_totals(demo, "set1.txt")

    demo.run(f"cat set2.txt >> {mount}/data/master/sales")
    demo.run("pfs wait commit data@master")
    check_totals(demo, "set1.txt", "set2.txt")

    demo.run("pfs list job")
    demo.run("pfs list commit sum@master")
    demo.run("pfs draw")


def check_totals(demo: Demo, *days: str) -> None:
    """Show the totals that `sum` has now and compare them with awk's over the files *days*."""
    found = {
        fruit: demo.run(f"cat {shlex.quote(str(demo.mount))}/sum/master/{fruit}").strip() for fruit in FRUITS
    }
    awk = {fruit: awk_total(demo.directory, fruit, days) for fruit in FRUITS}
    print(f"\ntotals after {' + '.join(days)}:")
    for fruit in FRUITS:
        print(f"    {fruit:8}{found[fruit]:>8}   awk: {awk[fruit]:>6}")
    if found != awk:
        raise DemoError(f"the totals are {found}, awk's are {awk}")


def awk_total(directory: Path, fruit: str, days: tuple[str, ...]) -> str:
    """Return what awk makes of the sales of *fruit* in the files *days*."""
    program = "$1 == fruit { total += $2 } END { print total }"
    command = ["awk", "-v", f"fruit={fruit}", program, *days]
    return subprocess.run(command, cwd=directory, check=True, capture_output=True, text=True).stdout.strip()


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn the signals that end a program into KeyboardInterrupt, so that everything is tidied up."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        # Tidying up is not interrupted a second time.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)


def clean() -> None:
    """Remove what interrupted demos left, and the image."""
    for directory in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        Demo(directory).down()
    if shutil.which("podman") is not None:
        subprocess.run(["podman", "rmi", "--force", IMAGE], check=False, capture_output=True)


def main() -> int:
    """Run the command line; return the exit code."""
    if sys.argv[1:] == ["--clean"]:
        clean()
        return 0
    began = time.monotonic()
    demo = Demo(Path(tempfile.mkdtemp(prefix=PREFIX)))
    try:
        with interruptible():
            play(demo)
    except DemoError as error:
        print(f"\nthe demo failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    finally:
        demo.down()
    print(f"\nall totals are awk's; {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
