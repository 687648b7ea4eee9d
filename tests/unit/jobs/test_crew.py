"""How many workers a job's containers are run by; time is trio's test clock."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
import trio.testing

from runner.jobs.crew import Crew

START_S = 0.2


class Machine:
    """Workers that take START_S to start, and items that take their own value in seconds."""

    def __init__(self, *, warm: int = 0) -> None:
        self.idle = warm
        self.started = 0
        self.busy = 0
        self.most_busy = 0
        self.done: list[float] = []

    async def work(self, item: float, ready: Callable[[], None]) -> bool:
        if self.idle:
            self.idle -= 1
        else:
            self.started += 1
            await trio.sleep(START_S)
        ready()
        self.busy += 1
        self.most_busy = max(self.most_busy, self.busy)
        await trio.sleep(item)
        self.busy -= 1
        self.idle += 1
        self.done.append(item)
        return True


async def test_every_item_is_done(autojump_clock: trio.testing.MockClock) -> None:
    """
    Items of all lengths.
    """
    machine = Machine()
    items = [number % 7 * 0.1 for number in range(50)]

    await Crew(items, machine.work, warm=0, most=8).run()

    assert sorted(items) == sorted(machine.done)


async def test_no_items_are_no_work(autojump_clock: trio.testing.MockClock) -> None:
    """
    A job whose containers had all ended before the runner was killed.
    """
    machine = Machine()

    await Crew([], machine.work, warm=0, most=8).run()

    assert 0 == machine.started


async def test_short_work_is_left_to_one_worker(autojump_clock: trio.testing.MockClock) -> None:
    """
    A hundred items of 2 ms are done before a second worker would have started.
    """
    machine = Machine()

    await Crew([0.002] * 100, machine.work, warm=0, most=8).run()

    assert 1 == machine.started


async def test_long_work_gets_as_many_workers_as_there_may_be(autojump_clock: trio.testing.MockClock) -> None:
    """
    Sixteen items of ten seconds and at most eight workers: two rounds, and a little for the starts.
    """
    machine = Machine()
    began = trio.current_time()

    await Crew([10.0] * 16, machine.work, warm=0, most=8).run()

    assert (8, 8) == (machine.started, machine.most_busy)
    assert 20 < trio.current_time() - began < 23


async def test_warm_workers_are_used_at_once(autojump_clock: trio.testing.MockClock) -> None:
    """
    Four wait for work; nothing has to be started for four items.
    """
    machine = Machine(warm=4)
    began = trio.current_time()

    await Crew([1.0] * 4, machine.work, warm=4, most=8).run()

    assert (0, 4) == (machine.started, machine.most_busy)
    assert trio.current_time() - began == pytest.approx(1.0)


async def test_the_end_of_the_last_item_is_the_end(autojump_clock: trio.testing.MockClock) -> None:
    """
    Nobody waits for the next look at the pace.
    """
    machine = Machine(warm=1)
    began = trio.current_time()

    await Crew([0.001], machine.work, warm=1, most=8).run()

    assert trio.current_time() - began == pytest.approx(0.001)


async def test_no_item_is_taken_after_one_that_says_stop(autojump_clock: trio.testing.MockClock) -> None:
    """
    A container has failed for good; what runs is let to its end.
    """
    taken: list[int] = []

    async def work(item: int, ready: Callable[[], None]) -> bool:
        ready()
        taken.append(item)
        await trio.sleep(1 if item != 1 else 0.5)
        return item != 1

    await Crew(list(range(10)), work, warm=3, most=3).run()

    assert [0, 1, 2] == taken


async def test_the_first_error_is_raised_as_it_is(autojump_clock: trio.testing.MockClock) -> None:
    """
    The others are cancelled.
    """

    async def work(item: int, ready: Callable[[], None]) -> bool:
        ready()
        await trio.sleep(item)
        raise ValueError(item)

    began = trio.current_time()
    with pytest.raises(ValueError, match="1"):
        await Crew([3, 1, 2], work, warm=3, most=3).run()

    assert trio.current_time() - began == pytest.approx(1.0)
