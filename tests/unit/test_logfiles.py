"""Log files that do not grow for ever."""

from __future__ import annotations

from pathlib import Path

from runner.logfiles import RotatingLog


def test_a_log_that_is_too_large_is_moved_aside_and_the_oldest_goes(tmp_path: Path) -> None:
    """
    Five lines of four bytes, eight bytes a file, two old files.
    """
    log = RotatingLog(tmp_path / "mount.log", most_bytes=8)

    for number in range(1, 8):
        log.write(b"%03d\n" % number)

    assert b"007\n" == (tmp_path / "mount.log").read_bytes()
    assert b"005\n006\n" == (tmp_path / "mount.log.1").read_bytes()
    assert b"003\n004\n" == (tmp_path / "mount.log.2").read_bytes()
    assert 3 == len(list(tmp_path.iterdir()))


def test_a_log_goes_on_where_an_earlier_process_left_it(tmp_path: Path) -> None:
    """
    The tail is of this process only.
    """
    RotatingLog(tmp_path / "log").write(b"before\n")
    log = RotatingLog(tmp_path / "log")
    log.write(b"after\n")

    assert b"before\nafter\n" == (tmp_path / "log").read_bytes()
    assert "after\n" == log.tail()
