"""Pipelines on top of the versioned file system: specs, datums, containers, jobs and the command line."""
