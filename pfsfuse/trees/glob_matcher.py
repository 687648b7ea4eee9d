"""
Matching text against a glob pattern, in bounded time.

The pattern becomes a program of steps: read one character, try several ways in order, note where a group
begins or ends, look ahead.  A match is found in two passes and without back-tracking: from the right, which
steps can still reach the end (for a look-ahead: the same for its own part); then from the left, always the
first way of those that can.  So the time is at most O(characters of the pattern x characters of the text), for
each pattern and text there are, and the groups are those that a greedy back-tracking matcher would find.

What is worked out about sets of steps is kept (`_MOST_KEPT`), so a program costs little for each
further text.  A `Matcher` belongs to one thread.

Patterns that Python's `re` cannot be slow for are given to `re` (`glob_regex.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .glob_regex import regex_for
from .glob_syntax import Braces, Group, Node, Nodes, OneOf, Parsed, Single, Star, Text, parse

Captures = tuple[str, ...]
"""The whole text, then what each group has taken; "" for a group that took no part."""

States = frozenset[int]
"""Steps of a program."""

_MOST_KEPT = 2_000_000
"""Numbers of steps, in all sets that are kept: some 100 MB if they are all different."""
_MOST_NAMES = 256
"""How many words `Scan.words` gives before it says that anything is possible."""
_LONGEST_WORD = 255

_Trail = tuple[int, int, "_Trail"] | None


@dataclass(slots=True)
class _Step:
    """
    One step of a program; which of the fields counts depends on what else is set.

    `reads`: takes one such character and goes on to the only target.  `slot`: notes the position.  `looks`:
    goes on only if that look-ahead finds nothing.  Neither: tries the targets in order; none at an end.
    """

    targets: list[int]
    reads: OneOf | None = None
    letter: str = ""
    """The only character that `reads` takes, if there is one."""
    slot: int | None = None
    looks: int | None = None


class _Kept:
    """Which set of steps follows from which by which character; forgotten when there are too many."""

    def __init__(self) -> None:
        self.sets: dict[tuple[States, str, int], States] = {}
        self._weight = 0

    def keep(self, key: tuple[States, str, int], states: States) -> States:
        self._weight += len(states) + 8
        if self._weight > _MOST_KEPT:
            self.sets.clear()
            self._weight = len(states) + 8
        self.sets[key] = states
        return states


class Matcher:
    """A pattern, ready to be matched."""

    def __init__(self, pattern: str, *, separators: str = "/", allow_regex: bool = True) -> None:
        """GlobSyntaxError if the pattern makes no sense."""
        parsed = parse(pattern)
        self._program = _Program(parsed, separators)
        self._regex = regex_for(parsed, separators) if allow_regex else None
        self.is_filter_exact = not self._program.looks
        """Whether what `Scan` accepts always matches: there is no negation."""
        self.groups = parsed.groups
        self._kept = _Kept()

    def match(self, text: str) -> Captures | None:
        """Return what the groups take if all of *text* matches."""
        if self._regex is not None:
            found = self._regex.fullmatch(text)
            return None if found is None else (text, *found.groups(""))
        alive = self._alive(text)
        return None if alive is None else self._follow(text, *alive)

    # From the right

    def _alive(self, text: str) -> tuple[list[States], list[int]] | None:
        """Return for each position what can reach the end from there, and which look-aheads hold there."""
        holds = [0] * (len(text) + 1)
        for number, (entry, end) in enumerate(self._program.looks):
            found = self._run_back(text, end, holds, is_free=not self._program.looks_to_end)
            for at, states in enumerate(found):
                if entry not in states:
                    holds[at] |= 1 << number
        alive = self._run_back(text, self._program.end, holds, is_free=False)
        return (alive, holds) if self._program.entry in alive[0] else None

    def _run_back(self, text: str, end: int, holds: list[int], *, is_free: bool) -> list[States]:
        """*is_free*: the end may be reached at any position, not only behind the last character."""
        seed = frozenset((end,))
        states = self._closed(seed, holds[-1])
        found = [states]
        kept = self._kept
        for at in range(len(text) - 1, -1, -1):
            key = (states, text[at], holds[at] << 1 | is_free)
            before = kept.sets.get(key)
            if before is None:
                reading = self._program.readers(states, text[at])
                before = kept.keep(key, self._closed(reading | seed if is_free else reading, holds[at]))
            states = before
            found.append(states)
        found.reverse()
        return found

    def _closed(self, states: States, holds: int) -> States:
        """Return *states* with all from which they are reached without reading."""
        program = self._program
        ahead, found = list(states), set(states)
        while ahead:
            for before in program.without_reading[ahead.pop()]:
                looks = program.steps[before].looks
                if before not in found and (looks is None or holds >> looks & 1):
                    found.add(before)
                    ahead.append(before)
        return frozenset(found)

    # From the left

    def _follow(self, text: str, alive: list[States], holds: list[int]) -> Captures:
        steps = self._program.steps
        trail: _Trail = None
        step: int | None = self._program.entry
        for at in range(len(text) + 1):
            assert step is not None
            reader, trail = self._first_reader(step, text[at : at + 1], at, alive, holds[at], trail)
            step = steps[reader].targets[0] if steps[reader].targets else None
        slots = [-1] * (2 * self.groups)
        while trail is not None:
            slot, at, trail = trail
            if slots[slot] < 0:
                slots[slot] = at
        # A group that was entered once more but not left keeps no end: then the beginning is not its own.
        return (text, *(text[a:b] if 0 <= a <= b else "" for a, b in _pairs(slots)))

    def _first_reader(
        self, start: int, character: str, at: int, alive: list[States], holds: int, trail: _Trail
    ) -> tuple[int, _Trail]:
        """Return the first way on from *start* that ends well: what reads, or the end, and what it noted."""
        steps = self._program.steps
        ahead: list[tuple[int, _Trail]] = [(start, trail)]
        seen: set[int] = set()
        while True:
            number, trail = ahead.pop()
            if number in seen or number not in alive[at]:
                continue
            seen.add(number)
            step = steps[number]
            if step.reads is not None:
                if character and step.targets[0] in alive[at + 1] and character in step.reads:
                    return number, trail
                continue
            if not step.targets:
                if not character:
                    return number, trail
                continue
            if step.looks is not None and not holds >> step.looks & 1:
                continue
            if step.slot is not None:
                trail = (step.slot, at, trail)
            ahead += [(target, trail) for target in reversed(step.targets)]


class Scan:
    """
    Which beginnings of texts may become a match: for whoever walks a tree and wants to look no further.

    Negations count as met, so it may say yes too often, never too seldom.
    """

    def __init__(self, matcher: Matcher) -> None:
        self._program = matcher._program
        self._kept = _Kept()
        self.start = self._reached([self._program.entry])

    def advance(self, states: States, text: str) -> States:
        """Return where *text* leads; nothing if no match can go on like that."""
        kept = self._kept
        for character in text:
            key = (states, character, 0)
            after = kept.sets.get(key)
            if after is None:
                after = kept.keep(key, self._reached(self._program.after(states, character)))
            states = after
            if not states:
                break
        return states

    def accepts(self, states: States) -> bool:
        """Say whether a match may end here."""
        return self._program.end in states

    def words(self, states: States, stop: str) -> list[str] | None:
        """Return all there can be up to *stop* or the end, in order; None if that is not a short list."""
        found: set[str] = set()
        ahead = [("", states)]
        while ahead:
            word, states = ahead.pop()
            letters = self._letters(states)
            if letters is None or len(word) > _LONGEST_WORD or len(found) + len(ahead) > _MOST_NAMES:
                return None
            if self.accepts(states) or stop in letters:
                found.add(word)
            ahead += [(word + letter, self.advance(states, letter)) for letter in letters if letter != stop]
        return sorted(found - {""})

    def prefix(self, states: States, stop: str) -> str:
        """Return what all that can follow, up to *stop*, begins with."""
        word = ""
        while len(word) <= _LONGEST_WORD and not self.accepts(states):
            letters = self._letters(states)
            if letters is None or len(letters) != 1 or stop in letters:
                break
            word += next(iter(letters))
            states = self.advance(states, word[-1])
        return word

    def _letters(self, states: States) -> set[str] | None:
        """Return the characters that can be read next; None if they are no list."""
        reading = [self._program.steps[number] for number in states]
        reading = [step for step in reading if step.reads is not None]
        return {step.letter for step in reading} if all(step.letter for step in reading) else None

    def _reached(self, numbers: list[int]) -> States:
        """Return *numbers* with all that is reached from there without reading."""
        ahead, found = numbers, set(numbers)
        while ahead:
            step = self._program.steps[ahead.pop()]
            if step.reads is None:
                ahead += [target for target in step.targets if target not in found]
                found.update(step.targets)
        return frozenset(found)


class _Program:
    """The steps of a pattern; made from the last to the first, so that each knows what comes next."""

    def __init__(self, parsed: Parsed, separators: str) -> None:
        self.steps: list[_Step] = []
        self.looks: list[tuple[int, int]] = []
        """First and last step of each look-ahead; one that stands in another comes before it."""
        self.looks_to_end = parsed.looks_to_end
        self._inner = OneOf(tuple((ord(c), ord(c)) for c in separators), negated=True)
        self.end = self._add([])
        self.entry = self._sequence(parsed.nodes, self.end)
        self.without_reading: list[list[int]] = [[] for _ in self.steps]
        self._before: list[list[int]] = [[] for _ in self.steps]
        for number, step in enumerate(self.steps):
            for target in step.targets:
                (self.without_reading if step.reads is None else self._before)[target].append(number)

    def readers(self, states: States, character: str) -> States:
        """Return the steps that take *character* and lead to one of *states*."""
        return frozenset(
            number
            for state in states
            for number in self._before[state]
            if character in self.steps[number].reads  # type: ignore[operator]  # only such are in _before
        )

    def after(self, states: States, character: str) -> list[int]:
        """Return where the steps among *states* that take *character* lead."""
        reading = (self.steps[number] for number in states)
        return [step.targets[0] for step in reading if step.reads is not None and character in step.reads]

    def _add(self, targets: list[int], **what: OneOf | int | str | None) -> int:
        self.steps.append(_Step(targets, **what))  # type: ignore[arg-type]  # the fields of a step
        return len(self.steps) - 1

    def _sequence(self, nodes: Nodes, then: int) -> int:
        for node in reversed(nodes):
            then = self._node(node, then)
        return then

    def _node(self, node: Node, then: int) -> int:
        match node:
            case Text(text):
                for character in reversed(text):
                    only = OneOf(((ord(character), ord(character)),))
                    then = self._add([then], reads=only, letter=character)
                return then
            case Single():
                return self._add([then], reads=self._inner)
            case OneOf():
                return self._add([then], reads=node)
            case Star(crosses):
                return self._run(OneOf((), negated=True) if crosses else self._inner, then)
            case Braces(alternatives):
                return self._add(self._ways(alternatives, then))
            case Group():
                return self._group(node, then)

    def _run(self, of: OneOf, then: int) -> int:
        again = self._add([])
        self.steps[again].targets += [self._add([again], reads=of), then]
        return again

    def _ways(self, alternatives: tuple[Nodes, ...], then: int) -> list[int]:
        return [self._sequence(nodes, then) for nodes in alternatives]

    def _group(self, group: Group, then: int) -> int:
        left = self._add([then], slot=2 * group.number - 1)
        match group.quantifier:
            case "@":
                inside = self._add(self._ways(group.alternatives, left))
            case "?":
                inside = self._add([*self._ways(group.alternatives, left), left])
            case "*":
                inside = self._add([])
                self.steps[inside].targets += [*self._ways(group.alternatives, inside), left]
            case "+":
                again = self._add([])
                inside = self._add(self._ways(group.alternatives, again))
                self.steps[again].targets += [inside, left]
            case _:
                end = self._add([])
                forbidden = self._add(self._ways(group.alternatives, end))
                self.looks.append((forbidden, end))
                run = self._run(self._inner, left)
                inside = self._add([run], looks=len(self.looks) - 1)
        return self._add([inside], slot=2 * group.number - 2)


def _pairs(slots: list[int]) -> Iterator[tuple[int, int]]:
    return zip(slots[::2], slots[1::2], strict=True)
