"""
Where `pfs` starts.

`pfs version` is answered from here without loading anything.  Every other command loads its own
module and what that needs, and nothing else (commands.py).
"""

from __future__ import annotations

import sys
from pathlib import PurePath

from pfsfuse import __version__


def main() -> None:
    """Run the program and end the process with its exit code."""
    sys.exit(run(sys.argv))


def run(argv: list[str]) -> int:
    """Run the command line *argv*, whose first word is the name of the program; return the exit code."""
    arguments = argv[1:]
    if arguments in (["version"], ["--version"]):
        print(__version__)
        return 0
    from .commands import run_command
    from .failures import report

    try:
        return run_command(_program(argv), arguments)
    except Exception as error:
        code = report(error, verbose=bool({"-v", "--verbose"} & set(arguments)))
        if code is None:
            raise
        return code


def _program(argv: list[str]) -> str:
    name = PurePath(argv[0]).name
    return name if name and not name.endswith(".py") else "pfs"


if __name__ == "__main__":
    main()
