"""Mounts for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.mounting import Mounted, mounted


@pytest.fixture(scope="module")
def mount() -> Iterator[Mounted]:
    """A mount that the tests of a module share; each makes a repo of its own."""
    with mounted() as made:
        yield made


@pytest.fixture(scope="module")
def patient() -> Iterator[Mounted]:
    """A mount that the tests of a module share, which finishes nothing by itself."""
    with mounted(autocommit_s=-1) as made:
        yield made
