"""Programs for developers: benchmarks, the demo, other people's programs on the mount, faults of the disk."""
