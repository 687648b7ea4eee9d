"""The versioned file system: chunks, trees, versions and the mount.  Complete without any container."""
