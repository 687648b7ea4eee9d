"""A second store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.builders import World, checked_world


@pytest.fixture
def other(tmp_path: Path) -> Iterator[World]:
    """Another empty store; fsck finds nothing in it at the end."""
    with checked_world(tmp_path / "other") as made:
        yield made
