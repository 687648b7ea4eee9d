"""
Benchmarks, each figure beside a reference that is measured in the same run.

    python -m tools.bench [--data FOLDER] [NAME ...]

The machine is shared and noisy, so rounds of ours and of the reference alternate, the best of
each counts, and what is to be compared over time is the ratio.  Data sets have fixed seeds.  A
figure that misses what is to be reached is marked; the exit status says only whether it all ran.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tools.benchmarks import jobs, mount, store
from tools.benchmarks.report import HEADING, Figure

Row = Callable[[], list[Figure]]


def rows(scratch: Path, data: Path) -> dict[str, Row]:
    """Return what can be measured, by name, in the order of the report."""
    desk = store.Desk(scratch / "desk", data / "A", data / "B")
    mounted = mount.MountBench(scratch / "mounted", data)
    running = jobs.JobBench(scratch / "running")
    return {
        **{name: (lambda row=row: row(desk)) for name, row in store.ROWS.items()},  # type: ignore[misc]
        **{name: (lambda row=row: row(mounted)) for name, row in mount.ROWS.items()},  # type: ignore[misc]
        **{name: (lambda row=row: row(running)) for name, row in jobs.ROWS.items()},  # type: ignore[misc]
    }


def main() -> int:
    names = [*store.ROWS, *mount.ROWS, *jobs.ROWS]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", choices=[*names, []], help="which; all without names")
    parser.add_argument(
        "--data", type=Path, help="a folder that has the data sets, or gets them and keeps them"
    )
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pfs-bench-", dir="/var/tmp") as made:
        scratch = Path(made)
        for part in ("desk", "mounted", "running"):
            (scratch / part).mkdir()
        data = chosen.data or scratch / "data"
        mount.make_data(data)
        known = rows(scratch, data)
        print(HEADING, flush=True)
        for name in chosen.names or names:
            for figure in known[name]():
                print(figure.line(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
