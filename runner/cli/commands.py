"""
The table of all commands, and how one of them becomes a program.

A command is a function `f(session, …)` in the module of its family.  What it takes is in its
signature, in typer's terms; what it is for is in its docstring.  It does not know of the options
that all commands have (--output, --quiet, --verbose): the session's screen has them.

Only the module of the command that is called is loaded; for help and for completion, all.
"""

from __future__ import annotations

import copy
import functools
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any, get_args

import typer
from typer.models import OptionInfo

from .exits import Exit
from .screen import FORMATS, Screen
from .session import Session

COMMANDS: dict[tuple[str, ...], str] = {
    ("up",): "upping:up",
    ("down",): "upping:down",
    ("mount",): "mounting:mount",
    ("umount",): "mounting:umount",
    ("runner",): "upping:run_jobs",
    ("status",): "status:status",
    ("doctor",): "doctor:doctor",
    ("create", "repo"): "repos:create_repo",
    ("create", "branch"): "branches:create_branch",
    ("create", "pipeline"): "pipelines:create_pipeline",
    ("create", "job"): "jobs:create_job",
    ("subscribe", "commit"): "following:subscribe_commit",
    ("find", "commit"): "following:find_commit",
    ("merge", "branch"): "merging:merge_branch_command",
    ("start", "transaction"): "transactions:start_transaction",
    ("finish", "transaction"): "transactions:finish_transaction",
    ("resume", "transaction"): "transactions:resume_transaction",
    ("stop", "transaction"): "transactions:stop_transaction",
    ("list", "transaction"): "transactions:list_transaction",
    ("inspect", "transaction"): "transactions:inspect_transaction",
    ("delete", "transaction"): "transactions:delete_transaction",
    ("list", "repo"): "repos:list_repo",
    ("list", "branch"): "branches:list_branch",
    ("list", "commit"): "commits:list_commit",
    ("list", "file"): "file_list:list_file",
    ("list", "pipeline"): "pipelines:list_pipeline",
    ("list", "job"): "jobs:list_job",
    ("inspect", "repo"): "repos:inspect_repo",
    ("inspect", "branch"): "branches:inspect_branch",
    ("inspect", "commit"): "commits:inspect_commit",
    ("inspect", "file"): "file_list:inspect_file",
    ("inspect", "pipeline"): "pipelines:inspect_pipeline",
    ("inspect", "job"): "jobs:inspect_job",
    ("delete", "repo"): "repos:delete_repo",
    ("delete", "branch"): "branches:delete_branch",
    ("delete", "file"): "file_copy:delete_file",
    ("delete", "pipeline"): "pipelines:delete_pipeline",
    ("start", "commit"): "commits:start_commit",
    ("finish", "commit"): "commits:finish_commit",
    ("drop", "commit"): "removal:drop_commit",
    ("delete", "commit"): "removal:delete_commit",
    ("squash", "commit"): "removal:squash_commit",
    ("forget", "commit"): "removal:forget_commit",
    ("clear", "commit"): "removal:clear_commit",
    ("update", "commit"): "commits:update_commit",
    ("update", "repo"): "repos:update_repo",
    ("update", "branch"): "branches:update_branch",
    ("create", "project"): "projects:create_project",
    ("list", "project"): "projects:list_project",
    ("inspect", "project"): "projects:inspect_project",
    ("update", "project"): "projects:update_project",
    ("delete", "project"): "projects:delete_project",
    ("put", "file"): "file_put:put_file",
    ("get", "file"): "file_get:get_file",
    ("copy", "file"): "file_copy:copy_file",
    ("walk", "file"): "file_list:walk_file",
    ("glob", "file"): "file_list:glob_file",
    ("diff", "file"): "file_diff:diff_file",
    ("edit", "file"): "file_edit:edit_file",
    ("wait", "commit"): "waiting:wait_commit",
    ("wait", "job"): "waiting:wait_job",
    ("logs",): "logs:logs",
    ("draw",): "draw:draw",
    ("fsck",): "fsck:fsck",
    ("gc",): "space:gc",
    ("purge",): "purging:purge_path",
    ("du",): "usage:du",
    ("prune",): "pruning:prune_commits",
    ("dump",): "replication:dump",
    ("restore",): "replication:restore",
    ("copy", "repo"): "replication:copy_repo",
    ("serve-copy",): "replication:serve_copy",
    ("version",): "version:version",
}
"""What a person types → module:function."""

_VERBS = {
    "create": "Create a project, a repo, a branch, a pipeline or a one-off job.",
    "list": "List projects, repos, branches, commits, files, pipelines or jobs.",
    "inspect": "Show all about one thing.",
    "update": "Change what is said of a project, a repo, a branch or a commit.",
    "delete": "Delete a project, a repo, a branch, a commit, a file, a pipeline or a transaction.",
    "start": "Start a commit or a transaction.",
    "finish": "Finish a commit or a transaction.",
    "subscribe": "Follow the commits of a branch.",
    "find": "Find the commits that changed a path.",
    "merge": "Merge a branch into another.",
    "resume": "Go on with a transaction.",
    "stop": "Leave a transaction.",
    "drop": "Throw an open commit away.",
    "squash": "Remove commits and keep what is in them.",
    "forget": "Give up the content of a commit that was made from others.",
    "clear": "Empty an open commit.",
    "put": "Put files into a branch.",
    "get": "Get files out of a commit.",
    "copy": "Copy files from commit to branch, or a repo to another store.",
    "walk": "List a folder with everything below it.",
    "glob": "List what matches a pattern.",
    "diff": "Show what differs between files of two commits.",
    "edit": "Edit a file of a branch.",
    "wait": "Wait for a commit or a job and what follows from it.",
}

_WITH_VALUE = frozenset({"-o", "--output"})


def run_command(program: str, arguments: Sequence[str]) -> int:
    """Run one command line; return its exit code.  Errors of pfs pass through."""
    app = typer.Typer(
        name=program,
        help="A versioned file system with pipelines.  `pfs up DIR` is how to begin.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich" if sys.stdout.isatty() and sys.stderr.isatty() else None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_top)
    add_commands(app, wanted(arguments or words_to_complete(program)))
    try:
        typer.main.get_command(app).main(args=list(arguments), prog_name=program)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(Exit.FAILURE)
    return int(Exit.OK)


def wanted(arguments: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the words of the command that is called; where that is not clear, of all that it may be."""
    words: list[str] = []
    skip = False
    for argument in arguments:
        if skip:
            skip = False
        elif argument.startswith("-"):
            skip = argument in _WITH_VALUE
        else:
            words.append(argument)
    for length in (1, 2):
        if tuple(words[:length]) in COMMANDS:
            return [tuple(words[:length])]
    of_verb = [each for each in COMMANDS if words and each[0] == words[0]]
    return of_verb or list(COMMANDS)


def words_to_complete(program: str) -> list[str]:
    """Return the words before the cursor when a shell asks for completion; see typer's scripts for shells."""
    if f"_{program.upper().replace('-', '_')}_COMPLETE" not in os.environ:
        return []
    line = os.environ.get("_TYPER_COMPLETE_ARGS") or os.environ.get("COMP_WORDS", "")
    return line.split()[1:]


def add_commands(app: typer.Typer, chosen: Sequence[tuple[str, ...]]) -> None:
    """Load the chosen commands and add them."""
    verbs: dict[str, typer.Typer] = {}
    for words in chosen:
        owner = app
        if len(words) == 2:
            if words[0] not in verbs:
                verbs[words[0]] = typer.Typer(no_args_is_help=True)
                app.add_typer(
                    verbs[words[0]], name=words[0], help=_VERBS[words[0]], short_help=_VERBS[words[0]]
                )
            owner = verbs[words[0]]
        function = load(words)
        owner.command(words[-1], short_help=_short_help(function.__doc__))(as_command(function))


def _short_help(text: str | None) -> str:
    """Return the first paragraph of a docstring: whole, where click would cut it off in a list of commands."""
    return " ".join(inspect.cleandoc(text or "").partition("\n\n")[0].split())


def load(words: tuple[str, ...]) -> Callable[..., None]:
    """Return the function of a command."""
    module, _, name = COMMANDS[words].partition(":")
    found: Callable[..., None] = getattr(importlib.import_module(f"{__package__}.{module}"), name)
    return found


def _format(value: str | None) -> str | None:
    if value is not None and value not in FORMATS:
        raise typer.BadParameter(f"expected {', '.join(FORMATS[:-1])} or {FORMATS[-1]}, got {value!r}")
    return value


Output = Annotated[
    str | None,
    typer.Option("--output", "-o", metavar="FORMAT", help="table, json or yaml.", callback=_format),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print results only.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more; show where an error came from.")]


def _show_version(is_asked: bool) -> None:
    if is_asked:
        from pfsfuse import __version__

        print(__version__)
        raise typer.Exit


def _top(
    context: typer.Context,
    output: Output = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    context.obj = Screen(output or "table", quiet, verbose)


_METAVARS = {str: "TEXT", int: "N", float: "SECONDS"}
"""What an option is given, for help; most words for the type are no words for a person."""


def _with_metavar(parameter: inspect.Parameter) -> inspect.Parameter:
    """Return *parameter* with a word for what its option is given, unless it has one."""
    kind, *notes = get_args(parameter.annotation)
    kinds = [each for each in (get_args(kind) or (kind,)) if each in _METAVARS]
    options = [each for each in notes if isinstance(each, OptionInfo) and each.metavar is None]
    if not kinds or not options:
        return parameter
    info = copy.copy(options[0])
    info.metavar = _METAVARS[kinds[0]]
    return parameter.replace(annotation=Annotated[kind, info])


_COMMON = {
    "output": (Output, None),
    "quiet": (Quiet, False),
    "verbose": (Verbose, False),
}


def as_command(function: Callable[..., None]) -> Callable[..., None]:
    """
    Return *function* as typer wants it: without the session, with the options that all commands have.

    A command that has an option of one of these names keeps its own.
    """
    own = [
        _with_metavar(p)
        for p in inspect.signature(function, eval_str=True).parameters.values()
        if p.name != "session"
    ]
    taken = {parameter.name for parameter in own}
    common = {name: what for name, what in _COMMON.items() if name not in taken}
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in common.items()
    ]

    @functools.wraps(function)
    def command(context: typer.Context, **given: Any) -> None:
        top = context.obj if isinstance(context.obj, Screen) else Screen()
        mine = {name: given.pop(name) for name in common}
        screen = Screen(
            mine.get("output") or top.format,
            mine.get("quiet", False) or top.quiet,
            mine.get("verbose", False) or top.verbose,
        )
        with Session(screen) as session:
            function(session, **given)

    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    parameters = [context, *(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own), *added]
    # typer looks at the signature for names and defaults, and at the annotations for types.
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    del command.__wrapped__
    return command
