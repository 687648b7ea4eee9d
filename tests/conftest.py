"""
What all tests share: deterministic properties, and skips that say what the machine lacks.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from pfsfuse.store.store import Store
from tests.support.builders import World, checked_world

# The same examples in every run, so that a red suite is red because of the change under test.
# HYPOTHESIS_PROFILE=explore looks for new ones; what it finds becomes an @example or a unit test.
settings.register_profile("deterministic", derandomize=True, deadline=None, max_examples=50)
settings.register_profile("explore", deadline=None, max_examples=1000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "deterministic"))


def _lack_for_mounting() -> str | None:
    if not os.path.exists("/dev/fuse"):
        return "this machine has no /dev/fuse"
    if os.geteuid() != 0 and shutil.which("fusermount3") is None:
        return "mounting needs root or fusermount3"
    return None


def _lack_for_containers() -> str | None:
    if os.geteuid() != 0:
        return "containers are tested as root"
    if shutil.which("podman") is None:
        return "podman is not installed"
    return _lack_for_mounting()


_LACKS = {"mount": _lack_for_mounting, "podman": _lack_for_containers}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run, with the reason."""
    for marker, find_lack in _LACKS.items():
        lack = find_lack()
        if lack is None:
            continue
        for item in items:
            if item.get_closest_marker(marker) is not None:
                item.add_marker(pytest.mark.skip(reason=lack))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """An empty store with builders; fsck finds nothing in it at the end."""
    with checked_world(tmp_path / "store") as made:
        yield made


@pytest.fixture
def store(world: World) -> Store:
    """An empty store; fsck finds nothing in it at the end."""
    return world.store
