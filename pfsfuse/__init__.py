"""The versioned file system: chunks, trees, versions and the mount.  Complete without any container."""

__version__ = "0.1.0"
"""The version of the program; pyproject.toml says the same (a test compares them)."""
