"""The command line on an empty store."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.commands import Pfs


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the store of the commands is; it does not exist yet."""
    found = tmp_path / "store"
    monkeypatch.setenv("PFS_ROOT", str(found))
    monkeypatch.delenv("NO_COLOR", raising=False)
    return found


@pytest.fixture
def pfs(root: Path, capfd: pytest.CaptureFixture[str]) -> Pfs:
    return Pfs(capfd)
