"""Who lives, and who dies with whom."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from runner.processes import Identity, identity_of


def test_a_process_is_known_by_its_number_and_its_start() -> None:
    """
    Another process has the number of one that has ended.
    """
    mine = identity_of(os.getpid())

    assert mine.is_alive()
    assert not Identity(mine.pid, mine.started - 1).is_alive()


def test_a_process_that_ended_is_not_alive_even_before_it_is_waited_for() -> None:
    """
    A zombie has a number still.
    """
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    who = identity_of(process.pid)
    assert not who.wait(0.01)

    who.send(signal.SIGKILL)

    assert who.wait(10.0)
    assert not who.is_alive()
    process.communicate()
    with pytest.raises(ProcessLookupError):
        identity_of(process.pid)


def test_a_signal_never_reaches_another_process_of_the_same_number() -> None:
    """
    The number belongs to somebody else by now.
    """
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    who = identity_of(process.pid)

    Identity(who.pid, who.started - 1).send(signal.SIGKILL)

    assert who.is_alive()
    process.communicate(b"\n")
    assert 0 == process.returncode


def test_a_child_dies_with_its_parent() -> None:
    """
    The parent is killed with -9 after the child has said that it is there.
    """
    child = (
        "import os; from runner.processes import die_with; die_with(os.getppid());"
        "print(os.getpid(), flush=True); input()"
    )
    parent = (
        "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', sys.argv[1]], stdin=subprocess.PIPE);"
        "p.wait()"
    )
    process = subprocess.Popen([sys.executable, "-c", parent, child], stdout=subprocess.PIPE)
    assert process.stdout is not None
    who = identity_of(int(process.stdout.readline()))

    process.kill()
    process.wait()

    assert who.wait(10.0)
    process.stdout.close()


def test_a_child_whose_parent_is_gone_already_ends_at_once() -> None:
    """
    The parent died between starting the child and the child's first step.
    """
    code = "from runner.processes import die_with; die_with(4194305); print('lives')"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (0, "") == (done.returncode, done.stdout)
