"""
The mount and a plain folder, driven by the same operations that hypothesis draws (support/machine.py).

The same examples in every run; `make soak` draws others for half an hour.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.support.machine import MountAndFolder
from tests.support.mounting import Mounted, mounted

pytestmark = [pytest.mark.mount, pytest.mark.timeout(120)]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[type[MountAndFolder]]:
    """The machine, over a mount that finishes nothing by itself."""
    with mounted(autocommit_s=-1) as made:
        yield machine_of(made, tmp_path)


def machine_of(mount: Mounted, folder: Path) -> type[MountAndFolder]:
    class Machine(MountAndFolder):
        pass

    Machine.mount, Machine.plain_top = mount, folder
    return Machine


def drawn(examples: int, steps: int) -> settings:
    """Return settings of a run that is the same each time."""
    return settings(
        derandomize=True,
        database=None,
        deadline=None,
        max_examples=examples,
        stateful_step_count=steps,
        suppress_health_check=list(HealthCheck),
    )


def test_what_programs_do_is_the_same_below_the_mount_and_in_a_plain_folder(
    machine: type[MountAndFolder],
) -> None:
    """Some hundred operations, with commits between; everything is compared after each."""
    run_state_machine_as_test(machine, settings=drawn(15, 40))
    assert machine.done > 150


def test_a_difference_is_found_and_shrunk_to_the_steps_that_matter(machine: type[MountAndFolder]) -> None:
    """A handler of the mount fails, for one kind of operation, as no folder does."""
    only_failing = settings(drawn(20, 6), phases=[Phase.generate, Phase.shrink], report_multiple_bugs=False)
    with machine.mount.trap("remove"), pytest.raises(AssertionError) as caught:
        run_state_machine_as_test(machine, settings=only_failing)

    said = "\n".join(caught.value.__notes__)
    steps = [line for line in said.splitlines() if line.startswith("state.") and "path" in line]
    assert any(".unlink(" in line or ".rmdir(" in line for line in steps)
    assert 1 == len(steps), said


def _linked_and_finished(byte_count: int) -> list[tuple[str, dict[str, object]]]:
    return [
        ("link", {"new": b"b/b", "old": 0}),
        ("finish_commit", {}),
        ("write", {"byte": 1, "length": byte_count, "offset": 0, "path": 0}),
        ("finish_commit", {}),
    ]


@pytest.mark.parametrize(
    "steps",
    [
        [
            *_linked_and_finished(1),
            ("replace", {"byte": 1, "length": 0, "path": 0}),
            ("rmdir", {"path": 1}),
            ("append", {"byte": 1, "length": 1, "path": 2}),
        ],
        [
            *_linked_and_finished(131_073),
            ("rename", {"flags": 0, "new": b"a", "old": 0}),
            ("finish_commit", {}),
            ("start_commit", {}),
            ("unlink", {"path": b"b"}),
            ("link", {"new": b"b/b", "old": 5}),
        ],
    ],
    ids=["append", "link"],
)
def test_what_a_soak_has_found(
    machine: type[MountAndFolder], steps: list[tuple[str, dict[str, object]]]
) -> None:
    """The steps that failures of `make soak` were shrunk to."""
    state = machine()
    state.trees_are_equal()
    for name, given in steps:
        getattr(state, name)(**given)
        state.trees_are_equal()
