"""Real containers: a base image for the session, an engine for each test."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from runner.containers import Engine, open_engine
from tests.support.system import System
from tools import base_image as base_image_tool
from tools import build_shim


@pytest.fixture(scope="session")
def base_image() -> Iterator[str]:
    """The image of the demo, under a name of this session."""
    build_shim.build()
    name = f"localhost/pfs-test-{os.getpid()}:base"
    base_image_tool.ensure(name)
    yield name
    subprocess.run(["podman", "rmi", "--force", name], check=True, capture_output=True)


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run directory, so that the OCI runtime is looked for once in a session."""
    return tmp_path_factory.mktemp("run")


@pytest.fixture
async def engine(run_dir: Path, base_image: str) -> AsyncIterator[Engine]:
    """An engine with a store of its own, and a look whether the test left containers behind."""
    async with open_engine(run_dir, secrets.token_hex(16)) as engine:
        yield engine
        left = await engine.remove_leftovers()
        assert [] == left


@pytest.fixture(scope="session")
def shared_system(base_image: str, run_dir: Path) -> Iterator[System]:
    """One running system for all tests that leave it as it was, but for repos and pipelines."""
    with System(base_image, memory=run_dir) as system:
        yield system


@pytest.fixture
def own_system(base_image: str, run_dir: Path) -> Iterator[System]:
    """A running system of the test's own, for tests that kill or restart it."""
    with System(base_image, memory=run_dir) as system:
        yield system
