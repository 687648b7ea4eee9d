"""Outputs of containers, from writing into the fork to the merged tree, against lists of lines."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from pfsfuse.trees.entry import Kind
from pfsfuse.trees.tree import Trees
from pfsfuse.versions.forks import ForkChange, fork_changes
from pfsfuse.versions.overlay import Overlay
from pfsfuse.versions.staged import StagedDirectory, StagedFile
from runner.jobs.merge import merge_outputs
from tests.support.files import directory, files_of
from tests.support.objects import MemoryObjects

Step = tuple[str, str, bytes]
"""What a container does: `>`, `>>` or `rm`, a path, and the line that it writes."""
Lines = dict[str, list[bytes]]

PATHS = st.sampled_from(["a", "b", "d/a", "d/b"])
LINES = st.sampled_from([b"", b"x\n", b"y\n", b"long " * 400 + b"\n"])
STEPS = st.lists(st.tuples(st.sampled_from([">", ">>", "rm"]), PATHS, LINES), max_size=8)
# Of an empty file nobody can tell whether it was kept or written anew.
PARENTS = st.dictionaries(PATHS, st.lists(LINES, max_size=3).filter(any), max_size=4)


class Model:
    """The rules of the 1.0 era for one path: what the containers before did to it, and wrote."""

    def __init__(self, parent: Lines) -> None:
        self.parent = parent
        self.is_kept = dict.fromkeys(parent, True)
        self.written: Lines = {}

    def run(self, steps: list[Step]) -> None:
        """Have one more container run, in a fork of the parent's output."""
        fork = {path: list(lines) for path, lines in self.parent.items()}
        kept = dict.fromkeys(self.parent, True)
        for how, path, line in steps:
            if how == ">>":
                fork.setdefault(path, []).append(line)
                continue
            kept[path] = False
            fork.pop(path, None)
            if how == ">":
                fork[path] = [line]
        for path in {*fork, *kept}:
            if kept.get(path):
                added = fork[path][len(self.parent[path]) :]
                if any(added):
                    self.written.setdefault(path, []).extend(added)
            else:
                if path in self.is_kept:
                    self.is_kept[path] = False
                if path in fork:
                    self.written.setdefault(path, []).extend(fork[path])

    def output(self) -> dict[str, bytes]:
        """Return the files of the job."""
        kept = {path for path, is_kept in self.is_kept.items() if is_kept}
        return {
            path: b"".join([*(self.parent[path] if path in kept else []), *self.written.get(path, [])])
            for path in kept | set(self.written)
        }


def changes_of(trees: Trees, base: Lines, steps: list[Step], scratch: Path) -> list[ForkChange]:
    """Do what a container does, in a real overlay; all files have one time, as `cp -p` gives them."""
    root = directory(trees, {path: b"".join(lines) for path, lines in base.items()})
    overlay = Overlay(trees, root, scratch, objects=trees.objects)
    for how, path, line in steps:
        at = overlay.root
        *folders, name = path.encode().split(b"/")
        for folder in folders:
            if overlay.lookup(at, folder) is None:
                overlay.create(at, folder, Kind.DIRECTORY, mode=0o755, uid=0, gid=0)
            below = overlay.promote(at, folder)
            assert isinstance(below, StagedDirectory)
            at = below
        if how == "rm":
            if overlay.lookup(at, name) is not None:
                overlay.remove(at, name, is_directory=False)
            continue
        if overlay.lookup(at, name) is None:
            overlay.create(at, name, Kind.FILE, mode=0o644, uid=0, gid=0)
        file = overlay.promote(at, name)
        assert isinstance(file, StagedFile)
        if how == ">":
            overlay.truncate(file, 0)
        overlay.write(file, file.size, line)
        overlay.set_attributes(file, mtime_ns=0)
    changes = fork_changes(overlay, overlay.seal(), trees.objects)
    overlay.discard()
    return changes


@given(PARENTS, st.lists(STEPS, min_size=1, max_size=4))
@example({"a": [b"x\n"]}, [[(">", "a", b"x\n")]] * 3)  # each writes what is there already
@example({"a": [b"x\n"]}, [[("rm", "a", b"")], [(">>", "a", b"y\n")]])
@example({"a": []}, [[(">>", "a", b"x\n")], [(">", "a", b"y\n")]])
def test_outputs_are_put_together_as_the_1_0_era_means_it(
    parent: Lines, containers: list[list[Step]]
) -> None:
    """
    Containers that replace, append to and remove files of the parent job's output, side by side.
    """
    trees = Trees(MemoryObjects())
    model = Model(parent)
    with tempfile.TemporaryDirectory() as scratch:
        outputs = []
        for number, steps in enumerate(containers):
            model.run(steps)
            outputs.append(changes_of(trees, parent, steps, Path(scratch, str(number))))
    base = directory(trees, {path: b"".join(lines) for path, lines in parent.items()})

    merged = merge_outputs(trees, trees.objects, base, outputs, mtime_ns=0)

    assert model.output() == files_of(trees, merged)
