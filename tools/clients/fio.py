"""fio writes in many patterns and verifies what it reads."""

from __future__ import annotations

from .sides import Checks, Client, Side, call

_ALL = [
    *("--size=48m", "--verify=crc32c", "--verify_fatal=1", "--do_verify=1", "--verify_state_save=0"),
    *("--group_reporting", "--output-format=terse", "--randseed=42"),
]
_PATTERNS = {
    "sequential, 4 KiB": ["--rw=write", "--bs=4k", "--ioengine=psync"],
    "sequential, 1 MiB, fsync": ["--rw=write", "--bs=1m", "--ioengine=psync", "--fsync=4"],
    "random, 512 B to 64 KiB": ["--rw=randwrite", "--bsrange=512-64k", "--ioengine=psync"],
    "random, four jobs": ["--rw=randwrite", "--bs=8k", "--ioengine=psync", "--numjobs=4", "--size=12m"],
    "random reads and writes": ["--rw=randrw", "--bs=4k", "--ioengine=psync"],
    "mapped": ["--rw=randwrite", "--bs=4k", "--ioengine=mmap"],
    "asynchronous": ["--rw=randwrite", "--bs=16k", "--ioengine=libaio", "--iodepth=16"],
    "O_DIRECT": ["--rw=randwrite", "--bs=4k", "--ioengine=psync", "--direct=1", "--size=8m"],
    "O_SYNC": ["--rw=randwrite", "--bs=16k", "--ioengine=psync", "--sync=1", "--size=4m"],
    "vectors": ["--rw=randwrite", "--bs=4k", "--ioengine=pvsync"],
    "trimmed and overwritten": ["--rw=randwrite", "--bs=4k", "--ioengine=psync", "--loops=3", "--size=8m"],
}


def run(side: Side, checks: Checks) -> None:
    for name, options in _PATTERNS.items():
        with checks.one(name):
            word = "".join(letter for letter in name if letter.isalnum())
            call("fio", f"--name={word}", f"--directory={side.folder}", *_ALL, *options, cwd=side.scratch)


CLIENT = Client("fio", "fio in many patterns, verified", run)
