"""The two sides that each case is run on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.posix.cases import Sides
from tests.posix.sides import both_sides


@pytest.fixture(scope="package")
def sides() -> Iterator[Sides]:
    """A plain directory and an open commit, for all tests of this folder."""
    with both_sides() as made:
        yield made
