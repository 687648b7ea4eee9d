"""A base image and a running system for tests that kill its processes."""

from __future__ import annotations

from tests.pipelines.conftest import base_image, own_system, run_dir

__all__ = ["base_image", "own_system", "run_dir"]
