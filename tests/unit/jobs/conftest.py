"""A real store in a folder of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pfsfuse.store.store import Store
from tests.support.versions import Versions


@pytest.fixture
def versions(tmp_path: Path) -> Iterator[Versions]:
    """An empty store."""
    store = Store(tmp_path / "store")
    yield Versions(store)
    store.close()
