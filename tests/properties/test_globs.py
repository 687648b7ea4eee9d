"""Globs against a matcher that just tries everything, and walks against matching every path."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from pfsfuse.trees.glob import Glob, quote
from pfsfuse.trees.glob_matcher import Matcher
from pfsfuse.trees.order import path_key
from pfsfuse.trees.tree import Trees
from tests.support.objects import MemoryObjects
from tests.support.trees import SMALL_SHAPE, a_file

LETTERS = "ab/"


@dataclass(frozen=True)
class Part:
    """A piece of a pattern: `kind` is text, *, **, ?, [], {} or the sign of a group."""

    kind: str
    text: str = ""
    inside: tuple[tuple[Part, ...], ...] = ()


Parts = tuple[Part, ...]
Groups = dict[int, str]


def written(parts: Parts) -> str:
    """Return the pattern as a person writes it."""
    return "".join(map(written_part, parts))


def written_part(part: Part) -> str:
    match part.kind:
        case "text":
            return quote(part.text)
        case "[]":
            return f"[{part.text}]"
        case "{}":
            return "{" + ",".join(map(written, part.inside)) + "}"
        case "*" | "**" | "?" if not part.inside:
            return part.kind
        case sign:
            return sign + "(" + "|".join(map(written, part.inside)) + ")"


class Naive:
    """Tries all ways in order, without any cleverness."""

    def __init__(self, parts: Parts, text: str) -> None:
        self.text = text
        self.parts = parts
        self.numbers: dict[tuple[int, ...], int] = {}
        self.events: list[str] = []
        self._number(parts, ())
        first = self.events.index("negated") if "negated" in self.events else len(self.events)
        self.to_end = "solid" not in self.events[first:]

    def _number(self, parts: Parts, where: tuple[int, ...]) -> None:
        for at, part in enumerate(parts):
            place = (*where, at)
            if part.kind == "text" or (part.kind in ("*", "**") and not part.inside):
                self.events.append("solid")
            if part.inside and part.kind != "{}":
                self.numbers[place] = len(self.numbers) + 1
            for way, inside in enumerate(part.inside):
                self._number(inside, (*place, way))
            if part.kind == "!":
                self.events.append("negated")

    def match(self) -> tuple[str, ...] | None:
        for end, groups in self.ways(self.parts, (), 0, 0, {}):
            if end == len(self.text):
                return (self.text, *(groups.get(n + 1, "") for n in range(len(self.numbers))))
        return None

    def ways(
        self, parts: Parts, where: tuple[int, ...], at: int, start: int, groups: Groups
    ) -> Iterator[tuple[int, Groups]]:
        """Yield where the parts from number *at* on may end, the preferred way first."""
        if at == len(parts):
            yield start, groups
            return
        for end, taken in self.one(parts[at], (*where, at), start, groups):
            yield from self.ways(parts, where, at + 1, end, taken)

    def one(
        self, part: Part, place: tuple[int, ...], start: int, groups: Groups
    ) -> Iterator[tuple[int, Groups]]:
        rest = self.text[start:]
        if part.kind == "text":
            if rest.startswith(part.text):
                yield start + len(part.text), groups
        elif part.kind == "[]":
            negated = part.text[0] == "!"
            if rest and (rest[0] in part.text.lstrip("!")) != negated:
                yield start + 1, groups
        elif part.kind == "{}":
            yield from self.any_of(part, place, start, groups)
        elif not part.inside:
            most = len(rest) if part.kind == "**" else len(rest.split("/")[0])
            ends = range(most, -1, -1) if part.kind != "?" else range(min(most, 1), 0, -1)
            yield from ((start + length, groups) for length in ends)
        else:
            number = self.numbers[place]
            for end, taken in self.repeated(part, place, start, groups):
                yield end, {**taken, number: self.text[start:end]}

    def any_of(
        self, part: Part, place: tuple[int, ...], start: int, groups: Groups
    ) -> Iterator[tuple[int, Groups]]:
        for way, inside in enumerate(part.inside):
            yield from self.ways(inside, (*place, way), 0, start, groups)

    def repeated(
        self, part: Part, place: tuple[int, ...], start: int, groups: Groups
    ) -> Iterator[tuple[int, Groups]]:
        if part.kind == "!":
            found = [end for end, _ in self.any_of(part, place, start, {})]
            if not (len(self.text) in found if self.to_end else found):
                most = len(self.text[start:].split("/")[0])
                yield from ((start + length, groups) for length in range(most, -1, -1))
            return
        if part.kind in "@+?":
            for end, taken in self.any_of(part, place, start, groups):
                yield from self.again(part, place, end, taken) if part.kind == "+" else [(end, taken)]
            if part.kind == "?":
                yield start, groups
            return
        yield from self.again(part, place, start, groups)

    def again(
        self, part: Part, place: tuple[int, ...], start: int, groups: Groups
    ) -> Iterator[tuple[int, Groups]]:
        for end, taken in self.any_of(part, place, start, groups):
            if end > start:
                yield from self.again(part, place, end, taken)
        yield start, groups


simple_parts = st.one_of(
    st.builds(Part, st.just("text"), st.text(LETTERS, min_size=1, max_size=2)),
    st.sampled_from([Part("*"), Part("**"), Part("?"), Part("[]", "a"), Part("[]", "!a"), Part("[]", "ab")]),
)


def runs(of: st.SearchStrategy[Part]) -> st.SearchStrategy[Parts]:
    """Pieces in a row: a star and a group behind each other would read as the group *(."""

    def separate(parts: list[Part]) -> Parts:
        kept: list[Part] = []
        for part in parts:
            if (
                kept
                and kept[-1].kind in ("*", "**", "?")
                and not kept[-1].inside
                and part.kind in ("*", "**")
            ):
                continue
            kept.append(part)
        return tuple(kept)

    return st.lists(of, max_size=3).map(separate)


parts = st.recursive(
    simple_parts,
    lambda inner: st.builds(
        Part,
        st.sampled_from(["{}", "@", "?", "*", "+", "!"]),
        st.just(""),
        st.lists(runs(inner), min_size=1, max_size=2).map(tuple),
    ),
    max_leaves=6,
)


@settings(max_examples=200)
@given(runs(parts), st.lists(st.text(LETTERS, max_size=6), min_size=1, max_size=5))
def test_a_matcher_finds_what_trying_everything_finds(pattern: Parts, texts: list[str]) -> None:
    """
    The same texts match, and the groups take the same; by `re` too, where that is safe.
    """
    text_of_pattern = written(pattern)
    bounded = Matcher(text_of_pattern, allow_regex=False)
    quick = Matcher(text_of_pattern)

    for text in texts:
        expected = Naive(pattern, text).match()
        assert expected == bounded.match(text), (text_of_pattern, text)
        assert expected == quick.match(text), (text_of_pattern, text)


names = st.text("ab-", min_size=1, max_size=2)
trees_of_paths = st.sets(st.lists(names, min_size=1, max_size=3).map("/".join), min_size=1, max_size=12)


@settings(max_examples=100)
@given(trees_of_paths, runs(parts))
def test_a_walk_finds_what_matching_every_path_finds(files: set[str], pattern: Parts) -> None:
    """
    Whatever the walk does not look at would not have matched.
    """
    trees = Trees(MemoryObjects(), shape=SMALL_SHAPE)
    root = trees.empty_directory()
    for file in sorted(files):
        path = tuple(file.encode().split(b"/"))
        above = [trees.resolve(root, path[:length]) for length in range(1, len(path))]
        if trees.resolve(root, path) is None and all(e is None or e.is_directory for e in above):
            root = trees.apply(root, {path: a_file(file)})
    glob = Glob(written(pattern))

    every = [((), root), *trees.walk(root)]
    expected = sorted(
        (path_key(path, entry), captures)
        for path, entry in every
        if (captures := glob.match(path)) is not None
    )

    assert expected == [(path_key(path, entry), captures) for path, entry, captures in glob.walk(trees, root)]
