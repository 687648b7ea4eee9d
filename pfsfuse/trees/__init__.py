"""Immutable Merkle directories and the chunk lists of files, named by their hash."""
