"""Sizes, times and tables."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from runner.cli.screen import Screen, ago, shown, size, took, when


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0B"), (1023, "1023B"), (1024, "1KiB"), (1536, "1.5KiB"), (5 << 30, "5GiB"), (1 << 60, "1024PiB")],
)
def test_a_size_is_shown_in_the_unit_that_fits(count: int, text: str) -> None:
    """From nothing to too much."""
    assert text == size(count)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 seconds ago"),
        (1, "1 second ago"),
        (59, "59 seconds ago"),
        (3600, "1 hour ago"),
        (172_900, "2 days ago"),
    ],
)
def test_a_time_is_shown_as_how_long_ago_it_was(seconds: int, text: str) -> None:
    """From now to the day before yesterday."""
    assert text == ago(datetime.now(UTC) - timedelta(seconds=seconds + 0.1))
    assert "-" == ago(None)


def test_how_long_something_took_is_shown_with_its_unit() -> None:
    """Something quick, something long, something that has not begun."""
    began = datetime(2026, 1, 1, tzinfo=UTC)

    assert "1.5s" == took(began, began + timedelta(seconds=1.5))
    assert "2 hours" == took(began, began + timedelta(hours=2, minutes=5))
    assert "-" == took(None, None)


def test_a_time_in_nanoseconds_keeps_its_microseconds() -> None:
    """A float of seconds since 1970 would lose the last digits."""
    assert datetime(2026, 11, 20, 22, 10, 4, 690246, UTC) == when(1_795_212_604_690_246_017)


def test_a_name_that_is_no_utf8_is_shown_with_backslashes() -> None:
    """Paths are bytes."""
    assert "a\\xff" == shown(b"a\xff")


def test_a_table_in_a_pipe_is_plain_columns(capsys: pytest.CaptureFixture[str]) -> None:
    """Somebody pipes a listing into awk."""
    Screen().rows(["a", "longer"], {"NAME": str, "LENGTH": lambda text: str(len(text))})

    assert ["NAME    LENGTH", "a       1", "longer  6"] == capsys.readouterr().out.splitlines()


def test_ids_are_a_line_each_or_objects(capsys: pytest.CaptureFixture[str]) -> None:
    """One thing that was made, or several."""
    Screen().identifier("a1")
    Screen().identifiers(["a1", "b2"])
    assert "a1\na1\nb2\n" == capsys.readouterr().out

    Screen("json").identifier("a1")
    assert {"id": "a1"} == json.loads(capsys.readouterr().out)
    Screen("json").identifiers(["a1", "b2"])
    assert [{"id": "a1"}, {"id": "b2"}] == json.loads(capsys.readouterr().out)


def test_notes_go_to_stderr_and_quiet_leaves_them_out(capsys: pytest.CaptureFixture[str]) -> None:
    """Results and notes are apart."""
    for screen in (Screen(), Screen(quiet=True)):
        screen.note("done")
        screen.result("id")

    printed = capsys.readouterr()
    assert ("id\nid\n", "done\n") == (printed.out, printed.err)
