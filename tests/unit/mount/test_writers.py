"""How processes ended, told by pidfds and by proc(5)."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from pfsfuse.mount.writers import Processes, died_by_signal

KERNEL = tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2])

_THREADED = """
import sys, threading
def work():
    print(threading.get_native_id(), flush=True)
    sys.stdin.read()
thread = threading.Thread(target=work); thread.start(); thread.join()
"""


@pytest.fixture
def processes() -> Iterator[Processes]:
    """Nobody yet."""
    made = Processes()
    yield made
    made.clear()


def child(*command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command or ("cat",), stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def wait_unreaped(process: subprocess.Popen[bytes]) -> None:
    """Wait until a process has ended, and leave it a zombie."""
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGSEGV])
def test_a_killed_process_is_told_once(processes: Processes, number: signal.Signals) -> None:
    """Its parent has not heard of its death yet."""
    process = child()
    processes.add(process.pid)
    assert not processes.any_killed()

    process.send_signal(number)
    wait_unreaped(process)

    assert processes.any_killed()
    assert not processes.any_killed()
    process.communicate()


@pytest.mark.skipif(
    KERNEL < (6, 15), reason="the kernel forgets how a process ended when its parent has heard of it"
)
def test_a_killed_process_whose_parent_was_quick_is_told(processes: Processes) -> None:
    """A shell reaps its children at once."""
    process = child()
    processes.add(process.pid)

    process.kill()
    process.communicate()

    assert processes.any_killed()


@pytest.mark.parametrize("code", ["0", "1", "137"])
@pytest.mark.parametrize("is_reaped", [False, True])
def test_a_process_that_ends_by_itself_is_not_killed(
    processes: Processes, code: str, is_reaped: bool
) -> None:
    """It succeeds, fails, or says of itself what a shell says of a killed child."""
    process = child("sh", "-c", f"read line; exit {code}")
    processes.add(process.pid)
    assert process.stdin is not None
    process.stdin.close()
    wait_unreaped(process)
    if is_reaped:
        process.wait()

    assert not processes.any_killed()
    process.wait()


def test_one_of_several_is_enough(processes: Processes) -> None:
    """Two go on, one ends by itself, one is killed."""
    several = [child() for _ in range(4)]
    for process in several:
        processes.add(process.pid)
        processes.add(process.pid)
    several[1].communicate()
    several[2].kill()
    wait_unreaped(several[2])

    assert processes.any_killed()
    assert not processes.any_killed()
    for process in several:
        process.communicate() if process is not several[1] else None


def test_a_thread_counts_for_its_process(processes: Processes) -> None:
    """The kernel names the thread that writes, which is not the first of its process."""
    process = child(sys.executable, "-c", _THREADED)
    assert process.stdout is not None
    thread = int(process.stdout.readline())
    assert thread != process.pid
    processes.add(thread)
    processes.add(thread)
    process.kill()
    wait_unreaped(process)

    assert processes.any_killed()
    process.communicate()


def test_threads_of_a_process_that_ends_by_itself_are_not_killed() -> None:
    """The kernel ends the other threads by a signal; this one never ends."""
    process = child(sys.executable, "-c", _THREADED)
    assert process.stdout is not None
    thread = int(process.stdout.readline())
    assert not died_by_signal(thread)
    process.communicate()

    assert not died_by_signal(thread)


def test_a_stopped_process_is_not_killed(processes: Processes) -> None:
    """Ctrl-Z."""
    process = child()
    processes.add(process.pid)
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)

    assert not processes.any_killed()
    assert not died_by_signal(process.pid)
    process.send_signal(signal.SIGCONT)
    process.communicate()


def test_nobody_and_the_dead_are_ignored(processes: Processes) -> None:
    """A process of another namespace is 0; one ended before it could be held."""
    process = child()
    process.communicate()
    processes.add(0)
    processes.add(process.pid)

    assert not processes.any_killed()


def test_forgotten_processes_hold_no_descriptors() -> None:
    """What they changed is finished."""
    before = len(os.listdir("/proc/self/fd"))
    processes = Processes()
    several = [child() for _ in range(3)]
    for process in several:
        processes.add(process.pid)
    processes.clear()
    for process in several:
        process.kill()
        process.communicate()

    assert not processes.any_killed()
    assert before == len(os.listdir("/proc/self/fd"))
