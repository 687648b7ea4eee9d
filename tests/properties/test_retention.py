"""What a retention policy keeps, for every line of commits."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import example, given
from hypothesis import strategies as st

from pfsfuse.versions.retention import UNLIMITED, Dated, Policy, Rule, reasons

DAY = 86_400 * 10**9

times = st.lists(st.integers(0, 800 * DAY), max_size=60).map(lambda found: sorted(found, reverse=True))
counts = st.dictionaries(st.sampled_from(list(Rule)), st.integers(UNLIMITED, 12))
policies = st.builds(Policy, counts, st.none() | st.integers(0, 400 * DAY))


def line_of(moments: list[int]) -> list[Dated[int]]:
    return [Dated(number, moment) for number, moment in enumerate(moments)]


def kept(policy: Policy, line: list[Dated[int]]) -> set[int]:
    found = reasons(policy, line, UTC)
    return {each.name for each, why in zip(line, found, strict=True) if why}


@given(times, st.integers(0, 70))
def test_keep_last_keeps_exactly_the_newest(moments: list[int], count: int) -> None:
    """
    As many as are asked for, or as there are.
    """
    assert set(range(min(count, len(moments)))) == kept(Policy({Rule.LAST: count}), line_of(moments))


@given(times, policies)
@example([], Policy({Rule.DAILY: 1}))
def test_what_a_policy_keeps_is_what_any_of_its_rules_keeps(moments: list[int], policy: Policy) -> None:
    """
    Rules know nothing of each other.
    """
    line = line_of(moments)
    single = [Policy({rule: count}) for rule, count in policy.counts.items()]
    single.append(Policy(within_ns=policy.within_ns))

    assert set().union(*(kept(each, line) for each in single)) == kept(policy, line)


@given(times, policies)
def test_a_policy_that_is_applied_again_lets_nothing_more_go(moments: list[int], policy: Policy) -> None:
    """
    Prune runs every night.
    """
    line = line_of(moments)
    left = [each for each in line if each.name in kept(policy, line)]

    assert {each.name for each in left} == kept(policy, left)


@given(times, st.sampled_from(list(Rule)), st.integers(1, 12))
def test_a_rule_keeps_at_most_its_number_and_the_newest_of_each_period(
    moments: list[int], rule: Rule, count: int
) -> None:
    """
    Of commits of one period none but the newest is kept, unless it is the oldest of all.
    """
    line = line_of(moments)
    found = kept(Policy({rule: count}), line)
    more = kept(Policy({rule: count + 1}), line)

    assert len(found) <= count
    assert found <= more | {len(line) - 1}
    assert not line or 0 in found


@given(times, st.integers(0, 400 * DAY))
def test_within_counts_from_the_newest_commit(moments: list[int], span: int) -> None:
    """
    A branch that nobody writes any more does not lose its last commits.
    """
    expected = {number for number, moment in enumerate(moments) if moments[0] - moment <= span}

    assert expected == kept(Policy(within_ns=span), line_of(moments))


@given(times)
def test_without_a_limit_every_day_that_has_a_commit_keeps_one(moments: list[int]) -> None:
    """
    -1 means all of them.
    """
    line = line_of(moments)
    days = {datetime.fromtimestamp(each.time_ns / 1e9, UTC).date() for each in line}
    found = kept(Policy({Rule.DAILY: UNLIMITED}), line) - {len(line) - 1}

    assert days - {datetime.fromtimestamp(line[n].time_ns / 1e9, UTC).date() for n in found} <= {
        datetime.fromtimestamp(line[-1].time_ns / 1e9, UTC).date() if line else None
    }
