"""Exit codes: one table, without holes."""

from __future__ import annotations

import errno
import importlib
import pkgutil
import re

import pytest

import pfsfuse
import runner
from pfsfuse.errors import PfsError
from runner.cli import exits
from runner.cli.exits import Exit, exit_of, known_exit
from runner.errors import RunnerError
from tests.support.commands import SOURCES


def load_everything() -> None:
    for package in (pfsfuse, runner):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)


def below(kind: type[Exception]) -> set[type[Exception]]:
    return {each for direct in kind.__subclasses__() for each in (direct, *below(direct))}


def test_every_error_of_pfs_and_of_the_runner_has_an_exit_code() -> None:
    """
    An error without a code would leave a script with nothing to act on.
    """
    load_everything()

    unknown = [kind.__name__ for kind in below(PfsError) | below(RunnerError) if _code(kind) is None]

    assert [] == sorted(unknown)


def _code(kind: type[Exception]) -> object:
    # A process that failed hands on the exit code that it had.
    return known_exit(kind) or (kind.__name__ == "ProcessFailedError" or None)


def test_the_table_names_only_errors_that_exist() -> None:
    """
    The table is by name; a renamed error must not leave its old name behind.
    """
    load_everything()

    existing = {kind.__name__ for kind in below(PfsError) | below(RunnerError)}

    assert set() == set(exits._BY_ERROR) - existing


def test_the_documented_codes_are_those_of_the_program() -> None:
    """
    The docstring is what programmers read, docs/cli.md what everybody else does.
    """
    table = (SOURCES / "docs" / "cli.md").read_text()
    in_docstring = re.findall(r"^    (\d+) ", exits.__doc__ or "", re.MULTILINE)
    in_document = re.findall(r"^\| (\d+) \|", table, re.MULTILINE)

    assert [str(int(code)) for code in Exit] == in_docstring
    assert [str(int(code)) for code in Exit] == in_document


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOENT, Exit.NOT_FOUND),
        (errno.ENOSPC, Exit.NO_SPACE),
        (errno.EROFS, Exit.READ_ONLY),
        (errno.EACCES, Exit.FAILURE),
    ],
)
def test_an_error_of_the_system_has_the_code_of_its_kind(number: int, code: Exit) -> None:
    """
    A file of the host is missing, a disk is full.
    """
    assert code == exit_of(OSError(number, "said the kernel"))


def test_a_process_that_failed_hands_its_code_on() -> None:
    """
    `pfs up --detach` fails because the mount of its supervisor failed.
    """
    from runner.supervisor import ProcessFailedError

    assert 4 == exit_of(ProcessFailedError("mount", 4, "not empty"))
    assert 1 == exit_of(ProcessFailedError("mount", -9, ""))
