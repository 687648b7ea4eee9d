"""From inputs to datums: which container sees which files."""
