"""Keeping processes running, with small programs in the place of mount and runner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from runner import supervisor
from runner.processes import identity_of
from runner.supervisor import (
    ProcessFailedError,
    Program,
    Supervisor,
    UpElsewhereError,
    UpState,
    is_supervised,
    keeps_runner,
    read_state,
    tidy_up,
)

PROGRAM = """
import argparse, os, pathlib, signal, sys
parser = argparse.ArgumentParser()
for name in ("name", "events", "how"):
    parser.add_argument(name)
parser.add_argument("--ready-fd", type=int)
parser.add_argument("--parent", type=int)
given = parser.parse_args()

def note(what):
    with open(given.events, "a") as file:
        file.write(f"{given.name} {what}\\n")

def end(*_):
    note("ends")
    sys.exit(0)

signal.signal(signal.SIGTERM, signal.SIG_IGN if given.how == "stubborn" else end)
assert given.parent == os.getppid()
note("begins")
print(f"{given.name} speaks", flush=True)
if given.how == "fails":
    sys.exit("no, it cannot")
os.write(given.ready_fd, b"1")
if given.how == "dies-once" and pathlib.Path(given.events).read_text().count("begins") == 1:
    os.kill(os.getpid(), signal.SIGKILL)
while True:
    signal.pause()
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    made = tmp_path / "run"
    made.mkdir()
    (made / "program.py").write_text(PROGRAM)
    return made


def supervise(run: Path, **how: str) -> Supervisor:
    """Return a supervisor of programs that behave as told."""
    programs = [
        Program(name, [sys.executable, str(run / "program.py"), name, str(run / "events"), each])
        for name, each in how.items()
    ]
    return Supervisor(run, run.parent / "point", programs, environment=os.environ)


def events(run: Path) -> list[str]:
    path = run / "events"
    return path.read_text().splitlines() if path.exists() else []


async def until(holds: Callable[[], bool]) -> None:
    """Wait for another process: no event tells of what it writes."""
    with trio.fail_after(20):
        while not holds():  # noqa: ASYNC110
            await trio.sleep(0.01)


def ask_to_end() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


async def test_programs_begin_one_after_the_other_and_end_the_other_way_round(run: Path) -> None:
    """
    The runner needs the mount, at its beginning and at its end.
    """
    seen: list[UpState | None] = []

    def ready() -> None:
        seen.append(read_state(run))
        assert is_supervised(run)
        assert keeps_runner(run)
        ask_to_end()

    await supervise(run, mount="well", runner="well").run(ready=ready)

    assert ["mount begins", "runner begins", "runner ends", "mount ends"] == events(run)
    assert seen[0] is not None
    assert seen[0].ready
    assert {"mount", "runner"} == set(seen[0].children)
    assert read_state(run) is None
    assert not is_supervised(run)


async def test_a_program_that_does_not_come_up_ends_the_others_and_is_quoted(run: Path) -> None:
    """
    The runner fails before it is ready.
    """
    with pytest.raises(ProcessFailedError, match=r"(?s)the runner did not start.*no, it cannot") as caught:
        await supervise(run, mount="well", runner="fails").run()

    assert 1 == caught.value.exit_code
    assert ["mount begins", "runner begins", "mount ends"] == events(run)
    assert read_state(run) is None


async def test_a_program_that_dies_is_started_again(run: Path) -> None:
    """
    It kills itself when it is ready the first time.
    """
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervise(run, mount="dies-once").run)
        await until(lambda: events(run).count("mount begins") == 2)
        await until(lambda: "mount" in (read_state(run) or UpState(identity_of(1), "")).children)
        # A signal in the middle of print() would cut off what it prints.
        await until(lambda: (run / "mount.log").read_text().count("\n") == 2)
        ask_to_end()

    assert ["mount begins", "mount begins", "mount ends"] == events(run)
    assert "mount speaks\nmount speaks\n" == (run / "mount.log").read_text()


async def test_a_program_that_will_not_end_is_killed(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    It ignores SIGTERM.
    """
    monkeypatch.setitem(supervisor._END_S, "mount", 0.2)

    await supervise(run, mount="stubborn").run(ready=ask_to_end)

    assert ["mount begins"] == events(run)
    assert read_state(run) is None


async def test_a_store_has_one_supervisor(run: Path) -> None:
    """
    A second one is started beside the first.
    """
    refused: list[bool] = []

    async def second() -> None:
        with pytest.raises(UpElsewhereError):
            await supervise(run, mount="well").run()
        refused.append(True)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervise(run, mount="well").run)
        await until(lambda: "mount begins" in events(run))
        await second()
        ask_to_end()

    assert [True] == refused
    assert ["mount begins", "mount ends"] == events(run)


def test_what_a_killed_supervisor_left_is_ended(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A child of it lives still and does not end by itself.
    """
    monkeypatch.setitem(supervisor._END_S, "mount", 0.2)
    left = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    dead = identity_of(gone.pid)
    gone.wait()
    (run / "up.json").write_text("{}")

    tidy_up(run, UpState(dead, str(run / "point"), ["mount"], {"mount": identity_of(left.pid)}))

    left.communicate()
    assert -signal.SIGKILL == left.returncode
    assert not (run / "up.json").exists()


def test_a_state_that_cannot_be_read_is_as_none(run: Path) -> None:
    """
    A newer version wrote it.
    """
    (run / "up.json").write_text('{"what": "ever"}')

    assert read_state(run) is None
    assert not keeps_runner(run)
