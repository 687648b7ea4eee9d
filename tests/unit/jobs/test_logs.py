"""Logs of jobs: written while the job runs, kept in the store, read from either place."""

from __future__ import annotations

import pytest

from pfsfuse.ids import CommitId
from runner.jobs.logs import LogLine, LogReader, LogWriter, Source, live_path, sweep_logs
from runner.jobs.model import JobRecord
from runner.jobs.records import change
from tests.support.versions import Versions


@pytest.fixture
def job() -> JobRecord:
    return JobRecord(CommitId(b"0123456789abcdef"), "pipe", 1, 0, "pipe", ())


def texts(lines: list[LogLine]) -> list[tuple[int, Source, bytes]]:
    return [(line.container, line.source, line.text) for line in lines]


def read_all(versions: Versions, job: JobRecord) -> list[LogLine]:
    return list(LogReader(versions.store, job).read(job))


def test_lines_of_containers_and_streams_stay_apart(versions: Versions, job: JobRecord) -> None:
    """
    Pieces of lines arrive in turns; a line is written when it is whole.
    """
    log = LogWriter(versions.store, job)

    log.write(0, Source.OUT, b"one ")
    log.write(1, Source.OUT, b"other\n")
    log.write(0, Source.ERR, b"err\n")
    log.write(0, Source.OUT, b"line\ntwo\n")

    expected = [
        (1, Source.OUT, b"other"),
        (0, Source.ERR, b"err"),
        (0, Source.OUT, b"one line"),
        (0, Source.OUT, b"two"),
    ]
    assert expected == texts(read_all(versions, job))
    log.close()


def test_a_line_without_its_newline_is_written_at_the_end_of_the_run(
    versions: Versions, job: JobRecord
) -> None:
    """
    `printf hello`, and the runner's own words behind it.
    """
    log = LogWriter(versions.store, job)

    log.write(0, Source.OUT, b"hello")
    log.note(0, "attempt 1 failed")
    log.write(1, Source.OUT, b"left")
    kept = log.keep()

    ended = change(job, log=kept)
    expected = [(0, Source.OUT, b"hello"), (0, Source.RUNNER, b"attempt 1 failed"), (1, Source.OUT, b"left")]
    assert expected == texts(read_all(versions, ended))


def test_a_very_long_line_comes_in_pieces_that_say_so(versions: Versions, job: JobRecord) -> None:
    """
    200,000 bytes without a newline do not stay in memory; put together they are the line.
    """
    log = LogWriter(versions.store, job)
    long = bytes(range(11, 256)) * 800

    for start in range(0, len(long), 4096):
        log.write(0, Source.OUT, long[start : start + 4096])
    log.write(0, Source.OUT, b"\nnext\n")

    *pieces, last, following = read_all(versions, job)
    assert all(piece.continues for piece in pieces)
    assert not last.continues
    assert long == b"".join(piece.text for piece in [*pieces, last])
    assert b"next" == following.text
    log.close()


def test_any_bytes_can_be_printed(versions: Versions, job: JobRecord) -> None:
    """
    Carriage returns, NULs, no Unicode, an empty line.
    """
    log = LogWriter(versions.store, job)

    log.write(0, Source.OUT, b"\0\r\xff spaced  text \n\n")

    assert [b"\0\r\xff spaced  text ", b""] == [line.text for line in read_all(versions, job)]
    log.close()


def test_a_reader_follows_a_log_into_the_store(versions: Versions, job: JobRecord) -> None:
    """
    It read some lines while the job ran; the rest it finds where the log is kept, each line once.
    """
    log = LogWriter(versions.store, job)
    reader = LogReader(versions.store, job)
    log.write(0, Source.OUT, b"first\n")
    assert [b"first"] == [line.text for line in reader.read(job)]

    log.write(0, Source.OUT, b"second\nthird")
    kept = log.keep()
    log.remove()

    assert not live_path(versions.store, job).exists()
    ended = change(job, log=kept)
    assert [b"second", b"third"] == [line.text for line in reader.read(ended)]
    assert [] == list(reader.read(ended))


def test_a_runner_that_comes_after_a_killed_one_goes_on_behind_whole_lines(
    versions: Versions, job: JobRecord
) -> None:
    """
    The killed one had written half of a line.
    """
    log = LogWriter(versions.store, job)
    log.write(0, Source.OUT, b"whole\n")
    log.close()
    with open(live_path(versions.store, job), "ab") as file:
        file.write(b"17952129644 0 o ha")

    log = LogWriter(versions.store, job)
    log.write(0, Source.OUT, b"again\n")

    assert [b"whole", b"again"] == [line.text for line in read_all(versions, job)]
    log.close()


def test_a_log_can_be_kept_twice(versions: Versions, job: JobRecord) -> None:
    """
    Recording the end of a job failed the first time (a full disk, say), and is tried again.
    """
    log = LogWriter(versions.store, job)
    log.write(0, Source.OUT, b"line\n")
    log.keep()

    log.note(0, "tried again")
    kept = log.keep()

    ended = change(job, log=kept)
    assert [b"line", b"tried again"] == [line.text for line in read_all(versions, ended)]


def test_the_log_of_a_job_that_has_not_begun_is_empty(versions: Versions, job: JobRecord) -> None:
    """
    There is no file.
    """
    assert [] == read_all(versions, job)


def test_logs_that_nobody_writes_any_more_are_swept(versions: Versions, job: JobRecord) -> None:
    """
    A runner was killed after it had recorded the end of a job, before it removed the log.
    """
    ended = change(job, id=CommitId(b"fedcba9876543210"))
    for each in (job, ended):
        LogWriter(versions.store, each).close()

    sweep_logs(versions.store, [job])

    assert live_path(versions.store, job).exists()
    assert not live_path(versions.store, ended).exists()
