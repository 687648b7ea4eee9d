"""git on a real repository: the history of this project, cloned, worked in, packed and checked."""

from __future__ import annotations

from pathlib import Path

from .sides import SOURCES, Checks, Client, ClientError, Side, call
from .sources import source

_WHO = {
    "GIT_AUTHOR_NAME": "A",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "C",
    "GIT_COMMITTER_EMAIL": "c@example.org",
    "GIT_CONFIG_GLOBAL": "/dev/null",
}


def _real_repository(side: Side) -> Path:
    """Return the repository of this project; where there is none, one of the sources of git itself."""
    try:
        found = call("git", "-c", "safe.directory=*", "-C", SOURCES, "rev-parse", "--git-common-dir").strip()
    except ClientError:
        made = side.scratch / "origin"
        call("cp", "-a", source(side.cache, "git"), made)
        for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "all of it"]):
            call("git", "-C", made, *words, env=_WHO)
        return made
    return SOURCES / found


def run(side: Side, checks: Checks) -> None:
    work = side.folder / "clone"

    def git(*words: str, **more: object) -> str:
        return call("git", "-c", "safe.directory=*", "-C", work, *words, env=_WHO)

    origin = _real_repository(side)
    with checks.one("clone"):
        call("git", "-c", "safe.directory=*", "clone", "--no-local", origin, work, env=_WHO)
    with checks.one("status is clean"):
        assert git("status", "--porcelain") == ""
    with checks.one("a bare clone with hard links, checked"):
        call("git", "-c", "safe.directory=*", "clone", "--bare", work, side.folder / "bare.git", env=_WHO)
        call("git", "-c", "safe.directory=*", "-C", side.folder / "bare.git", "fsck", "--full", "--strict")
    with checks.one("branches, commits and merges"):
        git("checkout", "-b", "topic")
        for number in range(20):
            (work / f"new-{number}").write_text("line\n" * number)
            git("add", ".")
            git("commit", "-q", "-m", f"change {number}")
        git("checkout", "-q", "-")
        (work / "other").write_text("other\n")
        git("add", ".")
        git("commit", "-q", "-m", "other")
        git("merge", "-q", "--no-edit", "topic")
        git("rebase", "-q", "HEAD~2")
    with checks.one("stash, worktree, clean"):
        (work / "README.md").write_text("changed\n")
        git("stash")
        assert git("status", "--porcelain") == ""
        git("stash", "pop")
        git("checkout", "-q", "README.md")
        git("worktree", "add", "-q", str(side.folder / "tree"), "HEAD~1")
        git("worktree", "remove", str(side.folder / "tree"))
    with checks.one("gc"):
        git("gc", "--prune=now", "--quiet")
    with checks.one("fsck"):
        git("fsck", "--full", "--strict")
    with checks.one("status is clean after all"):
        assert git("status", "--porcelain") == ""
    with checks.one("fsck of the finished commit"):
        there = side.finished() / "clone"
        call("git", "-c", "safe.directory=*", "-C", there, "fsck", "--full")
        assert (
            call("git", "-c", "safe.directory=*", "--no-optional-locks", "-C", there, "status", "--porcelain")
            == ""
        )


CLIENT = Client("git", "git clone, commit, merge, gc and fsck of this project's history", run)
