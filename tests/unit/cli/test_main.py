"""How the program starts, what it loads, and what its errors look like."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import pfsfuse
from runner.cli import commands
from runner.cli.commands import COMMANDS
from runner.cli.main import run
from tests.support.commands import SOURCES, Pfs


def loaded_by(*words: str) -> set[str]:
    """Return the top-level modules that a command loads."""
    code = (
        "import sys; from runner.cli.main import run; run(sys.argv);"
        "print('\\n'.join({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=SOURCES, capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines())


def test_the_version_is_that_of_the_package(pfs: Pfs) -> None:
    """
    The program's version is written in two places.
    """
    project = tomllib.loads((SOURCES / "pyproject.toml").read_text())["project"]

    assert project["version"] == pfsfuse.__version__
    assert [project["version"]] == pfs.ok("version").lines
    assert [project["version"]] == pfs.ok("--version").lines
    assert project["version"] == pfs.ok("version", "-o", "json").json["version"]


def test_the_version_is_answered_without_loading_anything_heavy() -> None:
    """
    Scripts ask for the version often.
    """
    heavy = {"typer", "rich", "trio", "lmdb", "msgspec", "podman", "pyfuse3", "zstandard"}

    assert set() == heavy & loaded_by("version")


def test_a_listing_loads_neither_podman_nor_trio_nor_fuse(root: Path) -> None:
    """
    A command loads what it needs and no more.
    """
    assert set() == {"rich", "trio", "podman", "pyfuse3", "yaml", "requests"} & loaded_by("list", "repo")


@pytest.mark.parametrize("words", commands.COMMANDS, ids=" ".join)
def test_every_command_says_what_it_is_for(pfs: Pfs, words: tuple[str, ...]) -> None:
    """
    --help of every command works and has the docstring's first sentence.
    """
    purpose = " ".join((commands.load(words).__doc__ or "").strip().splitlines()[0].split())

    shown = " ".join(pfs.ok(*words, "--help").out.split())

    assert purpose in shown
    assert "--output" in shown


def test_a_command_that_does_not_exist_gets_a_suggestion(pfs: Pfs) -> None:
    """
    A verb and a noun are misspelled.
    """
    verb, noun = pfs("lst", "repo"), pfs("list", "rep")

    assert (2, 2) == (verb.code, noun.code)
    assert "'list'" in verb.err
    assert "'repo'" in noun.err


def test_a_repo_that_does_not_exist_gets_a_suggestion(pfs: Pfs) -> None:
    """
    The name of a repo, then that of a branch, is misspelled.
    """
    pfs.ok("create", "repo", "images")

    repo, branch = pfs("inspect", "repo", "image"), pfs("inspect", "branch", "images@mastr")

    assert (3, 3) == (repo.code, branch.code)
    assert "did you mean images?" in repo.err
    assert "did you mean master?" in branch.err


def test_an_expected_error_is_a_line_or_two_and_no_traceback(pfs: Pfs) -> None:
    """
    Errors say what, which, what now; where they came from is for --verbose.
    """
    short, long = pfs("delete", "repo", "nothing"), pfs("delete", "repo", "nothing", "-v")

    assert ["error: repo nothing not found; `pfs list repo` names those that exist"] == short.err.splitlines()
    assert "Traceback" in long.err
    assert 3 == short.code == long.code


def test_the_program_is_called_what_the_person_called_it(
    capfd: pytest.CaptureFixture[str], root: Path
) -> None:
    """
    `pachctl` is the same program.
    """
    assert 0 == run(["/usr/bin/pachctl", "list", "repo", "--help"])

    assert "Usage: pachctl list repo" in capfd.readouterr().out


def test_options_that_all_commands_have_stand_before_or_behind_the_command(pfs: Pfs) -> None:
    """
    The output format is given to the program, then to the command, and wrongly.
    """
    assert [] == pfs.ok("-o", "json", "list", "repo").json
    assert [] == pfs.ok("list", "repo", "-o", "json").json
    assert ["[]"] == pfs.ok("list", "repo", "--output", "yaml").lines
    wrong = pfs("list", "repo", "-o", "xml")
    assert 2 == wrong.code
    assert "expected table, json or yaml, got 'xml'" in wrong.err


def test_only_the_called_command_is_loaded() -> None:
    """
    Options and their values may stand between.
    """
    assert [("list", "repo")] == commands.wanted(["-o", "json", "list", "repo", "--quiet"])
    assert [("logs",)] == commands.wanted(["logs", "--job", "x"])
    assert {"list"} == {words[0] for words in commands.wanted(["list"])}
    assert list(commands.COMMANDS) == commands.wanted(["lst", "repo"])
    assert list(commands.COMMANDS) == commands.wanted([])


def test_without_a_command_the_help_is_shown(pfs: Pfs) -> None:
    """
    Someone types `pfs` and looks.
    """
    done = pfs()

    assert "Usage: pfs" in done.out + done.err
    assert all(verb in done.out + done.err for verb in ("up", "create", "list", "doctor"))


def test_the_store_of_root_and_of_a_user_are_where_they_belong(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    PFS_ROOT is not set.
    """
    from runner.cli.session import store_root

    monkeypatch.delenv("PFS_ROOT", raising=False)
    monkeypatch.setenv("HOME", "/home/ann")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert Path("/var/lib/pfs") == store_root()
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert Path("/home/ann/.local/share/pfs") == store_root()


def test_a_folder_that_is_no_store_is_refused(pfs: Pfs, root: Path) -> None:
    """
    PFS_ROOT points into somebody's documents.
    """
    root.mkdir()
    (root / "letter.txt").write_text("Dear …")

    done = pfs("list", "repo")

    assert 8 == done.code
    assert "neither empty nor a store" in done.err
    assert ["letter.txt"] == [path.name for path in root.iterdir()]


@pytest.mark.parametrize(
    ("line", "found"), [("pfs li", "list"), ("pfs list co", "commit"), ("pfs list commit --num", "--number")]
)
def test_the_shell_completes_commands_and_options(root: Path, line: str, found: str) -> None:
    """
    What the script that `pfs --show-completion bash` prints asks for.
    """
    done = subprocess.run(
        [sys.executable, "-m", "runner.cli.main"],
        cwd=SOURCES,
        env={
            **os.environ,
            "_PFS_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(line.split()) - 1),
        },
        capture_output=True,
        text=True,
        check=True,
    )

    assert [found] == done.stdout.split()


def test_the_list_of_commands_has_whole_sentences(pfs: Pfs) -> None:
    """
    What a command is for is not cut off in the middle.
    """
    for words in ((), ("list",), ("create",)):
        assert "..." not in pfs.ok(*words, "--help").out.partition("Commands:")[2]


def test_help_names_what_an_option_is_given_in_words_for_people(pfs: Pfs) -> None:
    """
    A number, seconds or text; not the name of a type.
    """
    for words in COMMANDS:
        options = pfs.ok(*words, "--help").out.partition("Options:")[2]
        assert [] == [bad for bad in ("<str>", "<int", "<float", "<%Y") if bad in options], words
